//! PID 1's side: a bounded client that opens no file and never waits without a deadline.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use bay0_persona::{Child, PersonaName, spawn};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

use crate::error::{DIRTY, KeeperError};
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
/// The number of a dying PID 1's request; no ordinary one gets this far.
const LAST_ID: u64 = u64::MAX;

/// The outcome of a call.
type Called<T> = Result<T, KeeperError>;

/// The keeper process as PID 1 sees it.
#[derive(Debug)]
pub struct Keeper {
    /// The process. Its pidfd is readable when it has ended; one that hangs in the disk goes when the disk lets it.
    pub child: Child,
    /// Readable when a reply to a [`Keeper::post`] has come, or the keeper has closed its end.
    pub socket: OwnedFd,
    last_id: u64,
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

    /// Sends a request and waits for its reply, at most `limit` in all. The reply to a posted request may come first; it is
    /// kept for [`Keeper::on_readable`].
    pub fn call(&mut self, request: &Request, limit: Duration) -> Called<Reply> {
        let call = self.send(request, limit)?;
        while let Some((id, reply)) = receive(self.socket.as_fd(), call.op, call.left())? {
            match reply {
                reply if id != call.id => self.land(id, reply),
                Reply::Refused(message) => return Err(KeeperError::Failed(message)),
                reply => return Ok(reply),
            }
        }
        Err(call.timed_out())
    }

    /// Sends a request without waiting. At most one is in flight: a second is refused as busy.
    pub fn post(&mut self, request: &Request, limit: Duration) -> Called<()> {
        if self.flight.is_some() || self.landed.is_some() {
            return Err(failed(request.tag())(Errno::EAGAIN));
        }
        self.flight = Some(self.send(request, limit)?);
        Ok(())
    }

    /// Takes the reply to the posted request if it is there. Ask when the socket is readable, and after every
    /// [`Keeper::call`], which may have received it.
    pub fn on_readable(&mut self) -> Called<Option<Reply>> {
        let op = self.flight.map_or("idle", |flight| flight.op);
        while self.landed.is_none()
            && let Some((id, reply)) = receive(self.socket.as_fd(), op, Duration::ZERO)?
        {
            self.land(id, reply);
        }
        Ok(self.landed.take())
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
        let request = Request::SetState(name.clone(), state);
        self.call(&request, APPEND_DEADLINE).map(drop)
    }

    /// Records the end of the boot, and `now` (UNIX seconds), and unmounts; the keeper then exits.
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
            last_id: 0,
            flight: None,
            landed: None,
        })
    }

    fn send(&mut self, request: &Request, limit: Duration) -> Called<Flight> {
        self.last_id = self.last_id.wrapping_add(1);
        Flight::start(self.socket.as_fd(), self.last_id, request, limit)
    }

    /// Keeps the posted request's reply. A late reply to a call that was given up is dropped.
    fn land(&mut self, id: u64, reply: Reply) {
        if self.flight.take_if(|flight| flight.id == id).is_some() {
            self.landed = Some(reply);
        }
    }
}

impl Flight {
    /// Sends `request` under the number `id`.
    fn start(to: BorrowedFd<'_>, id: u64, request: &Request, limit: Duration) -> Called<Self> {
        let (op, started) = (request.tag(), Instant::now());
        let unsent = |cause| format!("keeper {op}: {cause}; not sent; next: report this text");
        let packet = request.encode(id).map_err(unsent);
        let packet = packet.map_err(KeeperError::Failed)?;
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        send(to.as_raw_fd(), &packet, flags).map_err(failed(op))?;
        Ok(Self {
            id,
            op,
            limit,
            started,
        })
    }

    fn left(self) -> Duration {
        self.limit.saturating_sub(self.started.elapsed())
    }

    fn timed_out(self) -> KeeperError {
        let (op, ms) = (self.op, self.limit.as_millis());
        KeeperError::Failed(format!("keeper {op}: no answer in {ms} ms; {DIRTY}"))
    }
}

/// Records `end: TEXT` through the keeper's socket and waits, at most 200 ms, until it is durable; whatever fails is
/// ignored, because nobody is left to hear of it. Called from the panic hook, where [`Keeper`] itself may be in use.
pub fn last_words(socket: BorrowedFd<'_>, text: &str) {
    let request = Request::Append(vec![format!("end: {text}")]);
    let Ok(flight) = Flight::start(socket, LAST_ID, &request, READ_DEADLINE) else {
        return;
    };
    // The reply to what was in flight before may come first.
    while let Ok(Some((id, _))) = receive(socket, flight.op, flight.left())
        && id != LAST_ID
    {}
}

/// The next reply and its request's number; `None` when there is none within `limit`.
fn receive(fd: BorrowedFd<'_>, op: &'static str, limit: Duration) -> Called<Option<(u64, Reply)>> {
    let started = Instant::now();
    let mut packet = Vec::new();
    loop {
        let left = limit.saturating_sub(started.elapsed());
        // Rounded up, or the last fraction of a millisecond would be spent spinning.
        let milliseconds = left.as_micros().div_ceil(1000);
        let timeout = PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX);
        let ready = poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout);
        if ready == Ok(0) {
            return Ok(None);
        }
        // Asked for its length first: PID 1 does not keep 64 KiB for replies of a few bytes.
        let measure = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
        let length = ready.and_then(|_| recv(fd.as_raw_fd(), &mut [], measure));
        let read = length.and_then(|length| {
            packet.resize(length.min(MAX_MESSAGE), 0);
            recv(fd.as_raw_fd(), &mut packet, MsgFlags::MSG_DONTWAIT)
        });
        match read {
            Ok(0) => return Err(KeeperError::Died(op)),
            Ok(length) => {
                let reply = Reply::decode(packet.get(..length).unwrap_or_default());
                return reply.map(Some).map_err(|_| failed(op)(Errno::EPROTO));
            }
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(errno) => return Err(failed(op)(errno)),
        }
    }
}

fn failed(op: &'static str) -> impl Fn(Errno) -> KeeperError {
    move |errno| match errno {
        Errno::EPIPE | Errno::ECONNRESET => KeeperError::Died(op),
        Errno::EAGAIN => {
            KeeperError::Failed(format!("keeper {op}: busy; not sent; next: try again"))
        }
        _ => KeeperError::Failed(format!("keeper {op}: {errno:?}; {DIRTY}")),
    }
}

fn unexpected(reply: &Reply) -> KeeperError {
    let op = reply.tag();
    KeeperError::Failed(format!("keeper {op}: reply to another question; {DIRTY}"))
}

#[cfg(test)]
pub(crate) mod tests;
