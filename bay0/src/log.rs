//! Every line bay0 says, to everyone who may need it: the serial console first, the kernel ring, a bounded ring in memory
//! (operator verb `log`), and through the keeper the genesis log (H04, H19).

use std::collections::VecDeque;
use std::fmt::Display;
use std::fs::File;
use std::io::Write;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Lines kept in memory. The oldest goes first, and how many went is said.
const RING_LINES: usize = 512;
/// Longest line, in bytes; the rest is cut.
const LINE_BYTES: usize = 400;
/// Bytes that wait for a slow console. What does not fit is dropped and counted: a serial line never holds PID 1 up.
const BACKLOG_BYTES: usize = 64 * 1024;
/// Lines handed to the keeper in one append; with [`LINE_BYTES`] this stays inside the keeper's batch.
const BATCH_LINES: usize = 12;
/// What invites the operator to type.
pub const PROMPT: &str = "bay0> ";

/// The log. Lines are numbered from 0 and no number repeats within a boot.
pub struct Log {
    console: File,
    kmsg: Option<File>,
    ring: VecDeque<String>,
    /// Number of the oldest line in the ring.
    first: u64,
    /// Number of the first line that the genesis log has not acknowledged.
    kept: u64,
    /// Written, but not yet taken by the console.
    backlog: VecDeque<u8>,
    /// Writes that found no room in the backlog.
    pub lost: u64,
    /// The prompt is shown: each line is drawn over it and shows it again.
    pub prompt: bool,
}

impl Log {
    /// Takes over `console`.
    pub fn new(console: File) -> Log {
        Log {
            console,
            kmsg: None,
            ring: VecDeque::new(),
            first: 0,
            kept: 0,
            backlog: VecDeque::new(),
            lost: 0,
            prompt: false,
        }
    }

    /// Goes on with another console (the first one blocks, this one must not) and joins the kernel ring, which is given
    /// what was said before.
    pub fn attach(&mut self, console: File, kmsg: Option<File>) {
        self.console = console;
        self.kmsg = kmsg;
        for line in &self.ring {
            to_kernel(self.kmsg.as_mut(), line);
        }
    }

    /// Says a line: `COMPONENT: TEXT`, or `COMPONENT: FAIL: ` with operation, object, errno, consequence and next action.
    pub fn say(&mut self, text: impl Display) {
        let ms = boot_ms();
        let full = format!("bay0 {}.{:03} {text}", ms / 1000, ms % 1000);
        let line: String = full.chars().map(printable).take(LINE_BYTES).collect();
        to_kernel(self.kmsg.as_mut(), &line);
        match self.prompt {
            true => self.draw(&format!("\r\x1b[K{line}\n{PROMPT}")),
            false => self.draw(&format!("{line}\n")),
        }
        if self.ring.len() >= RING_LINES {
            self.ring.pop_front();
            self.first = self.first.saturating_add(1);
        }
        self.ring.push_back(line);
    }

    /// Writes to the console alone: what the operator asked for, and the prompt.
    pub fn draw(&mut self, text: &str) {
        if self.backlog.len().saturating_add(text.len()) > BACKLOG_BYTES {
            self.lost = self.lost.saturating_add(1);
            return;
        }
        self.backlog.extend(text.bytes());
        self.flush();
    }

    /// Gives the console what it takes now; true if nothing is left over.
    pub fn flush(&mut self) -> bool {
        loop {
            let (front, _) = self.backlog.as_slices();
            match self.console.write(front) {
                _ if front.is_empty() => return true,
                Ok(n) if n > 0 => drop(self.backlog.drain(..n)),
                _ => return false,
            }
        }
    }

    /// The console has yet to take something.
    pub fn is_behind(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// The lines still in memory, oldest first, after a word on how many were dropped.
    pub fn text(&self) -> String {
        let mut text = match self.first {
            0 => String::new(),
            gone => format!("({gone} older lines dropped)\n"),
        };
        for line in &self.ring {
            text.extend([line, "\n"]);
        }
        text
    }

    /// A batch of lines that the genesis log has not acknowledged, and the number after the last of them. Lines that left
    /// the ring before the keeper could take them are replaced by one that says how many.
    pub fn unkept(&self) -> Option<(Vec<String>, u64)> {
        let from = self.kept.max(self.first);
        let skip = usize::try_from(from.saturating_sub(self.first)).ok()?;
        let ring = self.ring.iter().skip(skip).take(BATCH_LINES);
        let mut lines: Vec<String> = ring.cloned().collect();
        let next = from.saturating_add(u64::try_from(lines.len()).ok()?);
        let gone = from.saturating_sub(self.kept);
        if gone > 0 {
            lines.insert(
                0,
                format!("log: {gone} lines dropped before the keeper took them"),
            );
        }
        (next > from).then_some((lines, next))
    }

    /// The genesis log has everything before line `next`.
    pub fn kept(&mut self, next: u64) {
        self.kept = self.kept.max(next);
    }
}

/// Milliseconds since the kernel started, suspended time included (`clock_gettime(2)`).
pub fn boot_ms() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(0))
}

/// Everything but printable ASCII becomes `?`: no text can move the cursor or forge a second line.
fn printable(c: char) -> char {
    if c.is_ascii_graphic() || c == ' ' {
        c
    } else {
        '?'
    }
}

fn to_kernel(kmsg: Option<&mut File>, line: &str) {
    // One write is one record (kernel doc: ABI/testing/dev-kmsg); a full ring overwrites, it never blocks.
    let _ = kmsg.map(|kmsg| kmsg.write_all(line.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek};

    fn log() -> (Log, File) {
        let file = tempfile::tempfile().unwrap();
        (Log::new(file.try_clone().unwrap()), file)
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
    fn h04_a_line_is_drawn_above_the_prompt() {
        let (mut log, file) = log();
        log.prompt = true;
        log.say("x: y");
        let text = shown(file);
        assert!(
            text.starts_with("\r\x1b[Kbay0 ") && text.ends_with("x: y\nbay0> "),
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
        let (lines, next) = log.unkept().unwrap();
        assert_eq!(
            lines.first().unwrap(),
            "log: 3 lines dropped before the keeper took them"
        );
        assert_eq!(
            (lines.len(), next),
            (BATCH_LINES + 1, 3 + BATCH_LINES as u64)
        );
        log.kept(u64::MAX);
        assert_eq!(log.unkept(), None);
    }
}
