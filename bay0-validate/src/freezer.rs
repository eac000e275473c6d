//! The freezer experiment (T04): CPU time is read from the kernel's own account, so that "frozen" means 0 and not "slow".

use std::hint;
use std::path::Path;
use std::time::{Duration, Instant};

use bay0_persona::{Child, Group, GroupError, spawn};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use crate::{Finding, Level};
use Trouble::{Failed, Untried};

/// How long freezing, thawing and killing may take each, and how long a runnable process may go without CPU: many scheduler
/// ticks, even emulated.
const LIMIT: Duration = Duration::from_millis(500);
/// How long the group is watched before its account is read: longer than a scheduler tick at 100 Hz.
const WATCH: Duration = Duration::from_millis(15);
/// CPU time in microseconds that proves a process runs: a frozen newborn uses some too, on its way to being frozen.
const BURN_US: u64 = 2000;
/// The burner ends by itself after this, whatever becomes of us.
const BURNER_LIFE: Duration = Duration::from_secs(5);

/// The one group of all validations. They do not overlap, and one that was killed leaves it behind for the next.
const GROUP: &str = "validate";

const REBOOT: &str = "reboot; if it stays, this kernel is not for the Spine";
const AS_ROOT: &str = "run it as root on a host with cgroup v2";

/// Why it is not GREEN.
enum Trouble {
    /// It could not be set up.
    Untried(String),
    /// It was, and does not work.
    Failed(String),
}

/// Tries the freezer in a group of its own below `parent`. What cannot be set up is RED in the Spine, YELLOW elsewhere.
pub(crate) fn feel(parent: Option<&Path>, in_spine: bool) -> Finding {
    let (level, reason, next) = match experiment(parent) {
        Ok(note) => (Level::Green, note, ""),
        Err(Untried(why)) if !in_spine => (Level::Yellow, why, AS_ROOT),
        Err(Untried(why) | Failed(why)) => (Level::Red, why, REBOOT),
    };
    Finding::new("freezer", level, &reason, next)
}

/// What was measured. Leaves no group behind, and its burner dead: it is reaped once this process has ended.
fn experiment(parent: Option<&Path>) -> Result<String, Trouble> {
    let untried = |why: String| Untried(format!("{why}; not tried"));
    let parent = parent.ok_or_else(|| untried("no cgroup2 is mounted".to_owned()))?;
    // Made anew, since nothing lives in a group that was killed. One that cannot be removed is in the way and said to be.
    let _ = Group::open(parent.join(GROUP)).and_then(|leftover| leftover.remove(LIMIT));
    let group = Group::create(parent, GROUP).map_err(|err| untried(err.to_string()))?;
    let burner = spawn(Some(&group.dir), None, |_| burn());
    let burner = burner.map_err(|errno| untried(format!("clone a burner: {errno:?}")));
    let observed = burner.and_then(|burner| observe(&group, &burner, || ()).map_err(Failed));
    let removed = so(group.remove(LIMIT), "a room cannot be ended").map_err(Failed);
    observed.and_then(|note| removed.map(|()| note))
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
    let used = || so(group.usage_usec(), "rooms cannot be measured");
    let burns = |consequence| {
        let (begun, start) = (Instant::now(), used()?);
        while begun.elapsed() < LIMIT {
            burner.wait_exit(WATCH);
            let burnt = used()?.saturating_sub(start);
            if burnt >= BURN_US {
                return Ok(burnt);
            }
        }
        let what = format!("used under {BURN_US} us of CPU in {} ms", LIMIT.as_millis());
        Err(format!("{what}; {consequence}"))
    };
    let burnt = burns("no room could run")?;
    let begun = Instant::now();
    so(group.freeze(LIMIT), LOOSE)?;
    let (took, before) = (begun.elapsed().as_micros(), used()?);
    burner.wait_exit(WATCH);
    let leaked = used()?.saturating_sub(before);
    if leaked > 0 {
        return Err(format!("used {leaked} us while frozen; {LOOSE}"));
    }
    meanwhile();
    so(group.thaw(LIMIT), STUCK)?;
    burns(STUCK)?;
    let note = format!("burnt {burnt} us, frozen in {took} us, then used 0 us");
    Ok(note)
}

/// The failure of a step, with what follows from it.
fn so<T>(step: Result<T, GroupError>, consequence: &str) -> Result<T, String> {
    step.map_err(|err| format!("{err}; {consequence}"))
}

#[cfg(test)]
mod tests;
