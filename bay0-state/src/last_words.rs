//! The one record that a dying PID 1 still sends: how it ends.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send};

use crate::wire::{MAX_MESSAGE, Reply, Request};

/// No ordinary request gets this far.
const LAST_ID: u64 = u64::MAX;
/// A dying PID 1 waits no longer than this for the keeper.
const PATIENCE: Duration = Duration::from_millis(200);

/// Records `end: TEXT` through the keeper's socket and waits, at most 200 ms, until it is durable; whatever fails is
/// ignored, because nobody is left to hear of it. Called from the panic hook, where [`crate::Keeper`] itself may be in use.
pub fn last_words(socket: BorrowedFd<'_>, text: &str) {
    let Ok(packet) = Request::Append(vec![format!("end: {text}")]).encode(LAST_ID) else {
        return;
    };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    if send(socket.as_raw_fd(), &packet, flags).is_err() {
        return;
    }
    let begun = Instant::now();
    let mut buffer = vec![0; MAX_MESSAGE];
    loop {
        let left = PATIENCE.saturating_sub(begun.elapsed());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        if poll(&mut [PollFd::new(socket, PollFlags::POLLIN)], timeout) != Ok(1) {
            return;
        }
        let read = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).unwrap_or(0);
        let reply = Reply::decode(buffer.get(..read).unwrap_or_default());
        // The reply to what was in flight before may come first.
        if read == 0 || reply.is_ok_and(|(id, _)| id == LAST_ID) {
            return;
        }
    }
}
