//! What PID 1 and the keeper say to each other.
//!
//! One message per `SOCK_SEQPACKET` packet, at most [`MAX_MESSAGE`] bytes: UTF-8 fields joined by NUL. The first field is the
//! tag, the rest is the tag's own. A list is its length and then its items. One request is in flight at a time, so that a
//! reply needs no number to be paired with it. A field cannot contain NUL: such a message is refused before it is sent.
//! Decoding walks the fields and checks each, so no packet can make it panic (A16).

use bay0_persona::PersonaName;

/// Largest packet in bytes, either way: 256 personas with the longest names take 45 KiB.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// The end of the previous boot on a disk that held neither a database nor a log.
pub const NEVER: &str = "never: first boot, /persist was empty";

/// Why bytes are not a message, or a message not bytes.
pub type WireError = &'static str;

/// The fields of a packet that were not read yet.
pub type Fields<'a> = dyn Iterator<Item = &'a str> + 'a;

/// A value that knows its way into fields and back.
pub trait Wire: Sized {
    /// Appends the value's fields.
    fn put(&self, out: &mut Vec<String>);

    /// Takes the value's fields off the front.
    fn take(fields: &mut Fields<'_>) -> Result<Self, WireError>;

    /// The packet that says this.
    fn encode(&self) -> Result<Vec<u8>, WireError> {
        let mut fields = Vec::new();
        self.put(&mut fields);
        let packet = fields.join("\0").into_bytes();
        match packet.len() {
            _ if fields.iter().any(|field| field.contains('\0')) => Err("a field contains NUL"),
            0..=MAX_MESSAGE => Ok(packet),
            _ => Err("longer than 64 KiB"),
        }
    }

    /// What a packet says.
    fn decode(packet: &[u8]) -> Result<Self, WireError> {
        if packet.len() > MAX_MESSAGE {
            return Err("longer than 64 KiB");
        }
        let text = std::str::from_utf8(packet).map_err(|_| "not UTF-8")?;
        let mut fields = text.split('\0');
        let message = Self::take(&mut fields)?;
        let more = fields.next();
        more.map_or(Ok(message), |_| Err("too many fields"))
    }
}

/// Values that are one field: what `Display` writes.
macro_rules! texts {
    ($($kind:ty: $parse:expr,)*) => { $(
        impl Wire for $kind {
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
    u64: |word| word.parse().ok(),
    String: |word| Some(word.to_owned()),
    PersonaName: |word| PersonaName::parse(word).ok(),
}

impl<T: Wire> Wire for Vec<T> {
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

        impl Wire for $name {
            fn put(&self, out: &mut Vec<String>) {
                $(self.$field.put(out);)*
            }
            fn take(fields: &mut Fields<'_>) -> Result<Self, WireError> {
                Ok(Self { $($field: Wire::take(fields)?,)* })
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
        /// Schema version now in force; 0 when there is no usable database.
        schema: u64,
        /// Last-known-good time in UNIX seconds; 0 when none is known (H16).
        floor: u64,
        /// First 16 hex digits of the SHA-256 of the seed credited to the kernel; `none` when none was.
        seed: String,
        /// Sequence number of the newest record; 0 when there is none.
        log_seq: u64,
        /// How the previous boot ended; `none` when it is not recorded, [`NEVER`] when there was none.
        previous_end: String,
        /// The last records of the previous boot, at most ten, oldest first.
        tail: Vec<String>,
        /// What is wrong; anything here makes the whole boot RED.
        trouble: Vec<String>,
    }
}

/// Values that are one of several: the tag of the variant, then the variant's own values in order.
macro_rules! choices {
    ($($(#[$top:meta])* $name:ident {
        $($(#[$meta:meta])* $variant:ident $(($($value:ident: $kind:ty),*))? = $tag:literal,)*
    })*) => { $(
        $(#[$top])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$meta])* $variant $(($($kind),*))?,)* }

        impl $name {
            /// The tag. It names a message in errors, a state in the database and on the console.
            pub fn tag(&self) -> &'static str {
                match self { $(Self::$variant { .. } => $tag,)* }
            }
        }

        impl Wire for $name {
            fn put(&self, out: &mut Vec<String>) {
                out.push(self.tag().to_owned());
                match self {
                    $(Self::$variant $(($($value),*))? => { $($($value.put(out);)*)? })*
                }
            }
            fn take(fields: &mut Fields<'_>) -> Result<Self, WireError> {
                Ok(match fields.next() {
                    $(Some($tag) => Self::$variant $(($(<$kind>::take(fields)?),*))?,)*
                    _ => return Err("unknown tag"),
                })
            }
        }
    )* };
}

choices! {
    /// Where a persona is in its life, as recorded (H12).
    #[derive(Copy)]
    State {
        /// Not running, nothing left of it.
        Stopped = "stopped",
        /// Half made; never trusted after a reboot.
        Starting = "starting",
        /// Running, as far as the record goes.
        Running = "running",
    }

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
    }

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

#[cfg(test)]
mod tests;
