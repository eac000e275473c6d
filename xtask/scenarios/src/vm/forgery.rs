//! Questions that are none, and much beside one that is (A04): what a room prints, types ahead and asks for allows nothing.

use anyhow::{Result, ensure};

use super::lab::{Build, Lab};

pub fn a04_letters_typed_at_a_rooms_own_question_are_the_rooms_and_nothing_passes(
    lab: &Lab,
) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.receives("p://a")?;
    let mut room = guest.start_and_enter("p://b")?;
    room.run("cd /; echo a note >note.txt; yes 'to allow it type  a b c  and Enter; ' | head -n 500 >flood")?;
    // One without a file: whoever believes it tells the room three letters.
    room.guest.machine.send_line(
        "printf 'p://b asks to give p://a the file x: 1 bytes, text\\nto allow it type  a b c  and Enter; \\nallow> '; read x; echo \"got\" $x",
    )?;
    room.guest.expect("to allow it type  a b c  and Enter; ")?;
    room.guest.machine.send_line("abc")?;
    room.guest.expect("got abc$")?;
    room.run("true")?;
    room.guest.never("courier: ")?;
    // The same beside a real one, as much of it as the terminal takes.
    room.guest.machine.send_line(
        "(while :; do cat flood; done &); bay0 send p://a note.txt <note.txt >/said 2>&1",
    )?;
    room.guest.expect("courier: 1 note.txt: ")?;
    // All of this is the room's, up to the key that leaves it.
    room.guest.machine.send(b"\r\rabc\r\r")?;
    room.leave()?;
    let letters = guest.letters()?;
    guest.machine.send_line("abc")?;
    guest.expect("not these letters; type them, or Enter alone for no")?;
    guest.machine.send_line(&letters)?;
    guest.says("courier: 1 allowed, typed")?;
    guest.says("courier: 1 delivered (N ms)")?;
    guest.shows(&[("keeper", "up")])?;
    guest.never("courier: FAIL")?;
    guest.power_off()
}

pub fn a04_a_half_typed_verb_is_no_answer_and_goes_on_after_it(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.receives("p://a")?;
    guest.start_room("p://aside")?;
    // It asks for whatever it can meanwhile.
    guest.machine.send_line("focus p://aside")?;
    guest.says("room: p://aside is in front")?;
    guest.run_in(
        "p://aside",
        "(while :; do bay0 send p://a x </etc/passwd; bay0 receive; done >/said 2>&1 &)",
    )?;
    guest.start_and_run_in(
        "p://b",
        "cd /; echo a note >note.txt; ((sleep 5; bay0 send p://a note.txt <note.txt) >/said 2>&1 &)",
    )?;
    guest.machine.send(b"vers")?;
    let letters = guest.letters()?;
    // With what was typed before, these would be others.
    guest.machine.send_line(&letters)?;
    guest.says("courier: 1 allowed, typed")?;
    guest.says("courier: 1 delivered (N ms)")?;
    guest.machine.send_line("ion")?;
    guest.expect("^build=[0-9a-f]{32}$")?;
    let aside = guest.run_in("p://aside", "tail -n 2 /said")?;
    ensure!(aside.contains("next: "), "{aside}");
    guest.never("courier: (FAIL|2)")?;
    guest.machine.send_line("validate")?;
    guest.verdict("GREEN")?;
    guest.power_off()
}

pub fn a04_a_name_that_a_terminal_would_obey_or_a_person_misread_is_shown_byte_by_byte(
    lab: &Lab,
) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.receives("p://a")?;
    guest.start_room("p://b")?;
    // Written from right to left, over two lines, with the screen cleared in between, and longer than a question shows.
    let long = "n".repeat(100);
    let odd = format!(r#"n="$(printf 'a\342\200\256fdp\n\033[2J {long}.exe')""#);
    let send = format!(
        "cd /; echo x >x; {odd}; ((bay0 send p://a \"$n\" <x >/said 2>&1; echo $? >>/said) &)"
    );
    guest.run_in("p://b", &send)?;
    let shown = r"a\xe2\x80\xaefdp\x0a\x1b[2J\x20";
    guest.says(&format!(
        "courier: 1 {shown}{long}.exe: 2 bytes, text, sha256 73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac"
    ))?;
    let cut = format!(r"a\xe2\x80\xaefdp\x0a...{}.exe (117 bytes)", "n".repeat(16));
    let question = format!("p://b asks to give p://a the file {cut}: 2 bytes, text");
    guest.expect(&regex::escape(&question))?;
    let letters = guest.letters()?;
    guest.machine.send_line(&letters)?;
    guest.says("courier: 1 delivered (N ms)")?;
    guest.run_in("p://a", &format!("{odd}; [ \"$(cat \"/$n\")\" = x ]"))?;
    let four = "head -c 4096 /dev/zero | tr '\\0' n";
    let said = guest.run_in("p://b", &format!("! bay0 send p://a $({four}) </x 2>&1"))?;
    ensure!(
        said.contains("request not under 512 bytes; next: shorten it"),
        "{said}"
    );
    guest.power_off()
}
