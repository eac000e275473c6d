//! PID 1's side: a typed, bounded client that opens no file and never waits without a deadline.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use bay0_persona::{Child, PersonaName, spawn};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

use crate::error::KeeperError;
use crate::keeper::{self, Config};
use crate::wire::{MAX_MESSAGE, Opened, Persona, Reply, Request, State};

/// How long a read that survival depends on may take (H06).
pub const READ_DEADLINE: Duration = Duration::from_millis(200);
/// How long mounting, checking and migrating may take.
pub const OPEN_DEADLINE: Duration = Duration::from_secs(3);
/// How long a write may take: a busy disk flushes slowly.
pub const APPEND_DEADLINE: Duration = Duration::from_secs(2);
/// How long the last writes and the unmount may take.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// The outcome of a call.
type Called<T> = Result<T, KeeperError>;

/// The keeper process as PID 1 sees it. Dropping this closes the socket, which ends a keeper that is not stuck.
#[derive(Debug)]
pub struct Keeper {
    child: Child,
    socket: OwnedFd,
    next_id: u64,
    /// The posted request.
    flight: Option<Flight>,
    /// Its reply, when a call received it.
    landed: Option<Reply>,
}

/// A request that waits for its reply.
#[derive(Clone, Copy, Debug)]
struct Flight {
    id: u64,
    op: &'static str,
    limit: Duration,
    started: Instant,
}

impl Drop for Keeper {
    /// A keeper that nobody asks any more must not go on writing.
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

impl Keeper {
    /// Starts a keeper. It touches no disk until [`Keeper::open`].
    pub fn start(config: &Config) -> Called<Self> {
        Self::start_with(|socket| keeper::run(socket, config)).map_err(failed("start"))
    }

    /// The process id, for messages and `/proc` only.
    pub fn pid(&self) -> i32 {
        self.child.pid
    }

    /// Readable when the keeper has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.child.pidfd.as_fd()
    }

    /// Kills the keeper. One that hangs in the disk goes when the disk lets it; nobody waits here.
    pub fn kill(&self) -> nix::Result<()> {
        self.child.kill()
    }

    /// Readable when a reply to a [`Keeper::post`] has come, or the keeper has closed its end.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Sends a request and waits for its reply, at most `limit` in all. A posted request that is in flight is waited for
    /// first, within the same limit; its reply is kept for [`Keeper::on_readable`].
    pub fn call(&mut self, request: &Request, limit: Duration) -> Called<Reply> {
        let mut call = Flight::new(request.tag(), limit);
        if let Some(Flight { id, .. }) = self.flight {
            self.landed = Some(self.wait(Flight { id, ..call })?);
            self.flight = None;
        }
        call.id = self.send(request)?;
        match self.wait(call)? {
            Reply::Refused(message) => Err(KeeperError::Refused(message)),
            reply => Ok(reply),
        }
    }

    /// Sends a request without waiting. At most one is in flight: a second is `Busy`.
    pub fn post(&mut self, request: &Request, limit: Duration) -> Called<()> {
        if self.flight.is_some() || self.landed.is_some() {
            return Err(KeeperError::Busy(request.tag()));
        }
        let mut flight = Flight::new(request.tag(), limit);
        flight.id = self.send(request)?;
        self.flight = Some(flight);
        Ok(())
    }

    /// Takes the reply to the posted request if it is there. Ask when [`Keeper::as_fd`] is readable, and after every
    /// [`Keeper::call`], which may have received it.
    pub fn on_readable(&mut self) -> Called<Option<Reply>> {
        if self.landed.is_some() {
            return Ok(self.landed.take());
        }
        let idle = Flight::new("idle", Duration::ZERO);
        let reply = self.receive(self.flight.unwrap_or(idle))?;
        if reply.is_some() {
            self.flight = None;
        }
        Ok(reply)
    }

    /// What is left of the posted request's limit, zero when it is over; `None` when nothing is in flight.
    pub fn time_left(&self) -> Option<Duration> {
        self.flight.map(Flight::left)
    }

    /// The time-out to report when the posted request has had its time.
    pub fn expired(&self) -> Option<KeeperError> {
        let late = self.flight.filter(|flight| flight.left().is_zero());
        late.map(Flight::timed_out)
    }

    /// Mounts and opens `/persist`; `now` in UNIX seconds.
    pub fn open(&mut self, boot_id: &str, now: u64) -> Called<Opened> {
        match self.call(&Request::Open(boot_id.into(), now), OPEN_DEADLINE)? {
            Reply::Opened(opened) => Ok(opened),
            other => Err(unexpected(&other)),
        }
    }

    /// Lists the recorded personas, sorted by name.
    pub fn personas(&mut self) -> Called<Vec<Persona>> {
        match self.call(&Request::Personas, READ_DEADLINE)? {
            Reply::Personas(list) => Ok(list),
            other => Err(unexpected(&other)),
        }
    }

    /// Records a persona's state; a new name is added.
    pub fn set_state(&mut self, name: &PersonaName, state: State) -> Called<()> {
        self.tell(&Request::SetState(name.clone(), state))
    }

    /// Remembers that the Spine with this SHA-256 failed.
    pub fn nack_add(&mut self, hash: &str, reason: &str) -> Called<()> {
        self.tell(&Request::NackAdd(hash.into(), reason.into()))
    }

    /// Why the Spine with this SHA-256 failed, if it did.
    pub fn nack_get(&mut self, hash: &str) -> Called<Option<String>> {
        match self.call(&Request::NackGet(hash.into()), READ_DEADLINE)? {
            Reply::Nack(mut reason) => Ok(reason.pop()),
            other => Err(unexpected(&other)),
        }
    }

    /// Raises the last-known-good time; an earlier one changes nothing.
    pub fn raise_floor(&mut self, now: u64) -> Called<()> {
        self.tell(&Request::Clock(now))
    }

    /// Appends records; the last one's sequence number.
    pub fn append(&mut self, texts: &[String]) -> Called<u64> {
        match self.call(&Request::Append(texts.into()), APPEND_DEADLINE)? {
            Reply::Appended { seq } => Ok(seq),
            other => Err(unexpected(&other)),
        }
    }

    /// Shows that `/persist` and the log can be written; the probe record's sequence number.
    pub fn probe(&mut self) -> Called<u64> {
        match self.call(&Request::Probe, APPEND_DEADLINE)? {
            Reply::Probed { seq } => Ok(seq),
            other => Err(unexpected(&other)),
        }
    }

    /// Records the end of the boot and unmounts; the keeper then exits.
    pub fn close(&mut self, how: &str, now: u64) -> Called<()> {
        self.call(&Request::Close(how.into(), now), CLOSE_DEADLINE)
            .map(drop)
    }

    fn tell(&mut self, request: &Request) -> Called<()> {
        self.call(request, APPEND_DEADLINE).map(drop)
    }

    /// Ours of the two sockets never blocks; theirs does.
    fn start_with(body: impl FnOnce(OwnedFd) -> i32) -> nix::Result<Self> {
        let flag = SockFlag::SOCK_CLOEXEC;
        let (socket, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flag)?;
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let child = spawn(None, Some(theirs.as_fd()), |kept| kept.map_or(1, body))?;
        let (flight, landed) = (None, None);
        Ok(Self {
            child,
            socket,
            next_id: 1,
            flight,
            landed,
        })
    }

    /// Sends `request`; the id it went out under.
    fn send(&mut self, request: &Request) -> Called<u64> {
        let (id, op) = (self.next_id, request.tag());
        self.next_id = id.wrapping_add(1);
        let packet = request.encode(id).map_err(|error| {
            let rest = "not sent; next: report this text";
            KeeperError::Refused(format!("keeper {op}: {error}; {rest}"))
        })?;
        match send(self.socket.as_raw_fd(), &packet, MsgFlags::MSG_NOSIGNAL) {
            Ok(_) => Ok(id),
            Err(Errno::EAGAIN) => Err(KeeperError::Busy(op)),
            Err(Errno::EPIPE | Errno::ECONNRESET) => Err(KeeperError::Died(op)),
            Err(errno) => Err(failed(op)(errno)),
        }
    }

    /// Waits until the reply to `flight` is here or its time is over.
    fn wait(&self, flight: Flight) -> Called<Reply> {
        loop {
            if let Some(reply) = self.receive(flight)? {
                return Ok(reply);
            }
            let left = flight.left();
            if left.is_zero() {
                return Err(flight.timed_out());
            }
            // Rounded up, or the last fraction of a millisecond would be spent spinning.
            let limit = left.saturating_add(Duration::from_millis(1));
            let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
            let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, limit) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(failed(flight.op)(errno)),
            }
        }
    }

    /// The reply to `flight` if it is here. A late reply to a call that was given up is dropped.
    fn receive(&self, flight: Flight) -> Called<Option<Reply>> {
        let mut packet = vec![0; MAX_MESSAGE];
        loop {
            let length = match recv(self.socket.as_raw_fd(), &mut packet, MsgFlags::empty()) {
                Ok(0) | Err(Errno::ECONNRESET) => return Err(KeeperError::Died(flight.op)),
                Ok(length) => length,
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => return Ok(None),
                Err(errno) => return Err(failed(flight.op)(errno)),
            };
            let reply = Reply::decode(packet.get(..length).unwrap_or_default());
            match reply.map_err(failed(flight.op))? {
                (id, reply) if id == flight.id => return Ok(Some(reply)),
                _ => {}
            }
        }
    }
}

impl Flight {
    /// A request about to be sent; id 0 is no request's.
    fn new(op: &'static str, limit: Duration) -> Self {
        let started = Instant::now();
        Self {
            id: 0,
            op,
            limit,
            started,
        }
    }

    fn left(self) -> Duration {
        self.limit.saturating_sub(self.started.elapsed())
    }

    fn timed_out(self) -> KeeperError {
        KeeperError::TimedOut(self.op, self.limit.as_millis())
    }
}

fn failed<E: ToString>(op: &'static str) -> impl Fn(E) -> KeeperError {
    move |error| KeeperError::Failed(op, error.to_string())
}

fn unexpected(reply: &Reply) -> KeeperError {
    KeeperError::Failed(reply.tag(), "reply to another question".into())
}

#[cfg(test)]
pub(crate) mod tests;
