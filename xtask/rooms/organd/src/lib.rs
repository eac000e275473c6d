//! The program of `sys://ai`: the organ that answers rooms, and shares nothing between them (decision 24, `docs/AI.md`).
//!
//! [`parent`] maps the model once and never sees a word of a question: it takes questions from PID 1, gives each a process of its own,
//! stops, continues and ends it. [`child`] is that process: behind its [`walls`] it hears the question on the only descriptor it has,
//! answers, and is gone with all it knew. [`frames`] is what a room and a child say to each other, [`engine`] who knows a model.
//!
//! What is absent: the parent reads no packet of a room while a question is alive, a child opens no file and no socket, nothing of an
//! answer outlives its child, and no text is written anywhere but to the room that asked.

pub mod child;
pub mod engine;
pub mod frames;
pub mod parent;
mod process;
mod queue;
mod tally;
mod text;
mod walls;

pub use text::Characters;
