//! Packets between processes, each of which may carry an open descriptor (`unix(7)`, `SCM_RIGHTS`; decision 9).

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};

/// Both ends of a connection of packets.
///
/// # Errors
/// Descriptors or memory have run out.
pub fn pair() -> nix::Result<(OwnedFd, OwnedFd)> {
    let (unix, flag) = (AddressFamily::Unix, SockFlag::SOCK_CLOEXEC);
    socketpair(unix, SockType::SeqPacket, None, flag)
}

/// Sends one packet made of parts. A peer that has hung up raises no SIGPIPE.
///
/// # Errors
/// The errno of `sendmsg(2)`.
pub fn send(
    socket: impl AsFd,
    parts: &[&[u8]],
    given: Option<&OwnedFd>,
    flags: MsgFlags,
) -> nix::Result<()> {
    let given: Vec<_> = given.iter().map(|fd| fd.as_raw_fd()).collect();
    let given = [ControlMessage::ScmRights(&given)];
    let parts: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let (fd, flags) = (socket.as_fd().as_raw_fd(), flags | MsgFlags::MSG_NOSIGNAL);
    sendmsg::<UnixAddr>(fd, &parts, &given, flags, None).map(drop)
}

/// Receives one packet, cut to the buffer: its length, 0 when the peer has hung up, and the descriptor that came with it.
///
/// # Errors
/// The errno of `recvmsg(2)`.
pub fn receive(
    socket: impl AsFd,
    buffer: &mut [u8],
    flags: MsgFlags,
) -> nix::Result<(usize, Option<OwnedFd>)> {
    let mut space = nix::cmsg_space!(RawFd);
    let (fd, mut parts) = (socket.as_fd().as_raw_fd(), [IoSliceMut::new(buffer)]);
    let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
    let heard = recvmsg::<UnixAddr>(fd, &mut parts, Some(&mut space), flags)?;
    let given = heard.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmRights(given) => given.first().copied(),
        _ => None,
    });
    // SAFETY: the kernel has just made this descriptor for us; nothing else owns it.
    let given = given.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    Ok((heard.bytes, given))
}
