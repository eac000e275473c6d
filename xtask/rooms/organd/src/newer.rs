//! `organd-v3`: `organd` with the engine that was compiled for AVX2, FMA, F16C and BMI2.

use std::process::ExitCode;

#[path = "start.rs"]
mod start;

fn main() -> ExitCode {
    start::start()
}
