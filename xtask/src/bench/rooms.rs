//! What is measured of rooms, on the host: `peers/rooms.rs` and `peers/groups.rs` make them, with bay0's own code.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::guests::{Guests, compile};
use super::report::{Figure, Target};
use super::{HOST_SAMPLES, peers, samples};
use crate::{host, seccomp};

const SANDBOX: &str = include_str!("peers/sandbox.c");
/// Microseconds in a millisecond.
const MS: f64 = 1000.0;

/// A row: the name of its samples, of itself, of what stands beside it, and what it should be.
type Row = (&'static str, &'static str, &'static str, Target);

const BARE: &str = "bare write";
const ONE: &str = "beside 1";
const START: [Row; 5] = [
    times("least", "room, start to end of true", "bare sandbox", 1.3),
    times("same", "the same", "bare, with all that a room has", 1.3),
    times("bwrap", "the same", "bubblewrap", 1.0),
    times("crun", "the same", "crun", 1.0),
    times("runc", "the same", "runc", 1.0),
];
const GROUPS: [Row; 9] = [
    times("freeze-1", "freeze, 1 busy process", BARE, 1.2),
    times("freeze-100", "freeze, 100", BARE, 1.2),
    times("freeze-1000", "freeze, 1000", BARE, 1.2),
    times("thaw-1", "thaw, 1 busy process", BARE, 2.0),
    times("thaw-100", "thaw, 100", BARE, 2.0),
    times("thaw-1000", "thaw, 1000", BARE, 2.0),
    times("stop-1", "stop, 1 busy process", BARE, 1.3),
    times("stop-100", "stop, 100", BARE, 1.3),
    times("stop-1000", "stop, 1000", BARE, 1.3),
];
const MEMORY: [Row; 1] = [(
    "memory",
    "idle room's init, proportional",
    "bubblewrap's own two",
    Target::AtMost(1000.0),
)];
const CROWD: [Row; 3] = [
    times("crowd-10", "room, beside 10 others", ONE, 1.3),
    times("crowd-100", "room, beside 100", ONE, 1.3),
    times("crowd-1000", "room, beside 1000", ONE, 1.3),
];

/// A row that is to be at most so many times what stands beside it.
const fn times(key: &'static str, name: &'static str, beside: &'static str, most: f64) -> Row {
    (key, name, beside, Target::Times(most))
}

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
    for (task, rows, times) in [
        ("start", START.as_slice(), HOST_SAMPLES),
        ("groups", &GROUPS, 1),
        ("memory", &MEMORY, 1),
        ("crowd", &CROWD, 2),
    ] {
        let text = if root {
            super::optional(measured(guests, task, runs * times)).unwrap_or_default()
        } else {
            let names: Vec<_> = rows.iter().map(|row| row.1).collect();
            eprintln!("bench: not measured, needs root: {}", names.join("; "));
            String::new()
        };
        figures.extend(rows.iter().map(|row| figure(row, &text)));
    }
    Ok(figures)
}

fn figure(&(key, name, beside, target): &Row, text: &str) -> Figure {
    let (unit, scale) = match key {
        "memory" => ("kB", 1.0),
        _ => ("ms", MS),
    };
    let row = (name, unit, beside, target);
    Figure::of(row, samples(text, key), |it| it / scale)
}

fn measured(guests: &Guests, task: &str, samples: usize) -> Result<String> {
    let dir = tempfile::tempdir_in(&guests.dir)?;
    furnish(dir.path())?;
    peers(&guests.layout, task, dir.path(), &[&samples.to_string()])
}

/// What the programs find in their folder: a payload, the bare sandbox, the seccomp programs.
fn furnish(dir: &Path) -> Result<()> {
    let busybox = host::find("busybox").context("busybox: not installed")?;
    fs::copy(busybox, dir.join("busybox")).context("copy busybox")?;
    compile(dir, "sandbox", SANDBOX)?;
    // The profile of most rooms.
    let [_, standard, _] = seccomp::programs()?;
    for (number, program) in standard.iter().enumerate() {
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
        let of = |row: &Row| {
            let figure = figure(row, text);
            (figure.ours, figure.peer, figure.unit)
        };
        assert_eq!(of(&GROUPS[0]), (vec![2.0], vec![1.0], "ms"));
        assert_eq!(of(&GROUPS[1]), (vec![], vec![], "ms"));
        assert_eq!(of(&GROUPS[2]), (vec![9.0], vec![3.0], "ms"));
        assert_eq!(of(&MEMORY[0]), (vec![522.0], vec![545.0], "kB"));
    }
}
