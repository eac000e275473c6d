//! What a persona is called, what it may, where it lives, and how its first process starts.
//!
//! One idea a file: [`name`] (the grammar nobody can step around), [`policy`] (what it may), [`cgroup`] (the cgroup v2
//! directory that bounds, freezes and kills it), [`image`] (its files, verified), [`spawn`] (the one way this system makes a
//! process), [`ends`] (how one ends, by any signal), [`room`] (how one becomes a room), [`tree`] (mounts that go into it), `furnish` and `place` (its files), [`link`] (its network), [`net`] (the network that the machine is on), [`packet`] (how processes
//! speak to each other), [`wish`] (what a room may ask to be kept), [`kind`] (what is in a file), [`confine`] and [`landlock`] (the walls around processes of the Spine), [`gpt`] and [`disks`] (which disk is which).

pub mod cgroup;
pub mod confine;
pub mod disks;
pub mod ends;
mod error;
pub mod filename;
mod furnish;
pub mod gpt;
pub mod image;
pub mod kind;
pub mod landlock;
pub mod link;
mod machine;
pub mod name;
pub mod net;
mod netlink;
pub mod packet;
mod place;
pub mod plan;
pub mod policy;
pub mod room;
pub mod spawn;
pub mod tree;
pub mod wish;

pub use cgroup::{GROUPS, Group, ROOMS, cgroup2_root};
pub use ends::{End, Ended, reap};
pub use error::{Failed, errno_of};
pub use kind::Kind;
pub use name::PersonaName;
pub use nix::sched::CloneFlags;
pub use plan::{Plan, UIDS};
pub use policy::{Grant, Policy};
pub use room::{BpfProgram, Room, bpf_program, terminal};
pub use spawn::{Child, Teller, errno, spawn, spawn_teller};
pub use wish::Wish;
