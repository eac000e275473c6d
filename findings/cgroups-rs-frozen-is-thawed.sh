#!/bin/bash
# Expected: FreezerController::state of the crate cgroups-rs tells whether the processes of a group are frozen; its documentation
# says "the state of processes in the control group", and of cgroup v1 it is.
# Happens: of cgroup v2 it reads back what was last asked of this one group (cgroup.freeze). A group that is frozen with the group it is in is
# "thawed" while none of its processes runs, and "freezing" is never told. What is so stands in cgroup.events.
# Relies on it: bay0-persona/src/cgroup.rs, which takes limits from this crate and the freezer's state from cgroup.events.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src" "$dir/groups"
cat > "$dir/Cargo.toml" <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
cgroups-rs = "=0.3.4"
END
cat > "$dir/src/main.rs" <<'END'
use std::fs::{create_dir, read_to_string, remove_dir, write};
use std::path::{Path, PathBuf};
use std::process::{exit, Command};
use std::thread::sleep;
use std::time::Duration;

use cgroups_rs::freezer::{FreezerController, FreezerState};

fn ticks(pid: u32) -> u64 {
    let stat = read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.split(' ').nth(13).unwrap().parse().unwrap()
}

/// Whether the process uses the processor.
fn runs(pid: u32) -> bool {
    let before = ticks(pid);
    sleep(Duration::from_millis(500));
    ticks(pid) > before
}

fn main() {
    let outer = PathBuf::from(std::env::args().nth(1).unwrap());
    let inner = outer.join("inner");
    let group = |path: &Path| FreezerController::new(path.to_path_buf(), true);
    create_dir(&outer).and_then(|()| create_dir(&inner)).unwrap();
    let mut busy = Command::new("sh").args(["-c", "ulimit -t 20; while :; do :; done"]).spawn().unwrap();
    write(inner.join("cgroup.procs"), busy.id().to_string()).unwrap();
    let mut seen = Vec::new();
    let mut look = |what: &str| {
        let runs = runs(busy.id());
        let told = match group(&inner).state().unwrap() {
            FreezerState::Thawed => "thawed",
            FreezerState::Freezing => "freezing",
            FreezerState::Frozen => "frozen",
        };
        let events = read_to_string(inner.join("cgroup.events")).unwrap();
        let frozen = events.lines().find(|line| line.starts_with("frozen")).unwrap().to_string();
        println!("{what}: the crate says {told}, cgroup.events {frozen:?}, the process runs: {runs}");
        seen.push((told, frozen, runs));
    };
    look("at first");
    group(&inner).freeze().unwrap();
    look("inner group frozen");
    group(&inner).thaw().unwrap();
    group(&outer).freeze().unwrap();
    look("outer group frozen");
    group(&outer).thaw().unwrap();
    busy.kill().unwrap();
    busy.wait().unwrap();
    remove_dir(&inner).and_then(|()| remove_dir(&outer)).unwrap();
    let expected = [("thawed", "frozen 0", true), ("frozen", "frozen 1", false), ("thawed", "frozen 1", false)];
    let as_described = seen.iter().map(|it| (it.0, it.1.as_str(), it.2)).eq(expected);
    exit(i32::from(!as_described));
}
END
echo "cgroups-rs 0.3.4, Linux $(uname -r)"
cargo build --quiet --manifest-path "$dir/Cargo.toml"
unshare --mount sh -c 'mount -t cgroup2 none "$1/groups" && "$1/target/debug/finding" "$1/groups/finding-$$"' sh "$dir"
