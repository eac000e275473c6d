//! Health feelers (H15): small experiments on the running system, not questions about it. Fast, non-destructive, decisive.
//!
//! | component | experiment | by |
//! | --- | --- | --- |
//! | freezer | a process burns CPU, is frozen, must use none, is thawed, must burn again | this program |
//! | umbilical | connect, prove that uid 0 owns the socket and listens behind it, be answered | this program |
//! | root | the device is the verified one, a write is refused, the kernel says what it must | this program |
//! | persist, log and the rest | a marker written and read back, a record appended | bay0, asked through the umbilical |
//!
//! A [`Finding`] is GREEN with what was measured, or RED with `REASON; next: ACTION`. YELLOW is what was not tried. Everything has its own
//! deadline; all is well within a second.

use std::path::Path;
use std::time::Instant;

use bay0_persona::confine::{Rights, confine};
use bay0_umbilical::SOCKET;

pub use finding::{Component, Finding, Level, Report, decode, encode, verdict};
pub use freezer::{REBOOT, freezer};
pub use verified::{NotProven, Root};

mod door;
mod finding;
mod freezer;
mod verified;

/// Feels everything, beside what was found of the `root`, in the cgroup v2 directory under which the freezer's group is made, if there is
/// one, and at the umbilical's socket, which uid 0 must own and serve. Must be called from a single-threaded process: the freezer's burner is cloned from it.
pub fn feel(cgroup: Option<&Path>, umbilical: &Path, root: Option<Finding>) -> Vec<Finding> {
    let freezer = freezer(cgroup, (Level::Red, REBOOT));
    let (answers, rest) = door::feel(umbilical, 0);
    let own = [freezer, answers].into_iter().chain(root);
    own.chain(rest).collect()
}

/// The report on the Spine, as [`feel`] makes it there, by a process that gives up its rights once it has asked the device mapper for the
/// root. None where that cannot be.
pub fn run(root: &Root<'_>) -> Option<Report> {
    let begun = Instant::now();
    let root = root.prove().map_err(|why| format!("{why}; next: reboot"));
    let root = Some(Finding::new(Component::Root, root));
    confine(Rights::Feel).ok()?;
    let cgroup = bay0_persona::cgroup2_root();
    let findings = feel(cgroup.as_deref(), Path::new(SOCKET), root);
    let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Some(Report { ms, findings })
}

#[cfg(test)]
mod tests;
