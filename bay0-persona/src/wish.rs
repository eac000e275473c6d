//! What a room may ask of the gate, in words: the grammar that PID 1 and the keeper read alike.
//!
//! ```text
//! wish   = "save" SP name / "load" SP name [ "@" number ] / "drop" SP ( name / "@" number )
//!        / "list" [ SP "@" number ] / "snapshot" / "append" / "read" [ SP "@" number ]
//! name   = 1*128( ALPHA / DIGIT / "_" / "." / "-" )      ; begins with a letter, a digit or "_"
//! number = %x31-39 *DIGIT
//! ```

use std::fmt;

/// Longest name, in bytes.
pub const MAX_NAME: usize = 128;

/// The grammar of a name, for people.
pub const NAMES: &str = "is 1 to 128 of A-Z a-z 0-9 _ . - and begins with none of . and -";
/// Between two forms of a word.
const OR: &str = ", or ";

/// Each word, and the forms in which it can be asked.
const WORDS: [(&str, &str); 7] = [
    ("save", "save NAME"),
    ("load", "load NAME, or load NAME@N"),
    ("drop", "drop NAME, or drop @N"),
    ("list", "list, or list @N"),
    ("snapshot", "snapshot"),
    ("append", "append"),
    ("read", "read, or read @N"),
];

/// Why a line is no wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadWish<'a> {
    /// It begins with none of the seven words.
    Verb(&'a str),
    /// It has none of the forms of its word, which are these.
    Form(&'static str),
}

impl fmt::Display for BadWish<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verb(line) => write!(f, "unknown verb {line:?}"),
            Self::Form(forms) if forms.contains("NAME") => write!(f, "write {forms}: NAME {NAMES}"),
            Self::Form(forms) => write!(f, "write {forms}"),
        }
    }
}

/// Something asked of the gate. Holding one proves that it obeys the grammar; only [`Wish::parse`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// One of the seven words.
    pub word: &'static str,
    /// An object's name: a file name that means nothing to a shell and names no directory. Empty if none is needed.
    pub name: String,
    /// The number of a snapshot, or of a record.
    pub number: Option<u64>,
}

/// Whether this is the name of an object: it means nothing to a shell or a terminal, and names no directory.
pub fn is_name(text: &str) -> bool {
    let odd = |byte: u8| !byte.is_ascii_alphanumeric() && !matches!(byte, b'_' | b'.' | b'-');
    let fits = (1..=MAX_NAME).contains(&text.len());
    fits && !text.bytes().any(odd) && !text.starts_with(['.', '-'])
}

impl Wish {
    /// Whether a wish begins with this word.
    pub fn is_word(word: &str) -> bool {
        WORDS.iter().any(|row| row.0 == word)
    }

    /// Parses a wish.
    ///
    /// # Errors
    /// What is wrong, without what to do then.
    pub fn parse(line: &str) -> Result<Self, BadWish<'_>> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let row = WORDS.iter().find(|row| row.0 == word);
        let (word, forms) = row.ok_or(BadWish::Verb(line))?;
        let (name, digits) = rest.split_once('@').unwrap_or((rest, ""));
        let number = digits.parse().ok().filter(|number: &u64| *number > 0);
        let form = match (name, number) {
            ("", None) => "",
            ("", Some(_)) => " @N",
            (_, None) => " NAME",
            (_, Some(_)) => " NAME@N",
        };
        let named = name.is_empty() || is_name(name);
        let fits = forms.split(OR).any(|it| it == format!("{word}{form}"));
        let name = name.to_owned();
        let wish = Self { word, name, number };
        // What was not spelled so comes back different.
        let good = fits && named && wish.to_string() == line;
        good.then_some(wish).ok_or(BadWish::Form(forms))
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = self.name.is_empty() && self.number.is_none();
        let space = if space { "" } else { " " };
        write!(f, "{}{space}{}", self.word, self.name)?;
        self.number.map_or(Ok(()), |number| write!(f, "@{number}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn t02_what_may_be_asked_is_parsed_and_spelled_back() {
        for line in [
            "save notes.txt",
            "save _a-b.C",
            "load notes.txt",
            "load notes.txt@3",
            "drop notes.txt",
            "drop @18446744073709551615",
            "list",
            "list @1",
            "snapshot",
            "append",
            "read",
            "read @7",
        ] {
            assert_eq!(Wish::parse(line).unwrap().to_string(), line);
        }
        let long = "a".repeat(MAX_NAME);
        assert_eq!(Wish::parse(&format!("save {long}")).unwrap().name, long);
    }

    #[test]
    fn c07_no_name_leaves_the_rooms_own_directory() {
        let long = format!("save {}", "a".repeat(MAX_NAME + 1));
        for line in [
            "",
            " ",
            "save",
            "save ",
            "save a b",
            "save  a",
            "save a ",
            "save .",
            "save ..",
            "save .new",
            "save ../x",
            "save a/b",
            "save /etc",
            "save -rf",
            "save a\0b",
            "save a\nb",
            "save ä",
            "save a@1",
            "save a@",
            "load @1",
            "load a@0",
            "load a@01",
            "load a@+1",
            "load a@1@2",
            "load a@99999999999999999999",
            "drop",
            "drop a@1",
            "list a",
            "list ",
            "list @",
            "snapshot ",
            "snapshot @1",
            "append x",
            "read 7",
            "read a@7",
            "rename a",
            &long,
        ] {
            assert!(Wish::parse(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn u06_a_bad_name_is_answered_by_the_grammar_of_names() {
        assert!(NAMES.contains(&format!("1 to {MAX_NAME} of")));
        let why = |line| Wish::parse(line).unwrap_err().to_string();
        assert_eq!(why("save a/b"), format!("write save NAME: NAME {NAMES}"));
        assert_eq!(why("list x"), "write list, or list @N");
    }

    proptest! {
        #[test]
        fn a16_whatever_is_taken_is_spelled_back(line in "(save|load|drop|list|read|append)?[ @.a-zA-Z0-9/_-]{0,12}") {
            if let Ok(wish) = Wish::parse(&line) {
                prop_assert_eq!(wish.to_string(), line);
                prop_assert!(!wish.name.contains('/') && !wish.name.starts_with('.'));
            }
        }
    }
}
