//! The calling end: the validator in the Spine, later a client in each room. It trusts nothing it finds at the socket's path, and
//! everything it does happens under one deadline.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr};
use nix::sys::socket::{connect, getsockopt, recv, socket, sockopt};

use crate::{MAX_REPLY, Refusal};

/// Most that is heard of an answer: a header and a body of [`crate::MAX_REPLY`] bytes.
const MAX_ANSWER: usize = 9 + MAX_REPLY;
/// The shortest time-out there is.
const TICK: Duration = Duration::from_micros(1);

/// Sends one request line to the socket at `path` and returns the body of its answer, all within `limit`. Socket and listener
/// must be uid `server`'s: 0, but for a caller inside a room's user namespace.
///
/// # Errors
/// Tells apart: nothing there, no socket, wrong owner, stale (nobody listens), fake (somebody else listens), silent, cut off,
/// garbled, and bay0's own `no`.
pub fn call(path: &Path, server: u32, line: &str, limit: Duration) -> Result<String, Refusal> {
    let failed = |err| explain(path, err);
    let answer = ask(path, server, line, limit).map_err(failed)?;
    let (header, body) = answer.split_once('\n').unwrap_or_default();
    if header == format!("ok {}", body.len()) {
        return Ok(body.to_owned());
    }
    if header == format!("no {}", body.len()) {
        let (reason, next) = body.rsplit_once("; next: ").unwrap_or((body, "type help"));
        return Err(Refusal::new(reason, next));
    }
    Err(failed(Errno::EBADMSG.into()))
}

fn explain(path: &Path, err: io::Error) -> Refusal {
    let path = path.display();
    // What ask() itself has to object to.
    if err.kind() == ErrorKind::Other {
        return Refusal::new(format!("{path} {err}"), "find out who made it, then reboot");
    }
    let errno = Errno::try_from(err).unwrap_or(Errno::EINVAL);
    let other = format!("{errno:?}; bay0 cannot be asked");
    let (what, next) = match errno {
        Errno::ECONNREFUSED => ("ECONNREFUSED (stale); nobody listens", "reboot"),
        Errno::EAGAIN => ("no answer in time; bay0 is stuck or busy", "ask again"),
        Errno::EPIPE | Errno::ECONNRESET => ("hung up; nothing is known", "ask again"),
        Errno::EBADMSG => ("answer cut short or garbled; not believed", "ask again"),
        _ => (other.as_str(), "read the umbilical line of the boot log"),
    };
    Refusal::new(format!("{path}: {what}"), next)
}

/// Sends the only request and hears everything until the other side, seeing that no more will come, closes too.
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
    let (family, kind) = (AddressFamily::Unix, SockType::Stream);
    let mut stream = UnixStream::from(socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?);
    // unix(7): the send time-out bounds connect too, which otherwise waits for a place in a full backlog.
    stream.set_write_timeout(Some(limit))?;
    connect(stream.as_raw_fd(), &UnixAddr::new(path)?)?;
    // The file may have been swapped since it was looked at: what counts is who listens.
    let peer = getsockopt(&stream, sockopt::PeerCredentials)?;
    expect_server(peer.uid(), "is served by", "fake")?;
    stream.write_all(format!("{line}\n").as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    // A zero time-out would mean for ever.
    let left = limit.saturating_sub(begun.elapsed()).max(TICK);
    stream.set_read_timeout(Some(left))?;
    let mut answer = vec![0; MAX_ANSWER];
    // socket(7): the time-out bounds the whole call, however often a little arrives.
    let count = recv(stream.as_raw_fd(), &mut answer, MsgFlags::MSG_WAITALL)?;
    if count < MAX_ANSWER {
        // Only a connection that is closed by now has said everything: EAGAIN.
        recv(stream.as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT)?;
    }
    answer.truncate(count);
    String::from_utf8(answer).map_err(|_| Errno::EBADMSG.into())
}

#[cfg(test)]
mod tests;
