//! What is in a file, found by its first bytes (A03): a name says nothing.
//!
//! | kind | the file begins with |
//! | --- | --- |
//! | pdf | `%PDF-` |
//! | png | 89 50 4E 47 0D 0A 1A 0A |
//! | jpeg | FF D8 FF |
//! | gif | `GIF87a` or `GIF89a` |
//! | webp | `RIFF`, four bytes, `WEBP` |
//! | zip | `PK` 03 04, or `PK` 05 06 if there is nothing in it |
//! | gzip | 1F 8B 08 |
//! | text | none of these, and all of it is UTF-8 without control characters but tab, line feed and carriage return |
//! | other | anything else |

use std::fmt;

/// The longest beginning that is looked at, in bytes.
const HEAD: usize = 12;

/// A kind of file. The number of each is its bit in a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text that a terminal can show.
    Text,
    /// A document (ISO 32000).
    Pdf,
    /// A picture (ISO 15948).
    Png,
    /// A picture (ITU T.81).
    Jpeg,
    /// A picture.
    Gif,
    /// A picture (RFC 9649).
    Webp,
    /// An archive, and what is made of one: documents of office programs, packages.
    Zip,
    /// Compressed data (RFC 1952).
    Gzip,
    /// Anything else.
    Other,
}

use Kind::{Gif, Gzip, Jpeg, Other, Pdf, Png, Text, Webp, Zip};

impl Kind {
    /// All kinds, in the order of their bits.
    pub const ALL: [Self; 9] = [Text, Pdf, Png, Jpeg, Gif, Webp, Zip, Gzip, Other];

    /// Its word in policies and records.
    pub fn word(self) -> &'static str {
        match self {
            Text => "text",
            Pdf => "pdf",
            Png => "png",
            Jpeg => "jpeg",
            Gif => "gif",
            Webp => "webp",
            Zip => "zip",
            Gzip => "gzip",
            Other => "other",
        }
    }

    /// Its bit in a policy.
    pub fn bit(self) -> u64 {
        1 << self as u64
    }

    /// The kind of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.word() == word)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Looks at a file that comes in pieces.
#[derive(Default)]
pub struct Look {
    head: Vec<u8>,
    /// Something that is in no text has come.
    is_odd: bool,
    /// The beginning of a character that is cut at the end of a piece.
    cut: Vec<u8>,
}

impl Look {
    /// Takes the next piece.
    pub fn take(&mut self, piece: &[u8]) {
        let missing = HEAD.saturating_sub(self.head.len());
        self.head.extend(piece.iter().take(missing));
        if self.is_odd {
            return;
        }
        let bytes = [std::mem::take(&mut self.cut), piece.to_vec()].concat();
        let end = match str::from_utf8(&bytes) {
            Ok(_) => bytes.len(),
            Err(why) if why.error_len().is_none() => why.valid_up_to(),
            Err(_) => return self.is_odd = true,
        };
        let (text, cut) = bytes.split_at(end);
        self.cut = cut.to_vec();
        let text = str::from_utf8(text).unwrap_or_default();
        self.is_odd = text
            .chars()
            .any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r'));
    }

    /// What all of it is.
    pub fn kind(&self) -> Kind {
        let is_text = !self.is_odd && self.cut.is_empty();
        match self.head.as_slice() {
            [b'%', b'P', b'D', b'F', b'-', ..] => Pdf,
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Png,
            [0xff, 0xd8, 0xff, ..] => Jpeg,
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Gif,
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P'] => Webp,
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Zip,
            [0x1f, 0x8b, 8, ..] => Gzip,
            _ if is_text => Text,
            _ => Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kind(pieces: &[&[u8]]) -> Kind {
        let mut look = Look::default();
        pieces.iter().for_each(|piece| look.take(piece));
        look.kind()
    }

    #[test]
    fn a03_a_kind_is_found_by_the_first_bytes_and_text_by_all_of_them() {
        for (begin, found) in [
            (b"%PDF-1.7\n".as_slice(), Pdf),
            (b"\x89PNG\r\n\x1a\n", Png),
            (b"\xff\xd8\xff\xe0", Jpeg),
            (b"GIF89a", Gif),
            (b"RIFF\x10\0\0\0WEBP", Webp),
            (b"RIFF\x10\0\0\0WAVE", Other),
            (b"PK\x03\x04", Zip),
            (b"PK\x05\x06", Zip),
            (b"\x1f\x8b\x08", Gzip),
            (b"", Text),
            ("Grüße\tan alle\r\n".as_bytes(), Text),
            (b"a\x1b[2J", Other),
            (b"a\x7f", Other),
            (b"\xc2\x9b2J", Other),
            (b"Gr\xfc\xdfe", Other),
            (b"cut \xc3", Other),
        ] {
            assert_eq!(kind(&[begin]), found, "{begin:?}");
        }
        assert_eq!(kind(&[b"GIF", b"87a", b"\0\0\0\0"]), Gif);
        let mut text = vec![b'a'; 100_000];
        assert_eq!(kind(&[&text]), Text);
        text.push(0);
        assert_eq!(kind(&[&text]), Other);
    }

    #[test]
    fn a03_each_kind_has_a_word_and_a_bit_of_its_own() {
        for (bit, it) in Kind::ALL.into_iter().enumerate() {
            assert_eq!((Kind::parse(it.word()), it.bit()), (Some(it), 1 << bit));
        }
    }

    proptest! {
        #[test]
        fn a03_how_a_file_is_cut_changes_nothing(text in "\\PC{0,40}[\x00-\x7f]{0,3}", cut in 0_usize..80) {
            let bytes = text.as_bytes();
            let (first, rest) = bytes.split_at(cut.min(bytes.len()));
            let singly: Vec<_> = bytes.chunks(1).collect();
            prop_assert_eq!(kind(&[first, rest]), kind(&[bytes]));
            prop_assert_eq!(kind(&singly), kind(&[bytes]));
        }
    }
}
