//! What the program of `sys://net` reports of the network that the machine is on. Its text is what follows the verb `net`:
//!
//! ```text
//! report = card SP state / "dns" SP ( "none" / "dead" / address *3( SP address ) )
//! state  = "no-carrier" / "asking" / "no-answer" / "conflict" SP ipv4
//!        / "lease" SP ipv4 "/" prefix SP "via" SP ( ipv4 / "none" ) SP "mtu" SP number SP "from" SP ipv4 SP "for" SP seconds
//! card   = 1*15( a-z / 0-9 )
//! ```
//!
//! A value is taken only in the spelling in which it is shown, so that one report has one text. Whether a lease makes sense is
//! another question, which [`Lease::check`] answers before anything is set.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The net of the rooms that go through `sys://net`, with the address of the machine's end. It is meant for benchmarks (RFC 2544),
/// so that no ordinary network has it.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// How many bits of [`GATEWAY`] all rooms share.
pub const ROOMS_PREFIX: u8 = 16;
/// As [`GATEWAY`] of IPv6, whose rooms share the first half: a net for one place (RFC 4193).
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfd62, 0x6179, 0x30, 0, 0, 0, 0, 1);
/// Lengths of packets, in bytes, that a lease may have beside 0.
pub const MTUS: RangeInclusive<u16> = 576..=9000;
/// Most name servers that are reported.
const MAX_SERVERS: usize = 4;
/// Longest name of a card, in bytes (`IFNAMSIZ` without its end).
const MAX_CARD: usize = 15;

/// The addresses of the room of this number, from 1 on: it stands behind the gateway's.
pub fn addresses(number: u16) -> (Ipv4Addr, Ipv6Addr) {
    let own = GATEWAY.to_bits().saturating_add(number.into());
    let own6 = GATEWAY6.to_bits().saturating_add(number.into());
    (Ipv4Addr::from_bits(own), Ipv6Addr::from_bits(own6))
}

/// A card's name as the kernel has it, of lower-case letters and digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card(String);

impl Card {
    /// The card of this name; none if it is no name of a card.
    pub fn parse(name: &str) -> Option<Card> {
        let letters = name.bytes();
        let mut odd = letters.filter(|it| !matches!(it, b'a'..=b'z' | b'0'..=b'9'));
        let good = (1..=MAX_CARD).contains(&name.len()) && odd.next().is_none();
        // It would be a report about names.
        (good && name != "dns").then(|| Card(name.to_owned()))
    }
}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a DHCP server has given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The card's address.
    pub address: Ipv4Addr,
    /// How many bits of it the card's network shares.
    pub prefix: u8,
    /// The way to everything else.
    pub router: Option<Ipv4Addr>,
    /// Longest packet, in bytes; 0: Ethernet's, 1500, as with less than IPv6 takes, 1280.
    pub mtu: u16,
    /// Who gave it.
    pub server: Ipv4Addr,
    /// How long it holds, from when it was reported.
    pub seconds: u32,
}

/// Why a lease is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadLease {
    /// No machine can have the address there.
    Address,
    /// No network is that wide or that narrow.
    Prefix,
    /// The router is not on the card's network, or is the machine itself.
    Router,
    /// No packet of the internet fits, or no card sends it.
    Mtu,
    /// The card would be on the net of the rooms.
    Rooms,
}

impl fmt::Display for BadLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "no machine can have that address",
            Self::Prefix => "no network is that wide or that narrow",
            Self::Router => "its router is not on that network",
            Self::Mtu => "its MTU is not of 576 to 9000 bytes",
            Self::Rooms => "it overlaps the net of the rooms, 198.18.0.0/16",
        })
    }
}

impl Lease {
    /// All of it but how long it holds, which nothing has to be set for.
    pub fn figures(&self) -> Lease {
        Lease {
            seconds: 0,
            ..*self
        }
    }

    /// Whether it can be set: a plausible address, prefix, router on the link, MTU (RFC 2131, RFC 1122, RFC 791).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), BadLease> {
        let at = |prefix: u8| u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into()));
        let mask = at(self.prefix).filter(|_| (8..=32).contains(&self.prefix));
        let mask = mask.ok_or(BadLease::Prefix)?;
        let is_host = |it: Ipv4Addr| {
            let (rest, first) = (it.to_bits() & !mask, it.octets()[0]);
            // A network of one or two has no address for itself and none for all (RFC 3021).
            let special = self.prefix < 31 && (rest == 0 || rest == !mask);
            !special && (1..224).contains(&first) && !it.is_loopback()
        };
        let together = mask & at(ROOMS_PREFIX).unwrap_or(0);
        let rooms = (self.address.to_bits() ^ GATEWAY.to_bits()) & together == 0;
        let on_link = |it: Ipv4Addr| (it.to_bits() ^ self.address.to_bits()) & mask == 0;
        let good = |it: Ipv4Addr| it != self.address && on_link(it) && is_host(it);
        match self {
            _ if !is_host(self.address) => Err(BadLease::Address),
            _ if rooms => Err(BadLease::Rooms),
            _ if !self.router.is_none_or(good) => Err(BadLease::Router),
            _ if self.mtu != 0 && !MTUS.contains(&self.mtu) => Err(BadLease::Mtu),
            _ => Ok(()),
        }
    }
}

/// How a card is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CardState {
    /// No cable, or nobody at its other end.
    NoCarrier,
    /// It asks for an address.
    Asking,
    /// It asks on, and nobody has answered for a while.
    NoAnswer,
    /// Somebody else has the address that it was given; it asks for another.
    Conflict(Ipv4Addr),
    /// It has an address.
    Lease(Lease),
}

/// How names are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// Nobody is known who could be asked.
    None,
    /// Those who are known do not answer.
    Dead,
    /// By these, the first one that answers; one to four.
    By(Vec<IpAddr>),
}

/// One report: the newest of its kind holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Of a card.
    Card(Card, CardState),
    /// Of names.
    Names(Names),
}

impl Report {
    /// Reads the text of a report; none if it is none.
    pub fn parse(text: &str) -> Option<Report> {
        let (who, rest) = text.split_once(' ')?;
        if who == "dns" {
            return Names::parse(rest).map(Report::Names);
        }
        let words: Vec<&str> = rest.split(' ').collect();
        let state = match words.as_slice() {
            ["no-carrier"] => CardState::NoCarrier,
            ["asking"] => CardState::Asking,
            ["no-answer"] => CardState::NoAnswer,
            ["conflict", address] => CardState::Conflict(exact(address)?),
            [
                "lease",
                net,
                "via",
                router,
                "mtu",
                mtu,
                "from",
                server,
                "for",
                seconds,
            ] => {
                let (address, prefix) = net.split_once('/')?;
                CardState::Lease(Lease {
                    address: exact(address)?,
                    prefix: exact(prefix)?,
                    router: match *router {
                        "none" => None,
                        router => Some(exact(router)?),
                    },
                    mtu: exact(mtu)?,
                    server: exact(server)?,
                    seconds: exact(seconds)?,
                })
            }
            _ => return None,
        };
        Some(Report::Card(Card::parse(who)?, state))
    }
}

impl Names {
    fn parse(text: &str) -> Option<Names> {
        let servers = |text: &str| text.split(' ').map(exact).collect::<Option<Vec<IpAddr>>>();
        match text {
            "none" => Some(Names::None),
            "dead" => Some(Names::Dead),
            text => servers(text)
                .filter(|it| it.len() <= MAX_SERVERS)
                .map(Names::By),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Card(card, state) => write!(f, "{card} {state}"),
            Self::Names(names) => write!(f, "dns{names}"),
        }
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str(" none"),
            Self::Dead => f.write_str(" dead"),
            Self::By(servers) => servers.iter().try_for_each(|it| write!(f, " {it}")),
        }
    }
}

impl fmt::Display for CardState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCarrier => f.write_str("no-carrier"),
            Self::Asking => f.write_str("asking"),
            Self::NoAnswer => f.write_str("no-answer"),
            Self::Conflict(address) => write!(f, "conflict {address}"),
            Self::Lease(lease) => {
                write!(f, "lease {}/{} via ", lease.address, lease.prefix)?;
                match lease.router {
                    Some(router) => write!(f, "{router}")?,
                    None => f.write_str("none")?,
                }
                let (mtu, server, seconds) = (lease.mtu, lease.server, lease.seconds);
                write!(f, " mtu {mtu} from {server} for {seconds}")
            }
        }
    }
}

/// A value in the spelling in which it is shown.
fn exact<T: FromStr + ToString>(text: &str) -> Option<T> {
    let value = text.parse().ok();
    value.filter(|value: &T| value.to_string() == text)
}

#[cfg(test)]
mod tests;
