//! The relay's sockets and the questions that are open. What cannot be served is dropped and counted: the rooms ask again.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::poll::PollFlags;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};

use super::ask::{Ask, Ids, Origin, Way, open};
use super::framed::Framed;
use super::message::{Checked, MAX_QUERY, Query, check, is_refusal};
use crate::rooms::is_room;
use crate::servers::Servers;

/// Port of DNS (RFC 1035).
const PORT: u16 = 53;
/// Questions that are open at once, of all rooms and of one.
const MAX_ASKS: usize = 256;
const MAX_ROOM_ASKS: usize = 64;
/// Connections of rooms at once, of all and of one.
const MAX_CONNECTIONS: usize = 64;
const MAX_ROOM_CONNECTIONS: usize = 8;
/// Questions that are open on one connection.
const MAX_PIPELINE: usize = 16;
/// Datagrams of one socket in one turn of the loop.
const MAX_TURN: usize = 64;
/// A connection without a question ends.
const IDLE: Duration = Duration::from_secs(10);
/// Longest datagram (RFC 768).
const DATAGRAM: usize = 65_535;

/// What one descriptor of the relay is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A socket for datagrams of rooms.
    Datagrams(usize),
    /// A socket for connections of rooms.
    Connections(usize),
    /// A room's connection.
    Connection(u64),
    /// An open question.
    Ask(u64),
}

/// A descriptor that is waited for.
pub struct Source<'a> {
    /// What it is.
    pub key: Key,
    /// The descriptor.
    pub fd: BorrowedFd<'a>,
    /// What is waited for.
    pub wait: PollFlags,
}

/// The relay.
pub struct Relay {
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
    connections: BTreeMap<u64, Connection>,
    asks: BTreeMap<u64, Ask>,
    ids: Ids,
    serial: u64,
    dropped: u64,
    buffer: Vec<u8>,
}

/// A room's connection.
struct Connection {
    framed: Framed,
    room: IpAddr,
    open: usize,
    idle: Duration,
}

impl Relay {
    /// Listens on port 53 of all addresses, of both families as far as the kernel has them. The rule set of `sys://net` lets rooms ask at
    /// [`bay0_umbilical::net::GATEWAY`] alone, and refuses them at the gateway's IPv6 address.
    ///
    /// # Errors
    /// IPv4's.
    pub fn open() -> io::Result<Relay> {
        let all = [
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)),
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)),
        ];
        let (mut udp, mut tcp) = (Vec::new(), Vec::new());
        for address in all {
            match (datagrams(address), connections(address)) {
                (Ok(one), Ok(other)) => {
                    udp.push(one);
                    tcp.push(other);
                }
                (Err(error), _) | (_, Err(error)) if address.is_ipv4() => return Err(error),
                (Err(error), _) | (_, Err(error)) => {
                    crate::log(&format!("DNS over IPv6: {error}; IPv4 only"));
                }
            }
        }
        Ok(Relay {
            udp,
            tcp,
            connections: BTreeMap::new(),
            asks: BTreeMap::new(),
            ids: Ids::default(),
            serial: 0,
            dropped: 0,
            buffer: vec![0; DATAGRAM],
        })
    }

    /// All descriptors, with what is waited for.
    pub fn sources(&self) -> impl Iterator<Item = Source<'_>> {
        let input = PollFlags::POLLIN;
        let both = |framed: &Framed, wait| match framed.is_full() {
            true => wait | PollFlags::POLLOUT,
            false => wait,
        };
        let source = |key, fd, wait| Source { key, fd, wait };
        let udp = self.udp.iter().enumerate();
        let udp = udp.map(move |(n, it)| source(Key::Datagrams(n), it.as_fd(), input));
        let tcp = self.tcp.iter().enumerate();
        let tcp = tcp.map(move |(n, it)| source(Key::Connections(n), it.as_fd(), input));
        let rooms = self.connections.iter().map(move |(serial, it)| {
            // Whose questions are many is not read from.
            let wait = match it.open < MAX_PIPELINE {
                true => input,
                false => PollFlags::empty(),
            };
            let framed = &it.framed;
            source(Key::Connection(*serial), framed.as_fd(), both(framed, wait))
        });
        let asks = self.asks.iter().map(move |(serial, it)| {
            let key = Key::Ask(*serial);
            match &it.way {
                Way::Datagram(socket) => source(key, socket.as_fd(), input),
                Way::Connection(framed) => source(key, framed.as_fd(), both(framed, input)),
            }
        });
        let all = udp.chain(tcp).chain(rooms).chain(asks);
        // Of a descriptor without a wish the kernel would still show its end, turn after turn.
        all.filter(|it| !it.wait.is_empty())
    }

    /// When [`Relay::time`] is due.
    pub fn wake(&self) -> Option<Duration> {
        let asks = self.asks.values().map(|it| it.until);
        let idle = self.connections.values().map(|it| it.idle);
        asks.chain(idle).min()
    }

    /// How many questions were dropped since the last call.
    pub fn dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// A descriptor is ready.
    pub fn ready(&mut self, key: Key, servers: &mut Servers, now: Duration) {
        match key {
            Key::Datagrams(socket) => self.datagrams(socket, servers, now),
            Key::Connections(socket) => self.accept(socket, now),
            Key::Connection(serial) => self.connection(serial, servers, now),
            Key::Ask(serial) => self.answers(serial, servers, now),
        }
    }

    /// Goes on with what has waited long enough.
    pub fn time(&mut self, servers: &mut Servers, now: Duration) {
        let late = |(serial, it): (&u64, &Ask)| (it.until <= now).then_some(*serial);
        for serial in self.asks.iter().filter_map(late).collect::<Vec<_>>() {
            self.again(serial, servers, now);
        }
        self.connections
            .retain(|_, it| it.open > 0 || it.idle > now);
        for it in self.connections.values_mut().filter(|it| it.idle <= now) {
            it.idle = now.saturating_add(IDLE);
        }
    }

    fn datagrams(&mut self, socket: usize, servers: &mut Servers, now: Duration) {
        for _ in 0..MAX_TURN {
            let Some(listener) = self.udp.get(socket) else {
                return;
            };
            let Ok((length, room)) = listener.recv_from(&mut self.buffer) else {
                return;
            };
            let bytes = self.buffer.get(..length).unwrap_or_default();
            let checked = check(bytes);
            let origin = Origin::Datagram { socket, room };
            self.checked(checked, origin, servers, now);
            // One that is alone is the last one: the kernel need not say that nothing is left.
            if self.asks.len() <= 1 {
                return;
            }
        }
    }

    fn checked(&mut self, it: Checked, origin: Origin, servers: &mut Servers, now: Duration) {
        if !is_room(origin.room()) {
            return;
        }
        match it {
            Checked::Drop => {}
            Checked::Answer(bytes) => self.send(origin, &bytes),
            Checked::Query(query) => self.ask(query, origin, servers, now),
        }
    }

    /// Opens a question, unless it is open already, or there are too many.
    fn ask(&mut self, query: Query, origin: Origin, servers: &mut Servers, now: Duration) {
        let same = |it: &&Ask| it.origin == origin && it.query.id() == query.id();
        if self.asks.values().any(|it| same(&it)) {
            return;
        }
        let room = origin.room();
        let of_room = self.asks.values().filter(|it| it.origin.room() == room);
        if self.asks.len() >= MAX_ASKS || of_room.count() >= MAX_ROOM_ASKS {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        if let Origin::Connection { serial, .. } = origin
            && let Some(connection) = self.connections.get_mut(&serial)
        {
            connection.open = connection.open.saturating_add(1);
        }
        match open(query, origin, servers, &mut self.ids, now) {
            Ok(ask) => {
                let serial = self.serial();
                self.asks.insert(serial, ask);
            }
            Err(failed) => self.close(origin, &failed.failure()),
        }
    }

    /// Asks the next server, or gives up.
    fn again(&mut self, serial: u64, servers: &mut Servers, now: Duration) {
        let Some(mut ask) = self.asks.remove(&serial) else {
            return;
        };
        if ask.next(servers, &mut self.ids, now) {
            self.asks.insert(serial, ask);
            return;
        }
        servers.silent(ask.begun);
        self.close(ask.origin, &ask.query.failure());
    }

    fn answers(&mut self, serial: u64, servers: &mut Servers, now: Duration) {
        let Some(ask) = self.asks.get_mut(&serial) else {
            return;
        };
        match ask.way.receive(&mut self.buffer) {
            Ok(None) => {}
            Ok(Some(bytes)) if !ask.query.is_answer(ask.id, &bytes) => {
                // By a connection nothing else can come; a datagram may be somebody else's guess.
                if matches!(ask.way, Way::Connection(_)) {
                    self.again(serial, servers, now);
                }
            }
            Ok(Some(bytes)) => {
                servers.answered(ask.server, now);
                let other = ask.tries < servers.count();
                if other && is_refusal(&bytes) {
                    self.again(serial, servers, now);
                    return;
                }
                let Some(ask) = self.asks.remove(&serial) else {
                    return;
                };
                let answer = match ask.origin {
                    Origin::Datagram { .. } => ask.query.datagram(bytes),
                    Origin::Connection { .. } => ask.query.answer(bytes),
                };
                self.close(ask.origin, &answer);
            }
            Err(_) => self.again(serial, servers, now),
        }
    }

    /// Answers a question that was open.
    fn close(&mut self, origin: Origin, answer: &[u8]) {
        if let Origin::Connection { serial, .. } = origin
            && let Some(connection) = self.connections.get_mut(&serial)
        {
            connection.open = connection.open.saturating_sub(1);
        }
        self.send(origin, answer);
    }

    fn send(&mut self, origin: Origin, answer: &[u8]) {
        match origin {
            Origin::Datagram { socket, room } => {
                if let Some(listener) = self.udp.get(socket) {
                    // Lost as any datagram may be: the room asks again.
                    let _ = listener.send_to(answer, room);
                }
            }
            Origin::Connection { serial, .. } => {
                let Some(connection) = self.connections.get_mut(&serial) else {
                    return;
                };
                let framed = &mut connection.framed;
                if framed.push(answer).and_then(|()| framed.flush()).is_err() {
                    self.hang_up(serial);
                }
            }
        }
    }

    fn accept(&mut self, socket: usize, now: Duration) {
        let Some(Ok((stream, room))) = self.tcp.get(socket).map(TcpListener::accept) else {
            return;
        };
        let room = room.ip();
        let of_room = self.connections.values().filter(|it| it.room == room);
        let many =
            self.connections.len() >= MAX_CONNECTIONS || of_room.count() >= MAX_ROOM_CONNECTIONS;
        if many || !is_room(room) {
            self.dropped = self.dropped.saturating_add(many.into());
            return;
        }
        if let Ok(framed) = Framed::new(stream) {
            let idle = now.saturating_add(IDLE);
            let connection = Connection {
                framed,
                room,
                open: 0,
                idle,
            };
            let serial = self.serial();
            self.connections.insert(serial, connection);
        }
    }

    fn connection(&mut self, serial: u64, servers: &mut Servers, now: Duration) {
        let Some(it) = self.connections.get_mut(&serial) else {
            return;
        };
        let room = it.room;
        let more = it.open < MAX_PIPELINE;
        let end = it.framed.flush().and_then(|()| match more {
            true => it.framed.fill(),
            false => Ok(()),
        });
        if end.is_err() || it.framed.next_length().is_some_and(|it| it > MAX_QUERY) {
            self.hang_up(serial);
            return;
        }
        while let Some(it) = self.connections.get_mut(&serial)
            && it.open < MAX_PIPELINE
            && let Some(bytes) = it.framed.take()
        {
            it.idle = now.saturating_add(IDLE);
            self.checked(
                check(&bytes),
                Origin::Connection { serial, room },
                servers,
                now,
            );
        }
    }

    /// A connection is over, and with it its questions.
    fn hang_up(&mut self, gone: u64) {
        self.connections.remove(&gone);
        let stays =
            |it: &Ask| !matches!(it.origin, Origin::Connection { serial, .. } if serial == gone);
        self.asks.retain(|_, it| stays(it));
    }

    fn serial(&mut self) -> u64 {
        self.serial = self.serial.wrapping_add(1);
        self.serial
    }
}

fn datagrams(address: SocketAddr) -> io::Result<UdpSocket> {
    bound(address, SockType::Datagram).map(UdpSocket::from)
}

fn connections(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound(address, SockType::Stream)?;
    listen(&socket, Backlog::new(64)?)?;
    Ok(TcpListener::from(socket))
}

fn bound(address: SocketAddr, kind: SockType) -> io::Result<std::os::fd::OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(family, kind, flags, None)?;
    if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    if kind == SockType::Stream {
        // A program that was killed and started anew listens at once.
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(socket)
}

#[cfg(test)]
mod tests;
