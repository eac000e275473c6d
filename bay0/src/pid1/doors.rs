//! The Spine's own umbilical: the door of programs (decision 8). The door of a person is the console.

use std::path::Path;

use anyhow::{Context, Result};
use bay0_umbilical::{SOCKET, Server};

use super::id::Door;
use super::poll::{Poll, Source};

/// The answer to `hello`.
pub const HELLO: &str = concat!("bay0 ", env!("CARGO_PKG_VERSION"), "\n");

/// Opens the Spine's umbilical.
///
/// # Errors
/// The socket cannot be made or watched.
pub fn open(poll: &mut Poll) -> Result<Server> {
    let bound = Server::bind(Path::new(SOCKET));
    let server = bound.with_context(|| format!("listen at {SOCKET}"))?;
    poll.watch(&server, Source::Umbilical(Door::Spine))?;
    Ok(server)
}
