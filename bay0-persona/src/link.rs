//! A room's network (T07), by netlink: links are made in, or moved into, the room's namespace. Nothing is ever given an address
//! here, and the Spine keeps no end of anything.
//!
//! Source: `rtnetlink(7)`, the kernel's `if_link.h` and `veth.h`.

use std::fs::{self, File};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

const NET_NS_FD: u16 = 28;
const INFO_PEER: u16 = 1;

/// Puts a pair of connected links into two namespaces: `name` in one, `peer_name` in the other.
///
/// # Errors
/// The errno of the kernel's answer.
pub fn pair(name: &str, space: &File, peer_name: &str, peer_space: &File) -> nix::Result<()> {
    let end = |name: &str, space: &File| {
        let fd = space.as_raw_fd().to_ne_bytes();
        [
            attribute(libc::IFLA_IFNAME, name.as_bytes()),
            attribute(NET_NS_FD, &fd),
        ]
        .concat()
    };
    let peer = [interface(0), end(peer_name, peer_space)].concat();
    let data = attribute(libc::IFLA_INFO_DATA, &attribute(INFO_PEER, &peer));
    let info = [attribute(libc::IFLA_INFO_KIND, b"veth"), data].concat();
    let info = attribute(libc::IFLA_LINKINFO, &info);
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    request(flags, &[interface(0), end(name, space), info].concat())
}

/// Moves every network card of this namespace into another; how many.
///
/// # Errors
/// The errno of the kernel's answer.
pub fn give_cards(space: &File) -> nix::Result<usize> {
    let mut count: usize = 0;
    for card in fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten()
    {
        let read = |file| fs::read_to_string(card.path().join(file)).unwrap_or_default();
        // The loopback belongs to each namespace; a card has a device behind it.
        if card.path().join("device").exists() {
            let index = read("ifindex").trim().parse().map_err(|_| Errno::ENODEV)?;
            let fd = attribute(NET_NS_FD, &space.as_raw_fd().to_ne_bytes());
            request(0, &[interface(index), fd].concat())?;
            count = count.saturating_add(1);
        }
    }
    Ok(count)
}

/// `struct ifinfomsg`: which link is meant; 0 for a new one.
fn interface(index: i32) -> Vec<u8> {
    [0, index, 0, 0].map(i32::to_ne_bytes).concat()
}

/// `struct rtattr`, padded to the next one.
fn attribute(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap_or(0).saturating_add(4);
    let mut bytes = [length, kind].map(u16::to_ne_bytes).concat();
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Sends an RTM_NEWLINK and hears the kernel's answer, which comes before the call returns.
fn request(flags: i32, body: &[u8]) -> nix::Result<()> {
    let (family, kind, route) = (
        AddressFamily::Netlink,
        SockType::Raw,
        SockProtocol::NetlinkRoute,
    );
    let kernel = socket(family, kind, SockFlag::SOCK_CLOEXEC, route)?;
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
