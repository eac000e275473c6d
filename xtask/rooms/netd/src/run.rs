//! The loop: the kernel's links, each card's DHCP, the relay, the reports.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use bay0_umbilical::client::OUTSIDE;
use bay0_umbilical::net::{Card, CardState, Names, Report};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};

use crate::command::{Failure, Options};
use crate::dhcp::message::Answer;
use crate::dhcp::{Action, Client, Event, To};
use crate::dns::relay::{Key, Relay};
use crate::links::{self, Links, MAX_CARDS, Seen};
use crate::report::{Outcome, Reports};
use crate::servers::Servers;
use crate::{log, random};

/// Ports of DHCP (RFC 2131 §4.1).
const CLIENT: u16 = 68;
const SERVER: u16 = 67;
/// Longest message that is read, in bytes: what fits into a packet.
const MESSAGE: usize = 1500;
/// Messages of one card in one turn of the loop: a flood keeps the rest no longer.
const MAX_TURN: usize = 32;
/// Packets of the kernel in one turn.
const MAX_PACKETS: usize = 64;
/// How often it is said that questions were dropped.
const SAY: Duration = Duration::from_secs(10);

/// A card with its client.
struct Port {
    card: Card,
    carrier: bool,
    client: Client,
    socket: Option<UdpSocket>,
}

/// Everything.
pub struct Daemon {
    options: Options,
    begun: Instant,
    links: Links,
    ports: BTreeMap<u32, Port>,
    relay: Relay,
    servers: Servers,
    reports: Reports,
    said: Duration,
    buffer: Vec<u8>,
}

/// What is ready.
#[derive(Clone, Copy)]
enum Ready {
    Links,
    Port(u32),
    Relay(Key),
}

impl Daemon {
    /// Opens what is waited for.
    ///
    /// # Errors
    /// What cannot be opened.
    pub fn open(options: Options) -> Result<Daemon, Failure> {
        Ok(Daemon {
            begun: Instant::now(),
            links: Links::open().map_err(Failure::Links)?,
            ports: BTreeMap::new(),
            relay: Relay::open().map_err(Failure::Port)?,
            servers: Servers::new(options.dns.clone()),
            reports: Reports::default(),
            said: Duration::ZERO,
            buffer: vec![0; MESSAGE],
            options,
        })
    }

    /// Serves for ever.
    ///
    /// # Errors
    /// The kernel cannot be waited for, or shows no links any more.
    pub fn run(mut self) -> Result<Infallible, Failure> {
        loop {
            for ready in self.wait().map_err(Failure::Poll)? {
                let now = self.now();
                match ready {
                    Ready::Links => self.links().map_err(Failure::Links)?,
                    Ready::Port(index) => self.messages(index),
                    Ready::Relay(key) => self.relay.ready(key, &mut self.servers, now),
                }
            }
            self.time();
        }
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Waits until something is ready, or due.
    fn wait(&self) -> nix::Result<Vec<Ready>> {
        let input = PollFlags::POLLIN;
        let mut keys = vec![Ready::Links];
        let mut fds = vec![PollFd::new(self.links.as_fd(), input)];
        for (index, port) in &self.ports {
            if let Some(socket) = &port.socket {
                keys.push(Ready::Port(*index));
                fds.push(PollFd::new(socket.as_fd(), input));
            }
        }
        for it in self.relay.sources() {
            keys.push(Ready::Relay(it.key));
            fds.push(PollFd::new(it.fd, it.wait));
        }
        match poll(&mut fds, self.limit()) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        let ready = keys.into_iter().zip(&fds);
        let ready = ready.filter(|(_, fd)| fd.any().unwrap_or(true));
        Ok(ready.map(|(key, _)| key).collect())
    }

    /// Until something is due, rounded up: a loop must not wait in vain.
    fn limit(&self) -> PollTimeout {
        let ports = self.ports.values().filter_map(|it| it.client.wake());
        let others = [self.relay.wake(), self.servers.wake(), self.reports.wake()];
        let due = ports.chain(others.into_iter().flatten()).min();
        let left = due.map(|it| it.saturating_sub(self.now()).as_millis().saturating_add(1));
        left.map_or(PollTimeout::NONE, |it| {
            PollTimeout::from(u16::try_from(it).unwrap_or(u16::MAX))
        })
    }

    fn links(&mut self) -> nix::Result<()> {
        for _ in 0..MAX_PACKETS {
            match self.links.receive() {
                Ok(None) => break,
                Ok(Some(events)) => events.into_iter().for_each(|it| self.link(it)),
                Err(Errno::ENOBUFS) => {
                    // A dump that is under way shows the same.
                    let _ = self.links.ask();
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn link(&mut self, event: links::Event) {
        let now = self.now();
        match event {
            links::Event::Card(seen) => self.card(seen),
            links::Event::Gone(index) => {
                if let Some(port) = self.ports.remove(&index) {
                    self.reports.forget(&port.card);
                    self.servers.forget(index);
                }
            }
            links::Event::Neighbour(index, address) => self.step(index, Event::Occupied(address)),
            links::Event::Names(it) if self.ports.contains_key(&it.index) => {
                self.servers.announce(it, now);
            }
            links::Event::Names(_) => {}
        }
    }

    /// A card as it is now.
    fn card(&mut self, seen: Seen) {
        let known = self.ports.get(&seen.index);
        let same = known.is_some_and(|it| it.card == seen.card && it.client.mac() == seen.mac);
        if !same {
            if self.ports.len() >= MAX_CARDS && known.is_none() {
                return;
            }
            let port = Port {
                card: seen.card.clone(),
                carrier: true,
                client: Client::new(seen.mac, random),
                socket: None,
            };
            self.servers.forget(seen.index);
            self.ports.insert(seen.index, port);
        }
        let Some(port) = self.ports.get_mut(&seen.index) else {
            return;
        };
        if port.socket.is_none() {
            port.socket = match listen(&seen.card) {
                Ok(socket) => Some(socket),
                Err(error) => {
                    log(&format!(
                        "{}: DHCP's port: {error}; it gets no address by DHCP",
                        seen.card
                    ));
                    None
                }
            };
        }
        let changed = !same || port.carrier != seen.carrier;
        port.carrier = seen.carrier;
        match (changed, seen.carrier) {
            (false, _) => {}
            (true, true) => self.step(seen.index, Event::Carrier),
            (true, false) => {
                self.step(seen.index, Event::NoCarrier);
                self.servers.forget(seen.index);
            }
        }
    }

    /// What a card has received.
    fn messages(&mut self, index: u32) {
        for _ in 0..MAX_TURN {
            let Some(port) = self.ports.get(&index) else {
                return;
            };
            let mac = port.client.mac();
            let received = port.socket.as_ref().map(|it| it.recv(&mut self.buffer));
            let Some(Ok(length)) = received else {
                return;
            };
            let bytes = self.buffer.get(..length).unwrap_or_default();
            if let Some(answer) = Answer::parse(bytes, mac) {
                self.step(index, Event::Answer(answer));
            }
        }
    }

    /// One event of a card's client, and all that follows.
    fn step(&mut self, index: u32, event: Event) {
        let mut event = Some(event);
        while let Some(it) = event.take() {
            let now = self.now();
            let Some(port) = self.ports.get_mut(&index) else {
                return;
            };
            let actions = port.client.step(it, now);
            let names = port.client.names().to_vec();
            self.servers.lease(index, &names);
            for action in actions {
                event = self.act(index, action).or(event);
            }
        }
    }

    fn act(&mut self, index: u32, action: Action) -> Option<Event> {
        let port = self.ports.get(&index)?;
        let report = match action {
            Action::Send(To::All, bytes) => {
                send(port, Ipv4Addr::BROADCAST, &bytes);
                return None;
            }
            Action::Send(To::Server(server), bytes) => {
                send(port, server, &bytes);
                return None;
            }
            Action::Probe(address) => {
                send(port, address, &[]);
                return None;
            }
            Action::Report(state) => Report::Card(port.card.clone(), state),
        };
        self.report(report)
    }

    /// Reports; a lease that is refused is an event for its client.
    fn report(&mut self, report: Report) -> Option<Event> {
        let lease = matches!(report, Report::Card(_, CardState::Lease(_)));
        let now = self.now();
        match self
            .reports
            .send(report, &self.options.umbilical, OUTSIDE, now)
        {
            Outcome::Refused(conflict) if lease => Some(Event::Refused(conflict)),
            _ => None,
        }
    }

    /// Everything that is due.
    fn time(&mut self) {
        let now = self.now();
        let due = |it: &Port| it.client.wake().is_some_and(|at| at <= now);
        let due: Vec<u32> = self
            .ports
            .iter()
            .filter(|(_, it)| due(it))
            .map(|(n, _)| *n)
            .collect();
        for index in due {
            self.step(index, Event::Time);
        }
        self.relay.time(&mut self.servers, now);
        self.servers.expire(now);
        for report in self.reports.due(now) {
            let card = match &report {
                Report::Card(card, _) => self.ports.iter().find(|(_, it)| it.card == *card),
                Report::Names(_) => None,
            };
            let index = card.map(|(index, _)| *index);
            if let (Some(event), Some(index)) = (self.report(report), index) {
                self.step(index, event);
            }
        }
        let names = self.servers.names();
        // That nobody names a server is no news before anybody could have.
        if names != Names::None || self.reports.is_settled() {
            self.report(Report::Names(names));
        }
        self.say(now);
    }

    fn say(&mut self, now: Duration) {
        if now.saturating_sub(self.said) < SAY {
            return;
        }
        let dropped = self.relay.dropped();
        if dropped > 0 {
            self.said = now;
            log(&format!(
                "{dropped} questions or connections of rooms dropped: too many at once"
            ));
        }
    }
}

fn send(port: &Port, to: Ipv4Addr, bytes: &[u8]) {
    if let Some(socket) = &port.socket
        && let Err(error) = socket.send_to(bytes, (to, SERVER))
    {
        log(&format!("{}: send to {to}: {error}", port.card));
    }
}

/// A socket of this card alone, which needs no address there and no right (`socket(7)`, SO_BINDTODEVICE).
fn listen(card: &Card) -> io::Result<UdpSocket> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    setsockopt(
        &socket,
        sockopt::BindToDevice,
        &OsString::from(card.to_string()),
    )?;
    setsockopt(&socket, sockopt::Broadcast, &true)?;
    let all = SocketAddr::from((Ipv4Addr::UNSPECIFIED, CLIENT));
    bind(socket.as_raw_fd(), &SockaddrStorage::from(all))?;
    Ok(UdpSocket::from(socket))
}
