//! PID 1's side: a bounded client that opens no file and never waits without a deadline.

use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use bay0_persona::{Child, CloneFlags, packet, spawn};
use nix::sys::socket::{MsgFlags, recv};

use crate::error::DIRTY;
use crate::keeper::{self, Config};
use crate::wire::{Persona, READ_DEADLINE, Reply, Request};

/// How long a disk may complete nothing until a keeper in operation is given up. Linux gives a command of a SCSI disk 30 s and five
/// more tries (`SD_TIMEOUT`, `SD_MAX_RETRIES` of `drivers/scsi/sd.h`), 180 s together; a command of NVMe has 30 s and as long again
/// for its abort. By then a disk has completed the command, or the kernel has failed it; the rest is for what lies between.
pub const STUCK: Duration = Duration::from_secs(300);
/// Longer than any tick of a kernel's clock.
const TICK: Duration = Duration::from_millis(11);

/// The keeper process as PID 1 sees it. Dropping it ends the process: one that nobody asks any more must not go on writing.
///
/// An error is a whole message, the keeper's own refusal above all. Of the kind [`ErrorKind::BrokenPipe`] it says that the
/// keeper has ended.
#[derive(Debug)]
pub struct Keeper {
    /// The process. Its pidfd is readable when it has ended; one that hangs in the disk goes when the disk lets it.
    pub child: Child,
    /// A packet socket, which the standard library has under no name of its own. Readable when a reply to a
    /// [`Keeper::post`] has come, or the keeper has closed its end.
    pub socket: UnixDatagram,
    /// How long nothing may move while a posted request waits: [`STUCK`], unless a test shortens it.
    pub patience: Duration,
    /// The request that waits for its reply; there is never more than one.
    flight: Option<Flight>,
}

/// A request that waits for its reply.
#[derive(Debug)]
struct Flight {
    request: Request,
    since: Instant,
    /// When the disk has completed something last.
    moved: Instant,
    /// How long it may complete nothing, if not for as long as the keeper is waited for in operation.
    limit: Option<Duration>,
}

impl Keeper {
    /// Starts a keeper. It touches no disk until it is asked to `open`.
    pub fn start(config: &Config) -> io::Result<Self> {
        let started = Self::start_with(|socket| keeper::run(&socket, config));
        started.map_err(|cause| failed("start", format!("{cause}; {DIRTY}")))
    }

    /// Sends a request and waits for its reply, at most its deadline in all.
    ///
    /// # Errors
    /// The keeper's refusal, or its end.
    pub fn call(&mut self, request: Request) -> io::Result<Reply> {
        let limit = Some(request.deadline());
        self.send(request, None, limit)?;
        match self.wait()?.1 {
            Reply::Unlogged(text) | Reply::Refused(text) => Err(io::Error::other(text)),
            reply => Ok(reply),
        }
    }

    /// As [`Keeper::call`], for a request that [`Reply::Lines`] are the reply to.
    pub fn lines(&mut self, request: Request) -> io::Result<Vec<String>> {
        let word = request.word();
        match self.call(request)? {
            Reply::Lines(lines) => Ok(lines),
            _ => Err(died(word)),
        }
    }

    /// Lists the recorded personas, sorted by name.
    pub fn personas(&mut self) -> io::Result<Vec<Persona>> {
        let rows = self.lines(Request::Personas)?;
        let persona = |row: &String| row.split_once(' ').and_then(|it| Persona::new(it.0, it.1));
        let personas: Option<_> = rows.iter().map(persona).collect();
        personas.ok_or_else(|| died("personas"))
    }

    /// Sends a request, with a descriptor or none, without waiting, unless one is in flight ([`Keeper::time_left`]): its reply comes
    /// first, and is dropped. A request that got no reply in time stays in flight: [`Keeper::expired`] says so, and nothing more is asked,
    /// so that no late reply is taken for another.
    pub fn post(&mut self, request: Request, given: Option<&OwnedFd>) -> io::Result<()> {
        // A person is asked; whatever else takes time in it has a deadline of its own there.
        let limit = matches!(request, Request::Unlock(_)).then_some(Duration::MAX);
        self.send(request, given, limit)
    }

    fn send(
        &mut self,
        request: Request,
        given: Option<&OwnedFd>,
        limit: Option<Duration>,
    ) -> io::Result<()> {
        self.expired().map_or(Ok(()), Err)?;
        let sent = packet::send(&self.socket, &[&request.encode()], given, MsgFlags::empty());
        sent.map_err(|_| died(request.word()))?;
        let (now, deadline) = (Instant::now(), request.deadline());
        let flight = |request, limit| Flight {
            request,
            since: now,
            moved: now,
            limit,
        };
        let before = self.flight.replace(flight(request, Some(deadline)));
        if before.is_some() {
            let (request, _) = self.wait()?;
            self.flight = Some(flight(request, limit));
        } else if let Some(flight) = self.flight.as_mut() {
            flight.limit = limit;
        }
        Ok(())
    }

    /// What is left of the posted request's time, zero when it is over; `None` when nothing is in flight.
    pub fn time_left(&self) -> Option<Duration> {
        let flight = self.flight.as_ref()?;
        let limit = flight.limit.unwrap_or(self.patience);
        Some(limit.saturating_sub(flight.moved.elapsed()))
    }

    /// The request that waits for the disk, and for how long it has; a person at the prompt of the vault is no disk.
    pub fn waits(&self) -> Option<(&Request, Duration)> {
        let flight = self.flight.as_ref()?;
        let asks = matches!(flight.request, Request::Unlock(_));
        (!asks).then(|| (&flight.request, flight.since.elapsed()))
    }

    /// The disk has completed something: the posted request has all its time again.
    pub fn moved(&mut self) {
        if let Some(flight) = self.flight.as_mut() {
            flight.moved = Instant::now();
        }
    }

    /// The time-out to report when the posted request has had its time.
    pub fn expired(&self) -> Option<io::Error> {
        let (late, left) = (self.flight.as_ref()?, self.time_left()?);
        let limit = late.limit.unwrap_or(self.patience);
        let text = format!("no answer in {} ms; {DIRTY}", limit.as_millis());
        left.is_zero().then(|| failed(late.request.word(), text))
    }

    fn start_with(body: impl FnOnce(UnixDatagram) -> i32) -> io::Result<Self> {
        let (ours, theirs) = packet::pair()?;
        let keep = [theirs.as_raw_fd()];
        let run = || body(theirs.into());
        let child = spawn(None, apart(), &keep, run)?;
        let socket = UnixDatagram::from(ours);
        socket.set_write_timeout(Some(READ_DEADLINE))?;
        Ok(Self {
            child,
            socket,
            patience: STUCK,
            flight: None,
        })
    }

    /// The reply to what is in flight, within the time that it has left.
    fn wait(&mut self) -> io::Result<(Request, Reply)> {
        let reply = self.receive(self.time_left().unwrap_or_default())?;
        reply.ok_or_else(|| self.expired().unwrap_or_else(|| died("idle")))
    }

    /// The next packet. It is asked for its length first: PID 1 does not keep 64 KiB for replies of a few bytes.
    fn packet(&self, limit: Duration) -> io::Result<Vec<u8>> {
        self.socket.set_read_timeout(Some(limit))?;
        let measure = MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
        let length = recv(self.socket.as_raw_fd(), &mut [], measure)?;
        let mut packet = vec![0; length];
        self.socket.recv(&mut packet)?;
        Ok(packet)
    }

    /// Takes the request that is in flight and its reply, if that comes within `limit`. When the socket is readable it is there.
    pub fn receive(&mut self, limit: Duration) -> io::Result<Option<(Request, Reply)>> {
        // The kernel counts in ticks and may be one early; and no time at all would mean no time-out.
        let reply = match self.packet(limit.saturating_add(TICK)) {
            Ok(packet) => Reply::decode(&packet),
            Err(cause) if cause.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(_) => None,
        };
        match (self.flight.take(), reply) {
            (Some(flight), Some(reply)) => Ok(Some((flight.request, reply))),
            (flight, _) => Err(died(flight.map_or("idle", |it| it.request.word()))),
        }
    }
}

/// First process of a PID namespace: its end is reported when every process of the rooms' gates is gone as well, and none of them
/// holds /persist any more (`pid_namespaces(7)`). Unit tests without privileges have keepers that are not.
fn apart() -> CloneFlags {
    if cfg!(test) && !nix::unistd::geteuid().is_root() {
        return CloneFlags::empty();
    }
    CloneFlags::CLONE_NEWPID
}

/// Records `end: TEXT` through the keeper's socket and waits, at most 200 ms for each reply, until it is durable; whatever
/// fails is ignored, because nobody is left to hear of it. Called from the panic hook, where [`Keeper`] itself may be in use.
pub fn last_words(socket: &UnixDatagram, text: &str) {
    let _ = socket.send(&Request::Append(vec![format!("end: {text}")]).encode());
    // The keeper answers all it was asked, then finds the end and exits, which ends our side as well.
    let _ = socket.shutdown(Shutdown::Write);
    let _ = socket.set_read_timeout(Some(READ_DEADLINE));
    while let Ok(1..) = socket.recv(&mut [0]) {}
}

/// Whatever goes wrong on the way to the keeper, or back, has one remedy, which is another keeper.
fn died(op: &str) -> io::Error {
    let text = format!("keeper {op}: the keeper died; {DIRTY}");
    io::Error::new(ErrorKind::BrokenPipe, text)
}

fn failed(op: &str, cause: impl Display) -> io::Error {
    io::Error::other(format!("keeper {op}: {cause}"))
}

#[cfg(test)]
pub(crate) mod tests;
