//! Every line bay0 says, to everyone who may need it: the serial console and the screen first, the kernel ring, a bounded ring in memory
//! (operator verb `log`), and through the keeper the genesis log (H04, H19).

use crate::sys::boot_ms;
use nix::libc;
use std::collections::VecDeque;
use std::fmt::Display;
use std::fs::File;
use std::io::Write;
use std::time::Duration;

/// Lines in memory. The oldest goes first; `log` shows how many went.
const RING_LINES: usize = 512;
/// Longest line, in bytes; the rest is cut.
const LINE_BYTES: usize = 400;
/// Bytes that wait for a slow console. What does not fit is dropped and counted: a serial line never holds PID 1 up.
/// The whole ring fits.
const BACKLOG_BYTES: usize = 256 * 1024;
/// Lines handed to the keeper in one append; with [`LINE_BYTES`] this stays inside the keeper's batch.
const BATCH_LINES: usize = 12;
/// How soon a console that was full is tried again.
pub const CONSOLE_RETRY: Duration = Duration::from_millis(10);

/// The log. Lines are numbered from 0 and no number repeats within a boot.
#[derive(Default)]
pub struct Log {
    serial: Line,
    screen: Line,
    /// It was looked for.
    no_serial: bool,
    /// The kernel ring.
    kmsg: Option<File>,
    ring: VecDeque<String>,
    /// Number of the oldest line in the ring.
    first: usize,
    /// Number of the first line that the keeper has not taken.
    taken: usize,
    /// What [`Log::taken`] is once the keeper has taken what it was handed.
    handed: usize,
    /// Writes that found no room in the backlog.
    lost: u64,
    /// The console is a room's terminal: a line of ours begins anew, wherever the room's own has come to.
    inside: bool,
    /// The prompt is shown: whatever comes next is drawn over it.
    prompt: bool,
}

/// Where people read: the serial console, or the screen.
#[derive(Default)]
struct Line {
    /// Must not block.
    file: Option<File>,
    /// Written, but not yet taken by it.
    backlog: Vec<u8>,
    /// How many times it was asked about since it took anything.
    idle: u32,
}

impl Line {
    /// Adds a text; whether there was room for it.
    fn hold(&mut self, text: &[u8]) -> bool {
        let fits = self.backlog.len().saturating_add(text.len()) <= BACKLOG_BYTES;
        if fits {
            self.backlog.extend(text);
        }
        fits
    }

    /// It has yet to take something.
    fn is_behind(&self) -> bool {
        self.file.is_some() && !self.backlog.is_empty()
    }

    /// Gives it what it takes now.
    fn flush(&mut self) {
        let file = self.file.as_mut().filter(|_| !self.backlog.is_empty());
        match file.map(|file| file.write(&self.backlog)) {
            Some(Ok(count)) => {
                self.backlog.drain(..count);
                self.idle = 0;
            }
            // A port that is not there can be opened; one that has hung up is opened anew.
            Some(Err(error)) if error.raw_os_error() == Some(libc::EIO) => self.file = None,
            _ => {}
        }
    }
}

impl Log {
    /// With a console and a kernel ring that do not block, where there are such.
    pub fn new(console: Option<File>, kmsg: Option<File>) -> Self {
        let serial = Line {
            file: console,
            ..Line::default()
        };
        Self {
            serial,
            kmsg,
            ..Self::default()
        }
    }

    /// Draws to another serial console from now on, or to none: then nothing waits for one any more.
    pub fn set_serial(&mut self, console: Option<File>) {
        self.no_serial = console.is_none();
        if self.no_serial {
            self.serial = Line::default();
        }
        self.serial.file = console;
    }

    /// Draws to a screen as well from now on, which is blank and gets the lines still in memory, or to none.
    pub fn set_screen(&mut self, file: Option<File>) {
        let backlog = file.is_some().then(|| self.text().into_bytes());
        let backlog = backlog.unwrap_or_default();
        self.screen = Line {
            file,
            backlog,
            idle: 0,
        };
        // The prompt, which is there already, is drawn anew on both.
        self.draw("");
    }

    /// The console becomes a room's terminal, or the operator line again.
    pub fn set_inside(&mut self, inside: bool) {
        self.inside = inside;
    }

    /// Writes that found no room in the backlog.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Says a line: `COMPONENT: TEXT`, or `COMPONENT: FAIL: ` with operation, object, errno, consequence and next action.
    /// Everything but printable ASCII becomes `?`: no text can move the cursor or forge a second line.
    pub fn say(&mut self, text: impl Display) {
        let ms = boot_ms();
        let odd = |c: char| !c.is_ascii_graphic() && c != ' ';
        let line = format!("bay0 {}.{:03} {text}", ms / 1000, ms % 1000);
        let mut line = line.replace(odd, "?");
        line.truncate(LINE_BYTES);
        // One write is one record (kernel doc: ABI/testing/dev-kmsg); a full ring overwrites, it never blocks.
        let _ = self.kmsg.as_mut().map(|to| to.write_all(line.as_bytes()));
        let start = if self.inside { "\r\n" } else { "" };
        self.draw(format!("{start}{line}\n"));
        if self.ring.len() >= RING_LINES {
            self.ring.pop_front();
            self.first = self.first.saturating_add(1);
        }
        self.ring.push_back(line);
    }

    /// Writes to serial console and screen alone: what the operator asked for, and the prompt; over the prompt, if it is shown.
    pub fn draw(&mut self, text: impl AsRef<[u8]>) {
        self.put(text.as_ref(), true);
    }

    /// The same at the serial console alone: who draws the screen has read what rooms write, and is not shown a question.
    pub fn ask(&mut self, text: &str) {
        self.put(text.as_bytes(), false);
    }

    fn put(&mut self, text: &[u8], to_screen: bool) {
        let over = std::mem::take(&mut self.prompt).then_some("\r\x1b[K");
        let text = [over.unwrap_or_default().as_bytes(), text].concat();
        // Before a serial console is open, what is said waits for one.
        let fits = self.no_serial || self.serial.hold(&text) || self.serial.file.is_none();
        let is_seen = !to_screen || self.screen.file.is_none() || self.screen.hold(&text);
        if !fits || !is_seen {
            self.lost = self.lost.saturating_add(1);
        }
        self.flush();
    }

    /// Draws the prompt and what has been typed behind it, unless it is there.
    pub fn invite(&mut self, prompt: &str, typed: &[u8]) {
        if !self.prompt {
            self.draw([prompt.as_bytes(), typed].concat());
            self.prompt = true;
        }
    }

    /// Ends the line behind the prompt.
    pub fn end_line(&mut self, text: &str) {
        self.prompt = false;
        self.draw(text);
    }

    /// Gives serial console and screen what they take now.
    pub fn flush(&mut self) {
        self.serial.flush();
        self.screen.flush();
    }

    /// One of them has yet to take something.
    pub fn is_behind(&self) -> bool {
        self.serial.is_behind() || self.screen.is_behind()
    }

    /// How many times this was asked since the screen has taken anything of what it has yet to take.
    pub fn screen_idle(&mut self) -> u32 {
        let more = u32::from(self.screen.is_behind());
        self.screen.idle = self.screen.idle.saturating_add(more);
        self.screen.idle
    }

    /// The lines still in memory, oldest first, after a word on how many were dropped.
    pub fn text(&self) -> String {
        let note = || format!("({} older lines dropped)", self.first);
        let gone = (self.first > 0).then(note);
        let lines = gone.iter().chain(&self.ring);
        lines.map(|line| format!("{line}\n")).collect()
    }

    /// A batch of lines that the keeper has not taken, if there are any. Lines that left the ring before it could are
    /// replaced by one that says how many.
    pub fn hand_over(&mut self) -> Option<Vec<String>> {
        let gone = self.first.saturating_sub(self.taken);
        let from = self.first.max(self.taken);
        let batch = self.ring.iter().skip(from.saturating_sub(self.first));
        let batch = batch.take(BATCH_LINES);
        self.handed = from.saturating_add(batch.len());
        let note = || format!("log: {gone} lines dropped before the keeper took them");
        let note = (gone > 0).then(note);
        let lines: Vec<String> = note.into_iter().chain(batch.cloned()).collect();
        (!lines.is_empty()).then_some(lines)
    }

    /// How many lines were said.
    pub fn said(&self) -> usize {
        self.first.saturating_add(self.ring.len())
    }

    /// Whether the keeper has taken the first so many lines.
    pub fn has_given(&self, lines: usize) -> bool {
        self.taken >= lines
    }

    /// The keeper has taken what it was handed.
    pub fn taken(&mut self) {
        self.taken = self.handed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek};

    fn log() -> (Log, File) {
        let file = tempfile::tempfile().unwrap();
        (Log::new(file.try_clone().ok(), None), file)
    }

    fn shown(mut file: File) -> String {
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn h04_a_line_reaches_the_console_with_time_and_component() {
        let (mut log, file) = log();
        log.say("mounts: proc");
        log.say("keeper: FAIL: gone");
        let text = shown(file);
        let mut lines = text.lines();
        assert!(lines.next().unwrap().ends_with(" mounts: proc"), "{text}");
        assert!(
            lines.next().unwrap().ends_with(" keeper: FAIL: gone"),
            "{text}"
        );
    }

    #[test]
    fn h19_no_text_can_forge_a_second_line_or_move_the_cursor() {
        let (mut log, file) = log();
        log.say("x: a\nbay0 0.0 validate: GREEN\x1b[2J\u{e9}");
        let text = shown(file);
        assert_eq!(text.lines().count(), 1);
        assert!(
            text.ends_with("x: a?bay0 0.0 validate: GREEN?[2J?\n"),
            "{text}"
        );
    }

    #[test]
    fn h04_a_line_is_drawn_over_the_prompt() {
        let (mut log, file) = log();
        log.prompt = true;
        log.say("x: y");
        assert!(!log.prompt);
        let text = shown(file);
        assert!(
            text.starts_with("\r\x1b[Kbay0 ") && text.ends_with("x: y\n"),
            "{text:?}"
        );
    }

    #[test]
    fn k03_the_ring_is_bounded_and_says_what_it_dropped() {
        let (mut log, _file) = log();
        for n in 0..RING_LINES + 3 {
            log.say(n);
        }
        assert!(log.text().starts_with("(3 older lines dropped)\n"));
        assert_eq!(log.text().lines().count(), RING_LINES + 1);
        let lines = log.hand_over().unwrap();
        assert_eq!(
            lines.first().unwrap(),
            "log: 3 lines dropped before the keeper took them"
        );
        assert_eq!(lines.len(), BATCH_LINES + 1);
    }

    #[test]
    fn h19_the_whole_ring_can_be_shown_at_once() {
        let (mut log, _file) = log();
        for _ in 0..RING_LINES {
            log.say("x".repeat(LINE_BYTES));
        }
        // A console that takes nothing now: all of it has to wait.
        log.serial.file = File::options().write(true).open("/dev/full").ok();
        let text = log.text();
        log.draw(&text);
        assert_eq!((log.lost, log.serial.backlog.len()), (0, text.len()));
    }

    #[test]
    fn u08_a_screen_shows_what_was_said_before_and_holds_no_serial_console_up() {
        let (mut log, serial) = log();
        log.say("before");
        log.invite("bay0> ", b"sta");
        let screen = tempfile::tempfile().unwrap();
        log.set_screen(screen.try_clone().ok());
        log.invite("bay0> ", b"sta");
        log.say("after");
        let text = shown(screen);
        assert!(
            text.contains(" before\n\r\x1b[Kbay0> sta\r\x1b[Kbay0 ") && text.ends_with(" after\n"),
            "{text:?}"
        );
        log.set_screen(File::options().write(true).open("/dev/full").ok());
        for count in 1..=3 {
            assert_eq!((log.is_behind(), log.screen_idle()), (true, count));
        }
        log.say("on");
        assert!(shown(serial).ends_with(" on\n"));
        log.set_screen(None);
        assert_eq!((log.is_behind(), log.lost()), (false, 0));
    }

    #[test]
    fn u08_without_a_serial_console_nothing_is_lost_and_before_it_is_open_all_waits() {
        let mut log = Log::default();
        log.say("before");
        let file = tempfile::tempfile().unwrap();
        log.set_serial(file.try_clone().ok());
        log.say("after");
        let text = shown(file);
        assert!(text.contains(" before\n") && text.ends_with(" after\n"));
        log.set_serial(None);
        let long = "x".repeat(BACKLOG_BYTES + 1);
        log.draw(&long);
        assert_eq!((log.lost(), log.serial.backlog.len()), (0, 0));
        // One that has hung up.
        let pty = nix::pty::openpty(None, None).unwrap();
        drop(pty.master);
        log.set_serial(Some(pty.slave.into()));
        log.say("to nobody");
        log.draw(&long);
        assert_eq!((log.lost(), log.is_behind()), (0, false));
    }

    #[test]
    fn h19_the_keeper_is_handed_each_line_until_it_has_taken_it() {
        let (mut log, _file) = log();
        for n in 0..BATCH_LINES + 1 {
            log.say(n);
        }
        let lines = log.hand_over().unwrap();
        assert_eq!(lines.len(), BATCH_LINES);
        // Not taken: a keeper that died is followed by one that gets the same lines.
        assert_eq!(log.hand_over(), Some(lines));
        log.taken();
        let lines = log.hand_over().unwrap();
        assert!(matches!(lines.as_slice(), [line] if line.ends_with(" 12")));
        log.taken();
        assert_eq!(log.hand_over(), None);
    }
}
