//! `cargo xtask fuzz`: coverage-guided fuzzing of what parses foreign bytes. The targets are a package of their own,
//! `xtask/fuzz`, built with the compiler's coverage counters, which are stable flags; libFuzzer comes with it as source. What
//! reached new code is kept in `build/fuzz/TARGET`, and the next run goes on from there.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::host;
use crate::layout::Layout;
use crate::soak;
use crate::vm;

/// Each target with the longest input it is given, in bytes.
const TARGETS: [(&str, u32); 4] = [("name", 256), ("verb", 300), ("wire", 4096), ("log", 4096)];
/// Named, so that these flags are for the targets and not for build scripts, which do not link libFuzzer.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// Counts every edge and reports every comparison to libFuzzer.
const COVERAGE: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// What `cargo xtask fuzz` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:
  cargo xtask fuzz wire --for 10m     ten minutes of packets; exit 0 nothing found, 1 a crash and how to repeat it")]
pub struct FuzzArgs {
    /// Only this target
    #[arg(value_parser = TARGETS.map(|(name, _)| name))]
    pub target: Option<String>,
    /// How long each target runs: 90s, 30m, 8h
    #[arg(long = "for", default_value = "60s", value_parser = soak::duration)]
    pub length: Duration,
    /// Seed of libFuzzer's choices; what is in the corpus has a say as well
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub seed: Option<u32>,
    /// Run this one input instead: repeats a crash
    #[arg(long, value_name = "FILE", requires = "target")]
    pub input: Option<PathBuf>,
}

/// Builds the targets and runs them one after the other; 0 when nothing was found, 1 at the first crash.
pub fn command(layout: &Layout, args: &FuzzArgs) -> Result<u8> {
    let programs = build(layout)?;
    let chosen = |name: &str| args.target.as_deref().is_none_or(|t| t == name);
    for (name, longest) in TARGETS.into_iter().filter(|(name, _)| chosen(name)) {
        let seed = args.seed.unwrap_or((vm::new_seed() as u32).max(1));
        let crash = layout.build().join(format!("fuzz/{name}-{seed}.crash"));
        let mut fuzzer = Command::new(programs.join(name));
        match &args.input {
            Some(file) => fuzzer.arg(file),
            None => {
                let corpus = layout.build().join("fuzz").join(name);
                fs::create_dir_all(&corpus)
                    .with_context(|| format!("make {}", corpus.display()))?;
                println!("fuzz: {name}, seed {seed}, corpus {}", corpus.display());
                fuzzer
                    .arg(format!("-seed={seed}"))
                    .arg(format!("-max_len={longest}"))
                    .arg(format!("-max_total_time={}", args.length.as_secs()))
                    .args(["-timeout=10", "-print_final_stats=1"])
                    .arg(format!("-dict={}/words.dict", source(layout).display()))
                    .arg(format!("-exact_artifact_path={}", crash.display()))
                    .arg(corpus)
            }
        };
        let status = fuzzer.status().with_context(|| format!("run {name}"))?;
        if !status.success() {
            let file = args.input.as_ref().unwrap_or(&crash).display();
            let repeat = format!("cargo xtask fuzz {name} --input {file}");
            println!("fuzz: FAILED {name} on {file}: {status}; next: {repeat}");
            return Ok(1);
        }
    }
    Ok(0)
}

fn source(layout: &Layout) -> PathBuf {
    layout.root.join("xtask/fuzz")
}

/// The folder of the built targets.
fn build(layout: &Layout) -> Result<PathBuf> {
    host::need(&[host::TOOL_CXX])?;
    let target = layout.target(false).join("fuzz");
    let status = Command::new("cargo")
        .args(["build", "--release", "--locked", "--target", TRIPLE])
        .current_dir(source(layout))
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\x1f"))
        .status()
        .context("run cargo")?;
    ensure!(status.success(), "build the fuzz targets: {status}");
    Ok(target.join(TRIPLE).join("release"))
}
