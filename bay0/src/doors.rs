//! The two doors of PID 1, umbilical and operator line: what each verb is answered (decision 8).

use std::fmt::Display;
use std::io::Read;

use anyhow::anyhow;
use bay0_umbilical::{Server, Verb, help};
use bay0_validate::finding;

use crate::boot::told;
use crate::pid1::Bay0;
use crate::root;
use crate::shutdown::{POWER_OFF, REBOOT};
use crate::watchdog::Watchdog;

/// Newcomers and requests that a room's umbilical takes in a second (T02): each costs PID 1 time that the room's limits do not see.
pub const PER_SECOND: u32 = 128;
/// The answer to `hello`.
const HELLO: &str = concat!("bay0 ", env!("CARGO_PKG_VERSION"), "\n");
/// A vault that is no worse than it can be without a TPM, and no better (A02).
const UNSEALED: &str = "YELLOW vault: opened without a TPM; next: see docs/VAULT.md";
/// The longest line a terminal hands over (`termios(3)`): one read has all of it, so that no rest is taken for a verb.
const LINE_BYTES: usize = 4096;

impl Bay0 {
    /// Answers the clients of an umbilical: the Spine's is slot 0, a room's one more than its number. Who may say what was
    /// decided by the uid (`Verb::allowed`); a room is shown itself and what is nested in it, whatever it is called inside.
    pub fn on_umbilical(&mut self, slot: usize) {
        let calls = self.server(slot).map(Server::turn).unwrap_or_default();
        for (id, verb) in calls {
            let room = slot.checked_sub(1).and_then(|slot| self.rooms.get(&slot));
            let room = room.map(|room| room.policy.name.clone());
            let (number, mut given) = (slot.saturating_sub(1), None);
            let mut give = |gift| {
                given = Some(gift);
                String::new()
            };
            let answer = match (verb, &room) {
                (Verb::Hello, _) => Ok(HELLO.to_owned()),
                (Verb::Status, None) => Ok(self.status()),
                (Verb::Status | Verb::Rooms, _) => Ok(self.list(room.as_ref())),
                (Verb::Device, Some(_)) => self.lend(number).map(&mut give),
                (Verb::Update, Some(_)) => self.update_from(number).map(&mut give),
                (Verb::Gate(wish), Some(_)) => self.wish(number, &wish).map(&mut give),
                (Verb::Validate, None) => {
                    self.asked.push(id);
                    continue;
                }
                _ => Err(anyhow!("not at this door; next: use the operator line")),
            };
            let answer = answer.map_err(|why| why.to_string());
            if let Some(server) = self.server(slot) {
                server.reply(id, answer.as_deref().map_err(String::as_str), given);
            }
        }
    }

    /// Each second a room may ask again, and what had to wait is answered.
    pub fn refill(&mut self, slot: usize) {
        if let Some(server) = self.server(slot) {
            server.credit = (slot > 0).then_some(PER_SECOND);
        }
        self.on_umbilical(slot);
    }

    fn server(&mut self, slot: usize) -> Option<&mut Server> {
        match slot.checked_sub(1) {
            None => self.umbilical.as_mut(),
            Some(room) => self.rooms.get_mut(&room).map(|room| &mut room.server),
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
        let persist = self.trouble.first().cloned().map_or(persist, Err);
        let none = "none is armed; next: add a watchdog device, then reboot";
        let dog = self.watchdog.as_ref().map(Watchdog::counting);
        let dog = dog.unwrap_or(Err(none.to_owned()));
        let boot = match self.failed.join(", ") {
            steps if steps.is_empty() => Ok("every step done".to_owned()),
            steps => Err(format!("failed: {steps}; next: see why with log")),
        };
        let vault = match () {
            () if self.disk_is("sealed") => Some("GREEN vault: sealed to this Spine".to_owned()),
            () if self.disk_is("luks") => Some(UNSEALED.to_owned()),
            () => None,
        };
        let root = root::prove(self).map_err(|why| format!("{why:#}; next: reboot"));
        let lines = [
            finding("root", root),
            finding("persist", persist),
            finding("log", log),
            finding("watchdog", dog),
            finding("boot", boot),
        ];
        let lines: Vec<_> = lines.into_iter().chain(vault).collect();
        let report = lines.join("\n") + "\n";
        if let Some(server) = self.umbilical.as_mut() {
            for id in self.asked.drain(..) {
                server.reply(id, Ok(&report), None);
            }
        }
    }

    /// Does what was typed, and shows the answer. The terminal hands over whole lines.
    pub fn on_operator(&mut self) {
        let mut typed = [0; LINE_BYTES];
        let Some(Ok(length @ 1..)) = self.console.as_mut().map(|c| c.read(&mut typed)) else {
            // Control-D, a hang-up or an error: opened again at the next tick, so that none of them can make the loop spin.
            self.leave();
            self.console = None;
            return;
        };
        let typed = typed.get(..length).unwrap_or_default();
        if let Some(slot) = self.attached.as_ref().map(|at| at.slot) {
            return self.typed(slot, typed);
        }
        let text = String::from_utf8_lossy(typed);
        // It was typed after the prompt; one that was drawn again meanwhile stands where the answer begins.
        self.log.draw("");
        let line = text.trim();
        let answer = match Verb::parse(line) {
            Ok(Verb::Help) => help(),
            Ok(Verb::Hello) => HELLO.to_owned(),
            Ok(Verb::Status) => self.status(),
            Ok(Verb::Log) => self.log.text(),
            Ok(Verb::Rooms) => self.list(None),
            Ok(Verb::Validate) => return self.start_validator(),
            Ok(Verb::Update) => match self.update(None) {
                Err(why) => format!("update: FAIL: {why}\n"),
                Ok(()) => return,
            },
            Ok(Verb::Reseal) => return self.reseal(),
            Ok(Verb::Poweroff) => return self.shut_down(POWER_OFF, "operator"),
            Ok(Verb::Reboot) => return self.shut_down(REBOOT, "operator"),
            Ok(Verb::Device | Verb::Gate(_)) => "only a room has one; next: enter one\n".to_owned(),
            Ok(Verb::Start(name)) => return self.order("start", &name, Bay0::start),
            Ok(Verb::Stop(name)) => return self.order("stop", &name, Bay0::stop),
            Ok(Verb::Focus(name)) => return self.order("focus", &name, Bay0::focus),
            Ok(Verb::Enter(name)) => return self.order("enter", &name, Bay0::enter),
            #[cfg(feature = "fault")]
            Err(_) if line.starts_with("fault ") => self.inject(line),
            Err(_) if line.is_empty() => return,
            Err(error) => format!("{error}\n"),
        };
        self.log.draw(&answer);
    }

    /// What the factory baked in, and figures about PID 1 and its keeper: `key=value` lines, in milliseconds and kB.
    fn status(&self) -> String {
        let since = |ms: Option<u64>| ms.unwrap_or(0).saturating_sub(self.exec_ms);
        let up = if self.keeper.is_some() { "up" } else { "down" };
        let keeper = self.keeper.as_ref().map_or(0, |keeper| keeper.child.pid);
        let addresses = told("/proc/net/fib_trie") + &told("/proc/net/if_inet6");
        let rows: [(&str, &dyn Display); 14] = [
            ("verdict", &self.verdict),
            ("kernel_ms", &self.exec_ms),
            ("operator_ms", &since(self.operator_ms)),
            ("validated_ms", &since(self.validated_ms)),
            ("threads", &figure(1, "status", "Threads:")),
            ("pss_kb", &figure(1, "smaps_rollup", "Pss:")),
            ("anon_kb", &figure(1, "smaps_rollup", "Pss_Anon:")),
            ("keeper", &up),
            ("keeper_pss_kb", &figure(keeper, "smaps_rollup", "Pss:")),
            ("keeper_restarts", &self.restarts),
            ("log_seq", &self.log_seq),
            // Lines about addresses that the kernel holds for the Spine: none, always (T07).
            ("addresses", &addresses.lines().count()),
            ("reaped", &self.reaped),
            ("console_lost", &self.log.lost),
        ];
        let rows = rows.map(|(key, value)| format!("{key}={value}\n"));
        let dirty = self.trouble.iter().map(|text| format!("dirty={text}\n"));
        self.facts.clone() + &rows.concat() + &dirty.collect::<String>()
    }
}

/// A figure of a process (`proc_pid_smaps(5)`, `proc_pid_status(5)`); `unknown` on a kernel without it.
fn figure(pid: i32, file: &str, key: &str) -> String {
    let text = told(format!("/proc/{pid}/{file}"));
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(key));
    let figure = lines.find_map(|rest| rest.split_whitespace().next());
    figure.unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h20_memory_is_read_where_the_kernel_tells_it() {
        let own = nix::unistd::getpid().as_raw();
        assert!(figure(own, "smaps_rollup", "Pss:").parse::<u64>().is_ok());
        assert!(figure(own, "status", "Threads:").parse::<u64>().is_ok());
        // No process has this number: it is what a keeper that is down has.
        assert_eq!(figure(0, "smaps_rollup", "Pss:"), "unknown");
    }
}
