//! What one room can see, lock or learn of another through files that both have, and what it sees of itself.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};

use super::inside::Inside;
use super::lab::{Build, Guest, Lab};

/// Two rooms of one image, whose program is a shell.
const ROOMS: [&str; 2] = ["p://hostile", "p://hostile2"];

/// Device and inode number of all that a room can reach; of a device with many, the device.
fn inodes(guest: &mut Guest, name: &str) -> Result<BTreeSet<String>> {
    let said = guest.run_in(name, "hostile inodes")?;
    let mut found = BTreeSet::new();
    for line in said.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["inode", device, number, ..] => found.insert(format!("{device} {number}")),
            ["device", device, ..] => found.insert((*device).to_owned()),
            _ => anyhow::bail!("{line:?}"),
        };
    }
    ensure!(found.len() > 50, "too few: {said}");
    Ok(found)
}

pub fn c04_no_file_of_two_rooms_is_one_inode(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    for name in ROOMS {
        guest.start_room(name)?;
    }
    let [one, other] = ROOMS.map(|name| inodes(&mut guest, name));
    let (one, other) = (one?, other?);
    let both: Vec<_> = one.intersection(&other).collect();
    ensure!(both.is_empty(), "one for both: {both:?}");
    guest.power_off()
}

/// Begins to hold on to everything, and goes on when it does; a line to descriptor 3 ends it.
fn hold(room: &mut Inside<'_>) -> Result<()> {
    room.run("mkfifo /tmp/go; exec 3<>/tmp/go; (hostile hold <&3 >/tmp/said &)")?;
    let said = room.run("until grep hold: /tmp/said; do :; done")?;
    let figures = said.split(' ').filter_map(|word| word.parse().ok());
    let figures: Vec<u32> = figures.collect();
    let all = figures.iter().all(|figure| *figure >= 20);
    ensure!(figures.len() == 2 && all, "{said:?}");
    Ok(())
}

pub fn t03_a_room_sees_and_locks_nothing_that_another_one_uses(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    let [one, other] = ROOMS;
    guest.start_room(one)?;
    let mut room = guest.enter(one)?;
    hold(&mut room)?;
    room.leave()?;
    // The first one is frozen from here on, with all that it holds.
    guest.start_room(other)?;
    let said = guest.run_in(other, "hostile locks; bay0 hello >/dev/null; cat /etc/passwd /usr/bin/bay0 >/dev/null; head -c 9 /dev/urandom | wc -c")?;
    ensure!(!said.contains("held:"), "it is held up: {said}");
    ensure!(said.contains("locks: tried"), "{said}");
    guest.machine.send_line(&format!("focus {one}"))?;
    guest.says(&format!("room: {one} is in front"))?;
    let said = guest.run_in(one, "echo >&3; until grep seen: /tmp/said; do :; done")?;
    ensure!(said.contains("seen: 0 events"), "{said}");
    guest.power_off()
}

/// A room reads what its policy says of it, where a runtime looks: found as runtimes find it, by its own group and the mount's root.
pub fn c05_a_room_reads_its_own_limits_where_runtimes_look(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.start_room("p://hostile")?;
    guest.start_room("p://a")?;
    guest.start_room("p://a/kid")?;
    let mut room = guest.enter("p://hostile")?;
    let said = room.run("cat /proc/self/cgroup; awk '$9 == \"cgroup2\" || $8 == \"cgroup2\" {print $4, $5, $6}' /proc/self/mountinfo")?;
    ensure!(
        said.contains("0::/\n") && said.contains("/ /sys/fs/cgroup ro,"),
        "{said}"
    );
    let said = room.run("cd /sys/fs/cgroup && cat memory.max cpu.max pids.max")?;
    let limits: Vec<&str> = said.lines().map(str::trim).collect();
    ensure!(limits == ["67108864", "100000 100000", "128"], "{limits:?}");
    // It uses something, and no more than it may.
    let used = room.run("cat /sys/fs/cgroup/memory.current")?;
    let used: u64 = used.trim().parse().context("memory.current")?;
    ensure!((1..67_108_864).contains(&used), "{used}");
    room.leave()?;
    // A nested room is not below the one that it is in.
    let said = guest.run_in("p://a", "find /sys/fs/cgroup -type d")?;
    ensure!(said.trim() == "/sys/fs/cgroup", "{said}");
    guest.power_off()
}

pub fn t07_a_room_hears_its_own_echo_and_knows_its_name(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    let mut room = guest.start_and_enter("p://hostile")?;
    let said = room.run("hostile echo")?;
    ensure!(
        said.contains("127.0.0.1 answers") && said.contains("::1 answers"),
        "{said}"
    );
    let said = room.run("cat /etc/hosts")?;
    for line in [
        "127.0.0.1 localhost",
        "::1 localhost",
        "127.0.0.1 hostile",
        "::1 hostile",
    ] {
        ensure!(
            said.lines().any(|it| it.trim() == line),
            "no {line:?}: {said}"
        );
    }
    room.leave()?;
    guest.power_off()
}

/// Every file of `/proc` that tells of the machine's devices or of what others do with them is empty, and every folder.
pub fn t03_what_proc_tells_of_devices_is_covered(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    let mut room = guest.start_and_enter("p://a")?;
    let said = room.run("cat /proc/interrupts /proc/softirqs /proc/diskstats /proc/partitions; find /proc/bus /proc/fs /proc/irq /proc/driver $(ls -d /proc/acpi 2>/dev/null) -mindepth 1; true")?;
    ensure!(said.trim().is_empty(), "{said}");
    // What ordinary programs read is there.
    room.run("grep -q processor /proc/cpuinfo && grep -q MemTotal /proc/meminfo && grep -q cpu /proc/stat && grep -q . /proc/uptime && grep -q . /proc/loadavg")?;
    room.leave()?;
    guest.power_off()
}

pub fn t08_the_kernels_switches_are_set_before_a_room_starts(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    ensure!(guest.count("switches: [67] set and read back")? == 1);
    let mut room = guest.start_and_enter("p://a")?;
    let said = room.run("cd /proc/sys && cat kernel/kptr_restrict kernel/dmesg_restrict fs/protected_symlinks fs/protected_hardlinks fs/protected_fifos fs/protected_regular")?;
    let values: Vec<&str> = said.split_whitespace().collect();
    ensure!(values == ["2", "1", "1", "1", "2", "2"], "{values:?}");
    room.leave()?;
    guest.power_off()
}

pub fn c06_a_signal_to_a_rooms_init_reaches_its_program(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    for number in [37, 64] {
        let room = guest.start_and_enter("p://a")?;
        room.guest.machine.send_line(&format!("kill -{number} 1"))?;
        guest.says(&format!("room: p://a ended: signal {number}"))?;
    }
    guest.never("FAIL")?;
    guest.power_off()
}
