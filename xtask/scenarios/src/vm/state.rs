//! What lies on `/persist`: damaged, of another version, half-finished, or behind the times (H11, H12, H16, H19).

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rusqlite::Connection;

use super::cutlog::SECTOR;
use super::disk::Disk;
use super::ends::{clock, floor};
use super::lab::{Build, Guest, Lab, PATIENCE};

const DATABASE: &str = "state.db";
/// How often a running machine's disk is looked at.
const LOOK: Duration = Duration::from_secs(2);
const GENESIS: &str = "genesis.log";
/// A schema that no Spine knows.
const FUTURE: u32 = 999;
/// The one that this Spine knows.
const SCHEMA: u32 = 3;

/// A disk as a first boot and a clean power-off leave it.
fn used_disk(lab: &Lab) -> Result<Disk> {
    let disk = lab.disk()?;
    lab.boot(Build::Release, &disk)?.power_off()?;
    Ok(disk)
}

/// Changes the database in `disk` with `sql`, closed and checkpointed; returns its new bytes.
fn change_database(lab: &Lab, disk: &Disk, sql: &str) -> Result<Vec<u8>> {
    let path: PathBuf = lab.path(DATABASE);
    fs::write(&path, disk.read(DATABASE)?).with_context(|| format!("write {}", path.display()))?;
    let database = Connection::open(&path).context("open the database")?;
    database
        .execute_batch(sql)
        .with_context(|| format!("run {sql:?}"))?;
    database
        .close()
        .map_err(|(_, e)| e)
        .context("close the database")?;
    let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    disk.write(DATABASE, &bytes)?;
    Ok(bytes)
}

/// The keeper opens with this trouble, which a validation repeats; the log works. `boot` is how well the boot's steps did.
fn persist_is_red(guest: &mut Guest, trouble: &str, boot: &str) -> Result<()> {
    guest.says_all(&[
        &format!("keeper: FAIL: {trouble}"),
        &format!("validate: RED persist: {trouble}"),
        &format!("validate: RED (N ms): freezer GREEN, umbilical GREEN, root GREEN, persist RED, log GREEN, watchdog GREEN, boot {boot}"),
    ])
}

pub fn h11_corrupt_database_is_set_aside_and_red(lab: &Lab) -> Result<()> {
    let disk = used_disk(lab)?;
    let garbage = [b"SQLite format 3\0".as_slice(), &[0xa5; 20_000]].concat();
    disk.write(DATABASE, &garbage)?;
    let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
    let found = "open state.db: file is not a database; begun afresh, the old one is state.db.corrupt-N-N; next: find out why";
    persist_is_red(&mut guest, found, "GREEN")?;
    guest.power_off()?;
    let names = disk.names()?;
    let aside = names.iter().find(|n| {
        n.starts_with("state.db.corrupt-") && !n.ends_with("-wal") && !n.ends_with("-shm")
    });
    let aside = aside.with_context(|| format!("nothing was set aside: {names:?}"))?;
    ensure!(
        disk.read(aside)? == garbage,
        "{aside} is not what lay there"
    );
    // Only the boot that found it is dirty.
    let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
    guest.verdict("GREEN")?;
    guest.power_off()
}

pub fn h11_newer_schema_is_refused_and_not_touched(lab: &Lab) -> Result<()> {
    let disk = used_disk(lab)?;
    let before = change_database(lab, &disk, &format!("PRAGMA user_version = {FUTURE}"))?;
    let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
    let found = format!(
        "open state.db: schema {FUTURE} is newer than {SCHEMA}, the newest known; left untouched; next: boot the newer Spine"
    );
    persist_is_red(&mut guest, &found, "RED")?;
    guest.power_off()?;
    ensure!(
        disk.read(DATABASE)? == before,
        "the newer database was changed"
    );
    let wal = disk.read("state.db-wal").unwrap_or_default();
    ensure!(
        wal.is_empty(),
        "the newer database was written to: {} bytes of WAL",
        wal.len()
    );
    // The log does not depend on the database.
    lab.verify_log(&disk)
}

pub fn h12_ghosts_of_every_half_state_are_cleared(lab: &Lab) -> Result<()> {
    let disk = used_disk(lab)?;
    change_database(
        lab,
        &disk,
        "INSERT INTO persona (name, state) VALUES
           ('p://ghost', 'running'), ('p://half/made', 'starting'), ('p://quiet', 'stopped'), ('sys://ai', 'running')",
    )?;
    let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
    guest.expect(r"reconcile: 4 personas, 3 corrections \(")?;
    for name in ["p://ghost", "p://half/made", "sys://ai"] {
        ensure!(
            guest.count(&format!("reconcile: {name}: .*recorded as stopped"))? == 1,
            "{name} was not cleared"
        );
    }
    guest.verdict("GREEN")?;
    let rooms = guest.ask("rooms")?;
    ensure!(
        rooms.contains("sys://ai stopped\n") && !rooms.contains("p://ghost"),
        "what this Spine has no policy of is no room:\n{rooms}"
    );
    // A hard reset, and nothing has to be cleared twice.
    guest.machine.kill()?;
    let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
    guest.expect(r"reconcile: 4 personas, 0 corrections \(")?;
    guest.verdict("GREEN")?;
    guest.power_off()
}

pub fn h19_torn_log_tail_is_closed_and_not_an_error(lab: &Lab) -> Result<()> {
    let disk = used_disk(lab)?;
    let mut log = disk.read(GENESIS)?;
    // The last sector with records in it, cut out of the middle of one, never reached the disk.
    let sector = SECTOR as usize;
    let end = log
        .iter()
        .rposition(|b| *b != 0)
        .context("the log is empty")?;
    let mut from = end / sector * sector;
    while log[from - 1] == b'\n' {
        from -= sector;
    }
    log[from..=end].fill(0);
    disk.write(GENESIS, &log)?;
    let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
    guest.verdict("GREEN")?;
    guest.never(" FAIL: ")?;
    guest.power_off()?;
    let text = String::from_utf8_lossy(&disk.read(GENESIS)?).into_owned();
    ensure!(
        text.contains("torn tail of "),
        "the log does not say that a torn tail was closed"
    );
    lab.verify_log(&disk)
}

pub fn h19_changed_log_record_is_red_and_set_aside(lab: &Lab) -> Result<()> {
    let disk = used_disk(lab)?;
    let mut log = disk.read(GENESIS)?;
    let third = log
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'\n')
        .nth(2)
        .context("three records")?
        .0;
    log[third - 1] ^= 1;
    disk.write(GENESIS, &log)?;
    let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
    let found = "open genesis.log: line 3 does not match its checksum; begun afresh, the old one is genesis.log.broken-N-N; next: find out why";
    persist_is_red(&mut guest, found, "GREEN")?;
    guest.power_off()?;
    let names = disk.names()?;
    let aside = names.iter().find(|n| n.starts_with("genesis.log.broken-"));
    let aside = aside.with_context(|| format!("nothing was set aside: {names:?}"))?;
    ensure!(disk.read(aside)? == log, "{aside} is not what lay there");
    broken_in_line_3(lab, aside, &log)?;
    lab.verify_log(&disk)?;
    let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
    guest.verdict("GREEN")?;
    guest.power_off()
}

/// `bay0 verify-log` says the same of the file on another machine.
fn broken_in_line_3(lab: &Lab, name: &str, log: &[u8]) -> Result<()> {
    let path = lab.path(name);
    fs::write(&path, log)?;
    let checked = Command::new(&lab.bench.bay0)
        .arg("verify-log")
        .arg(&path)
        .output()
        .context("start bay0 verify-log")?;
    let said = String::from_utf8_lossy(&checked.stderr);
    let broken = format!(
        "bay0: {}: line 3 does not match its checksum; next: keep the file\n",
        path.display()
    );
    ensure!(
        checked.status.code() == Some(1) && checked.stdout.is_empty() && said == broken,
        "verify-log said {said:?}, {}",
        checked.status
    );
    Ok(())
}

/// A boot with the machine's own clock set to `rtc`; where the clock stood when bay0 was done with it, and the floor.
fn boot_at(lab: &Lab, disk: &Disk, rtc: &str) -> Result<(u64, u64)> {
    let mut config = lab.config_with(Build::Release, disk);
    config
        .extra_args
        .extend(["-rtc".into(), format!("base={rtc}")]);
    let mut guest = lab.start(&config)?;
    let built = clock(&guest.expect("time: clock ")?)?;
    let line = guest.expect("keeper: /persist open: ")?;
    let (floor, kept) = (floor(&line)?, clock(&line)?);
    ensure!(kept >= built, "the clock went back from {built} to {kept}");
    guest.verdict("GREEN")?;
    guest.power_off()?;
    Ok((kept, floor))
}

pub fn h16_clock_of_1970_starts_at_the_floor(lab: &Lab) -> Result<()> {
    /// When this was written; the image is not older.
    const WRITTEN: u64 = 1_700_000_000;
    let disk = lab.disk()?;
    let (first, _) = boot_at(lab, &disk, "1970-01-01T00:00:10")?;
    ensure!(
        first >= WRITTEN,
        "with a clock of 1970 and no floor the boot began at {first}"
    );
    let (second, floor) = boot_at(lab, &disk, "1970-01-01T00:00:10")?;
    ensure!(
        second >= floor && floor >= first,
        "1970 again: clock {second}, floor {floor}, the boot before {first}"
    );
    Ok(())
}

pub fn h16_clock_in_the_past_never_starts_behind_the_floor(lab: &Lab) -> Result<()> {
    let disk = lab.disk()?;
    let (future, _) = boot_at(lab, &disk, "2033-05-18T03:33:20")?;
    ensure!(
        future >= 2_000_000_000,
        "the clock of 2033 was not believed: {future}"
    );
    let (past, floor) = boot_at(lab, &disk, "2026-01-01T00:00:00")?;
    ensure!(floor >= future, "the floor {floor} is behind {future}");
    ensure!(
        past >= floor,
        "the clock started at {past}, behind the floor {floor}"
    );
    Ok(())
}

pub fn h16_floor_is_written_every_minute(lab: &Lab) -> Result<()> {
    let disk = lab.disk()?;
    let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
    let began = clock(&guest.expect("keeper: /persist open: ")?)?;
    guest.verdict("GREEN")?;
    // Nothing is said about it: the image is looked at beside the running machine until the floor stands there.
    let end = Instant::now() + PATIENCE;
    let written = loop {
        match floor_in(lab, &disk) {
            Ok(floor) if floor > 0 => break floor,
            _ => ensure!(Instant::now() < end, "no floor was written"),
        }
        thread::sleep(LOOK);
    };
    guest.machine.kill()?;
    ensure!(
        written > began,
        "the floor {written} is not of this boot, which began at {began}"
    );
    let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
    let found = floor(&guest.expect("keeper: /persist open: ")?)?;
    ensure!(
        found >= written,
        "the floor {written} was written, {found} is found"
    );
    guest.verdict("GREEN")?;
    guest.power_off()
}

/// The clock's floor in the database of a disk that may be in use.
fn floor_in(lab: &Lab, disk: &Disk) -> Result<u64> {
    let copy = disk.copy_to(lab.path("copy.img"))?;
    // Without this, what ext4's journal alone has is not there. Errors are those of a file system in use.
    let _ = copy.settle();
    for name in [DATABASE, "state.db-wal"] {
        fs::write(lab.path(name), copy.read(name)?)?;
    }
    let database = Connection::open(lab.path(DATABASE))?;
    let floor = database.query_row("SELECT floor FROM machine", [], |row| row.get::<_, u32>(0));
    Ok(floor?.into())
}

pub fn h16_seed_never_serves_twice(lab: &Lab) -> Result<()> {
    let disk = lab.disk()?;
    let mut seen = BTreeSet::new();
    let mut boots = 0;
    for end in [
        "poweroff",
        "cut",
        "reset",
        "early cut",
        "early cut",
        "poweroff",
        "cut",
    ] {
        let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
        let mut note = |line: String| -> Result<()> {
            let seed = line
                .split("seed ")
                .nth(1)
                .and_then(|s| s.split([',', ' ']).next())
                .context("no seed in it")?
                .to_owned();
            boots += 1;
            ensure!(
                (seed == "none") == (boots == 1),
                "boot {boots} was seeded with {seed}"
            );
            ensure!(seen.insert(seed.clone()), "seed {seed} served twice");
            Ok(())
        };
        note(guest.expect("keeper: /persist open: ")?)?;
        match end {
            "early cut" => guest.machine.kill()?,
            "cut" => {
                guest.verdict("GREEN")?;
                guest.machine.kill()?;
            }
            "reset" => {
                guest.verdict("GREEN")?;
                guest.machine.qmp("system_reset", serde_json::json!({}))?;
                note(guest.expect("keeper: /persist open: ")?)?;
                guest.machine.kill()?;
            }
            _ => {
                guest.verdict("GREEN")?;
                guest.power_off()?;
            }
        }
    }
    Ok(())
}
