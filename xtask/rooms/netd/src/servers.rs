//! Who is asked for names: servers of the policy, or else those of leases and of router announcements; in which order; and
//! whether any answers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use bay0_umbilical::net::Names;

use crate::links::{Announced, can_serve};

/// Servers that are asked, and reported.
pub const MAX_SERVERS: usize = 4;
/// Servers that routers on one link may name.
const MAX_ANNOUNCED: usize = 8;
/// Port of DNS (RFC 1035).
const PORT: u16 = 53;

/// All who could be asked.
#[derive(Default)]
pub struct Servers {
    fixed: Vec<IpAddr>,
    leased: BTreeMap<u32, Vec<Ipv4Addr>>,
    announced: BTreeMap<u32, Vec<Until>>,
    /// Who is asked, in order.
    list: Vec<SocketAddr>,
    /// Who answered last.
    answers: Option<SocketAddr>,
    last: Duration,
    dead: bool,
}

struct Until {
    server: Ipv6Addr,
    end: Duration,
}

impl Servers {
    /// These of the policy and no others; none: those of the networks.
    pub fn new(fixed: Vec<IpAddr>) -> Servers {
        let mut servers = Servers {
            fixed,
            ..Servers::default()
        };
        servers.gather();
        servers
    }

    /// The servers of a card's lease; empty: it has none.
    pub fn lease(&mut self, index: u32, names: &[Ipv4Addr]) {
        if names.is_empty() {
            self.leased.remove(&index);
        } else {
            self.leased.insert(index, names.to_vec());
        }
        self.gather();
    }

    /// The servers that a router on a card's link names.
    pub fn announce(&mut self, it: Announced, now: Duration) {
        let list = self.announced.entry(it.index).or_default();
        list.retain(|old| !it.servers.contains(&old.server) && old.end > now);
        let end = now.saturating_add(it.lifetime);
        let new = it.servers.into_iter().filter(|_| !it.lifetime.is_zero());
        list.extend(new.map(|server| Until { server, end }));
        list.truncate(MAX_ANNOUNCED);
        self.gather();
    }

    /// A link is no longer there, or without carrier.
    pub fn forget(&mut self, index: u32) {
        self.leased.remove(&index);
        self.announced.remove(&index);
        self.gather();
    }

    /// When the next announcement is over.
    pub fn wake(&self) -> Option<Duration> {
        self.announced.values().flatten().map(|it| it.end).min()
    }

    /// Drops announcements that are over.
    pub fn expire(&mut self, now: Duration) {
        if self.wake().is_none_or(|at| at > now) {
            return;
        }
        for list in self.announced.values_mut() {
            list.retain(|it| it.end > now);
        }
        self.announced.retain(|_, list| !list.is_empty());
        self.gather();
    }

    fn gather(&mut self) {
        let v4 = |it: &Ipv4Addr| SocketAddr::from((*it, PORT));
        let leased = self.leased.values().flatten().map(v4);
        let announced = self.announced.iter().flat_map(|(index, list)| {
            list.iter().map(|it| {
                // Only such an address needs its link (RFC 4007).
                let scope = if it.server.is_unicast_link_local() {
                    *index
                } else {
                    0
                };
                SocketAddr::from(SocketAddrV6::new(it.server, PORT, 0, scope))
            })
        });
        let fixed = self.fixed.iter().map(|it| SocketAddr::from((*it, PORT)));
        let all: Vec<SocketAddr> = match self.fixed.is_empty() {
            true => leased.chain(announced).collect(),
            false => fixed.collect(),
        };
        let mut list: Vec<SocketAddr> = Vec::new();
        for server in all {
            if can_serve(server.ip()) && !list.contains(&server) && list.len() < MAX_SERVERS {
                list.push(server);
            }
        }
        // Others may live.
        self.dead &= list == self.list;
        self.answers = self.answers.filter(|it| list.contains(it));
        self.list = list;
    }

    /// Whom to ask after so many tries: first who answered last, then the others in order.
    pub fn choose(&self, tries: usize) -> Option<SocketAddr> {
        let first = self
            .answers
            .and_then(|it| self.list.iter().position(|at| *at == it));
        let place = first.unwrap_or(0).checked_add(tries)?;
        self.list.get(place.checked_rem(self.list.len())?).copied()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// This one has answered.
    pub fn answered(&mut self, server: SocketAddr, now: Duration) {
        if self.list.contains(&server) {
            self.answers = Some(server);
            self.dead = false;
            self.last = now;
        }
    }

    /// None has answered a question that was asked `since` then. They are dead if none has answered another one meanwhile.
    pub fn silent(&mut self, since: Duration) {
        if self.answers.is_none() || self.last < since {
            self.answers = None;
            self.dead = !self.list.is_empty();
        }
    }

    /// What is reported.
    pub fn names(&self) -> Names {
        match self.list.as_slice() {
            [] => Names::None,
            _ if self.dead => Names::Dead,
            list => Names::By(list.iter().map(SocketAddr::ip).collect()),
        }
    }
}

#[cfg(test)]
mod tests;
