//! The calling end: the validator in the Spine, and bay0 itself inside a room. It trusts nothing it finds at the socket's path,
//! and nothing it waits for is without a deadline.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use bay0_persona::packet;
use nix::sys::socket::{MsgFlags, UnixAddr, connect, getsockopt, sockopt};

use crate::{MAX_REPLY, packet_socket};

/// A header and a body of [`crate::MAX_REPLY`] bytes, and one byte more, which tells that there was too much.
const MAX_ANSWER: usize = 9 + MAX_REPLY + 1;

/// The Spine's uid as a room sees it: the one for uids that have no name there (`user_namespaces(7)`).
pub const OUTSIDE: u32 = 65_534;
/// A room's umbilical is its own: what keeps others waiting there are its own programs.
const BUSY: &str =
    "no answer in time: programs of this room ask too often; next: end them, ask again";

/// The body of an answer, and the descriptor that came with it.
pub type Answer = (String, Option<OwnedFd>);

/// Sends one request line to the socket at `path` and returns its answer; neither the way there nor the answer
/// takes longer than `limit`. Socket and listener must be uid `server`'s: 0 in the Spine; inside a room, whose user namespace
/// has no name for it, the kernel's overflow uid.
///
/// # Errors
/// A text `reason; next: action`: why nothing that could be believed was answered, or bay0's own `no`.
pub fn call(path: &Path, server: u32, line: &str, limit: Duration) -> Result<Answer, String> {
    let failed = |cause: &str| {
        let path = path.display();
        format!("{path}: {cause}; bay0 cannot be asked; next: ask again, then reboot")
    };
    let (answer, given) = ask(path, server, line, limit).map_err(|error| match error.kind() {
        ErrorKind::ConnectionRefused => failed("stale, nobody listens"),
        ErrorKind::WouldBlock if server == OUTSIDE => format!("{}: {BUSY}", path.display()),
        ErrorKind::WouldBlock => failed("no answer in time"),
        _ => failed(&error.to_string()),
    })?;
    let (header, body) = answer.split_once('\n').unwrap_or_default();
    let is = |word| header == format!("{word} {}", body.len());
    match body {
        _ if is("ok") => Ok((body.to_owned(), given)),
        _ if is("no") => Err(body.to_owned()),
        _ => Err(failed("no whole answer")),
    }
}

/// Sends the only request, and hears one packet: none at all from who hangs up.
fn ask(path: &Path, server: u32, line: &str, limit: Duration) -> io::Result<Answer> {
    let found = fs::symlink_metadata(path)?;
    if !found.file_type().is_socket() || found.uid() != server {
        let wrong = format!("not a socket of uid {server} (wrong owner)");
        return Err(io::Error::other(wrong));
    }
    let mut socket = UnixStream::from(packet_socket()?);
    // unix(7): the send time-out bounds connect too, which otherwise waits for a place in a full backlog.
    socket.set_write_timeout(Some(limit))?;
    socket.set_read_timeout(Some(limit))?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    // The file may have been swapped since it was looked at: what counts is who listens.
    let uid = getsockopt(&socket, sockopt::PeerCredentials)?.uid();
    if uid != server {
        let fake = format!("served by uid {uid}, not {server} (fake)");
        return Err(io::Error::other(fake));
    }
    socket.write_all(format!("{line}\n").as_bytes())?;
    let mut answer = vec![0; MAX_ANSWER];
    let (length, given) = packet::receive(&socket, &mut answer, MsgFlags::empty())?;
    answer.truncate(length);
    Ok((String::from_utf8(answer).unwrap_or_default(), given))
}

#[cfg(test)]
mod tests;
