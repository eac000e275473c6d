//! One file: what the host asks for, and what becomes of it.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};

use bay0_persona::packet;
use bay0_state::gate::{DATA, DONE, END, HEAD, NOT, PACKET, SIZE};
use bay0_state::shelf::CHUNK;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::MsgFlags;

use crate::port::Port;

const WAIT: MsgFlags = MsgFlags::empty();
const LOST: &str = "bay0 has ended it; next: see its log";
const USAGE: &str = "no request of this port; next: use the cargo xtask of the same tree";

/// Asks bay0 for a connection with the courier, by a line of the umbilical's grammar; its refusal is `reason; next: action`.
pub type Ask<'a> = &'a dyn Fn(&str) -> Result<OwnedFd, String>;

/// Why it came to no end.
#[derive(Debug)]
pub enum Failure {
    /// The host is gone, or speaks another language.
    Host(io::Error),
    /// bay0, a person or the other room has refused: `reason; next: action`.
    Refused(String),
    /// The same, and the host goes on sending what nobody takes.
    Unread(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Host(error)
    }
}

/// Serves one request of the host, and tells it how that ended.
///
/// # Errors
/// The host is gone; or with what it sends nothing can be done, and the port is to be opened anew (InvalidData).
pub fn serve(port: &mut Port, ask: Ask<'_>) -> io::Result<()> {
    let line = port.line()?;
    let words: Vec<&str> = line.split(' ').collect();
    let [mark, rest @ ..] = words.as_slice() else {
        return Err(ErrorKind::InvalidData.into());
    };
    let mut host = Host { port, mark };
    let done = match rest {
        ["send", room, name, size] => match size.parse() {
            Ok(size) => send(&mut host, ask, room, name, size),
            Err(_) => Err(Failure::Refused(USAGE.to_owned())),
        },
        ["receive", room, name] => receive(&mut host, ask, room, name),
        _ => return Err(ErrorKind::InvalidData.into()),
    };
    match done {
        Ok(()) => host.say("ok"),
        Err(Failure::Refused(why)) => host.refuse(&why),
        Err(Failure::Unread(why)) => {
            host.refuse(&why)?;
            Err(ErrorKind::InvalidData.into())
        }
        Err(Failure::Host(error)) => Err(error),
    }
}

/// The host, while it is served.
struct Host<'a> {
    port: &'a mut Port,
    /// What its answers begin with.
    mark: &'a str,
}

impl Host<'_> {
    fn say(&self, line: &str) -> io::Result<()> {
        self.port
            .write(format!("{} {line}\n", self.mark).as_bytes())
    }

    fn refuse(&self, why: &str) -> io::Result<()> {
        self.say(&format!("no {}", why.replace('\n', " ")))
    }
}

/// Brings a file of the host to a room.
fn send(
    host: &mut Host<'_>,
    ask: Ask<'_>,
    room: &str,
    name: &str,
    size: u64,
) -> Result<(), Failure> {
    let end = ask(&format!("send {room} {name}")).map_err(Failure::Refused)?;
    let _ = packet::send(&end, &[&[SIZE], size.to_string().as_bytes()], None, WAIT);
    host.say("go")?;
    let mut left = size;
    // Whoever refuses it says why.
    while left > 0 && !has_answer(&end) {
        let most = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let data = host.port.take(most)?;
        left = left.saturating_sub(data.len() as u64);
        let _ = packet::send(&end, &[&[DATA], &data], None, WAIT);
    }
    if left == 0 {
        let _ = packet::send(&end, &[&[END]], None, WAIT);
    }
    if left == 0 {
        host.port.wait(&end)?;
    }
    let why = match next(&end) {
        Some((DONE, _)) => return Ok(()),
        Some((NOT, why)) => String::from_utf8_lossy(&why).into_owned(),
        _ => LOST.to_owned(),
    };
    Err(match left {
        0 => Failure::Refused(why),
        _ => Failure::Unread(why),
    })
}

/// Brings the host a file of a room, of this name, or with `-` of any.
fn receive(host: &mut Host<'_>, ask: Ask<'_>, room: &str, name: &str) -> Result<(), Failure> {
    let lost = || Failure::Refused(LOST.to_owned());
    let end = ask("receive").map_err(Failure::Refused)?;
    host.say("waits")?;
    host.port.wait(&end)?;
    let (_, head) = next(&end)
        .filter(|(tag, _)| *tag == HEAD)
        .ok_or_else(lost)?;
    let head = String::from_utf8(head).map_err(|_| lost())?;
    let (from, file) = head.split_once(' ').ok_or_else(lost)?;
    let is_named = name == "-" || file.starts_with(&format!("{name} "));
    if from != room || !is_named {
        let why =
            format!("{room} was to give {name}, and {from} gives another file; next: receive that");
        let _ = packet::send(&end, &[&[NOT], why.as_bytes()], None, WAIT);
        return Err(Failure::Refused(why));
    }
    host.say(&format!("file {file}"))?;
    loop {
        host.port.wait(&end)?;
        match next(&end) {
            Some((DATA, data)) => {
                host.say(&format!("data {}", data.len()))?;
                host.port.write(&data)?;
            }
            Some((END, _)) => break,
            _ => return Err(lost()),
        }
    }
    host.say("end")?;
    let answer = host.port.line()?;
    if answer != format!("{} ok", host.mark) {
        // That host is gone, and this is the next one's.
        host.port.put_back(&answer);
        return Err(Failure::Host(ErrorKind::UnexpectedEof.into()));
    }
    packet::send(&end, &[&[DONE]], None, WAIT).map_err(|_| lost())
}

/// The next packet.
fn next(end: &OwnedFd) -> Option<(u8, Vec<u8>)> {
    let mut packet = vec![0; PACKET];
    let (length, _) = packet::receive(end, &mut packet, WAIT).ok()?;
    let (tag, data) = packet.get(..length)?.split_first()?;
    Some((*tag, data.to_vec()))
}

fn has_answer(end: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(end.as_fd(), PollFlags::POLLIN)];
    matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..))
}
