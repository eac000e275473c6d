//! Files on their way through everything that may happen to a machine and its rooms meanwhile (A03, A08, C12).

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::courier::BEGUN;
use super::cutlog;
use super::disk::Disk;
use super::gate::logged;
use super::lab::{Build, Guest, Lab, OLD_NEWS, PATIENCE};
use super::rng::Rng;
use super::roomends::{as_before, census};

/// Transfers of the long scenario, and after how many of them what PID 1 has is counted first.
const MANY: usize = 1000;
const FIRST: usize = 100;

/// Begins to send a file that comes to no end.
const SENDS: &str =
    "((cat note.txt; exec sleep 300) | bay0 send p://a note.txt >/said 2>&1 & echo $! >/pid)";

/// Where the power goes, and how many records of an answer are there then: at least, and at most.
const CUTS: [(Cut, usize, usize); 5] = [
    (Cut::Read, 0, 0),
    (Cut::Asked, 0, 0),
    (Cut::Allowed, 0, 1),
    (Cut::Recorded, 1, 1),
    (Cut::Delivered, 1, 1),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    Read,
    Asked,
    Allowed,
    Recorded,
    Delivered,
}

impl Cut {
    /// Goes so far with a file of p://b for p://a, both of which begin anew.
    fn reach(self, guest: &mut Guest) -> Result<()> {
        guest.receives("p://a")?;
        guest.start_and_run_in("p://b", "cd /; ! ls /note.txt; echo a note >note.txt")?;
        if self == Cut::Read {
            guest.run_in("p://b", &format!("{SENDS}; {BEGUN}"))?;
            return guest.never("courier: ");
        }
        if self == Cut::Recorded {
            takes_nothing(guest, "p://a")?;
        }
        guest.sends("p://b", "p://a", 1, "note.txt")?;
        let letters = guest.letters()?;
        if self == Cut::Asked {
            return Ok(());
        }
        guest.machine.send_line(&letters)?;
        guest.says("courier: 1 allowed, typed")?;
        match self {
            Cut::Recorded => woken(guest),
            Cut::Delivered => guest.says("courier: 1 delivered (N ms)").map(drop),
            _ => Ok(()),
        }
    }
}

/// Has a room wait for a file and take nothing of it.
fn takes_nothing(guest: &mut Guest, name: &str) -> Result<()> {
    let mark = format!("({MARK} -f /dev/null &); until pidof {MARK}; do :; done");
    guest
        .run_in(name, &format!("killall -STOP bay0; {mark}"))
        .map(drop)
}

/// A program by which the room that takes nothing is found.
const MARK: &str = "tail";

/// Waits until that room is awake behind another: what it is given is recorded, and on its way.
fn woken(guest: &mut Guest) -> Result<()> {
    let begun = Instant::now();
    while !guest
        .ask(&format!("fault frozen {MARK}"))?
        .contains("frozen=false")
    {
        ensure!(begun.elapsed() < PATIENCE, "it is never woken");
    }
    Ok(())
}

pub fn a03_a_power_cut_at_any_step_leaves_a_record_at_least_of_all_that_passed(
    lab: &Lab,
) -> Result<()> {
    let (disk, mut rng) = (lab.disk()?, Rng::new(lab.bench.seed, 0));
    let (mut least, mut most) = (0, 0);
    for (cut, no_fewer, no_more) in CUTS {
        let (work, writes) = (lab.path("work.img"), lab.path("writes.log"));
        let base = disk.copy_to(lab.path("base.img"))?;
        disk.copy_to(work.clone())?;
        fs::write(&writes, []).context("empty the write log")?;
        let mut guest = lab.start(&logged(lab, &work, &writes)?)?;
        guest.verdict("GREEN")?;
        cut.reach(&mut guest).with_context(|| format!("{cut:?}"))?;
        // What was said by now is in the log by now.
        let from = fs::metadata(&writes)
            .context("size of the write log")?
            .len();
        guest.machine.kill()?;
        cutlog::rebuild(&base.path, &writes, from, &mut rng)?;
        fs::rename(&base.path, &disk.path).context("the disk after the cut")?;
        (least, most) = (least + no_fewer, most + no_more);
        let (allowed, delivered) = recorded(lab, &disk)?;
        ensure!(
            (least..=most).contains(&allowed) && delivered <= allowed,
            "{cut:?}: {allowed} answers and {delivered} deliveries are recorded"
        );
        (least, most) = (allowed, allowed);
    }
    // The rooms are new after the last one as well, and the log goes on where it was.
    let mut guest = lab.boot(Build::Fault, &disk)?;
    let there = guest.start_and_run_in("p://a", "ls /")?;
    ensure!(!there.contains("note.txt"), "{there}");
    guest.machine.send_line("validate")?;
    guest.verdict("GREEN")?;
    guest.power_off()?;
    lab.verify_log(&disk)
}

/// How many answers and deliveries the log of a disk has, whose chain is whole.
fn recorded(lab: &Lab, disk: &Disk) -> Result<(usize, usize)> {
    let copy = disk.copy_to(lab.path("look.img"))?;
    copy.settle()?;
    let log = copy.read("genesis.log")?;
    let log = String::from_utf8_lossy(&log).into_owned();
    // The lines of the boot before are shown again at each.
    let lines = || log.lines().filter(|line| !line.contains(OLD_NEWS));
    let count = |what: &str| lines().filter(|line| line.contains(what)).count();
    Ok((
        count("courier: 1 allowed, typed"),
        count("courier: 1 delivered ("),
    ))
}

pub fn a03_a_room_that_ends_at_any_stage_costs_its_own_file_alone(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.receives("p://a")?;
    // The program that gives is killed in the middle; its room goes on.
    guest.start_and_run_in(
        "p://b",
        &format!("cd /; echo a note >note.txt; {SENDS}; {BEGUN}; kill -KILL $p"),
    )?;
    guest.said(
        "courier: FAIL: 1 not delivered: the room has not sent all of it; next: send it again$",
    )?;
    // The room that gives ends while somebody is asked, when there is no operator line to end it from.
    guest.run_in("p://b", "(sleep 1000 &); sleep 31")?;
    guest.machine.send_line("fault end-frozen sleep sleep")?;
    let room = guest.enter("p://b")?;
    room.guest
        .machine
        .send_line("bay0 send p://a note.txt <note.txt")?;
    guest.said(
        "courier: FAIL: 2 not delivered: the room is not in front any more; next: send it again$",
    )?;
    guest.said("room: p://b ended: ")?;
    guest.shows(&[("keeper", "up")])?;
    // So does the one that takes.
    guest.start_room("p://aside")?;
    guest.waits("p://aside")?;
    guest.run_in("p://aside", "(tail -f /dev/null &)")?;
    guest.start_and_run_in(
        "p://b",
        "cd /; echo a note >note.txt; (sleep 1000 &); sleep 31",
    )?;
    guest.machine.send_line("fault end-frozen sleep tail")?;
    let room = guest.enter("p://b")?;
    room.guest
        .machine
        .send_line("bay0 send p://aside note.txt <note.txt; echo \"is\" $?")?;
    room.guest
        .said("courier: FAIL: 3 not delivered: the other room has ended; next: start it$")?;
    room.guest.said("is 1$")?;
    room.leave()?;
    // While it is delivered there is a line: the one that gives is stopped, then the one that takes.
    takes_nothing(&mut guest, "p://a")?;
    for (number, stopped, why) in [
        (4, "p://b", "it took too long; next: send it again"),
        // The program that takes ends a little before its room.
        (
            5,
            "p://a",
            "the other room has (ended|not taken all of it); next: .*",
        ),
    ] {
        guest.stop_room("p://b")?;
        guest.start_and_run_in("p://b", "cd /; echo a note >note.txt; sleep 31")?;
        guest.sends("p://b", "p://a", number, "note.txt")?;
        let letters = guest.letters()?;
        guest.machine.send_line(&letters)?;
        guest.says(&format!("courier: {number} allowed, typed"))?;
        woken(&mut guest)?;
        guest.stop_room(stopped)?;
        guest.said(&format!("courier: FAIL: {number} not delivered: {why}$"))?;
        if number == 4 {
            // The one that takes stands still again, as it did before.
            let still = guest.ask("fault frozen tail")?;
            ensure!(still.contains("frozen=true"), "{still}");
            guest.run_in("p://a", "killall -KILL bay0 tail; true")?;
            guest.waits("p://a")?;
            takes_nothing(&mut guest, "p://a")?;
            guest.start_room("p://b")?;
        }
    }
    // All of it once more, with nobody who ends.
    guest.receives("p://a")?;
    guest.run_in("p://b", "sleep 1")?;
    guest.sends("p://b", "p://a", 6, "note.txt")?;
    let letters = guest.letters()?;
    guest.machine.send_line(&letters)?;
    guest.says("courier: 6 delivered (N ms)")?;
    guest.machine.send_line("validate")?;
    guest.verdict("GREEN")?;
    guest.power_off()
}

pub fn a03_a_file_that_changes_while_it_is_read_is_delivered_as_it_was_read(
    lab: &Lab,
) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.receives("p://b")?;
    // Half of it is read, then all of it is written anew, then the rest is read.
    let said = guest.start_and_run_in(
        "p://a",
        "cd /; head -c 6000000 /dev/urandom >f; sha256sum <f; \
         (head -c 3000000; head -c 6000000 /dev/urandom | dd of=f conv=notrunc 2>/dev/null; cat) <f | bay0 send p://b f 2>/dev/null; sha256sum <f",
    )?;
    let there = guest.run_in("p://b", "sha256sum </f")?;
    let sum = there.split(' ').next().context("no sum")?.trim();
    guest.said(&format!(r"courier: 1 f: \d+ bytes, other, sha256 {sum}"))?;
    guest.said("courier: 1 delivered")?;
    ensure!(!said.contains(sum), "it has not changed: {said}");
    guest.power_off()
}

pub fn a03_a_thousand_files_in_a_row_leave_nothing_behind(lab: &Lab) -> Result<()> {
    let disk = lab.disk()?;
    let mut guest = lab.boot(Build::Fault, &disk)?;
    guest.ask("fault hurry")?;
    guest.start_room("p://b")?;
    guest.start_and_run_in("p://a", "cd /; head -c 20000 /dev/urandom >f; (while :; do bay0 send p://b f <f 2>/dev/null || sleep 0.1; done &)")?;
    let room = guest.enter("p://b")?;
    room.guest
        .machine
        .send_line("while :; do bay0 receive - 2>&1 >/f | grep waits || sleep 0.1; done")?;
    let mut before = None;
    let begun = Instant::now();
    for number in 1..=MANY {
        guest.expect("waits for a file")?;
        guest.machine.send(b"\x1d")?;
        guest.expect("terminal: left p://b")?;
        guest.machine.send_line("focus p://a")?;
        guest.says(&format!("courier: {number} delivered (N ms)"))?;
        if number == FIRST {
            before = Some((census(&mut guest)?, used(&mut guest)?));
        }
        if number < MANY {
            guest.machine.send_line("enter p://b")?;
        }
    }
    println!("{MANY} files took {:.0} s", begun.elapsed().as_secs_f64());
    let (count, memory) = before.context("nothing was counted")?;
    as_before(&mut guest, &count)?;
    let now = used(&mut guest)?;
    ensure!(
        now <= memory + SLACK_KB,
        "PID 1 has grown from {memory} kB to {now}"
    );
    guest.never("courier: FAIL|asks to give")?;
    guest.machine.send_line("validate")?;
    guest.verdict("GREEN")?;
    guest.power_off()?;
    lab.verify_log(&disk)
}

/// What PID 1 may have more of after hundreds of files, in kB: a page or two, not one for each.
const SLACK_KB: u64 = 64;

/// Memory of PID 1's own, in kB.
fn used(guest: &mut Guest) -> Result<u64> {
    let said = guest.ask("fault used")?;
    let kb = said.lines().find_map(|line| line.split_once("used_kb="));
    Ok(kb.context("no used_kb")?.1.trim().parse()?)
}

/// As much as is delivered within 5 s where every instruction is emulated, from a stream and through a pipe.
pub fn a03_megabytes_pass_within_the_time_of_a_delivery(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.start_room("p://b")?;
    guest.start_room("p://a")?;
    for (number, bytes) in LARGE.into_iter().enumerate() {
        guest.run_in(
            "p://b",
            "cd /; rm -f told sum; (bay0 receive - 2>told | sha256sum >sum &); until grep -q waits told; do :; done",
        )?;
        guest.run_in(
            "p://a",
            &format!("sleep 1; head -c {bytes} /dev/zero | bay0 send p://b f 2>&1; :"),
        )?;
        let number = number + 1;
        guest.said(&format!(r"courier: {number} delivered \(\d+ ms\)"))?;
        let sum = guest.run_in(
            "p://b",
            "cd /; until grep -q . sum; do sleep 0.1; done; ! ls f; cat sum",
        )?;
        let sum = sum.lines().last().and_then(|it| it.split(' ').next());
        let sum = sum.context("no sum")?;
        guest.said(&format!(
            "courier: {number} f: {bytes} bytes, other, sha256 {sum}"
        ))?;
    }
    guest.power_off()
}

/// Bytes of each of its files.
const LARGE: [u64; 3] = [1 << 20, 4 << 20, 16 << 20];

/// The largest file that the policies let pass. What takes time on an emulated machine is its hash, by the courier and by who takes it.
pub fn a03_a_gibibyte_passes_from_room_to_room(lab: &Lab) -> Result<()> {
    let mut config = lab.config_with(Build::Fault, &lab.disk()?);
    config.mem_mb = MEMORY_MB;
    let mut guest = lab.start(&config)?;
    guest.verdict("GREEN")?;
    guest.start_room("p://b")?;
    guest.run_in(
        "p://b",
        "cd /; (bay0 receive - 2>told >/dev/null &); until grep -q waits told; do :; done",
    )?;
    guest.start_room("p://a")?;
    // Not by `head`, which takes a byte at a time, and ten times as long as `dd`.
    guest.run_in(
        "p://a",
        &format!("cd /; ((dd if=/dev/zero bs=65536 count={PIECES} 2>/dev/null | bay0 send p://b f >/said 2>&1; echo $? >>/said) &)"),
    )?;
    let begun = Instant::now();
    comes(
        &mut guest,
        &format!("courier: 1 f: {GIB} bytes, other, sha256 {ZEROS}$"),
    )?;
    println!("1 GiB was read in {:.0} s", begun.elapsed().as_secs_f64());
    comes(&mut guest, r"courier: 1 delivered \(\d+ ms\)$")?;
    println!("and there after {:.0} s", begun.elapsed().as_secs_f64());
    let said = guest.said_in("p://a")?;
    ensure!(said.trim() == "0", "{said}");
    let told = guest.run_in("p://b", "tail -n 1 /told")?;
    let want = format!("f from p://a: {GIB} bytes, other");
    ensure!(told.trim() == want, "{told}");
    guest.machine.send_line("validate")?;
    guest.verdict("GREEN")?;
    guest.power_off()
}

/// Waits for a line as [`Guest::said`], but longer, and not once a file has come to nothing.
fn comes(guest: &mut Guest, line: &str) -> Result<()> {
    let begun = Instant::now();
    while guest.count(line)? == 0 {
        guest.never("courier: FAIL")?;
        ensure!(begun.elapsed() < LONGEST, "it takes over {LONGEST:?}");
        guest.machine.wait_for_more(PATIENCE);
    }
    Ok(())
}

/// Its bytes, as `dd` makes them, all of them zeros, with their SHA-256; the memory of its machine, and the longest that each half takes.
const GIB: u64 = 1 << 30;
const PIECES: u64 = GIB / 65_536;
const ZEROS: &str = "49bc20df15e412a64472421e13fe86ff1c5165e18b2afccf160d4dc19fe68a14";
const MEMORY_MB: u32 = 2048;
const LONGEST: Duration = Duration::from_secs(300);
