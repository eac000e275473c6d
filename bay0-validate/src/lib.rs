//! Health feelers (H15): small experiments on the running system, not questions about it. Fast, non-destructive, decisive.
//!
//! | component | experiment | by |
//! | --- | --- | --- |
//! | freezer | a process burns CPU, is frozen, must use none, is thawed, must burn again | this program |
//! | umbilical | connect, prove that uid 0 owns the socket and listens behind it, be answered | this program |
//! | persist, log and the rest | a marker written and read back, a record appended | bay0, asked through the umbilical |
//!
//! What cannot be tried on a plain host is YELLOW with its reason, never GREEN. Everything has its own deadline; all is well
//! within a second.

use std::fmt;
use std::path::Path;
use std::time::Instant;

use bay0_umbilical::SOCKET;

mod door;
mod freezer;

/// How well a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Tried, and it works.
    Green,
    /// Could not be tried, or works with a reservation.
    Yellow,
    /// Tried, and it does not work.
    Red,
}

impl Level {
    /// `GREEN`, `YELLOW`, `RED`.
    pub fn word(self) -> String {
        format!("{self:?}").to_uppercase()
    }
}

/// What was found out about one component. As a text it is one row, its four fields separated by tabs: level, component,
/// reason, next action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How well it is.
    pub level: Level,
    /// Its name, lower-case letters.
    pub component: String,
    /// Why it is not GREEN; what was measured if it is.
    pub reason: String,
    /// What to do about it; empty if it is GREEN.
    pub next: String,
}

impl Finding {
    /// As it is told.
    pub fn new(component: &str, level: Level, reason: &str, next: &str) -> Finding {
        Finding {
            level,
            component: component.to_owned(),
            reason: reason.to_owned(),
            next: next.to_owned(),
        }
    }

    /// GREEN with what was measured; or this bad, with what is said as `reason; next: action`.
    pub fn told(component: &str, found: Result<String, String>, bad: Level) -> Finding {
        match found {
            Ok(note) => Finding::new(component, Level::Green, &note, ""),
            Err(why) => {
                let (reason, next) = why.rsplit_once("; next: ").unwrap_or((&why, "reboot"));
                Finding::new(component, bad, reason, next)
            }
        }
    }

    /// Reads a row. Whatever is not GREEN says why and what next, and GREEN has nothing to be done.
    fn parse(row: &str) -> Option<Finding> {
        let fields: Vec<&str> = row.split('\t').collect();
        let &[level, component, reason, next] = fields.as_slice() else {
            return None;
        };
        let levels = [Level::Green, Level::Yellow, Level::Red];
        let level = levels.into_iter().find(|it| it.word() == level)?;
        let named = !component.is_empty() && component.bytes().all(|b| b.is_ascii_lowercase());
        let explained = (level == Level::Green) == next.is_empty() && !reason.is_empty();
        (named && explained).then(|| Finding::new(component, level, reason, next))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (level, component) = (self.level.word(), &self.component);
        write!(f, "{level}\t{component}\t{}\t{}", self.reason, self.next)
    }
}

/// Every finding, in the order of the experiments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The findings.
    pub findings: Vec<Finding>,
    /// How long it took, in milliseconds.
    pub ms: u128,
}

impl Report {
    /// The worst level found; RED if nothing was.
    pub fn verdict(&self) -> Level {
        let levels = self.findings.iter().map(|finding| finding.level);
        levels.max().unwrap_or(Level::Red)
    }

    /// The process exit code: 0 GREEN, 1 YELLOW, 2 RED.
    pub fn exit_code(&self) -> i32 {
        self.verdict() as i32
    }
}

/// One line per component that is not GREEN, then the summary, without a last newline.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut levels = Vec::new();
        for finding in &self.findings {
            let (word, component) = (finding.level.word(), &finding.component);
            levels.push(format!("{component} {word}"));
            if finding.level != Level::Green {
                let (reason, next) = (&finding.reason, &finding.next);
                writeln!(f, "{word} {component}: {reason}; next: {next}")?;
            }
        }
        let (word, levels) = (self.verdict().word(), levels.join(", "));
        write!(f, "{word} ({} ms): {levels}", self.ms)
    }
}

/// Runs every feeler. Must be called from a single-threaded process: the freezer's burner is cloned from it.
pub fn run() -> Report {
    let (cgroup, umbilical) = (bay0_persona::cgroup2_root(), Path::new(SOCKET));
    feel(cgroup.as_deref(), umbilical, Path::new("/proc/1/comm"))
}

/// In the cgroup v2 directory under which the freezer's group is made, if there is one; at the umbilical's socket, which uid 0
/// must own and serve; and, for the Spine, `comm` is the file that names PID 1: `bay0` there.
fn feel(cgroup: Option<&Path>, umbilical: &Path, comm: &Path) -> Report {
    let begun = Instant::now();
    let comm = std::fs::read_to_string(comm).unwrap_or_default();
    let comm = comm.trim_end();
    let in_spine = comm == "bay0";
    let mut findings = vec![freezer::feel(cgroup, in_spine)];
    let next = "run bay0 --validate inside the Spine";
    let untried = format!("PID 1 is {comm:?}, not bay0; not tried; next: {next}");
    findings.extend(match in_spine {
        true => door::feel(umbilical, 0),
        false => door::unknown(&door::COMPONENTS, &untried, Level::Yellow),
    });
    let ms = begun.elapsed().as_millis();
    Report { findings, ms }
}

#[cfg(test)]
mod tests;
