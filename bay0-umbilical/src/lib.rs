//! The umbilical: how a room, the Spine's own programs and the operator talk to PID 1 (decisions 8 and 10, `docs/UMBILICAL.md`).
//!
//! [`verb`] holds the one grammar and who may say what; [`server`] the socket PID 1 watches as a single descriptor; [`client`]
//! the bounded caller that trusts nothing it finds at the socket's path.
//!
//! ```text
//! request = verb [ SP name ] LF                 ; at most 256 bytes
//! reply   = ( "ok" / "no" ) SP length LF body   ; body: length bytes of UTF-8, at most 65536
//! ```
//!
//! A connection carries any number of requests, one at a time. Authority is the uid the kernel reports for the peer and
//! nothing else: a PID can be reused between the question and the answer, a uid cannot.

use std::fmt;

pub mod client;
pub mod server;
pub mod verb;

pub use client::call;
pub use server::{Call, ConnId, Server};
pub use verb::{Verb, help};

/// Where the Spine listens.
pub const SOCKET: &str = "/run/bay0/umbilical.sock";
/// Longest request line, newline included, in bytes.
pub const MAX_REQUEST: usize = 256;
/// Longest body of a reply, in bytes: it fits a Unix socket's default send buffer, so one write sends it whole.
pub const MAX_REPLY: usize = 64 * 1024;

/// Why something was refused or failed, and what to do about it; shown as `reason; next: action`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong, and what follows from it.
    pub reason: String,
    /// What to do next.
    pub next: String,
}

impl Refusal {
    /// A refusal with these two parts.
    pub fn new(reason: impl Into<String>, next: &str) -> Refusal {
        let (reason, next) = (reason.into(), next.to_owned());
        Refusal { reason, next }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; next: {}", self.reason, self.next)
    }
}

impl std::error::Error for Refusal {}
