//! Files from one room to another (A03, A04): nothing passes before a person has said so, and what passes is recorded.

use anyhow::{Context, Result, ensure};

use super::lab::{Build, Guest, Lab};

/// Begins to send a file that comes to no end, and returns when its connection with the courier is there ([`BEGUN`]).
const SENDS: &str =
    "cd /; echo x >x; ((echo x; exec sleep 300) | bay0 send p://b x >/said 2>&1 & echo $! >/pid)";
/// Waits until the program whose number is in this file has its connection with the courier: that one is no socket of the room's network,
/// as the one to ask with is. It is no child of the shell that is typed at, which ends when such a one does.
pub const BEGUN: &str = r#"p=$(cat /pid)
    until i=$(ls -l /proc/$p/fd 2>/dev/null | sed -n 's/.*socket:.\([0-9]*\).*/\1/p'); [ -n "$i" ] && ! grep -q " $i" /proc/net/unix; do :; done"#;

impl Guest {
    /// Has a room, which is started, wait for a file.
    pub fn receives(&mut self, name: &str) -> Result<()> {
        self.start_room(name)?;
        self.waits(name)
    }

    /// The same of a room that is there.
    pub fn waits(&mut self, name: &str) -> Result<()> {
        self.run_in(
            name,
            "cd /; rm -f /told; (bay0 receive >/told 2>&1 &); until grep -q waits /told; do :; done",
        )?;
        Ok(())
    }

    /// Has a room that is started send this file of its own, until somebody would be asked, and leaves it.
    pub fn sends(&mut self, from: &str, to: &str, number: u32, file: &str) -> Result<()> {
        let room = self.enter(from)?;
        let command = format!("cd /; bay0 send {to} {file} <{file} >/said 2>&1; echo $? >>/said");
        room.guest.machine.send_line(&command)?;
        room.guest.expect(&format!("courier: {number} {file}: "))?;
        room.leave()
    }

    /// Has a room that is there give a file of its own behind whoever comes next, as soon as the other one waits, and leaves it.
    pub fn gives(&mut self, from: &str, to: &str, file: &str) -> Result<()> {
        let send = format!("bay0 send {to} {file} <{file} >/said 2>&1; c=$?");
        let again = format!("while :; do {send}; grep -q 'does not wait' /said || break; done");
        let command = format!("cd /; rm -f /said; (({again}; echo $c >>/said) &)");
        self.run_in(from, &command).map(drop)
    }

    /// The letters of the question that is drawn next.
    pub fn letters(&mut self) -> Result<String> {
        let line = self.expect(r"to allow it type  [a-z] [a-z] [a-z]  and Enter; ")?;
        let letters = line.split("type  ").nth(1).context("no letters")?;
        Ok(letters
            .chars()
            .filter(char::is_ascii_lowercase)
            .take(3)
            .collect())
    }

    /// What a room was told at the end of its `send`.
    pub fn said_in(&mut self, name: &str) -> Result<String> {
        self.run_in(
            name,
            "until tail -n 1 /said 2>/dev/null | grep -q '^[0-9]*$'; do sleep 0.1; done; cat /said",
        )
    }
}

pub fn a03_a_file_passes_when_a_person_types_the_letters_and_is_recorded_first(
    lab: &Lab,
) -> Result<()> {
    let disk = lab.disk()?;
    let mut guest = lab.boot(Build::Fault, &disk)?;
    guest.receives("p://a")?;
    let sum = guest.start_and_run_in(
        "p://b",
        "cd /; head -c 3000000 /dev/urandom >big.bin; sha256sum <big.bin",
    )?;
    let sum = sum.split(' ').next().context("no sum")?.trim().to_owned();
    guest.sends("p://b", "p://a", 1, "big.bin")?;
    guest.said("courier: 1 from p://b to p://a")?;
    guest.said(&format!(
        "courier: 1 big.bin: 3000000 bytes, other, sha256 {sum}"
    ))?;
    guest.expect("p://b asks to give p://a the file big.bin: 3000000 bytes, other")?;
    let letters = guest.letters()?;
    // The room that gives it stands still, although it is in front; what is typed is an answer and no verb.
    guest.machine.send_line("status")?;
    guest.expect("not these letters; type them, or Enter alone for no")?;
    guest.machine.send_line(&letters.to_uppercase())?;
    guest.says("courier: 1 allowed, typed")?;
    guest.says("courier: 1 delivered (N ms)")?;
    let said = guest.said_in("p://b")?;
    ensure!(said.trim() == "0", "the room that gives is told {said}");
    let told = guest.run_in("p://a", "tail -n 1 /told; sha256sum </big.bin")?;
    let want = format!("big.bin from p://b: 3000000 bytes, other|{sum}  -");
    let lines: Vec<_> = told.lines().map(str::trim).collect();
    ensure!(lines.join("|") == want, "{told}");
    // A name that is there already stays what it is, and nothing is delivered.
    guest.run_in("p://a", "cd /; echo mine >note")?;
    guest.waits("p://a")?;
    guest.run_in("p://b", "cd /; echo yours >note")?;
    guest.sends("p://b", "p://a", 2, "note")?;
    let letters = guest.letters()?;
    guest.machine.send_line(&letters)?;
    guest.expect("courier: FAIL: 2 not delivered: the other room has not taken all of it; next: send it again")?;
    let told = guest.run_in("p://a", "cat note told")?;
    ensure!(
        told.contains("mine") && told.contains("make note: "),
        "{told}"
    );
    guest.power_off()?;
    lab.verify_log(&disk)
}

pub fn a04_enter_alone_is_no_and_the_room_may_not_ask_again_at_once(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.receives("p://a")?;
    guest.start_and_run_in("p://b", "cd /; echo a note >note.txt")?;
    guest.sends("p://b", "p://a", 1, "note.txt")?;
    guest.letters()?;
    guest.machine.send_line("")?;
    guest.says("courier: 1 not delivered: the answer was no; next: none")?;
    let said = guest.said_in("p://b")?;
    ensure!(
        said.contains("bay0: the answer was no; next: none"),
        "{said}"
    );
    let said = guest.run_in("p://b", "! bay0 send p://a note.txt <note.txt 2>&1")?;
    ensure!(
        said.contains("not now: the last file was not delivered, "),
        "{said}"
    );
    let there = guest.run_in("p://a", "ls /")?;
    ensure!(!there.contains("note.txt"), "{there}");
    // The operator line is as it was.
    guest.shows(&[("keeper", "up")])?;
    guest.never("FAIL")?;
    guest.power_off()
}

pub fn a04_a_question_that_nobody_answers_is_no(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.receives("p://a")?;
    guest.start_and_run_in("p://b", "cd /; echo a note >note.txt")?;
    guest.sends("p://b", "p://a", 1, "note.txt")?;
    guest.letters()?;
    guest.says("courier: 1 not delivered: the answer was no; next: none")?;
    // It may ask again when it has waited, and then be allowed.
    guest.run_in(
        "p://b",
        "(while bay0 send p://a note.txt <note.txt 2>&1 | grep -q 'not now'; do sleep 1; done &)",
    )?;
    let letters = guest.letters()?;
    guest.machine.send_line(&letters)?;
    guest.says("courier: 2 delivered (N ms)")?;
    guest.never("FAIL")?;
    guest.power_off()
}

pub fn a03_downwards_nobody_is_asked_where_both_policies_say_so(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.receives("p://b")?;
    guest.start_and_run_in(
        "p://a",
        "cd /; echo a note >note.txt; : >empty; printf '\\037\\213\\010' >packed",
    )?;
    let frozen = guest.room("p://b")?;
    ensure!(frozen.contains("frozen"), "{frozen}");
    for (number, (file, about)) in [
        ("note.txt", "7 bytes, text"),
        ("empty", "0 bytes, text"),
        ("packed", "3 bytes, gzip"),
    ]
    .into_iter()
    .enumerate()
    {
        let number = number + 1;
        if number > 1 {
            guest.waits("p://b")?;
        }
        // Whoever is inside is not asked, and needs no key.
        let said = guest.run_in(
            "p://a",
            &format!("cd /; bay0 send p://b {file} <{file} 2>/dev/null"),
        )?;
        ensure!(said.trim().is_empty(), "{said}");
        guest.said(&format!("courier: {number} {file}: {about}, sha256 "))?;
        guest.said(&format!("courier: {number} allowed, by the policies"))?;
        guest.said(&format!(r"courier: {number} delivered \(\d+ ms\)"))?;
        let still = guest.room("p://b")?;
        ensure!(still.contains("frozen"), "{still}");
    }
    let there = guest.run_in("p://b", "cd /; cat note.txt; wc -c <empty; wc -c <packed")?;
    let lines: Vec<_> = there.lines().map(str::trim).collect();
    ensure!(lines == ["a note", "0", "3"], "{there}");
    guest.never("asks to give")?;
    guest.never("FAIL")?;
    guest.power_off()
}

pub fn a03_what_the_policies_do_not_let_pass_is_refused_with_the_reason(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.receives("p://tiny")?;
    guest.start_room("p://b")?;
    let mut a = guest.start_and_enter("p://a")?;
    a.run("cd /; echo x >x; head -c 70000 /dev/zero >large; printf '\\001' >odd")?;
    let long = "n".repeat(241);
    for (command, why) in [
        (
            "send p://b x <x".to_owned(),
            "p://b does not wait for a file; next: type bay0 receive there",
        ),
        (
            "send p://nobody x <x".to_owned(),
            "p://nobody does not run; next: type rooms",
        ),
        (
            "send p://a x <x".to_owned(),
            "p://a is not in courier.to of this room's policy; next: write it there",
        ),
        (
            "send p://tiny large <large".to_owned(),
            "over 65536 bytes, which the policies allow; next: send less",
        ),
        (
            "send p://tiny odd <odd".to_owned(),
            "the policies let no file of other pass; next: see courier.types",
        ),
        (
            "send p://tiny ../x <x".to_owned(),
            "send: write send ROOM NAME: NAME has no / and begins with none of ",
        ),
        (
            format!("send p://tiny {long} <x"),
            "NAME has no / and begins with none of ",
        ),
        (
            "send p://tiny .x <x".to_owned(),
            "NAME has no / and begins with none of ",
        ),
        ("send p://Tiny x <x".to_owned(), "upper-case"),
    ] {
        // After each that came to nothing there is a pause, which is a clock's.
        let (said, code) = loop {
            let (said, code) = a.try_run(&format!("bay0 {command} 2>&1"))?;
            if !said.contains("s left; next: wait") {
                break (said, code);
            }
        };
        ensure!(code == 1 && said.contains(why), "{command}: {code} {said}");
    }
    let (said, code) = a.try_run("sleep 1; cat large | bay0 send p://tiny large 2>&1")?;
    ensure!(
        code == 1 && said.contains("over 65536 bytes"),
        "{code} {said}"
    );
    a.leave()?;
    let told = guest.run_in("p://tiny", "ls /; cat /told")?;
    ensure!(!told.contains("large") && !told.contains("odd"), "{told}");
    guest.never("asks to give")?;
    guest.power_off()
}

pub fn a03_nothing_is_delivered_before_its_record_is_on_the_disk(lab: &Lab) -> Result<()> {
    let disk = lab.disk()?;
    let mut guest = lab.boot(Build::Fault, &disk)?;
    guest.receives("p://a")?;
    guest.start_and_run_in("p://b", "cd /; echo a note >note.txt; echo more >more.txt")?;
    guest.throttle(1)?;
    // What the disk still takes is used up.
    guest.ask("validate")?;
    guest.expect("persist: YELLOW: keeper [a-z-]+ takes ")?;
    guest.sends("p://b", "p://a", 1, "note.txt")?;
    let letters = guest.letters()?;
    guest.machine.send_line(&letters)?;
    guest.says("courier: 1 allowed, typed")?;
    guest.says("courier: FAIL: 1 not delivered: it took too long; next: send it again")?;
    guest.throttle(0)?;
    guest.expect("persist: the disk is quick again ")?;
    let there = guest.run_in("p://a", "ls /")?;
    ensure!(!there.contains("note.txt"), "{there}");
    guest.sends("p://b", "p://a", 2, "more.txt")?;
    let letters = guest.letters()?;
    guest.machine.send_line(&letters)?;
    guest.says("courier: 2 delivered (N ms)")?;
    // The power goes at once.
    guest.machine.kill()?;
    disk.settle()?;
    let log = disk.read("genesis.log")?;
    let log = String::from_utf8_lossy(&log);
    for record in [
        "courier: 2 from p://b to p://a",
        "courier: 2 more.txt: 5 bytes, text, sha256 ",
        "courier: 2 allowed, typed",
    ] {
        ensure!(log.contains(record), "not recorded: {record}");
    }
    Ok(())
}

pub fn a03_rooms_that_end_or_stand_still_cost_their_file_and_nothing_else(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.receives("p://b")?;
    // The giving room ends in the middle.
    guest.start_room("p://a")?;
    guest.run_in("p://a", &format!("{SENDS}; {BEGUN}"))?;
    let said = guest.run_in("p://a", "! bay0 send p://b x <x 2>&1")?;
    ensure!(
        said.contains("not now: another file is on its way; next: try again"),
        "{said}"
    );
    guest.stop_room("p://a")?;
    guest.said("courier: FAIL: 1 not delivered: the room ")?;
    // The focus goes elsewhere in the middle.
    guest.start_room("p://a")?;
    guest.run_in("p://a", "sleep 1")?;
    guest.run_in("p://a", &format!("{SENDS}; {BEGUN}"))?;
    guest.machine.send_line("focus p://b")?;
    guest.says(
        "courier: FAIL: 2 not delivered: the room is not in front any more; next: send it again",
    )?;
    // The taking room stands still: it is waited for, and the machine goes on meanwhile.
    guest.run_in("p://b", "killall -STOP bay0; sleep 1")?;
    guest.machine.send_line("focus p://a")?;
    guest.says("room: p://a is in front")?;
    let said = guest.run_in("p://a", "! bay0 send p://b x <x 2>&1")?;
    ensure!(
        said.contains("it took too long; next: send it again"),
        "{said}"
    );
    // It ends.
    guest.run_in("p://b", "killall -KILL bay0; :")?;
    let said = guest.run_in("p://a", "! bay0 send p://b x <x 2>&1")?;
    ensure!(said.contains("p://b does not wait for a file"), "{said}");
    // Requests without end.
    guest.run_in(
        "p://a",
        "i=0; while [ $i -lt 200 ]; do i=$((i+1)); bay0 send p://b x <x 2>/dev/null; done; :",
    )?;
    guest.run_in("p://b", "rm -f /x")?;
    guest.waits("p://b")?;
    let said = guest.run_in("p://a", "bay0 send p://b x <x 2>&1; bay0 rooms")?;
    ensure!(said.contains("front"), "{said}");
    guest.machine.send_line("validate")?;
    guest.expect("validate: GREEN")?;
    guest.power_off()
}

pub fn a03_a_nested_room_that_gave_a_file_goes_on_with_the_one_around_it(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.receives("p://b")?;
    // It takes nothing, so that the other room stands still for a while.
    guest.run_in("p://b", "killall -STOP bay0")?;
    guest.start_room("p://a")?;
    guest.start_room("p://a/kid")?;
    let kid = guest.enter("p://a/kid")?;
    kid.guest
        .machine
        .send_line("cd /; echo x >x; bay0 send p://b x <x")?;
    kid.guest.expect("courier: 1 allowed, by the policies")?;
    kid.leave()?;
    guest.machine.send_line("focus p://b")?;
    guest.says("room: p://b is in front")?;
    guest.said("courier: FAIL: 1 not delivered: it took too long; next: send it again")?;
    let frozen = guest.room("p://a/kid")?;
    ensure!(frozen.contains("frozen"), "{frozen}");
    guest.run_in("p://a/kid", "true")?;
    guest.run_in("p://a", "true")?;
    guest.power_off()
}
