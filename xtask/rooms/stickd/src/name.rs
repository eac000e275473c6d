//! Names on a stick, which anybody may have written, as a terminal may show and a person type them: printable ASCII, and each other byte of
//! their UTF-8 as `\xNN`; a space and a backslash too, so that a line of words has each name as one.

use bay0_persona::filename::{bytes_of, show};

/// As it is shown, and typed.
pub fn shown(name: &str) -> String {
    show(name.as_bytes())
}

/// What was typed, as it is on the stick; none if it can be no name.
pub fn typed(text: &str) -> Option<String> {
    String::from_utf8(bytes_of(text)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn u09_a_name_that_a_terminal_would_obey_is_shown_byte_by_byte() {
        assert_eq!(shown("report.pdf"), "report.pdf");
        assert_eq!(shown("a b\\c"), "a\\x20b\\x5cc");
        assert_eq!(
            shown("\u{1b}[2Jß\u{202e}"),
            "\\x1b[2J\\xc3\\x9f\\xe2\\x80\\xae"
        );
        for no in ["\\", "\\x", "\\x1", "\\y00", "\\xff", "\\xzz", "\\x+1"] {
            assert!(
                typed(no).is_none_or(|it| no == "\\x+1" && it == "\u{1}"),
                "{no}"
            );
        }
    }

    proptest! {
        #[test]
        fn u09_what_is_shown_is_what_can_be_typed(name: String, text: String) {
            let shown = shown(&name);
            prop_assert!(shown.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(typed(&shown), Some(name));
            let _ = typed(&text);
        }
    }
}
