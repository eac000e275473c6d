//! The factory: everything that fetches, checks and builds, from pinned inputs to a Spine, its disks and its updates. It boots nothing.
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

pub mod arch;
mod assemble;
pub mod contained;
pub mod cross;
mod fetch;
pub mod font;
pub mod help;
pub mod host;
pub mod image;
mod kernel;
pub mod layout;
pub mod lock;
pub mod modules;
mod organ;
pub mod persist;
pub mod pins;
pub mod policy;
pub mod repin;
pub mod reproduce;
pub mod room;
pub mod roomdisk;
pub mod rootimg;
mod rules;
pub mod seccomp;
pub mod soil;
pub mod spine;
pub mod stage;
pub mod stamp;
pub mod tools;
mod turn;
pub mod uefi;
pub mod verity;
