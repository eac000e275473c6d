//! What a machine says on its console, in the order it says it: lines are waited for, and echoes of what was typed taken out.
//!
//! A machine may say more than anybody reads, and without an end. So every call takes what is there once, looks at each byte
//! a bounded number of times, and keeps its deadline while more comes.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use regex::Regex;

/// How an unfinished line ends that is not cut off but waits for somebody.
const PROMPT_END: &str = "> ";
/// Pieces taken in at once: more than wait when nobody read for minutes, and an end even if they come faster than they are taken.
const MOST_AT_ONCE: usize = 1_000_000;
/// How long the reader may take to hand over the last of a machine that has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// One machine's console.
pub struct Console {
    said: Receiver<Vec<u8>>,
    /// Everything read so far and where the next wait starts.
    text: Vec<u8>,
    cursor: usize,
    /// Lines that were typed and whose echo has not been heard yet.
    typed: Vec<Typed>,
}

struct Typed {
    echo: Vec<u8>,
    /// Where in the text it can begin at the earliest.
    from: usize,
}

/// How a wait for a line ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// The line, without its end.
    Line(String),
    /// There was none before the deadline.
    TooLate,
    /// The machine ended first.
    Ended,
}

impl Console {
    /// Everything that comes through `said`.
    pub fn new(said: Receiver<Vec<u8>>) -> Console {
        Console {
            said,
            text: Vec::new(),
            cursor: 0,
            typed: Vec::new(),
        }
    }

    /// Waits for the first line that `pattern` matches, from where the last match ended. An unfinished last line counts when it
    /// is a prompt (ends in `> `) or the machine has ended.
    pub fn wait_for(&mut self, pattern: &Regex, deadline: Duration) -> Found {
        let end = Instant::now() + deadline;
        let mut over = None;
        loop {
            if let Some(line) = self.find(pattern, over == Some(Found::Ended)) {
                return Found::Line(line);
            }
            if let Some(why) = over {
                return why;
            }
            let left = end.saturating_duration_since(Instant::now());
            over = match self.said.recv_timeout(left) {
                // What is there is handed out after the deadline as well: by a machine that never stops, without end.
                Ok(bytes) => {
                    self.hear(bytes);
                    left.is_zero().then_some(Found::TooLate)
                }
                Err(RecvTimeoutError::Timeout) => Some(Found::TooLate),
                Err(RecvTimeoutError::Disconnected) => Some(Found::Ended),
            };
        }
    }

    /// Waits until anything more is said, at most `limit`; no line is passed over.
    pub fn wait_for_more(&mut self, limit: Duration) {
        if let Ok(bytes) = self.said.recv_timeout(limit) {
            self.hear(bytes);
        }
    }

    /// The next wait begins at what is said from now on.
    pub fn skip(&mut self) {
        self.receive();
        self.cursor = self.text.len();
    }

    /// `line` is about to be typed: its echo is to be known when it comes.
    pub fn typed(&mut self, line: &str) {
        self.receive();
        self.typed.push(Typed {
            echo: format!("{line}\r\n").into_bytes(),
            from: self.text.len(),
        });
    }

    /// Everything said so far, without carriage returns.
    pub fn text(&mut self) -> String {
        self.receive();
        clean(&self.text)
    }

    /// Takes in the rest of a machine that has ended.
    pub fn drain(&mut self) {
        while let Ok(bytes) = self.said.recv_timeout(LAST_WORDS) {
            self.hear(bytes);
        }
    }

    fn receive(&mut self) {
        if let Ok(bytes) = self.said.try_recv() {
            self.hear(bytes);
        }
    }

    /// Takes in `first` and all that waits behind it, without the echo of a typed line that fell into the middle of another.
    fn hear(&mut self, first: Vec<u8>) {
        self.text.extend(first);
        for more in self.said.try_iter().take(MOST_AT_ONCE) {
            self.text.extend(more);
        }
        let mut at = 0;
        while let Some(typed) = self.typed.get_mut(at) {
            let Some(begin) = typed.find(&self.text) else {
                at += 1;
                continue;
            };
            let end = begin + self.typed.remove(at).echo.len();
            let taken = if is_amid(&self.text[..begin]) {
                self.text.drain(begin..end).len()
            } else {
                0
            };
            // Echoes come in order: that of a line typed later is behind this one.
            for (nth, other) in self.typed.iter_mut().enumerate() {
                let behind = if nth < at { 0 } else { end };
                other.from = other.from.max(behind).saturating_sub(taken);
            }
        }
    }

    fn find(&mut self, pattern: &Regex, ended: bool) -> Option<String> {
        let mut start = self.cursor;
        while let Some(rest) = self.text.get(start..).filter(|r| !r.is_empty()) {
            let (length, whole) = match rest.iter().position(|&b| b == b'\n') {
                Some(at) => (at + 1, true),
                None => (rest.len(), false),
            };
            let line = clean(&rest[..length]);
            let line = line.trim_end_matches('\n');
            if (whole || ended || line.ends_with(PROMPT_END)) && pattern.is_match(line) {
                self.cursor = start + length;
                return Some(line.to_owned());
            }
            if !whole {
                break;
            }
            start += length;
            self.cursor = start;
        }
        None
    }
}

impl Typed {
    /// Where its echo stands in `text`. What was looked at in vain is not looked at again: an echo that a line of the machine's
    /// tore in two is never found, however much is said after it.
    fn find(&mut self, text: &[u8]) -> Option<usize> {
        let rest = text.get(self.from..)?;
        let found = rest.windows(self.echo.len()).position(|s| s == self.echo);
        if found.is_none() {
            self.from = self
                .from
                .max((text.len() + 1).saturating_sub(self.echo.len()));
        }
        found.map(|at| self.from + at)
    }
}

/// Whether what follows is in the middle of a line: neither at its beginning nor behind a prompt.
fn is_amid(before: &[u8]) -> bool {
    let begins = before.is_empty() || before.ends_with(b"\n");
    !begins && !before.ends_with(PROMPT_END.as_bytes()) && !before.ends_with(b"\x1b[K")
}

/// What a terminal would show: no carriage returns, and nothing that was erased with "return, erase to the end of the line" (how the
/// operator line takes its prompt back when a log line comes).
fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let shown = text
        .split_inclusive('\n')
        .map(|line| line.rsplit("\r\x1b[K").next().unwrap_or(line));
    shown.collect::<String>().replace('\r', "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    /// Longest that a test waits for what takes no time.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn console(said: &[u8]) -> (mpsc::Sender<Vec<u8>>, Console) {
        let (sender, receiver) = mpsc::channel();
        sender.send(said.to_vec()).unwrap();
        (sender, Console::new(receiver))
    }

    fn line(pattern: &str) -> Regex {
        Regex::new(pattern).unwrap()
    }

    #[test]
    fn an_echo_in_the_middle_of_a_line_is_taken_out_and_one_at_a_prompt_stays() {
        let (sender, mut console) = console(b"bay0> ");
        console.typed("poweroff");
        console.typed("poweroff");
        console.typed("help");
        for said in [
            "poweroff\r\nnot encry",
            "ptedpower",
            "off\r\n\r\nhe",
            "lp\r\n",
        ] {
            sender.send(said.into()).unwrap();
            console.text();
        }
        assert_eq!(console.text(), "bay0> poweroff\nnot encrypted\nhelp\n");
        assert!(console.typed.is_empty());
    }

    #[test]
    fn an_echo_that_was_torn_costs_no_more_than_what_is_said_after_it() {
        let (sender, mut console) = console(b"");
        console.typed("a torn line");
        for _ in 0..100 {
            sender.send(b"a torn bay0 1.2 keeper\r\n".to_vec()).unwrap();
            console.text();
        }
        let looked_at = console.typed[0].from;
        assert_eq!(looked_at, console.text.len() + 1 - "a torn line\r\n".len());
    }

    /// Each call ends although the machine says more for as long as it is heard, and that faster than it is taken in.
    #[test]
    fn a_machine_that_never_stops_talking_holds_no_call_up() {
        let (done, ended) = mpsc::channel();
        thread::spawn(move || {
            let (sender, mut console) = console(b"first\n");
            let talks = thread::spawn(move || while sender.send(b"ack\n".to_vec()).is_ok() {});
            // On a busy host the other thread may take its time until it begins.
            let begun = console.wait_for(&line("^ack$"), PATIENCE);
            assert_eq!(begun, Found::Line("ack".to_owned()));
            console.typed("never heard");
            let found = console.wait_for(&line("^never$"), Duration::from_millis(1));
            assert_eq!(found, Found::TooLate);
            assert!(console.text().starts_with("first\nack\n"));
            console.skip();
            drop(console);
            talks.join().unwrap();
            done.send(()).unwrap();
        });
        ended.recv_timeout(PATIENCE).unwrap();
    }

    #[test]
    fn a_line_is_found_whole_at_a_prompt_and_at_the_end_of_the_machine() {
        let (sender, mut console) = console(b"one\r\ntwo\r\nbay0> ");
        let found = |s: &str| Found::Line(s.to_owned());
        assert_eq!(console.wait_for(&line("^t"), PATIENCE), found("two"));
        assert_eq!(console.wait_for(&line("> $"), PATIENCE), found("bay0> "));
        sender.send(b"cut o".to_vec()).unwrap();
        let no_time = Duration::ZERO;
        assert_eq!(console.wait_for(&line("cut"), no_time), Found::TooLate);
        drop(sender);
        assert_eq!(console.wait_for(&line("cut"), no_time), found("cut o"));
        assert_eq!(console.wait_for(&line("cut"), no_time), Found::Ended);
    }

    #[test]
    fn a_prompt_taken_back_for_a_log_line_is_not_part_of_the_line() {
        assert_eq!(
            clean(b"bay0> \r\x1b[Kbay0 8.2 validate: GREEN\r\nbay0> he"),
            "bay0 8.2 validate: GREEN\nbay0> he"
        );
    }
}
