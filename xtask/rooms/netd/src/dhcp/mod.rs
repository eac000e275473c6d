//! DHCPv4 for one card: a client (RFC 2131 §4.4) that is told what has happened and returns what is to be done. It opens no socket and reads no
//! clock, so that each cell of its table is a test.
//!
//! | state | carrier | offer | ack | nak | time | occupied | refused | no carrier |
//! | --- | --- | --- | --- | --- | --- | --- | --- | --- |
//! | Down | Rebooting, or Selecting | - | - | - | - | - | - | - |
//! | Selecting | - | Requesting | - | - | asks again | - | - | Down |
//! | Requesting | - | - | Checking | Selecting | asks again; Selecting after 4 | - | - | Down |
//! | Rebooting | - | - | Checking | Selecting | asks again; Selecting after 2 | - | - | Down |
//! | Checking | - | - | - | - | Bound | Waiting | - | Down |
//! | Bound | - | - | - | - | Renewing at T1 | Waiting | Waiting | Down |
//! | Renewing | - | - | Bound | Selecting | asks again; Rebinding at T2 | Waiting | Waiting | Down |
//! | Rebinding | - | - | Bound | Selecting | asks again; Selecting at its end | Waiting | Waiting | Down |
//! | Waiting | - | - | - | - | Selecting | - | - | Down |
//!
//! An ACK is of the address that was asked for; of another one it is a NAK to Rebooting, and nothing to the others.
//! *Occupied*: another machine answers at the address. Nobody needs a packet socket for that: a datagram to the address makes the
//! kernel ask for it on the link (ARP), and its neighbour table shows, without a right, whether somebody is there (`rtnetlink(7)`, RTM_NEWNEIGH).
//! *Refused*: PID 1 did not set the address. From both the server gets a DECLINE, and the client waits 10 s (RFC 2131 §3.1.5).

pub mod message;

use std::net::Ipv4Addr;
use std::time::Duration;

use bay0_umbilical::net::{CardState, Lease};
use message::{Answer, Kind, Mac, Terms, Wish, encode};

/// So long the link is asked whether the address is free. A machine on it answers within some milliseconds.
pub const CHECK: Duration = Duration::from_millis(200);
/// From a DECLINE to the next DISCOVER (RFC 2131 §3.1.5).
pub const WAIT: Duration = Duration::from_secs(10);
/// How long a card that has just come may take until both ends of its cable have agreed; a copper link takes three seconds.
const NEGOTIATION: Duration = Duration::from_secs(5);
/// When asking without an answer is reported.
pub const SILENCE: Duration = Duration::from_secs(10);
/// The first wait for an answer; each one after it is twice as long, give or take a quarter.
const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(64);
/// Least wait between two requests of one who has an address (RFC 2131 §4.4.5).
const CALM: Duration = Duration::from_secs(60);
const REQUESTS: u32 = 4;
const REBOOTS: u32 = 2;

/// What has happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A cable is in, and somebody at its other end.
    Carrier,
    /// Or no longer.
    NoCarrier,
    /// A server's message.
    Answer(Answer),
    /// [`Client::wake`] has come.
    Time,
    /// Another machine answers at this address.
    Occupied(Ipv4Addr),
    /// PID 1 has not set the lease; true: because another machine has the address.
    Refused(bool),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this message.
    Send(To, Vec<u8>),
    /// Send an empty datagram to this address.
    Probe(Ipv4Addr),
    /// Report this.
    Report(CardState),
}

/// Where a message goes, port 67.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// All on the link.
    All,
    /// This server.
    Server(Ipv4Addr),
}

/// A message that wants an answer.
#[derive(Clone, Debug)]
struct Exchange {
    xid: u32,
    begun: Duration,
    sent: Duration,
    tries: u32,
    next: Duration,
}

/// A lease and its ends, in the client's time.
#[derive(Clone, Debug)]
struct Held {
    terms: Terms,
    renew: Duration,
    rebind: Duration,
    end: Duration,
}

#[derive(Clone, Debug)]
enum State {
    Down(Option<Held>),
    Selecting(Exchange),
    Requesting(Exchange, Terms),
    Rebooting(Exchange, Held),
    Checking(Held, Duration),
    Bound(Held),
    Renewing(Exchange, Held),
    Rebinding(Exchange, Held),
    Waiting(Duration),
}

/// The client of one card.
pub struct Client {
    mac: Mac,
    state: State,
    /// Since when it asks for an address, and whether its silence was reported.
    asking: Option<(Duration, bool)>,
    /// When it is reported that a card that has just come has no carrier.
    unplugged: Option<Duration>,
    random: fn() -> u32,
}

type Actions = Vec<Action>;

impl Client {
    /// For a card without carrier, of this address. `random` need not be good.
    pub fn new(mac: Mac, random: fn() -> u32) -> Client {
        Client {
            mac,
            state: State::Down(None),
            asking: None,
            unplugged: None,
            random,
        }
    }

    /// The card's address, by which messages are known to be for it.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// Name servers of the lease that it has.
    pub fn names(&self) -> &[Ipv4Addr] {
        match &self.state {
            State::Bound(held) | State::Renewing(_, held) | State::Rebinding(_, held) => {
                &held.terms.names
            }
            _ => &[],
        }
    }

    /// When [`Event::Time`] is due.
    pub fn wake(&self) -> Option<Duration> {
        let due = match &self.state {
            State::Down(_) => None,
            State::Checking(_, until) | State::Waiting(until) => Some(*until),
            State::Selecting(it) | State::Requesting(it, _) | State::Rebooting(it, _) => {
                Some(it.next)
            }
            State::Bound(held) => Some(held.renew),
            State::Renewing(it, held) => Some(it.next.min(held.rebind)),
            State::Rebinding(it, held) => Some(it.next.min(held.end)),
        };
        let silence = match self.asking {
            Some((since, false)) => Some(since.saturating_add(SILENCE)),
            _ => None,
        };
        due.into_iter().chain(silence).chain(self.unplugged).min()
    }

    /// Takes one event, `now` by a clock that never goes back.
    #[must_use]
    pub fn step(&mut self, event: Event, now: Duration) -> Actions {
        let mut actions = match event {
            Event::Carrier => self.carrier(now),
            Event::NoCarrier => self.no_carrier(now),
            Event::Answer(answer) => self.answer(&answer, now),
            Event::Time => self.time(now),
            Event::Occupied(address) => match self.held() {
                Some(held) if held.terms.lease.address == address => self.decline(true, now),
                _ => Actions::new(),
            },
            Event::Refused(conflict) => match self.state {
                State::Checking(..) => Actions::new(),
                _ => self.decline(conflict, now),
            },
        };
        if let Some((since, silent @ false)) = &mut self.asking
            && since.saturating_add(SILENCE) <= now
        {
            *silent = true;
            actions.push(Action::Report(CardState::NoAnswer));
        }
        if self.unplugged.take_if(|due| *due <= now).is_some() {
            actions.push(Action::Report(CardState::NoCarrier));
        }
        actions
    }

    /// The lease that is in use, or about to be.
    fn held(&self) -> Option<&Held> {
        match &self.state {
            State::Checking(held, _) | State::Bound(held) => Some(held),
            State::Renewing(_, held) | State::Rebinding(_, held) => Some(held),
            _ => None,
        }
    }

    fn carrier(&mut self, now: Duration) -> Actions {
        self.unplugged = None;
        match &mut self.state {
            State::Down(last) => match last.take().filter(|held| held.end > now) {
                Some(held) => self.reboot(held, now),
                None => self.select(now),
            },
            _ => Actions::new(),
        }
    }

    fn no_carrier(&mut self, now: Duration) -> Actions {
        let last = match &self.state {
            State::Down(_) => {
                let due = now.saturating_add(NEGOTIATION);
                self.unplugged.get_or_insert(due);
                return Actions::new();
            }
            State::Rebooting(_, held) => Some(held.clone()),
            _ => self.held().cloned(),
        };
        self.state = State::Down(last);
        self.asking = None;
        vec![Action::Report(CardState::NoCarrier)]
    }

    /// Begins anew: a DISCOVER at once, and a report if it did not ask already.
    fn select(&mut self, now: Duration) -> Actions {
        let mut exchange = self.exchange(now);
        let mut actions = self.asks(now);
        actions.push(self.send(&mut exchange, Wish::Discover, now));
        self.state = State::Selecting(exchange);
        actions
    }

    fn asks(&mut self, now: Duration) -> Actions {
        match self.asking {
            Some(_) => Actions::new(),
            None => {
                self.asking = Some((now, false));
                vec![Action::Report(CardState::Asking)]
            }
        }
    }

    fn reboot(&mut self, held: Held, now: Duration) -> Actions {
        let mut exchange = self.exchange(now);
        let mut actions = self.asks(now);
        let wish = Wish::Again(held.terms.lease.address);
        actions.push(self.send(&mut exchange, wish, now));
        self.state = State::Rebooting(exchange, held);
        actions
    }

    /// An answer to the exchange that is open; everything else is no answer.
    fn answer(&mut self, answer: &Answer, now: Duration) -> Actions {
        let (xid, from) = match &self.state {
            State::Selecting(it) => (it.xid, None),
            State::Requesting(it, terms) => (it.xid, Some(terms.lease.server)),
            State::Rebooting(it, _) | State::Rebinding(it, _) => (it.xid, None),
            State::Renewing(it, held) => (it.xid, Some(held.terms.lease.server)),
            _ => return Actions::new(),
        };
        if answer.xid != xid || from.is_some_and(|it| it != answer.server) {
            return Actions::new();
        }
        match (answer.kind, &answer.terms) {
            (Kind::Offer, Some(terms)) => self.offer(terms, now),
            (Kind::Ack, Some(terms)) => self.ack(terms, now),
            (Kind::Nak, _) if !matches!(self.state, State::Selecting(_)) => self.select(now),
            _ => Actions::new(),
        }
    }

    /// The first offer that could be set is requested.
    fn offer(&mut self, terms: &Terms, now: Duration) -> Actions {
        let State::Selecting(exchange) = &self.state else {
            return Actions::new();
        };
        let Lease {
            address, server, ..
        } = terms.lease;
        let mut exchange = Exchange {
            tries: 0,
            ..exchange.clone()
        };
        let send = self.send(&mut exchange, Wish::Request { address, server }, now);
        self.state = State::Requesting(exchange, terms.clone());
        vec![send]
    }

    /// What was asked for is given: a new address is looked for on the link first.
    fn ack(&mut self, terms: &Terms, now: Duration) -> Actions {
        let (exchange, asked) = match &self.state {
            State::Requesting(it, offered) => (it, offered.lease.address),
            State::Rebooting(it, held) | State::Renewing(it, held) | State::Rebinding(it, held) => {
                (it, held.terms.lease.address)
            }
            _ => return Actions::new(),
        };
        if terms.lease.address != asked {
            return match self.state {
                // Some servers have one address, and say so by an ACK in place of a NAK.
                State::Rebooting(..) => self.select(now),
                _ => Actions::new(),
            };
        }
        let held = Held::new(terms, exchange.sent);
        if matches!(self.state, State::Renewing(..) | State::Rebinding(..)) {
            return self.bind(held, now);
        }
        self.state = State::Checking(held, now.saturating_add(CHECK));
        vec![Action::Probe(asked)]
    }

    fn bind(&mut self, held: Held, now: Duration) -> Actions {
        let left = held.end.saturating_sub(now).as_secs();
        let lease = Lease {
            seconds: u32::try_from(left).unwrap_or(u32::MAX),
            ..held.terms.lease
        };
        self.asking = None;
        self.state = State::Bound(held);
        vec![Action::Report(CardState::Lease(lease))]
    }

    fn decline(&mut self, conflict: bool, now: Duration) -> Actions {
        let Some(held) = self.held() else {
            return Actions::new();
        };
        let Lease {
            address, server, ..
        } = held.terms.lease;
        let wish = Wish::Decline { address, server };
        let bytes = encode(wish, self.mac, (self.random)(), 0);
        self.state = State::Waiting(now.saturating_add(WAIT));
        self.asking = None;
        let mut actions = vec![Action::Send(To::All, bytes)];
        actions.extend(conflict.then_some(Action::Report(CardState::Conflict(address))));
        actions
    }

    fn time(&mut self, now: Duration) -> Actions {
        match self.state.clone() {
            State::Down(_) => Actions::new(),
            State::Waiting(until) if until <= now => self.select(now),
            State::Checking(held, until) if until <= now => self.bind(held, now),
            State::Selecting(it) if it.next <= now => self.repeat(it, Wish::Discover, now),
            State::Requesting(it, terms) if it.next <= now => {
                let Lease {
                    address, server, ..
                } = terms.lease;
                self.insist(it, REQUESTS, Wish::Request { address, server }, now)
            }
            State::Rebooting(it, held) if it.next <= now => {
                let wish = Wish::Again(held.terms.lease.address);
                self.insist(it, REBOOTS, wish, now)
            }
            State::Bound(held) if held.renew <= now => {
                let exchange = self.exchange(now);
                self.renew(exchange, held, now)
            }
            State::Renewing(_, held) if held.rebind <= now => {
                let exchange = self.exchange(now);
                self.rebind(exchange, held, now)
            }
            State::Renewing(it, held) if it.next <= now => self.renew(it, held, now),
            State::Rebinding(_, held) if held.end <= now => self.select(now),
            State::Rebinding(it, held) if it.next <= now => self.rebind(it, held, now),
            _ => Actions::new(),
        }
    }

    /// Once more, or from the beginning after so many tries.
    fn insist(&mut self, exchange: Exchange, most: u32, wish: Wish, now: Duration) -> Actions {
        match exchange.tries < most {
            true => self.repeat(exchange, wish, now),
            false => self.select(now),
        }
    }

    /// The same message once more; the state stays.
    fn repeat(&mut self, mut exchange: Exchange, wish: Wish, now: Duration) -> Actions {
        let send = self.send(&mut exchange, wish, now);
        if let State::Selecting(it) | State::Requesting(it, _) | State::Rebooting(it, _) =
            &mut self.state
        {
            *it = exchange;
        }
        vec![send]
    }

    fn renew(&mut self, mut exchange: Exchange, held: Held, now: Duration) -> Actions {
        let send = self.send(&mut exchange, Wish::Renew(held.terms.lease.address), now);
        exchange.next = halfway(now, held.rebind);
        self.state = State::Renewing(exchange, held);
        vec![send]
    }

    fn rebind(&mut self, mut exchange: Exchange, held: Held, now: Duration) -> Actions {
        let send = self.send(&mut exchange, Wish::Rebind(held.terms.lease.address), now);
        exchange.next = halfway(now, held.end);
        self.state = State::Rebinding(exchange, held);
        vec![send]
    }

    fn exchange(&self, now: Duration) -> Exchange {
        Exchange {
            xid: (self.random)(),
            begun: now,
            sent: now,
            tries: 0,
            next: now,
        }
    }

    fn send(&self, exchange: &mut Exchange, wish: Wish, now: Duration) -> Action {
        exchange.next = now.saturating_add(self.pause(exchange.tries));
        exchange.tries = exchange.tries.saturating_add(1);
        exchange.sent = now;
        let seconds = now.saturating_sub(exchange.begun).as_secs();
        let seconds = u16::try_from(seconds).unwrap_or(u16::MAX);
        let to = match (wish, self.held()) {
            (Wish::Renew(_), Some(held)) => To::Server(held.terms.lease.server),
            _ => To::All,
        };
        Action::Send(to, encode(wish, self.mac, exchange.xid, seconds))
    }

    /// How long an answer is waited for after so many tries (RFC 2131 §4.1).
    fn pause(&self, tries: u32) -> Duration {
        let twice = FIRST.saturating_mul(1u32.checked_shl(tries).unwrap_or(u32::MAX));
        let wait = twice.min(LONGEST);
        // Of three quarters and up to a half more, in 256 steps.
        let more = part(part(wait, 1, 2), (self.random)() & 0xff, 256);
        part(wait, 3, 4).saturating_add(more)
    }
}

/// So many of so many parts.
fn part(it: Duration, some: u32, all: u32) -> Duration {
    let product = it.saturating_mul(some).checked_div(all);
    product.unwrap_or(it)
}

/// RFC 2131 §4.4.5: half of what is left, and no more often than once a minute.
fn halfway(now: Duration, end: Duration) -> Duration {
    let left = end.saturating_sub(now);
    now.saturating_add(part(left, 1, 2).max(CALM).min(left))
}

impl Held {
    /// All times count from when the client asked, not from when it was answered (RFC 2131 §4.4.1).
    fn new(terms: &Terms, sent: Duration) -> Held {
        let at = |seconds: u32| sent.saturating_add(Duration::from_secs(seconds.into()));
        Held {
            terms: terms.clone(),
            renew: at(terms.renew),
            rebind: at(terms.rebind),
            end: at(terms.lease.seconds),
        }
    }
}

#[cfg(test)]
mod tests;
