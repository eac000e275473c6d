//! The calling end: the validator in the Spine, and bay0 itself inside a room. It trusts nothing it finds at the socket's path,
//! and everything it does happens under one deadline.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{UnixAddr, connect, getsockopt, sockopt};

use crate::{MAX_REPLY, packet_socket};

/// A header and a body of [`crate::MAX_REPLY`] bytes, and one byte more, which tells that there was too much.
const MAX_ANSWER: usize = 9 + MAX_REPLY + 1;
/// The shortest time-out there is.
const TICK: Duration = Duration::from_micros(1);

/// Sends one request line to the socket at `path` and returns the body of its answer, all within `limit`. Socket and listener
/// must be uid `server`'s: 0 in the Spine; inside a room, whose user namespace has no name for it, the kernel's overflow uid.
///
/// # Errors
/// A text `reason; next: action`, which tells apart: nothing there, no socket, wrong owner, stale (nobody listens), fake
/// (somebody else listens), silent, cut off, garbled, and bay0's own `no`.
pub fn call(path: &Path, server: u32, line: &str, limit: Duration) -> Result<String, String> {
    let answer = ask(path, server, line, limit).map_err(|err| explain(path, err))?;
    let (header, body) = answer.split_once('\n').unwrap_or_default();
    if header == format!("ok {}", body.len()) {
        return Ok(body.to_owned());
    }
    if header == format!("no {}", body.len()) {
        return Err(body.to_owned());
    }
    Err(explain(path, Errno::EBADMSG.into()))
}

fn explain(path: &Path, err: io::Error) -> String {
    let path = path.display();
    let errno = match Errno::try_from(err) {
        Ok(errno) => errno,
        // What ask() itself has to object to.
        Err(err) => return format!("{path} {err}; next: find out who made it, then reboot"),
    };
    let other = format!("{errno:?}; bay0 cannot be asked");
    let (what, next) = match errno {
        Errno::ECONNREFUSED => ("ECONNREFUSED (stale); nobody listens", "reboot"),
        Errno::EAGAIN => ("no answer in time; bay0 is stuck or busy", "ask again"),
        Errno::EPIPE | Errno::ECONNRESET => ("hung up; nothing is known", "ask again"),
        Errno::EBADMSG => ("answer cut short or garbled; not believed", "ask again"),
        _ => (other.as_str(), "read the umbilical line of the boot log"),
    };
    format!("{path}: {what}; next: {next}")
}

/// Sends the only request, and hears one packet.
fn ask(path: &Path, server: u32, line: &str, limit: Duration) -> io::Result<String> {
    let begun = Instant::now();
    let expect_server = |uid: u32, does: &str, wrong: &str| {
        if uid == server {
            return Ok(());
        }
        let what = format!("{does} uid {uid}, not {server} ({wrong}); not trusted");
        Err(io::Error::other(what))
    };
    let found = fs::symlink_metadata(path)?;
    if !found.file_type().is_socket() {
        return Err(io::Error::other("is not a socket; not used"));
    }
    expect_server(found.uid(), "belongs to", "wrong owner")?;
    let mut socket = UnixStream::from(packet_socket()?);
    // unix(7): the send time-out bounds connect too, which otherwise waits for a place in a full backlog.
    socket.set_write_timeout(Some(limit))?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    // The file may have been swapped since it was looked at: what counts is who listens.
    let peer = getsockopt(&socket, sockopt::PeerCredentials)?;
    expect_server(peer.uid(), "is served by", "fake")?;
    socket.write_all(format!("{line}\n").as_bytes())?;
    // A zero time-out would mean for ever.
    let left = limit.saturating_sub(begun.elapsed()).max(TICK);
    socket.set_read_timeout(Some(left))?;
    let mut answer = vec![0; MAX_ANSWER];
    let length = socket.read(&mut answer)?;
    if length == 0 {
        return Err(Errno::EPIPE.into());
    }
    answer.truncate(length);
    String::from_utf8(answer).map_err(|_| Errno::EBADMSG.into())
}

#[cfg(test)]
mod tests;
