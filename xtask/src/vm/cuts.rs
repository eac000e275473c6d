//! Power cuts under write load (S04, H20): what was acknowledged is there after every one of them.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use regex::Regex;

use super::cutlog;
use super::disk::Disk;
use super::lab::{Build, Guest, Lab};
use super::rng::Rng;

/// Longest that a machine writes before its power goes.
const LOAD_MS: u64 = 1500;
/// A cut during boot comes at most this long after a line of bay0's: the rest of a boot is shorter under load.
const BOOT_MS: u64 = 800;
/// One boot in this many is cut before it has finished.
const BOOT_CUT_EVERY: u64 = 4;

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
    /// The last record any machine acknowledged on its console.
    acknowledged: u64,
}

/// Cuts `from..from + n` of the run that `seed` names, on a fresh disk; then a boot, a clean power-off, and a look at the
/// disk from outside. The choices of a cut depend on `seed` and its number alone. On a failure the disk and the write log
/// of the cut before it are kept beside the console logs.
pub fn power_cuts(lab: &Lab, seed: u64, n: u64, from: u64) -> Result<()> {
    let mut chain = Chain {
        lab,
        seed,
        disk: lab.disk()?,
        acknowledged: 0,
    };
    for number in from..from + n {
        chain.cut(number).map_err(|e| chain.blame(number, e))?;
    }
    chain.finish().map_err(|e| chain.blame(from + n, e))
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
        if rng.below(BOOT_CUT_EVERY) == 0 {
            let line = rng.pick(&["bay0: version", "modules: ", "keeper: ", "validate: "]);
            guest.expect(line)?;
            thread::sleep(Duration::from_millis(rng.below(BOOT_MS)));
        } else {
            self.check(&mut guest)?;
            guest.machine.send_line("fault write-load on")?;
            guest.expect("fault: ack seq=")?;
            // The one sleep that is the test: the instant of the cut.
            thread::sleep(Duration::from_millis(rng.below(LOAD_MS)));
        }
        guest.machine.kill()?;
        self.acknowledged = last_acknowledged(&guest.machine.text()).unwrap_or(self.acknowledged);
        if cutlog::rebuild(&base.path, &log, &mut rng)?.is_none() {
            // The order of the last writes is unknown: take the machine's own disk, with nothing lost.
            fs::copy(&work, &base.path).context("copy the disk")?;
        }
        fs::rename(&base.path, &self.disk.path).context("the disk after the cut")
    }

    /// The machine is healthy and has everything that was ever acknowledged.
    fn check(&self, guest: &mut Guest) -> Result<()> {
        guest.verdict("GREEN")?;
        let kept = guest.figure("log_seq")?;
        let acknowledged = self.acknowledged;
        ensure!(
            kept >= acknowledged,
            "record {acknowledged} was acknowledged, the log ends at {kept}"
        );
        // A torn tail is closed without a word of failure; anything set aside would be one.
        guest.never(r"FAIL|broken|corrupt|set aside")
    }

    fn finish(&mut self) -> Result<()> {
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

/// The number in the last whole `fault: ack seq=N` line.
fn last_acknowledged(console: &str) -> Option<u64> {
    let pattern = Regex::new(r"fault: ack seq=(\d+)\n").ok()?;
    let last = pattern.captures_iter(console).last()?;
    last.get(1)?.as_str().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s04_only_a_whole_acknowledgement_counts() {
        assert_eq!(
            last_acknowledged("a\nfault: ack seq=12\nfault: ack seq=13\nfault: ack seq=1"),
            Some(13)
        );
        assert_eq!(last_acknowledged("fault: ack seq=1"), None);
    }
}
