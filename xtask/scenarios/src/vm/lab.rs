//! What every scenario has: its own directory, its own console log, disks, and machines it can talk to.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use regex::Regex;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::chain;
use super::disk::Disk;
use crate::arch::Arch;
use crate::lan::{self, Lan};
use crate::layout::{Layout, Spine};
pub use crate::machine::PATIENCE;
use crate::machine::{Accel, Machine, MachineConfig};
use crate::roomdisk::Set;
use crate::smoke::SUMMARY;
use crate::soil::Soil;
use crate::uefi::keys::Keys;

/// Size of a scenario's disk in MiB: room for four files of the log, small enough to copy at every cut.
pub const DISK_MIB: u64 = 64;
const PROMPT: &str = "bay0> ";
/// How often a wait for a reply looks at the clock.
pub(super) const LOOK: Duration = Duration::from_millis(500);
/// How long a prompt is waited for before the next line is typed without it.
const SOON: Duration = Duration::from_secs(4);
/// A line of the boot before, shown again at this one; it is no news.
pub const OLD_NEWS: &str = " previous: | ";

/// What all scenarios share.
#[derive(Clone, Debug)]
pub struct Bench {
    /// Where their kernel comes from.
    pub soil: Soil,
    /// The Spine that ships.
    pub release: Spine,
    /// The same with fault injection.
    pub fault: Spine,
    /// The same bay0 as a program on the host, for `verify-log`.
    pub bay0: PathBuf,
    /// The Spine of the release profile.
    pub strict: Spine,
    /// The keys that sign updates: both Spines know them.
    pub keys: Keys,
    /// The disk of room images, where there is one.
    pub rooms: Option<PathBuf>,
    /// The images on it.
    pub images: Set,
    /// Where consoles are kept.
    pub logs: PathBuf,
    /// Seed of every random choice.
    pub seed: u64,
    /// Power cuts of the whole run.
    pub cuts: u32,
    /// KVM or TCG.
    pub accel: Accel,
}

/// One scenario's surroundings; the directory goes with it.
pub struct Lab {
    /// What is shared.
    pub bench: Bench,
    name: String,
    dir: TempDir,
}

/// Which Spine a machine boots.
#[derive(Clone, Copy, PartialEq)]
pub enum Build {
    /// The one that ships.
    Release,
    /// With the verb `fault`.
    Fault,
}

impl Lab {
    /// Surroundings for the scenario `name`, with an empty console log.
    pub fn new(bench: &Bench, name: &str) -> Result<Lab> {
        fs::create_dir_all(&bench.logs)
            .with_context(|| format!("create {}", bench.logs.display()))?;
        let lab = Lab {
            bench: bench.clone(),
            name: name.to_owned(),
            dir: TempDir::with_prefix("bay0-vm")?,
        };
        File::create(lab.log()).with_context(|| format!("create {}", lab.log().display()))?;
        Ok(lab)
    }

    /// The console of all the scenario's machines, one after the other.
    pub fn log(&self) -> PathBuf {
        self.bench.logs.join(format!("{}.log", self.name))
    }

    /// A path in the scenario's own directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// An empty ext4.
    pub fn disk(&self) -> Result<Disk> {
        Disk::ext4(self.path("persist.img"), DISK_MIB)
    }

    /// A network of the scenario's own, with real servers.
    pub fn lan(&self) -> Result<Lan> {
        let root = lan::root(&Layout::find())?;
        Lan::new(&root, &self.path("lan"), &self.bench.logs, &self.name)
    }

    /// A machine without a disk, with QMP; change what the scenario is about, then [`Lab::start`].
    pub fn config(&self, build: Build) -> MachineConfig {
        let spine = match build {
            Build::Release => &self.bench.release,
            Build::Fault => &self.bench.fault,
        };
        let mut config = MachineConfig::new(&spine.kernel, &spine.initrd, &self.log());
        config.log_append = true;
        config.qmp = true;
        config.accel = self.bench.accel;
        config.rooms.clone_from(&self.bench.rooms);
        config
    }

    /// [`Lab::config`] with `disk` as `/dev/vda`, and the disk of rooms behind it.
    pub fn config_with(&self, build: Build, disk: &Disk) -> MachineConfig {
        let mut config = self.config(build);
        config.drives.push(drive(&disk.path, ""));
        config
    }

    /// The kernel of these machines has no interface for debugging, and can load nothing.
    pub fn hardened(&self) -> bool {
        self.bench.soil.target().is_some()
    }

    /// The watchdog that the kernel drives: Debian's for another processor has only the kernel's own.
    pub fn watchdog(&self) -> &'static str {
        match (self.hardened(), Arch::chosen()) {
            (false, Arch::Aarch64) => "software",
            _ => "i6300esb",
        }
    }

    /// What bay0 says of modules on this soil.
    pub fn modules(&self) -> &'static str {
        if self.hardened() {
            "modules: monolithic kernel, nothing to load (N ms)"
        } else {
            "modules: N loaded, loading sealed: 1 read back (N ms)"
        }
    }

    /// Starts a machine; its console follows a line of ours in the log.
    pub fn start(&self, config: &MachineConfig) -> Result<Guest> {
        let mut log = File::options()
            .append(true)
            .create(true)
            .open(&config.log)
            .context("open the console log")?;
        writeln!(log, "--- machine: {}", config.qemu_args().join(" "))
            .context("write the console log")?;
        Ok(Guest {
            machine: Machine::boot(config)?,
            asked: 0,
        })
    }

    /// A machine with `disk`, up to its first verdict.
    pub fn boot(&self, build: Build, disk: &Disk) -> Result<Guest> {
        let mut guest = self.start(&self.config_with(build, disk))?;
        guest.expect(SUMMARY)?;
        Ok(guest)
    }

    /// Runs `bay0 verify-log` on every file of the genesis log in `disk`, oldest first, and checks that each continues the
    /// one before.
    pub fn verify_log(&self, disk: &Disk) -> Result<()> {
        let mut names = disk.names()?;
        names.retain(|name| chain::age(name).is_some());
        names.sort_by_key(|name| Reverse(chain::age(name)));
        ensure!(
            !names.is_empty(),
            "no genesis.log in {}",
            disk.path.display()
        );
        let mut older: Option<Vec<u8>> = None;
        for name in &names {
            let (path, bytes) = (self.path(name), disk.read(name)?);
            fs::write(&path, &bytes).with_context(|| format!("write {}", path.display()))?;
            super::disk::run(Command::new(&self.bench.bay0).arg("verify-log").arg(&path))
                .with_context(|| format!("the chain of {name} does not verify"))?;
            // A power cut in a rotation may leave one file under two names.
            if let Some(older) = older.filter(|older| *older != bytes) {
                chain::continues(&older, &bytes).with_context(|| format!("{name}: a gap"))?;
            }
            older = Some(bytes);
        }
        Ok(())
    }
}

/// A `-drive` value for a scenario's disk. The host does not lose power, so its flushes are left out; what a cut may lose
/// is `cutlog`'s business.
pub fn drive(image: &Path, extra: &str) -> String {
    let file = image.display().to_string().replace(',', ",,");
    format!("file={file},format=raw,if=virtio,id=persist,cache=unsafe{extra}")
}

/// A running machine, with the words of the operator line.
pub struct Guest {
    /// The machine itself.
    pub machine: Machine,
    /// Questions asked so far.
    asked: u32,
}

impl Guest {
    /// Waits for the first line of this boot, from here on, that matches; returns it.
    pub fn expect(&mut self, pattern: &str) -> Result<String> {
        let pattern = regex(pattern)?;
        loop {
            let line = self.machine.expect(&pattern, PATIENCE)?;
            if !line.contains(OLD_NEWS) {
                return Ok(line);
            }
        }
    }

    /// Waits for the lines in this order, other lines between them.
    pub fn expect_all(&mut self, patterns: &[&str]) -> Result<()> {
        patterns
            .iter()
            .try_for_each(|pattern| self.expect(pattern).map(drop))
    }

    /// Waits for exactly this line of bay0's, after its time; `N` stands for any number, as in the documents.
    pub fn says(&mut self, line: &str) -> Result<String> {
        self.expect(&whole(line)?)
    }

    /// Waits for these lines in this order, other lines between them.
    pub fn says_all(&mut self, lines: &[&str]) -> Result<()> {
        lines.iter().try_for_each(|line| self.says(line).map(drop))
    }

    /// The next summary of a validation; fails unless the verdict is `word`.
    pub fn verdict(&mut self, word: &str) -> Result<String> {
        let line = self.expect(SUMMARY)?;
        ensure!(
            line.contains(&format!("validate: {word}")),
            "the verdict should be {word}: {line}"
        );
        Ok(line)
    }

    /// Types `line` and returns everything said from then on until it was answered. What was said before is left behind;
    /// what comes from here on can still be expected.
    ///
    /// The end of an answer cannot be told from the prompt, which is drawn again after every log line. A word that is no
    /// verb is typed after it: answers come in order, so its refusal ends the one before.
    pub fn ask(&mut self, line: &str) -> Result<String> {
        self.asked += 1;
        let end_word = format!("end{}", self.asked);
        let begun = Instant::now();
        self.machine.skip();
        // The line under way may be taken back for a log line; what is above it stays.
        let from = self.machine.text().rfind('\n').map_or(0, |at| at + 1);
        self.machine.send_line(line)?;
        // Typed at the next prompt, where there is one soon: the terminal echoes into the middle of an answer.
        self.machine.wait_for_more(LOOK);
        while !self.machine.text().ends_with(PROMPT) && Instant::now() < begun + SOON {
            self.machine.wait_for_more(LOOK);
        }
        self.machine.send_line(&end_word)?;
        let refusal = format!("unknown verb \"{end_word}\"");
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let text = self.machine.text();
            let said = text.get(from..).and_then(|said| said.split_once(&refusal));
            if let Some((reply, rest)) = said
                && rest.contains(PROMPT)
            {
                return Ok(reply.replace(PROMPT, ""));
            }
            self.machine.wait_for_more(LOOK);
        }
        bail!(
            "no reply to {line:?} within {PATIENCE:?}; last lines:\n{}",
            self.machine.tail()
        )
    }

    /// The operator's `status`, as key and value.
    pub fn status(&mut self) -> Result<BTreeMap<String, String>> {
        let reply = self.ask("status")?;
        let pairs = reply
            .lines()
            .filter(|l| !l.starts_with("bay0 "))
            .filter_map(|l| l.split_once('='));
        let map: BTreeMap<_, _> = pairs
            .map(|(k, v)| (k.trim().to_owned(), v.trim().to_owned()))
            .collect();
        ensure!(!map.is_empty(), "status has no key=value line:\n{reply}");
        Ok(map)
    }

    /// Fails unless `status` has these.
    pub fn shows(&mut self, pairs: &[(&str, &str)]) -> Result<()> {
        let status = self.status()?;
        for (key, value) in pairs {
            ensure!(
                status.get(*key).is_some_and(|it| it == value),
                "status {key} should be {value}: {status:?}"
            );
        }
        Ok(())
    }

    /// One number out of `status`.
    pub fn figure(&mut self, key: &str) -> Result<u64> {
        let status = self.status()?;
        let value = status
            .get(key)
            .with_context(|| format!("status has no {key}= ({status:?})"))?;
        value
            .parse()
            .with_context(|| format!("status {key}={value}"))
    }

    /// Types `poweroff` and waits for QEMU to end by itself.
    pub fn power_off(&mut self) -> Result<()> {
        self.machine.send_line("poweroff")?;
        self.expect(r"shutdown: power ?off$")?;
        let status = self.ended()?;
        ensure!(status.success(), "qemu ended with {status}");
        Ok(())
    }

    /// Waits for QEMU to end by itself.
    pub fn ended(&mut self) -> Result<ExitStatus> {
        self.machine.wait_exit(PATIENCE)
    }

    /// Lets the disk transfer `bps` bytes a second; 1 hangs it, 0 is no limit.
    pub fn throttle(&mut self, bps: u64) -> Result<()> {
        self.limit_disk(bps, 0)
    }

    /// The same, and so many operations a second.
    pub fn limit_disk(&mut self, bps: u64, iops: u64) -> Result<()> {
        let all = json!({ "device": "persist", "bps": bps, "bps_rd": 0, "bps_wr": 0, "iops": iops, "iops_rd": 0, "iops_wr": 0 });
        self.machine.qmp("block_set_io_throttle", all).map(drop)
    }

    /// Takes the cable out of a card, by the name of what it is plugged into, or puts it in.
    pub fn cable(&mut self, segment: &str, plugged: bool) -> Result<()> {
        let link = json!({ "name": segment, "up": plugged });
        self.machine.qmp("set_link", link).map(drop)
    }

    /// Presses keys together, by QEMU's names.
    pub fn press(&mut self, keys: &[&str]) -> Result<()> {
        let keys: Vec<Value> = keys
            .iter()
            .map(|k| json!({ "type": "qcode", "data": k }))
            .collect();
        self.machine
            .qmp("send-key", json!({ "keys": keys }))
            .map(drop)
    }

    /// Waits until a line of this boot matches, whether it has come already or comes yet; no line is passed over. For what bay0 says of
    /// itself, at an instant that nobody waits for.
    pub fn said(&mut self, pattern: &str) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while self.count(pattern)? == 0 {
            ensure!(
                Instant::now() < end,
                "not said within {PATIENCE:?}: {pattern}; last lines:\n{}",
                self.machine.tail()
            );
            self.machine.wait_for_more(LOOK);
        }
        Ok(())
    }

    /// Fails if any line of this boot so far matches.
    pub fn never(&mut self, pattern: &str) -> Result<()> {
        let lines = self.matching(pattern)?;
        ensure!(lines.is_empty(), "must not be said: {lines:?}");
        Ok(())
    }

    /// How many lines of this boot so far match.
    pub fn count(&mut self, pattern: &str) -> Result<usize> {
        self.matching(pattern).map(|lines| lines.len())
    }

    fn matching(&mut self, pattern: &str) -> Result<Vec<String>> {
        let pattern = regex(pattern)?;
        let text = self.machine.text();
        let lines = text
            .lines()
            .filter(|l| pattern.is_match(l) && !l.contains(OLD_NEWS));
        Ok(lines.map(str::to_owned).collect())
    }
}

/// The pattern of a whole line of bay0's in which `N` stands for any number.
pub fn whole(line: &str) -> Result<String> {
    let line = regex::escape(line);
    let line = regex(r"\bN\b")?.replace_all(&line, r"\d+");
    Ok(format!(r"^bay0 \d+\.\d{{3}} {line}$"))
}

/// Whether `said` is exactly this line of bay0's, in the spelling of [`Guest::says`].
pub fn is_whole(said: &str, line: &str) -> Result<bool> {
    Ok(regex(&whole(line)?)?.is_match(said))
}

fn regex(pattern: &str) -> Result<Regex> {
    Regex::new(pattern).with_context(|| format!("pattern {pattern}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h19_a_whole_line_is_told_from_part_of_one_and_from_another() {
        let line = "keeper: FAIL: a (b); next: NEVER a.1-N (N ms)";
        for (said, is) in [
            (
                "bay0 1.234 keeper: FAIL: a (b); next: NEVER a.1-7 (20 ms)",
                true,
            ),
            (
                "bay0 1.234 keeper: FAIL: a (b); next: NEVER a.1-7 (20 ms) x",
                false,
            ),
            (
                "x bay0 1.234 keeper: FAIL: a (b); next: NEVER a.1-7 (20 ms)",
                false,
            ),
            (
                "bay0 1.234 keeper: FAIL: a (b); next: NEVER ax1-7 (20 ms)",
                false,
            ),
            (
                "bay0 1.234 keeper: FAIL: a (b); next: 7EVER a.1-7 (20 ms)",
                false,
            ),
        ] {
            assert_eq!(is_whole(said, line).unwrap(), is, "{said}");
        }
    }
}
