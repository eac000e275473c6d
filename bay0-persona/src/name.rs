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

/// What may stand in front: tenants the system itself brings, and the owner's personas.
const SCHEMES: [&str; 2] = ["sys://", "p://"];
const INTERNAL_JOINT: &str = "__";

/// A persona's name. Holding one proves that it obeys the grammar; there is no other way to make one than
/// [`PersonaName::parse`] and [`PersonaName::from_internal`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersonaName(String);

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
                let (shown, lower) = (byte.escape_ascii(), lower.escape_default());
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
        let path = path(text).ok_or(NameError::Scheme)?;
        let mut at = text.len().saturating_sub(path.len());
        for (index, segment) in path.split('/').enumerate() {
            if index >= MAX_DEPTH {
                return Err(NameError::TooDeep(at));
            }
            check(text, segment, at)?;
            at = at.saturating_add(segment.len()).saturating_add(1);
        }
        Ok(PersonaName(text.to_owned()))
    }

    /// Parses the internal spelling, such as `p__work__mail`; the inverse of [`PersonaName::internal`].
    ///
    /// # Errors
    /// As [`PersonaName::parse`], with positions in the external spelling.
    pub fn from_internal(text: &str) -> Result<Self, NameError> {
        let external = text.replacen(INTERNAL_JOINT, "://", 1);
        let name = PersonaName::parse(&external.replace(INTERNAL_JOINT, "/"))?;
        // What was not internal to begin with comes back different.
        (name.internal() == text)
            .then_some(name)
            .ok_or(NameError::Scheme)
    }

    /// The internal spelling: `p__work__mail`.
    pub fn internal(&self) -> String {
        let joined = self.0.replacen("://", INTERNAL_JOINT, 1);
        joined.replace('/', INTERNAL_JOINT)
    }

    /// The external spelling: `p://work/mail`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The room this one is nested in, if it is nested: `p://work` for `p://work/mail`.
    pub fn parent(&self) -> Option<PersonaName> {
        let (parent, _) = self.0.rsplit_once('/')?;
        // A name of one segment is cut inside its scheme, which is no name.
        PersonaName::parse(parent).ok()
    }

    /// Number of segments, 1 to [`MAX_DEPTH`].
    pub fn depth(&self) -> usize {
        path(&self.0).map_or(0, |path| path.split('/').count())
    }
}

impl fmt::Display for PersonaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PersonaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What follows the scheme, if one of ours is in front.
fn path(text: &str) -> Option<&str> {
    SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme))
}

/// Checks the segment that begins at byte `at` of `text`.
fn check(text: &str, segment: &str, at: usize) -> Result<(), NameError> {
    if segment.is_empty() {
        return Err(NameError::Empty(at));
    }
    for (here, byte) in (at..).zip(segment.bytes()) {
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
    Ok(())
}

#[cfg(test)]
mod tests;
