//! What is shown and tried on machines: the scenarios, one for each promise, long seeded runs, and fuzzing of what parses foreign bytes.
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

pub mod fuzz;
pub mod soak;
pub mod vm;

// By these names the modules know them.
use factory::{
    arch, font, host, layout, persist, roomdisk, rootimg, soil, spine, stamp, uefi, verity,
};
use machines::{accel, lan, machine, smoke, tpm, vault};
