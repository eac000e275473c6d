//! Who knows a model. The parent maps it; a child, behind its walls, has it answer.

#[cfg(feature = "llama")]
pub mod llama;

use bay0_umbilical::organ::Outcome;

use crate::frames::{Asked, Refusal};

/// What PID 1 is told of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its name: printable ASCII without spaces.
    pub name: String,
    /// Most tokens of prompt and answer together that it can.
    pub context: u32,
    /// It can embed.
    pub embeds: bool,
}

/// What a question may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tokens of the answer.
    pub max: u32,
    /// Tokens of prompt and answer together.
    pub context: u32,
}

/// The room does not hear any more: nothing more is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// Why an answer does not go on.
#[derive(Debug)]
pub enum Stopped {
    /// The room is told why.
    Refused(Refusal),
    /// Nobody hears it.
    Gone,
}

impl From<Refusal> for Stopped {
    fn from(why: Refusal) -> Self {
        Self::Refused(why)
    }
}

impl From<Gone> for Stopped {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

/// Where an answer goes.
pub trait Out {
    /// The prompt has so many tokens, and was understood.
    fn prompt(&mut self, tokens: u32);

    /// A token of the answer: its bytes, which may be part of a character.
    ///
    /// # Errors
    /// Nobody hears it.
    fn token(&mut self, bytes: &[u8]) -> Result<(), Gone>;
}

/// A model that is mapped.
pub trait Engine {
    /// What is told of it.
    fn model(&self) -> &Model;

    /// Answers. Called once in a process, which has its walls and ends then.
    ///
    /// # Errors
    /// Why there is no answer, or no more of it.
    fn answer(&self, asked: &Asked, limits: Limits, out: &mut dyn Out) -> Result<Outcome, Stopped>;

    /// The numbers of a text.
    ///
    /// # Errors
    /// Why there are none.
    fn embed(&self, asked: &Asked, limits: Limits, out: &mut dyn Out) -> Result<Vec<f32>, Stopped>;
}
