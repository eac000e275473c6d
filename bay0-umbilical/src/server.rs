//! A listening end, driven by PID 1's loop: one descriptor to watch, bounded work per turn, nothing that blocks.
//!
//! The Spine and every room have one of their own. What the clients of one do to each other is bounded as well: a newcomer beyond
//! [`CONNECTIONS`] takes a place from the uid that has most of them, of whoever was silent longest; one
//! request of each connection is taken in a turn; a connection that has hung up costs neither a place nor a request. The next request
//! of a client is taken once this one is answered; until then it stays in its own socket and wakes nobody.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use bay0_persona::packet;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{Backlog, MsgFlags, UnixAddr};
use nix::sys::socket::{bind, getsockopt, listen, recv, sockopt};

use crate::{MAX_REQUEST, Verb, packet_socket};

/// Connections held at once by one server.
pub const CONNECTIONS: usize = 8;

/// Newcomers that the kernel lets wait: what a room can leave behind by connecting and hanging up. The others wait in `connect(2)`.
const BACKLOG: i32 = 16;

const LISTENER: ConnId = 0;

/// What a request is answered by, once: no number is used again, so a second or late answer meets nobody.
pub type ConnId = u64;

/// A listening socket and its clients.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    /// The listener and every client. Each is reported once, and again after [`Server::watch`].
    epoll: Epoll,
    /// The uid and the socket of each, by a number that grows with each answer: whoever was silent longest comes first.
    clients: BTreeMap<ConnId, (u32, UnixStream)>,
    last: ConnId,
    /// How many newcomers and requests are taken before somebody sets it anew (T02); none is no bound. What has to wait leaves
    /// the server readable: it is to be watched by edges.
    pub credit: Option<u32>,
}

impl AsFd for Server {
    /// Readable whenever [`Server::turn`] has something to do.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

impl Server {
    /// Listens at `path` for everyone (mode 0666; its directory is made with the usual umask). Nothing may be there yet.
    ///
    /// # Errors
    /// Whatever keeps it from listening there.
    pub fn bind(path: &Path) -> io::Result<Server> {
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        let socket = packet_socket()?;
        bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        fs::set_permissions(path, Permissions::from_mode(0o666))?;
        listen(&socket, Backlog::new(BACKLOG)?)?;
        let server = Server {
            listener: socket.into(),
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            clients: BTreeMap::new(),
            last: LISTENER,
            credit: None,
        };
        server.listener.set_nonblocking(true)?;
        server.epoll.add(&server.listener, EpollEvent::empty())?;
        server.watch(&server.listener, LISTENER)?;
        Ok(server)
    }

    /// Takes at most one newcomer and one request of each client, and returns those that their authors may make, to be answered
    /// by [`Server::reply`]. To be called
    /// about once a second even if nothing is ready: then it looks for newcomers that there was no descriptor for.
    pub fn turn(&mut self) -> Vec<(ConnId, Verb)> {
        if self.credit == Some(0) {
            return Vec::new();
        }
        let mut events = [EpollEvent::empty(); CONNECTIONS + 1];
        let count = self.epoll.wait(&mut events, EpollTimeout::ZERO);
        let mut calls = Vec::new();
        let mut ready: Vec<_> = events.iter().take(count.unwrap_or(0)).collect();
        // Newcomers come last: a request that is there is taken before its client's place is another's.
        ready.sort_unstable_by_key(|event| Reverse(event.data()));
        for event in ready {
            let gone = event.events().contains(EpollFlags::EPOLLHUP);
            let cost = u32::from(!gone);
            self.credit = self.credit.map(|left| left.saturating_sub(cost));
            match event.data() {
                LISTENER => drop(self.accept()),
                client if gone => drop(self.clients.remove(&client)),
                client => calls.extend(self.take(client)),
            }
        }
        if count == Ok(0) {
            let _ = self.watch(&self.listener, LISTENER);
        }
        calls
    }

    /// Answers a request: `Ok` as `ok`, `Err` as `no`, at most [`crate::MAX_REPLY`] bytes, with a descriptor
    /// (`SCM_RIGHTS`). A client that is gone is ignored; one that has not read its earlier answers is closed.
    pub fn reply(&mut self, id: ConnId, answer: Result<&str, &str>, given: Option<OwnedFd>) {
        let Some((uid, socket)) = self.clients.remove(&id) else {
            return;
        };
        let (Ok(body) | Err(body)) = answer;
        let word = if answer.is_ok() { "ok" } else { "no" };
        let packet = format!("{word} {}\n{body}", body.len());
        let parts = [packet.as_bytes()];
        if packet::send(&socket, &parts, given.as_ref(), MsgFlags::MSG_DONTWAIT).is_ok() {
            let _ = self.hold(uid, socket);
        }
    }

    /// Out of descriptors, the listener is left unwatched for a while: it must not make PID 1 spin.
    fn accept(&mut self) -> io::Result<()> {
        let (socket, _) = self.listener.accept()?;
        self.watch(&self.listener, LISTENER)?;
        if is_gone(&socket) {
            return Ok(());
        }
        let uid = getsockopt(&socket, sockopt::PeerCredentials)?.uid();
        self.epoll.add(&socket, EpollEvent::empty())?;
        Ok(self.hold(uid, socket)?)
    }

    /// Who leaves his place to a newcomer of this uid: of the uid that has most places then, the one that was silent longest.
    fn leaver(&self, newcomer: u32) -> Option<ConnId> {
        let places = |uid: u32| {
            let held = self.clients.values().filter(|(of, _)| *of == uid).count();
            held.saturating_add(usize::from(uid == newcomer))
        };
        // The last of those with the most: the oldest, backwards.
        let all = self.clients.iter().rev();
        all.max_by_key(|(_, (uid, _))| places(*uid))
            .map(|(id, _)| *id)
    }

    /// Waits for the next request of a client, as of the one that spoke last.
    fn hold(&mut self, uid: u32, socket: UnixStream) -> nix::Result<()> {
        if self.clients.len() >= CONNECTIONS {
            let leaver = self.leaver(uid);
            leaver.and_then(|leaver| self.clients.remove(&leaver));
        }
        self.last = self.last.saturating_add(1);
        self.watch(&socket, self.last)?;
        self.clients.insert(self.last, (uid, socket));
        Ok(())
    }

    /// Takes a request. A client that has hung up is not put back; one that has asked was silent for the shortest time.
    fn take(&mut self, id: ConnId) -> Option<(ConnId, Verb)> {
        let (uid, socket) = self.clients.remove(&id)?;
        // The kernel cuts off what does not fit. A byte too many is enough to be refused.
        let mut packet = [0; MAX_REQUEST + 1];
        let length = recv(socket.as_raw_fd(), &mut packet, MsgFlags::MSG_DONTWAIT).ok()?;
        let packet = packet.get(..length).filter(|it| !it.is_empty())?;
        self.last = self.last.saturating_add(1);
        let id = self.last;
        self.clients.insert(id, (uid, socket));
        // No verb and no name contains what stands for foreign bytes then.
        let text = String::from_utf8_lossy(packet);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let asked = Verb::parse(line).and_then(|verb| verb.allowed(uid));
        let asked = asked.inspect_err(|why| self.reply(id, Err(&why.to_string()), None));
        asked.ok().map(|verb| (id, verb))
    }

    /// Reports the source once it is readable or hung up, and then not again until it is watched anew.
    fn watch(&self, source: impl AsFd, id: ConnId) -> nix::Result<()> {
        let once = EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT;
        self.epoll.modify(source, &mut EpollEvent::new(once, id))
    }
}

/// Whether the other side has closed its socket, so that no answer can reach it.
fn is_gone(socket: &UnixStream) -> bool {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::empty())];
    let gone = poll(&mut fds, PollTimeout::ZERO) == Ok(1);
    let [fd] = fds;
    gone && fd
        .revents()
        .is_some_and(|it| it.contains(PollFlags::POLLHUP))
}

#[cfg(test)]
pub(crate) mod tests;
