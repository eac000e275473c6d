//! The Spine's own umbilical: the door of programs (decision 8). The door of a person is the console.

use std::path::Path;

use anyhow::{Context, Result};
use bay0_umbilical::{SOCKET, Server};
use nix::libc;

use super::id::Door;
use super::poll::{Poll, Source};
use crate::sys::text_of;

/// The answer to `hello`.
pub const HELLO: &str = concat!("bay0 ", env!("CARGO_PKG_VERSION"), "\n");

/// Who may come in; nobody before the answers are true.
#[derive(Default)]
pub struct Doors(Option<Server>);

impl Doors {
    /// Opens the Spine's.
    ///
    /// # Errors
    /// Nobody can be listened to.
    pub fn open(&mut self, poll: &mut Poll) -> Result<String> {
        let bound = Server::bind(Path::new(SOCKET));
        let server = bound.with_context(|| format!("listen at {SOCKET}"))?;
        poll.watch(&server, Source::Umbilical(Door::Spine))?;
        self.0 = Some(server);
        Ok(format!("listening on {SOCKET}"))
    }

    /// The Spine's.
    pub fn spine(&mut self) -> Option<&mut Server> {
        self.0.as_mut()
    }
}

/// A figure of a process (`proc_pid_smaps(5)`, `proc_pid_status(5)`); `unknown` on a kernel without it.
pub fn figure(pid: i32, file: &str, key: &str) -> String {
    let text = text_of(format!("/proc/{pid}/{file}"));
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(key));
    let figure = lines.find_map(|rest| rest.split_whitespace().next());
    figure.unwrap_or("unknown").to_owned()
}

/// A time in Unix seconds as a person reads it, by the clock of the whole world (`gmtime_r(3)`).
pub fn utc(seconds: u64) -> String {
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
