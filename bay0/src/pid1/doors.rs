//! The door of programs, the umbilical: what each verb is answered (decision 8). The door of a person is `operator`.

use std::fmt::Display;

use anyhow::anyhow;
use bay0_umbilical::{Server, Verb};
use bay0_validate::{Component, Finding, encode};
use nix::libc;

use crate::pid1::Bay0;
use crate::pid1::id::Door;
use crate::pid1::proof;
use crate::pid1::watchdog::Watchdog;
use crate::sys::boot_ms;
use crate::sys::{told, unix_seconds};

/// The answer to `hello`.
pub const HELLO: &str = concat!("bay0 ", env!("CARGO_PKG_VERSION"), "\n");
const SLOW: &str = "others wait; next: see what else uses the disk";
/// A vault that its recovery key has opened (A02).
const UNSEALED: &str = "not sealed to this Spine; next: reseal";

impl Bay0 {
    /// Answers the clients of an umbilical. Who may say what was
    /// decided by the uid (`Verb::allowed`); a room is shown itself and what is nested in it, whatever it is called inside.
    pub fn on_umbilical(&mut self, door: Door) {
        let calls = self.server(door).map(Server::turn).unwrap_or_default();
        for (id, verb) in calls {
            let room = match door {
                Door::Spine => None,
                Door::Room(id) => self.rooms.policy(id).map(|it| (id, it.name.clone())),
            };
            let mut given = None;
            let mut give = |gift| {
                given = Some(gift);
                String::new()
            };
            let answer = match (verb, &room) {
                (Verb::Hello, _) => Ok(HELLO.to_owned()),
                (Verb::Version, None) => Ok(self.version()),
                (Verb::Status, None) => Ok(self.status()),
                (Verb::Status | Verb::Rooms, _) => {
                    Ok(self.rooms.list(room.as_ref().map(|(_, name)| name)))
                }
                (Verb::Device, Some((id, _))) => self.rooms.lend(*id).map(&mut give),
                (Verb::Update, Some((id, _))) => self.update_from(*id).map(&mut give),
                (Verb::Gate(wish), Some((id, _))) => self.wish(*id, &wish).map(&mut give),
                (Verb::Validate, None) => {
                    self.asked.push(id);
                    continue;
                }
                _ => Err(anyhow!("not at this door; next: use the operator line")),
            };
            let answer = answer.map_err(|why| why.to_string());
            if let Some(server) = self.server(door) {
                server.reply(id, answer.as_deref().map_err(String::as_str), given);
            }
        }
    }

    fn server(&mut self, door: Door) -> Option<&mut Server> {
        match door {
            Door::Spine => self.umbilical.as_mut(),
            Door::Room(id) => self.rooms.server(id),
        }
    }

    /// Answers every validation that waits with what PID 1 itself knows of its health: one finding for each component.
    pub fn answer_validations(&mut self, probed: Result<u64, String>) {
        let marked = Ok("marker written and read back".to_owned());
        let untried = Err("not tried; next: see persist".to_owned());
        let (persist, log) = match probed {
            Ok(seq) => (marked, Ok(format!("record {seq} is durable"))),
            Err(text) if text.starts_with("append") => (marked, Err(text)),
            Err(text) => (Err(text), untried),
        };
        // A boot that began dirty stays dirty, whatever works by now.
        let dirty = self.dirty().next().cloned();
        let dirty = dirty.or(self.disk.is_read_only().cloned());
        // Slow is not dead: a probe that waits, or has its reply, is no failure.
        let slow = self.link.slow_ms().filter(|_| dirty.is_none());
        let slow = slow.filter(|_| persist.as_ref().map_or_else(String::is_empty, |_| true));
        let persist = match slow {
            Some(ms) => {
                Finding::yellow(Component::Persist, format!("requests take {ms} ms; {SLOW}"))
            }
            None => Finding::new(Component::Persist, dirty.map_or(persist, Err)),
        };
        let log = match (slow, log) {
            (Some(_), Err(text)) => Finding::yellow(Component::Log, text),
            (_, log) => Finding::new(Component::Log, log),
        };
        let none = "none is armed; next: add a watchdog device, then reboot";
        let dog = self.watchdog.as_ref().map(Watchdog::counting);
        let dog = dog.unwrap_or(Err(none.to_owned()));
        let boot = match self.failed.join(", ") {
            steps if steps.is_empty() => Ok("every step done".to_owned()),
            steps => Err(format!("failed: {steps}; next: see why with log")),
        };
        let vault = match self.disk_is("recovered") {
            true => Some(Finding::yellow(Component::Vault, UNSEALED)),
            false => self
                .is_vault()
                .then(|| Finding::new(Component::Vault, Ok("open".to_owned()))),
        };
        let root = proof::prove(self).map_err(|why| format!("{why:#}; next: reboot"));
        let findings = [
            Finding::new(Component::Root, root),
            persist,
            log,
            Finding::new(Component::Watchdog, dog),
            Finding::new(Component::Boot, boot),
        ];
        let disk = self.disk.marked().or(self.worn.first());
        let disk = disk.map(|why| Finding::yellow(Component::Disk, why));
        let all: Vec<_> = findings.into_iter().chain(vault).chain(disk).collect();
        let report = encode(&all);
        if let Some(server) = self.umbilical.as_mut() {
            for id in self.asked.drain(..) {
                server.reply(id, Ok(&report), None);
            }
        }
    }

    /// Why nothing is kept: since the boot, or until there is a keeper again.
    fn dirty(&self) -> impl Iterator<Item = &String> {
        self.trouble.iter().chain(self.link.cause())
    }

    /// Which build runs, and where from: `key=value` lines.
    pub fn version(&self) -> String {
        let line = told("/proc/cmdline");
        let (build, slot) = (proof::build(&line), self.slots.as_ref());
        let slot = slot.map_or("none", |slots| slots.here);
        format!("{}build={build}\nslot={slot}\n", self.facts.text())
    }

    /// What the factory baked in, and figures about PID 1 and its keeper: `key=value` lines, in milliseconds and kB.
    pub fn status(&self) -> String {
        let since = |ms: Option<u64>| ms.unwrap_or(0).saturating_sub(self.exec_ms);
        let up = match self.keeper {
            Some(_) if self.link.slow_ms().is_some() => "slow",
            Some(_) if self.link.cause().is_none() => "up",
            _ => "down",
        };
        let keeper = self.keeper.as_ref().map_or(0, |keeper| keeper.child.pid);
        let addresses = told("/proc/net/fib_trie") + &told("/proc/net/if_inet6");
        let (uptime, date) = (boot_ms() / 1000, utc(unix_seconds()));
        let rows: [(&str, &dyn Display); 18] = [
            ("date", &date),
            ("uptime_s", &uptime),
            (
                "verdict",
                &self.verdict.map_or(String::new(), |it| it.to_string()),
            ),
            ("protection", &self.protection()),
            ("kernel_ms", &self.exec_ms),
            ("operator_ms", &since(self.operator_ms)),
            ("validated_ms", &since(self.validated_ms)),
            ("threads", &figure(1, "status", "Threads:")),
            ("pss_kb", &figure(1, "smaps_rollup", "Pss:")),
            ("anon_kb", &figure(1, "smaps_rollup", "Pss_Anon:")),
            ("keeper", &up),
            ("keeper_ms", &self.link.slow_ms().unwrap_or(0)),
            ("keeper_pss_kb", &figure(keeper, "smaps_rollup", "Pss:")),
            ("keeper_restarts", &self.restarts),
            ("log_seq", &self.log_seq),
            // Lines about addresses that the kernel holds for the Spine: none, always (T07).
            ("addresses", &addresses.lines().count()),
            ("reaped", &self.reaper.count()),
            ("console_lost", &self.log.lost()),
        ];
        let rows = rows.map(|(key, value)| format!("{key}={value}\n"));
        let dirty = self.dirty().map(|text| format!("dirty={text}\n"));
        self.version() + &rows.concat() + &dirty.collect::<String>()
    }
}

/// A figure of a process (`proc_pid_smaps(5)`, `proc_pid_status(5)`); `unknown` on a kernel without it.
fn figure(pid: i32, file: &str, key: &str) -> String {
    let text = told(format!("/proc/{pid}/{file}"));
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
