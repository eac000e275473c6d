//! The terminals of rooms (verb `enter` of the operator line). A room writes to its own terminal only; what PID 1 reads there goes
//! to the console while the operator is inside, and otherwise into a short memory that he is shown when he enters.
//!
//! Whoever is inside sees the room's own output, and a room may print anything, also what looks like a line of bay0. Therefore
//! entering shows a random mark, which the room never learns, and leaving shows it again: what lies between two equal marks
//! is the room's, and a prompt without the mark is a forgery. The key that leaves never reaches the room.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};
use bay0_persona::{Grant, PersonaName};
use nix::libc;
use nix::sys::signal::{SIGCHLD, raise};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::pid1::Bay0;
use crate::pid1::id::RoomId;
use crate::sys::boot_ms;

/// Control and `]`: leaves the room.
const LEAVE: u8 = 0x1d;
/// What is kept of a room's output while nobody is inside, in bytes; also the most that is read at once.
const TAIL: usize = 4096;
/// Control and L: programs draw their screen again, and the size of the console is asked for again.
const DRAW: u8 = 0x0c;
/// Asks a terminal for its size: saves the cursor, moves it as far as it goes, asks where it is and restores it (`console_codes(4)`).
const ASK: &str = "\x1b7\x1b[999;999H\x1b[6n\x1b8";
/// Longest of it between its first and its last byte.
const LONGEST_ANSWER: usize = 12;
/// How long the answer is waited for, in milliseconds: what is typed later is the room's, whatever it looks like.
const ANSWER_MS: u64 = 5000;
/// How often one room's terminal is read before the others have their turn.
const READS: usize = 8;

/// The operator is inside a room.
#[derive(Debug)]
pub struct Attached {
    /// The room's number.
    pub id: RoomId,
    cooked: Termios,
    /// What is said when he leaves.
    last: String,
    /// The console was asked for its size: when, and what of the answer has come.
    asked: Option<(u64, Vec<u8>)>,
}

nix::ioctl_write_ptr_bad!(set_size, libc::TIOCSWINSZ, libc::winsize);

impl Bay0 {
    /// Takes what a room has written, as far as the console takes it: a room that writes more has to wait.
    pub fn on_terminal(&mut self, id: RoomId) {
        let inside = self.attached.as_ref().is_some_and(|at| at.id == id);
        let Some(room) = self.rooms.get_mut(&id) else {
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
        let (id, room) = self.running(name)?;
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
        let room = self.rooms.get_mut(&id);
        let tail = room.map(|room| std::mem::take(&mut room.tail));
        self.log
            .say(format!("terminal: inside {name} until Ctrl-]; mark {mark}"));
        self.log.draw(tail.unwrap_or_default());
        self.log.set_inside(true);
        let last = format!("terminal: left {name}; mark {mark}");
        self.attached = Some(Attached {
            id,
            cooked,
            last,
            asked: None,
        });
        self.ask_size();
        Ok(())
    }

    fn ask_size(&mut self) {
        if let Some(at) = self.attached.as_mut() {
            at.asked = Some((boot_ms(), Vec::new()));
            self.log.draw(ASK);
        }
    }

    /// Takes the console's answer about its size out of what was typed, and gives the room's terminal that size; what is left.
    fn take_size(&mut self, id: RoomId, bytes: &[u8]) -> Vec<u8> {
        let asked = self.attached.as_mut().and_then(|at| at.asked.take());
        let Some((since, mut all)) = asked else {
            return bytes.to_vec();
        };
        all.extend(bytes);
        if boot_ms().saturating_sub(since) > ANSWER_MS {
            return all;
        }
        let (rest, answer) = part(&all);
        match answer {
            Answer::Size(size) => {
                if let Some(room) = self.rooms.get(&id) {
                    let fd = room.room.terminal.as_raw_fd();
                    // SAFETY: the descriptor is open as long as the file is, and the size is read during the call.
                    let _ = unsafe { set_size(fd, &raw const size) };
                }
            }
            Answer::Begun(begun) => {
                if let Some(at) = self.attached.as_mut() {
                    at.asked = Some((since, begun));
                }
            }
        }
        rest
    }

    /// Takes what is typed inside a room.
    pub fn typed(&mut self, id: RoomId, bytes: &[u8]) {
        let bytes = self.take_size(id, bytes);
        let mut parts = bytes.split(|byte| *byte == LEAVE);
        let keys = parts.next().unwrap_or_default();
        if keys.contains(&DRAW) {
            self.ask_size();
        }
        if let Some(room) = self.rooms.get_mut(&id) {
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
            self.log.set_inside(false);
        }
    }
}

/// What has come of a terminal's answer about its size.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// All of it.
    Size(libc::winsize),
    /// So much, which may be nothing.
    Begun(Vec<u8>),
}

/// Parts what was typed from the answer of the terminal, `ESC [ ROWS ; COLUMNS R`.
fn part(bytes: &[u8]) -> (Vec<u8>, Answer) {
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == 0x1b) {
        let (before, from) = bytes.split_at(at);
        let text = from.get(1..).unwrap_or_default();
        let inner = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'[' | b';');
        let length = text.iter().take_while(|byte| inner(byte)).count();
        let (inside, behind) = text.split_at(length.min(LONGEST_ANSWER));
        match (behind.split_first(), size(inside)) {
            (Some((b'R', behind)), Some(size)) => {
                return ([before, behind].concat(), Answer::Size(size));
            }
            (None, _) if b"[".starts_with(inside.get(..1).unwrap_or_default()) => {
                return (before.to_vec(), Answer::Begun(from.to_vec()));
            }
            _ => {}
        }
    }
    (bytes.to_vec(), Answer::Begun(Vec::new()))
}

fn size(inside: &[u8]) -> Option<libc::winsize> {
    let text = str::from_utf8(inside).ok()?.strip_prefix('[')?;
    let (rows, columns) = text.split_once(';')?;
    Some(libc::winsize {
        ws_row: rows.parse().ok()?,
        ws_col: columns.parse().ok()?,
        ws_xpixel: 0,
        ws_ypixel: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(bytes: &[u8]) -> (String, Option<(u16, u16)>, usize) {
        let (rest, answer) = part(bytes);
        let rest = String::from_utf8_lossy(&rest).into_owned();
        match answer {
            Answer::Size(size) => (rest, Some((size.ws_row, size.ws_col)), 0),
            Answer::Begun(begun) => (rest, None, begun.len()),
        }
    }

    #[test]
    fn t03_the_answer_of_the_terminal_is_taken_out_and_nothing_else() {
        assert_eq!(answer(b"\x1b[24;80R"), (String::new(), Some((24, 80)), 0));
        assert_eq!(
            answer(b"ls\x1b[50;132R\r"),
            ("ls\r".into(), Some((50, 132)), 0)
        );
        // Other keys of the same family are the room's, before and behind.
        let keys = b"\x1b[A\x1bOB\x1b[3~\x1b[24;80R\x1b[C";
        let rest = "\x1b[A\x1bOB\x1b[3~\x1b[C";
        assert_eq!(answer(keys), (rest.into(), Some((24, 80)), 0));
        for not in [
            "\x1b[99999;1R",
            "\x1b[1R",
            "\x1b[;R",
            "\x1bR",
            "\x1b[1;2;3R",
            "plain",
        ] {
            assert_eq!(answer(not.as_bytes()), (not.into(), None, 0), "{not:?}");
        }
    }

    #[test]
    fn t03_an_answer_that_comes_in_pieces_is_waited_for() {
        let whole = b"x\x1b[24;80R";
        for cut in 2..whole.len() {
            let (first, _) = whole.split_at(cut);
            assert_eq!(answer(first), ("x".into(), None, cut - 1));
        }
    }

    proptest! {
        #[test]
        fn a16_nothing_that_is_typed_is_lost_or_made_up(keys in "[\x1b\\[0-9;RAx]{0,40}") {
            let (rest, answer) = part(keys.as_bytes());
            match answer {
                Answer::Size(_) => prop_assert!(rest.len() < keys.len()),
                Answer::Begun(begun) => {
                    prop_assert_eq!([rest, begun].concat(), keys.as_bytes());
                }
            }
        }
    }
}
