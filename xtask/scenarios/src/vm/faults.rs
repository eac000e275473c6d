//! bay0 itself fails, or its keeper does (C03, A12, H06); only the test build of the Spine can be told to.

use anyhow::{Context, Result, ensure};

use super::lab::{Build, Guest, Lab};
use crate::arch::Arch;

/// Room for 10,000 processes at once: the kernel allows one per 128 KiB of memory.
const STORM_MIB: u32 = 2048;
/// Orphans of one storm.
const ORPHANS: u64 = 10_000;
/// How often a keeper that dies is started again within one boot.
const RESTARTS: usize = 3;
/// The least that could be kept of an orphan: its number.
const LEAST_BYTES: u64 = 8;
/// What a sum of a process's memory may be off by: it is kept in batches of 32 pages, and read before and after.
const BATCH_KB: u64 = 2 * 32 * 4;
const UNCLEAN: &str = "previous: ended unclean: power cut, reset or kernel panic$";

pub fn c03_hung_loop_is_reset_by_the_watchdog(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.machine.send_line("fault hang")?;
    guest.machine.qmp_event("WATCHDOG", super::lab::PATIENCE)?;
    guest.expect_all(&[
        " is PID 1 ",
        r"previous: ended unclean: power cut, reset or kernel panic \(watchdog reset\)$",
    ])?;
    guest.verdict("GREEN")?;
    guest.power_off()
}

pub fn a12_without_hardware_softdog_resets_a_hung_loop(lab: &Lab) -> Result<()> {
    let mut config = lab.config_with(Build::Fault, &lab.disk()?);
    config.watchdog = false;
    if Arch::chosen() == Arch::X86_64 {
        // An older board: the chipset of the usual one has a watchdog.
        let older = ["-machine", "pc"].map(String::from);
        config.extra_args.extend(older);
    }
    let mut guest = lab.start(&config)?;
    guest.expect("watchdog: armed Software Watchdog, time-out 20 s read back")?;
    guest.verdict("GREEN")?;
    guest.machine.send_line("fault hang")?;
    guest.expect_all(&[" is PID 1 ", UNCLEAN])?;
    guest.verdict("GREEN")?;
    guest.power_off()
}

/// The chipset's own, as a PC has it and QEMU's q35: it can be asked what is left.
pub fn a12_the_watchdog_of_the_chipset_counts_and_resets_a_hung_loop(lab: &Lab) -> Result<()> {
    let mut config = lab.config_with(Build::Fault, &lab.disk()?);
    config.watchdog = false;
    // As QEMU before 8.0 has it, the driver finds one that never bites.
    let strap = ["-global", "ICH9-LPC.noreboot=off"];
    config.extra_args.extend(strap.map(String::from));
    let mut guest = lab.start(&config)?;
    if !lab.hardened() {
        // Nothing loads its driver there.
        guest.expect("watchdog: armed Software Watchdog, time-out 20 s read back")?;
        guest.verdict("GREEN")?;
        return guest.power_off();
    }
    guest.expect("watchdog: armed iTCO_wdt, time-out 20 s read back")?;
    guest.verdict("GREEN")?;
    let said = guest.ask("fault watchdog")?;
    ensure!(
        said.contains("iTCO_wdt, ") && said.contains(" s left"),
        "{said}"
    );
    guest.machine.send_line("fault hang")?;
    guest.machine.qmp_event("WATCHDOG", super::lab::PATIENCE)?;
    guest.expect_all(&[" is PID 1 ", UNCLEAN])?;
    guest.verdict("GREEN")?;
    guest.power_off()
}

pub fn c03_panic_of_bay0_reboots_and_is_named(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.machine.send_line("fault panic")?;
    guest.expect(r"bay0: FAIL: bay0 panic at \S+:\d+; the machine reboots$")?;
    guest
        .machine
        .qmp_event("GUEST_PANICKED", super::lab::PATIENCE)?;
    guest.expect_all(&[" is PID 1 ", r"previous: ended bay0 panic at \S+:\d+$"])?;
    guest.verdict("GREEN")?;
    guest.power_off()
}

pub fn c03_exit_of_bay0_reboots(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.machine.send_line("fault exit")?;
    guest
        .machine
        .qmp_event("GUEST_PANICKED", super::lab::PATIENCE)?;
    guest.expect_all(&[" is PID 1 ", UNCLEAN])?;
    guest.verdict("GREEN")?;
    guest.power_off()
}

pub fn h06_keeper_that_dies_is_restarted_a_bounded_number_of_times(lab: &Lab) -> Result<()> {
    let disk = lab.disk()?;
    let mut guest = lab.boot(Build::Fault, &disk)?;
    for nth in 1..=RESTARTS {
        guest.ask("fault kill-keeper")?;
        died(&mut guest)?;
        guest.says(&format!("keeper: restart {nth} of {RESTARTS}"))?;
        guest.expect("keeper: /persist open")?;
    }
    guest.ask("validate")?;
    guest.verdict("GREEN")?;
    guest.ask("fault kill-keeper")?;
    let cause = died(&mut guest)?;
    red_and_ends(&mut guest, &cause)?;
    disk.settle()?;
    lab.verify_log(&disk)
}

/// The keeper's end is said, whatever it was busy with; the line without its component.
fn died(guest: &mut Guest) -> Result<String> {
    let line = guest.expect(
        "keeper: FAIL: keeper [a-z]+: the keeper died; state is dirty; next: check the disk, then reboot$",
    )?;
    let cause = line.split_once("FAIL: ").context("no failure in it")?.1;
    Ok(cause.to_owned())
}

fn red_and_ends(guest: &mut Guest, cause: &str) -> Result<()> {
    guest.ask("validate")?;
    guest.says(&format!("validate: RED persist: {cause}"))?;
    guest.says("validate: RED log: not tried; next: see persist")?;
    guest.verdict("RED")?;
    let status = guest.status()?;
    ensure!(
        status.get("keeper").is_some_and(|k| k == "down"),
        "the keeper should be down: {status:?}"
    );
    guest.machine.send_line("poweroff")?;
    guest.says(super::disks::LOST)?;
    guest.expect("shutdown: power off$")?;
    guest.ended().map(drop)
}

/// PID 1's own memory. The hardened kernel tells no page of a process from another, only a sum.
fn used_kb(lab: &Lab, guest: &mut Guest) -> Result<u64> {
    if !lab.hardened() {
        return guest.figure("anon_kb");
    }
    let said = guest.ask("fault used")?;
    let figure = said.lines().find_map(|it| it.strip_prefix("used_kb="));
    let figure = figure.with_context(|| format!("no figure in {said:?}"))?;
    figure.trim().parse().with_context(|| format!("{figure:?}"))
}

pub fn h07_ten_thousand_orphans_are_reaped_while_the_line_answers(lab: &Lab) -> Result<()> {
    let mut config = lab.config_with(Build::Fault, &lab.disk()?);
    config.mem_mb = STORM_MIB;
    let mut guest = lab.start(&config)?;
    guest.verdict("GREEN")?;
    let (before, memory) = (guest.figure("reaped")?, used_kb(lab, &mut guest)?);
    guest.ask(&format!("fault orphans {ORPHANS}"))?;
    // Every question is answered while they are made and while they end; none is left in the end.
    // Making so many takes an emulated processor, which has these answers to give as well, longer than any single answer.
    let end = std::time::Instant::now() + 4 * super::lab::PATIENCE;
    loop {
        let status = guest.status()?;
        let reaped: u64 = status
            .get("reaped")
            .and_then(|r| r.parse().ok())
            .unwrap_or(0);
        if reaped > before + ORPHANS {
            break;
        }
        ensure!(
            std::time::Instant::now() < end,
            "only {} of {ORPHANS} orphans were reaped",
            reaped - before
        );
    }
    let now = used_kb(lab, &mut guest)?;
    let unsure = if lab.hardened() { BATCH_KB } else { 0 };
    ensure!(
        now < memory + unsure + ORPHANS * LEAST_BYTES / 1024,
        "PID 1 kept something of each orphan: {memory} kB before them, {now} kB after"
    );
    guest.ask("validate")?;
    guest.verdict("GREEN")?;
    guest.power_off()
}

/// What takes the memory is as safe from the kernel as PID 1, so the keeper is all there is to kill. With nothing left to kill the
/// kernel gives up, and the machine reboots: so much is PID 1 spared.
pub fn h09_the_memory_killer_takes_the_keeper_and_never_pid1(lab: &Lab) -> Result<()> {
    let mut guest = lab.start(&lab.config_with(Build::Fault, &lab.disk()?))?;
    guest.says("oom: -1000 read back (N ms)")?;
    guest.verdict("GREEN")?;
    guest.machine.send_line("fault memory")?;
    // The kernel may give up before PID 1 gets to say that the keeper died.
    guest.expect(r"Out of memory: Killed process \d+ \(bay0-keeper\)")?;
    guest.expect("Kernel panic - not syncing: System is deadlocked on memory$")?;
    guest
        .machine
        .qmp_event("GUEST_PANICKED", super::lab::PATIENCE)?;
    // A restarted keeper may have its opener beside it: a child like any other.
    let (all, children) = ("Killed process ", r"Killed process \d+ \(bay0-[a-z]+\)");
    ensure!(
        guest.count(all)? == guest.count(children)? && guest.count(r"Killed process 1 \(")? == 0,
        "the kernel killed more than children of PID 1"
    );
    guest.expect_all(&[" is PID 1 ", UNCLEAN])?;
    guest.verdict("GREEN")?;
    guest.power_off()
}
