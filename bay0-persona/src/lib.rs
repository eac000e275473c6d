//! What a persona is called, where it lives, and how its first process starts.
//!
//! Three ideas, one file each: [`name`] (the grammar nobody can step around), [`cgroup`] (the cgroup v2 directory that bounds,
//! freezes and kills a persona) and [`spawn`] (the one way this system makes a process).

pub mod cgroup;
pub mod name;
pub mod spawn;

pub use cgroup::{Group, GroupError, ROOMS, cgroup2_root};
pub use name::{NameError, PersonaName};
pub use spawn::{Child, Teller, spawn, spawn_teller};
