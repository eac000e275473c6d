//! The naming grammar (H14, decision 16).
//!
//! ```text
//! name    = scheme segment *4( "/" segment )
//! scheme  = "sys://" / "p://"
//! segment = 1*32( %x61-7A / %x30-39 )        ; a-z 0-9, ASCII only
//! ```
//!
//! The internal form joins scheme and segments with `__`, which no segment can contain: the mapping is one to one, and the
//! two namespaces cannot meet. It is what cgroups, containers and files are called.

use std::fmt;

/// Longest segment, in bytes.
pub const MAX_SEGMENT: usize = 32;
/// Most segments in a name: the deepest nesting of rooms (A05).
pub const MAX_DEPTH: usize = 5;

const INTERNAL_JOINT: &str = "__";

/// Whose namespace a name stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// `sys://`: tenants the system itself brings.
    System,
    /// `p://`: the owner's personas.
    Persona,
}

impl Scheme {
    const ALL: [Scheme; 2] = [Scheme::System, Scheme::Persona];

    /// `sys` or `p`.
    pub fn word(self) -> &'static str {
        match self {
            Scheme::System => "sys",
            Scheme::Persona => "p",
        }
    }
}

/// A persona's name. Holding one proves that it obeys the grammar; there is no other way to make one than
/// [`PersonaName::parse`] and [`PersonaName::from_internal`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersonaName {
    scheme: Scheme,
    /// Segments joined by `/`.
    path: String,
}

/// Why a name was refused. Positions are byte offsets into what was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Neither `sys://` nor `p://` stands in front.
    Scheme,
    /// An empty segment begins at this position.
    Empty(usize),
    /// This byte is not allowed at this position.
    Byte(u8, usize),
    /// An upper-case letter at this position; the whole name in lower case follows.
    UpperCase(u8, usize, String),
    /// The segment that begins here is longer than [`MAX_SEGMENT`].
    LongSegment(usize),
    /// The segment that begins here is one too many ([`MAX_DEPTH`]).
    TooDeep(usize),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Scheme => write!(f, "a name begins with sys:// or p://"),
            NameError::Empty(at) => write!(f, "empty segment at byte {at}"),
            NameError::Byte(byte, at) => {
                let shown = byte.escape_ascii();
                write!(
                    f,
                    "byte '{shown}' at byte {at}: only a-z and 0-9 are allowed"
                )
            }
            NameError::UpperCase(byte, at, lower) => {
                let shown = byte.escape_ascii();
                write!(f, "upper-case '{shown}' at byte {at}: write {lower}")
            }
            NameError::LongSegment(at) => {
                write!(f, "segment at byte {at} is longer than {MAX_SEGMENT} bytes")
            }
            NameError::TooDeep(at) => {
                write!(
                    f,
                    "segment at byte {at} is one too many: at most {MAX_DEPTH}"
                )
            }
        }
    }
}

impl std::error::Error for NameError {}

impl PersonaName {
    /// Parses the external spelling, such as `p://work/mail`.
    ///
    /// # Errors
    /// [`NameError`] names the first offending byte and its position.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let (scheme, path) = split_scheme(text, "://")?;
        check(text, path, "/")?;
        Ok(PersonaName {
            scheme,
            path: path.to_owned(),
        })
    }

    /// Parses the internal spelling, such as `p__work__mail`; the inverse of [`PersonaName::internal`].
    ///
    /// # Errors
    /// As [`PersonaName::parse`], with positions in the internal spelling.
    pub fn from_internal(text: &str) -> Result<Self, NameError> {
        let (scheme, path) = split_scheme(text, INTERNAL_JOINT)?;
        check(text, path, INTERNAL_JOINT)?;
        Ok(PersonaName {
            scheme,
            path: path.replace(INTERNAL_JOINT, "/"),
        })
    }

    /// The internal spelling: `p__work__mail`.
    pub fn internal(&self) -> String {
        let path = self.path.replace('/', INTERNAL_JOINT);
        format!("{}{INTERNAL_JOINT}{path}", self.scheme.word())
    }

    /// Whose namespace the name stands in.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The room this one is nested in, if it is nested: `p://work` for `p://work/mail`.
    pub fn parent(&self) -> Option<PersonaName> {
        let (path, _) = self.path.rsplit_once('/')?;
        Some(PersonaName {
            scheme: self.scheme,
            path: path.to_owned(),
        })
    }

    /// Number of segments, 1 to [`MAX_DEPTH`].
    pub fn depth(&self) -> usize {
        self.path.split('/').count()
    }
}

impl fmt::Display for PersonaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.word(), self.path)
    }
}

impl fmt::Debug for PersonaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn split_scheme<'a>(text: &'a str, joint: &str) -> Result<(Scheme, &'a str), NameError> {
    let split = |scheme: Scheme| {
        let path = text.strip_prefix(scheme.word())?.strip_prefix(joint)?;
        Some((scheme, path))
    };
    let found = Scheme::ALL.into_iter().find_map(split);
    found.ok_or(NameError::Scheme)
}

fn check(text: &str, path: &str, joint: &str) -> Result<(), NameError> {
    let mut at = text.len().saturating_sub(path.len());
    for (index, segment) in path.split(joint).enumerate() {
        if index >= MAX_DEPTH {
            return Err(NameError::TooDeep(at));
        }
        if segment.is_empty() {
            return Err(NameError::Empty(at));
        }
        for (offset, byte) in segment.bytes().enumerate() {
            let here = at.saturating_add(offset);
            match byte {
                b'a'..=b'z' | b'0'..=b'9' => {}
                b'A'..=b'Z' => {
                    return Err(NameError::UpperCase(byte, here, text.to_ascii_lowercase()));
                }
                _ => return Err(NameError::Byte(byte, here)),
            }
        }
        if segment.len() > MAX_SEGMENT {
            return Err(NameError::LongSegment(at));
        }
        at = at.saturating_add(segment.len()).saturating_add(joint.len());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
