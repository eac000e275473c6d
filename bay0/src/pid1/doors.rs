//! The Spine's own umbilical: the door of programs (decision 8). The door of a person is the console.

use std::path::Path;

use anyhow::{Context, Result};
use bay0_umbilical::{SOCKET, Server};

use super::id::Door;
use super::poll::{Poll, Source};

/// The answer to `hello`.
pub const HELLO: &str = concat!("bay0 ", env!("CARGO_PKG_VERSION"), "\n");

/// Who may come in; nobody before the answers are true.
#[derive(Default)]
pub struct Doors(Option<Server>);

impl Doors {
    /// Opens the Spine's.
    ///
    /// # Errors
    /// Nobody can be listened to.
    pub fn open(&mut self, poll: &mut Poll) -> Result<String> {
        let bound = Server::bind(Path::new(SOCKET));
        let server = bound.with_context(|| format!("listen at {SOCKET}"))?;
        poll.watch(&server, Source::Umbilical(Door::Spine))?;
        self.0 = Some(server);
        Ok(format!("listening on {SOCKET}"))
    }

    /// The Spine's.
    pub fn spine(&mut self) -> Option<&mut Server> {
        self.0.as_mut()
    }
}
