//! The keeper (H06, decision 3), which is started, fed the log and watched; and what a validation says (H15).
//!
//! | what happens to the keeper | what follows |
//! | --- | --- |
//! | it cannot mount or open | dirty boot: it is killed, every report is RED, the machine goes on |
//! | it dies | started again, at most [`RESTARTS`] times a boot, then dirty |
//! | it misses a deadline of the boot | killed, dirty: a disk that hangs would hang the next keeper too |
//! | it is slow, or stands still, in operation | see [`crate::pid1::link`]: nothing is killed before nothing has moved for [`bay0_state::STUCK`] |
//!
//! Only the boot waits for it, within the open deadline. After that one request is in flight at a time, and its reply is an
//! event.

use std::fs;
use std::io::{self, ErrorKind};
use std::panic::set_hook;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bay0_state::{Keeper, Op, Reply, SPINE, WRITE_DEADLINE, reseal};
use bay0_validate::{Component, Finding, Level, Report, verdict};

use crate::last_words;
use crate::pid1::Bay0;
use crate::pid1::boot::{KEEPER, OPENED};
use crate::pid1::ending::POWER_OFF;
use crate::pid1::jobs::{Job, encode};
use crate::pid1::link::Link;
use crate::pid1::poll::Source;
use crate::pid1::watchdog::Watchdog;
use crate::sys::boot_ms;
use crate::sys::{raise_clock, unix_seconds};

/// How often a keeper that died is started again within one boot.
const RESTARTS: u32 = 3;
/// How often the last-known-good time is written.
const FLOOR: Duration = Duration::from_secs(60);
const UNENCRYPTED: &str = "/persist is no vault; booting dirty; next: attach one, or an empty disk";
/// The places of what `unlock` is answered: what the disk is, what is to be mounted, the disk itself (`bay0_state::keeper`).
const KIND: usize = 0;
const MOUNTED: usize = 1;
const DEVICE: usize = 2;

impl Bay0 {
    /// Starts a keeper and asks it to unlock the disk, or in operation to open the one that is unlocked already. What follows, follows
    /// its reply.
    pub fn start_keeper(&mut self) {
        let profile = self.facts.profile().to_owned();
        let (op, args) = match self.operator_ms {
            Some(_) => ("open", self.to_open()),
            None => ("unlock", Ok(vec![profile])),
        };
        let asked = args.and_then(|args| {
            let mut keeper = Keeper::start(&SPINE)?;
            let args: Vec<_> = args.iter().map(String::as_str).collect();
            keeper.post(op, &args)?;
            self.poll.watch(&keeper.socket, Source::Keeper)?;
            self.poll.watch(&keeper.child.pidfd, Source::Keeper)?;
            Ok(keeper)
        });
        match asked {
            Ok(keeper) => self.install(Some(keeper)),
            Err(error) => self.lose_keeper(&error),
        }
    }

    /// Goes on with what the keeper has told of the disk, or ends the machine if nobody could unlock it (C09).
    fn unlocked(&mut self, told: Reply) {
        let mut rest = told.iter().flatten().skip(3);
        if let Some(line) = rest.next().filter(|line| !line.is_empty()) {
            self.log.say(line);
        }
        rest.for_each(|text| self.wear(text));
        // A keeper that was started again cannot know how.
        if self.vault.is_none() || told.iter().flatten().next().is_none_or(|it| it != "again") {
            self.vault = Some(told);
        }
        if self.disk_is("locked") {
            self.install(None);
            return self.shut_down(POWER_OFF, "the vault");
        }
        self.phase(KEEPER);
        self.open_up();
    }

    /// Remembers what is not as it should be of a disk, and yet works.
    fn wear(&mut self, text: &str) {
        if !text.is_empty() && self.worn.iter().all(|known| known != text) {
            self.log.say(format!("disk: FAIL: {text}"));
            self.worn.push(text.to_owned());
        }
    }

    /// Ends the boot, once: not before a keeper is open, or given up.
    fn open_up(&mut self) {
        let asked = self.keeper.as_ref().and_then(Keeper::time_left);
        if asked.is_none() && self.operator_ms.is_none() {
            for phase in OPENED {
                self.phase(phase);
            }
            self.operator_ms = Some(boot_ms());
            self.start_validator();
        }
    }

    /// Whether the keeper has told this of the disk.
    pub fn disk_is(&self, word: &str) -> bool {
        self.unlocked_as(KIND).is_some_and(|found| found == word)
    }

    /// One of the values that the keeper has answered `unlock` with.
    fn unlocked_as(&self, place: usize) -> Option<&String> {
        self.vault.iter().flatten().flatten().nth(place)
    }

    /// What whoever has the disk needs to read it: nothing (`plain`), the passphrase, or the machine too; `none` without a disk.
    pub fn protection(&self) -> &'static str {
        // One that its recovery key has opened is sealed, but not to this Spine.
        let words = ["plain", "passphrase", "passphrase+tpm", "recovered"];
        match words.into_iter().find(|word| self.disk_is(word)) {
            Some("recovered") => "passphrase+tpm",
            found => found.unwrap_or("none"),
        }
    }

    /// Whether a vault is open.
    pub fn is_vault(&self) -> bool {
        self.protection().starts_with("passphrase")
    }

    /// Opens `/persist`.
    ///
    /// # Errors
    /// The reason in the house form; the boot is dirty then.
    pub fn open_keeper(&mut self) -> Result<String> {
        let opened = self.mount_persist();
        if let Err(error) = &opened {
            self.install(None);
            if self.may_restart(error) {
                self.start_keeper();
                return Ok("asked again".to_owned());
            }
            self.trouble.push(error.to_string());
        }
        self.opened(&opened?)
    }

    /// Goes on with what the keeper has opened.
    fn opened(&mut self, opened: &[String]) -> Result<String> {
        let [floor, seq, note, previous, worn, trouble @ ..] = opened else {
            bail!("keeper open: {opened:?}; not understood; next: report this text");
        };
        self.wear(worn);
        let device = self.unlocked_as(MOUNTED).cloned();
        self.disk.opened(device.as_deref());
        for text in trouble {
            self.log.say(format!("keeper: FAIL: {text}"));
            self.trouble.push(text.clone());
        }
        // How the boot before this one ended, and its last lines, which nobody could read then.
        if self.log_seq == 0 {
            let fired = self.watchdog.as_ref().is_some_and(Watchdog::has_fired);
            let cause = if fired { " (watchdog reset)" } else { "" };
            for line in format!("{previous}{cause}").lines() {
                self.log.say(format!("previous: {line}"));
                self.ended = line.to_owned();
            }
        }
        self.log_seq = seq.parse().unwrap_or_default();
        let clock = raise_clock(floor.parse().unwrap_or_default())?;
        Ok(format!("/persist open: {note}, {clock}"))
    }

    fn mount_persist(&mut self) -> io::Result<Vec<String>> {
        let args = self.to_open()?;
        let keeper = self.keeper.as_mut().ok_or(ErrorKind::BrokenPipe)?;
        keeper.call("open", &args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// What the keeper is told to open: the kernel's id of this boot (`random(4)`), and the disk.
    fn to_open(&self) -> io::Result<Vec<String>> {
        let told = self.vault.clone().unwrap_or_else(|| Ok(vec![]));
        let told = told.map_err(io::Error::other)?;
        if self.facts.is_release() && !self.is_vault() {
            return Err(io::Error::other(UNENCRYPTED));
        }
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
        let boot_id = boot_id.as_deref().unwrap_or("unknown").trim_end();
        let disk = told.get(1).map_or("", String::as_str);
        Ok([boot_id, disk].map(str::to_owned).into())
    }

    /// A keeper in operation has opened `/persist`, or could not.
    fn reopened(&mut self, reply: Reply) {
        let opened = reply.map_err(io::Error::other);
        let opened = opened.and_then(|values| self.opened(&values).map_err(io::Error::other));
        match opened {
            Ok(text) => {
                self.log.say(format!("keeper: {text}"));
                self.link = Link::Quick;
                self.stale |= self.verdict != Some(Level::Green);
            }
            Err(error) => self.lose_keeper(&error),
        }
    }

    /// Puts another keeper, or none, in the place of the one that was, which dies with that; the panic hook gets a socket of
    /// its own, because the keeper may be in use when it is called.
    pub fn install(&mut self, keeper: Option<Keeper>) {
        let socket = keeper.as_ref().and_then(|it| it.socket.try_clone().ok());
        set_hook(Box::new(move |info| last_words(info, socket.as_ref())));
        self.keeper = keeper;
    }

    /// Notices a missed deadline, then gives an idle keeper its next request: a probe before the floor before states before the log, so
    /// that no flood of lines delays a validation. Without a keeper, validations are answered at once.
    pub fn pump(&mut self) {
        let waits = self.keeper.as_ref().and_then(Keeper::waits);
        if let Some((op, waited)) = waits.filter(|(_, waited)| *waited >= WRITE_DEADLINE) {
            self.follow(op, waited, false);
        }
        if let Some(error) = self.keeper.as_ref().and_then(Keeper::expired) {
            self.lose_keeper(&error);
        }
        let Some(keeper) = self.keeper.as_mut() else {
            return self.answer_validations(Err(String::new()));
        };
        if keeper.time_left().is_some() {
            if !matches!(self.link, Link::Quick) {
                self.answer_validations(Err(String::new()));
            }
            return;
        }
        let floor = self.link.again(FLOOR).as_millis();
        let posted = if !self.asked.is_empty() {
            keeper.post("probe", &[])
        } else if u128::from(boot_ms().saturating_sub(self.floor_ms)) >= floor {
            self.floor_ms = boot_ms();
            keeper.post("clock", &[&unix_seconds().to_string()])
        } else if let Some((fields, room)) = self.wishes.pop_front() {
            let fields: Vec<_> = fields.iter().map(String::as_str).collect();
            keeper.hand("gate", &fields, Some(&room))
        } else if let Some((op, [key, value])) = self.records.pop_front() {
            keeper.post(op, &[&key, &value])
        } else if let Some(lines) = self.log.hand_over() {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            keeper.post("append", &lines)
        } else {
            return;
        };
        if let Err(error) = posted {
            self.lose_keeper(&error);
        }
    }

    /// A request has waited for so long, and its reply has come or not: the verdict follows how the disk answers.
    fn follow(&mut self, op: Op, waited: Duration, came: bool) {
        let was = self.link.slow_ms().is_some();
        if let Some(line) = self.link.took(op, waited, came, Instant::now()) {
            self.log.say(format!("persist: {line}"));
        }
        let slow = self.link.slow_ms().is_some();
        self.stale |= slow != was;
        if slow && self.verdict == Some(Level::Green) {
            self.verdict = Some(Level::Yellow);
        }
    }

    /// Each second: looks whether the disk moves, and at the kernel's counters of its errors; starts a keeper when the one before has
    /// ended; and has the verdict found again.
    pub fn tend_keeper(&mut self) {
        if self.operator_ms.is_none() || self.end.is_some() {
            return;
        }
        self.succeed();
        self.look_at_disk();
        if self.stale && !self.jobs.is_at(Job::Validate) {
            self.stale = false;
            self.start_validator();
        }
    }

    /// Starts a keeper when the one before is gone, and may be followed.
    fn succeed(&mut self) {
        let over = self.link.is_over(Instant::now());
        if over && self.keeper.is_none() && self.end.is_none() {
            self.log
                .say("keeper: the one before has ended, another opens /persist");
            self.start_keeper();
        }
    }

    fn look_at_disk(&mut self) {
        let device = self.unlocked_as(MOUNTED).cloned();
        let (Some(keeper), Some(device)) = (self.keeper.as_mut(), device) else {
            return;
        };
        let look = self.disk.look(&device);
        if look.moved {
            keeper.moved();
        }
        if let Some(text) = look.worse {
            self.log.say(format!("disk: FAIL: {text}"));
            self.stale = true;
        }
    }

    /// The keeper's reply, or its end.
    pub fn on_keeper(&mut self) {
        if self.keeper.is_none() {
            return self.succeed();
        }
        let waited = self.keeper.as_ref().and_then(Keeper::waits);
        let take = |keeper: &mut Keeper| keeper.receive(Duration::ZERO);
        let (op, reply) = match self.keeper.as_mut().map(take) {
            Some(Ok(Some(reply))) => reply,
            Some(Err(error)) => return self.lose_keeper(&error),
            _ => return,
        };
        if let Some((op, waited)) = waited {
            self.follow(op, waited, true);
        }
        match op {
            "unlock" => return self.unlocked(reply),
            "open" => return self.reopened(reply),
            _ => {}
        }
        // Only what was recorded is answered with a value, the number of the last record.
        let seq = reply.iter().flatten().find_map(|seq| seq.parse().ok());
        self.log_seq = seq.unwrap_or(self.log_seq);
        #[cfg(feature = "fault")]
        self.acknowledged(op, reply.is_ok());
        match (op, reply) {
            ("append", Ok(_)) => self.log.taken(),
            // These lines stay in the ring and on the console; said once, or each refusal would make the next line.
            ("append", Err(text)) => {
                self.log.taken();
                if !self.failed.contains(&"log") {
                    self.failed.push("log");
                    self.log.say(format!("log: FAIL: {text}"));
                }
            }
            ("probe", reply) => self.answer_validations(reply.map(|_| self.log_seq)),
            // What has failed is remembered: now it may be overwritten.
            ("nack-add", Ok(_)) => self.mend(),
            ("set-state" | "nack-add" | "gate", Err(text)) => {
                self.log.say(format!("room: FAIL: {text}"))
            }
            (_, Err(text)) => self.log.say(format!("time: FAIL: {text}")),
            _ => {}
        }
    }

    /// The keeper died, hangs, or cannot open `/persist`: see the table above.
    fn lose_keeper(&mut self, error: &io::Error) {
        let old = self.keeper.take().map(|keeper| keeper.child);
        self.install(None);
        let restarts = self.may_restart(error);
        let operating = self.operator_ms.is_some() && self.end.is_none();
        if restarts && !operating {
            return self.start_keeper();
        }
        if !restarts {
            self.log.say(format!("keeper: FAIL: {error}"));
            self.refuse_wishes();
            (self.verdict, self.stale) = (Some(Level::Red), operating);
        }
        let died = error.kind() == ErrorKind::BrokenPipe;
        if operating && (restarts || !died || self.link.cause().is_some()) {
            let pause = self.link.lose(error.to_string(), old, Instant::now());
            let seconds = pause.as_secs();
            let text = "keeper: another is started when this one has ended, not before";
            self.log.say(format!("{text} {seconds} s from now"));
            return;
        }
        self.trouble.push(error.to_string());
        if self.operator_ms.is_none() {
            self.failed.push("keeper");
        }
        self.open_up();
    }

    /// Whether the keeper may be started again after this, which is said.
    fn may_restart(&mut self, error: &io::Error) -> bool {
        let died = error.kind() == ErrorKind::BrokenPipe;
        let may = died && self.restarts < RESTARTS && self.end.is_none();
        if may {
            self.restarts = self.restarts.saturating_add(1);
            let nth = format!("restart {} of {RESTARTS}", self.restarts);
            self.log.say(format!("keeper: FAIL: {error}"));
            self.log.say(format!("keeper: {nth}"));
        }
        may
    }

    /// Has a child seal the vault to this Spine (A02), with somebody at the console, which is the child's until it has ended.
    pub fn reseal(&mut self) {
        if !self.is_vault() {
            self.log
                .say("reseal: FAIL: /persist is no vault; next: see docs/VAULT.md");
        } else if self.end.is_none() && !self.jobs.is_at(Job::Reseal) {
            self.console.close();
            let disk = self.unlocked_as(DEVICE).cloned().unwrap_or_default();
            self.begin(Job::Reseal, &[], || encode(&reseal(&disk)));
        }
    }

    /// Starts a validation, unless one is under way.
    pub fn start_validator(&mut self) {
        if !self.jobs.is_at(Job::Validate) {
            self.begin(Job::Validate, &[], validate);
        }
    }

    /// A validation ended: says each finding and the summary, or why there is no report, then how the disk is protected.
    pub fn validated(&mut self, report: Result<Report, String>) {
        let (text, findings) = match report {
            Ok(report) => (report.to_string(), report.findings),
            Err(why) => (format!("{} validate: {why}", Level::Red), Vec::new()),
        };
        self.verdict = Some(verdict(&findings));
        let protection = format!("protection={}", self.protection());
        for line in text.lines().chain([protection.as_str()]) {
            self.log.say(format!("validate: {line}"));
        }
        if self.validated_ms.is_none() {
            self.validated_ms = Some(boot_ms());
            self.judge(is_well(&findings));
        }
    }
}

/// Whether nothing is wrong that could be the Spine's fault. What its disk had before is not, nor how slow it is, nor that a vault is
/// sealed to the Spine before it: an update moves what the TPM compares.
fn is_well(findings: &[Finding]) -> bool {
    let well = |it: &Finding| match it.level {
        Level::Green => true,
        Level::Yellow => matches!(
            it.component,
            Component::Vault | Component::Disk | Component::Persist | Component::Log
        ),
        Level::Red => false,
    };
    !findings.is_empty() && findings.iter().all(well)
}

/// In the child. PID 1's own exemption from the kernel's memory killer is not for it.
fn validate() -> String {
    let _ = fs::write("/proc/self/oom_score_adj", "0");
    bay0_validate::run().map_or_else(String::new, |report| report.encode())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c11_a_spine_is_well_whatever_the_machine_lacks_and_not_if_anything_else_is_wrong() {
        use Component::*;
        let all = [
            Freezer, Umbilical, Root, Persist, Log, Watchdog, Boot, Vault, Disk,
        ];
        let green = |it| Finding::new(it, Ok("well".to_owned()));
        assert!(is_well(&all.map(green)) && !is_well(&[]));
        for component in all {
            // How slow its disk is, what it had before and what the vault is sealed to are no fault of a Spine.
            let excused = matches!(component, Vault | Disk | Persist | Log);
            let yellow = Finding::yellow(component, "x; next: y");
            assert_eq!(is_well(&[green(Root), yellow]), excused, "{component}");
            let red = Finding::new(component, Err("x; next: y".to_owned()));
            assert!(!is_well(&[green(Root), red]), "{component}");
        }
    }
}
