//! Compiles `monitor.rs` for the room's own loader: the program carries it, and a compositor loads it.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a build that fails says why"
)]

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=monitor.rs");
    let var = |name: &str| env::var(name).unwrap_or_else(|why| panic!("{name}: {why}"));
    let out = Path::new(&var("OUT_DIR")).join("monitor.so");
    let mut rustc = Command::new(var("RUSTC"));
    rustc
        .args([
            "--edition=2024",
            "--crate-type=cdylib",
            "--crate-name=monitor",
            "monitor.rs",
        ])
        .args([
            "-Copt-level=z",
            "-Cpanic=abort",
            "-Cstrip=symbols",
            "-Coverflow-checks=off",
        ])
        .args(["-Ctarget-feature=-crt-static"])
        .args([
            "-Clink-arg=-nostdlib",
            "-Clink-arg=-nostartfiles",
            "-Clink-arg=-Wl,--build-id=none",
        ])
        .args(["--target", &var("TARGET")])
        .arg("-o")
        .arg(&out);
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    let status = rustc.status().expect("rustc did not start");
    assert!(status.success(), "monitor.rs: {status}");
}
