//! Disks that are missing, hang, cannot be written, are full or were never formatted (H05, H06).

use std::fs;

use anyhow::{Result, ensure};

use super::disk::Disk;
use super::lab::{Build, DISK_MIB, Guest, Lab, drive};

/// The boot is dirty, says so on every side, and the operator line still works to the end.
fn dirty_but_alive(guest: &mut Guest, failure: &str) -> Result<()> {
    guest.expect(failure)?;
    guest.expect("operator: ready")?;
    guest.expect("validate: RED persist: .*; next: ")?;
    guest.verdict("RED")?;
    let status = guest.status()?;
    ensure!(
        status.get("verdict").is_some_and(|v| v == "RED"),
        "status hides the verdict: {status:?}"
    );
    ensure!(
        status.get("dirty").is_some_and(|d| d.contains("; next: ")),
        "status hides why: {status:?}"
    );
    Ok(())
}

pub fn h06_missing_disk_is_a_dirty_boot(lab: &Lab) -> Result<()> {
    let mut guest = lab.start(&lab.config(Build::Release))?;
    dirty_but_alive(
        &mut guest,
        r"keeper: FAIL: mount /persist \(ext4, /dev/vda\): ENOENT; .*dirty.*; next: attach the disk and reboot",
    )?;
    guest.power_off()
}

pub fn h06_disk_that_hangs_from_the_start_is_a_dirty_boot(lab: &Lab) -> Result<()> {
    let disk = lab.disk()?;
    let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
    // Not before: the firmware itself would wait for the disk for ever. bay0 speaks long before it looks for a disk.
    guest.expect(" is PID 1 ")?;
    guest.throttle(1)?;
    dirty_but_alive(
        &mut guest,
        r"(modules|keeper): FAIL: .*(a disk hangs|no answer in \d+ ms); .*; next: ",
    )?;
    ends_though_the_disk_hangs(&mut guest)
}

pub fn h06_disk_that_hangs_later_makes_the_state_dirty(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Release, &lab.disk()?)?;
    guest.throttle(1)?;
    guest.ask("validate")?;
    dirty_after_hang(&mut guest)?;
    ends_though_the_disk_hangs(&mut guest)
}

fn dirty_after_hang(guest: &mut Guest) -> Result<()> {
    guest.expect(r"keeper: FAIL: .*no answer (with)?in \d+ ms; .*; next: ")?;
    guest.expect("validate: RED persist: .*; next: ")?;
    guest.verdict("RED")?;
    // PID 1 keeps serving: a second question has its answer too.
    guest.ask("validate")?;
    guest.verdict("RED")?;
    let status = guest.status()?;
    ensure!(
        status.get("keeper").is_some_and(|k| k == "down"),
        "the hung keeper was not given up: {status:?}"
    );
    Ok(())
}

/// The operator's word still ends the machine: bay0's own steps are bounded, and the kernel's are watched by the watchdog.
fn ends_though_the_disk_hangs(guest: &mut Guest) -> Result<()> {
    guest.power_off()
}

pub fn h06_disk_that_recovers_is_kept_again_after_a_reboot(lab: &Lab) -> Result<()> {
    let disk = lab.disk()?;
    let mut guest = lab.boot(Build::Release, &disk)?;
    guest.throttle(1)?;
    guest.ask("validate")?;
    dirty_after_hang(&mut guest)?;
    guest.throttle(0)?;
    guest.machine.send_line("reboot")?;
    guest.expect(" is PID 1 ")?;
    guest.expect(r"previous: ended unclean")?;
    guest.verdict("GREEN")?;
    guest.power_off()?;
    disk.settle()?;
    lab.verify_log(&disk)
}

pub fn h15_read_only_disk_is_red_and_says_attach_it_writable(lab: &Lab) -> Result<()> {
    let disk = lab.disk()?;
    let before = fs::read(&disk.path)?;
    let mut config = lab.config(Build::Release);
    config.drives.push(drive(&disk.path, ",readonly=on"));
    let mut guest = lab.start(&config)?;
    dirty_but_alive(
        &mut guest,
        r"keeper: FAIL: mount /persist \(ext4, /dev/vda\): (EROFS|EACCES); .*; next: attach the disk writable",
    )?;
    guest.power_off()?;
    ensure!(
        fs::read(&disk.path)? == before,
        "a read-only disk was written to"
    );
    Ok(())
}

pub fn h15_full_disk_at_first_boot_is_red_and_names_enospc(lab: &Lab) -> Result<()> {
    let disk = lab.disk()?;
    disk.fill()?;
    let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
    guest.expect(r"keeper: FAIL: .*(ENOSPC|full|free).*; next: free space on /persist")?;
    guest.expect("validate: RED .*; next: ")?;
    guest.verdict("RED")?;
    guest.power_off()
}

pub fn h15_disk_that_filled_up_keeps_the_log_and_is_red(lab: &Lab) -> Result<()> {
    let disk = lab.disk()?;
    lab.boot(Build::Release, &disk)?.power_off()?;
    disk.fill()?;
    let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
    guest.expect("operator: ready")?;
    guest.expect(r"validate: RED (persist|log): .*ENOSPC.*; next: free space on /persist")?;
    guest.verdict("RED")?;
    // The log was allocated while there was room, so what happened can still be recorded.
    let recorded = guest.figure("log_seq")?;
    ensure!(recorded > 0, "nothing was recorded on the full disk");
    guest.power_off()?;
    disk.settle()?;
    lab.verify_log(&disk)
}

pub fn h05_unformatted_disk_is_refused_and_never_formatted(lab: &Lab) -> Result<()> {
    let disk = Disk::blank(lab.path("blank.img"), DISK_MIB)?;
    let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
    dirty_but_alive(
        &mut guest,
        r"keeper: FAIL: mount /persist \(ext4, /dev/vda\): EINVAL; .*; next: check the disk",
    )?;
    guest.power_off()?;
    ensure!(
        fs::read(&disk.path)?.iter().all(|b| *b == 0),
        "bay0 wrote to a disk it could not mount"
    );
    Ok(())
}
