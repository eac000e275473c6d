//! `organ-says`: stands for the organ on machines of the scenarios, with all of its parent and its walls, and an engine without a model.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

#[path = "../../../../rooms/organd/testing/engine.rs"]
mod engine;

use std::env::args;
use std::io::{Write, stderr};
use std::process::ExitCode;
use std::time::Duration;

use engine::Fake;
use organd::parent::{Config, Parent, Room};

fn main() -> ExitCode {
    // Answers at once, and MiB that each may have.
    let mut numbers = args().skip(1).filter_map(|it| it.parse::<u32>().ok());
    let config = Config {
        slots: numbers.next().unwrap_or(1) as usize,
        room: Room {
            memory: u64::from(numbers.next().unwrap_or(16)) << 20,
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
