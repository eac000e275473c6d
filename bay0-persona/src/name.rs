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
/// Joins the parts of the internal form.
const JOINT: &str = "__";

/// A persona's name. Holding one proves that it obeys the grammar; there is no other way to make one than
/// [`PersonaName::parse`] and [`PersonaName::from_internal`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersonaName(String);

/// Why a name was refused. Positions are byte offsets into what was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError<'a> {
    /// Neither `sys://` nor `p://` stands in front.
    Scheme,
    /// An empty segment begins at this position.
    Empty(usize),
    /// This byte is not allowed at this position.
    Byte(u8, usize),
    /// An upper-case letter at this position of this text; the message has the whole in lower case.
    UpperCase(u8, usize, &'a str),
    /// The segment that begins here is longer than [`MAX_SEGMENT`].
    LongSegment(usize),
    /// The segment that begins here is one too many ([`MAX_DEPTH`]).
    TooDeep(usize),
}

impl fmt::Display for NameError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Scheme => write!(f, "a name begins with sys:// or p://"),
            NameError::Empty(at) => write!(f, "empty segment at byte {at}"),
            NameError::Byte(byte, at) => {
                let (shown, rule) = (byte.escape_ascii(), "only a-z and 0-9 are allowed");
                write!(f, "byte '{shown}' at byte {at}: {rule}")
            }
            NameError::UpperCase(byte, at, text) => {
                let (shown, lower) = (byte.escape_ascii(), text.to_ascii_lowercase());
                let lower = lower.escape_default();
                write!(f, "upper-case '{shown}' at byte {at}: write {lower}")
            }
            NameError::LongSegment(at) => {
                write!(f, "segment at byte {at} is longer than {MAX_SEGMENT} bytes")
            }
            NameError::TooDeep(at) => {
                let most = MAX_DEPTH;
                write!(f, "segment at byte {at} is one too many: at most {most}")
            }
        }
    }
}

impl std::error::Error for NameError<'_> {}

impl PersonaName {
    /// Parses the external spelling, such as `p://work/mail`.
    ///
    /// # Errors
    /// [`NameError`] names the first offending byte and its position.
    pub fn parse(text: &str) -> Result<Self, NameError<'_>> {
        let path = SCHEMES.iter().find_map(|it| text.strip_prefix(it));
        let path = path.ok_or(NameError::Scheme)?;
        let mut at = text.len().saturating_sub(path.len());
        for (depth, segment) in path.split('/').enumerate() {
            let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
            let mut bytes = (at..).zip(segment.bytes());
            let wrong = match bytes.find(|(_, byte)| !allowed(*byte)) {
                _ if depth >= MAX_DEPTH => NameError::TooDeep(at),
                _ if segment.is_empty() => NameError::Empty(at),
                Some((at, byte @ b'A'..=b'Z')) => NameError::UpperCase(byte, at, text),
                Some((at, byte)) => NameError::Byte(byte, at),
                None if segment.len() > MAX_SEGMENT => NameError::LongSegment(at),
                None => {
                    at = at.saturating_add(segment.len()).saturating_add(1);
                    continue;
                }
            };
            return Err(wrong);
        }
        Ok(PersonaName(text.to_owned()))
    }

    /// Parses the internal spelling, such as `p__work__mail`; the inverse of [`PersonaName::internal`].
    pub fn from_internal(text: &str) -> Option<Self> {
        let external = text.replacen(JOINT, "://", 1).replace(JOINT, "/");
        let name = PersonaName::parse(&external).ok()?;
        // What was not internal to begin with comes back different.
        (name.internal() == text).then_some(name)
    }

    /// The room this one is nested in, if it is nested: `p://work` for `p://work/mail`.
    pub fn parent(&self) -> Option<PersonaName> {
        let (parent, _) = self.0.rsplit_once('/')?;
        // A name of one segment is cut inside its scheme, which leaves no name.
        PersonaName::parse(parent).ok()
    }

    /// This room, the one it is nested in, and so on outwards.
    pub fn chain(&self) -> impl Iterator<Item = PersonaName> {
        std::iter::successors(Some(self.clone()), PersonaName::parent)
    }

    /// Whether the system itself brings it.
    pub fn is_system(&self) -> bool {
        self.0.starts_with("sys://")
    }

    /// Number of segments, 1 to [`MAX_DEPTH`].
    pub fn depth(&self) -> usize {
        self.0.split('/').skip(2).count()
    }

    /// The internal spelling: `p__work__mail`.
    pub fn internal(&self) -> String {
        self.0.replace("://", JOINT).replace('/', JOINT)
    }
}

impl fmt::Display for PersonaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
