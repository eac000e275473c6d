//! The listening end, driven by PID 1's loop: one descriptor to watch, bounded work per turn, nothing that blocks.
//!
//! A client can cost others nothing: it has [`PATIENCE`] to complete a request, [`PER_OWNER`] connections, and its answer
//! must fit its socket's buffer, that is, it must have read the one before. Whoever exceeds a bound loses a connection of
//! his own. What a client says before its turn stays in its own socket, on its own account: nothing is buffered here.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{MsgFlags, getsockopt, recv, send, sockopt};

use crate::{MAX_REQUEST, Refusal, Verb};

/// Connections held at once.
pub const CONNECTIONS: usize = 64;
/// Connections held at once by one owner: a room, whatever uid inside it connects.
pub const PER_OWNER: usize = 8;
/// How long a client may take to complete a request.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Uids of one room (decision 10); those below the first range stand for themselves.
const UID_RANGE: u32 = 65_536;
/// Events and new connections handled in one turn.
const PER_TURN: usize = 32;

const LISTENER: u64 = 0;

/// Names one connection. Never reused, so a stale one meets nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnId(u64);

/// A request that its author may make, waiting for [`Server::reply`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Where the answer goes.
    pub id: ConnId,
    /// What is asked.
    pub verb: Verb,
}

/// The listening socket and its clients.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    /// The listener, and every client whose request is not with PID 1.
    epoll: Epoll,
    clients: BTreeMap<ConnId, Client>,
    last: u64,
}

impl AsFd for Server {
    /// Readable whenever [`Server::turn`] has something to do.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

impl Server {
    /// Listens at `path` for everyone (mode 0666; its directory is made with the usual umask). A socket left there by an
    /// earlier life is removed, anything else is not.
    ///
    /// # Errors
    /// Whatever keeps it from listening there.
    pub fn bind(path: &Path) -> io::Result<Server> {
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
            fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o666))?;
        listener.set_nonblocking(true)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&listener, readable(LISTENER))?;
        Ok(Server {
            listener,
            epoll,
            clients: BTreeMap::new(),
            last: LISTENER,
        })
    }

    /// Does what is due, at most 32 events and 32 new connections, and returns the requests to be answered.
    pub fn turn(&mut self) -> Vec<Call> {
        let mut events = [EpollEvent::empty(); PER_TURN];
        let ready = self.epoll.wait(&mut events, EpollTimeout::ZERO);
        let mut calls = Vec::new();
        for event in events.iter().take(ready.unwrap_or(0)) {
            match event.data() {
                LISTENER => drop(self.accept()),
                id => match self.hear(ConnId(id)) {
                    Ok(call) => calls.push(call),
                    Err(Errno::EAGAIN) => {}
                    Err(_) => drop(self.clients.remove(&ConnId(id))),
                },
            }
        }
        calls
    }

    /// Answers a request: `Ok` as `ok`, `Err` as `no`, at most [`crate::MAX_REPLY`] bytes. A client that is gone, or was
    /// answered already, is ignored; one that has not read its earlier answers is closed.
    pub fn reply(&mut self, id: ConnId, answer: Result<&str, &str>) {
        let client = self.clients.get_mut(&id);
        let Some(client) = client.filter(|client| client.waiting) else {
            return;
        };
        client.waiting = false;
        client.since = Instant::now();
        let (Ok(body) | Err(body)) = answer;
        let word = if answer.is_ok() { "ok" } else { "no" };
        let frame = format!("{word} {}\n{body}", body.len());
        // MSG_NOSIGNAL: a peer that hung up must not raise SIGPIPE in PID 1.
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let sent = send(client.stream.as_raw_fd(), frame.as_bytes(), flags);
        // Added again, it is looked at again: what it sent ahead is an event now.
        if sent != Ok(frame.len()) || self.epoll.add(&client.stream, readable(id.0)).is_err() {
            self.clients.remove(&id);
        }
    }

    /// Closes every client that has run out of [`PATIENCE`], and looks for new ones again if descriptors had run out. To be
    /// called about once a second.
    pub fn expire(&mut self, now: Instant) {
        let in_time = |since| now.saturating_duration_since(since) < PATIENCE;
        self.clients.retain(|_, c| c.waiting || in_time(c.since));
        let _ = self.accept();
    }

    /// Takes new clients until none is left, or no descriptor for one: the next connection or the next expire() tries again.
    fn accept(&mut self) -> io::Result<()> {
        for _ in 0..PER_TURN {
            let (stream, _) = self.listener.accept()?;
            let uid = getsockopt(&stream, sockopt::PeerCredentials)?.uid();
            let process = getsockopt(&stream, sockopt::PeerPidfd).ok();
            self.make_room(owner(uid));
            self.last = self.last.saturating_add(1);
            self.epoll.add(&stream, readable(self.last))?;
            let client = Client {
                stream,
                process,
                uid,
                waiting: false,
                since: Instant::now(),
            };
            self.clients.insert(ConnId(self.last), client);
        }
        // There may be more: asks for the event again.
        Ok(self.epoll.modify(&self.listener, &mut readable(LISTENER))?)
    }

    /// Closes a connection if the newcomer's owner has his share, or if all are taken: then one of whoever has most. Of
    /// those, the one whose last request is longest ago.
    fn make_room(&mut self, newcomer: u32) {
        let clients = &self.clients;
        let share = |who| clients.values().filter(|c| owner(c.uid) == who).count();
        let own = share(newcomer) >= PER_OWNER;
        if own || clients.len() >= CONNECTIONS {
            let blame = |(id, c): &(&ConnId, &Client)| {
                let (who, idle) = (owner(c.uid), Reverse((c.since, **id)));
                (own && who == newcomer, share(who), idle)
            };
            let worst = clients.iter().max_by_key(blame).map(|(id, _)| *id);
            self.clients.retain(|id, _| Some(*id) != worst);
        }
    }

    /// EAGAIN if there is nothing for PID 1 yet; any other error ends the connection.
    fn hear(&mut self, id: ConnId) -> nix::Result<Call> {
        let client = self.clients.get_mut(&id).ok_or(Errno::ENOENT)?;
        let line = client.take_line()?;
        // Whatever it does until it is answered wakes nobody.
        self.epoll.delete(&client.stream)?;
        client.waiting = true;
        match understand(client.uid, &line) {
            Ok(verb) => return Ok(Call { id, verb }),
            Err(why) => self.reply(id, Err(&why.to_string())),
        }
        // Too long: where its next request begins cannot be known.
        let over = !line.ends_with(b"\n");
        Err(if over { Errno::EMSGSIZE } else { Errno::EAGAIN })
    }
}

/// One event for each arrival, not for as long as something is there: half a request stays in the socket and must not spin.
fn readable(data: u64) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, data)
}

fn understand(uid: u32, line: &[u8]) -> Result<Verb, Refusal> {
    let text = std::str::from_utf8(line.strip_suffix(b"\n").unwrap_or(line));
    let no_text = |_| Refusal::new("request is not UTF-8", "send plain text");
    let verb = text.map_err(no_text).and_then(Verb::parse)?;
    if verb.allowed(uid) {
        return Ok(verb);
    }
    let next = "ask at the operator line";
    Err(Refusal::new("not for this uid to ask", next))
}

/// Whose share a uid counts against: a room cannot multiply its own by connecting as each of its uids.
fn owner(uid: u32) -> u32 {
    let first = uid & !(UID_RANGE - 1);
    if first == 0 { uid } else { first }
}

/// One connection. Dropping it closes its descriptor, which takes it out of the epoll set.
#[derive(Debug)]
struct Client {
    stream: UnixStream,
    /// The process that connected, where the kernel tells (`SO_PEERPIDFD`, Linux 6.5).
    process: Option<OwnedFd>,
    uid: u32,
    /// A request is with PID 1; meanwhile it is not in the epoll set.
    waiting: bool,
    /// When it connected or was last answered.
    since: Instant,
}

impl Client {
    /// The next request with its line end, or [`MAX_REQUEST`] bytes that have none. EAGAIN leaves half a request where it
    /// is; any other error means that there will be none.
    fn take_line(&self) -> nix::Result<Vec<u8>> {
        let socket = self.stream.as_raw_fd();
        let mut line = vec![0; MAX_REQUEST];
        let peek = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK;
        let count = recv(socket, &mut line, peek)?;
        let end = line.iter().take(count).position(|byte| *byte == b'\n');
        line.truncate(match end {
            Some(end) => end.saturating_add(1),
            None if count == 0 => return Err(Errno::EPIPE),
            None if count < MAX_REQUEST => return Err(Errno::EAGAIN),
            None => count,
        });
        recv(socket, &mut line, MsgFlags::MSG_DONTWAIT)?;
        // A descriptor handed on does not carry the authority of a process that has exited since.
        let process = self.process.as_ref().map(OwnedFd::as_fd);
        let mut exit = process.map(|process| PollFd::new(process, PollFlags::POLLIN));
        let exited = poll(exit.as_mut_slice(), PollTimeout::ZERO) != Ok(0);
        if exited { Err(Errno::ESRCH) } else { Ok(line) }
    }
}

#[cfg(test)]
pub(crate) mod tests;
