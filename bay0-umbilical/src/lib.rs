//! The umbilical: how a room, the Spine's own programs and the operator talk to PID 1 (decisions 8 and 10, `docs/UMBILICAL.md`).
//!
//! [`verb`] holds the one grammar and who may say what; [`server`] a listening socket, of which the Spine and each room have
//! one of their own; [`client`] the bounded caller that trusts nothing it finds at the socket's path.
//!
//! ```text
//! request = verb [ SP name ] [ LF ]             ; one packet, at most 256 bytes
//! reply   = ( "ok" / "no" ) SP length LF body   ; one packet; body: length bytes of UTF-8, at most 65536
//! ```
//!
//! A `no` has `reason; next: action` as its body. Authority is the uid the kernel reports for the peer and nothing else: a
//! PID can be reused between the question and the answer, a uid cannot.

use std::os::fd::OwnedFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

pub mod client;
pub mod organ;
pub mod seat;
pub mod server;
pub mod verb;

pub use bay0_persona::net;
pub use client::{CallError, call};
pub use server::{ConnId, Server};
pub use verb::{BadVerb, Verb, help};

/// Where the Spine listens.
pub const SOCKET: &str = "/run/bay0/umbilical.sock";
/// Longest request, line end included, in bytes.
pub const MAX_REQUEST: usize = 512;
/// Longest body of a reply, in bytes: with its header it fits a Unix socket's default send buffer, which bounds a packet.
pub const MAX_REPLY: usize = 64 * 1024;

/// A socket of the umbilical's kind, not connected yet. The kernel keeps its packets apart, so that nobody can send half a
/// request, and a reader gets all of one or nothing.
///
/// # Errors
/// Descriptors or memory have run out.
pub fn packet_socket() -> nix::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::Unix, SockType::SeqPacket);
    socket(family, kind, SockFlag::SOCK_CLOEXEC, None)
}
