//! PID 1's side: a bounded client that opens no file and never waits without a deadline.

use std::fmt::Display;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use bay0_persona::{Child, PersonaName, spawn};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{AddressFamily, MsgFlags, Shutdown, SockFlag, SockType};
use nix::sys::socket::{recv, send, shutdown, socketpair};

use crate::error::{DIRTY, KeeperError};
use crate::keeper::{self, Config};
use crate::wire::{MAX_MESSAGE, Opened, Persona, Reply, Request, State, Wire};

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

/// The keeper process as PID 1 sees it. Dropping it ends the process: one that nobody asks any more must not go on writing.
#[derive(Debug)]
pub struct Keeper {
    /// The process. Its pidfd is readable when it has ended; one that hangs in the disk goes when the disk lets it.
    pub child: Child,
    /// Readable when a reply to a [`Keeper::post`] has come, or the keeper has closed its end.
    pub socket: OwnedFd,
    /// The request that waits for its reply; there is never more than one.
    flight: Option<Flight>,
}

/// A request that waits for its reply.
#[derive(Clone, Copy, Debug)]
struct Flight {
    op: &'static str,
    limit: Duration,
    started: Instant,
}

impl Keeper {
    /// Starts a keeper. It touches no disk until [`Keeper::open`].
    pub fn start(config: &Config) -> Called<Self> {
        Self::start_with(|socket| keeper::run(socket, config))
            .map_err(|errno| failed("start", errno))
    }

    /// Sends a request and waits for its reply, at most `limit` in all. If one was posted, its reply comes first and is
    /// dropped. A request that got none in time stays in flight: [`Keeper::expired`] tells, and nothing more is asked, so
    /// that no late reply is taken for another.
    pub fn call(&mut self, request: &Request, limit: Duration) -> Called<Reply> {
        if let Some(late) = self.expired() {
            return Err(late);
        }
        let call = Flight::start(self.socket.as_fd(), request, limit)?;
        if self.flight.replace(call).is_some() {
            self.wait(call)?;
            self.flight = Some(call);
        }
        match self.wait(call)? {
            Reply::Refused(message) => Err(KeeperError::Failed(message)),
            reply => Ok(reply),
        }
    }

    /// Sends a request without waiting. At most one is in flight: a second is refused as busy.
    pub fn post(&mut self, request: &Request, limit: Duration) -> Called<()> {
        if self.flight.is_some() {
            return Err(failed(request.tag(), Errno::EAGAIN));
        }
        self.flight = Some(Flight::start(self.socket.as_fd(), request, limit)?);
        Ok(())
    }

    /// Takes the reply to the posted request if it is there. Ask when the socket is readable.
    pub fn on_readable(&mut self) -> Called<Option<Reply>> {
        let op = self.flight.map_or("idle", |flight| flight.op);
        self.receive(op, Duration::ZERO)
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

    /// Mounts and opens `/persist`.
    pub fn open(&mut self, boot_id: &str) -> Called<Opened> {
        match self.call(&Request::Open(boot_id.into()), OPEN_DEADLINE)? {
            Reply::Opened(opened) => Ok(opened),
            other => Err(failed(other.tag(), Errno::EBADMSG)),
        }
    }

    /// Lists the recorded personas, sorted by name.
    pub fn personas(&mut self) -> Called<Vec<Persona>> {
        match self.call(&Request::Personas, READ_DEADLINE)? {
            Reply::Personas(list) => Ok(list),
            other => Err(failed(other.tag(), Errno::EBADMSG)),
        }
    }

    /// Records a persona's state; a new name is added.
    pub fn set_state(&mut self, name: &PersonaName, state: State) -> Called<()> {
        let request = Request::SetState(name.clone(), state);
        self.call(&request, APPEND_DEADLINE).map(drop)
    }

    /// Records the end of the boot, and `now` (UNIX seconds), and unmounts; nothing is open then.
    pub fn close(&mut self, how: &str, now: u64) -> Called<()> {
        let request = Request::Close(how.into(), now);
        self.call(&request, CLOSE_DEADLINE).map(drop)
    }

    fn start_with(body: impl FnOnce(OwnedFd) -> i32) -> nix::Result<Self> {
        let flag = SockFlag::SOCK_CLOEXEC;
        let (socket, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flag)?;
        let child = spawn(None, Some(theirs.as_fd()), |kept| kept.map_or(1, body))?;
        Ok(Self {
            child,
            socket,
            flight: None,
        })
    }

    /// The reply to what is in flight, within the time that `call` has left.
    fn wait(&mut self, call: Flight) -> Called<Reply> {
        let reply = self.receive(call.op, call.left())?;
        reply.ok_or_else(|| call.timed_out())
    }

    fn receive(&mut self, op: &'static str, limit: Duration) -> Called<Option<Reply>> {
        let reply = receive(self.socket.as_fd(), limit);
        self.flight.take_if(|_| reply.is_ok());
        match reply {
            Err(Errno::EAGAIN) => Ok(None),
            reply => reply.map(Some).map_err(|errno| failed(op, errno)),
        }
    }
}

impl Flight {
    fn start(to: BorrowedFd<'_>, request: &Request, limit: Duration) -> Called<Self> {
        let (op, started) = (request.tag(), Instant::now());
        let unsent = |cause| said(op, format!("{cause}; not sent; next: report this text"));
        let packet = request.encode().map_err(unsent)?;
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        send(to.as_raw_fd(), &packet, flags).map_err(|errno| failed(op, errno))?;
        Ok(Self { op, limit, started })
    }

    fn left(self) -> Duration {
        self.limit.saturating_sub(self.started.elapsed())
    }

    fn timed_out(self) -> KeeperError {
        let ms = self.limit.as_millis();
        said(self.op, format!("no answer in {ms} ms; {DIRTY}"))
    }
}

/// Records `end: TEXT` through the keeper's socket and waits, at most 200 ms, until it is durable; whatever fails is
/// ignored, because nobody is left to hear of it. Called from the panic hook, where [`Keeper`] itself may be in use.
pub fn last_words(socket: BorrowedFd<'_>, text: &str) {
    let request = Request::Append(vec![format!("end: {text}")]);
    if let Ok(flight) = Flight::start(socket, &request, READ_DEADLINE) {
        // The keeper answers all it was asked, then finds the end and exits, which ends our side as well.
        let _ = shutdown(socket.as_raw_fd(), Shutdown::Write);
        while receive(socket, flight.left()).is_ok() {}
    }
}

/// The next reply. EAGAIN when there is none within `limit`, EPIPE at the end of the stream. PID 1 handles no signal, so
/// nothing interrupts the wait.
fn receive(fd: BorrowedFd<'_>, limit: Duration) -> nix::Result<Reply> {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    ppoll(&mut fds, Some(limit.into()), None)?;
    // Asked for its length first: PID 1 does not keep 64 KiB for replies of a few bytes.
    let measure = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
    let length = recv(fd.as_raw_fd(), &mut [], measure)?;
    let mut packet = vec![0; length.min(MAX_MESSAGE)];
    match recv(fd.as_raw_fd(), &mut packet, MsgFlags::MSG_DONTWAIT)? {
        0 => Err(Errno::EPIPE),
        _ => Reply::decode(&packet).map_err(|_| Errno::EPROTO),
    }
}

fn failed(op: &'static str, errno: Errno) -> KeeperError {
    match errno {
        Errno::EPIPE | Errno::ECONNRESET => KeeperError::Died(op),
        Errno::EAGAIN => said(op, "busy; not sent; next: try again"),
        Errno::EBADMSG => said(op, format!("reply to another question; {DIRTY}")),
        _ => said(op, format!("{errno:?}; {DIRTY}")),
    }
}

fn said(op: &'static str, cause: impl Display) -> KeeperError {
    KeeperError::Failed(format!("keeper {op}: {cause}"))
}

#[cfg(test)]
pub(crate) mod tests;
