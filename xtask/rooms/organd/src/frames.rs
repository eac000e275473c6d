//! A question as its room sends it, packet by packet, and what stands before the room may read the answer.
//!
//! ```text
//! room     "y" TEXT / "p" TEXT / "j" TEXT   ; parts of system text, prompt and JSON schema, joined as they come
//!          "t" DECIMAL / "r" DECIMAL        ; temperature and seed
//!          "e"                              ; all of it is there
//! child    "w" MS / "d" TEXT / "o" PROMPT GENERATED MS OUTCOME / "n" why
//! ```

use std::fmt;

use bay0_state::gate::PACKET;
pub use bay0_umbilical::organ::HOTTEST;
use bay0_umbilical::organ::{ASKED, PROMPT, SCHEMA, SEED, SYSTEM, TEMPERATURE};

/// Bytes of text that one token of the context is taken to have at most: what is longer cannot fit, and is counted and not kept.
pub const TOKEN_BYTES: usize = 16;
/// Bytes of a JSON schema.
pub const SCHEMA_BYTES: usize = 64 << 10;
/// Packets of a question; who sends more is not asking.
pub const PACKETS: usize = 1 << 16;

/// A question, whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    /// What the model is to be.
    pub system: String,
    /// What it is asked.
    pub prompt: String,
    /// What its answer is to look like; none if this is empty.
    pub schema: String,
    /// 0: always the likeliest token.
    pub temperature: f32,
    /// Where its choices begin.
    pub seed: u32,
}

/// Why a question is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has more bytes than any prompt of its context.
    Bytes {
        /// How many.
        bytes: usize,
        /// Most tokens of prompt and answer together.
        context: u32,
    },
    /// It has more tokens than its context.
    Tokens {
        /// How many.
        tokens: u32,
        /// Most tokens of prompt and answer together.
        context: u32,
    },
    /// A packet is none.
    Packet(u8),
    /// More than [`PACKETS`].
    Packets,
    /// A part is no text.
    Text(&'static str),
    /// The schema has more than [`SCHEMA_BYTES`].
    LongSchema(usize),
    /// The engine cannot follow the schema.
    Schema(String),
    /// Nothing is asked.
    Empty,
    /// It was not all there in time.
    Slow,
    /// The model has no embeddings.
    NoEmbedding,
    /// The engine has failed.
    Engine(String),
}

const BUG: &str = "next: use the bay0 of this room";

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let less = "next: ask with less, or let its policy have more (ai.context)";
        match self {
            Self::Bytes { bytes, context } => write!(
                f,
                "prompt too long: {bytes} bytes, where prompt and answer together may have {context} tokens; {less}"
            ),
            Self::Tokens { tokens, context } => write!(
                f,
                "prompt too long: {tokens} tokens, where prompt and answer together may have {context}; {less}"
            ),
            Self::Packet(tag) => write!(
                f,
                "packet {:?} is none of a question; {BUG}",
                char::from(*tag)
            ),
            Self::Packets => write!(f, "more than {PACKETS} packets in a question; {BUG}"),
            Self::Text(part) => write!(f, "the {part} is not UTF-8; next: ask with text"),
            Self::LongSchema(bytes) => write!(
                f,
                "schema too long: {bytes} bytes, of at most {SCHEMA_BYTES}; next: ask with a smaller one"
            ),
            Self::Schema(why) => write!(f, "schema: {why}; next: write it as JSON Schema"),
            Self::Empty => f.write_str("nothing is asked; next: ask with a prompt"),
            Self::Slow => {
                f.write_str("the question did not come to its end in time; next: ask again")
            }
            Self::NoEmbedding => {
                f.write_str("this model has no embeddings; next: give sys://ai one that has")
            }
            Self::Engine(why) => write!(f, "engine: {why}; next: ask again, then report it"),
        }
    }
}

/// A question while it comes.
#[derive(Debug)]
pub struct Hearing {
    context: u32,
    packets: usize,
    /// Bytes of system text and prompt, kept or not.
    bytes: usize,
    /// Bytes of the schema, kept or not.
    schema_bytes: usize,
    system: Vec<u8>,
    prompt: Vec<u8>,
    schema: Vec<u8>,
    temperature: f32,
    seed: u32,
}

impl Hearing {
    /// Of a question whose prompt and answer may have so many tokens together.
    pub fn new(context: u32) -> Self {
        Self {
            context,
            packets: 0,
            bytes: 0,
            schema_bytes: 0,
            system: Vec::new(),
            prompt: Vec::new(),
            schema: Vec::new(),
            temperature: 0.0,
            seed: 0,
        }
    }

    /// Takes a packet: the question, once all of it is there. What is too long is counted to its end, so that the refusal has its figures,
    /// and costs no memory.
    ///
    /// # Errors
    /// Why there is no question.
    pub fn take(&mut self, packet: &[u8]) -> Result<Option<Asked>, Refusal> {
        self.packets = self.packets.saturating_add(1);
        if self.packets > PACKETS {
            return Err(Refusal::Packets);
        }
        let (&tag, data) = packet.split_first().ok_or(Refusal::Packet(0))?;
        let room = self.most().saturating_sub(self.bytes);
        match tag {
            SYSTEM | PROMPT => {
                self.bytes = self.bytes.saturating_add(data.len());
                let part = match tag {
                    SYSTEM => &mut self.system,
                    _ => &mut self.prompt,
                };
                keep(part, data, room);
            }
            SCHEMA => {
                let room = SCHEMA_BYTES.saturating_sub(self.schema_bytes);
                self.schema_bytes = self.schema_bytes.saturating_add(data.len());
                keep(&mut self.schema, data, room);
            }
            TEMPERATURE => {
                let heat = decimal::<f32>(data).filter(|heat| (0.0..=HOTTEST).contains(heat));
                self.temperature = heat.ok_or(Refusal::Packet(tag))?;
            }
            SEED => self.seed = decimal(data).ok_or(Refusal::Packet(tag))?,
            ASKED => return self.end().map(Some),
            _ => return Err(Refusal::Packet(tag)),
        }
        Ok(None)
    }

    /// Most bytes that are kept.
    fn most(&self) -> usize {
        let context = usize::try_from(self.context).unwrap_or(usize::MAX);
        context.saturating_mul(TOKEN_BYTES)
    }

    fn end(&mut self) -> Result<Asked, Refusal> {
        let (bytes, context) = (self.bytes, self.context);
        if bytes > self.most() {
            return Err(Refusal::Bytes { bytes, context });
        }
        if self.schema_bytes > SCHEMA_BYTES {
            return Err(Refusal::LongSchema(self.schema_bytes));
        }
        let text = |bytes: &mut Vec<u8>, part| {
            String::from_utf8(std::mem::take(bytes)).map_err(|_| Refusal::Text(part))
        };
        let asked = Asked {
            system: text(&mut self.system, "system text")?,
            prompt: text(&mut self.prompt, "prompt")?,
            schema: text(&mut self.schema, "schema")?,
            temperature: self.temperature,
            seed: self.seed,
        };
        match asked.prompt.is_empty() {
            true => Err(Refusal::Empty),
            false => Ok(asked),
        }
    }
}

/// Keeps what there is room for.
fn keep(part: &mut Vec<u8>, data: &[u8], room: usize) {
    part.extend_from_slice(data.get(..room).unwrap_or(data));
}

/// A number in ASCII.
fn decimal<T: std::str::FromStr>(data: &[u8]) -> Option<T> {
    let fits = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let text = str::from_utf8(data)
        .ok()
        .filter(|text| text.bytes().all(|byte| fits(&byte)))?;
    text.parse().ok()
}

impl Asked {
    /// The packets of it, as a room sends them.
    pub fn packets(&self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        let parts = [
            (SYSTEM, &self.system),
            (PROMPT, &self.prompt),
            (SCHEMA, &self.schema),
        ];
        for (tag, text) in parts {
            let parts = text.as_bytes().chunks(PACKET.saturating_sub(1));
            packets.extend(parts.map(|part| [&[tag], part].concat()));
        }
        packets.push([&[TEMPERATURE], self.temperature.to_string().as_bytes()].concat());
        packets.push([&[SEED], self.seed.to_string().as_bytes()].concat());
        packets.push(vec![ASKED]);
        packets
    }
}

#[cfg(test)]
mod tests;
