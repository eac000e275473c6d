//! The calling end: `bay0 hello` in a room, the validator in the Spine. It trusts nothing it finds at the socket's path, and
//! everything it does happens under one deadline.

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, getsockopt, send, socket,
    sockopt,
};

use crate::{MAX_REPLY, Refusal, errno};

/// Most that is heard of an answer: a header and a body of [`crate::MAX_REPLY`] bytes.
const MAX_ANSWER: u64 = 9 + MAX_REPLY as u64;

/// Sends one request line to the Spine's socket and returns the body of its answer, all within `limit`.
///
/// # Errors
/// Tells apart: nothing there, no socket, wrong owner, stale (nobody listens), fake (somebody else listens), silent, cut off,
/// garbled, and bay0's own `no`.
pub fn call(path: &Path, line: &str, limit: Duration) -> Result<String, Refusal> {
    call_as(path, 0, line, limit)
}

/// [`call`], for a server that appears as another uid than 0: inside a room's user namespace, or in a test.
///
/// # Errors
/// As [`call`].
pub fn call_as(path: &Path, server: u32, line: &str, limit: Duration) -> Result<String, Refusal> {
    let shown = path.display();
    let failed = |err: io::Error| explain(path, &err);
    let distrust = |what: String| Err(Refusal::new(what, "find out who made it, then reboot"));
    let found = fs::symlink_metadata(path).map_err(failed)?;
    if !found.file_type().is_socket() {
        return distrust(format!("{shown} is not a socket; not used"));
    }
    if found.uid() != server {
        let uid = found.uid();
        return distrust(format!(
            "{shown} belongs to uid {uid}, not {server} (wrong owner); not trusted"
        ));
    }
    let door = Line::dial(path, limit).map_err(failed)?;
    // The file may have been swapped since it was looked at: what counts is who listens.
    let peer = getsockopt(&door.stream, sockopt::PeerCredentials);
    let uid = peer.map_err(|errno| failed(errno.into()))?.uid();
    if uid != server {
        return distrust(format!(
            "{shown} is served by uid {uid}, not {server} (fake); not trusted"
        ));
    }
    let answer = door.ask(line).map_err(failed)?;
    let (header, body) = answer.split_once('\n').unwrap_or_default();
    let length = body.len();
    if header == format!("ok {length}") {
        Ok(body.to_owned())
    } else if header == format!("no {length}") {
        let (reason, next) = body.rsplit_once("; next: ").unwrap_or((body, "type help"));
        Err(Refusal::new(reason.to_owned(), next))
    } else {
        Err(failed(ErrorKind::InvalidData.into()))
    }
}

fn explain(path: &Path, err: &io::Error) -> Refusal {
    let other = format!("{:?}; bay0 cannot be asked", errno(err));
    let (what, next) = match err.kind() {
        ErrorKind::ConnectionRefused => ("ECONNREFUSED (stale); nobody listens", "reboot"),
        ErrorKind::WouldBlock => ("no answer in time; bay0 is stuck or busy", "ask again"),
        ErrorKind::InvalidData => ("answer cut short or garbled; not believed", "ask again"),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
            ("hung up; nothing is known", "ask again")
        }
        _ => (other.as_str(), "read the umbilical line of the boot log"),
    };
    Refusal::new(format!("{}: {what}", path.display()), next)
}

/// A connection with an end in time.
struct Line {
    stream: UnixStream,
    end: Instant,
}

impl Line {
    fn dial(path: &Path, limit: Duration) -> io::Result<Line> {
        let (family, kind) = (AddressFamily::Unix, SockType::Stream);
        let stream = UnixStream::from(socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?);
        // unix(7): the send time-out bounds connect too, which otherwise waits for a place in a full backlog.
        stream.set_write_timeout(Some(limit))?;
        connect(stream.as_raw_fd(), &UnixAddr::new(path)?)?;
        let end = Instant::now()
            .checked_add(limit)
            .ok_or(ErrorKind::InvalidInput)?;
        Ok(Line { stream, end })
    }

    /// Sends the only request and hears everything until the other side, seeing that no more will come, closes too.
    fn ask(self, line: &str) -> io::Result<String> {
        let request = format!("{line}\n");
        send(
            self.stream.as_raw_fd(),
            request.as_bytes(),
            MsgFlags::MSG_NOSIGNAL,
        )?;
        self.stream.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        self.take(MAX_ANSWER).read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Read for Line {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.end.saturating_duration_since(Instant::now());
        // A zero time-out would mean for ever.
        self.stream
            .set_read_timeout(Some(left.max(Duration::from_micros(1))))?;
        self.stream.read(into)
    }
}

#[cfg(test)]
mod tests;
