//! `cargo xtask qemu --smoke`: one headless boot, its verdict as the exit code, its figures on one line.

use std::collections::BTreeMap;
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
/// did not power off), 3 no verdict.
pub fn run(cfg: &MachineConfig, timeout: Duration) -> Result<u8> {
    let mut machine = Machine::boot(cfg)?;
    let summary = match machine.expect(&summary_line(), timeout) {
        Ok(line) => line,
        Err(e) => {
            eprintln!("smoke: {e:#}");
            println!("verdict=none timeout_s={}", timeout.as_secs());
            return Ok(NO_VERDICT);
        }
    };
    let wall = machine.age();
    let verdict = verdict_of(&summary).unwrap_or_default();
    let status = status(&mut machine)?;
    machine.send_line("poweroff")?;
    let off = Instant::now();
    let ended = machine.wait_exit(POWEROFF_DEADLINE);
    let figure = |key: &str| status.get(key).map_or("unknown", String::as_str);
    let size = |path: &std::path::Path| {
        path.metadata()
            .map(|m| m.len())
            .with_context(|| format!("stat {}", path.display()))
    };
    println!(
        "verdict={verdict} kernel_ms={} operator_ms={} bay0_ms={} vmlinuz_bytes={} spine_bytes={} pss_kb={} keeper_pss_kb={} \
         wall_ms={} poweroff_ms={} accel={}",
        figure("kernel_ms"),
        figure("operator_ms"),
        figure("validated_ms"),
        size(&cfg.kernel)?,
        size(&cfg.initrd)?,
        figure("pss_kb"),
        figure("keeper_pss_kb"),
        wall.as_millis(),
        if ended.is_ok() {
            off.elapsed().as_millis().to_string()
        } else {
            "never".into()
        },
        cfg.accel.as_str(),
    );
    if verdict != "GREEN" {
        eprintln!("smoke: {}\n{}", summary, findings(&machine.text()));
    }
    ended.map(|_| exit_code(&verdict)).or_else(|e| {
        eprintln!("smoke: {e:#}");
        Ok(2)
    })
}

/// The summary of a validation; a single finding has its component where this has the time in brackets.
pub fn summary_line() -> Regex {
    Regex::new(r"^bay0 \S+ validate: (GREEN|YELLOW|RED) \(")
        .unwrap_or_else(|e| unreachable!("a constant pattern: {e}"))
}

fn verdict_of(summary: &str) -> Option<String> {
    summary_line().captures(summary).map(|c| c[1].to_owned())
}

fn exit_code(verdict: &str) -> u8 {
    match verdict {
        "GREEN" => 0,
        "YELLOW" => 1,
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
    fn h15_exit_codes_are_the_verdicts() {
        assert_eq!(["GREEN", "YELLOW", "RED", "?"].map(exit_code), [0, 1, 2, 2]);
    }

    #[test]
    fn figures_come_from_the_reply_and_not_from_log_lines_between() {
        let text = "status\nverdict=GREEN\nbay0 3.1 previous: end=clean\nkernel_ms=900 pss_kb=1200\nbay0> ";
        let figures = figures(text);
        assert_eq!(figures.len(), 3);
        assert_eq!(figures["pss_kb"], "1200");
    }
}
