//! A courier that a room has taken over (A03, C12): what the test build's does when a file tells it to (`bay0/testing/hostile.rs`).
//!
//! The room that gives is `p://b`, and what it asks for would take a person's letters: whatever passes without them is a defect.

use anyhow::{Result, ensure};

use super::courier::BEGUN;
use super::lab::{Build, Guest, Lab};
use super::roomends::{as_before, census};

const ENDED: &str = "the courier has ended; next: send it again";
/// What it may be told to do, and what PID 1 then makes of it.
const DONE: [(&str, &str); 12] = [
    // Each call that it may not make, by its number and in earnest, and each use of those that it may which would reach anybody.
    (
        "walls",
        r"hostile: \d{4} tried, reached nothing; next: none",
    ),
    // System calls by the numbers of another machine; more memory than the file may take.
    ("machine", ENDED),
    ("memory", ENDED),
    // Words to PID 1 that come too early, twice, or are none.
    ("delivered", ENDED),
    ("garbage", ENDED),
    ("nothing", ENDED),
    ("yes", ENDED),
    (
        "larger",
        "the policies let no file of text pass; next: see courier.types",
    ),
    (
        "forged",
        r"x; next: none\?\?bay0 1\.000 keeper: up\?\[2J\?\?allow> ",
    ),
    // It never comes to an end by itself.
    (
        "spin",
        "the room is not in front any more; next: send it again",
    ),
    // It answers its own question, and asks twice: each ends in the middle of a question, after which its room rests.
    ("answered", ENDED),
    ("again", ENDED),
];

impl Guest {
    /// Has `p://b` send a file that takes the courier over, until that is on its way.
    fn betrays(&mut self, what: &str) -> Result<()> {
        let mut room = self.enter("p://b")?;
        room.run(&format!("cd /; echo 'hostile: {what}' >{what}"))?;
        // After one that came to nothing there is a pause, which is a clock's.
        let sends = format!("bay0 send p://a {what} <{what} >/said 2>&1");
        room.run(&match what {
            "spin" => format!("sleep 1; ({sends} & echo $! >/pid); {BEGUN}"),
            _ => format!("({sends}; while grep -q 's left; next: wait' /said; do {sends}; done &)"),
        })?;
        room.leave()
    }
}

pub fn a03_a_courier_that_a_room_has_taken_over_reaches_nothing(lab: &Lab) -> Result<()> {
    let disk = lab.disk()?;
    let mut guest = lab.boot(Build::Fault, &disk)?;
    guest.receives("p://a")?;
    guest.start_room("p://b")?;
    let mut before = None;
    for (number, (what, why)) in DONE.iter().enumerate() {
        let number = number + 1;
        guest.betrays(what)?;
        if *what == "spin" {
            // The machine answers beside it, and whoever sits there ends it.
            guest.shows(&[("keeper", "up")])?;
            guest.machine.send_line("focus p://a")?;
        }
        guest.said(&format!("courier: FAIL: {number} not delivered: {why}$"))?;
        // Its group is there from the first one on.
        match &before {
            None => before = Some(census(&mut guest)?),
            Some(before) => as_before(&mut guest, before)?,
        }
    }
    guest.never("courier: [0-9]+ (allowed|delivered)|^bay0 1\\.000 ")?;
    let there = guest.run_in("p://a", "ls /; cat /told")?;
    ensure!(
        !there.contains("walls") && !there.contains("bytes"),
        "{there}"
    );
    // The room that gives goes on, and so does who carries its files.
    guest.run_in("p://b", "cd /; sleep 31; echo a note >note.txt")?;
    guest.sends("p://b", "p://a", DONE.len() as u32 + 1, "note.txt")?;
    let letters = guest.letters()?;
    guest.machine.send_line(&letters)?;
    guest.says("courier: N delivered (N ms)")?;
    let there = guest.run_in("p://a", "cat /note.txt")?;
    ensure!(there.contains("a note"), "{there}");
    guest.machine.send_line("validate")?;
    guest.verdict("GREEN")?;
    guest.power_off()?;
    lab.verify_log(&disk)
}

pub fn a03_other_bytes_than_were_allowed_are_refused_by_the_room_that_takes_them(
    lab: &Lab,
) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.receives("p://a")?;
    guest.start_and_run_in("p://b", "cd /; echo 'hostile: bytes' >bytes")?;
    guest.sends("p://b", "p://a", 1, "bytes")?;
    let letters = guest.letters()?;
    guest.machine.send_line(&letters)?;
    guest.says("courier: 1 allowed, typed")?;
    guest.says("courier: FAIL: 1 not delivered: hostile: the room has refused it; next: none")?;
    let told = guest.run_in("p://a", "ls /; tail -n 1 /told")?;
    ensure!(
        told.contains("bay0: it is not what was allowed; next: tell the operator")
            && !told.contains("bytes"),
        "{told}"
    );
    let said = guest.run_in("p://b", "cat /said")?;
    ensure!(said.contains("the room has refused it"), "{said}");
    guest.never("delivered \\(")?;
    guest.power_off()
}
