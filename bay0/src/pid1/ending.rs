//! The end (H08): bounded steps, each with its deadline, each logged; under five seconds together.

use std::net::Shutdown;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bay0_persona::confine::{Rights, confine};
use bay0_persona::disks::VARS;
use bay0_persona::{Child, CloneFlags, Group, ROOMS, spawn};
use bay0_state::{Keeper, Request, WRITE_DEADLINE};
use nix::sys::reboot::{RebootMode, reboot};

use super::say::{CONSOLE_RETRY, Log};
use crate::slot::starts;
use crate::sys::unix_seconds;

/// What follows if the rooms do not end.
pub const UNSTOPPED: &str = "they end with the machine; next: none";
/// What follows if the keeper does not close.
pub const UNKEPT: &str = "seed, time and log of this boot are lost; next: see why above";

/// Longest that the log's last lines are waited for at the end, to the next tick.
pub const LAST_LINES: Duration = Duration::from_secs(1);
/// Longest that killing every room may take.
const ROOMS_DEADLINE: Duration = Duration::from_millis(500);
/// Longest that the console may take for the last lines, and the firmware to remember the end.
const CONSOLE_DEADLINE: Duration = Duration::from_millis(300);

/// How the machine goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Switch off.
    PowerOff,
    /// Start again.
    Reboot,
}

impl Way {
    /// As the log says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::PowerOff => "power off",
            Self::Reboot => "reboot",
        }
    }
}

/// Ends every room.
///
/// # Errors
/// They do not end in time.
pub fn stop_rooms() -> Result<String> {
    Group::open(ROOMS.into())?.kill(ROOMS_DEADLINE)?;
    Ok("rooms stopped".to_owned())
}

/// Has the keeper write what is left, and waits until `/persist` is unmounted.
///
/// # Errors
/// What is lost.
pub fn close(keeper: Option<&mut Keeper>, way: Way) -> Result<String> {
    let (keeper, begun) = (keeper.context("no keeper")?, Instant::now());
    let closed = keeper.call(Request::Close(way.word().to_owned(), unix_seconds()));
    // It has no right to unmount: /persist goes with the last process that sees it, whatever else has failed.
    let _ = keeper.socket.shutdown(Shutdown::Both);
    let left = WRITE_DEADLINE.saturating_sub(begun.elapsed());
    let ended = keeper.child.wait_exit(left);
    closed?;
    ensure!(ended, "/persist is still mounted");
    Ok("seed and time written, database checkpointed, /persist unmounted".to_owned())
}

/// Has a child tell the firmware that this boot has come to its end, however it goes. What the firmware has not taken when the rest is
/// done counts as a power cut does.
pub fn remember() -> Option<Child> {
    let finish = || {
        let walls = confine(Rights::Firmware).map_err(Into::into);
        i32::from(
            walls
                .and_then(|()| starts::finish(Path::new(VARS)))
                .is_err(),
        )
    };
    spawn(None, CloneFlags::empty(), &[], finish).ok()
}

/// Takes the machine down. The watchdog stays armed: if a step hangs all the same, it ends the machine.
pub fn finish(way: Way, log: &mut Log, firmware: Option<&Child>) -> ! {
    log.say(format!("shutdown: {}", way.word()));
    let begun = Instant::now();
    let asked = || firmware.is_some_and(|it| !it.wait_exit(Duration::ZERO));
    while (log.is_behind() || asked()) && begun.elapsed() < CONSOLE_DEADLINE {
        sleep(CONSOLE_RETRY);
        log.flush();
    }
    let Err(errno) = reboot(match way {
        Way::PowerOff => RebootMode::RB_POWER_OFF,
        Way::Reboot => RebootMode::RB_AUTOBOOT,
    });
    let text = format!("{errno:?}; a reset follows; next: none");
    log.say(format!("shutdown: FAIL: {text}"));
    // Without PID 1 the kernel panics, which is a reset too.
    std::process::exit(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h08_all_deadlines_together_stay_under_five_seconds() {
        // The end of the wait for the last lines is noticed at the next tick.
        let tick = Duration::from_secs(1);
        let close = bay0_state::WRITE_DEADLINE;
        let steps = [LAST_LINES, tick, ROOMS_DEADLINE, close, CONSOLE_DEADLINE];
        assert!(steps.iter().sum::<Duration>() < Duration::from_secs(5));
    }
}
