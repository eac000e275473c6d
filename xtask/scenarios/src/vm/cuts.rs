//! Power cuts under write load (S04, H20): what was acknowledged is there after every one of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::cutlog::{self, Loss};
use super::disk::Disk;
use super::ends::floor;
use super::lab::{Build, Guest, Lab};
use super::rng::Rng;

/// Longest that a machine writes before its power goes.
const LOAD_MS: u64 = 1500;
/// How often the acknowledgements are looked at meanwhile.
const LOOK: Duration = Duration::from_millis(2);
/// A cut during boot comes at most this long after a line of bay0's: the rest of a boot is shorter under load.
const BOOT_MS: u64 = 800;
/// One boot in this many is cut before it has finished.
const BOOT_CUT_EVERY: u64 = 4;
/// About one cut in three loses a sector; when none of this many does, that is no chance: the cuts would cut nothing.
const CUTS_THAT_LOSE: u64 = 20;

pub fn s04_power_cuts_lose_nothing_acknowledged_first_chain(lab: &Lab) -> Result<()> {
    let all = u64::from(lab.bench.cuts);
    power_cuts(lab, lab.bench.seed, all.div_ceil(2), 0)
}

pub fn s04_power_cuts_lose_nothing_acknowledged_second_chain(lab: &Lab) -> Result<()> {
    let all = u64::from(lab.bench.cuts);
    power_cuts(lab, lab.bench.seed, all / 2, all.div_ceil(2))
}

/// Power-cut tests: one disk, cut again and again, each machine booting what the cut before left of it.
pub struct Chain<'a> {
    lab: &'a Lab,
    seed: u64,
    disk: Disk,
    acknowledged: Acknowledged,
    /// What all cuts so far took from the disk.
    loss: Loss,
}

/// The last writes that any machine acknowledged on its console.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Acknowledged {
    /// Number of a record in the log.
    seq: u64,
    /// Floor of the clock in the database, in Unix seconds.
    floor: u64,
}

/// Cuts `from..from + n` of the run that `seed` names, on a fresh disk; then a boot, a clean power-off, and a look at the
/// disk from outside. The choices of a cut depend on `seed` and its number alone. On a failure the disk and the write log
/// of the cut before it are kept beside the console logs.
pub fn power_cuts(lab: &Lab, seed: u64, n: u64, from: u64) -> Result<()> {
    let mut chain = Chain {
        lab,
        seed,
        disk: lab.disk()?,
        acknowledged: Acknowledged::default(),
        loss: Loss::default(),
    };
    for number in from..from + n {
        chain.cut(number).map_err(|e| chain.blame(number, e))?;
    }
    chain.finish(n).map_err(|e| chain.blame(from + n, e))
}

impl Chain<'_> {
    fn cut(&mut self, number: u64) -> Result<()> {
        let mut rng = Rng::new(self.seed, number);
        let (work, log) = (self.lab.path("work.img"), self.lab.path("writes.log"));
        let base = self.disk.copy_to(self.lab.path("base.img"))?;
        self.disk.copy_to(work.clone())?;
        fs::write(&log, []).context("empty the write log")?;
        let mut config = self.lab.config(Build::Fault);
        config.extra_args = cutlog::drive_args(&work, &log);
        let mut guest = self.lab.start(&config)?;
        let mut load = Vec::new();
        if rng.below(BOOT_CUT_EVERY) == 0 {
            let line = rng.pick(&["bay0: version", "modules: ", "keeper: ", "validate: "]);
            guest.expect(line)?;
            thread::sleep(Duration::from_millis(rng.below(BOOT_MS)));
        } else {
            self.check(&mut guest)?;
            guest.machine.send_line("fault write-load on")?;
            guest.expect("fault: ack floor=")?;
            load = watch(&mut guest, &log, Duration::from_millis(rng.below(LOAD_MS)))?;
        }
        guest.machine.kill()?;
        let from = load.first().map_or(0, |(bytes, _)| *bytes);
        let loss = cutlog::rebuild(&base.path, &log, from, &mut rng)?;
        // What was acknowledged after the cut never was.
        if let Some((_, last)) = load.iter().rfind(|(bytes, _)| *bytes <= loss.at) {
            self.acknowledged = *last;
        }
        self.loss += loss;
        fs::rename(&base.path, &self.disk.path).context("the disk after the cut")
    }

    /// The machine is healthy and has everything that was ever acknowledged.
    fn check(&self, guest: &mut Guest) -> Result<()> {
        let floor = floor(&guest.expect("keeper: /persist open: ")?)?;
        guest.verdict("GREEN")?;
        let kept = Acknowledged {
            seq: guest.figure("log_seq")?,
            floor,
        };
        ensure!(
            kept.seq >= self.acknowledged.seq && kept.floor >= self.acknowledged.floor,
            "acknowledged was {:?}, kept is {kept:?}",
            self.acknowledged
        );
        // A torn tail is closed without a word of failure; anything set aside would be one.
        guest.never(r"FAIL|broken|corrupt|set aside")
    }

    fn finish(&mut self, cuts: u64) -> Result<()> {
        ensure!(
            cuts < CUTS_THAT_LOSE || self.loss.sectors_lost > 0,
            "{cuts} cuts took nothing from the disk: {:?}",
            self.loss
        );
        let mut guest = self
            .lab
            .start(&self.lab.config_with(Build::Fault, &self.disk))?;
        self.check(&mut guest)?;
        guest.power_off()?;
        self.disk.settle()?;
        self.lab.verify_log(&self.disk)?;
        let names = self.disk.names()?;
        ensure!(
            !names
                .iter()
                .any(|n| n.contains("broken") || n.contains("corrupt")),
            "set aside: {names:?}"
        );
        Ok(())
    }

    /// Says how to repeat it, and keeps what is needed for that.
    fn blame(&self, number: u64, error: anyhow::Error) -> anyhow::Error {
        let kept: Vec<PathBuf> = ["persist.img", "writes.log"]
            .iter()
            .filter_map(|name| self.keep(name))
            .collect();
        error.context(format!(
            "boot {number} of seed {}, kept {kept:?}",
            self.seed
        ))
    }

    fn keep(&self, name: &str) -> Option<PathBuf> {
        let to = self.lab.log().with_extension(name);
        fs::copy(self.lab.path(name), &to).ok().map(|_| to)
    }
}

/// Looks at a machine under load for `time`: each look tells how long the write log was when so much had been acknowledged.
/// A cut behind that place in the log must leave it there.
fn watch(guest: &mut Guest, log: &Path, time: Duration) -> Result<Vec<(u64, Acknowledged)>> {
    let end = Instant::now() + time;
    let mut seen = Vec::new();
    loop {
        // In this order: what was acknowledged by now is in the log by now.
        let acknowledged = Acknowledged::last(&guest.machine.text());
        let bytes = fs::metadata(log).context("size of the write log")?.len();
        seen.extend(acknowledged.map(|last| (bytes, last)));
        if Instant::now() >= end {
            return Ok(seen);
        }
        thread::sleep(LOOK);
    }
}

impl Acknowledged {
    /// What a machine acknowledged last, if it did: whole lines `fault: ack KEY=N`.
    fn last(console: &str) -> Option<Acknowledged> {
        let (whole, _) = console.rsplit_once('\n')?;
        let last = |key: &str| {
            let (_, rest) = whole.rsplit_once(&format!("fault: ack {key}="))?;
            rest.lines().next()?.parse().ok()
        };
        Some(Acknowledged {
            seq: last("seq")?,
            floor: last("floor")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s04_only_a_whole_acknowledgement_counts() {
        let before = "a\nfault: ack seq=12\nfault: ack floor=7\nfault: ack seq=13";
        let last = |seq| Some(Acknowledged { seq, floor: 7 });
        assert_eq!(Acknowledged::last(before), last(12));
        assert_eq!(Acknowledged::last(&format!("{before}\nfau")), last(13));
        assert_eq!(Acknowledged::last("fault: ack seq=12\n"), None);
    }
}
