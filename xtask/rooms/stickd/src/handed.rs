//! The stick itself, as bay0 hands it over.

use std::os::fd::{AsFd, OwnedFd};

use bay0_state::gate::DONE;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use outside::{Ask, Refused, next};

/// How long a stick may take to be found and opened: longer than bay0 waits for that (`bay0::pid1::jobs::STICK`).
const OPENED_MS: u16 = 15_000;

/// The stick that is plugged in.
///
/// # Errors
/// There is none that can be had.
pub fn stick(ask: Ask<'_>) -> Result<OwnedFd, Refused> {
    let end = ask("device stick")?;
    let late = || Refused("the stick was not opened in time; next: plug it in again".to_owned());
    let mut fds = [PollFd::new(end.as_fd(), PollFlags::POLLIN)];
    if !matches!(poll(&mut fds, PollTimeout::from(OPENED_MS)), Ok(1..)) {
        return Err(late());
    }
    match next(&end)? {
        Some((DONE, _, Some(stick))) => Ok(stick),
        _ => Err(late()),
    }
}
