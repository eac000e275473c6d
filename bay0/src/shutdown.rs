//! The end (H08): bounded steps, each with its deadline, each logged; under five seconds together.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bay0_persona::{Group, ROOMS, cgroup2_root};
use nix::poll::PollTimeout;
use nix::sys::reboot::{RebootMode, reboot};

use crate::boot::{Phase, unix_seconds};
use crate::pid1::Bay0;

/// The steps, after the event loop has given the log its last chance ([`LOG_MS`]).
const STEPS: [Phase; 2] = [
    ("shutdown", rooms, "they end with the machine; next: none"),
    (
        "shutdown",
        persist,
        "seed, time and log of this boot are lost; next: see why above",
    ),
];
/// Longest that killing every room may take.
const ROOMS_DEADLINE: Duration = Duration::from_secs(1);
/// Longest that the log lines still unkept may take to reach the genesis log, in milliseconds.
pub const LOG_MS: u64 = 500;
/// Longest that the console may take for the last lines.
const CONSOLE_DEADLINE: Duration = Duration::from_millis(300);

/// How the machine goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Switch off.
    PowerOff,
    /// Start again.
    Reboot,
}

impl End {
    /// As the log says it.
    pub fn word(self) -> &'static str {
        match self {
            End::PowerOff => "poweroff",
            End::Reboot => "reboot",
        }
    }
}

/// Takes the machine down. The watchdog stays armed: if a step hangs all the same, it ends the machine.
pub fn run(mut bay: Bay0, end: End) -> ! {
    bay.validator = None;
    for step in STEPS {
        bay.phase(step);
    }
    let (text, mode) = match end {
        End::PowerOff => ("shutdown: power off", RebootMode::RB_POWER_OFF),
        End::Reboot => ("shutdown: reboot", RebootMode::RB_AUTOBOOT),
    };
    bay.log.say(text);
    let begun = Instant::now();
    while !bay.log.flush() && begun.elapsed() < CONSOLE_DEADLINE {
        let _ = nix::poll::poll(&mut [], PollTimeout::from(5u8));
    }
    let Err(errno) = reboot(mode);
    bay.log.say(format!(
        "shutdown: FAIL: reboot: {errno:?}; a reset follows; next: none"
    ));
    loop {
        nix::unistd::pause();
    }
}

fn rooms(_: &mut Bay0) -> Result<String> {
    let root = cgroup2_root().unwrap_or_default().join(ROOMS);
    if !root.exists() {
        return Ok("no rooms".to_owned());
    }
    Group::open(root)?.kill(ROOMS_DEADLINE)?;
    Ok("rooms stopped".to_owned())
}

fn persist(bay: &mut Bay0) -> Result<String> {
    let mut keeper = bay.install(None).context("no keeper")?;
    keeper.close(bay.end.map_or("end", End::word), unix_seconds())?;
    Ok("seed and time written, database checkpointed, /persist unmounted".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h08_all_deadlines_together_stay_under_five_seconds() {
        let close = bay0_state::CLOSE_DEADLINE;
        let steps = [
            ROOMS_DEADLINE,
            Duration::from_millis(LOG_MS),
            close,
            CONSOLE_DEADLINE,
        ];
        assert!(steps.iter().sum::<Duration>() < Duration::from_secs(5));
    }
}
