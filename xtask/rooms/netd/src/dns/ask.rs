//! One open question: whom it goes to, by what, and how often.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};

use super::framed::Framed;
use super::message::Query;
use crate::servers::Servers;

/// How long a server has, by UDP and by TCP, and how often a question is asked in all.
const TRY_UDP: Duration = Duration::from_secs(1);
const TRY_TCP: Duration = Duration::from_secs(2);
const TRIES_UDP: usize = 4;
const TRIES_TCP: usize = 2;
/// Bytes of ids that the kernel is asked for at once.
const IDS: usize = 512;

/// Where a question came from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Datagram { socket: usize, room: SocketAddr },
    Connection { serial: u64, room: IpAddr },
}

impl Origin {
    /// The room's address.
    pub(super) fn room(self) -> IpAddr {
        match self {
            Self::Datagram { room, .. } => room.ip(),
            Self::Connection { room, .. } => room,
        }
    }
}

/// An open question.
pub(super) struct Ask {
    pub(super) origin: Origin,
    pub(super) query: Query,
    pub(super) begun: Duration,
    pub(super) tries: usize,
    pub(super) server: SocketAddr,
    pub(super) id: u16,
    pub(super) until: Duration,
    pub(super) way: Way,
}

/// How a server is asked.
pub(super) enum Way {
    Datagram(UdpSocket),
    Connection(Framed),
}

/// Asks the first server; the question comes back if there is none that can be.
pub(super) fn open(
    query: Query,
    origin: Origin,
    servers: &Servers,
    ids: &mut Ids,
    now: Duration,
) -> Result<Ask, Query> {
    let is_datagram = matches!(origin, Origin::Datagram { .. });
    let id = ids.next();
    // One that cannot be reached is passed over.
    for tries in 0..servers.count() {
        if let Some(server) = servers.choose(tries)
            && let Ok(way) = Way::open(is_datagram, server, &query.with_id(id))
        {
            return Ok(Ask {
                origin,
                query,
                begun: now,
                tries: tries.saturating_add(1),
                server,
                id,
                until: now.saturating_add(way.limit()),
                way,
            });
        }
    }
    Err(query)
}

impl Ask {
    /// Asks once more: the same server on, or another with an id and a port of its own. False: it was asked often enough.
    pub(super) fn next(&mut self, servers: &Servers, ids: &mut Ids, now: Duration) -> bool {
        let most = match self.way {
            Way::Datagram(_) => TRIES_UDP,
            Way::Connection(_) => TRIES_TCP,
        };
        while self.tries < most.max(servers.count()) {
            let Some(server) = servers.choose(self.tries) else {
                return false;
            };
            self.tries = self.tries.saturating_add(1);
            let sent = match &self.way {
                Way::Datagram(socket) if server == self.server => {
                    socket.send(&self.query.with_id(self.id)).map(drop)
                }
                way => {
                    let id = ids.next();
                    let way = Way::open(way.is_datagram(), server, &self.query.with_id(id));
                    way.map(|way| (self.way, self.id, self.server) = (way, id, server))
                }
            };
            if sent.is_ok() {
                self.until = now.saturating_add(self.way.limit());
                return true;
            }
        }
        false
    }
}

impl Way {
    fn open(is_datagram: bool, server: SocketAddr, message: &[u8]) -> io::Result<Way> {
        if !is_datagram {
            let mut framed = Framed::open(server)?;
            framed.push(message)?;
            return Ok(Way::Connection(framed));
        }
        let family = match server {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(family, SockType::Datagram, flags, None)?;
        // Then only this server is received from, at a port that the kernel chooses by chance (`inet_autobind`).
        connect(socket.as_raw_fd(), &SockaddrStorage::from(server))?;
        let socket = UdpSocket::from(socket);
        socket.send(message)?;
        Ok(Way::Datagram(socket))
    }

    fn is_datagram(&self) -> bool {
        matches!(self, Way::Datagram(_))
    }

    fn limit(&self) -> Duration {
        match self {
            Way::Datagram(_) => TRY_UDP,
            Way::Connection(_) => TRY_TCP,
        }
    }

    /// The next message, once it is there.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<Vec<u8>>> {
        match self {
            Way::Datagram(socket) => match socket.recv(buffer) {
                Ok(length) => Ok(buffer.get(..length).map(<[u8]>::to_vec)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                Err(error) => Err(error),
            },
            Way::Connection(framed) => {
                framed.flush()?;
                framed.fill()?;
                Ok(framed.take())
            }
        }
    }
}

/// Ids of questions, each used once: good random bits, asked of the kernel for many at a time.
#[derive(Default)]
pub(super) struct Ids(Vec<u8>);

impl Ids {
    fn next(&mut self) -> u16 {
        if self.0.is_empty() {
            self.0.resize(IDS, 0);
            if getrandom::fill(&mut self.0).is_err() {
                self.0.clear();
            }
        }
        match (self.0.pop(), self.0.pop()) {
            (Some(one), Some(other)) => u16::from_ne_bytes([one, other]),
            _ => {
                let [one, other, ..] = crate::random().to_ne_bytes();
                u16::from_ne_bytes([one, other])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn u03_ids_of_questions_differ_beyond_one_call_of_the_kernel() {
        let mut ids = Ids::default();
        let all: BTreeSet<u16> = (0..2 * IDS).map(|_| ids.next()).collect();
        // 1024 of 65536 by chance: 8 of them the same as another one.
        assert!(all.len() > 2 * IDS - 64, "{}", all.len());
    }
}
