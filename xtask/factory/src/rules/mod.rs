//! The rule set of `sys://net`: table `inet bay0`, made of all policies, as the bytes of one netlink batch that PID 1 sends as it is.
//!
//! A room is known by its end of the cable, `roomN`, and by its address. Whatever stands in a rule is in it whether the room runs or
//! not: no rule is added or taken away while the machine runs.
//!
//! | chain | of | does |
//! | --- | --- | --- |
//! | `prerouting` | nat | leases to the gateway, published ports to their rooms |
//! | `postrouting` | nat | what comes from rooms leaves with the card's address |
//! | `forward` | all that passes | rates; connections that are known; source; no room to another; connections, egress, published ports |
//! | `input` | all that ends in `sys://net` | names and echo for rooms; leases and neighbours for cards |
//! | `roomN` | from one room | another source than its own is lost |
//! | `upN`, `downN` | from and to one room | what is over its rate is lost |
//! | `manyN` | new connections of one room, both ways | over its number they are lost |
//! | `egressK` | new connections outwards | accepted where the networks of the field hold the destination |
//! | `local` | from rooms to `sys://net` | names, echo |
//!
//! Fragments are put together before any rule (nf_defrag). What belongs to no connection is lost.
//!
//! Most packets belong to a connection that was let through: they meet as few rules as is safe. Its source is what makes a packet part
//! of it, so the source comes first: `rp_filter` of the kernel's routing, 1 on each `roomN` (bay0-persona/src/link.rs), has dropped
//! IPv4 with another room's source before `forward`; IPv6 has nothing like it, and meets its `roomN` first. An error about a
//! connection (state `related`) may come from anybody: it waits for the wall between rooms.
mod wire;

use std::net::Ipv4Addr;

use ipnet::IpNet;

use bay0_persona::net::{GATEWAY, GATEWAY6, ROOMS_PREFIX, addresses};

use crate::policy::{Egress, Policies, Port, Protocol, UNLIMITED, VIA};
use wire::{ADDRESS_V4, ADDRESS_V6, ICMP, ICMPV6, INTERFACE, TCP, UDP};
use wire::{Element, Family, Field, Hook, IN, Is, KIND, OUT, STATE, STATUS, Table, Verdict, rule};

const TABLE: &str = "bay0";
/// What the name of a room's cable begins with, its number behind it.
const CABLE: &[u8] = b"room";
const BROADCAST: [u8; 4] = [255; 4];
/// The port of DHCP's client (RFC 2131), and that of names.
const LEASE: u16 = 68;
const NAMES: u16 = 53;
/// Bits of the state and the status of a connection.
const INVALID: u32 = 1;
const ESTABLISHED: u32 = 2;
const KNOWN: u32 = ESTABLISHED | 4;
const TRANSLATED: u32 = 1 << 5;
/// Messages of ICMP and ICMPv6.
const ECHO: u8 = 8;
const ECHO_V6: u8 = 128;
const LISTENERS: u8 = 130;
const ROUTER: u8 = 134;
const NEIGHBOURS: [u8; 2] = [135, 136];
/// Echo and refusals a second, for all rooms together.
const SELDOM: u64 = 64;
/// Least bytes at once: the largest packet that a cable hands over.
const LEAST_BURST: u64 = 1 << 16;
/// Part of a second whose bytes may come at once.
const BURST_PART: u64 = 4;
/// Maps of the rooms whose rate is held, and whose cable is looked up there.
const RATES: [(&str, Field); 2] = [("up", IN), ("down", OUT)];
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// One room with a way through `sys://net`.
struct Room<'a> {
    number: u16,
    rate: u64,
    connections: u32,
    publish: Vec<Port>,
    egress: &'a Egress,
}

impl Room<'_> {
    fn cable(&self) -> String {
        format!("room{}", self.number)
    }

    fn address(&self, family: Family) -> Vec<u8> {
        let (v4, v6) = addresses(self.number);
        match family {
            Family::V4 => v4.octets().to_vec(),
            Family::V6 => v6.octets().to_vec(),
        }
    }

    /// Bytes at once, where its rate is held.
    fn burst(&self) -> Option<u32> {
        let burst = (self.rate / BURST_PART).max(LEAST_BURST);
        (self.rate < UNLIMITED).then(|| u32::try_from(burst).unwrap_or(u32::MAX))
    }
}

/// The bytes of the batch.
pub fn batch(policies: &Policies) -> Vec<u8> {
    let rooms = rooms(policies);
    let mut table = Table::new(TABLE);
    for room in &rooms {
        of_room(&mut table, room);
    }
    let destinations = egress(&mut table, &rooms);
    let jump = |name: &str, room: &Room<'_>| Verdict::Jump(format!("{name}{}", room.number));
    let all = rooms.iter();
    maps(
        &mut table,
        "from",
        all.clone().map(|it| (it, jump("room", it))),
    );
    maps(
        &mut table,
        "many",
        all.clone().map(|it| (it, jump("many", it))),
    );
    let held: Vec<_> = all.clone().filter(|room| room.burst().is_some()).collect();
    let rates = if held.is_empty() { &[][..] } else { &RATES };
    for (name, _) in rates {
        let held = held.iter().copied();
        maps(&mut table, name, held.map(|it| (it, jump(name, it))));
    }
    let reach = all.zip(destinations);
    let reach = reach.filter_map(|(room, verdict)| Some((room, verdict?)));
    maps(&mut table, "egress", reach);
    translate(&mut table, &rooms);
    forward(&mut table, rates);
    input(&mut table, rates);
    table.end()
}

/// Rooms with that way, each with its number among all policies in the order of their names.
fn rooms(policies: &Policies) -> Vec<Room<'_>> {
    let mut all: Vec<_> = policies
        .iter()
        .map(|(name, policy)| (name.to_string(), &policy.grant))
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    let via = (1..)
        .zip(all)
        .filter(|(_, (_, grant))| grant.network == VIA);
    via.map(|(number, (_, grant))| Room {
        number,
        rate: grant.traffic.rate,
        connections: u32::try_from(grant.traffic.connections).unwrap_or(u32::MAX),
        publish: grant.publish.iter().copied().collect(),
        egress: &grant.egress,
    })
    .collect()
}

/// Its counters and its chains.
fn of_room(table: &mut Table, room: &Room<'_>) {
    let n = room.number;
    let (many, rate) = (format!("conn{n}"), format!("rate{n}"));
    let (from, connections) = (&room.cable(), &format!("many{n}"));
    table.counter(&many);
    table.counter(&rate);
    table.chain(from, None);
    for family in FAMILIES {
        let own = room.address(family);
        let other = rule().address(family, family.source(), Is::Not, &own);
        table.rule(from, other.then(&Verdict::Drop));
    }
    if let Some(burst) = room.burst() {
        for (name, _) in RATES {
            let chain = format!("{name}{n}");
            table.chain(&chain, None);
            let over = rule().over(room.rate, burst).counter(&rate);
            table.rule(&chain, over.then(&Verdict::Drop));
        }
    }
    table.chain(connections, None);
    let over = rule().crowd(room.connections).counter(&many);
    table.rule(connections, over.then(&Verdict::Drop));
}

/// What becomes of a new connection of each room, nothing where it reaches nobody; rooms that reach the same have one chain.
fn egress(table: &mut Table, rooms: &[Room<'_>]) -> Vec<Option<Verdict>> {
    let mut made: Vec<&Egress> = Vec::new();
    let mut verdicts = Vec::new();
    for room in rooms {
        if room.egress.nets().is_empty() || *room.egress == Egress::anywhere() {
            let all = !room.egress.nets().is_empty();
            verdicts.push(all.then_some(Verdict::Accept));
            continue;
        }
        let at = made.iter().position(|egress| *egress == room.egress);
        let at = at.unwrap_or_else(|| {
            made.push(room.egress);
            destinations(table, made.len(), room.egress);
            made.len() - 1
        });
        verdicts.push(Some(Verdict::Jump(format!("egress{}", at + 1))));
    }
    verdicts
}

/// The chain of these networks, and their sets.
fn destinations(table: &mut Table, number: usize, egress: &Egress) {
    let chain = format!("egress{number}");
    let mut rules = Vec::new();
    for (family, key) in [(Family::V4, ADDRESS_V4), (Family::V6, ADDRESS_V6)] {
        let elements = intervals(family, egress.nets());
        if !elements.is_empty() {
            let set = format!("{chain}v{}", if family == Family::V4 { 4 } else { 6 });
            table.set(&set, key, &elements);
            let held = rule().family(family).within(family.destination(), &set);
            rules.push(held.then(&Verdict::Accept));
        }
    }
    table.chain(&chain, None);
    rules.into_iter().for_each(|it| table.rule(&chain, it));
}

/// The borders of the networks of one family, those that touch joined; the space before the first one ends at address 0.
fn intervals(family: Family, nets: &[IpNet]) -> Vec<Element> {
    let mut ranges: Vec<(u128, u128)> = Vec::new();
    for net in nets {
        let (first, last) = match net {
            IpNet::V4(net) if family == Family::V4 => {
                let number = |address: Ipv4Addr| u128::from(u32::from(address));
                (number(net.network()), number(net.broadcast()))
            }
            IpNet::V6(net) if family == Family::V6 => {
                (net.network().into(), net.broadcast().into())
            }
            _ => continue,
        };
        match ranges
            .last_mut()
            .filter(|range| range.1.checked_add(1) == Some(first))
        {
            Some(range) => range.1 = last,
            None => ranges.push((first, last)),
        }
    }
    let (bytes, most) = match family {
        Family::V4 => (4, u128::from(u32::MAX)),
        Family::V6 => (16, u128::MAX),
    };
    let border = |number: u128, end| Element {
        key: number.to_be_bytes()[16 - bytes..].to_vec(),
        verdict: None,
        end,
    };
    let before = ranges.first().filter(|range| range.0 > 0);
    let mut elements: Vec<_> = before.map(|_| border(0, true)).into_iter().collect();
    for (first, last) in ranges {
        elements.push(border(first, false));
        if last < most {
            elements.push(border(last + 1, true));
        }
    }
    elements
}

/// A map of cables, if it has any.
fn maps<'a>(table: &mut Table, name: &str, rooms: impl Iterator<Item = (&'a Room<'a>, Verdict)>) {
    let element = |(room, verdict): (&Room<'_>, Verdict)| {
        let mut key = room.cable().into_bytes();
        key.resize(16, 0);
        Element {
            key,
            verdict: Some(verdict),
            end: false,
        }
    };
    let elements: Vec<_> = rooms.map(element).collect();
    // A map without elements would be a set to the kernel; one that nobody is in decides nothing.
    let nobody = || Element {
        key: vec![0; 16],
        verdict: Some(Verdict::Drop),
        end: false,
    };
    let elements = if elements.is_empty() {
        vec![nobody()]
    } else {
        elements
    };
    table.set(name, INTERFACE, &elements);
}

fn hook(kind: &'static str, number: u32, priority: i32, policy: u32) -> Hook {
    Hook {
        kind,
        number,
        priority,
        policy,
    }
}

fn cable(field: Field, is: Is) -> wire::Rule {
    rule().field(field, is, CABLE)
}

/// Leases and published ports in, everything of rooms out.
fn translate(table: &mut Table, rooms: &[Room<'_>]) {
    let chain = "prerouting";
    table.chain(chain, Some(&hook("nat", 0, -100, 1)));
    table.rule(chain, cable(IN, Is::Equal).then(&Verdict::Accept));
    let broad = rule().field(KIND, Is::Not, &[0]);
    table.rule(chain, broad.then(&Verdict::Accept));
    let (v4, gateway) = (Family::V4, GATEWAY.octets());
    let lease = rule().address(v4, v4.destination(), Is::Not, &BROADCAST);
    let lease = lease.port(UDP, LEASE);
    table.rule(chain, lease.destination(v4, &gateway, None).done());
    for room in rooms {
        for port in &room.publish {
            let protocol = match port.protocol {
                Protocol::Tcp => TCP,
                Protocol::Udp => UDP,
            };
            for family in FAMILIES {
                let published = rule().family(family).port(protocol, port.machine);
                let (to, inner) = (room.address(family), Some(port.room));
                table.rule(chain, published.destination(family, &to, inner).done());
            }
        }
    }
    let chain = "postrouting";
    table.chain(chain, Some(&hook("nat", 4, 100, 1)));
    for (family, net) in nets() {
        let ours = cable(OUT, Is::Not).address(family, family.source(), Is::Equal, &net);
        table.rule(chain, ours.masquerade().done());
    }
}

/// The nets of the rooms: 198.18.0.0/16 and fd62:6179:30::/64.
fn nets() -> [(Family, Vec<u8>); 2] {
    let v4 = &GATEWAY.octets()[..usize::from(ROOMS_PREFIX / 8)];
    let v6 = &GATEWAY6.octets()[..8];
    [(Family::V4, v4.to_vec()), (Family::V6, v6.to_vec())]
}

/// What passes between cables and cards.
fn forward(table: &mut Table, rates: &[(&str, Field)]) {
    let chain = "forward";
    table.chain(chain, Some(&hook("filter", 2, 0, 0)));
    table.rule(chain, rule().syn().clamp().done());
    for (map, cable) in rates {
        table.rule(chain, rule().map(*cable, map).done());
    }
    // Nobody outside has an address of a room. Cards have no rp_filter: before what is known.
    let forged = |(family, net): (Family, Vec<u8>)| {
        let it = rule().address(family, family.source(), Is::Equal, &net);
        it.field(IN, Is::Not, CABLE).then(&Verdict::Drop)
    };
    let [v4, v6] = nets();
    table.rule(chain, forged(v4));
    established(table, chain);
    table.rule(chain, forged(v6));
    table.rule(chain, rule().map(IN, "from").done());
    let v6 = rule().ct(STATE, ESTABLISHED);
    table.rule(chain, v6.then(&Verdict::Accept));
    let between = cable(IN, Is::Equal).field(OUT, Is::Equal, CABLE);
    table.rule(chain, between.then(&Verdict::Drop));
    for (family, net) in nets() {
        // Addresses of rooms that do not run are nowhere else.
        let absent = cable(IN, Is::Equal).address(family, family.destination(), Is::Equal, &net);
        table.rule(chain, absent.then(&Verdict::Drop));
    }
    known(table, chain);
    table.rule(chain, rule().map(IN, "many").done());
    table.rule(chain, rule().map(IN, "egress").done());
    table.rule(chain, rule().ct(STATUS, TRANSLATED).map(OUT, "many").done());
    let published = rule().ct(STATUS, TRANSLATED).field(OUT, Is::Equal, CABLE);
    table.rule(chain, published.then(&Verdict::Accept));
    table.rule(chain, cable(IN, Is::Equal).seldom(SELDOM).refuse());
}

/// IPv4 of a connection that was let through: rp_filter has seen its source.
fn established(table: &mut Table, chain: &str) {
    let it = rule().family(Family::V4).ct(STATE, ESTABLISHED);
    table.rule(chain, it.then(&Verdict::Accept));
}

/// No connection, or one that was let through, or an error about one.
fn known(table: &mut Table, chain: &str) {
    table.rule(chain, rule().ct(STATE, INVALID).then(&Verdict::Drop));
    table.rule(chain, rule().ct(STATE, KNOWN).then(&Verdict::Accept));
}

/// What ends in `sys://net`.
fn input(table: &mut Table, rates: &[(&str, Field)]) {
    let chain = "local";
    table.chain(chain, None);
    for protocol in [UDP, TCP] {
        let v4 = Family::V4;
        let names = rule().address(v4, v4.destination(), Is::Equal, &GATEWAY.octets());
        table.rule(chain, names.port(protocol, NAMES).then(&Verdict::Accept));
    }
    for (protocol, echo) in [(ICMP, ECHO), (ICMPV6, ECHO_V6)] {
        let echo = rule().icmp(protocol, echo).seldom(SELDOM);
        table.rule(chain, echo.then(&Verdict::Accept));
    }
    table.rule(chain, rule().seldom(SELDOM).refuse());
    table.rule(chain, rule().then(&Verdict::Drop));

    let chain = "input";
    table.chain(chain, Some(&hook("filter", 1, 0, 0)));
    let mut loopback = b"lo".to_vec();
    loopback.resize(16, 0);
    let own = rule().field(IN, Is::Equal, &loopback);
    table.rule(chain, own.then(&Verdict::Accept));
    for kind in NEIGHBOURS {
        let neighbour = rule().icmp(ICMPV6, kind);
        table.rule(chain, neighbour.then(&Verdict::Accept));
    }
    for (map, cable) in rates.iter().filter(|it| it.0 == "up") {
        table.rule(chain, rule().map(*cable, map).done());
    }
    established(table, chain);
    table.rule(chain, rule().map(IN, "from").done());
    known(table, chain);
    table.rule(chain, rule().map(IN, "many").done());
    let rooms = cable(IN, Is::Equal);
    table.rule(chain, rooms.then(&Verdict::Jump("local".into())));
    table.rule(chain, rule().port(UDP, LEASE).then(&Verdict::Accept));
    for kind in [LISTENERS, ROUTER] {
        let card = rule().icmp(ICMPV6, kind);
        table.rule(chain, card.then(&Verdict::Accept));
    }
}

#[cfg(test)]
mod tests;
