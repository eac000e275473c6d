//! One step of the suite: a command whose output is shown as it comes and searched for the sums it prints.

use std::ffi::OsString;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result};
use regex::Regex;

use crate::layout::Layout;

/// Something to run and count.
pub struct Step {
    /// How people know it.
    pub name: &'static str,
    /// Added to the environment.
    pub env: Vec<(String, OsString)>,
    program: Program,
    args: Vec<String>,
}

enum Program {
    Cargo,
    /// This program, another subcommand.
    Own,
    /// Nothing, for this reason.
    None(&'static str),
}

impl Step {
    /// A cargo command.
    pub fn cargo(name: &'static str, args: &[&str]) -> Step {
        Step::new(name, Program::Cargo, args)
    }

    /// A subcommand of xtask.
    pub fn own(name: &'static str, args: &[&str]) -> Step {
        Step::new(name, Program::Own, args)
    }

    /// A step that cannot run here.
    pub fn skipped(name: &'static str, why: &'static str) -> Step {
        Step::new(name, Program::None(why), &[])
    }

    /// Adds arguments at the end.
    pub fn add(&mut self, args: &[&str]) {
        self.args.extend(args.iter().map(|a| (*a).to_owned()));
    }

    /// The command as a person would type it.
    pub fn shown(&self) -> String {
        match self.program {
            Program::Cargo => format!("cargo {}", self.args.join(" ")),
            Program::Own => format!("cargo xtask {}", self.args.join(" ")),
            Program::None(why) => format!("NOT RUN: {why}"),
        }
    }

    fn new(name: &'static str, program: Program, args: &[&str]) -> Step {
        let args = args.iter().map(|a| (*a).to_owned()).collect();
        Step {
            name,
            env: Vec::new(),
            program,
            args,
        }
    }
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Checks that passed and failed; a step that prints no sums is one check.
    Ran(u32, u32),
    /// It could not run, and why.
    NotRun(String),
}

impl Outcome {
    /// Checks that passed.
    pub fn passed(&self) -> u32 {
        if let Outcome::Ran(passed, _) = self {
            *passed
        } else {
            0
        }
    }

    /// Checks that failed.
    pub fn failed(&self) -> u32 {
        if let Outcome::Ran(_, failed) = self {
            *failed
        } else {
            0
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Ran(passed, failed) => write!(f, "{passed} passed, {failed} failed"),
            Outcome::NotRun(why) => write!(f, "NOT RUN: {why}"),
        }
    }
}

/// Runs a step with its output passed on, counts, and names what failed.
pub fn run(step: &Step, layout: &Layout) -> Result<(Outcome, Vec<String>)> {
    let mut command = match step.program {
        Program::Cargo => Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())),
        Program::Own => Command::new(std::env::current_exe().context("find this program")?),
        Program::None(why) => return Ok((Outcome::NotRun(why.into()), Vec::new())),
    };
    command.args(&step.args).current_dir(&layout.root);
    command.envs(step.env.iter().map(|(k, v)| (k, v)));
    command
        .env("CARGO_TERM_COLOR", "never")
        .stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("run {}", step.shown()))?;
    let stderr = child.stderr.take().context("stderr of a step")?;
    let stdout = child.stdout.take().context("stdout of a step")?;
    let other = thread::spawn(move || pass_on(stderr, |line| eprintln!("{line}")));
    let mut text = pass_on(stdout, |line| println!("{line}"));
    text.push_str(&other.join().unwrap_or_default());
    let status = child
        .wait()
        .with_context(|| format!("wait for {}", step.shown()))?;
    Ok((count(&text, status.success()), failures(&text)))
}

fn pass_on(from: impl Read, show: impl Fn(&str)) -> String {
    let mut text = String::new();
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        let shown = String::from_utf8_lossy(&line)
            .trim_end_matches('\n')
            .to_owned();
        show(&shown);
        text.push_str(&shown);
        text.push('\n');
        line.clear();
    }
    text
}

/// Names of what failed, each once: a test of nextest or libtest, a scenario of ours.
fn failures(text: &str) -> Vec<String> {
    const FAILED: &str = r"(?m)^(?:\s+(?:FAIL|TIMEOUT|SIG\w+) \[.*?s\] (?:\(.*?\) )?(.+)|test (.+) \.\.\. FAILED|FAILED(?: AGAIN)? (\w+): .*)$";
    let mut names = Vec::new();
    for found in Regex::new(FAILED)
        .iter()
        .flat_map(|it| it.captures_iter(text))
    {
        let name = found.iter().skip(1).flatten().next();
        let name = name.map_or("", |it| it.as_str()).to_owned();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let steady = |name: &String| !text.contains(&format!("\nUNSTEADY {name}: "));
    names.retain(steady);
    names
}

/// Sums of nextest (`N tests run: N passed, N failed`), libtest (`test result: …`) or a step of ours (`N passed, N failed`); the exit
/// code has the last word.
fn count(text: &str, success: bool) -> Outcome {
    // Nextest shows what a failed test printed, with libtest's sums of it.
    let by_nextest = text.lines().any(is_summary_of_nextest);
    let counts = |line: &&str| is_summary(line) && (!by_nextest || is_summary_of_nextest(line));
    let sum = |pattern: &str| -> u32 {
        let Ok(regex) = Regex::new(pattern) else {
            return 0;
        };
        let lines = text.lines().filter(counts);
        let found = lines.flat_map(|l| {
            regex
                .captures_iter(l)
                .map(|c| c[1].parse().unwrap_or(0))
                .collect::<Vec<u32>>()
        });
        found.sum()
    };
    let (passed, failed) = (
        sum(r"(\d+) passed"),
        sum(r"(\d+) (?:failed|timed out|exec failed)"),
    );
    match (passed, failed, success) {
        (0, 0, true) if !text.lines().any(is_summary) => Outcome::Ran(1, 0),
        (passed, 0, false) => Outcome::Ran(passed, 1),
        (passed, failed, _) => Outcome::Ran(passed, failed),
    }
}

fn is_summary(line: &str) -> bool {
    let line = line.trim_start();
    let ours = line.split_once(" passed, ").is_some_and(|(n, rest)| {
        n.bytes().all(|b| b.is_ascii_digit()) && rest.ends_with(" failed")
    });
    ours || line.starts_with("test result: ") || is_summary_of_nextest(line)
}

fn is_summary_of_nextest(line: &str) -> bool {
    line.trim_start().starts_with("Summary [") && line.contains(" run: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_every_runner_are_read() {
        let nextest = "     Summary [   5.100s] 120 tests run: 117 passed (1 slow), 2 failed, 1 timed out, 3 skipped\n";
        assert_eq!(count(nextest, false), Outcome::Ran(117, 3));
        let libtest = "test result: ok. 3 passed; 0 failed; 1 ignored\ntest result: FAILED. 1 passed; 2 failed; 0 ignored\n";
        assert_eq!(count(libtest, false), Outcome::Ran(4, 2));
        assert_eq!(
            count("booting\n22 passed, 1 failed\n", false),
            Outcome::Ran(22, 1)
        );
    }

    #[test]
    fn what_a_failed_test_printed_is_not_counted_again() {
        let text = "test result: FAILED. 0 passed; 1 failed; 0 ignored\n     Summary [ 5.1s] 5 tests run: 4 passed, 1 failed, 3 skipped\n";
        assert_eq!(count(text, false), Outcome::Ran(4, 1));
    }

    #[test]
    fn k06_what_failed_is_named_once_whoever_ran_it() {
        let text = "        PASS [   0.0s] (1/9) bay0 a::b\n        FAIL [   9.0s] (861/905) house tidy::tests::c\n        FAIL [   9.0s] (861/905) house tidy::tests::c\n\
            test d::e ... FAILED\nFAILED u09_f: no answer (3.0 s)\nFAILED a04_g: late (3.0 s)\nUNSTEADY a04_g: failed beside others, passes alone\nFAILED AGAIN u09_f: no answer (2.0 s)\n";
        assert_eq!(failures(text), ["house tidy::tests::c", "d::e", "u09_f"]);
    }

    #[test]
    fn a_step_without_sums_is_one_check_and_its_exit_code_decides() {
        assert_eq!(count("", true), Outcome::Ran(1, 0));
        assert_eq!(
            count("error: it does not compile\n", false),
            Outcome::Ran(0, 1)
        );
        assert_eq!(count("3 passed, 0 failed\n", false), Outcome::Ran(3, 1));
        assert_eq!(
            count(
                "     Summary [ 0.0s] 0 tests run: 0 passed, 9 skipped\n",
                true
            ),
            Outcome::Ran(0, 0)
        );
    }

    #[test]
    fn a_sentence_with_the_words_is_not_a_sum() {
        assert_eq!(
            count("note: 3 passed the gate, 1 failed later\n", true),
            Outcome::Ran(1, 0)
        );
    }
}
