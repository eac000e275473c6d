//! The editor of the operator line: the bytes of a terminal become lines. It does no input or output of its own.
//!
//! | key | does |
//! | --- | --- |
//! | Left, Right, Home, End, Control-A, Control-E | move the cursor |
//! | Backspace, Delete, Control-U, Control-K, Control-W | erase a character, all before the cursor, all behind it, a word |
//! | Up, Down, Control-P, Control-N | earlier lines of this boot, later ones |
//! | Tab | completes a verb or a name |
//! | Control-C | gives the line up |
//! | Control-L | draws it again |
//! | Enter | ends it |
//!
//! Keys are read as `console_codes(4)` and xterm send them. Every other key does nothing.

use std::collections::VecDeque;

/// Longest line, in bytes. More than the grammar takes, so that a line that is too long is refused by it and not cut.
const LINE_BYTES: usize = 1024;
/// Earlier lines in memory.
const HISTORY: usize = 32;
/// Longest of them, in bytes; a longer one is not recalled.
const HISTORY_BYTES: usize = 128;
/// Longest sequence that a key sends, in bytes.
const SEQUENCE_BYTES: usize = 8;
const ESCAPE: u8 = 0x1b;

/// What a key asks for.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Act {
    /// The line is drawn again.
    Redraw,
    /// There is no room for another byte.
    Bell,
    /// The line is to be completed.
    Complete,
    /// The line has ended.
    Entered(String),
    /// The line was given up.
    Dropped,
}

/// Parts what a terminal sends into keys: one byte, or ESC, `[` or `O`, digits, a last byte.
#[derive(Default)]
pub struct Keys(Vec<u8>);

impl Keys {
    /// Takes one byte; a key, once all of it has come or it is `most` bytes long. ESC begins another one.
    pub fn push(&mut self, byte: u8, most: usize) -> Option<Vec<u8>> {
        if byte == ESCAPE && !self.0.is_empty() {
            return Some(std::mem::replace(&mut self.0, vec![byte]));
        }
        self.0.push(byte);
        let begun = match self.0.as_slice() {
            [ESCAPE] | [ESCAPE, b'[' | b'O'] => true,
            [ESCAPE, b'[', .., b'0'..=b'9' | b';'] => self.0.len() < most,
            _ => false,
        };
        (!begun).then(|| std::mem::take(&mut self.0))
    }

    /// The bytes of a key that has not come to its end.
    pub fn begun(&self) -> &[u8] {
        &self.0
    }
}

/// A line that is being typed, and those before it.
#[derive(Default)]
pub struct Line {
    text: Vec<u8>,
    /// Where the next byte goes.
    cursor: usize,
    keys: Keys,
    history: VecDeque<Vec<u8>>,
    /// How far back in the history the line was taken from.
    back: usize,
}

impl Line {
    /// Takes one byte from the terminal.
    pub fn key(&mut self, byte: u8) -> Act {
        let key = self.keys.push(byte, SEQUENCE_BYTES).unwrap_or_default();
        let (cursor, end) = (self.cursor, self.text.len());
        match key.as_slice() {
            [b'\r' | b'\n'] => return self.enter(),
            [b'\t'] => return Act::Complete,
            [0x03] => {
                self.set(Vec::new());
                return Act::Dropped;
            }
            [0x01] | [_, _, b'H'] | [_, _, b'1' | b'7', b'~'] => self.cursor = 0,
            [0x05] | [_, _, b'F'] | [_, _, b'4' | b'8', b'~'] => self.cursor = end,
            [_, _, b'C'] => self.cursor = end.min(cursor.saturating_add(1)),
            [_, _, b'D'] => self.cursor = cursor.saturating_sub(1),
            [0x08 | 0x7f] => self.erase(cursor.saturating_sub(1)..cursor),
            [_, _, b'3', b'~'] => self.erase(cursor..end.min(cursor.saturating_add(1))),
            [0x0b] => self.erase(cursor..end),
            [0x15] => self.erase(0..cursor),
            [0x17] => self.erase(self.word()..cursor),
            [0x0e] | [_, _, b'B'] => self.recall(self.back.saturating_sub(1)),
            [0x10] | [_, _, b'A'] => self.recall(self.back.saturating_add(1)),
            [0x20..=0xff] if end >= LINE_BYTES => return Act::Bell,
            [byte @ 0x20..=0xff] => {
                self.text.insert(cursor, *byte);
                self.cursor = cursor.saturating_add(1);
            }
            _ => {}
        }
        Act::Redraw
    }

    /// The verb before the cursor, if a name is typed behind it.
    pub fn verb(&self) -> Option<&str> {
        let text = str::from_utf8(&self.text).ok()?;
        text.split_once(' ').map(|(verb, _)| verb)
    }

    /// What of the line is drawn behind the prompt, the cursor where it belongs.
    pub fn shown(&self) -> Vec<u8> {
        let mut bytes = self.text.clone();
        let behind = bytes.len().saturating_sub(self.cursor);
        if behind > 0 {
            bytes.extend(format!("\x1b[{behind}D").into_bytes());
        }
        bytes
    }

    /// Completes the line with what all of these have in common that begin like it. The ones to choose from, if that adds nothing.
    pub fn complete<'a>(&mut self, all: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
        if self.cursor < self.text.len() {
            return Vec::new();
        }
        let fits =
            |word: &&str| word.len() > self.text.len() && word.as_bytes().starts_with(&self.text);
        let fits: Vec<&str> = all.filter(fits).collect();
        let Some((first, others)) = fits.split_first() else {
            return Vec::new();
        };
        let common = |length: usize, other: &&str| {
            let pairs = first.bytes().zip(other.bytes());
            pairs.take(length).take_while(|(a, b)| a == b).count()
        };
        let length = others.iter().fold(first.len(), common);
        let whole = first.as_bytes().get(..length).unwrap_or_default();
        if whole.len() > self.text.len() {
            self.text = whole.to_vec();
            self.cursor = whole.len();
            return Vec::new();
        }
        fits
    }

    fn erase(&mut self, range: std::ops::Range<usize>) {
        self.cursor = range.start;
        self.text.drain(range);
    }

    /// Where the word begins that ends at the cursor.
    fn word(&self) -> usize {
        let before = self.text.get(..self.cursor).unwrap_or_default();
        let word = before.trim_ascii_end();
        let space = word.iter().rposition(|byte| *byte == b' ');
        space.map_or(0, |at| at.saturating_add(1))
    }

    fn set(&mut self, text: Vec<u8>) {
        self.cursor = text.len();
        self.text = text;
        self.back = 0;
    }

    fn enter(&mut self) -> Act {
        let text = std::mem::take(&mut self.text);
        self.set(Vec::new());
        let short = text.len() <= HISTORY_BYTES && !text.trim_ascii().is_empty();
        if short && self.history.back() != Some(&text) {
            self.history.push_back(text.clone());
        }
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
        Act::Entered(String::from_utf8_lossy(&text).into_owned())
    }

    /// Takes the line that was entered so many before this one; none is an empty line.
    fn recall(&mut self, back: usize) {
        if back <= self.history.len() {
            let at = self.history.len().saturating_sub(back);
            self.set(self.history.get(at).cloned().unwrap_or_default());
            self.back = back;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Types; the lines that were entered.
    fn typed(line: &mut Line, keys: &[u8]) -> Vec<String> {
        let acts = keys.iter().map(|key| line.key(*key)).collect::<Vec<_>>();
        let entered = acts.into_iter().filter_map(|act| match act {
            Act::Entered(text) => Some(text),
            _ => None,
        });
        entered.collect()
    }

    #[test]
    fn h14_a_line_is_what_stands_on_the_screen_when_it_is_entered() {
        for (keys, entered) in [
            (&b"status\r"[..], "status"),
            (b"statsu\x7f\x7fus\n", "status"),
            (b"tatus\x01s\r", "status"),
            (b"tatus\x1b[Hs\x1b[Fx\x08\r", "status"),
            (
                b"stXtus\x1b[D\x1b[D\x1b[D\x1b[Dx\x1b[3~\x15s\x0batus\r",
                "satus",
            ),
            (b"sXatus\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x1b[3~t\r", "status"),
            (b"stop p://work\x17p://dev\r", "stop p://dev"),
            (b"stop p://work \x17\x17\r", ""),
            (b"halt\x03status\r", "status"),
            (b"sta\x0ctus\r", "status"),
            (b"\x1b[C\x1b[D\x1b[3~\x7f\x17\x15\x0bhelp\r", "help"),
            (
                b"he\x1b[1;5Clp\x1b[24;80R\x1b[99999999999~\x1bx\r",
                "help99999~",
            ),
        ] {
            let mut line = Line::default();
            assert_eq!(typed(&mut line, keys), [entered], "{keys:?}");
        }
    }

    #[test]
    fn h14_earlier_lines_come_back_and_the_last_comes_once() {
        let mut line = Line::default();
        typed(&mut line, b"rooms\rstatus\rstatus\r \r");
        let up = b"\x1b[A";
        assert_eq!(typed(&mut line, &[up, &b"\r"[..]].concat()), ["status"]);
        assert_eq!(typed(&mut line, &[up, up, &b"\r"[..]].concat()), ["rooms"]);
        // Above the first one there is nothing, below the last one an empty line.
        let keys = [&up.repeat(9)[..], b"\x1b[B\x1bOB\x0e\x0e\r"].concat();
        assert_eq!(typed(&mut line, &keys), [""]);
        for n in 0..HISTORY + 9 {
            typed(&mut line, format!("line {n}\r").as_bytes());
        }
        typed(&mut line, &b"x".repeat(HISTORY_BYTES + 1));
        assert_eq!(typed(&mut line, b"\r").len(), 1);
        assert_eq!(line.history.len(), HISTORY);
        assert_eq!(
            typed(&mut line, b"\x10\r"),
            [format!("line {}", HISTORY + 8)]
        );
    }

    #[test]
    fn h14_a_line_is_completed_as_far_as_it_is_clear() {
        let all = [
            "start ",
            "status",
            "stop ",
            "start p://dev",
            "start p://work",
        ];
        let mut line = Line::default();
        let mut tab = |keys: &[u8]| {
            let _ = typed(&mut line, keys);
            let choice = line.complete(all.into_iter());
            (String::from_utf8(line.shown()).unwrap(), choice.len())
        };
        assert_eq!(tab(b"s"), ("st".into(), 0));
        assert_eq!(tab(b""), ("st".into(), 5));
        assert_eq!(tab(b"o"), ("stop ".into(), 0));
        assert_eq!(tab(b"\x15sta"), ("sta".into(), 4));
        assert_eq!(tab(b"rt"), ("start ".into(), 0));
        assert_eq!(tab(b"p"), ("start p://".into(), 0));
        assert_eq!(tab(b"d"), ("start p://dev".into(), 0));
        assert_eq!(tab(b"x"), ("start p://devx".into(), 0));
        // In the middle of a line nothing is completed.
        assert_eq!(tab(b"\x15st\x1b[D"), ("st\x1b[1D".into(), 0));
    }

    #[test]
    fn h14_each_key_asks_for_what_the_table_says_and_a_full_line_for_the_bell() {
        let mut line = Line::default();
        assert_eq!(line.key(b'a'), Act::Redraw);
        assert_eq!(line.key(0x01), Act::Redraw);
        assert_eq!(line.key(b'b'), Act::Redraw);
        assert_eq!(line.shown(), b"ba\x1b[1D");
        assert_eq!(line.key(b'\t'), Act::Complete);
        assert_eq!(line.key(0x00), Act::Redraw);
        assert_eq!(line.shown(), b"ba\x1b[1D");
        assert_eq!(line.key(0x03), Act::Dropped);
        for _ in 0..LINE_BYTES {
            let _ = line.key(b'x');
        }
        assert_eq!(line.key(b'x'), Act::Bell);
    }

    #[test]
    fn h14_escape_begins_another_key_whatever_came_before() {
        let mut line = Line::default();
        assert_eq!(typed(&mut line, b"ab\x1b[1\x1b\x1b[Dx\r"), ["axb"]);
    }

    proptest! {
        #[test]
        fn a16_no_keys_leave_the_cursor_outside_the_line(keys in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut line = Line::default();
            for key in keys {
                let _ = line.key(key);
                prop_assert!(line.cursor <= line.text.len());
                prop_assert!(line.text.len() <= LINE_BYTES && line.history.len() <= HISTORY);
                prop_assert!(line.keys.begun().len() < SEQUENCE_BYTES);
                prop_assert!(!line.text.iter().any(u8::is_ascii_control));
            }
        }
    }
}
