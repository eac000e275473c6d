//! The figures that `status` shows: of PID 1, its keeper and the disk.

use std::fmt::Display;

use nix::libc;

use super::health::Health;
use super::keeper::Keeping;
use super::say::Log;
use super::stage::Stage;
use crate::sys::{boot_ms, text_of, unix_seconds};

/// `key=value` lines, times in milliseconds and memory in kB. `exec_ms`: bay0's first instruction, since the kernel started.
pub fn rows(
    exec_ms: u64,
    stage: Stage,
    health: &Health,
    keeper: &Keeping,
    log: &Log,
    reaped: usize,
) -> String {
    let since = |ms: Option<u64>| ms.unwrap_or(0).saturating_sub(exec_ms);
    let (up, pid, restarts) = keeper.figures();
    let addresses = text_of("/proc/net/fib_trie") + &text_of("/proc/net/if_inet6");
    let (uptime, date) = (boot_ms() / 1000, utc(unix_seconds()));
    let verdict = health.verdict().map(|it| it.to_string());
    let rows: [(&str, &dyn Display); 18] = [
        ("date", &date),
        ("uptime_s", &uptime),
        ("verdict", &verdict.unwrap_or_default()),
        ("protection", &keeper.protection()),
        ("kernel_ms", &exec_ms),
        ("operator_ms", &since(stage.up_ms())),
        ("validated_ms", &since(health.validated_ms())),
        ("threads", &figure(1, "status", "Threads:")),
        ("pss_kb", &figure(1, "smaps_rollup", "Pss:")),
        ("anon_kb", &figure(1, "smaps_rollup", "Pss_Anon:")),
        ("keeper", &up),
        ("keeper_ms", &keeper.slow_ms().unwrap_or(0)),
        ("keeper_pss_kb", &figure(pid, "smaps_rollup", "Pss:")),
        ("keeper_restarts", &restarts),
        ("log_seq", &keeper.log_seq()),
        // Lines about addresses that the kernel holds for the Spine: none, always (T07).
        ("addresses", &addresses.lines().count()),
        ("reaped", &reaped),
        ("console_lost", &log.lost()),
    ];
    let rows = rows.map(|(key, value)| format!("{key}={value}\n"));
    let dirty = health.trouble().iter().chain(keeper.cause());
    let dirty = dirty.map(|text| format!("dirty={text}\n"));
    rows.into_iter().chain(dirty).collect()
}

/// A figure of a process (`proc_pid_smaps(5)`, `proc_pid_status(5)`); `unknown` on a kernel without it.
fn figure(pid: i32, file: &str, key: &str) -> String {
    let text = text_of(format!("/proc/{pid}/{file}"));
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(key));
    let figure = lines.find_map(|rest| rest.split_whitespace().next());
    figure.unwrap_or("unknown").to_owned()
}

/// A time in Unix seconds as a person reads it, by the clock of the whole world (`gmtime_r(3)`).
fn utc(seconds: u64) -> String {
    let time = libc::time_t::try_from(seconds).unwrap_or(libc::time_t::MAX);
    // SAFETY: every field is a number, or a pointer that nobody follows.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both are places of this frame, and the call keeps neither.
    unsafe { libc::gmtime_r(&raw const time, &raw mut tm) };
    let (year, month) = (tm.tm_year.saturating_add(1900), tm.tm_mon.saturating_add(1));
    let (hour, minute, second) = (tm.tm_hour, tm.tm_min, tm.tm_sec);
    format!(
        "{year}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z",
        tm.tm_mday
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h16_a_time_is_shown_as_a_date() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(1_709_251_199), "2024-02-29T23:59:59Z");
        assert_eq!(utc(1_795_286_651), "2026-11-21T18:44:11Z");
        // Further than any year: nothing is shown wrong, and nothing breaks.
        assert!(utc(u64::MAX).ends_with('Z'));
    }

    #[test]
    fn h20_memory_is_read_where_the_kernel_tells_it() {
        let own = nix::unistd::getpid().as_raw();
        assert!(figure(own, "smaps_rollup", "Pss:").parse::<u64>().is_ok());
        assert!(figure(own, "status", "Threads:").parse::<u64>().is_ok());
        // No process has this number: it is what a keeper that is down has.
        assert_eq!(figure(0, "smaps_rollup", "Pss:"), "unknown");
    }
}
