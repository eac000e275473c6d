//! What rooms keep (C07, T02, S04): it outlives power cuts, nobody else's room sees it, and the figures of the policy hold.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::cutlog;
use super::disk::Disk;
use super::inside::Inside;
use super::lab::{Build, Guest, Lab};
use super::rng::Rng;
use crate::machine::MachineConfig;

/// Rooms that write at once: the one in front with one inside it, and two that serve, which are always awake.
const WRITERS: [&str; 4] = ["p://a", "p://a/kid", "sys://serves", "sys://brings"];
/// Longest that they write before the power goes.
const LOAD_MS: u64 = 1500;

/// Fails unless this ends with 1 and says that.
fn refused(room: &mut Inside<'_>, command: &str, why: &str) -> Result<()> {
    let (said, code) = room.try_run(command)?;
    ensure!(code == 1 && said.contains(why), "{command}: {code} {said}");
    Ok(())
}

pub fn c07_what_a_room_saved_is_there_after_a_power_cut(lab: &Lab) -> Result<()> {
    let disk = lab.disk()?;
    let mut guest = lab.boot(Build::Fault, &disk)?;
    let mut a = guest.start_and_enter("p://a")?;
    a.run("head -c 3000000 /dev/urandom >/f; echo a note >/n; sha256sum </f")?;
    let sum = a.run("sha256sum </f")?;
    let said =
        a.run("bay0 save big </f && bay0 save notes.txt </n && bay0 save empty </dev/null")?;
    ensure!(said.split_whitespace().eq(["3000000", "7", "0"]), "{said}");
    let said = a.run("(echo one; echo two) | bay0 append")?;
    ensure!(said.split_whitespace().eq(["1", "2"]), "{said}");
    a.run("bay0 snapshot; echo another >/n; bay0 save notes.txt </n; bay0 drop empty")?;
    a.leave()?;

    // Nobody else's.
    let mut b = guest.start_and_enter("p://b")?;
    let said = b.run("bay0 list")?;
    ensure!(said.trim() == "records 0", "p://b has {said}");
    refused(
        &mut b,
        "bay0 load notes.txt",
        "bay0: not-found: load notes.txt: ENOENT",
    )?;
    b.run("echo of b | bay0 save notes.txt")?;
    for odd in ["../p__a/objects/big", "/etc/spine", ".new-1", "a/b"] {
        let why = "write save NAME: NAME is 1 to 128 of A-Z a-z 0-9 _ . - and begins with none of . and -; next: see bay0 --help";
        refused(&mut b, &format!("bay0 save {odd} </dev/null"), why)?;
    }
    b.leave()?;
    guest.never("FAIL")?;
    guest.machine.kill()?;

    let mut guest = lab.boot(Build::Fault, &disk)?;
    let mut a = guest.start_and_enter("p://a")?;
    let said = a.run("bay0 load big | sha256sum")?;
    ensure!(said == sum, "not as it was saved: {said} {sum}");
    let said =
        a.run("bay0 load notes.txt; bay0 load notes.txt@1; bay0 read; bay0 list; bay0 list @1")?;
    let lines: Vec<_> = said.lines().map(str::trim).collect();
    let want = "another|a note|1\tone|2\ttwo|big 3000000|notes.txt 8|@1|records 2|big 3000000|empty 0|notes.txt 7";
    ensure!(lines.join("|") == want, "{said}");
    a.leave()?;
    let mut b = guest.start_and_enter("p://b")?;
    let said = b.run("bay0 load notes.txt")?;
    ensure!(said.trim() == "of b", "{said}");
    b.leave()?;
    guest.power_off()?;
    disk.settle()?;
    let names = disk.names()?;
    ensure!(names.iter().any(|name| name == "rooms"), "{names:?}");
    Ok(())
}

pub fn t02_a_room_keeps_no_more_than_its_policy_says(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    let mut a = guest.start_and_enter("p://a")?;
    let full = "bay0: full: it may keep 4194304 bytes and 100000 pieces, and has ";
    refused(&mut a, "head -c 5000000 /dev/zero | bay0 save big", full)?;
    let said = a.run("bay0 list")?;
    ensure!(
        said.trim() == "records 0",
        "what was refused is there: {said}"
    );
    a.run("head -c 3000000 /dev/zero | bay0 save big")?;
    refused(&mut a, "head -c 3000000 /dev/zero | bay0 save more", full)?;
    a.run("bay0 drop big; head -c 3000000 /dev/zero | bay0 save more")?;
    // A room that hangs up has saved nothing: there is no end to what it sends.
    a.run("((head -c 100000 /dev/zero; exec sleep 100) | bay0 save half & echo $! >/pid); kill $(cat /pid); killall sleep; ! bay0 list | grep half")?;
    a.leave()?;
    let mut tiny = guest.start_and_enter("p://tiny")?;
    let why = "bay0: this room may keep nothing; next: write persist in its policy";
    refused(&mut tiny, "echo x | bay0 save x", why)?;
    tiny.leave()?;
    guest.machine.send_line("save notes.txt")?;
    guest.expect("only a room has one; next: enter one")?;
    guest.never("FAIL")?;
    guest.power_off()
}

pub fn u06_a_room_that_fills_its_quota_leaves_the_others_theirs(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    let mut a = guest.start_and_enter("p://a")?;
    // At a terminal: the file of that name, and nothing of what is typed.
    refused(
        &mut a,
        "cd /; bay0 save nmae.txt",
        "bay0: nmae.txt: no such file; next: check the name, or add - for what is typed",
    )?;
    a.run("echo x >/n; bay0 save n")?;
    let full = "bay0: full: it may keep 4194304 bytes and 100000 pieces, and has ";
    refused(&mut a, "head -c 9000000 /dev/zero | bay0 save big", full)?;
    a.run("head -c 3800000 /dev/zero | bay0 save big")?;
    // Objects, snapshots and records of nearly no bytes take blocks and inodes.
    for wish in ["save x$i </n", "snapshot"] {
        let told = format!(
            "i=0; while bay0 {wish} >/dev/null; do i=$((i+1)); [ $i -lt 200 ] || break; done; echo $i; false"
        );
        let (said, _) = a.try_run(&told)?;
        ensure!(said.contains(full), "{wish}: {said}");
    }
    refused(&mut a, "(echo r | bay0 append)", full)?;
    a.leave()?;
    guest.start_and_run_in(
        "p://b",
        "head -c 3800000 /dev/zero | bay0 save mine; bay0 list | grep 'mine 3800000'",
    )?;
    guest.machine.send_line("validate")?;
    guest.expect("validate: GREEN .*, log GREEN")?;
    guest.never("RED")?;
    guest.run_in("p://a", "bay0 drop big && echo r | bay0 append")?;
    guest.never("FAIL")?;
    guest.power_off()
}

pub fn s04_a_keeper_that_is_killed_loses_nothing_that_a_room_was_told(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    let mut a = guest.start_and_enter("p://a")?;
    // Not by a child of the shell, which takes the end of one for the end of its input.
    a.run("(i=0; while :; do i=$((i+1)); echo $i; done | bay0 append >/told 2>/why & echo $! >/pid); until [ -s /told ]; do :; done")?;
    a.leave()?;
    guest.machine.send_line("fault kill-keeper")?;
    guest.expect("keeper: restart 1 of 3")?;
    guest.expect("keeper: /persist open: ")?;
    let mut a = guest.enter("p://a")?;
    let said = a.run("while kill -0 $(cat /pid); do :; done 2>/dev/null; cat /why; tail -n 1 /told; bay0 read | tail -n 1; bay0 list")?;
    let mut words = said.lines().skip_while(|line| {
        !line.contains("no answer, so it is not sure to be kept; next: try again")
    });
    words
        .next()
        .with_context(|| format!("it was told nothing: {said}"))?;
    let mut number = || -> Result<u64> {
        let line = words.next().unwrap_or_default();
        let number = line.split_whitespace().next().unwrap_or_default();
        number.parse().with_context(|| said.clone())
    };
    let (told, there) = (number()?, number()?);
    ensure!(told > 0 && there >= told, "told {told}, there are {there}");
    a.run("echo more | bay0 append; echo x | bay0 save x")?;
    a.leave()?;
    guest.power_off()
}

pub fn h10_the_keeper_has_no_right_no_network_and_sees_only_its_disk(lab: &Lab) -> Result<()> {
    let disk = lab.disk()?;
    let mut guest = lab.boot(Build::Fault, &disk)?;
    guest.start_and_run_in("p://a", "echo x | bay0 save x; echo y | bay0 append")?;
    let said = guest.ask("fault walls")?;
    let lines = said.lines().map(str::trim_end);
    let lines = lines.skip_while(|line| !line.contains("Name: "));
    let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    for (name, at) in ["Name: bay0-keeper", "Name: bay0-gate"]
        .into_iter()
        .zip([0, 8])
    {
        let of = lines.get(at..at + 8).with_context(|| said.clone())?;
        let none = [
            "CapPrm: 0000000000000000",
            "CapEff: 0000000000000000",
            "CapBnd: 0000000000000000",
        ];
        let rest = ["NoNewPrivs: 1", "Seccomp: 2", "card lo"];
        ensure!(
            of[0].ends_with(name) && of[1..4] == none && of[4..7] == rest,
            "{said}"
        );
        let mount = of[7];
        let root = mount.contains(" / / rw,nosuid,nodev,noexec,relatime - ext4 ");
        ensure!(mount.starts_with("mount ") && root, "{said}");
    }
    let told = |word: &str| lines.iter().filter(|line| line.contains(word)).count();
    let twice = ["Name: ", "card ", "mount "].map(told) == [2; 3];
    ensure!(twice, "more than that: {said}");
    guest.never("FAIL")?;
    guest.power_off()?;
    // Nobody may unmount it: it goes with the last who sees it.
    ensure!(disk.unmounted()?, "it was not unmounted");
    Ok(())
}

/// Has a room append its own name and a number that grows, without end.
fn load(guest: &mut Guest, name: &str, background: bool) -> Result<()> {
    let mut room = guest.enter(name)?;
    let lines = format!("i=0; while :; do i=$((i+1)); echo {name} $i; done | bay0 append");
    if background {
        room.run(&format!("({lines} >/dev/null &)"))?;
        return room.leave();
    }
    // From here on the room says every number it is told, and the cut comes while it does.
    room.guest.machine.send_line(&lines)
}

/// All that a room has is its own, in order and without a gap, and not less than it was told.
fn whole(guest: &mut Guest, name: &str, told: u64) -> Result<u64> {
    let mut room = guest.enter(name)?;
    let count = format!(
        "bay0 read | awk '$1 != NR || $2 != \"{name}\" {{ print \"odd:\", $0; exit }} END {{ print NR }}'"
    );
    let said = room.run(&count)?;
    room.leave()?;
    let there: u64 = said
        .trim()
        .parse()
        .with_context(|| format!("{name}: {said}"))?;
    ensure!(
        there >= told,
        "{name} was told {told}, and {there} are there"
    );
    Ok(there)
}

/// The last number that a room was told, if its whole line came.
fn told(console: &str, from: usize) -> u64 {
    let said = console.get(from..).unwrap_or_default();
    let whole = said.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let numbers = whole.lines().filter_map(|line| line.trim().parse().ok());
    numbers.max().unwrap_or(0)
}

pub fn s04_power_cuts_while_four_rooms_write_lose_nothing_they_were_told(lab: &Lab) -> Result<()> {
    let cuts = u64::from(lab.bench.cuts).div_ceil(2);
    room_cuts(lab, lab.bench.seed, cuts, 0)
}

/// Cuts `from..from + n` of the run that `seed` names, on a fresh disk: each boot checks what all cuts before it have left.
pub fn room_cuts(lab: &Lab, seed: u64, n: u64, from: u64) -> Result<()> {
    let disk = lab.disk()?;
    let mut sure = [0; WRITERS.len()];
    for number in from..from + n {
        cut(lab, &disk, seed, number, &mut sure)
            .with_context(|| format!("cut {number} of seed {seed}"))?;
    }
    let mut guest = lab.start(&lab.config_with(Build::Fault, &disk))?;
    guest.verdict("GREEN")?;
    check(&mut guest, &mut sure)?;
    ensure!(n == 0 || sure.iter().all(|count| *count > 0), "{sure:?}");
    guest.power_off()
}

fn check(guest: &mut Guest, sure: &mut [u64; WRITERS.len()]) -> Result<()> {
    for (name, sure) in WRITERS.into_iter().zip(sure) {
        guest.start_room(name)?;
        *sure = whole(guest, name, *sure)?;
    }
    guest.never("FAIL")
}

fn cut(
    lab: &Lab,
    disk: &Disk,
    seed: u64,
    number: u64,
    sure: &mut [u64; WRITERS.len()],
) -> Result<()> {
    let mut rng = Rng::new(seed, number);
    let (work, log) = (lab.path("work.img"), lab.path("writes.log"));
    let base = disk.copy_to(lab.path("base.img"))?;
    disk.copy_to(work.clone())?;
    fs::write(&log, []).context("empty the write log")?;
    let config = logged(lab, &work, &log)?;
    let mut guest = lab.start(&config)?;
    guest.verdict("GREEN")?;
    check(&mut guest, sure)?;
    let seen = (rng.below(WRITERS.len() as u64)) as usize;
    for (at, name) in WRITERS.into_iter().enumerate() {
        if at != seen {
            load(&mut guest, name, true)?;
        }
    }
    let begun = guest.machine.text().len();
    load(&mut guest, WRITERS[seen], false)?;
    let end = Duration::from_millis(rng.below(LOAD_MS) + 300);
    let began = std::time::Instant::now();
    let mut acknowledged = Vec::new();
    while began.elapsed() < end {
        // In this order: what was told by now is in the log by now.
        let last = told(&guest.machine.text(), begun);
        acknowledged.push((fs::metadata(&log)?.len(), last));
        thread::sleep(Duration::from_millis(2));
    }
    guest.machine.kill()?;
    let first = acknowledged.first().map_or(0, |(bytes, _)| *bytes);
    let loss = cutlog::rebuild(&base.path, &log, first, &mut rng)?;
    let before = acknowledged.iter().rfind(|(bytes, _)| *bytes <= loss.at);
    sure[seen] = sure[seen].max(before.map_or(0, |(_, last)| *last));
    fs::rename(&base.path, &disk.path).context("the disk after the cut")
}

/// A machine with rooms whose disk is `work` and has each write to it in `log`.
pub fn logged(lab: &Lab, work: &Path, log: &Path) -> Result<MachineConfig> {
    let mut config = lab.config(Build::Fault);
    config.extra_args = cutlog::drive_args(work, log);
    // The rooms' disk is the second one.
    let rooms = lab.bench.rooms.as_ref().context("no disk of rooms")?;
    let file = rooms.display().to_string().replace(',', ",,");
    let node = format!("driver=file,node-name=rooms,read-only=on,filename={file}");
    let more = ["-blockdev", &node, "-device", "virtio-blk-pci,drive=rooms"];
    config.extra_args.extend(more.map(str::to_owned));
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s04_only_a_whole_number_of_this_boot_was_told() {
        let console = "77\r\nbegun\r\n1\r\n2\r\nroom: x\r\n13\r\n14";
        assert_eq!(told(console, 4), 13);
        assert_eq!(told("no line", 0), 0);
    }
}
