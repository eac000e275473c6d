//! Machines: one QEMU with a Spine, booted, watched and asked. Everything that boots goes through [`machine::Machine`]; what is booted,
//! the factory has built.
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

pub mod accel;
pub mod lan;
pub mod machine;
pub mod outside;
pub mod qemu;
mod qmp;
pub mod smoke;
pub mod tpm;
pub mod vault;

// By these names the modules know them.
use factory::{arch, host, layout, persist, policy, roomdisk, rootimg, soil, spine, stamp, uefi};
