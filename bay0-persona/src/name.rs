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

/// Why a text is no name. Offsets are in bytes, from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadName<'a> {
    /// It begins with no scheme.
    Scheme,
    /// The segment at this offset is one too many.
    Depth(usize),
    /// The segment at this offset is empty.
    Empty(usize),
    /// The segment at this offset is too long.
    Long(usize),
    /// The byte at this offset of the text is not allowed.
    Byte(&'a str, usize),
}

impl fmt::Display for BadName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Scheme => f.write_str("a name begins with sys:// or p://"),
            Self::Depth(at) => write!(
                f,
                "segment at byte {at} is one too many: at most {MAX_DEPTH}"
            ),
            Self::Empty(at) => write!(f, "empty segment at byte {at}"),
            Self::Long(at) => write!(f, "segment at byte {at} is longer than {MAX_SEGMENT} bytes"),
            Self::Byte(text, at) => {
                let byte = text.as_bytes().get(at).copied().unwrap_or_default();
                let (shown, lower) = (byte.escape_ascii(), text.to_ascii_lowercase());
                match byte {
                    b'A'..=b'Z' => write!(
                        f,
                        "upper-case '{shown}' at byte {at}: write {}",
                        lower.escape_default()
                    ),
                    _ => write!(
                        f,
                        "byte '{shown}' at byte {at}: only a-z and 0-9 are allowed"
                    ),
                }
            }
        }
    }
}

impl PersonaName {
    /// Parses the external spelling, such as `p://work/mail`.
    ///
    /// # Errors
    /// The first thing that is wrong, with the offending byte and its position: an offset in bytes into what was given.
    pub fn parse(text: &str) -> Result<Self, BadName<'_>> {
        let path = SCHEMES.iter().find_map(|it| text.strip_prefix(it));
        let path = path.ok_or(BadName::Scheme)?;
        let mut at = text.len().saturating_sub(path.len());
        for (depth, segment) in path.split('/').enumerate() {
            let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
            let mut bytes = (at..).zip(segment.bytes());
            return Err(match bytes.find(|(_, byte)| !allowed(*byte)) {
                _ if depth >= MAX_DEPTH => BadName::Depth(at),
                _ if segment.is_empty() => BadName::Empty(at),
                Some((at, _)) => BadName::Byte(text, at),
                None if segment.len() > MAX_SEGMENT => BadName::Long(at),
                None => {
                    at = at.saturating_add(segment.len()).saturating_add(1);
                    continue;
                }
            });
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

    /// What the room calls itself inside: `kid` for `p://a/kid`.
    pub fn last(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// Whether this room is `outer`, or is nested in it.
    pub fn is_in(&self, outer: &PersonaName) -> bool {
        let rest = self.0.strip_prefix(&outer.0);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether the system itself brings it.
    pub fn is_system(&self) -> bool {
        self.0.starts_with("sys://")
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
