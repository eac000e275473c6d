//! Why a command came to nothing.

use std::fmt;
use std::io;

use outside::Refused;

/// Why; shown as `reason; next: action`.
#[derive(Debug)]
pub enum Trouble {
    /// The stick does not answer, or is gone.
    Stick(io::Error),
    /// A file system that leads nowhere, or in a circle; where.
    Damaged(&'static str),
    /// No file system that can be read.
    Foreign,
    /// Nothing is called so, as it was typed.
    Missing(String),
    /// More than one is.
    Two(String),
    /// A folder, where a file is meant, or the other way round.
    Kind(String, &'static str),
    /// Nothing can be written there, and why not.
    Closed(&'static str),
    /// A file is called so already.
    There(String),
    /// No name of the courier's.
    Name(String),
    /// The stick has no room for it.
    Full,
    /// Typed in a form that is none.
    Usage,
    /// bay0, a person or the other room has refused: `reason; next: action`.
    Refused(String),
    /// The person has ended it.
    Ended,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stick(error) => write!(f, "the stick does not answer ({error}); next: plug it in again"),
            Self::Damaged(what) => write!(
                f,
                "the file system on the stick is damaged: {what}; next: have it checked where it comes from"
            ),
            Self::Foreign => f.write_str(
                "no FAT and no exFAT is on the stick; next: format it elsewhere, or take another one",
            ),
            Self::Missing(name) => write!(f, "{name} is not on the stick; next: type list"),
            Self::Two(name) => write!(f, "two are called {name}; next: rename one of them elsewhere"),
            Self::Kind(name, what) => write!(f, "{name} is {what}; next: type list"),
            Self::Closed(why) => write!(f, "nothing can be put on this stick: {why}; next: take another one"),
            Self::There(name) => write!(f, "{name} is on the stick already; next: take NAME, another one"),
            Self::Name(name) => write!(
                f,
                "{name} is no name that a file passes under, or that a stick can have; next: add another NAME"
            ),
            Self::Full => f.write_str("the stick is full; next: make room on it elsewhere"),
            Self::Usage => f.write_str("not a command; next: type help"),
            Self::Refused(why) => f.write_str(why),
            Self::Ended => f.write_str("ended; next: none"),
        }
    }
}

impl From<Refused> for Trouble {
    fn from(Refused(why): Refused) -> Self {
        Self::Refused(why)
    }
}

impl From<io::Error> for Trouble {
    /// What goes wrong below a file system; see [`crate::disk`] for what is made there.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::Damaged("it leads in a circle"),
            io::ErrorKind::UnexpectedEof => Self::Damaged("it leads past its end"),
            _ if error.raw_os_error().is_some() => Self::Stick(error),
            _ => Self::Damaged("it makes no sense"),
        }
    }
}
