//! What PID 1 and the keeper say to each other.
//!
//! One message per `SOCK_SEQPACKET` packet: UTF-8 fields joined by NUL. A request is an operation and its arguments, a reply is
//! `recorded` and a number, `ok` and its values, or `no` and a whole message. One request is in flight at a time, so that a reply needs no number to be
//! paired with it. No field contains NUL: names, numbers and lines of the log are printable. Decoding cuts at each NUL and looks
//! at nothing else, so no packet can make it panic (A16); what the fields mean, whoever needs them finds out.

use std::iter;

use bay0_persona::PersonaName;

/// Largest request in bytes; what is longer is cut off. A reply may be as long as the kernel lets a packet be, some 200 KiB.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// Values, or the whole message that says why a request was not done.
pub type Reply = Result<Vec<String>, String>;

/// What a request is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Records were appended; the sequence number of the last. No other answer has one.
    Recorded(u64),
    /// Done, with these values.
    Values(Vec<String>),
    /// Not done: the whole message.
    Refused(String),
    /// The marker of a probe was written and read back, and the log refuses its record: the whole message.
    Unlogged(String),
}

impl Answered {
    /// Its packet.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Recorded(seq) => encode("recorded", &[seq.to_string()]),
            Self::Values(values) => encode("ok", values),
            Self::Refused(message) => encode("no", &[message]),
            Self::Unlogged(message) => encode("unlogged", &[message]),
        }
    }

    /// What a packet says; nothing if it is no answer.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        Some(match *decode(packet) {
            ["recorded", seq] => Self::Recorded(seq.parse().ok()?),
            ["ok", ref values @ ..] => {
                Self::Values(values.iter().map(ToString::to_string).collect())
            }
            ["no", message] => Self::Refused(message.to_owned()),
            ["unlogged", message] => Self::Unlogged(message.to_owned()),
            _ => return None,
        })
        .filter(|answer| answer.encode() == packet)
    }

    /// Its values; a number is none.
    pub fn values(self) -> Reply {
        match self {
            Self::Recorded(_) => Ok(vec![]),
            Self::Values(values) => Ok(values),
            Self::Refused(message) | Self::Unlogged(message) => Err(message),
        }
    }
}

/// The packet that says these fields.
pub fn encode(first: &str, rest: &[impl AsRef<str>]) -> Vec<u8> {
    let rest = rest.iter().map(AsRef::as_ref);
    let fields: Vec<&str> = iter::once(first).chain(rest).collect();
    fields.join("\0").into_bytes()
}

/// The fields of a packet, at least one; an empty one if it is not UTF-8.
pub fn decode(packet: &[u8]) -> Vec<&str> {
    let text = std::str::from_utf8(packet).unwrap_or_default();
    text.split('\0').collect()
}

/// Where a persona is in its life, as recorded (H12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not running, nothing left of it.
    Stopped,
    /// Half made; never trusted after a reboot.
    Starting,
    /// Running, as far as the record goes.
    Running,
}

impl State {
    /// How it is spelled in the database and on the console.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
        }
    }
}

/// One recorded persona.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persona {
    /// Its name.
    pub name: PersonaName,
    /// Its recorded state.
    pub state: State,
}

impl Persona {
    /// Reads `NAME STATE`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, tag) = text.split_once(' ')?;
        let name = PersonaName::parse(name).ok()?;
        let mut states = [State::Stopped, State::Starting, State::Running].into_iter();
        let state = states.find(|state| state.tag() == tag)?;
        Some(Self { name, state })
    }
}

#[cfg(test)]
mod tests;
