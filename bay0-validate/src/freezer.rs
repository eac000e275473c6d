//! The freezer experiment (T04): CPU time is read from the kernel's own account, so that "frozen" means 0 and not "slow".

use std::fmt::{self, Display, Formatter};
use std::path::Path;
use std::time::{Duration, Instant};

use bay0_persona::{Child, CloneFlags, Failed, Group, spawn};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use crate::finding::{Component, Finding, Level};

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

/// What is to be done about a freezer that does not work.
pub const REBOOT: &str = "reboot; if it stays, this kernel is not for the Spine";

/// Why the freezer does not work.
enum Stuck {
    Group(Failed),
    /// Microseconds of CPU that a frozen process used.
    Used(u64),
    Idle,
}

impl Display for Stuck {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let ms = LIMIT.as_millis();
        match self {
            Stuck::Group(error) => error.fmt(f),
            Stuck::Used(us) => write!(f, "used {us} us while frozen"),
            Stuck::Idle => write!(f, "used under {BURN_US} us of CPU in {ms} ms"),
        }
    }
}

impl From<Failed> for Stuck {
    fn from(error: Failed) -> Self {
        Stuck::Group(error)
    }
}

/// Tries the freezer in a group of its own below `parent`. What cannot be set up is as bad as `untried` says, with what is to be done then,
/// and says `not tried`. Leaves no group behind, and its burner dead: it is reaped once this process has ended.
pub fn freezer(parent: Option<&Path>, (level, next): (Level, &str)) -> Finding {
    let component = Component::Freezer;
    let untried = |why: &dyn Display| {
        Finding::at(level, component, format!("{why}; not tried; next: {next}"))
    };
    let Some(parent) = parent else {
        return untried(&"no cgroup2 is mounted");
    };
    // It is made anew, since nothing lives in one that was killed. One that cannot be removed makes the next step fail, which reports it.
    let _ = Group::open(parent.join(GROUP)).and_then(|leftover| leftover.remove(LIMIT));
    let group = match Group::create(parent, GROUP) {
        Ok(group) => group,
        Err(error) => return untried(&error),
    };
    let burner = spawn(Some(&group.dir), CloneFlags::empty(), &[], burn);
    let observed = burner.map(|burner| observe(&group, &burner, || ()));
    let removed = group.remove(LIMIT);
    match observed {
        Err(errno) => untried(&format_args!("clone a burner: {errno:?}")),
        Ok(observed) => {
            let found = observed.and_then(|note| Ok(removed.map(|()| note)?));
            let why = |why: Stuck| format!("{why}; next: {REBOOT}");
            Finding::new(component, found.map_err(why))
        }
    }
}

/// The burner: in user space all the time, so that a freeze has to stop it rather than find it asleep.
fn burn() -> i32 {
    let _ = set_pdeathsig(Signal::SIGKILL);
    let begun = Instant::now();
    while begun.elapsed() < BURNER_LIFE {}
    0
}

/// `meanwhile` is what else happens while the group is frozen: a test's hand on the lever.
fn observe(group: &Group, burner: &Child, meanwhile: impl Fn()) -> Result<String, Stuck> {
    let burnt = burns(group, burner)?;
    let begun = Instant::now();
    group.freeze(LIMIT)?;
    let took = begun.elapsed().as_micros();
    let leaked = used(group, burner, Duration::ZERO)?;
    if leaked > 0 {
        return Err(Stuck::Used(leaked));
    }
    meanwhile();
    group.thaw(LIMIT)?;
    burns(group, burner)?;
    let note = format!("burnt {burnt} us, frozen in {took} us, then used 0 us");
    Ok(note)
}

fn burns(group: &Group, burner: &Child) -> Result<u64, Stuck> {
    let burnt = used(group, burner, LIMIT)?;
    (burnt >= BURN_US).then_some(burnt).ok_or(Stuck::Idle)
}

/// CPU time used in one [`WATCH`], or in as many as it takes to prove that a process runs, until `limit` is over.
fn used(group: &Group, burner: &Child, limit: Duration) -> Result<u64, Failed> {
    let usage_us = || group.figure("cpu.stat", "usage_usec ");
    let (begun, start) = (Instant::now(), usage_us()?);
    loop {
        burner.wait_exit(WATCH);
        let used = usage_us()?.saturating_sub(start);
        if used >= BURN_US || begun.elapsed() >= limit {
            return Ok(used);
        }
    }
}

#[cfg(test)]
mod tests;
