//! Disks that are missing, hang from the start, cannot be written, are full or were never formatted (H05, H06).

use std::fs;

use anyhow::{Context, Result, ensure};
use regex::Regex;

use super::chain;
use super::disk::Disk;
use super::lab::{Build, DISK_MIB, Guest, Lab, drive, is_whole};

/// What follows from a full disk.
const FULL: &str = "ENOSPC; state cannot be kept; next: free space on /persist";
const MISSING: &str =
    "find persist: there is no disk; booting dirty; next: attach the disk and reboot";
/// The same with a kernel that has no driver for what QEMU's machine has.
const MISSING_ON_DEBIAN: &str = "find persist: there is no disk; no driver for pci 0000:00:1f.2 (0x8086 0x2922); booting dirty; next: attach the disk and reboot";
/// The first look at it has no answer.
const SILENT: &str =
    "find persist: /dev/vda does not answer; booting dirty; next: check the disk, then reboot";
const NO_ANSWER: &str =
    "modules: FAIL: load disk drivers: a disk hangs; no disk; next: detach it, then reboot (N ms)";
/// How a boot ends that has no keeper.
pub(super) const LOST: &str = "shutdown: FAIL: no keeper; seed, time and log of this boot are lost; next: see why above (N ms)";
/// The summary of a boot that cannot keep anything.
const NOTHING_KEPT: &str = "validate: RED (N ms): freezer GREEN, umbilical GREEN, root GREEN, persist RED, log RED, watchdog GREEN, boot RED";

/// The boot is dirty because of `cause`, says so on every side, and the operator line still works to the end.
pub(super) fn dirty_but_alive(guest: &mut Guest, cause: &str) -> Result<()> {
    guest.says_all(&[
        &format!("keeper: FAIL: {cause} (N ms)"),
        "reconcile: FAIL: no database; no persona starts; next: see the keeper's line (N ms)",
        "operator: ready, type help; Ctrl-] leaves a room (N ms)",
    ])?;
    red(guest, cause)?;
    guest.says("validate: RED boot: failed: keeper, reconcile, rooms; next: see why with log")?;
    alive(guest, cause)?;
    guest.machine.send_line("poweroff")?;
    guest.says_all(&[LOST, "shutdown: power off"])?;
    ensure!(guest.ended()?.success(), "qemu did not end cleanly");
    Ok(())
}

/// A validation says `cause`.
pub(super) fn red(guest: &mut Guest, cause: &str) -> Result<()> {
    guest.says_all(&[
        &format!("validate: RED persist: {cause}"),
        "validate: RED log: not tried; next: see persist",
    ])
}

/// `status` says `cause`.
pub(super) fn alive(guest: &mut Guest, cause: &str) -> Result<()> {
    guest.shows(&[("verdict", "RED"), ("keeper", "down"), ("dirty", cause)])
}

pub fn h06_missing_disk_is_a_dirty_boot(lab: &Lab) -> Result<()> {
    let mut guest = lab.start(&lab.config(Build::Release))?;
    dirty_but_alive(&mut guest, missing(lab))
}

fn missing(lab: &Lab) -> &'static str {
    if lab.hardened() {
        MISSING
    } else {
        MISSING_ON_DEBIAN
    }
}

pub fn h06_disk_that_hangs_from_the_start_is_a_dirty_boot(lab: &Lab) -> Result<()> {
    let disk = lab.disk()?;
    let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
    // Not before: the firmware itself would wait for the disk for ever. bay0 speaks long before it looks for a disk.
    guest.expect(" is PID 1 ")?;
    guest.throttle(1)?;
    // Whether the first look at the disk still has its answer is a matter of how much QEMU lets through in one go.
    let mut line = guest.expect("^bay0 .* (modules|keeper): FAIL: ")?;
    if line.contains(" modules: ") {
        ensure!(is_whole(&line, NO_ANSWER)?, "said {line:?}");
        line = guest.expect("keeper: FAIL: ")?;
    }
    let known = [
        missing(lab),
        SILENT,
        "look at /dev/vda: no answer; left as it is; booting dirty; next: see docs/VAULT.md",
    ];
    let mut cause = None;
    for text in known {
        if is_whole(&line, &format!("keeper: FAIL: {text} (N ms)"))? {
            cause = Some(text.to_owned());
        }
    }
    let cause = cause.map_or_else(|| hung(&line), Ok)?;
    guest.says("operator: ready, type help; Ctrl-] leaves a room (N ms)")?;
    red(&mut guest, &cause)?;
    guest.says(NOTHING_KEPT)?;
    alive(&mut guest, &cause)?;
    ends_though_the_disk_hangs(&mut guest)
}

/// The keeper's line about a disk that does not answer, without its component and time.
pub(super) fn hung(line: &str) -> Result<String> {
    let pattern = r"keeper: FAIL: (keeper [a-z-]+: no answer in \d+ ms; state is dirty; next: check the disk, then reboot)( \(\d+ ms\))?$";
    let found = Regex::new(pattern)?.captures(line);
    let found = found.with_context(|| format!("no hung disk in {line:?}"))?;
    Ok(found[1].to_owned())
}

/// The operator's word still ends the machine: bay0's own steps are bounded, and the kernel's are watched by the watchdog.
pub(super) fn ends_though_the_disk_hangs(guest: &mut Guest) -> Result<()> {
    guest.machine.send_line("poweroff")?;
    guest.says_all(&[LOST, "shutdown: power off"])?;
    ensure!(guest.ended()?.success(), "qemu did not end cleanly");
    Ok(())
}

pub fn h15_read_only_disk_is_red_and_says_attach_it_writable(lab: &Lab) -> Result<()> {
    let disk = lab.disk()?;
    let before = fs::read(&disk.path)?;
    let mut config = lab.config(Build::Release);
    config.drives.push(drive(&disk.path, ",readonly=on"));
    dirty_but_alive(
        &mut lab.start(&config)?,
        "mount /persist (ext4, /dev/vda): EACCES; booting dirty; next: attach the disk writable and reboot",
    )?;
    ensure!(
        fs::read(&disk.path)? == before,
        "a read-only disk was written to"
    );
    Ok(())
}

pub fn h15_full_disk_at_first_boot_is_red_and_names_enospc(lab: &Lab) -> Result<()> {
    let no_database =
        "open state.db: N bytes free, N needed; left untouched; next: free space on /persist";
    let no_log = format!("FAIL: append genesis.log: {FULL}");
    let disk = lab.disk()?;
    disk.fill()?;
    let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
    guest.says_all(&[
        &format!("keeper: FAIL: {no_database}"),
        "previous: ended none: no boot before this one is recorded",
        &format!("reconcile: FAIL: {no_database} (N ms)"),
        &format!("log: {no_log}"),
        &format!("validate: RED persist: {no_database}"),
        "validate: RED log: not tried; next: see persist",
        NOTHING_KEPT,
    ])?;
    guest.machine.send_line("poweroff")?;
    guest.says_all(&[&format!("shutdown: {no_log} (N ms)"), "shutdown: power off"])?;
    ensure!(guest.ended()?.success(), "qemu did not end cleanly");
    Ok(())
}

pub fn h15_disk_that_filled_up_keeps_the_log_and_is_red(lab: &Lab) -> Result<()> {
    let no_seed = format!("seed: {FULL}");
    let disk = lab.disk()?;
    lab.boot(Build::Release, &disk)?.power_off()?;
    disk.fill()?;
    let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
    guest.says_all(&[
        &format!("keeper: FAIL: {no_seed}"),
        "previous: ended clean power off",
        &format!("reconcile: FAIL: {no_seed} (N ms)"),
        "operator: ready, type help; Ctrl-] leaves a room (N ms)",
        &format!("validate: RED persist: {no_seed}"),
        "validate: RED log: not tried; next: see persist",
        NOTHING_KEPT,
    ])?;
    // The log was allocated while there was room, so what happened can still be recorded.
    let recorded = guest.figure("log_seq")?;
    ensure!(recorded > 0, "nothing was recorded on the full disk");
    guest.power_off()?;
    disk.settle()?;
    lab.verify_log(&disk)
}

/// Fills the log with records, then the disk, so that the log has no next file; what the log is now.
fn fill_log(disk: &Disk) -> Result<Vec<u8>> {
    /// Free blocks: room for the database and the marker, none for another file of the log. A fiftieth of all blocks does
    /// not count, ext4 keeps it for itself.
    const SPARE: usize = (DISK_MIB * 256 / 50) as usize + 32;
    let mut log = disk.read("genesis.log")?;
    chain::fill(&mut log)?;
    disk.write("genesis.log", &log)?;
    disk.fill_but(SPARE)?;
    Ok(log)
}

pub fn h15_full_log_that_cannot_rotate_is_red_until_there_is_room(lab: &Lab) -> Result<()> {
    let no_log = format!("append genesis.log: {FULL}");
    let disk = lab.disk()?;
    lab.boot(Build::Release, &disk)?.power_off()?;
    let log = fill_log(&disk)?;
    let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
    guest.says_all(&[
        &format!("log: FAIL: {no_log}"),
        &format!("validate: RED log: {no_log}"),
        "validate: RED (N ms): freezer GREEN, umbilical GREEN, root GREEN, persist GREEN, log RED, watchdog GREEN, boot RED",
    ])?;
    // Every later line is refused as well, which is said once.
    guest.ask("validate")?;
    guest.says(&format!("validate: RED log: {no_log}"))?;
    guest.verdict("RED")?;
    ensure!(
        guest.count(" log: FAIL: ")? == 1,
        "the full log was not said once"
    );
    guest.machine.send_line("poweroff")?;
    guest.says(&format!("shutdown: FAIL: {no_log} (N ms)"))?;
    ensure!(guest.ended()?.success(), "qemu did not end cleanly");
    ensure!(
        disk.read("genesis.log")? == log,
        "the full log was written to"
    );
    disk.remove("ballast")?;
    let mut guest = lab.boot(Build::Release, &disk)?;
    guest.never(" FAIL: ")?;
    guest.power_off()?;
    disk.settle()?;
    ensure!(
        disk.read("genesis.log.1")? == log,
        "the full log was not rotated"
    );
    lab.verify_log(&disk)
}

pub fn h05_unformatted_disk_is_refused_and_never_formatted(lab: &Lab) -> Result<()> {
    let disk = Disk::blank(lab.path("blank.img"), DISK_MIB)?;
    let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
    // It may be made a vault, and only if somebody says so.
    guest.expect("type FORMAT to make it anew, anything else to leave it> ")?;
    guest.machine.send_line("mount")?;
    dirty_but_alive(
        &mut guest,
        "format /dev/vda: not confirmed; booting dirty; next: see docs/VAULT.md",
    )?;
    ensure!(
        fs::read(&disk.path)?.iter().all(|b| *b == 0),
        "bay0 wrote to a disk it could not mount"
    );
    Ok(())
}
