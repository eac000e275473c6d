//! `cargo xtask qemu --smoke`: one headless boot, its verdict as the exit code, its figures on one line.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use regex::Regex;

use crate::machine::{Machine, MachineConfig};

/// Exit code when no verdict came in time.
pub const NO_VERDICT: u8 = 3;
/// The machine promises to be off in 5 s; the rest is QEMU and a busy host.
const POWEROFF_DEADLINE: Duration = Duration::from_secs(15);
const STATUS_DEADLINE: Duration = Duration::from_secs(10);

/// Boots, reads the verdict and the status, powers off; prints one line and returns 0 GREEN, 1 YELLOW, 2 RED (or a machine that
/// after its verdict did not answer or not power off), 3 no verdict. An error is none of these: there was no machine to ask.
pub fn run(cfg: &MachineConfig, timeout: Duration) -> Result<u8> {
    let size = |path: &Path| {
        path.metadata()
            .map(|m| m.len())
            .with_context(|| format!("stat {}", path.display()))
    };
    let (vmlinuz_bytes, spine_bytes) = (size(&cfg.kernel)?, size(&cfg.initrd)?);
    let mut machine = Machine::boot(cfg)?;
    let summary = match machine.expect(&summary_line(), timeout) {
        Ok(line) => line,
        Err(e) => {
            eprintln!("smoke: {e:#}");
            println!("verdict=none timeout_s={}", timeout.as_secs());
            return Ok(NO_VERDICT);
        }
    };
    let wall_ms = machine.age().as_millis();
    let verdict = verdict_of(&summary).unwrap_or_default();
    let status = said(status(&mut machine));
    let off = said(power_off(&mut machine));
    let figure = |key: &str| status.as_ref().and_then(|figures| figures.get(key));
    let figure = |key: &str| figure(key).map_or("unknown", String::as_str);
    println!(
        "verdict={verdict} kernel_ms={} operator_ms={} bay0_ms={} vmlinuz_bytes={vmlinuz_bytes} spine_bytes={spine_bytes} \
         pss_kb={} keeper_pss_kb={} wall_ms={wall_ms} poweroff_ms={} accel={}",
        figure("kernel_ms"),
        figure("operator_ms"),
        figure("validated_ms"),
        figure("pss_kb"),
        figure("keeper_pss_kb"),
        off.map_or("never".into(), |ms| ms.to_string()),
        cfg.accel.as_str(),
    );
    if verdict != "GREEN" {
        eprintln!("smoke: {}\n{}", summary, findings(&machine.text()));
    }
    Ok(exit_code(&verdict, status.is_some() && off.is_some()))
}

/// An error is shown; what comes after a verdict still belongs to it.
fn said<T>(result: Result<T>) -> Option<T> {
    result.inspect_err(|e| eprintln!("smoke: {e:#}")).ok()
}

/// Milliseconds until the machine was off.
fn power_off(machine: &mut Machine) -> Result<u128> {
    let begun = Instant::now();
    machine.send_line("poweroff")?;
    machine.wait_exit(POWEROFF_DEADLINE)?;
    Ok(begun.elapsed().as_millis())
}

/// The summary of a validation: after the time in brackets; without one when there is no report; of the validator itself when that
/// was given up. A finding has another component's name there.
pub const SUMMARY: &str = r"^bay0 \S+ validate: (GREEN|YELLOW|RED)( \(|$| validate: )";

/// [`SUMMARY`], to look for.
pub fn summary_line() -> Regex {
    Regex::new(SUMMARY).unwrap_or_else(|e| unreachable!("a constant pattern: {e}"))
}

fn verdict_of(summary: &str) -> Option<String> {
    summary_line().captures(summary).map(|c| c[1].to_owned())
}

fn exit_code(verdict: &str, answered: bool) -> u8 {
    match verdict {
        "GREEN" if answered => 0,
        "YELLOW" if answered => 1,
        _ => 2,
    }
}

/// Asks the operator line; returns its `key=value` figures.
pub fn status(machine: &mut Machine) -> Result<BTreeMap<String, String>> {
    let before = machine.text().len();
    machine.send_line("status")?;
    machine.expect(&Regex::new("^verdict=|[^_]verdict=")?, STATUS_DEADLINE)?;
    machine.expect(&Regex::new("^bay0> $")?, STATUS_DEADLINE)?;
    Ok(figures(machine.text().get(before..).unwrap_or_default()))
}

/// Every `key=value` word of lines that are not log lines.
fn figures(text: &str) -> BTreeMap<String, String> {
    let words = text
        .lines()
        .filter(|l| !l.starts_with("bay0 "))
        .flat_map(str::split_whitespace);
    words
        .filter_map(|w| w.split_once('='))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

fn findings(text: &str) -> String {
    let lines = text.lines().filter(|l| {
        l.contains(" FAIL: ") || l.contains("validate: RED") || l.contains("validate: YELLOW")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h15_the_summary_is_told_from_a_single_finding() {
        let line = "bay0 2.000 validate: RED (312 ms): freezer GREEN, umbilical GREEN, persist RED, log GREEN";
        assert_eq!(verdict_of(line).as_deref(), Some("RED"));
        assert_eq!(
            verdict_of("bay0 2.000 validate: RED persist: no disk; next: attach it"),
            None
        );
    }

    #[test]
    fn h15_a_validator_without_a_report_is_a_verdict() {
        for line in [
            "bay0 8.000 validate: RED validate: no report; next: try again, then reboot",
            "bay0 8.000 validate: RED validate: start: EAGAIN; next: again",
            "bay0 8.000 validate: RED",
        ] {
            assert_eq!(verdict_of(line).as_deref(), Some("RED"), "{line}");
        }
        assert_eq!(verdict_of("bay0 8.000 validate: REDUNDANT"), None);
        assert_eq!(
            verdict_of("bay0 8.000 previous: | bay0 7.000 validate: RED (3 ms): x RED"),
            None
        );
    }

    #[test]
    fn h15_exit_codes_are_the_verdicts() {
        let code = |answered| ["GREEN", "YELLOW", "RED", "?"].map(|v| exit_code(v, answered));
        assert_eq!(code(true), [0, 1, 2, 2]);
        assert_eq!(code(false), [2, 2, 2, 2]);
    }

    #[test]
    fn figures_come_from_the_reply_and_not_from_log_lines_between() {
        let text = "status\nverdict=GREEN\nbay0 3.1 previous: end=clean\nkernel_ms=900 pss_kb=1200\nbay0> ";
        let figures = figures(text);
        assert_eq!(figures.len(), 3);
        assert_eq!(figures["pss_kb"], "1200");
    }
}
