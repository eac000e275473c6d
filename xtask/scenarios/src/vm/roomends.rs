//! How rooms end: started again, refused, and with the machine. Nothing is left of them.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::lab::{Build, Guest, Lab, PATIENCE};
use super::rooms::{figure, stands};
use super::siege::large;

/// Where a room can write: its files, its shared memory, beside its umbilical.
const WRITTEN: &str = "/note /etc/note /dev/shm/note /run/note";
/// Looks at the census before a scenario gives up on it.
const LOOKS: usize = 30;

/// What there is on the whole machine, as the test build counts it.
pub fn census(guest: &mut Guest) -> Result<String> {
    let said = guest.ask("fault census")?;
    let line = said
        .lines()
        .find_map(|line| Some(&line[line.find("census processes=")?..]));
    Ok(line
        .with_context(|| format!("no census: {said:?}"))?
        .trim()
        .to_owned())
}

/// The figures of a census, in its order.
fn figures(census: &str) -> Vec<u64> {
    let values = census.split(' ').filter_map(|word| word.split_once('='));
    values.filter_map(|(_, value)| value.parse().ok()).collect()
}

/// Fails unless the census comes back to `before`, or below: the kernel lets go of a killed process a little later than it says
/// so, and what the boot left behind may end meanwhile.
pub fn as_before(guest: &mut Guest, before: &str) -> Result<()> {
    let begun = Instant::now();
    let mut now = census(guest)?;
    while begun.elapsed() < PATIENCE {
        let (then, have) = (figures(before), figures(&now));
        if then.len() == have.len() && then.iter().zip(&have).all(|(then, have)| have <= then) {
            return Ok(());
        }
        now = census(guest)?;
    }
    anyhow::bail!("something is left: {before}, now {now}")
}

/// Opens the image of the test rooms, which stays open, and counts.
fn settled(guest: &mut Guest) -> Result<String> {
    guest.start_room("p://a")?;
    guest.stop_room("p://a")?;
    // What was left from the boot ends by itself; what then counts is what stays.
    let mut last = [census(guest)?, census(guest)?, census(guest)?];
    for _ in 0..LOOKS {
        if last.iter().all(|count| *count == last[0]) {
            break;
        }
        last.rotate_left(1);
        last[2] = census(guest)?;
    }
    Ok(last[2].clone())
}

pub fn a05_a_nested_room_dies_and_freezes_with_the_room_it_is_in(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    let before = settled(&mut guest)?;
    guest.machine.send_line("start p://a/kid")?;
    guest.says(
        "room: FAIL: start p://a/kid: p://a, which it is in: it does not run; next: type rooms",
    )?;
    as_before(&mut guest, &before)?;
    guest.start_room("p://a")?;
    guest.start_room("p://a/kid")?;
    stands(&mut guest, "p://a/kid running front")?;
    guest.start_room("p://b")?;
    stands(&mut guest, "p://a running frozen")?;
    stands(&mut guest, "p://a/kid running frozen")?;
    guest.machine.send_line("focus p://a/kid")?;
    guest.says("room: p://a/kid is in front")?;
    stands(&mut guest, "p://a running front")?;
    stands(&mut guest, "p://b running frozen")?;
    // It is awake, not only said to be.
    let mut kid = guest.enter("p://a/kid")?;
    ensure!(kid.run("hostname")?.trim() == "kid");
    kid.leave()?;
    guest.stop_room("p://a")?;
    stands(&mut guest, "p://a stopped")?;
    stands(&mut guest, "p://a/kid stopped")?;
    stands(&mut guest, "p://b running frozen")?;
    guest.stop_room("p://b")?;
    as_before(&mut guest, &before)?;
    guest.power_off()
}

pub fn c06_a_room_that_fails_is_started_again_with_growing_pauses_and_a_cap(
    lab: &Lab,
) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    let before = settled(&mut guest)?;
    guest.machine.send_line("start p://fails")?;
    guest.says_all(&[
        "room: p://fails ended: exit 3",
        "room: p://fails starts again in 100 ms, try 1 of 2",
        "room: p://fails ended: exit 3",
        "room: p://fails starts again in 200 ms, try 2 of 2",
        "room: p://fails ended: exit 3",
    ])?;
    stands(&mut guest, "p://fails stopped")?;
    as_before(&mut guest, &before)?;
    let again = guest.count("room: p://fails starts again in")?;
    ensure!(again == 2, "{again} times");
    guest.power_off()
}

pub fn c06_a_room_that_ends_by_any_signal_says_which(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    let before = settled(&mut guest)?;
    // From 32 on the kernel's signals have no names: two that the C library keeps to itself, systemd's stop, and the last one.
    for (number, name) in [
        (1, "SIGHUP"),
        (9, "SIGKILL"),
        (32, "signal 32"),
        (34, "signal 34"),
        (37, "signal 37"),
        (64, "signal 64"),
    ] {
        let room = guest.start_and_enter("p://b")?;
        let typed = format!("exec sh -c 'kill -{number} $$'");
        room.guest.machine.send_line(&typed)?;
        room.guest.says(&format!("room: p://b ended: {name}"))?;
        guest.expect(r"terminal: left p://b; mark [0-9a-f]{4}$")?;
        stands(&mut guest, "p://b stopped")?;
    }
    as_before(&mut guest, &before)?;
    guest.never("FAIL")?;
    guest.power_off()
}

pub fn c06_a_shell_that_is_left_is_there_again_in_the_same_room(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    let mut room = guest.start_and_enter("p://lasts")?;
    let home = room.run("pwd")?;
    ensure!(home.trim() == "/root", "a shell begins in {home:?}");
    room.run("echo mine >note; sleep 1")?;
    room.guest.machine.send_line("exit 3")?;
    let again = r"\[exit 3: the program is started again in the same room\]$";
    room.guest.expect(again)?;
    room.run("stty -echo; PS1=; PS2=")?;
    let note = room.run("cat note")?;
    ensure!(note.trim() == "mine", "the room has {note:?}");
    // It has a terminal of its own again: what is typed reaches what runs in front.
    room.run("sleep 1")?;
    room.guest.machine.send_line("echo be\"\"gun; sleep 1000")?;
    room.guest.expect("^begun$")?;
    room.guest.machine.send(b"\x03")?;
    room.run("true")?;
    room.leave()?;
    guest.stop_room("p://lasts")?;
    // Whoever ends at once has not been left by anybody.
    guest.machine.send_line("start p://brief")?;
    guest.says("room: p://brief ended: exit 7")?;
    guest.power_off()
}

pub fn c06_a_start_that_fails_names_its_stage_and_leaves_nothing(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    let before = settled(&mut guest)?;
    guest.machine.send_line("start p://lost")?;
    guest.says("room: FAIL: start p://lost: exec: ENOENT; next: try again")?;
    guest.says("room: p://lost stopped (N ms)")?;
    stands(&mut guest, "p://lost stopped")?;
    as_before(&mut guest, &before)?;
    if !lab.bench.images.has(&["work"]) {
        guest.machine.send_line("start p://work")?;
        guest.says("room: FAIL: start p://work: image work: not in this Spine; next: cargo xtask qemu --rooms work")?;
    }
    guest.machine.send_line("start p://none")?;
    guest.says("room: FAIL: start p://none: it has no policy; next: type rooms")?;
    as_before(&mut guest, &before)?;
    guest.power_off()
}

pub fn c06_a_start_that_never_ends_is_given_up_and_its_stage_named(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    let before = settled(&mut guest)?;
    guest.ask("fault hold-starts on")?;
    guest.machine.send_line("start p://b")?;
    guest.says("room: p://b is in front")?;
    guest.says("room: FAIL: start p://b: still at stage clone after 10 s; next: check the disk of rooms, start it again")?;
    guest.says("room: p://b stopped (N ms)")?;
    stands(&mut guest, "p://b stopped")?;
    as_before(&mut guest, &before)?;
    // A start that is behind another room makes no progress because it is frozen, and is no failure.
    // Typed in one go: it is not awake for long, however slow the machine is.
    for line in ["start p://b", "fault hold-starts off", "start p://a"] {
        guest.machine.send_line(line)?;
    }
    guest.says("room: p://a started (N ms)")?;
    guest.run_in("p://a", "sleep 12")?;
    stands(&mut guest, "p://b starting frozen")?;
    guest.stop_room("p://b")?;
    guest.start_room("p://b")?;
    let failed = guest.count("room: FAIL: start p://b")?;
    ensure!(failed == 1, "{failed} failures");
    guest.power_off()
}

pub fn c08_nothing_that_a_room_wrote_outlives_a_reboot(lab: &Lab) -> Result<()> {
    let disk = lab.disk()?;
    let mut guest = lab.boot(Build::Fault, &disk)?;
    let mut room = guest.start_and_enter("p://a")?;
    // Put together inside: what was typed is not what is looked for.
    room.run(&format!(
        "for f in {WRITTEN}; do echo out$((40+2))lives >$f || exit; done; sync"
    ))?;
    let found = room.run(&format!("cat {WRITTEN}"))?;
    ensure!(found.matches("out42lives").count() == 4, "{found:?}");
    room.leave()?;
    guest.power_off()?;
    let bytes = std::fs::read(&disk.path)?;
    let kept = bytes.windows(10).any(|bytes| bytes == b"out42lives");
    ensure!(!kept, "it is on the disk");
    let mut guest = lab.boot(Build::Fault, &disk)?;
    stands(&mut guest, "p://a stopped")?;
    let left = guest.start_and_run_in("p://a", &format!("ls {WRITTEN} 2>/dev/null; true"))?;
    ensure!(left.trim().is_empty(), "left: {left:?}");
    guest.power_off()
}

/// A thousand programs that wait, the shell they belong to, and the room's init.
fn crowd(guest: &mut Guest) -> Result<()> {
    let mut room = guest.start_and_enter("p://crowd")?;
    room.run("mkdir -p /tmp; mkfifo /tmp/gate")?;
    room.run("i=0; while [ $i -lt 1000 ]; do (read x </tmp/gate) & i=$((i+1)); done 2>/dev/null")?;
    room.leave()?;
    let count = figure(guest, "p://crowd", "processes=")?;
    ensure!(count == 1002, "{count} processes");
    Ok(())
}

/// Another room comes forward, at the latest when the kernel has frozen a thousand in time: until then it says to try again.
fn behind_another(guest: &mut Guest) -> Result<()> {
    let late = "room: FAIL: start p://a: freeze cgroup: ETIMEDOUT; next: try again";
    for _ in 0..LOOKS {
        guest.machine.send_line("start p://a")?;
        let said = guest.expect(r"room: (p://a started|FAIL: start p://a)")?;
        if !said.ends_with(late) {
            return stands(guest, "p://crowd running frozen");
        }
        guest.says("room: p://a stopped (N ms)")?;
        stands(guest, "p://crowd running front")?;
    }
    anyhow::bail!("it never froze in time")
}

pub fn c06_a_thousand_processes_go_with_their_room_awake_or_frozen(lab: &Lab) -> Result<()> {
    let mut guest = large(lab)?;
    let before = settled(&mut guest)?;
    crowd(&mut guest)?;
    let now = census(&mut guest)?;
    let counted = figures(&now).first().copied();
    ensure!(counted > Some(1002), "they are not counted: {now}");
    guest.stop_room("p://crowd")?;
    as_before(&mut guest, &before)?;
    crowd(&mut guest)?;
    behind_another(&mut guest)?;
    guest.stop_room("p://crowd")?;
    stands(&mut guest, "p://a running front")?;
    guest.stop_room("p://a")?;
    as_before(&mut guest, &before)?;
    guest.power_off()
}

pub fn h08_the_end_takes_every_room_running_frozen_and_nested(lab: &Lab) -> Result<()> {
    let disk = lab.disk()?;
    let mut guest = lab.boot(Build::Fault, &disk)?;
    for name in ["p://a", "p://a/kid", "p://burn"] {
        guest.start_room(name)?;
    }
    stands(&mut guest, "p://a/kid running frozen")?;
    stands(&mut guest, "p://burn running front")?;
    guest.machine.send_line("poweroff")?;
    guest.says_all(&[
        "shutdown: power off requested by operator",
        "shutdown: rooms stopped (N ms)",
        "shutdown: seed and time written, database checkpointed, /persist unmounted (N ms)",
        "shutdown: power off",
    ])?;
    ensure!(guest.ended()?.success());
    guest.never("FAIL")?;
    let mut guest = lab.boot(Build::Fault, &disk)?;
    ensure!(guest.count("previous: ended clean power off$")? == 1);
    guest.power_off()
}
