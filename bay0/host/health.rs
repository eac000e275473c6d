//! The health check on a plain host: what cannot be tried there is YELLOW with its reason, never GREEN and never RED.

use std::path::Path;

use bay0_validate::{Component, Finding, Level, feel, freezer, verdict};

const AS_ROOT: &str = "run it as root on a host with cgroup v2";
const INSIDE: &str = "run bay0 --validate inside the Spine";

/// The findings here. Must be called from a single-threaded process, as [`feel`].
pub fn findings() -> Vec<Finding> {
    let (cgroup, umbilical) = (bay0_persona::cgroup2_root(), bay0_umbilical::SOCKET);
    let comm = Path::new("/proc/1/comm");
    findings_at(cgroup.as_deref(), Path::new(umbilical), comm)
}

/// `comm` is the file that names PID 1: `bay0` in the Spine, where nothing is excused.
fn findings_at(cgroup: Option<&Path>, umbilical: &Path, comm: &Path) -> Vec<Finding> {
    let comm = std::fs::read_to_string(comm).unwrap_or_default();
    let comm = comm.trim_end();
    if comm == "bay0" {
        return feel(cgroup, umbilical, None);
    }
    let why = format!("PID 1 is {comm:?}, not bay0; not tried; next: {INSIDE}");
    let untried = [Component::Umbilical, Component::Persist, Component::Log];
    let untried = untried.map(|it| Finding::yellow(it, why.as_str()));
    // That the experiment cannot be set up here is no fault of this kernel.
    let freezer = freezer(cgroup, (Level::Yellow, AS_ROOT));
    [freezer].into_iter().chain(untried).collect()
}

/// The process exit code: 0 GREEN, 1 YELLOW, 2 RED.
pub fn exit_code(findings: &[Finding]) -> u8 {
    match verdict(findings) {
        Level::Green => 0,
        Level::Yellow => 1,
        Level::Red => 2,
    }
}

#[cfg(test)]
mod tests;
