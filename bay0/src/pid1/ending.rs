//! The end (H08): bounded steps, each with its deadline, each logged; under five seconds together.

use std::net::Shutdown;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bay0_persona::disks::VARS;
use bay0_persona::{Group, ROOMS};
use bay0_state::WRITE_DEADLINE;
use nix::sys::reboot::{RebootMode, reboot};

use crate::pid1::{Bay0, CONSOLE_RETRY};
use crate::slot::starts;
use crate::sys::unix_seconds;

const UNSTOPPED: &str = "they end with the machine; next: none";
const UNKEPT: &str = "seed, time and log of this boot are lost; next: see why above";

/// Longest that killing every room may take.
const ROOMS_DEADLINE: Duration = Duration::from_millis(500);
/// Longest that the console may take for the last lines.
const CONSOLE_DEADLINE: Duration = Duration::from_millis(300);

/// How the machine goes down: as the log says it, and as the kernel is told (`reboot(2)`).
pub type End = (&'static str, RebootMode);
/// Switch off.
pub const POWER_OFF: End = ("power off", RebootMode::RB_POWER_OFF);
/// Start again.
pub const REBOOT: End = ("reboot", RebootMode::RB_AUTOBOOT);

/// Takes the machine down, after the event loop has waited for the log's last lines.
/// The watchdog stays armed: if a step hangs all the same, it ends the machine.
pub fn run(mut bay: Bay0, (word, mode): End) -> ! {
    bay.jobs.clear();
    // A boot that waits for the passphrase has neither.
    if bay.operator_ms.is_some() {
        bay.phase(("shutdown", rooms, UNSTOPPED));
        bay.phase(("shutdown", persist, UNKEPT));
    }
    // However it went, it has come to its end. What the firmware does not take counts as a power cut does.
    let _ = starts::finish(Path::new(VARS));
    bay.log.say(format!("shutdown: {word}"));
    let begun = Instant::now();
    while bay.log.is_behind() && begun.elapsed() < CONSOLE_DEADLINE {
        sleep(CONSOLE_RETRY);
        bay.log.flush();
    }
    let Err(errno) = reboot(mode);
    let text = format!("{errno:?}; a reset follows; next: none");
    bay.log.say(format!("shutdown: FAIL: {text}"));
    // Without PID 1 the kernel panics, which is a reset too.
    std::process::exit(1);
}

fn rooms(_: &mut Bay0) -> Result<String> {
    Group::open(ROOMS.into())?.kill(ROOMS_DEADLINE)?;
    Ok("rooms stopped".to_owned())
}

fn persist(bay: &mut Bay0) -> Result<String> {
    let keeper = bay.keeper.as_mut().context("no keeper")?;
    let (word, begun) = (bay.end.map_or("", |((word, _), _)| word), Instant::now());
    let closed = keeper.call("close", &[word, &unix_seconds().to_string()]);
    // It has no right to unmount: /persist goes with the last process that sees it, whatever else has failed.
    let _ = keeper.socket.shutdown(Shutdown::Both);
    let left = WRITE_DEADLINE.saturating_sub(begun.elapsed());
    let ended = keeper.child.wait_exit(left);
    closed?;
    ensure!(ended, "/persist is still mounted");
    Ok("seed and time written, database checkpointed, /persist unmounted".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pid1::LAST_LINES;

    #[test]
    fn h08_all_deadlines_together_stay_under_five_seconds() {
        // The end of the wait for the last lines is noticed at the next tick.
        let tick = Duration::from_secs(1);
        let close = bay0_state::WRITE_DEADLINE;
        let steps = [LAST_LINES, tick, ROOMS_DEADLINE, close, CONSOLE_DEADLINE];
        assert!(steps.iter().sum::<Duration>() < Duration::from_secs(5));
    }
}
