//! Slow is not dead (H06): disks that become slow, stand still or fail while the machine runs, and what is said of them (H15).

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::disks::{alive, ends_though_the_disk_hangs, hung, red};
use super::lab::{Build, Guest, Lab, PATIENCE, drive};

/// How long the test build waits for a keeper that does not move, in seconds; the Spine waits for `300`.
const STUCK_S: u32 = 5;
/// A block of the file system takes 2 s at so many bytes a second, and one operation of the disk, of some blocks, up to half a minute.
const SECONDS: u64 = 2048;
/// Bytes of a block of the file system, and of what the kernel and QEMU count a disk in.
const BLOCK: usize = 4096;
const SECTOR: u64 = 512;
/// The log of one boot, without its validations, fits in so many blocks.
const AHEAD: usize = 5;
/// Validations until the log has come there.
const MOST: usize = 60;
const QUICK: &str = r"persist: the disk is quick again after \d+ slow replies, the longest \d+ ms$";
const RED: &str = "validate: RED (N ms): freezer GREEN, umbilical GREEN, root GREEN, persist RED, log RED, watchdog GREEN, boot GREEN";

/// `status` says this.
fn shows(guest: &mut Guest, verdict: &str, keeper: &str) -> Result<()> {
    guest.shows(&[("verdict", verdict), ("keeper", keeper)])
}

/// The disk does nothing any more: YELLOW, in `status` too, and validations are answered.
fn stands_still(guest: &mut Guest) -> Result<()> {
    guest.throttle(1)?;
    guest.ask("validate")?;
    guest.expect(r"persist: YELLOW: keeper [a-z-]+ takes 2\d\d\d ms so far; requests wait; next: see what else uses the disk$")?;
    shows(guest, "YELLOW", "slow")?;
    guest.ask("validate")?;
    guest.expect(r"validate: YELLOW persist: requests take \d+ ms; others wait; next: see what else uses the disk$")?;
    guest.expect("validate: YELLOW log: not tried; next: see persist$")?;
    guest.verdict("YELLOW").map(drop)
}

fn is_quick(guest: &mut Guest) -> Result<()> {
    guest.throttle(0)?;
    guest.expect(QUICK)?;
    // A validation that was under way has seen the slow disk.
    while !guest
        .expect(crate::smoke::SUMMARY)?
        .contains("validate: GREEN")
    {}
    shows(guest, "GREEN", "up")
}

pub fn h06_slow_again_and_again_is_yellow_and_green_with_the_same_keeper(lab: &Lab) -> Result<()> {
    let disk = lab.disk()?;
    let mut guest = lab.boot(Build::Fault, &disk)?;
    guest.start_room("p://a")?;
    for round in 0..2 {
        stands_still(&mut guest)?;
        let mut a = guest.enter("p://a")?;
        // Not by a child of the shell, which takes the end of one for the end of its input.
        a.run(&format!("((echo {round} | bay0 save x{round} >/told{round} 2>&1; echo $? >>/told{round}; echo >/done{round}) &)"))?;
        let said = a.run(&format!("sleep 3; cat /told{round}"))?;
        ensure!(said.trim().is_empty(), "answered before the disk: {said}");
        a.leave()?;
        is_quick(&mut guest)?;
        let said = guest.run_in(
            "p://a",
            &format!("until [ -s /done{round} ]; do sleep 1; done; cat /told{round}"),
        )?;
        ensure!(said.split_whitespace().eq(["2", "0"]), "told {said:?}");
    }
    ensure!(guest.figure("keeper_restarts")? == 0, "another keeper");
    guest.never("FAIL")?;
    guest.machine.kill()?;
    let mut guest = lab.boot(Build::Fault, &disk)?;
    let said = guest.start_and_run_in("p://a", "bay0 load x0; bay0 load x1")?;
    ensure!(said.split_whitespace().eq(["0", "1"]), "there is {said:?}");
    guest.power_off()?;
    disk.settle()?;
    lab.verify_log(&disk)
}

pub fn h06_seconds_for_each_block_and_a_room_starts_and_saves_all_the_same(
    lab: &Lab,
) -> Result<()> {
    let disk = lab.disk()?;
    let mut guest = lab.boot(Build::Fault, &disk)?;
    guest.throttle(SECONDS)?;
    guest.start_and_run_in(
        "p://a",
        "((echo kept | bay0 save x >/told 2>&1; echo $? >>/told; echo >/done) &)",
    )?;
    guest.said("persist: YELLOW: keeper [a-z-]+ takes ")?;
    let mut a = guest.enter("p://a")?;
    let begun = Instant::now();
    while a.try_run("sleep 5; [ -e /done ]")?.1 != 0 {
        ensure!(begun.elapsed() < 4 * PATIENCE, "the save does not end");
    }
    let said = a.run("cat /told")?;
    ensure!(said.split_whitespace().eq(["5", "0"]), "told {said:?}");
    a.leave()?;
    shows(&mut guest, "YELLOW", "slow")?;
    ensure!(guest.figure("keeper_restarts")? == 0, "another keeper");
    guest.never("keeper: FAIL")?;
    // The end keeps its bounds: what a slow disk does not take in time is lost, and that is said.
    guest.machine.send_line("poweroff")?;
    guest.says("shutdown: power off")?;
    ensure!(guest.ended()?.success(), "qemu did not end cleanly");
    let mut guest = lab.boot(Build::Fault, &disk)?;
    let said = guest.start_and_run_in("p://a", "bay0 load x")?;
    ensure!(said.trim() == "kept", "there is {said:?}");
    guest.power_off()?;
    disk.settle()?;
    lab.verify_log(&disk)
}

/// A machine whose disk stood still until the keeper was given up, and a room that was refused for it.
fn given_up(lab: &Lab, disk: &super::disk::Disk) -> Result<(Guest, String)> {
    let mut guest = lab.boot(Build::Fault, disk)?;
    guest.start_room("p://a")?;
    guest.ask(&format!("fault patience {STUCK_S}"))?;
    guest.run_in("p://a", "echo acknowledged | bay0 save x")?;
    guest.throttle(1)?;
    guest.machine.send_line("validate")?;
    guest.expect("persist: YELLOW: keeper [a-z-]+ takes 2")?;
    let mut a = guest.enter("p://a")?;
    // It waits behind the request that hangs.
    let (said, code) = a.try_run("echo more | bay0 save y")?;
    let why = "bay0: not done: the keeper was given up; next: try again, see status";
    ensure!(code == 1 && said.contains(why), "{code} {said}");
    a.leave()?;
    let lines = guest.ask("log")?;
    let line = lines.lines().find(|line| line.contains("keeper: FAIL: "));
    let cause = hung(line.context("not given up")?.trim_end())?;
    ensure!(
        lines.contains(
            "keeper: another is started when this one has ended, not before 0 s from now"
        ),
        "{lines}"
    );
    Ok((guest, cause))
}

pub fn h06_keeper_that_is_given_up_is_followed_without_a_reboot(lab: &Lab) -> Result<()> {
    let disk = lab.disk()?;
    let (mut guest, cause) = given_up(lab, &disk)?;
    alive(&mut guest, &cause)?;
    guest.never("keeper: the one before has ended")?;
    guest.throttle(0)?;
    guest.says("keeper: the one before has ended, another opens /persist")?;
    guest.expect("keeper: /persist open: ")?;
    guest.verdict("GREEN")?;
    shows(&mut guest, "GREEN", "up")?;
    let said = guest.run_in(
        "p://a",
        "bay0 load x; echo z | bay0 save z; ! bay0 load y 2>&1",
    )?;
    ensure!(said.starts_with("acknowledged"), "there is {said:?}");
    ensure!(
        said.contains("not-found: load y"),
        "refused, and kept: {said:?}"
    );
    let status = guest.status()?;
    ensure!(!status.contains_key("dirty"), "{status:?}");
    guest.power_off()?;
    disk.settle()?;
    lab.verify_log(&disk)
}

pub fn h06_keeper_whose_disk_moves_is_not_given_up(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.start_room("p://a")?;
    guest.ask(&format!("fault patience {STUCK_S}"))?;
    guest.limit_disk(0, 1)?;
    let mut a = guest.enter("p://a")?;
    // What the room writes goes before what the keeper does.
    a.run("((head -c 100000 /dev/urandom | bay0 save big >/told 2>&1; echo $? >>/told) &)")?;
    a.leave()?;
    let begun = Instant::now();
    while guest.figure("keeper_ms")? < u64::from(STUCK_S + 2) * 1000 {
        ensure!(begun.elapsed() < PATIENCE, "no request takes so long");
        guest.machine.send_line("validate")?;
        guest.expect(crate::smoke::SUMMARY)?;
    }
    guest.never("keeper: FAIL")?;
    is_quick(&mut guest)?;
    let said = guest.run_in("p://a", "until [ -s /told ]; do sleep 1; done; cat /told")?;
    ensure!(said.split_whitespace().eq(["100000", "0"]), "told {said:?}");
    ensure!(guest.figure("keeper_restarts")? == 0, "another keeper");
    guest.never("keeper: FAIL")?;
    guest.power_off()
}

pub fn h06_disk_that_never_comes_back_is_red_to_the_end(lab: &Lab) -> Result<()> {
    let (mut guest, cause) = given_up(lab, &lab.disk()?)?;
    for _ in 0..2 {
        guest.ask("validate")?;
        red(&mut guest, &cause)?;
        guest.says(RED)?;
        alive(&mut guest, &cause)?;
    }
    ends_though_the_disk_hangs(&mut guest)
}

pub fn h06_keeper_that_stands_still_is_replaced(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.ask(&format!("fault patience {STUCK_S}"))?;
    let done = guest.ask("fault slow-keeper")?;
    ensure!(done.contains("Ok"), "the keeper was not stopped: {done}");
    // What the kernel writes by itself is a disk that moves.
    guest.throttle(1)?;
    guest.says("persist: YELLOW: keeper append takes N ms so far; requests wait; next: see what else uses the disk")?;
    guest.says("keeper: FAIL: keeper append: no answer in 5000 ms; state is dirty; next: check the disk, then reboot")?;
    guest.throttle(0)?;
    guest.says("keeper: the one before has ended, another opens /persist")?;
    guest.expect("keeper: /persist open: ")?;
    while !guest
        .expect(crate::smoke::SUMMARY)?
        .contains("validate: GREEN")
    {}
    ensure!(guest.figure("keeper_restarts")? == 0, "it did not die");
    guest.power_off()
}

pub fn h15_file_system_that_falls_read_only_is_said_with_the_kernels_counters(
    lab: &Lab,
) -> Result<()> {
    let text = "N errors and N warnings of ext4, the last error at Unix second N in trigger_test_error(); /persist is read-only since, nothing is kept; next: copy the disk, then run e2fsck on another machine";
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    let done = guest.ask("fault ext4-error")?;
    ensure!(done.contains("Ok"), "no error was made: {done}");
    guest.said(&super::lab::whole(&format!("disk: FAIL: {text}"))?)?;
    guest.said(&super::lab::whole(&format!(
        "validate: RED persist: {text}"
    ))?)?;
    shows(&mut guest, "RED", "up")?;
    guest.machine.send_line("reboot")?;
    guest.expect(" is PID 1 ")?;
    // The superblock remembers.
    guest.expect("validate: YELLOW disk: 1 errors of ext4, the first at Unix second ")?;
    guest.power_off()
}

pub fn h15_one_error_of_the_disk_is_said_with_the_kernels_counters(lab: &Lab) -> Result<()> {
    let disk = lab.disk()?;
    lab.boot(Build::Fault, &disk)?.power_off()?;
    disk.settle()?;
    // A block that the log comes to, and nothing else.
    let log = disk.read("genesis.log")?;
    let end = log
        .iter()
        .rposition(|byte| *byte != 0)
        .context("an empty log")?;
    let sector = disk.place("genesis.log", end / BLOCK + AHEAD)? * (BLOCK as u64 / SECTOR);
    let rules = lab.path("rules");
    let rule = "[inject-error]\nevent = \"none\"\niotype = \"write\"\nerrno = \"5\"\nonce = \"on\"";
    fs::write(&rules, format!("{rule}\nsector = \"{sector}\"\n"))?;
    let mut config = lab.config(Build::Release);
    let path = disk.path.display();
    let image = format!("blkdebug:{}:{path}", rules.display());
    config.drives.push(drive(image.as_ref(), ""));
    let mut guest = lab.start(&config)?;
    guest.verdict("GREEN")?;
    let failed = "log: FAIL: append genesis.log: EIO; ";
    for _ in 0..MOST {
        if guest.count(failed)? > 0 {
            break;
        }
        guest.machine.send_line("validate")?;
        guest.expect(crate::smoke::SUMMARY)?;
    }
    guest.said(r"disk: FAIL: 0 errors and \d+ warnings of ext4; next: ")?;
    guest.ask("validate")?;
    guest.said("validate: RED log: append genesis.log: EIO; ")?;
    guest.said(r"validate: YELLOW disk: 0 errors and \d+ warnings of ext4; next: ")?;
    guest.machine.send_line("reboot")?;
    guest.expect(" is PID 1 ")?;
    guest.verdict("GREEN")?;
    guest.power_off()?;
    disk.settle()?;
    lab.verify_log(&disk)
}
