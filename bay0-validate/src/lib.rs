//! Health feelers (H15): small experiments on the running system, not questions about it. Fast, non-destructive, decisive.
//!
//! | component | experiment | by |
//! | --- | --- | --- |
//! | freezer | a process burns CPU, is frozen, must use none, is thawed, must burn again | this program |
//! | umbilical | connect, prove that uid 0 owns the socket and listens behind it, be answered | this program |
//! | persist, log and the rest | a marker written and read back, a record appended | bay0, asked through the umbilical |
//!
//! A finding is its line of text, wherever it is: in bay0's answer, in the report, on the console. It is `GREEN COMPONENT: NOTE`
//! with what was measured, or `RED COMPONENT: REASON; next: ACTION`. YELLOW is what was not tried. Everything has its own
//! deadline; all is well within a second.

use std::path::Path;
use std::time::Instant;

use bay0_persona::confine::{Rights, confine};
use bay0_umbilical::SOCKET;

pub use freezer::freezer;

mod door;
mod freezer;

/// How well a component may be, the worst first.
const LEVELS: [&str; 3] = ["RED", "YELLOW", "GREEN"];
/// The line for one component, whose name is lower-case letters: GREEN with what was measured; or RED with what is said as
/// `reason; next: action`.
pub fn finding(component: &str, found: Result<String, String>) -> String {
    match found {
        Ok(note) => format!("GREEN {component}: {note}"),
        Err(why) => format!("RED {component}: {why}"),
    }
}

/// The worst level found; RED if nothing was.
pub fn verdict(findings: &[String]) -> &'static str {
    let found = |level: &&str| findings.iter().any(|line| line.starts_with(*level));
    LEVELS.into_iter().find(found).unwrap_or("RED")
}

/// The findings that are not GREEN, then the summary, without a last newline.
pub fn report(findings: &[String], ms: u128) -> String {
    let (mut bad, mut levels) = (String::new(), Vec::new());
    for line in findings {
        let (level, rest) = line.split_once(' ').unwrap_or_default();
        let (component, _) = rest.split_once(':').unwrap_or_default();
        levels.push(format!("{component} {level}"));
        if level != "GREEN" {
            bad = bad + line + "\n";
        }
    }
    let (verdict, levels) = (verdict(findings), levels.join(", "));
    format!("{bad}{verdict} ({ms} ms): {levels}")
}

/// Feels everything in the cgroup v2 directory under which the freezer's group is made, if there is one, and at the umbilical's
/// socket, which uid 0 must own and serve. Must be called from a single-threaded process: the freezer's burner is cloned from it.
pub fn feel(cgroup: Option<&Path>, umbilical: &Path) -> Vec<String> {
    [vec![freezer(cgroup)], door::feel(umbilical, 0)].concat()
}

/// The report on the Spine, as [`feel`] makes it there, by a process that has no capability any more. Nothing where that cannot be.
pub fn run() -> String {
    if confine(Rights::Feel).is_err() {
        return String::new();
    }
    let begun = Instant::now();
    let cgroup = bay0_persona::cgroup2_root();
    let findings = feel(cgroup.as_deref(), Path::new(SOCKET));
    report(&findings, begun.elapsed().as_millis())
}

#[cfg(test)]
mod tests;
