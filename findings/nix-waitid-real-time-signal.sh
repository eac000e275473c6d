#!/bin/bash
# Expected: waitid of the crate nix answers an error when nothing was waited for; a child that was reaped comes back as a status.
# Happens: for a child that ended by a real-time signal it answers EINVAL, and the child is reaped all the same: nobody learns of its end,
# and the next call says ECHILD. waitpid does the same.
# Relies on it: bay0-persona/src/ends.rs, which asks the kernel by number.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat > "$dir/Cargo.toml" <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
nix = { version = "=0.31.3", features = ["process", "signal"] }
END
cat > "$dir/src/main.rs" <<'END'
use std::process::{exit, Command};

use nix::errno::Errno;
use nix::sys::wait::{waitid, waitpid, Id, WaitPidFlag};
use nix::unistd::Pid;

fn main() {
    let ended = || {
        let child = Command::new("sh").args(["-c", "kill -34 $$"]).spawn().unwrap();
        Pid::from_raw(child.id() as i32)
    };
    let (one, other) = (ended(), ended());
    let by_id = waitid(Id::Pid(one), WaitPidFlag::WEXITED);
    let by_id_again = waitid(Id::Pid(one), WaitPidFlag::WEXITED);
    let by_pid = waitpid(other, None);
    let by_pid_again = waitpid(other, None);
    println!("nix 0.31.3, children that ended by signal 34");
    println!("waitid: {by_id:?}, then {by_id_again:?}");
    println!("waitpid: {by_pid:?}, then {by_pid_again:?}");
    let as_described = by_id == Err(Errno::EINVAL)
        && by_id_again == Err(Errno::ECHILD)
        && by_pid == Err(Errno::EINVAL)
        && by_pid_again == Err(Errno::ECHILD);
    exit(i32::from(!as_described));
}
END
cargo run --quiet --manifest-path "$dir/Cargo.toml"
