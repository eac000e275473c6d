//! The checks of the house: sizes and dependencies (budget), documents against the code (tidy), and the run of all that is checked (suite).
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unreachable,
    clippy::disallowed_methods,
    reason = "a tool on a developer's machine: its panic ends a command, not a machine, and its output is its purpose"
)]

pub mod budget;
mod count;
pub mod suite;
pub mod tidy;

// By these names the modules know them.
use factory::{arch, host, layout, soil};
