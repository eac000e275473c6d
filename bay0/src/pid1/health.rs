//! What PID 1 knows of its own health, and who has asked (H15): failed steps, why nothing is stored, what is worn, the disk's errors,
//! the verdict.

use bay0_state::Access;
use bay0_umbilical::{ConnId, Server};
use bay0_validate::{Component, Finding, Level, Report, encode, verdict};

use super::disk::Disk;
use super::keeper::{Keeping, Probed};
use super::say::Log;
use super::watchdog::Watchdog;
use crate::sys::boot_ms;

const NO_DOG: &str = "none is armed; next: add a watchdog device, then reboot";
const SLOW: &str = "others wait; next: see what else uses the disk";
/// A vault that its recovery key has opened (A02).
const UNSEALED: &str = "not sealed to this Spine; next: reseal";

/// The state of health.
#[derive(Default)]
pub struct Health {
    /// What failed since the boot began: steps of it, or the log, once it has refused a record.
    failed: Vec<&'static str>,
    /// Why this boot is dirty, in the house form; empty when it is not.
    trouble: Vec<String>,
    /// What is not as it should be of a disk, and yet works.
    worn: Vec<String>,
    /// Why the firmware may not go on from this slot as it should, if so.
    unsettled: Option<String>,
    /// All of the root has been read.
    is_whole: bool,
    /// The disk of /persist.
    disk: Disk,
    /// The last validation's verdict.
    verdict: Option<Level>,
    /// The verdict is to be found again.
    stale: bool,
    /// The disk is slow.
    slow: bool,
    /// Clients whose validation waits for the keeper's probe.
    asked: Vec<ConnId>,
    /// When the first validation ended.
    validated_ms: Option<u64>,
}

impl Health {
    /// A step of the boot has failed, or the log; whether that is new.
    pub fn fail(&mut self, what: &'static str) -> bool {
        let new = !self.failed.contains(&what);
        if new {
            self.failed.push(what);
        }
        new
    }

    /// Whether nothing but the rooms has failed.
    pub fn only_rooms_failed(&self) -> bool {
        self.failed == ["rooms"]
    }

    /// This boot is dirty from now on.
    pub fn soil(&mut self, why: &str) {
        self.trouble.push(why.to_owned());
    }

    /// Why it is.
    pub fn trouble(&self) -> &[String] {
        &self.trouble
    }

    /// A disk works and is not as it should be; the log has each text once.
    pub fn wear(&mut self, text: &str, log: &mut Log) {
        if !text.is_empty() && self.worn.iter().all(|known| known != text) {
            self.worn.push(text.to_owned());
            log.say(format!("disk: FAIL: {text}"));
        }
    }

    /// The boot entries are not as they should be: the verdict is to be found again.
    pub fn unsettle(&mut self, why: String) {
        (self.unsettled, self.stale) = (Some(why), true);
    }

    /// The keeper has opened the disk. `worn`: what is not as it should be of it, or nothing.
    pub fn opened(&mut self, keeper: &Keeping, worn: &str, log: &mut Log) {
        self.wear(worn, log);
        let device = keeper.disk().map(|it| it.mounted.as_str());
        self.disk.opened(device);
    }

    /// Looks at the kernel's counters of the disk while there is a keeper: whether it moves, and whether it is worse than it was.
    pub fn look(&mut self, keeper: &mut Keeping, log: &mut Log) {
        let device = keeper.disk().filter(|_| keeper.is_there());
        let Some(look) = device.map(|it| self.disk.look(&it.mounted)) else {
            return;
        };
        if look.moved {
            keeper.moved();
        }
        if let Some(text) = look.worse {
            log.say(format!("disk: FAIL: {text}"));
            self.stale = true;
        }
    }

    /// The last verdict.
    pub fn verdict(&self) -> Option<Level> {
        self.verdict
    }

    /// When the first validation ended.
    pub fn validated_ms(&self) -> Option<u64> {
        self.validated_ms
    }

    /// The keeper is gone, without another one: RED at once, and to be found again while the machine is up.
    pub fn lose_keeper(&mut self, up: bool) {
        (self.verdict, self.stale) = (Some(Level::Red), up);
    }

    /// The disk is slow, or not: not GREEN while it is, and to be found again if that has turned.
    pub fn pace(&mut self, slow: bool) {
        self.stale |= slow != std::mem::replace(&mut self.slow, slow);
        if slow && self.verdict == Some(Level::Green) {
            self.verdict = Some(Level::Yellow);
        }
    }

    /// The disk is open again: a verdict that is not GREEN is to be found again.
    pub fn doubt(&mut self) {
        self.stale |= self.verdict != Some(Level::Green);
    }

    /// Whether the verdict is to be found again, which is done now.
    pub fn take_stale(&mut self) -> bool {
        std::mem::take(&mut self.stale)
    }

    /// A client asks; it is answered once the keeper has been probed.
    pub fn ask(&mut self, id: ConnId) {
        self.asked.push(id);
    }

    /// Whether anybody waits for an answer.
    pub fn is_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Answers everybody who has asked with what PID 1 itself knows.
    pub fn answer(
        &mut self,
        probe: Probed,
        keeper: &Keeping,
        dog: Option<&Watchdog>,
        server: Option<&mut Server>,
    ) {
        let asked = std::mem::take(&mut self.asked);
        if let Some(server) = server.filter(|_| !asked.is_empty()) {
            let dog = dog.map_or(Err(NO_DOG.to_owned()), Watchdog::counting);
            let report = self.report(probe, keeper, Finding::new(Component::Watchdog, dog));
            for id in asked {
                server.reply(id, Ok(&report), None);
            }
        }
    }

    /// All of the root has been read, and is what it must be: a verdict may be found from now on.
    pub fn whole(&mut self) {
        self.is_whole = true;
    }

    /// Whether that is so.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// A validation ended: says each finding and the summary, or why there is no report, then how the disk is protected. Whether the
    /// Spine is well, after the first.
    pub fn validated(
        &mut self,
        report: Result<Report, String>,
        keeper: &Keeping,
        log: &mut Log,
    ) -> Option<bool> {
        let (text, findings) = match report {
            Ok(report) => (report.to_string(), report.findings),
            Err(why) => (format!("{} validate: {why}", Level::Red), Vec::new()),
        };
        let protection = format!("protection={}", keeper.protection());
        for line in text.lines().chain([protection.as_str()]) {
            log.say(format!("validate: {line}"));
        }
        self.found(&findings)
    }

    fn found(&mut self, findings: &[Finding]) -> Option<bool> {
        self.verdict = Some(verdict(findings));
        let first = self.validated_ms.is_none();
        self.validated_ms.get_or_insert_with(boot_ms);
        first.then(|| is_well(findings))
    }

    /// What PID 1 itself knows: the line of a finding for each component. `dog`: what was found of the watchdog. The root is the
    /// validator's to prove.
    fn report(&self, probe: Probed, keeper: &Keeping, dog: Finding) -> String {
        let steps = self.failed.join(", ");
        let boot = match steps.is_empty() {
            true => Ok("every step done".to_owned()),
            false => Err(format!("failed: {steps}; next: see why with log")),
        };
        let boot = match &self.unsettled {
            Some(why) if boot.is_ok() => Finding::yellow(Component::Boot, why.as_str()),
            _ => Finding::new(Component::Boot, boot),
        };
        let [persist, log] = self.stored(probe, keeper);
        let all = [persist, log, dog, boot];
        let vault = keeper
            .is_vault()
            .then(|| match keeper.disk_is(Access::Recovered) {
                true => Finding::yellow(Component::Vault, UNSEALED),
                false => Finding::new(Component::Vault, Ok("open".to_owned())),
            });
        let worn = self.disk.marked().or(self.worn.first().cloned());
        let worn = worn.map(|why| Finding::yellow(Component::Disk, why));
        let all: Vec<_> = all.into_iter().chain(vault).chain(worn).collect();
        encode(&all)
    }

    /// How `/persist` and the log are. Slow is not dead: a probe that waits, or has its reply, is no failure.
    fn stored(&self, probe: Probed, keeper: &Keeping) -> [Finding; 2] {
        let unmarked = matches!(probe, Probed::Unmarked(_));
        let marked = Ok("marker written and read back".to_owned());
        let untried = Err("not tried; next: see persist".to_owned());
        let (persist, log) = match probe {
            Probed::Durable(seq) => (marked, Ok(format!("record {seq} is durable"))),
            Probed::Unlogged(why) => (marked, Err(why)),
            Probed::Unmarked(why) => (Err(why), untried),
            Probed::Untried => (Err(String::new()), untried),
        };
        // A boot that began dirty stays dirty, whatever works by now.
        let dirty = self.trouble.iter().chain(keeper.cause()).next().cloned();
        let dirty = dirty.or_else(|| self.disk.is_read_only());
        let slow_ms = keeper.slow_ms().filter(|_| dirty.is_none() && !unmarked);
        let Some(ms) = slow_ms else {
            let persist = Finding::new(Component::Persist, dirty.map_or(persist, Err));
            return [persist, Finding::new(Component::Log, log)];
        };
        let slow = format!("requests take {ms} ms; {SLOW}");
        let unlogged = |why| Finding::yellow(Component::Log, why);
        let log = log.map_or_else(unlogged, |text| Finding::new(Component::Log, Ok(text)));
        [Finding::yellow(Component::Persist, slow), log]
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

#[cfg(test)]
mod tests {
    use super::super::keeper::tests::unlocked;
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

    fn report(health: &Health, probe: Probed, keeper: &Keeping) -> String {
        let dog = Finding::new(Component::Watchdog, Ok("counts".to_owned()));
        let sent = health.report(probe, keeper, dog);
        let findings = bay0_validate::decode(&sent).unwrap();
        findings.iter().map(|it| format!("{it}\n")).collect()
    }

    #[test]
    fn h15_every_part_has_a_finding_and_what_failed_is_named() {
        let (mut health, mut keeper) = (Health::default(), Keeping::default());
        let green = "GREEN persist: marker written and read back\nGREEN log: record 7 is durable\nGREEN watchdog: counts\nGREEN boot: every step done\n";
        assert_eq!(report(&health, Probed::Durable(7), &keeper), green);
        health.unsettle("full; next: z".to_owned());
        assert!(health.take_stale());
        let yellow = report(&health, Probed::Durable(7), &keeper);
        assert!(
            yellow.ends_with("\nYELLOW boot: full; next: z\n"),
            "{yellow}"
        );
        assert!(health.fail("rooms") && !health.fail("rooms") && health.only_rooms_failed());
        let mut log = Log::default();
        for text in ["worn; next: x", "worn; next: x", ""] {
            health.wear(text, &mut log);
        }
        assert_eq!(log.text().lines().count(), 1);
        keeper.remember_unlocked(Ok(unlocked(Access::Recovered)));
        let report = report(&health, Probed::Durable(7), &keeper);
        let rest = "RED boot: failed: rooms; next: see why with log\nYELLOW vault: not sealed to this Spine; next: reseal\nYELLOW disk: worn; next: x\n";
        assert!(report.ends_with(rest), "{report}");
    }

    #[test]
    fn h06_slow_is_yellow_and_a_dirty_boot_is_red_whatever_works_by_now() {
        let (mut health, keeper) = (Health::default(), Keeping::slow());
        let slow = report(&health, Probed::Untried, &keeper);
        assert!(
            slow.contains("YELLOW persist: requests take 2000 ms; others wait"),
            "{slow}"
        );
        assert!(slow.contains("YELLOW log: not tried"), "{slow}");
        let unlogged = Probed::Unlogged("append: EIO; next: x".to_owned());
        let failed = report(&health, unlogged, &keeper);
        assert!(failed.contains("YELLOW log: append: EIO"), "{failed}");
        let unmarked = Probed::Unmarked("marker: EIO; next: x".to_owned());
        let failed = report(&health, unmarked, &keeper);
        assert!(
            failed.contains("RED persist: marker: EIO; next: x\nRED log: not tried"),
            "{failed}"
        );
        health.soil("dirty; next: y");
        let dirty = report(&health, Probed::Durable(7), &keeper);
        assert!(
            dirty.contains("RED persist: dirty; next: y\nGREEN log"),
            "{dirty}"
        );
    }

    #[test]
    fn h06_the_verdict_follows_the_disk_at_once() {
        let mut health = Health::default();
        let green = [Finding::new(Component::Root, Ok("well".to_owned()))];
        assert_eq!(health.found(&green), Some(true));
        assert_eq!(health.found(&green), None, "the first one counts");
        health.pace(true);
        assert_eq!(health.verdict(), Some(Level::Yellow));
        assert!(health.take_stale() && !health.take_stale());
        health.lose_keeper(true);
        health.pace(true);
        assert!(health.verdict() == Some(Level::Red) && health.take_stale());
        assert_eq!(health.found(&green), None);
        health.doubt();
        assert!(!health.take_stale());
    }
}
