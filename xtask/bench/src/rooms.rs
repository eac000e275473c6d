//! What is measured of rooms, on the host: `peers/rooms.rs` and `peers/groups.rs` make them, with bay0's own code.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::guests::{Guests, compile};
use super::report::Figure;
use super::{HOST_SAMPLES, peers, rows};
use crate::{host, seccomp};

const SANDBOX: &str = include_str!("peers/sandbox.c");
/// The profile of most rooms.
pub const STANDARD: usize = 1;
/// Start and end, freezer, memory, and many at once. Without root nothing of it can be measured.
pub fn rooms(guests: &Guests, runs: usize) -> Result<Vec<Figure>> {
    let root = nix::unistd::geteuid().is_root();
    if root {
        for tool in [
            host::TOOL_BUSYBOX,
            host::TOOL_BWRAP,
            host::TOOL_CRUN,
            host::TOOL_RUNC,
        ] {
            super::optional(host::need(&[tool]));
        }
    }
    eprintln!(
        "bench: rooms are without limits on the host: its cgroups have no controllers for them"
    );
    let mut figures = Vec::new();
    for (task, times) in [
        ("start", HOST_SAMPLES),
        ("groups", 1),
        ("memory", 1),
        ("crowd", 2),
    ] {
        let text = if root {
            super::optional(measured(guests, task, runs * times)).unwrap_or_default()
        } else {
            let names: Vec<_> = rows(task).map(|row| row.name.as_str()).collect();
            eprintln!("bench: not measured, needs root: {}", names.join("; "));
            String::new()
        };
        figures.extend(rows(task).map(|row| row.figure(&text)));
    }
    Ok(figures)
}

fn measured(guests: &Guests, task: &str, samples: usize) -> Result<String> {
    let dir = tempfile::tempdir_in(&guests.dir)?;
    furnish(dir.path(), STANDARD)?;
    compile(dir.path(), "sandbox", SANDBOX)?;
    peers(&guests.layout, task, dir.path(), &[&samples.to_string()])
}

/// What the programs find in their folder: a payload, and the seccomp programs of a profile, by its place.
pub fn furnish(dir: &Path, profile: usize) -> Result<()> {
    let busybox = host::find("busybox").context("busybox: not installed")?;
    fs::copy(busybox, dir.join("busybox")).context("copy busybox")?;
    for (number, program) in seccomp::programs()?[profile].iter().enumerate() {
        fs::write(dir.join(format!("filter-{number}")), program).context("write a filter")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t04_each_row_has_its_own_samples_in_its_own_unit() {
        let text = "freeze-1 2000000 1000000\nfreeze-1000 9000000 3000000\nmemory 522000 545000\n";
        let of = |task: &str, place: usize| {
            let figure = rows(task).nth(place).unwrap().figure(text);
            (figure.ours, figure.peer, figure.unit)
        };
        assert_eq!(of("groups", 0), (vec![2.0], vec![1.0], "ms"));
        assert_eq!(of("groups", 1), (vec![], vec![], "ms"));
        assert_eq!(of("groups", 2), (vec![9.0], vec![3.0], "ms"));
        assert_eq!(of("memory", 0), (vec![522.0], vec![545.0], "kB"));
    }
}
