//! The terminals of rooms (verb `enter` of the operator line). A room writes to its own terminal only; what PID 1 reads there goes
//! to the console while the operator is inside, and otherwise into a short memory that he is shown when he enters.
//!
//! Whoever is inside sees the room's own output, and a room may print anything, also what looks like a line of bay0. Therefore
//! entering shows a random mark, which the room never learns, and leaving shows it again: what lies between two equal marks
//! is the room's, and a prompt without the mark is a forgery. The key that leaves never reaches the room.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use bay0_state::SCREEN;
use bay0_umbilical::verb::Verb;
use nix::libc;
use nix::sys::termios::{
    FlushArg, InputFlags, LocalFlags, SetArg, Termios, cfmakeraw, tcflush, tcgetattr, tcsetattr,
};

use super::id::RoomId;
use super::line::{Act, Keys, Line};
use super::poll::{Poll, Source};
use super::rooms::room::Running;
use super::say::Log;
use crate::screen::winsize;
use crate::sys::{CONSOLE, boot_ms, open_device};

/// Control and `]`: leaves the room.
const LEAVE: u8 = 0x1d;
/// Control and L: programs draw their screen again, and the size of the console is asked for again.
const DRAW: u8 = 0x0c;
/// Asks a terminal for its size: saves the cursor, moves it as far as it goes, asks where it is and restores it (`console_codes(4)`).
const ASK: &str = "\x1b7\x1b[999;999H\x1b[6n\x1b8";
/// What a room has made of a terminal ends: a sequence that has begun, rows that stand still, dark on light; the cursor is in the last row.
const RESET: &str = "\x18\x1b[r\x1b[m\x1b[999;1H";
/// Longest answer, in bytes: ESC, `[`, two numbers of five digits, `;`, `R`.
const LONGEST_ANSWER: usize = 14;
/// How long the answer is waited for, in milliseconds: what is typed later is the room's, whatever it looks like.
const ANSWER_MS: u64 = 5000;
/// What invites the operator to type.
pub const PROMPT: &str = "bay0> ";
/// What invites him to answer a question.
pub const ANSWER: &str = "allow> ";
/// Most bytes taken from the console in one turn.
const TYPED_BYTES: usize = 4096;

nix::ioctl_read_bad!(get_size, libc::TIOCGWINSZ, libc::winsize);

/// The console: the terminals of whoever sits at the machine, and what is typed there. Serial console and screen have one line together:
/// both show the same, and either takes keys.
#[derive(Default)]
pub struct Console {
    /// None while there is none, or while a child has it.
    terminals: Vec<Terminal>,
    /// The size of the one where something was typed last, if it has one.
    size: Option<libc::winsize>,
    line: Line,
    /// What a person is asked, in the place of the operator line, and what of the answer was typed.
    question: Option<(String, Line)>,
    inside: Option<Inside>,
}

/// A terminal, and its settings for the operator line.
pub struct Terminal {
    /// Does not block.
    pub device: File,
    cooked: Termios,
    is_screen: bool,
}

/// The operator is inside a room.
struct Inside {
    id: RoomId,
    /// The line for when he leaves.
    last: String,
    /// The console was asked for its size: when, and what of the answer has come.
    asked: Option<(u64, Keys)>,
}

/// What was typed inside a room.
#[derive(Default)]
#[must_use]
pub struct Typed {
    /// What is the room's.
    pub keys: Vec<u8>,
    /// The console's size, if it has answered with it.
    pub size: Option<libc::winsize>,
}

impl Console {
    /// Offers the operator line. The terminals hand over each key as it is typed: `line` edits. A machine without a serial port is
    /// one that nobody types at but at its screen, and well: it has no console, or one whose port answers [`libc::EIO`].
    ///
    /// # Errors
    /// There is a console, and it cannot be read.
    pub fn open(&mut self, poll: &mut Poll, log: &mut Log) -> Result<String> {
        let errno = |error: &anyhow::Error| error.downcast_ref::<io::Error>()?.raw_os_error();
        for path in [SCREEN, CONSOLE] {
            let terminal = match Terminal::open(path) {
                Ok(terminal) => terminal,
                Err(_) if path == SCREEN => continue,
                Err(error) if matches!(errno(&error), Some(libc::EIO | libc::ENODEV)) => {
                    log.set_serial(None);
                    continue;
                }
                Err(error) => return Err(error),
            };
            poll.watch(&terminal.device, Source::Operator)?;
            if path == CONSOLE {
                log.set_serial(terminal.device.try_clone().ok());
            }
            self.terminals.push(terminal);
        }
        self.set(self.inside.is_some())?;
        // What was typed ahead answers whoever asked before, and may be a secret. This does not wait for what is written.
        let forget = |it: &Terminal| tcflush(&it.device, FlushArg::TCIFLUSH);
        self.terminals.iter().try_for_each(forget)?;
        Ok(match self.is_open() {
            true => "ready, type help; Ctrl-] leaves a room".to_owned(),
            false => "none, this machine has no console".to_owned(),
        })
    }

    /// Has the terminals hand over each key, in a room also those with a meaning of their own.
    fn set(&self, is_inside: bool) -> nix::Result<()> {
        self.terminals.iter().try_for_each(|it| it.set(is_inside))
    }

    /// Nobody is listened to any more: a hang-up, or a child needs the console.
    pub fn close(&mut self) {
        self.terminals.clear();
    }

    /// Whether somebody is listened to.
    pub fn is_open(&self) -> bool {
        !self.terminals.is_empty()
    }

    /// The room whose terminal the console is.
    pub fn inside(&self) -> Option<RoomId> {
        self.inside.as_ref().map(|it| it.id)
    }

    /// Draws the prompt and what has been typed behind it, unless somebody is inside a room.
    pub fn invite(&self, log: &mut Log) {
        if self.is_open() && self.inside.is_none() {
            let (prompt, line) = match &self.question {
                Some((_, answer)) => (ANSWER, answer),
                None => (PROMPT, &self.line),
            };
            log.invite(prompt, &line.shown());
        }
    }

    /// Asks a person, in the place of the operator line, which goes on after it; or asks no more. What was typed before it was drawn
    /// answers nothing. Whoever is inside a room sees it when he leaves: what is drawn in there may be the room's.
    pub fn ask(&mut self, question: Option<String>, log: &mut Log) {
        if question.is_none() && self.question.is_none() {
            return;
        }
        self.question = question.map(|text| (text, Line::default()));
        self.draw_question(log);
    }

    fn draw_question(&self, log: &mut Log) {
        if self.inside.is_some() {
            return;
        }
        if self.question.is_some() {
            let forget = |it: &Terminal| tcflush(&it.device, FlushArg::TCIFLUSH);
            let _ = self.terminals.iter().try_for_each(forget);
        }
        match &self.question {
            Some((text, _)) => log.ask(text),
            None => log.draw(""),
        }
    }

    /// What a person is asked now.
    pub fn question(&self) -> Option<&str> {
        self.question.as_ref().map(|it| it.0.as_str())
    }

    /// Takes what was typed; at the screen nothing while a question is asked, which its process neither sees nor answers. After a
    /// hang-up or an error that is nothing, and the console is closed, so that neither can make the loop spin.
    pub fn read(&mut self, log: &mut Log) -> Vec<u8> {
        let (mut typed, mut is_well) = (Vec::new(), !self.terminals.is_empty());
        for terminal in &mut self.terminals {
            let mut bytes = [0; TYPED_BYTES];
            match terminal.device.read(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) | Ok(0) => is_well = false,
                Ok(_) if terminal.is_screen && self.question.is_some() => {}
                Ok(count) => {
                    typed.extend(bytes.get(..count).unwrap_or_default());
                    self.size = terminal.size();
                }
            }
        }
        if !is_well {
            self.leave(log);
            self.close();
        }
        typed
    }

    /// Takes one key of the operator line; the line, once it is entered. `rooms`: the names that a verb may have behind it.
    pub fn key(
        &mut self,
        byte: u8,
        rooms: impl FnOnce() -> Vec<String>,
        log: &mut Log,
    ) -> Option<String> {
        if matches!(byte, b'\r' | b'\n' | 0x03) {
            // Keys that came at once with this one are not drawn yet.
            self.invite(log);
        }
        let line = match &mut self.question {
            Some((_, answer)) => answer,
            None => &mut self.line,
        };
        match line.key(byte) {
            Act::Complete if self.question.is_some() => {}
            Act::Redraw => log.draw(""),
            Act::Bell => log.draw("\x07"),
            Act::Complete => self.complete(rooms, log),
            Act::Dropped => log.end_line("^C\n"),
            Act::Entered(text) => {
                log.end_line("\n");
                return Some(text.split_whitespace().collect::<Vec<_>>().join(" "));
            }
        }
        None
    }

    /// Completes the line, or shows the words that it may go on with.
    fn complete(&mut self, rooms: impl FnOnce() -> Vec<String>, log: &mut Log) {
        let named = self.line.verb().and_then(Verb::form);
        let lines: Vec<String> = match (self.line.verb(), named) {
            (None, _) => Verb::words().collect(),
            (Some(word), Some(true)) => rooms().iter().map(|it| format!("{word} {it}")).collect(),
            _ => Vec::new(),
        };
        let choice = self.line.complete(lines.iter().map(String::as_str));
        let last = |line: &&str| line.trim_end().rsplit(' ').next().map(str::to_owned);
        let choice: Vec<_> = choice.iter().filter_map(last).collect();
        log.draw("");
        if !choice.is_empty() {
            log.draw(choice.join("  ") + "\n");
        }
    }

    /// Connects the console with a room's terminal until [`LEAVE`] is typed, and draws what the room had written before.
    ///
    /// # Errors
    /// The console cannot be set.
    pub fn enter(&mut self, id: RoomId, room: &mut Running, log: &mut Log) -> Result<()> {
        let mut random = [0; 2];
        File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random))?;
        let mark = format!("{:04x}", u16::from_ne_bytes(random));
        // The last step that can fail: after it the console is the room's.
        self.set(true).context("set the console")?;
        let name = &room.policy.name;
        log.say(format!("terminal: inside {name} until Ctrl-]; mark {mark}"));
        let last = format!("terminal: left {name}; mark {mark}");
        log.draw(room.take_tail());
        log.set_inside(true);
        self.inside = Some(Inside {
            id,
            last,
            asked: None,
        });
        room.input(&[], self.ask_size(log));
        Ok(())
    }

    /// The size of the terminal where something was typed last, if it is known; else it is asked for.
    fn ask_size(&mut self, log: &mut Log) -> Option<libc::winsize> {
        if let Some(inside) = self.inside.as_mut().filter(|_| self.size.is_none()) {
            inside.asked = Some((boot_ms(), Keys::default()));
            log.draw(ASK);
        }
        self.size
    }

    /// Takes the console's answer about its size out of what was typed.
    fn take_size(&mut self, bytes: &[u8]) -> Typed {
        let asked = self.inside.as_mut().and_then(|it| it.asked.take());
        let Some((since_ms, mut begun)) = asked else {
            let keys = bytes.to_vec();
            return Typed { keys, size: None };
        };
        if boot_ms().saturating_sub(since_ms) > ANSWER_MS {
            let keys = [begun.begun(), bytes].concat();
            return Typed { keys, size: None };
        }
        let typed = part(&mut begun, bytes);
        if let Some(inside) = self.inside.as_mut().filter(|_| typed.size.is_none()) {
            inside.asked = Some((since_ms, begun));
        }
        typed
    }

    /// Takes what is typed inside a room: what of it is the room's.
    pub fn typed(&mut self, bytes: &[u8], log: &mut Log) -> Typed {
        let Typed { keys, mut size } = self.take_size(bytes);
        let mut parts = keys.split(|byte| *byte == LEAVE);
        let keys = parts.next().unwrap_or_default().to_vec();
        if keys.contains(&DRAW) {
            size = self.ask_size(log).or(size);
        }
        // The key was typed if it parts anything, even nothing from nothing.
        if parts.next().is_some() {
            self.leave(log);
        }
        Typed { keys, size }
    }

    /// Gives the console back to the operator line.
    pub fn leave(&mut self, log: &mut Log) {
        if let Some(inside) = self.inside.take() {
            let _ = self.set(false);
            log.draw(RESET);
            log.say(inside.last);
            log.set_inside(false);
            self.draw_question(log);
        }
    }
}

impl Terminal {
    /// Opens a terminal, whose settings stay as they are.
    ///
    /// # Errors
    /// It is none, or nobody has its other end.
    pub fn open(path: &str) -> Result<Self> {
        let device = open_device(path)?;
        let mut cooked = tcgetattr(&device).map_err(io::Error::from)?;
        let line = LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG | LocalFlags::IEXTEN;
        cooked.local_flags.remove(line);
        // Control-S is a key like others: who stops the line would hold the screen's process up.
        let flow = InputFlags::IXON | InputFlags::IXOFF;
        cooked.input_flags.remove(flow);
        let is_screen = path == SCREEN;
        Ok(Self {
            device,
            cooked,
            is_screen,
        })
    }

    /// Has it hand over each key; with `is_raw` also those with a meaning of their own.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn set(&self, is_raw: bool) -> nix::Result<()> {
        let mut settings = self.cooked.clone();
        if is_raw {
            cfmakeraw(&mut settings);
            settings.output_flags = self.cooked.output_flags;
        }
        tcsetattr(&self.device, SetArg::TCSANOW, &settings)
    }

    /// Its size, if it knows one; a serial line does not.
    fn size(&self) -> Option<libc::winsize> {
        let mut size = winsize(0, 0);
        // SAFETY: the kernel writes a size there, which outlives the call.
        let _ = unsafe { get_size(self.device.as_raw_fd(), &raw mut size) };
        (size.ws_row > 0).then_some(size)
    }
}

/// Parts what was typed from the answer of the terminal. `begun`: what of a key, or of the answer, has come before.
fn part(begun: &mut Keys, bytes: &[u8]) -> Typed {
    let mut typed = Typed::default();
    for byte in bytes {
        if typed.size.is_some() {
            typed.keys.push(*byte);
        } else if let Some(key) = begun.push(*byte, LONGEST_ANSWER) {
            typed.size = size(&key);
            typed
                .keys
                .extend(key.iter().filter(|_| typed.size.is_none()));
        }
    }
    typed
}

/// The size that the answer of a terminal says, `ESC [ ROWS ; COLUMNS R`.
fn size(answer: &[u8]) -> Option<libc::winsize> {
    let text = str::from_utf8(answer).ok()?.strip_prefix("\x1b[")?;
    let (rows, columns) = text.strip_suffix('R')?.split_once(';')?;
    Some(winsize(rows.parse().ok()?, columns.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(bytes: &[u8]) -> (String, Option<(u16, u16)>, usize) {
        let mut begun = Keys::default();
        let Typed { keys, size } = part(&mut begun, bytes);
        let size = size.map(|size| (size.ws_row, size.ws_col));
        (String::from_utf8(keys).unwrap(), size, begun.begun().len())
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
    fn u08_the_operator_line_takes_each_key_and_control_s_is_one() {
        let pty = nix::pty::openpty(None, None).unwrap();
        let path = nix::unistd::ttyname(&pty.slave).unwrap();
        let terminal = Terminal::open(path.to_str().unwrap()).unwrap();
        let console = Console {
            terminals: vec![terminal],
            ..Console::default()
        };
        console.set(false).unwrap();
        let settings = tcgetattr(&pty.slave).unwrap();
        assert!(!settings.input_flags.contains(InputFlags::IXON));
        assert!(
            !settings
                .local_flags
                .intersects(LocalFlags::ICANON | LocalFlags::ECHO)
        );
    }

    #[test]
    fn u08_what_a_room_has_made_of_the_terminal_ends_when_it_is_left() {
        let mut log = Log::default();
        let mut console = Console {
            inside: Some(Inside {
                id: RoomId::new(0),
                last: "terminal: left".to_owned(),
                asked: None,
            }),
            ..Console::default()
        };
        let screen = tempfile::tempfile().unwrap();
        log.set_screen(screen.try_clone().ok());
        console.leave(&mut log);
        let (mut text, mut screen) = (String::new(), screen);
        std::io::Seek::rewind(&mut screen).unwrap();
        screen.read_to_string(&mut text).unwrap();
        assert!(
            text.starts_with(RESET) && text.contains("terminal: left"),
            "{text:?}"
        );
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
            let (rest, size, begun) = answer(keys.as_bytes());
            match size {
                Some(_) => prop_assert!(rest.len() < keys.len()),
                None => {
                    let held = keys.strip_prefix(&rest).map(str::len);
                    prop_assert_eq!(held, Some(begun));
                }
            }
        }
    }
}
