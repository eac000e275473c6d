//! Requests to the kernel's network by netlink, each in the namespace it is about. Only children that do nothing else come here: a
//! request changes the namespace of the process that sends it.
//!
//! Source: `netlink(7)`, `rtnetlink(7)`, the kernel's `if_link.h`, `veth.h`, `nfnetlink.h` and `nf_tables.h`.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

/// Bytes of one answer; those of a dump come in packets of at most as many (`netlink(7)`).
const ANSWER: usize = 32 * 1024;
/// Packets of one answer that are read at most.
const ANSWERS: usize = 64;
/// Bytes of a `struct nlmsghdr`.
const HEADER: usize = 16;
/// A list of objects of the packet filter: `NFNL_SUBSYS_NFTABLES` and `NFT_MSG_GETOBJ`.
const GET_OBJECTS: u16 = 10 << 8 | 19;
/// `struct nfgenmsg`: `NFPROTO_INET`, version 0, no resource.
const INET: [u8; 4] = [1, 0, 0, 0];
const OBJECT_TABLE: u16 = 1;
const OBJECT_NAME: u16 = 2;
const OBJECT_TYPE: u16 = 3;
const OBJECT_DATA: u16 = 4;
const COUNTER_PACKETS: u16 = 2;
/// `RTNH_F_ONLINK`.
const ONLINK: i32 = 4;
/// The one table, and `NFT_OBJECT_COUNTER`.
const TABLE: &[u8] = b"bay0\0";
const COUNTERS: &[u8] = &[0, 0, 0, 1];

/// `struct ifinfomsg`: which link is meant, 0 for the one that is named, and the flags that are set.
pub fn link(index: i32, flags: i32) -> Vec<u8> {
    [0, index, flags, flags].map(i32::to_ne_bytes).concat()
}

/// How far an address or a way reaches.
#[derive(Clone, Copy)]
#[repr(u8)]
pub enum Reach {
    /// Everywhere.
    Universe = libc::RT_SCOPE_UNIVERSE,
    /// The link alone: no other link sends in its name.
    Link = libc::RT_SCOPE_LINK,
}

/// `struct ifaddrmsg`, and an address of a link, of whose bits so many are its net's. The kernel does not ask the link first whether
/// somebody else has it, so that it can be used at once.
pub fn address(index: i32, address: IpAddr, prefix: u8, reach: Reach) -> Vec<u8> {
    let flags = libc::IFA_F_NODAD.to_le_bytes()[0];
    let (family, bytes) = octets(address);
    let head = [family, prefix, flags, reach as u8];
    let local = attribute(libc::IFA_LOCAL, &bytes);
    let own = attribute(libc::IFA_ADDRESS, &bytes);
    [&head, &index.to_ne_bytes()[..], &local, &own].concat()
}

/// `struct rtmsg`, and where to: a single address, or everything by a router, which is on the link whatever its address is.
pub fn route(index: i32, to: Option<IpAddr>, by: Option<IpAddr>) -> Vec<u8> {
    let (family, bytes) = to.or(by).map_or_else(Default::default, octets);
    let bits = to.map_or(0, |_| {
        u8::try_from(bytes.len()).unwrap_or(0).saturating_mul(8)
    });
    let reach = by.map_or(Reach::Link, |_| Reach::Universe) as u8;
    let (table, kind) = (libc::RT_TABLE_MAIN, libc::RTN_UNICAST);
    let head = [family, bits, 0, 0, table, libc::RTPROT_STATIC, reach, kind];
    let flags = by.map_or(0, |_| ONLINK);
    let to = to.map_or_else(Vec::new, |_| attribute(libc::RTA_DST, &bytes));
    let by = by.map_or_else(Vec::new, |it| attribute(libc::RTA_GATEWAY, &octets(it).1));
    // Of several cards the first one is the way out: the number of a card is what its way costs.
    let cost = attribute(libc::RTA_PRIORITY, &index.to_ne_bytes());
    let out = attribute(libc::RTA_OIF, &index.to_ne_bytes());
    [&head, &flags.to_ne_bytes()[..], &to, &by, &cost, &out].concat()
}

/// An address's family, and its bytes.
fn octets(address: IpAddr) -> (u8, Vec<u8>) {
    let (family, bytes) = match address {
        IpAddr::V4(it) => (libc::AF_INET, it.octets().to_vec()),
        IpAddr::V6(it) => (libc::AF_INET6, it.octets().to_vec()),
    };
    (u8::try_from(family).unwrap_or(0), bytes)
}

/// What a link is, and what that is to be.
pub fn info(kind: &[u8], data: &[u8]) -> Vec<u8> {
    let kind = attribute(libc::IFLA_INFO_KIND, kind);
    let data = attribute(libc::IFLA_INFO_DATA, data);
    attribute(libc::IFLA_LINKINFO, &[kind, data].concat())
}

/// `struct rtattr`, padded to the next one.
pub fn attribute(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap_or(0).saturating_add(4);
    let mut bytes = [length, kind].map(u16::to_ne_bytes).concat();
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Makes the network of a process this one's.
///
/// # Errors
/// The errno of `setns(2)`.
pub fn enter(space: &OwnedFd) -> nix::Result<()> {
    setns(space, CloneFlags::CLONE_NEWNET)
}

/// Has the kernel change something in a namespace: a message of this type, with flags such as `NLM_F_CREATE`. This process is in
/// that namespace from then on.
///
/// # Errors
/// The errno of the kernel's answer, which comes before the call returns.
pub fn change(space: &OwnedFd, kind: u16, flags: i32, body: &[u8]) -> nix::Result<()> {
    let request = message(kind, flags | libc::NLM_F_ACK, body);
    ask(space, SockProtocol::NetlinkRoute, &request).map(drop)
}

/// The number of the link of this name.
///
/// # Errors
/// ENODEV: there is none; as [`change`].
pub fn index(space: &OwnedFd, name: &str) -> nix::Result<i32> {
    let body = [link(0, 0), attribute(libc::IFLA_IFNAME, name.as_bytes())].concat();
    let request = message(libc::RTM_GETLINK, libc::NLM_F_ACK, &body);
    let found = ask(space, SockProtocol::NetlinkRoute, &request)?;
    let found = found.first().and_then(|it| word(it, 4));
    found.map(u32::cast_signed).ok_or(Errno::ENODEV)
}

/// Sends messages that stand one behind another, the last of which asks for an answer, to the kernel's packet filter.
///
/// # Errors
/// The errno of the first message that the kernel refuses; none of them takes effect then.
pub fn filter(space: &OwnedFd, batch: &[u8]) -> nix::Result<()> {
    ask(space, SockProtocol::NetlinkNetFilter, batch).map(drop)
}

/// The packets that each counter of the packet filter's table has counted, by its name.
///
/// # Errors
/// As [`change`].
pub fn counters(space: &OwnedFd) -> nix::Result<Vec<(String, u64)>> {
    let [table, kind] = [(OBJECT_TABLE, TABLE), (OBJECT_TYPE, COUNTERS)];
    let body = [
        &INET[..],
        &attribute(table.0, table.1),
        &attribute(kind.0, kind.1),
    ]
    .concat();
    let request = message(GET_OBJECTS, libc::NLM_F_DUMP, &body);
    let found = ask(space, SockProtocol::NetlinkNetFilter, &request)?;
    let objects = found.iter().filter_map(|it| it.get(INET.len()..));
    Ok(objects.filter_map(counter).collect())
}

/// Name and packets of one counter.
fn counter(object: &[u8]) -> Option<(String, u64)> {
    let find = |bytes, kind| {
        parts(bytes, false)
            .find(|part| part.0 == kind)
            .map(|it| it.1)
    };
    let packets = find(find(object, OBJECT_DATA)?, COUNTER_PACKETS)?;
    let name = find(object, OBJECT_NAME)?.strip_suffix(b"\0")?;
    let count = u64::from_be_bytes(packets.try_into().ok()?);
    Some((String::from_utf8(name.to_vec()).ok()?, count))
}

/// One message: its header, then its body.
fn message(kind: u16, flags: i32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER.saturating_add(body.len())).unwrap_or(0);
    let flags = (flags | libc::NLM_F_REQUEST).unsigned_abs();
    // Length, type and flags, sequence number, sender.
    let words = [length, u32::from(kind) | flags << 16, 1, 0];
    [words.map(u32::to_ne_bytes).concat(), body.to_vec()].concat()
}

/// Sends a request to the kernel as it is in a namespace: the bodies of the messages of its answer, up to the one that says that this
/// was all.
fn ask(space: &OwnedFd, protocol: SockProtocol, request: &[u8]) -> nix::Result<Vec<Vec<u8>>> {
    // A socket belongs to the namespace in which it is made.
    enter(space)?;
    let (family, flag) = (AddressFamily::Netlink, SockFlag::SOCK_CLOEXEC);
    let kernel = socket(family, SockType::Raw, flag, protocol)?;
    send(kernel.as_raw_fd(), request, MsgFlags::empty())?;
    let (mut buffer, mut bodies) = (vec![0; ANSWER], Vec::new());
    for _ in 0..ANSWERS {
        let length = recv(kernel.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)?;
        for (kind, body) in parts(buffer.get(..length).unwrap_or_default(), true) {
            match (i32::from(kind), word(body, 0)) {
                // It begins with 0 or a negated errno.
                (libc::NLMSG_ERROR | libc::NLMSG_DONE, Some(0)) => return Ok(bodies),
                (libc::NLMSG_ERROR | libc::NLMSG_DONE, code) => {
                    let code = code.unwrap_or(0).cast_signed().saturating_neg();
                    return Err(Errno::from_raw(code));
                }
                _ => bodies.push(body.to_vec()),
            }
        }
    }
    Err(Errno::EMSGSIZE)
}

/// Messages, or else attributes, that stand one behind another: the type and the body of each, up to the first that is cut.
fn parts(mut bytes: &[u8], are_messages: bool) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let first = word(bytes, 0)?;
        let (length, kind, head) = if are_messages {
            (first, word(bytes, 4)?, HEADER)
        } else {
            // The highest two bits say how the body is spelled.
            (first & 0xffff, first >> 16 & 0x3fff, 4)
        };
        let length = usize::try_from(length).ok()?;
        let part = bytes.get(head..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::try_from(kind & 0xffff).ok()?, part))
    })
}

/// Four bytes as a number.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

/// Messages about the packet filter, as one batch: the type of each within its kind, and its body.
#[cfg(test)]
pub fn batch(messages: &[(u16, &[u8])]) -> Vec<u8> {
    let framed = |kind: u16, flags, body: &[u8]| message(kind, flags, &[&INET[..], body].concat());
    let end = |kind| message(kind, 0, &[0, 0, 0, 10]);
    let (new, last) = (libc::NLM_F_CREATE, messages.len().saturating_sub(1));
    let all = messages.iter().enumerate().map(|(place, (kind, body))| {
        let ack = if place == last { libc::NLM_F_ACK } else { 0 };
        framed(10 << 8 | kind, new | ack, body)
    });
    [end(16), all.collect::<Vec<_>>().concat(), end(17)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn u03_a_counter_is_read_by_its_name() {
        let packets = [
            attribute(1, &7_u64.to_be_bytes()),
            attribute(2, &9_u64.to_be_bytes()),
        ];
        let object = [
            attribute(OBJECT_TABLE, TABLE),
            attribute(OBJECT_NAME, b"conn3\0"),
            attribute(OBJECT_DATA | 1 << 15, &packets.concat()),
        ];
        assert_eq!(counter(&object.concat()), Some(("conn3".to_owned(), 9)));
        assert_eq!(counter(&object[..2].concat()), None);
    }

    proptest! {
        #[test]
        fn a16_what_stands_one_behind_another_is_taken_apart(all: Vec<(u16, Vec<u8>)>) {
            let all: Vec<_> = all.into_iter().map(|(kind, body)| (kind & 0x3fff, body)).collect();
            let attributes: Vec<u8> = all.iter().flat_map(|it| attribute(it.0, &it.1)).collect();
            let bodies = || all.iter().map(|it| (it.0, it.1.as_slice()));
            prop_assert!(parts(&attributes, false).eq(bodies()));
            let padded = |it: &(u16, Vec<u8>)| {
                let mut bytes = message(it.0, 0, &it.1);
                bytes.resize(bytes.len().next_multiple_of(4), 0);
                bytes
            };
            let messages: Vec<u8> = all.iter().flat_map(padded).collect();
            prop_assert!(parts(&messages, true).eq(bodies()));
        }

        #[test]
        fn a16_no_answer_makes_it_panic_or_go_on_for_ever(bytes: Vec<u8>) {
            prop_assert!(parts(&bytes, true).count() <= bytes.len());
            prop_assert!(parts(&bytes, false).count() <= bytes.len());
            let _ = counter(&bytes);
        }
    }
}
