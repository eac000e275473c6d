//! Packets between processes, each of which may carry an open descriptor (`unix(7)`, `SCM_RIGHTS`; decision 9).

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, recv, shutdown, socketpair};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};

/// Most descriptors that one packet carries (`SCM_MAX_FD`, `unix(7)`). With room for fewer, those too many would stay open unseen.
const MOST: usize = 253;

/// More packets than a socket holds (`net.core.wmem_default`).
const UNREAD: usize = 1024;

/// Both ends of a connection of packets.
///
/// # Errors
/// Descriptors or memory have run out.
pub fn pair() -> nix::Result<(OwnedFd, OwnedFd)> {
    let (unix, flag) = (AddressFamily::Unix, SockFlag::SOCK_CLOEXEC);
    socketpair(unix, SockType::SeqPacket, None, flag)
}

/// Sends one packet made of parts. A peer that has hung up raises no SIGPIPE. What was interrupted is done again, here and in [`receive`]: a
/// room that is frozen in it goes on with EINTR where the socket has a time-out (`signal(7)`), though nobody has sent it a signal.
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
    loop {
        match sendmsg::<UnixAddr>(fd, &parts, &given, flags, None) {
            Err(Errno::EINTR) => {}
            sent => return sent.map(drop),
        }
    }
}

/// Receives one packet, cut to the buffer: its length, 0 when the peer has hung up, and the descriptor that came with it. Of several
/// the first; the others are closed.
///
/// # Errors
/// The errno of `recvmsg(2)`.
pub fn receive(
    socket: impl AsFd,
    buffer: &mut [u8],
    flags: MsgFlags,
) -> nix::Result<(usize, Option<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; MOST]);
    let (fd, mut parts) = (socket.as_fd().as_raw_fd(), [IoSliceMut::new(buffer)]);
    let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
    let received = recvmsg::<UnixAddr>(fd, &mut parts, Some(&mut space), flags);
    if matches!(received, Err(Errno::EINTR)) {
        return receive(socket, buffer, flags);
    }
    let received = received?;
    let given = received.cmsgs()?.flat_map(|message| match message {
        ControlMessageOwned::ScmRights(given) => given,
        _ => Vec::new(),
    });
    // SAFETY: the kernel has just made these descriptors for us; nothing else owns them.
    let mut given = given.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    let first = given.next();
    given.for_each(drop);
    Ok((received.bytes, first))
}

/// Takes nothing more of the other end (it gets EPIPE), and throws away what that has sent. Closed with something unread, the kernel would
/// take away what was said last (`unix(7)`, ECONNRESET).
pub fn deafen(socket: impl AsFd) {
    let fd = socket.as_fd().as_raw_fd();
    let _ = shutdown(fd, Shutdown::Read);
    let more = || matches!(recv(fd, &mut [0; 4096], MsgFlags::MSG_DONTWAIT), Ok(1..));
    (0..UNREAD).find(|_| !more());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test may have threads")]
    fn t04_who_is_interrupted_while_it_waits_goes_on_waiting() {
        extern "C" fn nothing(_: nix::libc::c_int) {}
        let handler = nix::sys::signal::SigHandler::Handler(nothing);
        let (ours, theirs) = pair().unwrap();
        let limit = nix::sys::time::TimeVal::new(20, 0);
        let option = nix::sys::socket::sockopt::ReceiveTimeout;
        nix::sys::socket::setsockopt(&theirs, option, &limit).unwrap();
        // SAFETY: the handler does nothing.
        unsafe { nix::sys::signal::signal(nix::sys::signal::Signal::SIGUSR1, handler) }.unwrap();
        // SAFETY: the call has no arguments.
        let waits = unsafe { nix::libc::pthread_self() };
        let sends = std::thread::spawn(move || {
            for _ in 0..20 {
                std::thread::sleep(std::time::Duration::from_millis(5));
                // SAFETY: the thread lives: it waits for what is sent below.
                unsafe { nix::libc::pthread_kill(waits, nix::libc::SIGUSR1) };
            }
            send(&ours, &[b"x"], None, MsgFlags::empty()).unwrap();
        });
        let got = receive(&theirs, &mut [0; 8], MsgFlags::empty()).unwrap();
        assert_eq!(got.0, 1);
        sends.join().unwrap();
    }

    #[test]
    fn c12_of_many_descriptors_none_stays_open_but_the_one_that_is_handed_on() {
        for count in [0, 1, 2, 3, 4, MOST] {
            let (ours, theirs) = pair().unwrap();
            let (end, held) = nix::unistd::pipe().unwrap();
            let given = vec![held.as_raw_fd(); count];
            let parts = [IoSlice::new(b"x")];
            let message = [ControlMessage::ScmRights(&given)];
            sendmsg::<UnixAddr>(ours.as_raw_fd(), &parts, &message, MsgFlags::empty(), None)
                .unwrap();
            let (length, first) = receive(&theirs, &mut [0; 8], MsgFlags::empty()).unwrap();
            assert_eq!((length, first.is_some()), (1, count > 0));
            drop((held, first));
            // The pipe ends when nobody holds its other end any more.
            let flags = nix::fcntl::OFlag::O_NONBLOCK;
            nix::fcntl::fcntl(&end, nix::fcntl::FcntlArg::F_SETFL(flags)).unwrap();
            assert_eq!(File::from(end).read(&mut [0]).unwrap(), 0, "{count}");
        }
    }
}
