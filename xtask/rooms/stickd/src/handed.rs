//! The stick itself, as bay0 hands it over.

use std::os::fd::{AsFd, OwnedFd};

use bay0_state::gate::{ASKED, DONE};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use outside::{Ask, Refused, next};

/// How long a stick may take to be found and opened: longer than bay0 waits for that (`bay0::pid1::jobs::STICK`).
const OPENED_MS: u16 = 15_000;
/// How long a person may take to allow it, and bay0 to find it again: longer than a question lasts (`bay0::pid1::question::ASKING`).
const ALLOWED_MS: u16 = 45_000;

/// The stick that is plugged in; `asked` is called when a person has to allow it first.
///
/// # Errors
/// There is none that can be had.
pub fn stick(ask: Ask<'_>, asked: impl FnOnce()) -> Result<OwnedFd, Refused> {
    let end = ask("device stick")?;
    let late = || Refused("the stick was not opened in time; next: plug it in again".to_owned());
    let answer = |limit: u16| {
        let mut fds = [PollFd::new(end.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(limit)) {
            Ok(1..) => next(&end),
            _ => Err(late()),
        }
    };
    let mut given = answer(OPENED_MS);
    if matches!(given, Ok(Some((ASKED, ..)))) {
        asked();
        given = answer(ALLOWED_MS);
    }
    // bay0 looks for one at a time, and hangs up when it is done with this one.
    let _ = answer(OPENED_MS);
    match given? {
        Some((DONE, _, Some(stick))) => Ok(stick),
        _ => Err(late()),
    }
}
