//! A small terminal: the bytes that are written to it become rows of characters and a cursor. It knows what PID 1's own line draws with
//! and what programs in a room do that take it for Linux's (`console_codes(4)`) but for colours; the rest is taken and does nothing.
//!
//! | bytes | do |
//! | --- | --- |
//! | a character of ASCII | stands at the cursor, which goes on; behind the last column it goes to the next row |
//! | a character of more than one byte | is drawn as `?` |
//! | CR, LF, BS, TAB | move the cursor; below the last row everything moves up |
//! | `ESC [ n A`, `B`, `C`, `D`, `G`, `d`, `ESC [ n ; m H`, `f` | move the cursor |
//! | `ESC 7`, `ESC 8`, `ESC [ s`, `ESC [ u` | save the cursor, bring it back |
//! | `ESC [ J`, `ESC [ K` | erase, to the end, from the beginning (1) or all (2) |
//! | `ESC [ n P`, `@`, `X` | take characters out, put blanks in, erase them |
//! | `ESC [ n M`, `L` | take rows out, put blank ones in |
//! | `ESC [ n ; m r` | only these rows move up or down, and the cursor goes to the first place of all |
//! | `ESC D`, `ESC E`, `ESC M`, `ESC c` | go down a row, to the next line, up a row; begin anew |
//! | `ESC [ 7 m` | dark on light, until another `m` |

use super::glyph::INVERSE;

const ESCAPE: u8 = 0x1b;
/// Ends a sequence that has begun.
const CANCEL: [u8; 2] = [0x18, 0x1a];
/// Most numbers of a sequence; those behind are left out.
const NUMBERS: usize = 8;
/// From one tabulator to the next.
const TAB: usize = 8;

/// What the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Text,
    /// Behind ESC.
    Escaped,
    /// Behind `ESC [`.
    Sequence,
    /// Behind `ESC (` or the like: a character set, of one byte.
    Set,
    /// Behind `ESC ]` or the like: a text for somebody else, up to BEL or ESC.
    Title,
}

/// Rows of cells, each a character and perhaps [`INVERSE`].
pub struct Terminal {
    cells: Vec<Vec<u8>>,
    columns: usize,
    row: usize,
    /// Behind the last one, if the next character is to go to the next row.
    column: usize,
    saved: (usize, usize),
    /// The rows that move up and down: the first, and the one behind the last.
    region: (usize, usize),
    inverse: u8,
    next: Next,
    numbers: Vec<usize>,
    /// The sequence has a byte in it that makes it another one.
    private: bool,
}

impl Terminal {
    /// A blank one; it has at least one row and one column.
    pub fn new(rows: usize, columns: usize) -> Self {
        let columns = columns.max(1);
        Self {
            cells: vec![vec![b' '; columns]; rows.max(1)],
            columns,
            row: 0,
            column: 0,
            saved: (0, 0),
            region: (0, rows.max(1)),
            inverse: 0,
            next: Next::Text,
            numbers: Vec::new(),
            private: false,
        }
    }

    /// Takes another size. What is above the cursor goes first.
    pub fn resize(&mut self, rows: usize, columns: usize) {
        (self.columns, self.saved, self.region) = (columns.max(1), (0, 0), (0, rows.max(1)));
        let above = self.row.saturating_add(1).saturating_sub(rows.max(1));
        self.cells.drain(..above);
        self.row = self.row.saturating_sub(above);
        self.column = self.column.min(self.columns);
        self.cells.resize(rows.max(1), Vec::new());
        for row in &mut self.cells {
            row.resize(self.columns, b' ');
        }
    }

    /// Every row as it is to be seen, the cursor in it.
    pub fn shown(&self) -> Vec<Vec<u8>> {
        let mut cells = self.cells.clone();
        let column = self.column.min(self.columns.saturating_sub(1));
        if let Some(cell) = cells.get_mut(self.row).and_then(|it| it.get_mut(column)) {
            *cell ^= INVERSE;
        }
        cells
    }

    /// Takes what was written.
    pub fn take(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.byte(*byte));
    }

    fn byte(&mut self, byte: u8) {
        self.next = match (self.next, byte) {
            (_, ESCAPE) => Next::Escaped,
            (Next::Escaped, b'[') => {
                (self.numbers, self.private) = (vec![0], false);
                Next::Sequence
            }
            (Next::Escaped, b'(' | b')' | b'#' | b'%') => Next::Set,
            (Next::Escaped, b']' | b'P' | b'X' | b'^' | b'_') | (Next::Title, 0x08..) => {
                Next::Title
            }
            (Next::Escaped, b'7') => self.save(),
            (Next::Escaped, b'8') => self.restore(),
            (Next::Escaped, b'D') => self.feed(),
            (Next::Escaped, b'E') => {
                self.column = 0;
                self.feed()
            }
            (Next::Escaped, b'M') => self.back(),
            (Next::Escaped, b'c') => {
                *self = Self::new(self.cells.len(), self.columns);
                Next::Text
            }
            (Next::Sequence, byte) if !CANCEL.contains(&byte) => self.sequence(byte),
            (Next::Text, byte) => self.text(byte),
            _ => Next::Text,
        };
    }

    fn save(&mut self) -> Next {
        self.saved = (self.row, self.column);
        Next::Text
    }

    fn restore(&mut self) -> Next {
        let (row, column) = self.saved;
        self.go(row, column)
    }

    /// The cursor goes there, or as far as it can.
    fn go(&mut self, row: usize, column: usize) -> Next {
        self.row = row.min(self.cells.len().saturating_sub(1));
        self.column = column.min(self.columns.saturating_sub(1));
        Next::Text
    }

    fn text(&mut self, byte: u8) -> Next {
        match byte {
            b'\r' => self.column = 0,
            b'\n' => return self.feed(),
            0x08 => self.column = self.column.saturating_sub(1),
            b'\t' => {
                let tab = (self.column / TAB).saturating_add(1).saturating_mul(TAB);
                self.column = tab.min(self.columns.saturating_sub(1));
            }
            b' '..=b'~' => self.put(byte),
            // The first byte of a character of UTF-8; those that continue it are left out.
            0xc0.. => self.put(b'?'),
            _ => {}
        }
        Next::Text
    }

    fn put(&mut self, character: u8) {
        if self.column >= self.columns {
            self.column = 0;
            let _ = self.feed();
        }
        let cell = character | self.inverse;
        let (column, row) = (self.column, self.cells.get_mut(self.row));
        if let Some(place) = row.and_then(|it| it.get_mut(column)) {
            *place = cell;
        }
        self.column = column.saturating_add(1);
    }

    /// The next row; behind the last one, everything moves up.
    fn feed(&mut self) -> Next {
        let (top, end) = self.region;
        let next = self.row.saturating_add(1);
        if next == end {
            self.scroll(top, 1, true);
        } else if next < self.cells.len() {
            self.row = next;
        }
        Next::Text
    }

    /// The row before; before the first one, everything moves down.
    fn back(&mut self) -> Next {
        if self.row == self.region.0 {
            self.scroll(self.row, 1, false);
        } else {
            self.row = self.row.saturating_sub(1);
        }
        Next::Text
    }

    /// Takes rows out, from this one on, or puts blank ones in.
    fn scroll(&mut self, from: usize, count: usize, is_out: bool) -> Next {
        let blank = vec![b' '; self.columns];
        if let Some(rows) = self.cells.get_mut(from..self.region.1) {
            rotate(rows, count, is_out, &blank);
        }
        Next::Text
    }

    fn erase(&mut self, row: usize, from: usize, to: usize) -> Next {
        let row = self.cells.get_mut(row);
        if let Some(cells) = row.and_then(|it| it.get_mut(from..to)) {
            cells.fill(b' ');
        }
        Next::Text
    }

    fn sequence(&mut self, byte: u8) -> Next {
        match byte {
            b'0'..=b'9' => {
                if let Some(number) = self.numbers.last_mut() {
                    let digit = usize::from(byte.saturating_sub(b'0'));
                    *number = number.saturating_mul(10).saturating_add(digit);
                }
            }
            b';' if self.numbers.len() < NUMBERS => self.numbers.push(0),
            b'@'..=b'~' => {
                if !self.private {
                    self.act(byte);
                }
                return Next::Text;
            }
            _ => self.private = true,
        }
        Next::Sequence
    }

    /// Does what a sequence asks for that has come to its last byte.
    fn act(&mut self, byte: u8) {
        let number = |at: usize| self.numbers.get(at).copied().unwrap_or(0);
        let (kind, count, second) = (number(0), number(0).max(1), number(1).max(1));
        let (row, column) = (self.row, self.column.min(self.columns.saturating_sub(1)));
        let to = |place: usize| place.saturating_sub(1);
        let _ = match byte {
            b'A' => self.go(row.saturating_sub(count), column),
            b'B' => self.go(row.saturating_add(count), column),
            b'C' => self.go(row, column.saturating_add(count)),
            b'D' => self.go(row, self.column.saturating_sub(count)),
            b'G' => self.go(row, to(count)),
            b'd' => self.go(to(count), column),
            b'H' | b'f' => self.go(to(count), to(second)),
            b's' => self.save(),
            b'u' => self.restore(),
            b'J' => self.erase_rows(kind, column),
            b'K' => self.erase_row(kind, column),
            b'L' | b'M' => self.scroll(row, count, byte == b'M'),
            b'P' | b'@' => self.shift(byte == b'P', count, column),
            b'X' => {
                let end = column.saturating_add(count).min(self.columns);
                self.erase(row, column, end)
            }
            b'r' => {
                let end = if number(1) == 0 { usize::MAX } else { second };
                let end = end.min(self.cells.len());
                self.region = (to(count).min(to(end)), end);
                self.go(0, 0)
            }
            b'm' => {
                self.inverse = if self.numbers.contains(&7) {
                    INVERSE
                } else {
                    0
                };
                Next::Text
            }
            _ => Next::Text,
        };
    }

    fn erase_row(&mut self, kind: usize, column: usize) -> Next {
        let (from, to) = match kind {
            0 => (column, self.columns),
            1 => (0, column.saturating_add(1)),
            _ => (0, self.columns),
        };
        self.erase(self.row, from, to)
    }

    fn erase_rows(&mut self, kind: usize, column: usize) -> Next {
        let rows = match kind {
            0 => self.row.saturating_add(1)..self.cells.len(),
            1 => 0..self.row,
            _ => 0..self.cells.len(),
        };
        for row in rows {
            let _ = self.erase(row, 0, self.columns);
        }
        self.erase_row(kind, column)
    }

    /// Takes characters out at the cursor, or puts blanks in.
    fn shift(&mut self, is_out: bool, count: usize, column: usize) -> Next {
        let row = self.cells.get_mut(self.row);
        if let Some(cells) = row.and_then(|it| it.get_mut(column..)) {
            rotate(cells, count, is_out, &b' ');
        }
        Next::Text
    }
}

/// Takes so many out at the beginning, or puts blank ones in there; the others move up, or back.
fn rotate<T: Clone>(all: &mut [T], count: usize, is_out: bool, blank: &T) {
    let count = count.min(all.len());
    if is_out {
        all.rotate_left(count);
        let last = all.iter_mut().rev().take(count);
        last.for_each(|it| it.clone_from(blank));
    } else {
        all.rotate_right(count);
        let first = all.iter_mut().take(count);
        first.for_each(|it| it.clone_from(blank));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What 4 rows of 10 look like then; the cursor is `_`, or upper case.
    fn shown(bytes: &[u8]) -> String {
        let mut terminal = Terminal::new(4, 10);
        terminal.take(bytes);
        let row = |row: Vec<u8>| {
            let cell = |cell: u8| match (cell & INVERSE, cell & !INVERSE) {
                (0, character) => char::from(character),
                (_, b' ') => '_',
                (_, character) => char::from(character.to_ascii_uppercase()),
            };
            let row: String = row.into_iter().map(cell).collect();
            row.trim_end().to_owned()
        };
        let rows: Vec<_> = terminal.shown().into_iter().map(row).collect();
        rows.join("|").trim_end_matches('|').to_owned()
    }

    #[test]
    fn u08_what_is_written_stands_where_a_terminal_has_it() {
        for (bytes, seen) in [
            (&b""[..], "_"),
            (b"ab\r\nc\td", "ab|c       d_"),
            (b"0123456789", "012345678_".replace('_', "9").as_str()),
            (b"0123456789ab", "0123456789|ab_"),
            (b"a\r\nb\r\nc\r\nd\r\ne", "b|c|d|e_"),
            (b"abc\x08\x08x", "axC"),
            (b"\xc3\xa9\xe2\x82\xac!", "??!_"),
            (b"a\x07\x00\x7fb", "ab_"),
            // PID 1's line: drawn over, and the cursor back in it.
            (b"bay0> x\r\x1b[Kbay0 1", "bay0 1_"),
            (b"status\x1b[2D", "statUs"),
            (b"abc\x1b[1;2H\x1b[2;3Hx", "abc|  x_"),
            (b"\x1b7\x1b[999;999H\x1b[6n\x1b8a", "a_"),
            (b"\x1b[3;4f\x1b[s\x1b[2Ax\x1b[uy", "   x||   y_"),
            (b"\x1b[Bx\x1b[5Gy\x1b[4dz", "|x   y||     z_"),
            (b"a\r\nb\r\nc\x1b[2;1H\x1b[J", "a|_"),
            (b"a\r\nb\r\nc\x1b[2;1H\x1b[1J", "|_|c"),
            (b"a\r\nb\x1b[2J", "|_".replace('_', " _").as_str()),
            (b"abcdef\x1b[3D\x1b[K", "abc_"),
            (b"abcdef\x1b[3D\x1b[1K", "   _ef"),
            (b"abcdef\x1b[4D\x1b[2P", "abEf"),
            (b"abcdef\x1b[4D\x1b[2@", "ab_ cdef"),
            (b"abcdef\x1b[4D\x1b[2X", "ab_ ef"),
            (b"a\r\nb\r\nc\x1b[2;1H\x1b[L", "a|_|b|c"),
            (b"a\r\nb\r\nc\x1b[2;1H\x1b[M", "a|C"),
            // Rows 2 and 3 alone: the first and the last stay.
            (b"a\r\nb\r\nc\r\nd\x1b[2;3r\x1b[3;1H\n", "a|c|_|d"),
            (b"a\r\nb\r\nc\r\nd\x1b[2;3r\x1b[2;1H\x1bM", "a|_|b|d"),
            (b"a\r\nb\r\nc\r\nd\x1b[2;3r\x1b[r\x1b[4;1H\x1bD", "b|c|d|_"),
            (b"ab\x1bEc\x1bMd", "ad_|c"),
            (b"ab\x1bcd", "d_"),
            // PID 1's line behind what a room left as it was.
            (
                b"a\x1b[1;1r\x1b[7mb\x1b[\x18\x1b[r\x1b[m\x1b[999;1H\r\nc",
                "|||c_",
            ),
            (
                b"a\x1b[1;1r\x1b[7mb\x1b]\x18\x1b[r\x1b[m\x1b[999;1H\r\nc",
                "|||c_",
            ),
            (b"\x1b[7ma\x1b[mb", "Ab_"),
            (b"\x1b[1;7ma\x1b[0mb", "Ab_"),
            // Taken, and without effect.
            (b"\x1b[?25l\x1b[?2Ja\x1b(Bb\x1b]0;title\x07c\x1b=d", "abcd_"),
            (b"a\x1b[12\x18b", "ab_"),
            (b"a\x1b[1\x1b[2Cb", "a  b_"),
        ] {
            assert_eq!(shown(bytes), seen, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn u08_another_size_keeps_what_is_around_the_cursor() {
        let mut terminal = Terminal::new(4, 10);
        terminal.take(b"a\r\nb\r\nc\r\nd");
        terminal.resize(2, 3);
        let rows = terminal.shown();
        assert_eq!(rows, [b"c  ".to_vec(), vec![b'd', b' ' | INVERSE, b' ']]);
        terminal.resize(3, 4);
        terminal.take(b"ef\r\ng");
        let rows: Vec<_> = terminal.cells.iter().map(|it| it.as_slice()).collect();
        assert_eq!(rows, [b"c   ", b"def ", b"g   "]);
    }

    proptest! {
        #[test]
        fn a16_whatever_is_written_stays_inside_and_is_a_character(
            rows in 0_usize..6, columns in 0_usize..12,
            parts in proptest::collection::vec(prop_oneof![
                any::<Vec<u8>>(),
                "\x1b[\\[78()\\]][0-9;?]{0,6}[@-~]".prop_map(String::into_bytes),
                "[a-z\r\n\t\x08]{0,20}".prop_map(String::into_bytes),
            ], 0..40),
            size in (0_usize..9, 0_usize..9),
        ) {
            let mut terminal = Terminal::new(rows, columns);
            let is_well = |it: &Terminal, rows: usize, columns: usize| {
                it.cells.len() == rows.max(1) && it.row < it.cells.len() && it.column <= it.columns
                    && it.region.0 < it.region.1 && it.region.1 <= it.cells.len()
                    && it.cells.iter().all(|row| row.len() == columns.max(1))
                    && it.cells.iter().flatten().all(|cell| (b' '..=b'~').contains(&(cell & !INVERSE)))
            };
            for part in &parts {
                terminal.take(part);
                prop_assert!(is_well(&terminal, rows, columns));
                prop_assert!(terminal.numbers.len() <= NUMBERS);
            }
            terminal.resize(size.0, size.1);
            prop_assert!(is_well(&terminal, size.0, size.1));
            for part in &parts {
                terminal.take(part);
            }
            prop_assert!(is_well(&terminal, size.0, size.1));
        }
    }
}
