//! Rooms as a person uses them: what they see of each other, focus, terminal, umbilical, and a wrecked one.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::inside::Inside;
use super::lab::{Build, Guest, Lab, PATIENCE};
use crate::arch::Arch;

/// What the kernel calls the namespaces it starts with.
const SPINE: std::ops::RangeInclusive<u64> = 4_026_531_834..=4_026_531_841;

/// A figure in a room's line of `rooms`.
pub fn figure(guest: &mut Guest, name: &str, key: &str) -> Result<u64> {
    let line = guest.room(name)?;
    let value = line.split(' ').find_map(|word| word.strip_prefix(key));
    let value = value.with_context(|| format!("no {key} in {line:?}"))?;
    Ok(value.trim().parse()?)
}

/// Asks for a room's line until `holds`; the last one if it never does.
pub fn until(guest: &mut Guest, name: &str, holds: impl Fn(&str) -> bool) -> Result<String> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let line = guest.room(name)?;
        if holds(&line) {
            return Ok(line);
        }
    }
    let line = guest.room(name)?;
    anyhow::bail!("this is how it stays: {line:?}")
}

/// Fails unless the room's line begins like this.
pub fn stands(guest: &mut Guest, line: &str) -> Result<()> {
    let name = line.split(' ').next().unwrap_or_default();
    let said = guest.room(name)?;
    ensure!(said.contains(line), "not {line:?}: {said:?}");
    Ok(())
}

pub fn t09_a_wrecked_room_starts_as_new(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    let mut room = guest.start_and_enter("p://a")?;
    let before = room.run("find / -xdev -type f | grep -v '^/run' | sort | md5sum")?;
    room.run("echo mine >/note; echo broken >/etc/passwd; rm -rf /usr /sbin /etc/group 2>/dev/null; true")?;
    let (_, code) = room.try_run("test -d /sbin")?;
    ensure!(code == 1, "/sbin could not be removed");
    room.leave()?;
    guest.stop_room("p://a")?;
    let mut room = guest.start_and_enter("p://a")?;
    let after = room.run("find / -xdev -type f | grep -v '^/run' | sort | md5sum")?;
    ensure!(
        before == after,
        "the room has other files: {before} {after}"
    );
    let (_, code) = room.try_run("test -e /note")?;
    ensure!(code == 1, "what was written outlived the room");
    room.leave()?;
    guest.power_off()
}

/// The namespaces of a room's shell, its uid map, and where it has something mounted.
fn looks(room: &mut Inside<'_>) -> Result<(BTreeSet<u64>, String, String)> {
    let spaces =
        room.run("for n in pid mnt net ipc uts user cgroup; do readlink /proc/self/ns/$n; done")?;
    let number = |line: &str| line.split(['[', ']']).nth(1)?.parse().ok();
    let spaces: BTreeSet<u64> = spaces.lines().filter_map(number).collect();
    ensure!(spaces.len() == 7, "seven namespaces: {spaces:?}");
    let map = room.run("cat /proc/self/uid_map")?;
    let map = map.split_whitespace().collect::<Vec<_>>().join(" ");
    let mounts = room.run("cut -d' ' -f2 /proc/self/mounts | sort")?;
    let mounts = mounts.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok((spaces, map, mounts))
}

/// Which of these paths a room can have: some files of /proc are not covered in it on a kernel that does not have them at all.
fn shown(paths: &str, hardened: bool) -> String {
    const ABSENT: [&str; 3] = ["kcore", "scsi", "sysrq-trigger"];
    let absent = |path: &&str| {
        let name = path.strip_prefix("/proc/").unwrap_or_default();
        // A kernel that is told of its machine by a device tree has no ACPI.
        hardened && ABSENT.contains(&name) || name == "acpi" && Arch::chosen() == Arch::Aarch64
    };
    let shown: Vec<&str> = paths.split(' ').filter(|path| !absent(path)).collect();
    shown.join(" ")
}

/// The answer of a terminal comes in two pieces, with keys around it.
pub fn c04_a_rooms_terminal_is_as_large_as_the_console(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    let mut room = guest.start_and_enter("p://a")?;
    // An answer that comes too late is taken for typed keys, as on any terminal: the next one is not.
    let mut size = String::new();
    for _ in 0..5 {
        let asked = |room: &mut Inside<'_>| room.guest.machine.text().matches("\x1b[6n").count();
        let before = asked(&mut room);
        room.guest.machine.send(b"\x0c")?;
        let begun = Instant::now();
        while asked(&mut room) == before && begun.elapsed() < PATIENCE {
            room.guest.machine.wait_for_more(PATIENCE);
        }
        room.guest.machine.send(b"\x1b[50;13")?;
        room.guest.machine.send(b"2R\x15")?;
        // Without a size it fails.
        (size, _) = room.try_run("stty size")?;
        if size.trim() == "50 132" {
            break;
        }
    }
    ensure!(size.trim() == "50 132", "the room has {size:?}");
    room.leave()?;
    guest.power_off()
}

pub fn c04_two_rooms_see_neither_each_other_nor_the_spine(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    let mut b = guest.start_and_enter("p://b")?;
    let of_b = looks(&mut b)?;
    ensure!(b.run("hostname")?.trim() == "b");
    b.run("sleep 54321 & echo b >/tmp/of-b")?;
    b.leave()?;
    let mut a = guest.start_and_enter("p://a")?;
    let of_a = looks(&mut a)?;
    ensure!(a.run("hostname")?.trim() == "a");
    ensure!(of_a.0.is_disjoint(&of_b.0), "shared: {of_a:?} {of_b:?}");
    let mut both = of_a.0.iter().chain(&of_b.0);
    ensure!(
        !both.any(|n| SPINE.contains(n)),
        "the Spine's: {of_a:?} {of_b:?}"
    );
    let base = |map: &str| -> Result<u64> {
        let rest = map
            .strip_prefix("0 ")
            .and_then(|rest| rest.strip_suffix(" 65536"));
        let base: u64 = rest.with_context(|| format!("uid map {map:?}"))?.parse()?;
        ensure!(
            base >= 65_536 && base.is_multiple_of(65_536),
            "uid map {map:?}"
        );
        Ok(base)
    };
    ensure!(
        base(&of_a.1)? != base(&of_b.1)?,
        "one range of uids for both"
    );
    let all = "/ /dev /dev/console /dev/pts /dev/shm /proc /proc/acpi /proc/bus /proc/diskstats /proc/driver /proc/fs \
                 /proc/interrupts /proc/irq /proc/kcore /proc/key-users /proc/keys /proc/kmsg /proc/partitions /proc/scsi \
                 /proc/softirqs /proc/sys /proc/sysrq-trigger /proc/timer_list /run/umbilical /sys/fs/cgroup /usr/bin/bay0";
    let known = shown(all, lab.hardened());
    ensure!(of_a.2 == known, "mounts: {}", of_a.2);
    ensure!(of_b.2 == known, "mounts: {}", of_b.2);
    let (said, code) = a.try_run("grep -l 5432[1] /proc/[0-9]*/cmdline; cat /tmp/of-b")?;
    ensure!(
        code != 0 && !said.contains("/cmdline"),
        "p://b is seen: {said}"
    );
    ensure!(a.run("cat /proc/1/comm")?.trim() == "bay0");
    let others = a.run("set -- /proc/[0-9]*; echo $#")?;
    ensure!(
        others.trim() == "2",
        "processes beside init and shell: {others}"
    );
    ensure!(
        a.run("wc -l </proc/net/unix")?.trim() == "1",
        "sockets of others"
    );
    for kind in ["shm", "sem", "msg"] {
        let rows = a.run(&format!("wc -l </proc/sysvipc/{kind}"))?;
        ensure!(rows.trim() == "1", "{kind} of others: {rows}");
    }
    let (said, code) = a.try_run("dd if=/proc/1/mem of=/dev/null bs=1 count=1")?;
    ensure!(
        code != 0 && said.contains("Permission denied"),
        "init's memory: {said}"
    );
    a.leave()?;
    guest.power_off()
}

pub fn t04_a_room_behind_uses_no_processor(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.start_room("p://burn")?;
    let before = figure(&mut guest, "p://burn", "cpu_ms=")?;
    let used = |line: &str| -> u64 {
        let value = line.split("cpu_ms=").nth(1).unwrap_or_default();
        value.trim().parse().unwrap_or(0)
    };
    until(&mut guest, "p://burn", |line| used(line) > before)?;
    guest.start_room("p://a")?;
    stands(&mut guest, "p://burn running frozen")?;
    let frozen = figure(&mut guest, "p://burn", "cpu_ms=")?;
    guest.run_in("p://a", "sleep 2")?;
    let later = figure(&mut guest, "p://burn", "cpu_ms=")?;
    ensure!(frozen == later, "it ran while frozen: {frozen} {later} ms");
    guest.machine.send_line("focus p://b")?;
    guest.says("room: FAIL: focus p://b: it does not run; next: type rooms")?;
    stands(&mut guest, "p://a running front")?;
    stands(&mut guest, "p://burn running frozen")?;
    guest.machine.send_line("focus p://burn")?;
    guest.says("room: p://burn is in front")?;
    stands(&mut guest, "p://a running frozen")?;
    until(&mut guest, "p://burn", |line| used(line) > later)?;
    guest.power_off()
}

pub fn t04_a_service_goes_on_behind_another_room_if_its_policy_says_so(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.start_room("p://behind")?;
    stands(&mut guest, "p://behind running front")?;
    guest.start_room("p://a")?;
    stands(&mut guest, "p://a running front")?;
    stands(&mut guest, "p://behind running awake")?;
    let used = figure(&mut guest, "p://behind", "cpu_ms=")?;
    until(&mut guest, "p://behind", |line| {
        let now = line.split("cpu_ms=").nth(1).unwrap_or_default();
        now.trim().parse::<u64>().is_ok_and(|now| now > used)
    })?;
    // Started again it takes the focus from nobody; brought forward it freezes the other as any room does.
    guest.stop_room("p://behind")?;
    guest.start_room("p://behind")?;
    stands(&mut guest, "p://behind running awake")?;
    stands(&mut guest, "p://a running front")?;
    guest.machine.send_line("focus p://behind")?;
    guest.says("room: p://behind is in front")?;
    stands(&mut guest, "p://a running frozen")?;
    guest.machine.send_line("focus p://a")?;
    guest.says("room: p://a is in front")?;
    stands(&mut guest, "p://behind running awake")?;
    guest.never("FAIL")?;
    guest.power_off()
}

pub fn a08_a_room_asks_bay0_about_itself_only(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    for name in ["p://b", "p://a", "p://a/kid"] {
        guest.start_room(name)?;
    }
    let mut room = guest.enter("p://a")?;
    let hello = room.run("bay0 hello")?;
    ensure!(
        hello.trim() == format!("bay0 {}", env!("CARGO_PKG_VERSION")),
        "{hello}"
    );
    for verb in ["rooms", "status"] {
        let said = room.run(&format!("bay0 {verb}"))?;
        let names: Vec<_> = said
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        ensure!(names == ["p://a", "p://a/kid"], "{verb}: {said}");
    }
    for verb in [
        "poweroff",
        "reboot",
        "log",
        "validate",
        "help",
        "stop p://b",
        "start p://burn",
        "focus p://b",
        "enter p://b",
    ] {
        let (said, code) = room.try_run(&format!("bay0 '{verb}'"))?;
        let text = "bay0: not for this uid to ask; next: ask at the operator line";
        ensure!(code == 1 && said.trim() == text, "{verb}: {code} {said}");
    }
    for how in [
        "rm -f /run/umbilical",
        "mv /run/umbilical /run/mine",
        "umount /run/umbilical",
        "mount -t tmpfs none /run",
    ] {
        let (said, code) = room.try_run(how)?;
        ensure!(code != 0, "{how}: {said}");
    }
    room.run("bay0 hello")?;
    room.leave()?;
    let mut kid = guest.enter("p://a/kid")?;
    let said = kid.run("bay0 rooms")?;
    ensure!(
        said.trim().starts_with("p://a/kid ") && said.trim().lines().count() == 1,
        "{said}"
    );
    kid.leave()?;
    stands(&mut guest, "p://b running frozen")?;
    guest.power_off()
}

pub fn t03_a_room_reaches_the_console_only_while_somebody_is_inside(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    let mut room = guest.start_and_enter("p://a")?;
    room.run("echo bay0 9.999 terminal: left p://a\\; mark 0000")?;
    // Typed, and not waited for: it is done when nobody is inside.
    let typed = "sleep 2; seq 1000 3000; echo be\"\"hind; sleep 1000 & sleep 1000";
    room.guest.machine.send_line(typed)?;
    room.leave()?;
    // Init, shell and the two that sleep when all is done: until then there is never more than one beside the shell.
    until(&mut guest, "p://a", |line| line.contains("processes=4 "))?;
    guest.never("^behind$")?;
    guest.machine.send_line("enter p://a")?;
    guest.expect(r"terminal: inside p://a until Ctrl-\]; mark [0-9a-f]{4}$")?;
    guest.expect("^behind$")?;
    let tail = guest.count("^(1|2)[0-9]{3}$")?;
    ensure!(
        (500..1000).contains(&tail),
        "{tail} lines of what was missed"
    );
    guest.machine.send(b"\x1d")?;
    guest.expect(r"terminal: left p://a; mark [0-9a-f]{4}$")?;
    guest.stop_room("p://a")?;
    guest.start_room("p://burn")?;
    guest.machine.send_line("enter p://burn")?;
    guest.says("room: FAIL: enter p://burn: it has no terminal; next: see its policy")?;
    guest.machine.send_line("enter p://a")?;
    guest.says("room: FAIL: enter p://a: it does not run; next: type rooms")?;
    guest.power_off()
}
