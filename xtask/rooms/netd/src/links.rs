//! What the kernel shows everybody of cards, neighbours and routers: NETLINK_ROUTE, by groups that need no right (`rtnetlink(7)`).
//!
//! Router announcements with name servers (RFC 8106) come as `RTM_NEWNDUSEROPT`, which netlink-packet-route 0.34 does not have; they are
//! read here: `struct nduseroptmsg` of `linux/rtnetlink.h`, then the option as the router sent it. The kernel shows each when it
//! arrives and keeps none: who starts later waits for the next.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use bay0_umbilical::net::Card;
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket, sockopt,
};

use crate::dhcp::message::Mac;

/// RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_ND_USEROPT as bits (`linux/rtnetlink.h`).
const GROUPS: u32 = 1 | 1 << 2 | 1 << 19;
/// `linux/rtnetlink.h`.
const RTM_NEWNDUSEROPT: u16 = 68;
/// Length of `struct nlmsghdr`, and where its type stands.
const HEADER: usize = 16;
/// Length of `struct nduseroptmsg`.
const USEROPT: usize = 16;
/// Of an IPv6 router announcement, its RDNSS option (RFC 4861 §4.2, RFC 8106 §5.1).
const ROUTER_ADVERTISEMENT: u8 = 134;
const RDNSS: u8 = 25;
/// One packet of the kernel's dumps (`netlink(7)`).
const PACKET: usize = 32 * 1024;
/// What may wait in the socket, in bytes: beyond it the kernel drops, and everything is asked for again.
const QUEUE: usize = 1024 * 1024;
/// Cards that are looked at; more are left alone.
pub const MAX_CARDS: usize = 16;
/// The rooms' ends have this before their number.
const ROOM: &str = "room";

/// What has happened on the links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A card is there, as it is now.
    Card(Seen),
    /// The link of this number is gone.
    Gone(u32),
    /// Another machine has this address, on the link of this number.
    Neighbour(u32, Ipv4Addr),
    /// A router on the link of this number names servers.
    Names(Announced),
}

/// A card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The kernel's number.
    pub index: u32,
    /// Its name.
    pub card: Card,
    /// Its address.
    pub mac: Mac,
    /// Whether somebody is at the other end of the cable.
    pub carrier: bool,
}

/// Name servers of a router's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The link's number.
    pub index: u32,
    /// The servers.
    pub servers: Vec<Ipv6Addr>,
    /// How long they hold; 0: no longer.
    pub lifetime: Duration,
}

/// The socket to the kernel.
pub struct Links {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl AsFd for Links {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Links {
    /// Opens the socket and asks for all links.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open() -> nix::Result<Links> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let route = SockProtocol::NetlinkRoute;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, route)?;
        setsockopt(&socket, sockopt::RcvBuf, &QUEUE)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        let buffer = vec![0; PACKET];
        let links = Links { socket, buffer };
        links.ask()?;
        Ok(links)
    }

    /// Asks for all links; they come as [`Event::Card`].
    ///
    /// # Errors
    /// The kernel's; EBUSY while it still answers the last time.
    pub fn ask(&self) -> nix::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let ask = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(ask));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        send(self.socket.as_raw_fd(), &bytes, MsgFlags::empty()).map(drop)
    }

    /// What one packet holds; none: no more are there.
    ///
    /// # Errors
    /// The kernel's; ENOBUFS: some were dropped, [`Links::ask`] again.
    pub fn receive(&mut self) -> nix::Result<Option<Vec<Event>>> {
        let fd = self.socket.as_raw_fd();
        match recv(fd, &mut self.buffer, MsgFlags::empty()) {
            Ok(length) => Ok(Some(parse(self.buffer.get(..length).unwrap_or_default()))),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

/// All events of a packet.
pub fn parse(mut packet: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some((length, kind)) = head(packet) {
        let message = packet.get(..length).unwrap_or_default();
        events.extend(match kind {
            RTM_NEWNDUSEROPT => announced(message.get(HEADER..).unwrap_or_default()),
            _ => event(message),
        });
        // Messages stand at multiples of four.
        packet = packet.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    events
}

/// Length and type of the message that a packet begins with.
fn head(packet: &[u8]) -> Option<(usize, u16)> {
    let length = u32::from_ne_bytes(*packet.first_chunk()?);
    let length = usize::try_from(length).ok()?;
    let (kind, _) = packet.get(4..)?.split_first_chunk()?;
    let whole = (HEADER..=packet.len()).contains(&length);
    whole.then(|| (length, u16::from_ne_bytes(*kind)))
}

fn event(message: &[u8]) -> Option<Event> {
    match NetlinkMessage::deserialize(message).ok()?.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
            seen(link).map(Event::Card)
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => {
            Some(Event::Gone(link.header.index))
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(it)) => neighbour(it),
        _ => None,
    }
}

fn seen(link: LinkMessage) -> Option<Seen> {
    let (mut name, mut mac) = (None, None);
    for attribute in link.attributes {
        match attribute {
            LinkAttribute::IfName(it) => name = Some(it),
            LinkAttribute::Address(it) => mac = Mac::try_from(it.as_slice()).ok(),
            _ => {}
        }
    }
    let name = name.filter(|it| !it.starts_with(ROOM))?;
    let up = LinkFlags::Up | LinkFlags::LowerUp;
    let ethernet = link.header.link_layer_type == LinkLayerType::Ether;
    Some(Seen {
        index: link.header.index,
        card: Card::parse(&name).filter(|_| ethernet)?,
        mac: mac?,
        carrier: link.header.flags.contains(up),
    })
}

/// A machine that has answered.
fn neighbour(message: NeighbourMessage) -> Option<Event> {
    let there = matches!(
        message.header.state,
        NeighbourState::Reachable | NeighbourState::Stale | NeighbourState::Delay
    );
    let mut attributes = message.attributes.into_iter().filter(|_| there);
    attributes.find_map(|it| match it {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => {
            Some(Event::Neighbour(message.header.ifindex, address))
        }
        _ => None,
    })
}

/// The body of a RTM_NEWNDUSEROPT.
fn announced(body: &[u8]) -> Option<Event> {
    let (head, rest) = body.split_first_chunk::<USEROPT>()?;
    let [_, _, l0, l1, i0, i1, i2, i3, kind, ..] = *head;
    let length = usize::from(u16::from_ne_bytes([l0, l1]));
    let option = rest.get(..length)?;
    let (&[option_kind, units, _, _, t0, t1, t2, t3], addresses) = option.split_first_chunk()?;
    // RFC 8106 §5.1: in units of 8 bytes, 3 with one address, 2 more with each.
    let good = kind == ROUTER_ADVERTISEMENT
        && option_kind == RDNSS
        && usize::from(units).saturating_mul(8) == length
        && units % 2 == 1;
    let (addresses, _) = addresses.as_chunks::<16>();
    good.then(|| {
        Event::Names(Announced {
            index: u32::from_ne_bytes([i0, i1, i2, i3]),
            servers: addresses.iter().map(|it| Ipv6Addr::from(*it)).collect(),
            lifetime: Duration::from_secs(u32::from_be_bytes([t0, t1, t2, t3]).into()),
        })
    })
}

/// Whether an address can be a name server's: of one machine, and neither this one nor a room.
pub fn can_serve(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(it) => {
            let none = it.is_unspecified() || it.is_loopback() || it.is_multicast();
            !none && !it.is_broadcast() && !crate::rooms::is_room(address)
        }
        IpAddr::V6(it) => {
            let none = it.is_unspecified() || it.is_loopback() || it.is_multicast();
            !none && it.to_ipv4_mapped().is_none() && !crate::rooms::is_room(address)
        }
    }
}

#[cfg(test)]
mod tests;
