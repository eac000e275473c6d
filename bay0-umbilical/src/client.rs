//! The calling end: the validator in the Spine, and bay0 itself inside a room. It trusts nothing it finds at the socket's path,
//! and nothing it waits for is without a deadline.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use bay0_persona::{errno_of, packet};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, UnixAddr, connect, getsockopt, sockopt};

use crate::{MAX_REPLY, packet_socket};

/// A header and a body of [`crate::MAX_REPLY`] bytes, and one byte more, which shows that there was too much.
const MAX_ANSWER: usize = 9 + MAX_REPLY + 1;

/// The Spine's uid as a room sees it: the one for uids that have no name there (`user_namespaces(7)`).
pub const OUTSIDE: u32 = 65_534;
const BUSY: &str =
    "no answer in time: programs of this room ask too often; next: end them, ask again";

/// The body of an answer, and the descriptor that came with it.
pub type Answer = (String, Option<OwnedFd>);

/// Why there is no answer that can be believed, or what bay0 answers with `no`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError<'a> {
    /// bay0's own `reason; next: action`.
    No(String),
    /// The socket at this path is no way to bay0.
    At(&'a Path, Cause),
}

/// Why a socket is no way to bay0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It is not of this uid.
    Owner(u32),
    /// A process of the first uid listens there, and not of the second.
    Fake(u32, u32),
    /// A room's umbilical is its own: what keeps others waiting there are its own programs.
    Busy,
    /// The answer is cut, or is none.
    Cut,
    /// A call failed; ECONNREFUSED: nobody listens; EAGAIN: the deadline is over.
    Call(Errno),
}

impl fmt::Display for CallError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, cause) = match self {
            Self::No(text) => return f.write_str(text),
            Self::At(path, cause) => (path.display(), cause),
        };
        write!(f, "{path}: ")?;
        match cause {
            Cause::Owner(uid) => write!(f, "not a socket of uid {uid} (wrong owner)"),
            Cause::Fake(uid, server) => write!(f, "served by uid {uid}, not {server} (fake)"),
            Cause::Busy => return f.write_str(BUSY),
            Cause::Cut => f.write_str("no whole answer"),
            Cause::Call(Errno::ECONNREFUSED) => f.write_str("stale, nobody listens"),
            Cause::Call(Errno::EAGAIN) => f.write_str("no answer in time"),
            Cause::Call(errno) => io::Error::from(*errno).fmt(f),
        }?;
        f.write_str("; bay0 cannot be asked; next: ask again, then reboot")
    }
}

impl std::error::Error for CallError<'_> {}

impl<E: Into<io::Error>> From<E> for Cause {
    fn from(error: E) -> Self {
        Cause::Call(errno_of(error))
    }
}

/// Sends one request line to the socket at `path` and returns its answer; neither the way there nor the answer
/// takes longer than `limit`. Socket and listener must be uid `server`'s: 0 in the Spine; inside a room, whose user namespace
/// has no name for it, the kernel's overflow uid.
///
/// # Errors
/// Why nothing that could be believed was answered, or bay0's own `no`.
pub fn call<'a>(
    path: &'a Path,
    server: u32,
    line: &str,
    limit: Duration,
) -> Result<Answer, CallError<'a>> {
    let failed = |cause| CallError::At(path, cause);
    let (answer, given) = ask(path, server, line, limit).map_err(|cause| match cause {
        Cause::Call(Errno::EAGAIN) if server == OUTSIDE => failed(Cause::Busy),
        cause => failed(cause),
    })?;
    let (header, body) = answer.split_once('\n').unwrap_or_default();
    let is = |word| header == format!("{word} {}", body.len());
    match body {
        _ if is("ok") => Ok((body.to_owned(), given)),
        _ if is("no") => Err(CallError::No(body.to_owned())),
        _ => Err(failed(Cause::Cut)),
    }
}

/// Sends the only request and receives one packet, which is empty where the peer hangs up.
fn ask(path: &Path, server: u32, line: &str, limit: Duration) -> Result<Answer, Cause> {
    let found = fs::symlink_metadata(path)?;
    if !found.file_type().is_socket() || found.uid() != server {
        return Err(Cause::Owner(server));
    }
    let mut socket = UnixStream::from(packet_socket()?);
    // unix(7): the send time-out bounds connect too, which otherwise waits for a place in a full backlog.
    socket.set_write_timeout(Some(limit))?;
    socket.set_read_timeout(Some(limit))?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    // The file may have been swapped since it was looked at: what counts is who listens.
    let uid = getsockopt(&socket, sockopt::PeerCredentials)?.uid();
    if uid != server {
        return Err(Cause::Fake(uid, server));
    }
    socket.write_all(format!("{line}\n").as_bytes())?;
    let mut answer = vec![0; MAX_ANSWER];
    let (length, given) = packet::receive(&socket, &mut answer, MsgFlags::empty())?;
    answer.truncate(length);
    Ok((String::from_utf8(answer).unwrap_or_default(), given))
}

#[cfg(test)]
mod tests;
