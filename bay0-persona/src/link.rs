//! A room's network (T07, decision 22): links, addresses and ways are made in the rooms' namespaces, or moved there, and the Spine
//! keeps no end of anything. None of it depends on what is in a room's image, or needs a program or a right inside.
//!
//! ```text
//! room N                                sys://net
//! eth0  198.18.0.0 + (N + 1)      <-->  roomN  198.18.0.1                     eth0, eth1, …: the machine's cards,
//!       fd62:6179:30:: + (N + 1)               fd62:6179:30::1, fe80::1       addresses by DHCP and router announcements
//! ```
//!
//! Each room has a link of its own to `sys://net`, over which alone its addresses are reached: rooms share nothing that could carry
//! packets from one to the other. What may pass, and in whose name, is the packet filter's rules', which the factory has compiled.
//!
//! All is done by children that end with it: PID 1 itself never leaves its namespace, so that no failure can keep it in a room's.

use std::fmt::Display;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sched::CloneFlags;
use nix::sys::stat::Mode;

use crate::confine::{Rights, confine};
use crate::net::{Card, GATEWAY, GATEWAY6, Lease, addresses};
use crate::netlink::{
    Reach, address, attribute, change, counters, enter, filter, index, info, link, route,
};
use crate::spawn::{errno, spawn};

/// Longest that making a link may take; the kernel answers in less than a millisecond.
const DEADLINE: Duration = Duration::from_secs(1);
const NET_NS_FD: u16 = 28;
const INFO_PEER: u16 = 1;
/// Bytes of a packet on a card that no lease says otherwise of (Ethernet), and the least that IPv6 takes (RFC 8200).
const MTU: u16 = 1500;
const LEAST_MTU: u16 = 1280;
/// The loopback's number in every namespace.
const LOOPBACK: i32 = 1;
/// The number of a room's end.
const ETH0: i32 = 2;
/// The gateway's address on each link.
const LINK6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// What `sys://net` does with packets (kernel doc: `networking/ip-sysctl`): it passes them on, hears no announcement of a router but
/// on its cards, lets nobody send it another way, tells each link of that link's addresses alone, and lets its program, which has no
/// capability, serve names and ask for an address.
const SWITCHES: [(&str, &str); 9] = [
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/default/accept_redirects", "0"),
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/all/arp_ignore", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/ip_unprivileged_port_start", "0"),
];

/// The number of a room's first process.
type Pid = i32;

/// Makes a room's network the one that passes packets on, by the rules of the packet filter.
///
/// # Errors
/// The errno of the kernel's answer, or [`by_child`]'s.
pub fn gateway(net: Pid, rules: &[u8]) -> nix::Result<()> {
    let (net, own) = (space(net)?, space("self")?);
    by_child(&[&net, &own], || {
        // Before the first card is there, nothing passes.
        filter(&net, rules)?;
        let set = |(name, value): &(&str, &str)| switch(name, value);
        SWITCHES.iter().try_for_each(set)?;
        // What is for the gateway has somewhere to go before there is a room.
        let up = link(LOOPBACK, libc::IFF_UP);
        change(&net, libc::RTM_NEWLINK, 0, &up)?;
        Ok(new_address(
            &net,
            LOOPBACK,
            GATEWAY.into(),
            32,
            Reach::Link,
        )?)
    })
}

/// Moves the cards of the Spine into a room, up.
///
/// # Errors
/// The errno of the kernel's answer, or [`by_child`]'s.
pub fn give_cards(net: Pid) -> nix::Result<()> {
    let (net, own, cards) = (space(net)?, space("self")?, cards());
    by_child(&[&net, &own], || {
        cards.iter().try_for_each(|card| give(card, &own, &net))
    })
}

fn give(card: &str, own: &OwnedFd, net: &OwnedFd) -> io::Result<()> {
    let name = attribute(libc::IFLA_IFNAME, card.as_bytes());
    let within = attribute(NET_NS_FD, &net.as_raw_fd().to_ne_bytes());
    let there = [link(0, 0), within, name.clone()].concat();
    change(own, libc::RTM_NEWLINK, 0, &there)?;
    enter(net)?;
    // It hears routers although it passes packets on.
    switch(&format!("ipv6/conf/{card}/accept_ra"), "2")?;
    let up = [link(0, libc::IFF_UP), name].concat();
    Ok(change(net, libc::RTM_NEWLINK, 0, &up)?)
}

/// Joins the room of this number, from 1 on, to the gateway; its `eth0` comes up, with its addresses.
///
/// # Errors
/// The errno of the kernel's answer, or [`by_child`]'s; EEXIST: it is joined already.
pub fn join(number: u16, port: Pid, net: Pid) -> nix::Result<()> {
    let (room, net) = (space(port)?, space(net)?);
    by_child(&[&room, &net], || {
        make_pair(number, port, &room, &net)?;
        let joined = both_ends(number, port, &room, &net);
        if joined.is_err() {
            // Half a link would count as one.
            let _ = change(&net, libc::RTM_DELLINK, 0, &link(port, 0));
        }
        joined
    })
}

fn both_ends(number: u16, port: Pid, room: &OwnedFd, net: &OwnedFd) -> io::Result<()> {
    let (own, own6) = addresses(number);
    let (own, own6) = (own.into(), own6.into());
    gateway_end(number, port, net, [own, own6])?;
    enter(room)?;
    // No router but the gateway, whatever a network sends.
    switch("ipv6/conf/eth0/accept_ra", "0")?;
    new_address(room, ETH0, own, 32, Reach::Universe)?;
    new_address(room, ETH0, own6, 128, Reach::Universe)?;
    change(room, libc::RTM_NEWLINK, 0, &link(ETH0, libc::IFF_UP))?;
    new_route(room, ETH0, None, Some(GATEWAY.into()))?;
    Ok(new_route(room, ETH0, None, Some(LINK6.into()))?)
}

/// Both ends of a room's link. The gateway's has the number of the room's process, by which it is known whose it is: one of the same
/// name is what the kernel has not yet taken away of a room that has ended.
fn make_pair(number: u16, port: Pid, room: &OwnedFd, net: &OwnedFd) -> nix::Result<()> {
    let name = attribute(libc::IFLA_IFNAME, format!("room{number}").as_bytes());
    let within = attribute(NET_NS_FD, &room.as_raw_fd().to_ne_bytes());
    let eth0 = attribute(libc::IFLA_IFNAME, b"eth0");
    let peer = [link(ETH0, 0), eth0, within].concat();
    let pair = info(b"veth", &attribute(INFO_PEER, &peer));
    let pair = [link(port, 0), name.clone(), pair].concat();
    let make = || {
        change(
            net,
            libc::RTM_NEWLINK,
            libc::NLM_F_CREATE | libc::NLM_F_EXCL,
            &pair,
        )
    };
    let there = index(net, &format!("room{number}"));
    if there.is_ok_and(|it| it != port) {
        take_away(net, number)?;
    }
    make()
}

/// Takes a room's link away; none may be left, since the kernel does the same meanwhile.
fn take_away(net: &OwnedFd, number: u16) -> nix::Result<()> {
    let name = attribute(libc::IFLA_IFNAME, format!("room{number}").as_bytes());
    match change(net, libc::RTM_DELLINK, 0, &[link(0, 0), name].concat()) {
        Err(Errno::ENODEV) => Ok(()),
        other => other,
    }
}

/// The gateway's end: it takes from the room what bears the room's address and nothing else.
fn gateway_end(number: u16, port: Pid, net: &OwnedFd, own: [IpAddr; 2]) -> io::Result<()> {
    enter(net)?;
    switch(&format!("ipv4/conf/room{number}/rp_filter"), "1")?;
    let ends: [(IpAddr, u8); 3] = [
        (GATEWAY.into(), 32),
        (GATEWAY6.into(), 128),
        (LINK6.into(), 64),
    ];
    for (end, prefix) in ends {
        // Of the link alone: no card sends in its name (IPv4); IPv6 has no such word, and there the rules translate.
        new_address(net, port, end, prefix, Reach::Link)?;
    }
    change(net, libc::RTM_NEWLINK, 0, &link(port, libc::IFF_UP))?;
    Ok(own
        .into_iter()
        .try_for_each(|it| new_route(net, port, Some(it), None))?)
}

/// Sets the lease of a card, which makes sense ([`Lease::check`]), in place of the one it had.
///
/// # Errors
/// The errno of the kernel's answer, or [`by_child`]'s; ENODEV: there is no such card.
pub fn set_lease(
    net: Pid,
    card: &Card,
    old: Option<&Lease>,
    new: Option<&Lease>,
) -> nix::Result<()> {
    let (net, own) = (space(net)?, space("self")?);
    by_child(&[&net, &own], || {
        let index = index(&net, &card.to_string())?;
        if let Some(old) = old {
            // The kernel takes the ways with it; what is not there any more need not go.
            let old = address(index, old.address.into(), old.prefix, Reach::Universe);
            let _ = change(&net, libc::RTM_DELADDR, 0, &old);
        }
        Ok(new.map_or(Ok(()), |new| lease(&net, index, new))?)
    })
}

fn lease(net: &OwnedFd, index: i32, lease: &Lease) -> nix::Result<()> {
    // Of less the kernel has no IPv6 there any more: what is longer than an odd network's packets, its router says.
    let fits = (LEAST_MTU..).contains(&lease.mtu);
    let mtu = if fits { lease.mtu } else { MTU };
    let mtu = attribute(libc::IFLA_MTU, &u32::from(mtu).to_ne_bytes());
    // A card that cannot send as much sends what it can.
    let _ = change(net, libc::RTM_NEWLINK, 0, &[link(index, 0), mtu].concat());
    let own = lease.address.into();
    new_address(net, index, own, lease.prefix, Reach::Universe)?;
    let router = lease.router.map(IpAddr::from);
    router.map_or(Ok(()), |it| new_route(net, index, None, Some(it)))
}

/// How many packets each limit of `sys://net`'s, whose [`space`] this is, has stopped, by the limit's name, a line each.
///
/// # Errors
/// The errno of the kernel's answer.
pub fn stopped(net: &OwnedFd) -> nix::Result<String> {
    let line = |(name, count)| format!("{name} {count}\n");
    Ok(counters(net)?.into_iter().map(line).collect())
}

/// Has a child work in these namespaces.
///
/// # Errors
/// The child's; ETIMEDOUT: it took longer than [`DEADLINE`].
fn by_child(spaces: &[&OwnedFd; 2], work: impl FnOnce() -> io::Result<()>) -> nix::Result<()> {
    let keep = spaces.map(AsRawFd::as_raw_fd);
    let child = spawn(None, CloneFlags::empty(), &keep, || {
        errno(confine(Rights::Links).and_then(|()| work()))
    })?;
    child.done(DEADLINE)
}

/// Brings up the loopback of this process's network.
///
/// # Errors
/// The errno of the kernel's answer.
pub fn loopback() -> nix::Result<()> {
    change(
        &space("self")?,
        libc::RTM_NEWLINK,
        0,
        &link(LOOPBACK, libc::IFF_UP),
    )
}

/// The names of the cards that the Spine has. The loopback belongs to each namespace; a card has a device behind it.
pub fn cards() -> Vec<String> {
    let is = |name: &String| {
        Path::new("/sys/class/net")
            .join(name)
            .join("device")
            .exists()
    };
    let links = fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten();
    links
        .filter_map(|it| it.file_name().into_string().ok())
        .filter(is)
        .collect()
}

/// The network of a process. Whoever has given up its rights cannot open it.
///
/// # Errors
/// The errno; ENOENT: the process is gone.
pub fn space(process: impl Display) -> nix::Result<OwnedFd> {
    let path = format!("/proc/{process}/ns/net");
    open(path.as_str(), OFlag::O_CLOEXEC, Mode::empty())
}

/// Sets a switch of the network that this process is in.
fn switch(name: &str, value: &str) -> io::Result<()> {
    fs::write(format!("/proc/sys/net/{name}"), value)
}

fn new_address(
    space: &OwnedFd,
    index: i32,
    it: IpAddr,
    prefix: u8,
    reach: Reach,
) -> nix::Result<()> {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    change(
        space,
        libc::RTM_NEWADDR,
        flags,
        &address(index, it, prefix, reach),
    )
}

fn new_route(
    space: &OwnedFd,
    index: i32,
    to: Option<IpAddr>,
    by: Option<IpAddr>,
) -> nix::Result<()> {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    change(space, libc::RTM_NEWROUTE, flags, &route(index, to, by))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spawn::Child;
    use std::io::Write;
    use std::net::Ipv4Addr;

    /// A process with a network of its own.
    fn lone() -> Child {
        let space = CloneFlags::CLONE_NEWNET;
        let wait = || {
            loop {
                nix::unistd::pause();
            }
        };
        spawn(None, space, &[], wait).unwrap()
    }

    /// What the kernel tells of a process's network.
    fn tells(process: &Child, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/net/{file}", process.pid)).unwrap()
    }

    /// The table and one counter of it, as the packet filter takes them.
    fn rules() -> Vec<u8> {
        let table = attribute(1, b"bay0\0");
        let counter = [
            &table[..],
            &attribute(2, b"rate1\0"),
            &attribute(3, &[0, 0, 0, 1]),
        ];
        let data = attribute(4 | 1 << 15, &[]);
        crate::netlink::batch(&[(0, &table), (18, &[&counter.concat()[..], &data].concat())])
    }

    #[test]
    #[ignore = "needs root: it makes namespaces"]
    fn u02_a_room_has_its_addresses_and_its_way_out_whatever_came_before() {
        let (net, room, other) = (lone(), lone(), lone());
        gateway(net.pid, &rules()).unwrap();
        assert!(tells(&net, "fib_trie").contains("198.18.0.1\n"));
        join(3, room.pid, net.pid).unwrap();
        assert_eq!(join(3, room.pid, net.pid), Err(Errno::EEXIST));
        assert!(tells(&room, "fib_trie").contains("198.18.0.4\n"));
        assert!(tells(&room, "if_inet6").contains("fd626179003000000000000000000004 02 80"));
        // In the order of the bytes: the gateway's address.
        assert!(tells(&room, "route").contains("eth0\t00000000\t010012C6\t0003"));
        assert!(tells(&net, "dev").contains("room3:"));
        assert!(tells(&net, "route").contains("room3\t040012C6"));
        // The link of a room that has ended gives way to the one of its name.
        join(3, other.pid, net.pid).unwrap();
        assert!(!tells(&room, "dev").contains("eth0"));
        assert!(tells(&other, "dev").contains("eth0"));
        // The second time there is none, as when the kernel was quicker.
        let there = space(net.pid).unwrap();
        for _ in 0..2 {
            by_child(&[&there, &there], || Ok(take_away(&there, 3)?)).unwrap();
            assert!(!tells(&other, "dev").contains("eth0"));
        }
        assert_eq!(stopped_by_child(net.pid), "rate1 0\n");
    }

    #[test]
    #[ignore = "needs root: it makes namespaces"]
    fn u02_a_lease_takes_the_place_of_the_one_before() {
        let net = lone();
        let (card, lease) = (Card::parse("eth9").unwrap(), |last| Lease {
            address: Ipv4Addr::new(192, 0, 2, last),
            prefix: 24,
            router: Some(Ipv4Addr::new(192, 0, 2, 1)),
            mtu: 1400,
            server: Ipv4Addr::new(192, 0, 2, 1),
            seconds: 60,
        });
        let gone = set_lease(net.pid, &card, None, Some(&lease(7)));
        assert_eq!(gone, Err(Errno::ENODEV));
        make_card(net.pid, "eth9");
        set_lease(net.pid, &card, None, Some(&lease(7))).unwrap();
        assert!(tells(&net, "fib_trie").contains("192.0.2.7\n"));
        assert!(tells(&net, "route").contains("eth9\t00000000\t010200C0\t0003"));
        set_lease(net.pid, &card, Some(&lease(7)), Some(&lease(8))).unwrap();
        let addresses = tells(&net, "fib_trie");
        assert!(addresses.contains("192.0.2.8\n") && !addresses.contains("192.0.2.7\n"));
        set_lease(net.pid, &card, Some(&lease(8)), None).unwrap();
        assert!(!tells(&net, "route").contains("eth9"));
    }

    /// A link of this name that is up, and whose other end is too.
    fn make_card(net: Pid, name: &str) {
        let net = space(net).unwrap();
        by_child(&[&net, &net], || {
            let name = attribute(libc::IFLA_IFNAME, name.as_bytes());
            let pair = info(b"veth", &attribute(INFO_PEER, &link(9, 0)));
            let pair = [link(8, 0), name, pair].concat();
            change(&net, libc::RTM_NEWLINK, libc::NLM_F_CREATE, &pair)?;
            let up = |end| change(&net, libc::RTM_NEWLINK, 0, &link(end, libc::IFF_UP));
            Ok(up(8).and(up(9))?)
        })
        .unwrap();
    }

    fn stopped_by_child(net: Pid) -> String {
        let (read, write) = nix::unistd::pipe().unwrap();
        let space = space(net).unwrap();
        let mut pipe = fs::File::from(write);
        let keep = [space.as_raw_fd(), pipe.as_raw_fd()];
        let child = spawn(None, CloneFlags::empty(), &keep, move || {
            let found = confine(Rights::Links).and_then(|()| Ok(stopped(&space)?));
            errno(found.and_then(|text| pipe.write_all(text.as_bytes())))
        });
        child.unwrap().done(DEADLINE).unwrap();
        io::read_to_string(fs::File::from(read)).unwrap()
    }
}
