//! What the image of `sys://ai` has besides its recipe: the engine of its programs, compiled here from pinned source, and a model.

mod engine;
mod model;
mod registry;
mod toy;

pub use engine::{Engine, LICENCE};
pub use model::Choice;
