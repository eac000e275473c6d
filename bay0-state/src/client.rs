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
use crate::wire::{Answered, Persona, encode};

/// How long a read that survival depends on may take (H06).
const READ_DEADLINE: Duration = Duration::from_millis(200);
/// How long it may take until the disk is there, mounted, checked and migrated, and a first look into the image.
const OPEN_DEADLINE: Duration = Duration::from_secs(8);
/// How long a disk may complete nothing until a keeper in operation is given up. Linux gives a command of a SCSI disk 30 s and five
/// more tries (`SD_TIMEOUT`, `SD_MAX_RETRIES` of `drivers/scsi/sd.h`), 180 s together; a command of NVMe has 30 s and as long again
/// for its abort. By then a disk has completed the command, or the kernel has failed it; the rest is for what lies between.
pub const STUCK: Duration = Duration::from_secs(300);
/// How long everything else may take; a posted request that takes longer is slow.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(2);

/// The request that waits for a person.
const UNLOCK: Op = "unlock";
/// Longer than any tick of a kernel's clock.
const TICK: Duration = Duration::from_millis(11);

/// An operation of the keeper, the first field of a request.
pub type Op = &'static str;

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
#[derive(Clone, Copy, Debug)]
struct Flight {
    op: Op,
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
        started.map_err(|cause| said("start", format!("{cause}; {DIRTY}")))
    }

    /// Sends a request and waits for the values it is answered, at most its deadline in all.
    pub fn call(&mut self, op: Op, args: &[&str]) -> io::Result<Vec<String>> {
        self.send(op, args, None, Some(deadline(op)))?;
        self.wait()?.values().map_err(io::Error::other)
    }

    /// Sends a request without waiting, unless one is in flight ([`Keeper::time_left`]): its reply comes first, and is dropped.
    /// A request that got no reply in time stays in flight: [`Keeper::expired`] tells, and nothing more is asked, so that no
    /// late reply is taken for another.
    pub fn post(&mut self, op: Op, args: &[&str]) -> io::Result<()> {
        self.hand(op, args, None)
    }

    /// As [`Keeper::post`], with a descriptor.
    pub fn hand(&mut self, op: Op, args: &[&str], given: Option<&OwnedFd>) -> io::Result<()> {
        // A person is asked; whatever else takes time in it has a deadline of its own there.
        let limit = (op == UNLOCK).then_some(Duration::MAX);
        self.send(op, args, given, limit)
    }

    fn send(
        &mut self,
        op: Op,
        args: &[&str],
        given: Option<&OwnedFd>,
        limit: Option<Duration>,
    ) -> io::Result<()> {
        self.expired().map_or(Ok(()), Err)?;
        let request = encode(op, args);
        let sent = packet::send(&self.socket, &[&request], given, MsgFlags::empty());
        sent.map_err(|_| died(op))?;
        let now = Instant::now();
        let flight = |limit| Flight {
            op,
            since: now,
            moved: now,
            limit,
        };
        if self.flight.replace(flight(Some(deadline(op)))).is_some() {
            let _ = self.wait()?;
        }
        self.flight = Some(flight(limit));
        Ok(())
    }

    /// What is left of the posted request's time, zero when it is over; `None` when nothing is in flight.
    pub fn time_left(&self) -> Option<Duration> {
        let flight = self.flight?;
        let limit = flight.limit.unwrap_or(self.patience);
        Some(limit.saturating_sub(flight.moved.elapsed()))
    }

    /// The request that waits for the disk, and for how long it has; a person at the prompt of the vault is no disk.
    pub fn waits(&self) -> Option<(Op, Duration)> {
        let flight = self.flight.filter(|it| it.op != UNLOCK)?;
        Some((flight.op, flight.since.elapsed()))
    }

    /// The disk has completed something: the posted request has all its time again.
    pub fn moved(&mut self) {
        if let Some(flight) = self.flight.as_mut() {
            flight.moved = Instant::now();
        }
    }

    /// The time-out to report when the posted request has had its time.
    pub fn expired(&self) -> Option<io::Error> {
        let (late, left) = (self.flight?, self.time_left()?);
        let limit = late.limit.unwrap_or(self.patience);
        let text = format!("no answer in {} ms; {DIRTY}", limit.as_millis());
        left.is_zero().then(|| said(late.op, text))
    }

    /// Lists the recorded personas, sorted by name.
    pub fn personas(&mut self) -> io::Result<Vec<Persona>> {
        let rows = self.call("personas", &[])?;
        let personas: Option<_> = rows.iter().map(|row| Persona::parse(row)).collect();
        personas.ok_or_else(|| died("personas"))
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
    fn wait(&mut self) -> io::Result<Answered> {
        let reply = self.receive(self.time_left().unwrap_or_default())?;
        let late = || self.expired().unwrap_or_else(|| died("idle"));
        reply.map(|(_, answer)| answer).ok_or_else(late)
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

    /// Takes the reply to what is in flight, and what that was, if it comes within `limit`. When the socket is readable it is there.
    pub fn receive(&mut self, limit: Duration) -> io::Result<Option<(Op, Answered)>> {
        let op = self.flight.map_or("idle", |it| it.op);
        // The kernel counts in ticks and may be one early; and no time at all would mean no time-out.
        let limit = limit.saturating_add(TICK);
        let reply = match self.packet(limit) {
            Ok(packet) => Answered::decode(&packet),
            Err(cause) if cause.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(_) => None,
        };
        self.flight = None;
        reply.map(|reply| Some((op, reply))).ok_or_else(|| died(op))
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

/// How long an operation may take.
fn deadline(op: Op) -> Duration {
    match op {
        "personas" | "nack-get" => READ_DEADLINE,
        "open" | "baked" => OPEN_DEADLINE,
        _ => WRITE_DEADLINE,
    }
}

/// Records `end: TEXT` through the keeper's socket and waits, at most 200 ms for each reply, until it is durable; whatever
/// fails is ignored, because nobody is left to hear of it. Called from the panic hook, where [`Keeper`] itself may be in use.
pub fn last_words(socket: &UnixDatagram, text: &str) {
    let _ = socket.send(&encode("append", &[format!("end: {text}")]));
    // The keeper answers all it was asked, then finds the end and exits, which ends our side as well.
    let _ = socket.shutdown(Shutdown::Write);
    let _ = socket.set_read_timeout(Some(READ_DEADLINE));
    while let Ok(1..) = socket.recv(&mut [0]) {}
}

/// Whatever goes wrong on the way to the keeper, or back, has one remedy, which is another keeper.
fn died(op: Op) -> io::Error {
    let text = format!("keeper {op}: the keeper died; {DIRTY}");
    io::Error::new(ErrorKind::BrokenPipe, text)
}

fn said(op: Op, cause: impl Display) -> io::Error {
    io::Error::other(format!("keeper {op}: {cause}"))
}

#[cfg(test)]
pub(crate) mod tests;
