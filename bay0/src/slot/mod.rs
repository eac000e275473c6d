//! The slots of an installed Spine (C09 to C11, U05): what the firmware starts, what it remembers of starts, and what is written there.
//!
//! [`install`] is a process of its own: it reads disks, which PID 1 does not.

pub mod answer;
pub mod entries;
pub mod entry;
pub mod firmware;
pub mod install;
mod machine;
pub mod running;
pub mod setup;
pub mod starts;
pub mod table;
