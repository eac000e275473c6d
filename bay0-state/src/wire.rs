//! What PID 1 and the keeper say to each other.
//!
//! One message per `SOCK_SEQPACKET` packet, at most [`MAX_MESSAGE`] bytes: UTF-8 fields joined by NUL. The first field is the
//! request's decimal id, which its reply repeats; the second is the tag; the rest is the tag's own. A list is its length
//! and then its items. A field cannot contain NUL: such a message is refused before it is sent. Decoding walks the
//! fields and checks each, so no packet can make it panic (A16).

use std::fmt;
use std::str::Split;

use bay0_persona::PersonaName;

/// Largest packet in bytes, either way: 256 personas with the longest names take 45 KiB.
pub const MAX_MESSAGE: usize = 64 * 1024;

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
    /// The state that a word stands for.
    pub fn parse(word: &str) -> Option<Self> {
        let all = [Self::Stopped, Self::Starting, Self::Running];
        all.into_iter().find(|state| state.to_string() == word)
    }
}

impl fmt::Display for State {
    /// The word that stands for it in messages, in the database and on the console.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
        })
    }
}

/// Why bytes are not a message, or a message not bytes.
pub type WireError = &'static str;

type Fields<'a> = Split<'a, char>;

/// A value that knows its way into fields and back.
trait Field: Sized {
    fn put(&self, out: &mut Vec<String>);
    fn take(fields: &mut Fields<'_>) -> Result<Self, WireError>;
}

/// Values that are one field: what `Display` writes.
macro_rules! texts {
    ($($kind:ty: $parse:expr,)*) => { $(
        impl Field for $kind {
            fn put(&self, out: &mut Vec<String>) {
                out.push(self.to_string());
            }
            fn take(fields: &mut Fields<'_>) -> Result<Self, WireError> {
                fields.next().and_then($parse).ok_or("malformed field")
            }
        }
    )* };
}

texts! {
    bool: |word| word.parse().ok(),
    u32: |word| word.parse().ok(),
    u64: |word| word.parse().ok(),
    String: |word| Some(word.to_owned()),
    PersonaName: |word| PersonaName::parse(word).ok(),
    State: State::parse,
}

impl<T: Field> Field for Vec<T> {
    fn put(&self, out: &mut Vec<String>) {
        out.push(self.len().to_string());
        self.iter().for_each(|item| item.put(out));
    }
    fn take(fields: &mut Fields<'_>) -> Result<Self, WireError> {
        // No memory is set aside for the announced length: a lie runs out of fields first.
        let length = u64::take(fields)?;
        (0..length).map(|_| T::take(fields)).collect()
    }
}

/// Values that are several fields: a struct, its fields in order.
macro_rules! records {
    ($($(#[$top:meta])* $name:ident { $($(#[$meta:meta])* $field:ident: $kind:ty,)* })*) => { $(
        $(#[$top])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[$meta])* pub $field: $kind,)* }

        impl Field for $name {
            fn put(&self, out: &mut Vec<String>) {
                $(self.$field.put(out);)*
            }
            fn take(fields: &mut Fields<'_>) -> Result<Self, WireError> {
                Ok(Self { $($field: Field::take(fields)?,)* })
            }
        }
    )* };
}

records! {
    /// One recorded persona.
    Persona {
        /// Its name.
        name: PersonaName,
        /// Its recorded state.
        state: State,
    }

    /// What opening `/persist` found.
    #[derive(Default)]
    Opened {
        /// The disk held neither a database nor a log.
        first_boot: bool,
        /// Schema version now in force; 0 when there is no usable database.
        schema: u32,
        /// Last-known-good time in UNIX seconds; 0 when none is known (H16).
        floor: u64,
        /// First 16 hex digits of the SHA-256 of the seed credited to the kernel; `none` when none was.
        seed: String,
        /// Sequence number of the newest record; 0 when there is none.
        log_seq: u64,
        /// How the previous boot ended; `none` when no earlier boot is recorded.
        previous_end: String,
        /// The last records of the previous boot, at most ten, oldest first.
        tail: Vec<String>,
        /// What is wrong; anything here makes the whole boot RED.
        trouble: Vec<String>,
    }
}

/// Messages: an id, the tag of the variant, the variant's values in order.
macro_rules! messages {
    ($(#[$top:meta])* $name:ident {
        $($(#[$meta:meta])* $variant:ident $(($($value:ident: $kind:ty),*))? = $tag:literal,)*
    }) => {
        $(#[$top])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$meta])* $variant $(($($kind),*))?,)* }

        // The attributes of a variant stand at its arms as well, for the sake of `cfg`.
        #[allow(unused_doc_comments)]
        impl $name {
            /// The tag, which also names the message in errors.
            pub fn tag(&self) -> &'static str {
                match self { $($(#[$meta])* Self::$variant { .. } => $tag,)* }
            }

            /// The packet that says this; `id` pairs request and reply.
            pub fn encode(&self, id: u64) -> Result<Vec<u8>, WireError> {
                let mut out = vec![id.to_string(), self.tag().to_owned()];
                match self {
                    $($(#[$meta])* Self::$variant $(($($value),*))? => { $($($value.put(&mut out);)*)? })*
                }
                join(&out)
            }

            /// The message in a packet, and its id.
            pub fn decode(packet: &[u8]) -> Result<(u64, Self), WireError> {
                let mut fields = split(packet)?;
                let id = Field::take(&mut fields)?;
                let message = match fields.next() {
                    $($(#[$meta])* Some($tag) => Self::$variant $(($(<$kind>::take(&mut fields)?),*))?,)*
                    _ => return Err("unknown tag"),
                };
                fields.next().map_or(Ok((id, message)), |_| Err("too many fields"))
            }
        }
    };
}

messages! {
    /// What PID 1 asks. Times are UNIX seconds, a hash is the SHA-256 of a Spine in 64 lower-case hex digits.
    Request {
        /// Mount and open everything.
        Open(boot_id: String) = "open",
        /// List the personas.
        Personas = "personas",
        /// Record a persona's state.
        SetState(name: PersonaName, state: State) = "set-state",
        /// Remember that a Spine failed, and why, in at most 512 characters (H17).
        NackAdd(hash: String, reason: String) = "nack-add",
        /// Ask whether a Spine failed before.
        NackGet(hash: String) = "nack-get",
        /// Raise the last-known-good time; it never falls.
        Clock(now: u64) = "clock",
        /// Append records to the genesis log.
        Append(texts: Vec<String>) = "append",
        /// Write, read back and remove a marker file, and append a record (H15).
        Probe = "probe",
        /// Record how this boot ended (`poweroff`, `reboot`), make everything durable, unmount.
        Close(how: String, now: u64) = "close",
        /// Sleep this many milliseconds, as a slow disk would: test builds only.
        #[cfg(feature = "fault")]
        Stall(milliseconds: u64) = "stall",
    }
}

messages! {
    /// What the keeper answers.
    Reply {
        /// To `Open`.
        Opened(opened: Opened) = "opened",
        /// To `Personas`, sorted by name.
        Personas(list: Vec<Persona>) = "personas",
        /// To `NackGet`: the recorded reason, or nothing.
        Nack(reason: Vec<String>) = "nack",
        /// To `Append` and `Probe`: on disk; the sequence number of the last record.
        Recorded(seq: u64) = "recorded",
        /// To everything else.
        Done = "done",
        /// Not done, and why: a whole message.
        Refused(message: String) = "refused",
    }
}

/// The id of a request that may be otherwise unreadable.
pub(crate) fn id_of(packet: &[u8]) -> Option<u64> {
    Field::take(&mut split(packet).ok()?).ok()
}

fn join(fields: &[String]) -> Result<Vec<u8>, WireError> {
    let packet = fields.join("\0").into_bytes();
    match packet.len() {
        _ if fields.iter().any(|field| field.contains('\0')) => Err("a field contains NUL"),
        0..=MAX_MESSAGE => Ok(packet),
        _ => Err("longer than 64 KiB"),
    }
}

fn split(packet: &[u8]) -> Result<Fields<'_>, WireError> {
    if packet.len() > MAX_MESSAGE {
        return Err("longer than 64 KiB");
    }
    let text = std::str::from_utf8(packet);
    Ok(text.map_err(|_| "not UTF-8")?.split('\0'))
}

#[cfg(test)]
mod tests;
