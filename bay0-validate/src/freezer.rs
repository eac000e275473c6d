//! The freezer experiment (T04): CPU time is read from the kernel's own account, so that "frozen" means 0 and not "slow".

use std::fmt::Display;
use std::hint;
use std::os::fd::AsFd;
use std::path::Path;
use std::process;
use std::time::{Duration, Instant};

use bay0_persona::{Child, Group, GroupError, spawn};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, waitid};

use crate::{Finding, Level};

/// How long freezing, thawing and killing may take each.
const CHANGE_LIMIT: Duration = Duration::from_millis(500);
/// How long a runnable process may go without any CPU: many scheduler ticks, even emulated.
const BURN_LIMIT: Duration = Duration::from_millis(500);
/// How long a frozen group is watched: longer than a scheduler tick at 100 Hz.
const WATCH: Duration = Duration::from_millis(15);
/// CPU time in microseconds that proves a process runs: a frozen newborn uses some too, on its way to being frozen.
const BURN_US: u64 = 2000;
/// How often the account is read while it should rise.
const LOOK: Duration = Duration::from_millis(1);
/// The burner ends by itself after this, whatever becomes of us.
const BURNER_LIFE: Duration = Duration::from_secs(5);

const REBOOT: &str = "reboot; if it stays, this kernel is not for the Spine";
const AS_ROOT: &str = "run it as root on a host with cgroup v2";

/// Tries the freezer in a group of its own below `parent`. What cannot be set up is RED in the Spine, YELLOW elsewhere.
pub(crate) fn feel(parent: Option<&Path>, in_spine: bool) -> Finding {
    let (level, next) = match in_spine {
        true => (Level::Red, REBOOT),
        false => (Level::Yellow, AS_ROOT),
    };
    let untried = |why: &dyn Display| {
        let reason = format!("{why}; not tried");
        Finding::new("freezer", level, &reason, next)
    };
    let Some(parent) = parent else {
        return untried(&"no cgroup2 is mounted");
    };
    let group = match Group::create(parent, &format!("validate-{}", process::id())) {
        Ok(group) => group,
        Err(err) => return untried(&err),
    };
    let burner = spawn(Some(group.fd()), None, |_| burn());
    let observed = burner.as_ref().map(|burner| observe(&group, burner, || ()));
    let cleaned = clean_up(group, burner.as_ref().ok());
    match observed.map(|result| result.and_then(|note| cleaned.map(|()| note))) {
        Ok(Ok(note)) => Finding::new("freezer", Level::Green, &note, ""),
        Ok(Err(why)) => Finding::new("freezer", Level::Red, &why, REBOOT),
        Err(errno) => untried(&format!("clone a burner: {errno:?}")),
    }
}

/// The burner: in user space all the time, so that a freeze has to stop it rather than find it asleep.
fn burn() -> i32 {
    let _ = set_pdeathsig(Signal::SIGKILL);
    let begun = Instant::now();
    while begun.elapsed() < BURNER_LIFE {
        hint::spin_loop();
    }
    0
}

/// `meanwhile` is what else happens while the group is frozen: a test's hand on the lever.
fn observe(group: &Group, burner: &Child, meanwhile: impl Fn()) -> Result<String, String> {
    const STUCK: &str = "a paused room stays paused";
    const LOOSE: &str = "rooms cannot be paused";
    let so = |so: &'static str| move |err: GroupError| format!("{err}; {so}");
    let used = || group.usage_usec().map_err(so("rooms cannot be measured"));
    let burns = |so: &str| {
        let (begun, start) = (Instant::now(), used()?);
        while begun.elapsed() < BURN_LIMIT {
            let burnt = used()?.saturating_sub(start);
            if burnt >= BURN_US {
                return Ok(burnt);
            }
            burner.wait_exit(LOOK);
        }
        let (path, ms) = (group.path().display(), BURN_LIMIT.as_millis());
        Err(format!(
            "{path} used under {BURN_US} us of CPU in {ms} ms; {so}"
        ))
    };
    let burnt = burns("no room could run")?;
    let begun = Instant::now();
    group.freeze(true, CHANGE_LIMIT).map_err(so(LOOSE))?;
    let (took, before) = (begun.elapsed().as_micros(), used()?);
    burner.wait_exit(WATCH);
    let leaked = used()?.saturating_sub(before);
    if leaked > 0 {
        let path = group.path().display();
        return Err(format!("{path} used {leaked} us while frozen; {LOOSE}"));
    }
    meanwhile();
    group.freeze(false, CHANGE_LIMIT).map_err(so(STUCK))?;
    burns(STUCK)?;
    Ok(format!(
        "burnt {burnt} us, frozen in {took} us, then used 0 us"
    ))
}

/// Leaves nothing behind: frozen or not, the group is killed, its process reaped, its directory removed.
fn clean_up(group: Group, burner: Option<&Child>) -> Result<(), String> {
    let killed = group.kill(CHANGE_LIMIT);
    if let Some(burner) = burner.filter(|burner| burner.wait_exit(CHANGE_LIMIT)) {
        let _ = waitid(Id::PIDFd(burner.pidfd.as_fd()), WaitPidFlag::WEXITED);
    }
    let removed = group.remove();
    let cleaned = killed.and(removed);
    cleaned.map_err(|err| format!("{err}; a room cannot be ended"))
}

#[cfg(test)]
mod tests;
