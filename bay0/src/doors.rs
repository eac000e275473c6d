//! The two doors of PID 1, umbilical and operator line: what each verb is answered (decision 8).

use std::fmt::Display;
use std::fs;
use std::io::Read;
use std::time::Instant;

use bay0_umbilical::{Call, Verb, help};

use crate::log::{PROMPT, boot_ms};
use crate::pid1::Bay0;
use crate::shutdown::{POWER_OFF, REBOOT};

/// The answer to `hello`.
const HELLO: &str = concat!("bay0 ", env!("CARGO_PKG_VERSION"), "\n");
/// The answer to `rooms` where no persona is recorded.
const NOBODY: &str = "no personas\n";
/// The longest line a terminal hands over (`termios(3)`): one read has all of it, so that no rest is taken for a verb.
const LINE_BYTES: usize = 4096;

impl Bay0 {
    pub(crate) fn on_umbilical(&mut self) {
        let Some(mut server) = self.umbilical.take() else {
            return;
        };
        for Call { id, verb, .. } in server.turn(Instant::now()) {
            match verb {
                Verb::Hello => server.reply(id, Ok(HELLO)),
                Verb::Status => server.reply(id, Ok(&self.status())),
                Verb::Validate => self.tally.asked.push(id),
                _ => server.reply(id, Err("not at this door; next: use the operator line")),
            }
        }
        self.umbilical = Some(server);
    }

    /// Answers every validation that waits with what PID 1 itself knows of its health, in the form the validator reads:
    /// each component once.
    pub(crate) fn answer_validations(&mut self, probed: Result<u64, String>) {
        let report = self.findings(probed);
        for id in std::mem::take(&mut self.tally.asked) {
            if let Some(server) = self.umbilical.as_mut() {
                server.reply(id, Ok(&report));
            }
        }
    }

    fn findings(&self, probed: Result<u64, String>) -> String {
        let marked = Ok("marker written and read back".to_owned());
        let untried = Err("not tried; next: see persist".to_owned());
        let (persist, log) = match probed {
            Ok(seq) => (marked, Ok(format!("record {seq} is durable"))),
            Err(text) if text.starts_with("append") => (marked, Err(text)),
            Err(text) => (Err(text), untried),
        };
        // A boot that began dirty stays dirty, whatever works by now.
        let trouble = self.tally.trouble.first().cloned();
        let persist = trouble.map_or(persist, Err);
        let none = "none is armed; next: add a watchdog device, then reboot";
        let dog = self.watchdog.as_ref().map(|dog| dog.name.clone());
        let watchdog = dog.ok_or(none.to_owned());
        row("persist", persist) + &row("log", log) + &row("watchdog", watchdog)
    }

    /// Obeys what was typed: the terminal hands over whole lines.
    pub(crate) fn on_operator(&mut self) {
        let mut typed = [0; LINE_BYTES];
        let Some(Ok(length @ 1..)) = self.console.as_mut().map(|c| c.read(&mut typed)) else {
            // Control-D, a hang-up or an error: opened again at the next tick, so that none of them can make the loop spin.
            self.console = None;
            return;
        };
        let text = String::from_utf8_lossy(typed.get(..length).unwrap_or_default());
        self.log.prompt = false;
        let answer = self.obey(text.trim());
        self.log.draw(&answer);
        if self.end.is_none() {
            self.log.draw(PROMPT);
            self.log.prompt = true;
        }
    }

    /// Does what the operator typed; answers what to show.
    fn obey(&mut self, line: &str) -> String {
        #[cfg(feature = "fault")]
        if let Some(what) = line.strip_prefix("fault ") {
            return self.inject(what);
        }
        let verb = match Verb::parse(line) {
            Ok(verb) => verb,
            Err(_) if line.is_empty() => return String::new(),
            Err(error) => return format!("{error}\n"),
        };
        match verb {
            Verb::Help => return help(),
            Verb::Hello => return HELLO.to_owned(),
            Verb::Status => return self.status(),
            Verb::Log => return self.log.text(),
            Verb::Rooms if self.tally.personas.is_empty() => return NOBODY.to_owned(),
            Verb::Rooms => return self.tally.personas.clone(),
            Verb::Validate => self.start_validator(),
            Verb::Poweroff => self.shut_down(POWER_OFF, "operator"),
            Verb::Reboot => self.shut_down(REBOOT, "operator"),
            Verb::Start(_) | Verb::Stop(_) | Verb::Focus(_) => {
                return "this Spine has no rooms yet; next: wait for a later version\n".to_owned();
            }
        }
        String::new()
    }

    /// What the factory baked in, and figures about PID 1 and its keeper: `key=value` lines, in milliseconds and kB.
    fn status(&self) -> String {
        let tally = &self.tally;
        let keeper = self
            .keeper
            .as_ref()
            .map(|keeper| keeper.child.pid.to_string());
        let dog = self.watchdog.as_ref().map(|dog| dog.name.as_str());
        let dirty: String = tally
            .trouble
            .iter()
            .map(|t| format!("dirty={t}\n"))
            .collect();
        let rows: [(&str, &dyn Display); 15] = [
            ("verdict", &tally.verdict),
            ("uptime_ms", &boot_ms()),
            ("kernel_ms", &tally.exec_ms),
            (
                "operator_ms",
                &tally.operator_ms.saturating_sub(tally.exec_ms),
            ),
            (
                "validated_ms",
                &tally.validated_ms.saturating_sub(tally.exec_ms),
            ),
            ("pss_kb", &memory("self", "Pss:")),
            ("anon_kb", &memory("self", "Pss_Anon:")),
            ("keeper", if keeper.is_some() { &"up" } else { &"down" }),
            (
                "keeper_pss_kb",
                &memory(&keeper.unwrap_or_default(), "Pss:"),
            ),
            ("keeper_restarts", &tally.restarts),
            ("log_seq", &tally.log_seq),
            ("watchdog", &dog.unwrap_or("none")),
            ("addresses", &addresses()),
            ("reaped", &tally.reaped),
            ("console_lost", &self.log.lost),
        ];
        let rows = rows.map(|(key, value)| format!("{key}={value}\n"));
        self.facts.clone() + &rows.concat() + &dirty
    }
}

/// A figure of a process's memory (`proc_pid_smaps(5)`); `unknown` on a kernel without it.
fn memory(process: &str, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(key));
    let figure = lines.find_map(|rest| rest.trim().strip_suffix(" kB"));
    figure.unwrap_or("unknown").to_owned()
}

/// Lines about addresses that the kernel holds for the Spine: 0, always (T07).
fn addresses() -> usize {
    let lines = |path| fs::read_to_string(path).map_or(0, |text| text.lines().count());
    lines("/proc/net/fib_trie").saturating_add(lines("/proc/net/if_inet6"))
}

/// A row of the umbilical's `validate` answer: level, component, reason, next action; nothing is next if all is well.
fn row(component: &str, found: Result<String, String>) -> String {
    match found {
        Ok(note) => format!("GREEN\t{component}\t{note}\t\n"),
        Err(text) => {
            let (reason, next) = text.rsplit_once("; next: ").unwrap_or((&text, "reboot"));
            format!("RED\t{component}\t{reason}\t{next}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h15_a_failure_has_three_parts_and_a_green_row_has_nothing_to_do() {
        let bad = row("persist", Err("a: b; next: c".into()));
        assert_eq!(bad, "RED\tpersist\ta: b\tc\n");
        assert_eq!(row("log", Ok("fine".into())), "GREEN\tlog\tfine\t\n");
    }

    #[test]
    fn h20_memory_is_read_where_the_kernel_tells_it() {
        assert!(memory("self", "Pss:").parse::<u64>().is_ok());
        assert_eq!(memory("nobody", "Pss:"), "unknown");
    }
}
