//! The listening end, driven by PID 1's loop: one descriptor to watch, bounded work per turn, nothing that blocks.
//!
//! A client can cost others nothing: it has [`PATIENCE`] to complete a request, [`PER_OWNER`] connections, and its answer
//! must fit its socket's buffer, that is, it must have read the one before. Whoever exceeds a bound loses a connection of
//! his own.

use std::cmp::Reverse;
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

use crate::verb::{Authority, Verb};
use crate::{MAX_REQUEST, Refusal, errno};

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
const NOT_YOURS: &str = "not for this uid to ask; next: ask at the operator line";

/// Names one connection. Never reused, so a stale one meets nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnId(u64);

/// A request that its author may make, waiting for [`Server::reply`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Where the answer goes.
    pub id: ConnId,
    /// Who asks.
    pub authority: Authority,
    /// What is asked; `authority.may(&verb)` holds.
    pub verb: Verb,
}

/// The listening socket and its clients.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    epoll: Epoll,
    clients: Vec<Client>,
    last: u64,
    now: Instant,
}

impl AsFd for Server {
    /// Readable whenever [`Server::turn`] has something to do.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

impl Server {
    /// Listens at `path` for everyone (mode 0666; its directory is made with the usual umask). A socket left there by an earlier life is removed,
    /// anything else is not.
    ///
    /// # Errors
    /// Names the path and the errno.
    pub fn bind(path: &Path) -> Result<Server, Refusal> {
        let bound = listen(path).and_then(|listener| {
            let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
            epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
            let clients = Vec::with_capacity(CONNECTIONS);
            Ok(Server {
                listener,
                epoll,
                clients,
                last: LISTENER,
                now: Instant::now(),
            })
        });
        bound.map_err(|err| {
            let (path, errno) = (path.display(), errno(&err));
            let reason = format!("listen at {path}: {errno:?}; rooms cannot reach bay0");
            Refusal::new(reason, "free that path and reboot")
        })
    }

    /// Does what is due, at most 32 events and 32 new connections, and returns the requests to be answered.
    pub fn turn(&mut self, now: Instant) -> Vec<Call> {
        self.now = now;
        let mut events = [EpollEvent::empty(); PER_TURN];
        let ready = self.epoll.wait(&mut events, EpollTimeout::ZERO);
        let mut calls = Vec::new();
        for event in events.iter().take(ready.unwrap_or(0)) {
            match event.data() {
                LISTENER => self.accept(),
                id => calls.extend(self.hear(ConnId(id))),
            }
        }
        calls
    }

    /// Answers a request: `Ok` as `ok`, `Err` as `no`, at most [`crate::MAX_REPLY`] bytes. A client that is gone, or was answered already, is ignored; one that
    /// has not read its earlier answers is closed.
    pub fn reply(&mut self, id: ConnId, answer: Result<&str, &str>) {
        let waiting = |client: &&mut Client| client.id == id && client.waiting;
        if let Some(client) = self.clients.iter_mut().find(waiting) {
            client.waiting = false;
            client.since = self.now;
            if !client.send(answer) || !client.listen(&self.epoll) {
                self.close(id);
            }
        }
    }

    /// Closes every client that has run out of [`PATIENCE`], and looks for new ones again if descriptors had run out. To be
    /// called about once a second.
    pub fn expire(&mut self, now: Instant) {
        self.now = now;
        let in_time = |since| now.saturating_duration_since(since) < PATIENCE;
        self.clients
            .retain(|client| client.waiting || in_time(client.since));
        self.watch_listener(EpollFlags::EPOLLIN);
    }

    fn watch_listener(&self, flags: EpollFlags) {
        let mut event = EpollEvent::new(flags, LISTENER);
        // Cannot fail for a descriptor in the set; if it did, expire() tries again.
        let _ = self.epoll.modify(&self.listener, &mut event);
    }

    fn accept(&mut self) {
        for _ in 0..PER_TURN {
            match self.listener.accept().map_err(|err| errno(&err)) {
                Ok((stream, _)) => self.admit(stream),
                Err(Errno::ECONNABORTED | Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                // EMFILE and its kin: the listener stays readable, so look away until the next expire() or spin.
                Err(_) => return self.watch_listener(EpollFlags::empty()),
            }
        }
    }

    fn admit(&mut self, stream: UnixStream) {
        let Ok(peer) = getsockopt(&stream, sockopt::PeerCredentials) else {
            return;
        };
        let process = match getsockopt(&stream, sockopt::PeerPidfd) {
            Ok(process) => Some(process),
            Err(Errno::ENOPROTOOPT) => None,
            // It connected and is gone already.
            Err(_) => return,
        };
        let owner = owner(peer.uid());
        self.make_room(owner);
        self.last = self.last.saturating_add(1);
        let client = Client {
            id: ConnId(self.last),
            process,
            stream,
            authority: Authority::of_uid(peer.uid()),
            owner,
            heard: Vec::with_capacity(MAX_REQUEST),
            waiting: false,
            since: self.now,
        };
        if self.epoll.add(&client.stream, client.wanted()).is_ok() {
            self.clients.push(client);
        }
    }

    /// Closes a connection if the newcomer's owner has his share, or if all are taken: then one of whoever has most. Of
    /// those, the one whose last request is longest ago.
    fn make_room(&mut self, newcomer: u32) {
        let share = |owner| self.clients.iter().filter(|c| c.owner == owner).count();
        let own = share(newcomer) >= PER_OWNER;
        let suspects = self.clients.iter().filter(|c| !own || c.owner == newcomer);
        let victim = suspects.max_by_key(|c| (share(c.owner), Reverse((c.since, c.id))));
        if let Some(id) = victim.map(|c| c.id)
            && (own || self.clients.len() >= CONNECTIONS)
        {
            self.close(id);
        }
    }

    fn hear(&mut self, id: ConnId) -> Option<Call> {
        let client = self.clients.iter_mut().find(|client| client.id == id)?;
        let authority = client.authority;
        let heard = client.hear();
        client.waiting = matches!(heard, Ok(Some(_)));
        let refusal = match heard {
            Ok(Some(Ok(verb))) if authority.may(&verb) => {
                return Some(Call {
                    id,
                    authority,
                    verb,
                });
            }
            Ok(Some(Ok(_))) => NOT_YOURS.to_owned(),
            Ok(Some(Err(why))) => why.to_string(),
            Ok(None) if client.listen(&self.epoll) => return None,
            Ok(None) | Err(_) => {
                self.close(id);
                return None;
            }
        };
        self.reply(id, Err(&refusal));
        None
    }

    fn close(&mut self, id: ConnId) {
        // Closing the descriptor takes it out of the epoll set.
        self.clients.retain(|client| client.id != id);
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o666))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Whose share a uid counts against: a room cannot multiply its own by connecting as each of its uids.
fn owner(uid: u32) -> u32 {
    match uid & !(UID_RANGE - 1) {
        0 => uid,
        first => first,
    }
}

#[derive(Debug)]
struct Client {
    id: ConnId,
    stream: UnixStream,
    /// The process that connected, where the kernel tells (`SO_PEERPIDFD`, Linux 6.5).
    process: Option<OwnedFd>,
    authority: Authority,
    owner: u32,
    /// At most [`MAX_REQUEST`] bytes not asked yet.
    heard: Vec<u8>,
    /// A request is with PID 1.
    waiting: bool,
    /// When it connected or was last answered.
    since: Instant,
}

impl Client {
    /// The next request, if a whole one is there; an error if there never will be.
    fn hear(&mut self) -> nix::Result<Option<Result<Verb, Refusal>>> {
        if self.line_end().is_none() {
            let mut chunk = [0; MAX_REQUEST];
            let (space, _) = chunk.split_at_mut(MAX_REQUEST.saturating_sub(self.heard.len()));
            match recv(self.stream.as_raw_fd(), space, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return Err(Errno::EPIPE),
                Ok(count) => self.heard.extend(space.iter().take(count)),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        let line: Vec<u8> = match self.line_end() {
            Some(end) => self.heard.drain(..=end).collect(),
            // Refused below for its length; then there is no room to hear any more, and listen() says so.
            None if self.heard.len() >= MAX_REQUEST => self.heard.clone(),
            None => return Ok(None),
        };
        // A descriptor handed on does not carry the authority of a process that has exited since.
        if self.is_orphaned() {
            return Err(Errno::ESRCH);
        }
        let text = std::str::from_utf8(line.strip_suffix(b"\n").unwrap_or(&line));
        let no_text = |_| Refusal::new("request is not UTF-8".to_owned(), "send plain text");
        Ok(Some(text.map_err(no_text).and_then(Verb::parse)))
    }

    fn line_end(&self) -> Option<usize> {
        self.heard.iter().position(|byte| *byte == b'\n')
    }

    fn is_orphaned(&self) -> bool {
        self.process.as_ref().is_some_and(|process| {
            let mut exited = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
            poll(&mut exited, PollTimeout::ZERO) == Ok(1)
        })
    }

    /// False if the answer did not go out whole.
    fn send(&self, answer: Result<&str, &str>) -> bool {
        let (Ok(body) | Err(body)) = answer;
        let word = if answer.is_ok() { "ok" } else { "no" };
        let frame = format!("{word} {}\n{body}", body.len());
        // MSG_NOSIGNAL: a peer that hung up must not raise SIGPIPE in PID 1.
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        send(self.stream.as_raw_fd(), frame.as_bytes(), flags) == Ok(frame.len())
    }

    /// Waits for the next request; false if there can be none.
    fn listen(&self, epoll: &Epoll) -> bool {
        let room = self.heard.len() < MAX_REQUEST || self.line_end().is_some();
        room && epoll.modify(&self.stream, &mut self.wanted()).is_ok()
    }

    /// One event, then silence until the request it brings is answered. What a client sent ahead is in our buffer and no
    /// longer in the socket: only writability can wake us for it.
    fn wanted(&self) -> EpollEvent {
        let wake = match self.line_end() {
            Some(_) => EpollFlags::EPOLLOUT,
            None => EpollFlags::EPOLLIN,
        };
        EpollEvent::new(wake | EpollFlags::EPOLLONESHOT, self.id.0)
    }
}

#[cfg(test)]
pub(crate) mod tests;
