//! `cargo xtask fuzz`: coverage-guided fuzzing of what parses foreign bytes. The targets are a package of their own,
//! `xtask/fuzz`, built with the compiler's coverage counters, which are stable flags; libFuzzer comes with it as source. What
//! reached new code is kept in `build/fuzz/TARGET`, and the next run goes on from there. With `--runs` nothing is kept and nothing gone on
//! with, so that the inputs depend on the seed alone: what `cargo xtask test` runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::host;
use crate::layout::Layout;
use crate::soak;
use crate::vm;

/// Each target with the longest input it is given, in bytes.
const TARGETS: [(&str, u32); 8] = [
    ("name", 256),
    ("verb", 600),
    ("wire", 4096),
    ("log", 4096),
    ("dhcp", 1500),
    ("dns", 1500),
    ("router", 512),
    ("organ", 1024),
];
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
pub struct FuzzArgs {
    /// Only this target
    #[arg(value_parser = TARGETS.map(|(name, _)| name))]
    pub target: Option<String>,
    /// How long each target runs: 90s, 30m, 8h
    #[arg(long = "for", default_value = "60s", value_parser = soak::duration)]
    pub length: Duration,
    /// Instead of --for: so many inputs for each target, from an empty corpus
    #[arg(long, conflicts_with_all = ["length", "input"], value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: Option<u32>,
    /// Seed of libFuzzer's choices; what is in the corpus has a say as well
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub seed: Option<u32>,
    /// Run this one input instead: repeats a crash
    #[arg(long, value_name = "FILE", requires = "target")]
    pub input: Option<PathBuf>,
}

/// How much of a target is run.
#[derive(Clone, Copy)]
enum Amount {
    /// So long, on the kept corpus.
    Time(Duration),
    /// So many inputs, from nothing.
    Runs(u32),
}

/// Builds the targets and runs them one after the other; 0 when nothing was found, 1 at the first crash.
pub fn command(layout: &Layout, args: &FuzzArgs) -> Result<u8> {
    let programs = build(layout)?;
    let chosen = |name: &str| args.target.as_deref().is_none_or(|t| t == name);
    let amount = args.runs.map_or(Amount::Time(args.length), Amount::Runs);
    let mut passed = 0;
    for target in TARGETS.iter().filter(|(name, _)| chosen(name)) {
        let seed = args.seed.unwrap_or((vm::new_seed() as u32).max(1));
        let found = match &args.input {
            Some(file) => again(&programs, target.0, file)?,
            None => search(layout, &programs, target, seed, amount)?,
        };
        if let Some(crash) = found {
            println!("fuzz: FAILED {crash}\n{passed} passed, 1 failed");
            return Ok(1);
        }
        passed += 1;
    }
    println!("{passed} passed, 0 failed");
    Ok(0)
}

/// One case of a long run: the target and its seed depend on the number; the corpus has grown since, and has a say as well.
pub fn case(
    layout: &Layout,
    programs: &Path,
    seed: u32,
    number: u64,
    time: Duration,
) -> Result<()> {
    let target = &TARGETS[number as usize % TARGETS.len()];
    match search(layout, programs, target, seed.max(1), Amount::Time(time))? {
        Some(crash) => bail!("{crash}"),
        None => Ok(()),
    }
}

/// What libFuzzer found, if anything, and how to repeat it.
fn search(
    layout: &Layout,
    programs: &Path,
    (name, longest): &(&str, u32),
    seed: u32,
    amount: Amount,
) -> Result<Option<String>> {
    let kept = layout.build().join("fuzz");
    let corpus = kept.join(name);
    fs::create_dir_all(&corpus).with_context(|| format!("make {}", corpus.display()))?;
    let crash = kept.join(format!("{name}-{seed}.crash"));
    let mut fuzzer = Command::new(programs.join(name));
    fuzzer
        .arg(format!("-seed={seed}"))
        .arg(format!("-max_len={longest}"))
        .args(["-timeout=10", "-print_final_stats=1"])
        .arg(format!("-dict={}/words.dict", source(layout).display()))
        .arg(format!("-exact_artifact_path={}", crash.display()));
    match amount {
        Amount::Time(time) => {
            println!("fuzz: {name}, seed {seed}, corpus {}", corpus.display());
            // 0 would be for ever.
            let seconds = time.as_secs().max(1);
            fuzzer.arg(format!("-max_total_time={seconds}")).arg(corpus);
        }
        Amount::Runs(runs) => {
            println!("fuzz: {name}, seed {seed}, {runs} inputs");
            fuzzer.arg(format!("-runs={runs}"));
        }
    }
    ended(&mut fuzzer, name, &crash)
}

/// One input, that of a crash.
fn again(programs: &Path, name: &str, file: &Path) -> Result<Option<String>> {
    ended(Command::new(programs.join(name)).arg(file), name, file)
}

fn ended(fuzzer: &mut Command, name: &str, file: &Path) -> Result<Option<String>> {
    let status = fuzzer.status().with_context(|| format!("run {name}"))?;
    let file = file.display();
    Ok((!status.success()).then(|| {
        format!("{name} on {file}: {status}; next: cargo xtask fuzz {name} --input {file}")
    }))
}

fn source(layout: &Layout) -> PathBuf {
    layout.root.join("xtask/fuzz")
}

/// Builds the targets; their folder.
pub fn build(layout: &Layout) -> Result<PathBuf> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_ends_badly_is_a_crash_with_the_command_that_repeats_it() {
        let ended =
            |program: &str| ended(&mut Command::new(program), "wire", Path::new("f")).unwrap();
        assert_eq!(ended("true"), None);
        assert_eq!(
            ended("false").unwrap(),
            "wire on f: exit status: 1; next: cargo xtask fuzz wire --input f"
        );
    }
}
