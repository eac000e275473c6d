//! The engine with a model, as the parent of the tests has it.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use bay0_umbilical::organ::{Kind, Outcome};
use organd::engine::Engine;
use organd::engine::llama::Llama;
use organd::frames::Asked;

use super::common::{Asking, Organ, config};

pub fn toy() -> PathBuf {
    match std::env::var_os("ORGAN_MODEL") {
        Some(model) => model.into(),
        None => Path::new(env!("ORGAN_ENGINE")).join("toy.gguf"),
    }
}

/// The parent in the thread that maps the model: it is never sent to another one.
struct Mapped(Llama);

// SAFETY: the model is read by one thread at a time, and each child has a copy of it.
unsafe impl Send for Mapped {}

impl Engine for Mapped {
    fn model(&self) -> &organd::engine::Model {
        self.0.model()
    }

    fn answer(
        &self,
        asked: &Asked,
        limits: organd::engine::Limits,
        out: &mut dyn organd::engine::Out,
    ) -> Result<Outcome, organd::engine::Stopped> {
        self.0.answer(asked, limits, out)
    }

    fn embed(
        &self,
        asked: &Asked,
        limits: organd::engine::Limits,
        out: &mut dyn organd::engine::Out,
    ) -> Result<Vec<f32>, organd::engine::Stopped> {
        self.0.embed(asked, limits, out)
    }
}

pub fn organ(slots: usize, threads: u32) -> Organ {
    let mut config = config(slots);
    config.room.threads = threads;
    config.room.memory = 512 << 20;
    Organ::with(Mapped(Llama::load(&toy(), threads).unwrap()), config)
}

pub fn asked(prompt: &str) -> Asked {
    Asked {
        prompt: prompt.to_owned(),
        ..Asked::default()
    }
}

pub fn begin(organ: &mut Organ, max: u32, asked: &Asked) -> Asking {
    let asking = organ.open(Kind::Ask, max, 60);
    asking.say(asked);
    asking
}
