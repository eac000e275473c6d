//! `organd`: the program of `sys://ai`, see [`organd`]. This is the one that every processor can run; a newer processor goes on with
//! `organd-v3`, where that stands beside it.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// The same program for newer processors.
const NEWER: &str = "organd-v3";

#[path = "start.rs"]
mod start;

fn main() -> ExitCode {
    if is_newer()
        && let Ok(own) = std::env::current_exe()
    {
        let words = std::env::args_os().skip(1);
        // Where it is not there, this one does.
        let _ = Command::new(own.with_file_name(NEWER)).args(words).exec();
    }
    start::start()
}

/// What `organd-v3` was compiled for.
#[cfg(target_arch = "x86_64")]
fn is_newer() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("bmi2")
}

#[cfg(not(target_arch = "x86_64"))]
fn is_newer() -> bool {
    false
}
