//! What PID 1 and the keeper say to each other.
//!
//! One message per `SOCK_SEQPACKET` packet, at most [`MAX_MESSAGE`] bytes: UTF-8 fields joined by NUL. A request is an
//! operation and its arguments, a reply is `ok` and its values, or `no` and a whole message. One request is in flight at a
//! time, so that a reply needs no number to be paired with it. A field cannot contain NUL: such a message is refused before it
//! is sent. Decoding cuts at each NUL and looks at nothing else, so no packet can make it panic (A16); what the fields
//! mean, whoever needs them finds out.

use std::iter;

use bay0_persona::PersonaName;

/// Largest packet in bytes, either way: 256 personas with the longest names take 45 KiB.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// What a request is answered: values, or the whole message that says why it was not done.
pub type Reply = Result<Vec<String>, String>;

/// The packet that says these fields; why there is none otherwise.
pub fn encode(first: &str, rest: &[impl AsRef<str>]) -> Result<Vec<u8>, &'static str> {
    let rest = rest.iter().map(AsRef::as_ref);
    let fields: Vec<&str> = iter::once(first).chain(rest).collect();
    let packet = fields.join("\0").into_bytes();
    match packet.len() {
        _ if fields.iter().any(|field| field.contains('\0')) => Err("a field contains NUL"),
        0..=MAX_MESSAGE => Ok(packet),
        _ => Err("longer than 64 KiB"),
    }
}

/// The fields of a packet, at least one; why it has none otherwise.
pub fn decode(packet: &[u8]) -> Result<Vec<&str>, &'static str> {
    match std::str::from_utf8(packet) {
        _ if packet.len() > MAX_MESSAGE => Err("longer than 64 KiB"),
        Ok(text) => Ok(text.split('\0').collect()),
        Err(_) => Err("not UTF-8"),
    }
}

/// What a reply packet says; nothing if it is none.
pub fn decode_reply(packet: &[u8]) -> Option<Reply> {
    match *decode(packet).ok()? {
        ["ok", ref values @ ..] => Some(Ok(values.iter().map(ToString::to_string).collect())),
        ["no", message] => Some(Err(message.to_owned())),
        _ => None,
    }
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

/// What opening `/persist` found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Last-known-good time in UNIX seconds; 0 when none is known (H16).
    pub floor: u32,
    /// Sequence number of the newest record; 0 when there is none.
    pub log_seq: u64,
    /// What is in force: `schema N, log verified to record N, seed FINGERPRINT`. There is no usable database when the schema
    /// is 0, and no seed was credited to the kernel when the fingerprint is `none`.
    pub note: String,
    /// The last records of the previous boot, at most ten, oldest first, each as a line `| TEXT`; then, without a line end,
    /// `ended HOW`: `none: …` when no such boot is recorded.
    pub previous: String,
    /// What is wrong; anything here makes the whole boot RED.
    pub trouble: Vec<String>,
}

impl Opened {
    /// The values of the reply to `open`.
    pub(crate) fn into_values(self) -> Vec<String> {
        let (floor, seq) = (self.floor.to_string(), self.log_seq.to_string());
        let values = vec![floor, seq, self.note, self.previous];
        [values, self.trouble].concat()
    }
}

#[cfg(test)]
mod tests;
