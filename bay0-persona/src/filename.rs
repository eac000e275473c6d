//! Names of files that go from room to room, as people read and type them (A04): printable ASCII, and each other byte as `\xNN`; a space and
//! a backslash too. So a name is one word of a line, a terminal obeys nothing in it, and two that differ never look alike.

use std::fmt::Write;

/// Longest name as it is shown, in characters: with all else that is said of a file it fits a line of the log.
pub const MAX_SHOWN: usize = 240;
/// Longest name, in bytes (`NAME_MAX`).
const MAX_BYTES: usize = 255;
/// The grammar of a shown name, for people.
pub const FILE_NAMES: &str =
    "has no / and begins with none of . and -, at most 240 characters with \\xNN for each odd byte";

/// A name as it is shown.
pub fn show(name: &[u8]) -> String {
    let mut shown = String::new();
    for byte in name {
        match byte {
            b'\\' => shown.push_str("\\x5c"),
            byte if byte.is_ascii_graphic() => shown.push((*byte).into()),
            byte => {
                let _ = write!(shown, "\\x{byte:02x}");
            }
        }
    }
    shown
}

/// The bytes that are shown so, in whatever spelling; none where a backslash begins no byte.
pub fn bytes_of(shown: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = shown;
    while let Some((before, escaped)) = rest.split_once('\\') {
        bytes.extend(before.bytes());
        let (digits, after) = escaped.strip_prefix('x')?.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    bytes.extend(rest.bytes());
    Some(bytes)
}

/// The name that is shown so: it names no folder, and does not hide; none of text that is none, or that shows a name otherwise.
pub fn name_of(shown: &str) -> Option<Vec<u8>> {
    let name = bytes_of(shown)?;
    let fits = shown.len() <= MAX_SHOWN && (1..=MAX_BYTES).contains(&name.len());
    let plain = !name.contains(&b'/') && !name.contains(&0);
    let open = !name.starts_with(b".") && !name.starts_with(b"-");
    (fits && plain && open && show(&name) == shown).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a04_what_a_terminal_would_obey_or_a_person_misread_is_shown_byte_by_byte() {
        for (name, shown) in [
            ("report.pdf", "report.pdf"),
            ("my notes.txt", "my\\x20notes.txt"),
            ("a\\b", "a\\x5cb"),
            ("a\u{202e}fdp.exe", "a\\xe2\\x80\\xaefdp.exe"),
            ("\u{1b}[2J\n", "\\x1b[2J\\x0a"),
            ("größe", "gr\\xc3\\xb6\\xc3\\x9fe"),
        ] {
            assert_eq!(show(name.as_bytes()), shown);
            assert_eq!(name_of(shown).as_deref(), Some(name.as_bytes()));
        }
        assert_eq!(name_of("\\xff"), Some(vec![0xff]));
    }

    #[test]
    fn a04_no_name_is_a_folder_or_hidden_and_each_is_shown_in_one_way() {
        for none in [
            "", ".", "..", ".bashrc", "-rf", "a/b", "a\\x2fb", "a\\x00", "a b", "ä", "a\nb", "\\",
            "\\x", "\\x2", "\\y20", "\\x+1", "\\xC3", "\\x61", "\\x2erc", "\\x2drf",
        ] {
            assert_eq!(name_of(none), None, "{none:?}");
        }
        let long = "n".repeat(MAX_SHOWN);
        assert!(name_of(&long).is_some() && name_of(&format!("{long}n")).is_none());
    }

    proptest! {
        #[test]
        fn a04_a_name_is_shown_so_that_it_can_be_had_back(name in prop::collection::vec(any::<u8>(), 0..80), text: String) {
            let shown = show(&name);
            prop_assert!(shown.bytes().all(|byte| byte.is_ascii_graphic()));
            if let Some(back) = name_of(&shown) {
                prop_assert_eq!(back, name);
            }
            if let Some(name) = name_of(&text) {
                prop_assert_eq!(show(&name), text);
            }
        }
    }
}
