//! A room that stands for the outside, as its program sees bay0 (U09, `docs/COURIER-PROTOCOL.md`): what it asks for at the umbilical, and the
//! connection with the courier.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use bay0_persona::packet;
use bay0_state::gate::{NOT, PACKET};
use bay0_umbilical::call;
use bay0_umbilical::client::OUTSIDE;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::MsgFlags;

/// How long an answer of bay0 may take.
const PATIENCE: Duration = Duration::from_secs(5);
const WAIT: MsgFlags = MsgFlags::empty();

/// bay0, a person or the other room has refused: `reason; next: action`.
#[derive(Debug)]
pub struct Refused(pub String);

/// Tag and data of a packet, and what came with it.
pub type Packet = (u8, Vec<u8>, Option<OwnedFd>);

/// What bay0 gives for a line of the umbilical's grammar.
pub type Ask<'a> = &'a dyn Fn(&str) -> Result<OwnedFd, Refused>;

/// Asks the bay0 that this room has.
///
/// # Errors
/// Why it gives nothing.
pub fn ask(line: &str) -> Result<OwnedFd, Refused> {
    let given = call(Path::new("/run/umbilical"), OUTSIDE, line, PATIENCE);
    let given = given.map_err(|why| Refused(why.to_string()))?.1;
    given.ok_or_else(|| Refused("bay0 has given nothing; next: report it".to_owned()))
}

/// The next packet, its tag and data, and the descriptor that came with it; none if there is none any more.
///
/// # Errors
/// It is a refusal.
pub fn next(end: &OwnedFd) -> Result<Option<Packet>, Refused> {
    let mut packet = vec![0; PACKET];
    let (length, given) = packet::receive(end, &mut packet, WAIT).unwrap_or_default();
    match packet.get(..length).and_then(<[u8]>::split_first) {
        Some((&NOT, why)) => Err(Refused(String::from_utf8_lossy(why).into_owned())),
        Some((tag, data)) => Ok(Some((*tag, data.to_vec(), given))),
        None => Ok(None),
    }
}

/// The other end is gone.
pub fn lost() -> Refused {
    Refused("bay0 has ended it; next: see its log".to_owned())
}

/// A connection with the courier.
pub struct Courier(OwnedFd);

impl Courier {
    /// Asks for it.
    ///
    /// # Errors
    /// bay0's refusal.
    pub fn open(ask: Ask<'_>, line: &str) -> Result<Self, Refused> {
        ask(line).map(Self)
    }

    /// Sends a packet.
    ///
    /// # Errors
    /// The other end is gone. Where an answer follows, that says why.
    pub fn send(&self, tag: u8, data: &[u8]) -> Result<(), Refused> {
        packet::send(&self.0, &[&[tag], data], None, WAIT).map_err(|_| lost())
    }

    /// The next packet: its tag and data.
    ///
    /// # Errors
    /// There is none any more; or it is a refusal.
    pub fn next(&self) -> Result<(u8, Vec<u8>), Refused> {
        let (tag, data, _) = next(&self.0)?.ok_or_else(lost)?;
        Ok((tag, data))
    }

    /// Whether there is something to be read.
    pub fn has_answer(&self) -> bool {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..))
    }

    /// Waits until a packet comes; whether one did before whoever waits for it said something, of which there may be more already.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn waits(&self, other: &impl AsFd, has_more: bool) -> nix::Result<bool> {
        let mut fds = [
            PollFd::new(self.0.as_fd(), PollFlags::POLLIN),
            PollFd::new(other.as_fd(), PollFlags::POLLIN),
        ];
        let limit = match has_more {
            true => PollTimeout::ZERO,
            false => PollTimeout::NONE,
        };
        poll(&mut fds, limit)?;
        Ok(fds.first().and_then(PollFd::any) == Some(true))
    }
}
