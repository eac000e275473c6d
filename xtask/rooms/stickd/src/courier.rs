//! The connections with bay0: the stick itself, and the courier's.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use bay0_persona::packet;
use bay0_state::gate::{DONE, NOT, PACKET};
use bay0_umbilical::call;
use bay0_umbilical::client::OUTSIDE;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::MsgFlags;

use crate::trouble::Trouble;

/// How long an answer of bay0 may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a stick may take to be found and opened: longer than bay0 waits for that (`bay0::pid1::jobs::STICK`).
const OPENED_MS: u16 = 15_000;
const WAIT: MsgFlags = MsgFlags::empty();

/// What bay0 gives for a line of the umbilical's grammar; its refusal is `reason; next: action`.
pub type Ask<'a> = &'a dyn Fn(&str) -> Result<OwnedFd, String>;

/// Asks the bay0 that this room has.
///
/// # Errors
/// Why it gives nothing.
pub fn ask(line: &str) -> Result<OwnedFd, String> {
    let given = call(Path::new("/run/umbilical"), OUTSIDE, line, PATIENCE);
    let given = given.map_err(|why| why.to_string())?.1;
    given.ok_or_else(|| "bay0 has given nothing; next: report it".to_owned())
}

/// The stick that is plugged in.
///
/// # Errors
/// There is none that can be had.
pub fn stick(ask: Ask<'_>) -> Result<OwnedFd, Trouble> {
    let end = ask("device stick").map_err(Trouble::Refused)?;
    let late =
        || Trouble::Refused("the stick was not opened in time; next: plug it in again".into());
    let mut fds = [PollFd::new(end.as_fd(), PollFlags::POLLIN)];
    if !matches!(poll(&mut fds, PollTimeout::from(OPENED_MS)), Ok(1..)) {
        return Err(late());
    }
    let mut packet = vec![0; PACKET];
    let (length, given) = packet::receive(&end, &mut packet, WAIT).unwrap_or_default();
    match (packet.get(..length).and_then(<[u8]>::split_first), given) {
        (Some((&DONE, _)), Some(stick)) => Ok(stick),
        (Some((&NOT, why)), _) => Err(Trouble::Refused(String::from_utf8_lossy(why).into_owned())),
        _ => Err(late()),
    }
}

/// A connection with the courier.
pub struct Courier(OwnedFd);

impl Courier {
    /// Asks for it.
    ///
    /// # Errors
    /// bay0's refusal.
    pub fn open(ask: Ask<'_>, line: &str) -> Result<Self, Trouble> {
        ask(line).map(Self).map_err(Trouble::Refused)
    }

    /// Sends a packet; a peer that is gone is found by its answer.
    pub fn send(&self, tag: u8, data: &[u8]) {
        let _ = packet::send(&self.0, &[&[tag], data], None, WAIT);
    }

    /// The next packet: its tag and data.
    ///
    /// # Errors
    /// There is none any more; or it is a refusal.
    pub fn next(&self) -> Result<(u8, Vec<u8>), Trouble> {
        let mut packet = vec![0; PACKET];
        let (length, _) = packet::receive(&self.0, &mut packet, WAIT).unwrap_or_default();
        match packet.get(..length).and_then(<[u8]>::split_first) {
            Some((&NOT, why)) => Err(Trouble::Refused(String::from_utf8_lossy(why).into_owned())),
            Some((tag, data)) => Ok((*tag, data.to_vec())),
            None => Err(lost()),
        }
    }

    /// Whether there is something to be read.
    pub fn has_answer(&self) -> bool {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..))
    }
}

impl AsFd for Courier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The other end is gone.
pub fn lost() -> Trouble {
    Trouble::Refused("bay0 has ended it; next: see its log".to_owned())
}
