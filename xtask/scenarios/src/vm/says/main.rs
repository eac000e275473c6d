//! `organ-says`: stands for the organ on machines of the scenarios, with all of its parent and its walls, and an engine without a model.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

#[path = "../../../../rooms/organd/testing/engine.rs"]
mod engine;

use std::io::{Write, stderr};
use std::process::ExitCode;
use std::time::Duration;

use engine::Fake;
use organd::parent::{Config, Parent, Room};

fn main() -> ExitCode {
    let config = Config {
        slots: 1,
        room: Room {
            memory: 16 << 20,
            threads: 1,
        },
        patience: Duration::from_secs(5),
        token: Duration::from_secs(10),
    };
    let done = match outside::ask("organ") {
        Ok(pid1) => Parent::new(pid1, Ok(&Fake::new()), config)
            .serve()
            .map_err(|why| why.to_string()),
        Err(why) => Err(why.0),
    };
    if let Err(why) = done {
        let _ = writeln!(stderr(), "organ-says: {why}");
    }
    // Its end is never what was wanted.
    ExitCode::FAILURE
}
