//! A room's network (T07), by netlink. Links are made in the rooms' namespaces, or moved there; nothing is ever given an address
//! here, and the Spine keeps no end of anything. A room's end is up when its program begins, and the room's kernel finds an address
//! by itself (IPv6, RFC 4862): for that the room needs neither a program nor a right.
//!
//! In the namespace of `sys://net` the cards and the rooms' ends are ports of one switch, the kernel's. The rooms' ports are
//! isolated: they exchange packets with the cards and the switch, and not with each other.
//!
//! Source: `rtnetlink(7)`, the kernel's `if_link.h` and `veth.h`.

use std::fmt::Display;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};
use nix::sys::stat::Mode;

use crate::confine::{Rights, confine};
use crate::spawn::{errno, spawn};

/// Longest that making a link may take; the kernel answers in less than a millisecond.
const DEADLINE: Duration = Duration::from_secs(1);
const NET_NS_FD: u16 = 28;
const INFO_PEER: u16 = 1;
const INFO_SLAVE_KIND: u16 = 4;
const PORT_ISOLATED: u16 = 33;
/// The loopback's number in every namespace.
const LOOPBACK: i32 = 1;
/// The number of a room's end.
const ETH0: i32 = 2;
/// The switch's number: the last one, since a room's port has the number of the room's process.
const SWITCH: i32 = i32::MAX;

/// The number of a room's first process.
type Pid = i32;

/// Moves the cards of the Spine into a room and makes them ports of its switch, which is made if it is not there.
///
/// # Errors
/// The errno of the kernel's answer, or [`by_child`]'s.
pub fn switch(net: Pid) -> nix::Result<()> {
    let (net, own, cards) = (space(net)?, space("self")?, cards());
    by_child(&[&net, &own], || {
        let switch = info(libc::IFLA_INFO_KIND, b"bridge", &[]);
        let switch = [interface(SWITCH, libc::IFF_UP), switch].concat();
        request(&net, libc::NLM_F_CREATE, &switch)?;
        let within = attribute(NET_NS_FD, &net.as_raw_fd().to_ne_bytes());
        let master = attribute(libc::IFLA_MASTER, &SWITCH.to_ne_bytes());
        let there = [interface(0, libc::IFF_UP), within, master].concat();
        cards.iter().try_for_each(|card| {
            let name = card.file_name().unwrap_or_default().as_encoded_bytes();
            let port = [&there, &*attribute(libc::IFLA_IFNAME, name)];
            request(&own, 0, &port.concat())
        })
    })
}

/// Joins a room to the switch of another; its `eth0` comes up.
///
/// # Errors
/// The errno of the kernel's answer, or [`by_child`]'s; EEXIST: it is joined already, or the kernel still takes its last link away.
pub fn join(port: Pid, net: Pid) -> nix::Result<()> {
    let (room, net) = (space(port)?, space(net)?);
    by_child(&[&room, &net], || {
        let name = attribute(libc::IFLA_IFNAME, b"eth0");
        let within = attribute(NET_NS_FD, &room.as_raw_fd().to_ne_bytes());
        let peer = [interface(ETH0, 0), name, within].concat();
        let pair = info(libc::IFLA_INFO_KIND, b"veth", &attribute(INFO_PEER, &peer));
        let master = attribute(libc::IFLA_MASTER, &SWITCH.to_ne_bytes());
        let pair = [interface(port, 0), master, pair].concat();
        request(&net, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &pair)?;
        // Up only when it is isolated: at no moment is it a port like any other.
        let isolated = info(INFO_SLAVE_KIND, b"bridge", &attribute(PORT_ISOLATED, &[1]));
        let up = [interface(port, libc::IFF_UP), isolated].concat();
        request(&net, 0, &up)?;
        request(&room, 0, &interface(ETH0, libc::IFF_UP))
    })
}

/// Has a child make links in these namespaces: PID 1 itself never leaves its own, so that no failure can keep it in a room's.
///
/// # Errors
/// The child's; ETIMEDOUT: it took longer than [`DEADLINE`].
fn by_child(spaces: &[&OwnedFd; 2], work: impl FnOnce() -> nix::Result<()>) -> nix::Result<()> {
    let keep = spaces.map(AsRawFd::as_raw_fd);
    let child = spawn(None, CloneFlags::empty(), &keep, || {
        errno(confine(Rights::Links).and_then(|()| Ok(work()?)))
    })?;
    child.done(DEADLINE)
}

/// Brings up the loopback of this process's network.
///
/// # Errors
/// The errno of the kernel's answer.
pub fn loopback() -> nix::Result<()> {
    request(&space("self")?, 0, &interface(LOOPBACK, libc::IFF_UP))
}

/// The cards that the Spine has. The loopback belongs to each namespace; a card has a device behind it.
pub fn cards() -> Vec<PathBuf> {
    let links = fs::read_dir("/sys/class/net").into_iter().flatten();
    let links = links.flatten().map(|link| link.path());
    links.filter(|link| link.join("device").exists()).collect()
}

/// The network of a process.
fn space(process: impl Display) -> nix::Result<OwnedFd> {
    let path = format!("/proc/{process}/ns/net");
    open(path.as_str(), OFlag::O_CLOEXEC, Mode::empty())
}

/// `struct ifinfomsg`: which link is meant, 0 for the one that is named, and the flags that are set.
fn interface(index: i32, flags: i32) -> Vec<u8> {
    [0, index, flags, flags].map(i32::to_ne_bytes).concat()
}

/// What a link is, or is a port of (`kind`), and what is told to that: the two stand side by side.
fn info(kind: u16, name: &[u8], data: &[u8]) -> Vec<u8> {
    let data = attribute(kind.saturating_add(1), data);
    attribute(libc::IFLA_LINKINFO, &[attribute(kind, name), data].concat())
}

/// `struct rtattr`, padded to the next one.
fn attribute(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap_or(0).saturating_add(4);
    let mut bytes = [length, kind].map(u16::to_ne_bytes).concat();
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Sends an RTM_NEWLINK to the kernel as it is in a namespace, and hears its answer, which comes before the call returns. This
/// process is in that namespace from then on.
fn request(space: &OwnedFd, flags: i32, body: &[u8]) -> nix::Result<()> {
    let (flag, route) = (SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute);
    // A socket belongs to the namespace in which it is made.
    setns(space, CloneFlags::CLONE_NEWNET)?;
    let kernel = socket(AddressFamily::Netlink, SockType::Raw, flag, route)?;
    let length = u32::try_from(body.len()).unwrap_or(0).saturating_add(16);
    let flags = (flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK).unsigned_abs();
    // struct nlmsghdr: length, type and flags, sequence number, sender.
    let words = [length, u32::from(libc::RTM_NEWLINK) | flags << 16, 1, 0];
    let message = [words.map(u32::to_ne_bytes).concat(), body.to_vec()].concat();
    send(kernel.as_raw_fd(), &message, MsgFlags::empty())?;
    let mut answer = [0; 64];
    recv(kernel.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)?;
    // After the header stands 0 or the negated errno.
    let code = answer.get(16..20).and_then(|code| code.try_into().ok());
    match i32::from_ne_bytes(code.unwrap_or_default()) {
        0 => Ok(()),
        code => Err(Errno::from_raw(code.saturating_neg())),
    }
}
