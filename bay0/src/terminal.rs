//! The terminals of rooms (verb `enter` of the operator line). A room writes to its own terminal only; what PID 1 reads there goes
//! to the console while the operator is inside, and otherwise into a short memory that he is shown when he enters.
//!
//! Whoever is inside sees the room's own output, and a room may print anything, also what looks like a line of bay0. Therefore
//! entering shows a random mark, which the room never learns, and leaving shows it again: what lies between two equal marks
//! is the room's, and a prompt without the mark is a forgery. The key that leaves never reaches the room.

use std::fs::File;
use std::io::{Read, Write};

use anyhow::{Context, Result, ensure};
use bay0_persona::{Grant, PersonaName};
use nix::sys::signal::{SIGCHLD, raise};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::pid1::Bay0;

/// Control and `]`: leaves the room.
const LEAVE: u8 = 0x1d;
/// What is kept of a room's output while nobody is inside, in bytes; also the most that is read at once.
const TAIL: usize = 4096;
/// How often one room's terminal is read before the others have their turn.
const READS: usize = 8;

/// The operator is inside a room.
#[derive(Debug)]
pub struct Attached {
    /// The room's number.
    pub slot: usize,
    cooked: Termios,
    /// What is said when he leaves.
    last: String,
}

impl Bay0 {
    /// Takes what a room has written, as far as the console takes it: a room that writes more has to wait.
    pub fn on_terminal(&mut self, slot: usize) {
        let inside = self.attached.as_ref().is_some_and(|at| at.slot == slot);
        let Some(room) = self.rooms.get_mut(&slot) else {
            return;
        };
        let mut bytes = [0; TAIL];
        for _ in 0..READS {
            if inside && self.log.is_behind() {
                return;
            }
            let count = room.room.terminal.read(&mut bytes).unwrap_or(0);
            match bytes.get(..count) {
                Some(&[]) | None => return,
                Some(told) if inside => self.log.draw(told),
                Some(told) => room.tail.extend(told),
            }
            let over = room.tail.len().saturating_sub(TAIL);
            room.tail.drain(..over);
        }
        // There may be more, of which nothing tells again: the next turn comes at once.
        let _ = raise(SIGCHLD);
    }

    /// Connects the console with a room's terminal until [`LEAVE`] is typed.
    ///
    /// # Errors
    /// It does not run, has no terminal, or cannot come forward.
    pub fn enter(&mut self, name: &PersonaName) -> Result<()> {
        let (slot, room) = self.running(name)?;
        let has = room.policy.may(Grant::Terminal);
        ensure!(has, "it has no terminal; next: see its policy");
        self.focus(name)?;
        let mut random = [0; 2];
        File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random))?;
        let mark = format!("{:04x}", u16::from_ne_bytes(random));
        let console = self.console.as_ref().context("no console")?;
        let cooked = tcgetattr(console).context("read the console's settings")?;
        let mut raw = cooked.clone();
        cfmakeraw(&mut raw);
        raw.output_flags = cooked.output_flags;
        // The last step that can fail: after it the console is the room's.
        tcsetattr(console, SetArg::TCSANOW, &raw).context("set the console")?;
        let room = self.rooms.get_mut(&slot);
        let tail = room.map(|room| std::mem::take(&mut room.tail));
        self.log
            .say(format!("terminal: inside {name} until Ctrl-]; mark {mark}"));
        self.log.draw(tail.unwrap_or_default());
        self.log.inside = true;
        let last = format!("terminal: left {name}; mark {mark}");
        self.attached = Some(Attached { slot, cooked, last });
        Ok(())
    }

    /// Takes what is typed inside a room.
    pub fn typed(&mut self, slot: usize, bytes: &[u8]) {
        let mut parts = bytes.split(|byte| *byte == LEAVE);
        let keys = parts.next().unwrap_or_default();
        if let Some(room) = self.rooms.get_mut(&slot) {
            // A terminal that nobody reads is full at some time; what is typed then is lost, as on any terminal.
            let _ = room.room.terminal.write(keys);
        }
        // The key was typed if it parts anything, even nothing from nothing.
        if parts.next().is_some() {
            self.leave();
        }
    }

    /// Gives the console back to the operator line.
    pub fn leave(&mut self) {
        if let Some(at) = self.attached.take() {
            if let Some(console) = &self.console {
                let _ = tcsetattr(console, SetArg::TCSANOW, &at.cooked);
            }
            self.log.say(at.last);
            self.log.inside = false;
        }
    }
}
