//! One file: what the host asks for, and what becomes of it.

use std::io::{self, ErrorKind};

use bay0_state::gate::{DATA, DONE, END, HEAD, NOT, SIZE};
use bay0_state::shelf::CHUNK;
use outside::{Ask, Courier, Refused, lost};

use crate::port::Port;

const USAGE: &str = "no request of this port; next: use the cargo xtask of the same tree";

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

impl From<Refused> for Failure {
    fn from(Refused(why): Refused) -> Self {
        Self::Refused(why)
    }
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
    let courier = Courier::open(ask, &format!("send {room} {name}"))?;
    // Whoever refuses it says why.
    let _ = courier.send(SIZE, size.to_string().as_bytes());
    host.say("go")?;
    let mut left = size;
    while left > 0 && !courier.has_answer() {
        let most = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let data = host.port.take(most)?;
        left = left.saturating_sub(data.len() as u64);
        let _ = courier.send(DATA, &data);
    }
    if left == 0 {
        let _ = courier.send(END, b"");
        host.port.wait(&courier)?;
    }
    let Refused(why) = match courier.next() {
        Ok((DONE, _)) => return Ok(()),
        Ok(_) => lost(),
        Err(why) => why,
    };
    Err(match left {
        0 => Failure::Refused(why),
        _ => Failure::Unread(why),
    })
}

/// Brings the host a file of a room, of this name, or with `-` of any.
fn receive(host: &mut Host<'_>, ask: Ask<'_>, room: &str, name: &str) -> Result<(), Failure> {
    let courier = Courier::open(ask, "receive")?;
    host.say("waits")?;
    host.port.wait(&courier)?;
    let (HEAD, head) = courier.next()? else {
        return Err(lost().into());
    };
    let head = String::from_utf8(head).map_err(|_| lost())?;
    let (from, file) = head.split_once(' ').ok_or_else(lost)?;
    let is_named = name == "-" || file.starts_with(&format!("{name} "));
    if from != room || !is_named {
        let why =
            format!("{room} was to give {name}, and {from} gives another file; next: receive that");
        let _ = courier.send(NOT, why.as_bytes());
        return Err(Failure::Refused(why));
    }
    host.say(&format!("file {file}"))?;
    loop {
        host.port.wait(&courier)?;
        match courier.next()? {
            (DATA, data) => {
                host.say(&format!("data {}", data.len()))?;
                host.port.write(&data)?;
            }
            (END, _) => break,
            _ => return Err(lost().into()),
        }
    }
    host.say("end")?;
    let answer = host.port.line()?;
    if answer != format!("{} ok", host.mark) {
        // That host is gone, and this is the next one's.
        host.port.put_back(&answer);
        return Err(Failure::Host(ErrorKind::UnexpectedEof.into()));
    }
    Ok(courier.send(DONE, b"")?)
}
