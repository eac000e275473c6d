//! The state bridge: everything that ever touches `/persist` (K03, H10).
//!
//! Two halves that meet in one packet socket:
//!
//! - [`Keeper`], the client, lives in PID 1. It opens no file; every call has a deadline.
//! - [`keeper::run`], the server, is a child process. It alone has `/persist` mounted, in a mount namespace of its own,
//!   and may block on the disk for as long as the disk likes: PID 1 kills it when its patience is over.
//!
//! What lies on `/persist`:
//!
//! | file | content | module |
//! | --- | --- | --- |
//! | `genesis.log`, `.1` … `.3` | the hash-chained log | [`genesis`] |
//! | `state.db`, `-wal` | personas, NACKs, clock floor, entropy seed | `db` |
//! | `.probe` | there only while a probe runs | [`keeper`] |
//! | `*.broken-SECONDS-N`, `*.corrupt-SECONDS-N` | set aside, dated, at most five of a kind, never deleted | `disk` |
//!
//! A part of it is a library for any Linux directory: [`store`].
//!
//! Invariant: a positive reply means that what was asked for survives a power cut (S04).

mod client;
mod content;
mod db;
mod disk;
mod entropy;
mod error;
pub mod frame;
pub mod gate;
pub mod genesis;
pub mod keeper;
pub mod quota;
mod sha256;
pub mod shelf;
pub mod store;
mod tpm;
mod vault;
pub mod wire;

pub use client::{Keeper, STUCK, last_words};
pub use error::Error;
pub use genesis::{Summary, verify_log};
pub use keeper::{Config, SPINE};
pub use sha256::{Sha256, hex, sha256};
pub use vault::{SCREEN, Unopened, describe, empty, prove, question, reseal, reset, tell};
pub use wire::{Access, Opened, Persona, Reply, Request, State, Unlocked, WRITE_DEADLINE};
