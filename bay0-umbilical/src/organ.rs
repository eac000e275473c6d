//! Questions to the organ, `sys://ai` (decision 24): what PID 1 and the organ's parent send each other, and the tags of what a room and
//! the child that answers it send each other. Every packet is a tag and data, on a connection of packets.
//!
//! ```text
//! PID 1    "a" ID NAME KIND MAX CONTEXT TTL    ; a question, with the descriptor of who answers it
//!          "s" ID / "g" ID / "x" ID            ; stop it, go on, cancel it
//! organ    "m" NAME CONTEXT EMBEDS / "n" why   ; its model, or why there is none: "reason; next: action"
//!          "f" ID PROMPT GENERATED MS OUTCOME  ; a question has ended
//! ```

use bay0_persona::PersonaName;

/// Part of the system text.
pub const SYSTEM: u8 = b'y';
/// Part of the prompt.
pub const PROMPT: u8 = b'p';
/// Part of a JSON schema.
pub const SCHEMA: u8 = b'j';
/// The temperature, a decimal.
pub const TEMPERATURE: u8 = b't';
/// The seed, a decimal.
pub const SEED: u8 = b'r';
/// All of the question is there.
pub const ASKED: u8 = b'e';
/// Waits for a slot, about so many milliseconds.
pub const WAITS: u8 = b'w';
/// A piece of the answer.
pub const PIECE: u8 = b'd';
/// Done: [`Done`].
pub const DONE: u8 = b'o';
/// Not done, or no model: `reason; next: action`.
pub const NOT: u8 = b'n';

/// The highest temperature: above it every token is as good as any other.
pub const HOTTEST: f32 = 10.0;

/// Defines an enum whose values are words on the wire.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $value:ident = $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $value,)* }

        impl $name {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$value),*];

            /// Its word.
            pub fn word(self) -> &'static str {
                match self { $(Self::$value => $word),* }
            }

            fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|it| it.word() == word)
            }
        }
    };
}

words! {
    /// What is asked for.
    Kind {
        /// A text.
        Ask = "ask",
        /// A text's place among others, as numbers.
        Embed = "embed",
    }
}

words! {
    /// How a question has ended.
    Outcome {
        /// The model had said all.
        End = "end",
        /// At the most tokens there may be.
        Length = "length",
        /// PID 1 has cancelled it.
        Cancelled = "cancelled",
        /// It stood still for too long.
        Late = "late",
        /// It has run for longer than so many tokens take.
        Overdue = "overdue",
        /// Its child was killed: by its walls, its limit of memory, or a fault of the engine.
        Killed = "killed",
        /// The organ has said no: too long, not understood, no model.
        Refused = "refused",
        /// The room has hung up, or does not read.
        HungUp = "hung-up",
    }
}

/// A question, as PID 1 hands it over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its number, chosen by PID 1.
    pub id: u32,
    /// The room that asks, by the kernel's credentials.
    pub room: PersonaName,
    /// What it asks for.
    pub kind: Kind,
    /// Most tokens of the answer.
    pub max: u32,
    /// Most tokens of prompt and answer together.
    pub context: u32,
    /// Most seconds that it may stand still.
    pub ttl: u32,
}

/// What PID 1 sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// A question; a descriptor comes with it.
    Answer(Question),
    /// The room is behind.
    Stop(u32),
    /// The room is in front again.
    Go(u32),
    /// Nobody waits for it any more.
    Cancel(u32),
}

/// What an answer took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Tokens of the prompt.
    pub prompt: u32,
    /// Tokens generated.
    pub generated: u32,
    /// Milliseconds since it was handed over.
    pub ms: u32,
    /// How it ended.
    pub outcome: Outcome,
}

/// What the organ sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A model is mapped.
    Model {
        /// Its name: printable ASCII without spaces.
        name: String,
        /// Most tokens of prompt and answer together that it can.
        context: u32,
        /// It can embed.
        embeds: bool,
    },
    /// There is none: `reason; next: action`.
    NoModel(String),
    /// The question of this number has ended.
    Ended(u32, Done),
}

/// Tag and words of a packet.
fn split(packet: &[u8]) -> Option<(u8, Vec<&str>)> {
    let (tag, data) = packet.split_first()?;
    Some((*tag, str::from_utf8(data).ok()?.split(' ').collect()))
}

/// A decimal as this module writes it, and in no other spelling.
pub(crate) fn number(word: &str) -> Option<u32> {
    word.parse().ok().filter(|it: &u32| it.to_string() == word)
}

impl Order {
    /// The packet.
    pub fn encode(&self) -> Vec<u8> {
        let text = match self {
            Self::Answer(q) => {
                let (room, kind) = (&q.room, q.kind.word());
                format!("a{} {room} {kind} {} {} {}", q.id, q.max, q.context, q.ttl)
            }
            Self::Stop(id) => format!("s{id}"),
            Self::Go(id) => format!("g{id}"),
            Self::Cancel(id) => format!("x{id}"),
        };
        text.into_bytes()
    }

    /// Reads a packet.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        let (tag, words) = split(packet)?;
        Some(match (tag, words.as_slice()) {
            (b'a', [id, room, kind, max, context, ttl]) => Self::Answer(Question {
                id: number(id)?,
                room: PersonaName::parse(room).ok()?,
                kind: Kind::parse(kind)?,
                max: number(max)?,
                context: number(context)?,
                ttl: number(ttl)?,
            }),
            (b's', [id]) => Self::Stop(number(id)?),
            (b'g', [id]) => Self::Go(number(id)?),
            (b'x', [id]) => Self::Cancel(number(id)?),
            _ => return None,
        })
    }
}

impl Done {
    /// What stands behind the tag.
    pub fn encode(&self) -> String {
        let outcome = self.outcome.word();
        format!("{} {} {} {outcome}", self.prompt, self.generated, self.ms)
    }

    /// Reads what stands behind the tag.
    pub fn decode(data: &[u8]) -> Option<Self> {
        let words: Vec<&str> = str::from_utf8(data).ok()?.split(' ').collect();
        let [prompt, generated, ms, outcome] = words.as_slice() else {
            return None;
        };
        Some(Self {
            prompt: number(prompt)?,
            generated: number(generated)?,
            ms: number(ms)?,
            outcome: Outcome::parse(outcome)?,
        })
    }
}

impl Report {
    /// The packet.
    pub fn encode(&self) -> Vec<u8> {
        let text = match self {
            Self::Model {
                name,
                context,
                embeds,
            } => format!("m{name} {context} {}", u8::from(*embeds)),
            Self::NoModel(why) => format!("n{why}"),
            Self::Ended(id, done) => format!("f{id} {}", done.encode()),
        };
        text.into_bytes()
    }

    /// Reads a packet.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        let (tag, data) = packet.split_first()?;
        let text = str::from_utf8(data).ok()?;
        let words: Vec<&str> = text.split(' ').collect();
        Some(match (tag, words.as_slice()) {
            (b'm', [name, context, embeds @ ("0" | "1")])
                if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()) =>
            {
                Self::Model {
                    name: (*name).to_owned(),
                    context: number(context)?,
                    embeds: *embeds == "1",
                }
            }
            (b'n', _) => Self::NoModel(text.to_owned()),
            (b'f', [id, ..]) => {
                let (_, done) = text.split_once(' ')?;
                Self::Ended(number(id)?, Done::decode(done.as_bytes())?)
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests;
