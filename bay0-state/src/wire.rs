//! What PID 1 asks of the keeper, and what the keeper replies.
//!
//! One message is one `SOCK_SEQPACKET` packet: UTF-8 fields joined by NUL, of which the first is the message's word. One request is in
//! flight at a time, so a reply needs no number to be paired with it. No field contains NUL: names, numbers and lines of the log are
//! printable. Decoding accepts exactly what encoding makes, and no packet makes it panic (A16).

use std::fmt;
use std::time::Duration;

use bay0_persona::PersonaName;

/// Largest request in bytes; a longer one is cut off. A reply may be as long as the kernel lets a packet be, some 200 KiB.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// How long a read that survival depends on may take (H06).
pub(crate) const READ_DEADLINE: Duration = Duration::from_millis(200);
/// How long it may take until the disk is there, mounted, checked and migrated, and a first look into the image.
const OPEN_DEADLINE: Duration = Duration::from_secs(8);
/// How long everything else may take; a posted request that takes longer is slow.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(2);

/// A request of PID 1. Times are UNIX seconds, a hash is the SHA-256 of a Spine in 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Finds the disk as this profile allows, and opens the vault on it, which may take a person hours (C07): [`Reply::Unlocked`].
    Unlock(String),
    /// Mounts the disk, gives up every right but files, then opens everything: [`Reply::Opened`].
    Open {
        /// The kernel's id of this boot (`random(4)`).
        boot_id: String,
        /// The block device to be mounted.
        disk: String,
    },
    /// Appends records to the genesis log: [`Reply::Recorded`].
    Append(Vec<String>),
    /// Writes, reads back and removes a marker file, and appends a record (H15): [`Reply::Recorded`].
    Probe,
    /// Records how this boot ended, and when, and makes everything durable; the end of the keeper unmounts the disk: [`Reply::Done`].
    Close(String, u64),
    /// Lists the recorded personas, sorted by name: [`Reply::Lines`], each a [`Persona`].
    Personas,
    /// Records a persona's state: [`Reply::Done`].
    SetState(Persona),
    /// Remembers that a Spine failed, and why, in at most 512 characters (H17): [`Reply::Done`].
    AddNack {
        /// The Spine.
        hash: String,
        /// Why it failed.
        reason: String,
    },
    /// Lists the hash of every Spine that failed: [`Reply::Lines`].
    Nacks,
    /// Raises the last-known-good time, which never falls: [`Reply::Done`].
    Clock(u64),
    /// Reads the lines of the baked policies: [`Reply::Lines`].
    Baked,
    /// Has the room's gate ([`crate::gate`]) answer a wish, at the descriptor that comes with the packet: [`Reply::Done`].
    Gate {
        /// The room.
        room: PersonaName,
        /// What the room asks for, a [`bay0_persona::Wish`] if the gate finds it to be one.
        wish: String,
        /// What the room may keep.
        limits: Limits,
    },
}

impl Request {
    /// Its word, and the fields behind it.
    pub(crate) fn fields(&self) -> (&'static str, Vec<String>) {
        match self {
            Self::Unlock(profile) => ("unlock", vec![profile.clone()]),
            Self::Open { boot_id, disk } => ("open", vec![boot_id.clone(), disk.clone()]),
            Self::Append(texts) => ("append", texts.clone()),
            Self::Probe => ("probe", vec![]),
            Self::Close(how, now) => ("close", vec![how.clone(), now.to_string()]),
            Self::Personas => ("personas", vec![]),
            Self::SetState(it) => (
                "set-state",
                vec![it.name.to_string(), it.state.tag().into()],
            ),
            Self::AddNack { hash, reason } => ("nack-add", vec![hash.clone(), reason.clone()]),
            Self::Nacks => ("nacks", vec![]),
            Self::Clock(now) => ("clock", vec![now.to_string()]),
            Self::Baked => ("baked", vec![]),
            Self::Gate { room, wish, limits } => {
                let Limits {
                    bytes,
                    records,
                    rate,
                    read,
                    together,
                } = limits;
                let numbers = [bytes, records, rate, read, together].map(|it| it.to_string());
                let names = [room.to_string(), wish.clone()];
                ("gate", names.into_iter().chain(numbers).collect())
            }
        }
    }

    /// Its name in messages.
    pub fn word(&self) -> &'static str {
        self.fields().0
    }

    /// How long its reply may take.
    pub fn deadline(&self) -> Duration {
        match self {
            Self::Personas => READ_DEADLINE,
            Self::Open { .. } | Self::Baked => OPEN_DEADLINE,
            _ => WRITE_DEADLINE,
        }
    }

    /// Its packet.
    pub fn encode(&self) -> Vec<u8> {
        let (word, rest) = self.fields();
        packet(&[word], &rest)
    }

    /// The request that a packet holds; `None` if it holds none.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        Some(match *fields(packet) {
            ["unlock", profile] => Self::Unlock(profile.to_owned()),
            ["open", boot_id, disk] => Self::Open {
                boot_id: boot_id.to_owned(),
                disk: disk.to_owned(),
            },
            ["append", ref texts @ ..] => Self::Append(owned(texts)),
            ["probe"] => Self::Probe,
            ["close", how, now] => Self::Close(how.to_owned(), now.parse().ok()?),
            ["personas"] => Self::Personas,
            ["set-state", name, state] => Self::SetState(Persona::new(name, state)?),
            ["nack-add", hash, reason] => Self::AddNack {
                hash: hash.to_owned(),
                reason: reason.to_owned(),
            },
            ["nacks"] => Self::Nacks,
            ["clock", now] => Self::Clock(now.parse().ok()?),
            ["baked"] => Self::Baked,
            ["gate", room, wish, bytes, records, rate, read, together] => Self::Gate {
                room: PersonaName::parse(room).ok()?,
                wish: wish.to_owned(),
                limits: Limits {
                    bytes: bytes.parse().ok()?,
                    records: records.parse().ok()?,
                    rate: rate.parse().ok()?,
                    read: read.parse().ok()?,
                    together: together.parse().ok()?,
                },
            },
            _ => return None,
        })
        .filter(|request| request.encode() == packet)
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, rest) = self.fields();
        f.write_str(&[&[word.to_owned()], rest.as_slice()].concat().join(" "))
    }
}

/// What a room may keep, and how fast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes on the disk.
    pub bytes: u64,
    /// Objects and records.
    pub records: u64,
    /// Bytes a second that it writes, and as many at once; at least one [`crate::shelf::CHUNK`].
    pub rate: u64,
    /// The same of what it reads.
    pub read: u64,
    /// Bytes that all rooms which can start have together.
    pub together: u64,
}

/// What whoever has the disk needs to read it, and why that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing: it is no vault.
    Plain,
    /// The passphrase.
    Passphrase,
    /// The passphrase and this machine's TPM.
    Sealed,
    /// The vault was opened by its recovery key: it is sealed, but not to this Spine.
    Recovered,
    /// The vault was opened by a keeper before this one.
    Again,
    /// No passphrase was right: the vault is closed.
    Locked,
}

impl Access {
    const ALL: [Self; 6] = [
        Self::Plain,
        Self::Passphrase,
        Self::Sealed,
        Self::Recovered,
        Self::Again,
        Self::Locked,
    ];

    /// Whether it is known of a vault how it was opened.
    pub fn is_vault(self) -> bool {
        matches!(self, Self::Passphrase | Self::Sealed | Self::Recovered)
    }

    /// The word of `status` for it; `none` where it is not known.
    pub fn protection(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Passphrase => "passphrase",
            Self::Sealed | Self::Recovered => "passphrase+tpm",
            Self::Again | Self::Locked => "none",
        }
    }
}

/// The disk that was unlocked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlocked {
    /// How.
    pub access: Access,
    /// The block device to be mounted.
    pub mounted: String,
    /// The partition itself; empty if a keeper before this one has unlocked it.
    pub device: String,
    /// A line for the log, or nothing.
    pub line: String,
    /// What is not as it should be of any disk.
    pub notes: Vec<String>,
}

/// What was found when `/persist` was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The last-known-good time, in UNIX seconds.
    pub floor: u64,
    /// The newest record of the genesis log.
    pub log_seq: u64,
    /// What is in force, for the log.
    pub note: String,
    /// How the previous boot ended, and its last records.
    pub previous: String,
    /// What ext4 has noted of its errors, or nothing.
    pub worn: String,
    /// What is wrong, each of which makes the whole boot RED.
    pub trouble: Vec<String>,
}

/// A reply of the keeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The request is done.
    Done,
    /// Records are durable; the number of the last. No other reply has one.
    Recorded(u64),
    /// What was asked for.
    Lines(Vec<String>),
    /// To [`Request::Unlock`].
    Unlocked(Unlocked),
    /// To [`Request::Open`].
    Opened(Opened),
    /// The genesis log takes no record: the whole message.
    Unlogged(String),
    /// The request is not done for another reason: the whole message.
    Refused(String),
}

impl Reply {
    /// Its packet.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Done => packet(&["done"], &[]),
            Self::Recorded(seq) => packet(&["recorded", &seq.to_string()], &[]),
            Self::Lines(lines) => packet(&["lines"], lines),
            Self::Unlocked(it) => {
                let access = format!("{:?}", it.access);
                let head = ["unlocked", &access, &it.mounted, &it.device, &it.line];
                packet(&head, &it.notes)
            }
            Self::Opened(it) => {
                let numbers = [it.floor, it.log_seq].map(|it| it.to_string());
                let [floor, seq] = numbers.each_ref().map(String::as_str);
                let head = ["opened", floor, seq, &it.note, &it.previous, &it.worn];
                packet(&head, &it.trouble)
            }
            Self::Unlogged(message) => packet(&["unlogged", message], &[]),
            Self::Refused(message) => packet(&["refused", message], &[]),
        }
    }

    /// The reply that a packet holds; `None` if it holds none.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        Some(match *fields(packet) {
            ["done"] => Self::Done,
            ["recorded", seq] => Self::Recorded(seq.parse().ok()?),
            ["lines", ref lines @ ..] => Self::Lines(owned(lines)),
            ["unlocked", access, mounted, device, line, ref notes @ ..] => {
                let mut all = Access::ALL.into_iter();
                Self::Unlocked(Unlocked {
                    access: all.find(|it| format!("{it:?}") == access)?,
                    mounted: mounted.to_owned(),
                    device: device.to_owned(),
                    line: line.to_owned(),
                    notes: owned(notes),
                })
            }
            ["opened", floor, seq, note, previous, worn, ref trouble @ ..] => {
                Self::Opened(Opened {
                    floor: floor.parse().ok()?,
                    log_seq: seq.parse().ok()?,
                    note: note.to_owned(),
                    previous: previous.to_owned(),
                    worn: worn.to_owned(),
                    trouble: owned(trouble),
                })
            }
            ["unlogged", message] => Self::Unlogged(message.to_owned()),
            ["refused", message] => Self::Refused(message.to_owned()),
            _ => return None,
        })
        .filter(|reply| reply.encode() == packet)
    }
}

/// The packet with these fields.
fn packet(first: &[&str], rest: &[String]) -> Vec<u8> {
    let rest = rest.iter().map(String::as_str);
    let all: Vec<&str> = first.iter().copied().chain(rest).collect();
    all.join("\0").into_bytes()
}

/// The fields of a packet, at least one; an empty one if it is not UTF-8.
fn fields(packet: &[u8]) -> Vec<&str> {
    let text = std::str::from_utf8(packet).unwrap_or_default();
    text.split('\0').collect()
}

fn owned(fields: &[&str]) -> Vec<String> {
    fields.iter().map(ToString::to_string).collect()
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
    /// The persona of a row; `None` if its name or state is none.
    pub fn new(name: &str, tag: &str) -> Option<Self> {
        let name = PersonaName::parse(name).ok()?;
        let mut states = [State::Stopped, State::Starting, State::Running].into_iter();
        let state = states.find(|state| state.tag() == tag)?;
        Some(Self { name, state })
    }
}

#[cfg(test)]
mod tests;
