//! The health check on a plain host: what cannot be tried there is YELLOW with its reason, never GREEN and never RED.

use std::path::Path;

use bay0_validate::{feel, freezer, verdict};

const AS_ROOT: &str = "run it as root on a host with cgroup v2";
const INSIDE: &str = "run bay0 --validate inside the Spine";

/// The findings here. Must be called from a single-threaded process, as [`feel`].
pub fn findings() -> Vec<String> {
    let (cgroup, umbilical) = (bay0_persona::cgroup2_root(), bay0_umbilical::SOCKET);
    let comm = Path::new("/proc/1/comm");
    findings_at(cgroup.as_deref(), Path::new(umbilical), comm)
}

/// `comm` is the file that names PID 1: `bay0` in the Spine, where nothing is excused.
fn findings_at(cgroup: Option<&Path>, umbilical: &Path, comm: &Path) -> Vec<String> {
    let comm = std::fs::read_to_string(comm).unwrap_or_default();
    let comm = comm.trim_end();
    if comm == "bay0" {
        return feel(cgroup, umbilical);
    }
    let untried = ["umbilical", "persist", "log"].map(|name| {
        format!("YELLOW {name}: PID 1 is {comm:?}, not bay0; not tried; next: {INSIDE}")
    });
    let mut findings = vec![excused(freezer(cgroup))];
    findings.extend(untried);
    findings
}

/// That the experiment cannot be set up here is no fault of this kernel.
fn excused(line: String) -> String {
    let text = line.strip_prefix("RED freezer: ");
    match text.and_then(|text| text.split_once("; not tried; next: ")) {
        Some((what, _)) => format!("YELLOW freezer: {what}; not tried; next: {AS_ROOT}"),
        None => line,
    }
}

/// The process exit code: 0 GREEN, 1 YELLOW, 2 RED.
pub fn exit_code(findings: &[String]) -> u8 {
    match verdict(findings) {
        "GREEN" => 0,
        "YELLOW" => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests;
