//! Questions to the organ (decision 24): who may ask, who stands still, who is told what. Its parent and its walls are the real ones, with an
//! engine that does what the prompt says.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use factory::room::blocks;

use super::images::{changed_disk, machine};
use super::inside::Inside;
use super::lab::{Build, Guest, LOOK, Lab};

/// The room that answers.
const ORGAN: &str = "sys://thinks";
/// Bytes of the blocks that the kernel verifies.
const BLOCK: u64 = 4096;
/// How long a room is in front at most, where its questions come to no end.
const TURN: Duration = Duration::from_secs(10);

impl Guest {
    /// A machine whose organ has said what it is.
    fn with_organ(lab: &Lab) -> Result<Self> {
        let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
        guest.start_room(ORGAN)?;
        guest.said("ai: fake, 2048 tokens")?;
        Ok(guest)
    }

    /// The lines of the organ in the operator's `rooms`.
    fn questions(&mut self) -> Result<String> {
        let said = self.ask("rooms")?;
        let lines = said.lines().filter(|line| line.contains(" question="));
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }
}

/// Has a room ask; what it was answered, whole: a line of bay0's may come between two pieces.
fn answer(room: &mut Inside<'_>, command: &str) -> Result<String> {
    let said = room.run(&format!("{command} >/out 2>/dev/null; cat /out"))?;
    Ok(said.trim().to_owned())
}

pub fn a08_a_question_is_answered_and_the_log_has_its_figures_and_none_of_its_text(
    lab: &Lab,
) -> Result<()> {
    let disk = lab.disk()?;
    let mut guest = lab.boot(Build::Fault, &disk)?;
    // Without the organ, and while it is there.
    let mut room = guest.start_and_enter("p://a")?;
    let (said, code) = room.try_run("bay0 ask say 3 2>&1")?;
    let nobody = "bay0: nobody answers; next: start sys://ai at the operator line";
    ensure!(code == 1 && said.trim() == nobody, "{code} {said}");
    room.leave()?;
    guest.start_room(ORGAN)?;
    guest.said("ai: fake, 2048 tokens")?;
    let mut room = guest.enter("p://a")?;
    ensure!(
        answer(&mut room, "bay0 ask say 3")? == "0 1 2",
        "another answer"
    );
    ensure!(
        answer(&mut room, "echo 3 | bay0 ask say")? == "0 1 2",
        "without what came in"
    );
    ensure!(
        answer(&mut room, "bay0 ask --max 2 say 9")? == "0 1",
        "more than was asked for"
    );
    ensure!(
        answer(&mut room, "bay0 embed ab")?
            .split_whitespace()
            .eq(["0", "0.5"]),
        "other numbers"
    );
    let long = "head -c 10485760 /dev/zero | tr '\\0' x | bay0 ask what 2>&1";
    let (said, code) = room.try_run(long)?;
    let why = "bay0: prompt too long: 10485766 bytes, where prompt and answer together may have 1024 tokens; ";
    ensure!(code == 1 && said.contains(why), "{code} {said}");
    for (command, why) in [
        (
            "bay0 ask --seed x say 1",
            "--seed: x is none; next: see bay0 ask --help",
        ),
        (
            "bay0 ask fail",
            "engine: as asked; next: ask again, then report it",
        ),
        ("bay0 ask panic", "the answer's process was ended: "),
    ] {
        let (said, code) = room.try_run(&format!("{command} 2>&1"))?;
        ensure!(code == 1 && said.contains(why), "{command}: {code} {said}");
    }
    room.leave()?;
    guest.said(r"ai: p://a: 2 and 3 tokens, end \(\d+ ms\)$")?;
    guest.said(r"ai: p://a: 2 and 2 tokens, length \(\d+ ms\)$")?;
    guest.said(r"ai: p://a: 0 and 0 tokens, refused \(\d+ ms\)$")?;
    // A room that nothing is said of.
    let said = guest.start_and_run_in("p://tiny", "! bay0 ask say 1 2>&1")?;
    ensure!(
        said.contains("this room may ask nothing; next: write ai in its policy"),
        "{said}"
    );
    guest.power_off()?;
    lab.verify_log(&disk)
}

pub fn t04_a_question_stands_still_while_its_room_is_behind_and_costs_no_processor(
    lab: &Lab,
) -> Result<()> {
    let mut guest = Guest::with_organ(lab)?;
    guest.start_room("p://b")?;
    guest.start_room("p://a")?;
    guest.begin_in("p://a", "bay0 ask flood >/dev/null; bay0 ask slowly 100")?;
    // Whoever does not hang up has it go on; and it takes all that there is of the processor.
    until(&mut guest, "question=1 answered")?;
    let cpu = |line: &str| -> Result<u64> {
        let ms = line
            .split("cpu_ms=")
            .nth(1)
            .and_then(|it| it.split(' ').next());
        Ok(ms.context(line.to_owned())?.trim().parse()?)
    };
    while cpu(&guest.room(ORGAN)?)? < 500 {}
    guest.machine.send_line("focus p://b")?;
    guest.says("room: p://b is in front")?;
    until(&mut guest, "question=1 stands")?;
    let before = cpu(&guest.room(ORGAN)?)?;
    // Work of another room takes its time meanwhile.
    let said = guest.run_in(
        "p://b",
        "head -c 30000000 /dev/zero | sha256sum; bay0 ask say 2 >/out 2>/dev/null; cat /out",
    )?;
    ensure!(said.trim().ends_with("0 1"), "{said}");
    let after = cpu(&guest.room(ORGAN)?)?;
    ensure!(after - before < 500, "{} ms behind", after - before);
    guest.machine.send_line("focus p://a")?;
    guest.says("room: p://a is in front")?;
    until(&mut guest, "question=1 answered")?;
    // The end of its room ends it.
    guest.stop_room("p://a")?;
    guest.said(r"ai: p://a: 1 and 64 tokens, (cancelled|hung-up) \(\d+ ms\)$")?;
    guest.power_off()
}

/// Looks until the operator sees this of a question.
fn until(guest: &mut Guest, what: &str) -> Result<()> {
    for _ in 0..40 {
        if guest.questions()?.contains(what) {
            return Ok(());
        }
    }
    bail!("never {what}: {}", guest.questions()?)
}

pub fn a08_a_room_that_has_used_its_tokens_waits_and_others_do_not(lab: &Lab) -> Result<()> {
    let mut guest = Guest::with_organ(lab)?;
    // 200 a minute.
    let ask = "while bay0 ask say 32 >/dev/null 2>/said; do :; done; cat /said";
    let said = guest.start_and_run_in("p://b", ask)?;
    ensure!(
        said.contains("not now: 200 tokens of this minute are used, ")
            && said.contains(" s left; next: wait"),
        "{said}"
    );
    // It is no other one once it was started anew.
    guest.stop_room("p://b")?;
    let said = guest.start_and_run_in("p://b", "! bay0 ask say 1 2>&1")?;
    ensure!(said.contains("of this minute are used"), "{said}");
    let said = guest.start_and_run_in("p://a", "bay0 ask say 2 >/out 2>/dev/null; cat /out")?;
    ensure!(said.trim() == "0 1", "{said}");
    guest.power_off()
}

pub fn c05_what_answers_a_question_can_open_nothing_and_knows_nothing_of_the_last_one(
    lab: &Lab,
) -> Result<()> {
    let mut guest = Guest::with_organ(lab)?;
    let mut room = guest.start_and_enter("p://a")?;
    for act in ["open", "socket", "process", "signal", "code", "memory 64"] {
        let (said, code) = room.try_run(&format!("bay0 ask {act} 2>&1"))?;
        ensure!(
            code == 1 && said.contains("the answer's process was ended: "),
            "{act}: {code} {said}"
        );
    }
    for _ in 0..2 {
        ensure!(
            answer(&mut room, "bay0 ask state")? == "0",
            "it knows of another one"
        );
    }
    // Garbage, questions without end, a room that does not read: others are answered.
    room.run("((bay0 ask flood | sleep 1000) &); for i in 1 2 3; do ((bay0 ask hang >/dev/null 2>&1) &); done")?;
    room.run("until timeout 5 bay0 ask say 1 2>&1 | grep -q ': 4 questions of this room wait; '; do :; done; echo")?;
    room.leave()?;
    guest.stop_room("p://a")?;
    let said = guest.start_and_run_in("p://b", "bay0 ask say 2 >/out 2>/dev/null; cat /out")?;
    ensure!(said.trim() == "0 1", "{said}");
    guest.power_off()
}

pub fn t04_where_memory_is_short_the_youngest_makes_room_and_the_oldest_is_answered(
    lab: &Lab,
) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.start_room("sys://crams")?;
    guest.said("ai: fake, 2048 tokens")?;
    let mut room = guest.start_and_enter("p://a")?;
    // The second is the one that takes all there is: the kernel kills it, and PID 1 has the third make room.
    for (act, file) in [
        ("slowly 300", "one"),
        ("grow 100", "two"),
        ("hang", "three"),
    ] {
        room.run(&format!("(bay0 ask {act} >/{file} 2>/{file}.why &)"))?;
    }
    room.leave()?;
    guest.said(r"ai: p://a: 2 and 0 tokens, killed \(\d+ ms\)$")?;
    guest.said(r"ai: p://a: 1 and 0 tokens, cancelled \(\d+ ms\)$")?;
    guest.said(r"ai: p://a: 2 and 64 tokens, length \(\d+ ms\)$")?;
    let whole: Vec<String> = (0..64).map(|it| it.to_string()).collect();
    let said = guest.run_in("p://a", "cat /one")?;
    ensure!(said.split_whitespace().eq(whole.iter()), "{said}");
    for (file, why) in [
        ("two", "the answer's process was ended: "),
        ("three", "cancelled; next: ask again"),
    ] {
        let said = guest.run_in("p://a", &format!("cat /{file}.why"))?;
        ensure!(said.contains(why), "{file}: {said}");
    }
    // Where the youngest is the one that takes all, that is all: killed or cancelled, whoever is first.
    guest.begin_in("p://a", "bay0 ask slowly 100")?;
    until(&mut guest, "question=4 answered")?;
    guest.run_in("p://a", "! bay0 ask grow 20 2>/dev/null")?;
    let (said, code) = guest.end_in("p://a")?;
    ensure!(
        code == 0 && said.split_whitespace().eq(whole.iter()),
        "{code} {said}"
    );
    ensure!(guest.questions()?.is_empty(), "{}", guest.questions()?);
    guest.power_off()
}

pub fn a08_a_room_of_the_system_asks_whoever_is_in_front(lab: &Lab) -> Result<()> {
    let mut guest = Guest::with_organ(lab)?;
    guest.start_room("sys://serves")?;
    guest.start_room("p://a")?;
    guest.begin_in("sys://serves", "bay0 ask slowly 100")?;
    until(&mut guest, "question=1 answered")?;
    guest.start_room("p://b")?;
    let (said, code) = guest.end_in("sys://serves")?;
    guest.said(r"ai: sys://serves: 2 and 16 tokens, length \(\d+ ms\)$")?;
    ensure!(code == 0 && said.ends_with("14 15"), "{code} {said}");
    guest.power_off()
}

pub fn a08_the_end_of_the_organ_is_told_to_who_asked_and_it_comes_back(lab: &Lab) -> Result<()> {
    let mut guest = Guest::with_organ(lab)?;
    guest.start_room("p://a")?;
    guest.begin_in("p://a", "bay0 ask hang")?;
    until(&mut guest, "question=1 answered")?;
    guest.stop_room(ORGAN)?;
    guest.said("ai: p://a: the organ has ended")?;
    let (said, code) = guest.end_in("p://a")?;
    let lost = "bay0: the organ has ended in the middle; next: ask again";
    ensure!(code == 1 && said == lost, "{code} {said}");
    guest.start_room(ORGAN)?;
    guest.expect("ai: fake, 2048 tokens")?;
    let said = guest.run_in("p://a", "bay0 ask say 2 >/out 2>/dev/null; cat /out")?;
    ensure!(said.trim() == "0 1", "{said}");
    guest.never("FAIL")?;
    guest.power_off()
}

pub fn a08_a_thousand_questions_of_four_rooms_leave_nothing_behind(lab: &Lab) -> Result<()> {
    const ROOMS: [&str; 4] = ["p://a", "p://crowd", "p://hostile", "p://hostile2"];
    // 250 each; some hang up at once, some are hung up on, and all but the one in front stand still.
    const ASKS: &str = "cd /; ((n=0; while [ $n -lt 250 ]; do n=$((n+1)); case $((n % 25)) in \
        3) bay0 ask flood >/dev/null 2>&1 & p=$!; bay0 hello >/dev/null; kill $p; wait;; \
        7) timeout 1 bay0 ask hang >/dev/null 2>&1;; \
        *) until bay0 ask say 3 >/said 2>/why; do :; done;; esac; done; echo all >/done) &)";
    let mut guest = Guest::with_organ(lab)?;
    for room in ROOMS {
        guest.start_and_run_in(room, ASKS)?;
    }
    let mut left = ROOMS.to_vec();
    while let Some(room) = left.first().copied() {
        guest.machine.send_line(&format!("focus {room}"))?;
        let line = format!("ai: {room}: ");
        let (before, begun) = (guest.count(&line)?, Instant::now());
        while guest.count(&line)? < before + 20 && begun.elapsed() < TURN {
            guest.machine.wait_for_more(LOOK);
        }
        let done = guest.run_in(room, "cat /done 2>/dev/null; true")?;
        match done.contains("all") {
            true => drop(left.remove(0)),
            false => left.rotate_left(1),
        }
    }
    let said = guest.run_in("p://a", "bay0 ask say 2 >/out 2>/dev/null; cat /out")?;
    ensure!(said.trim() == "0 1", "{said}");
    let answered = guest.count(r"ai: p://\w+: 2 and 3 tokens, end ")?;
    ensure!(answered == 4 * 230, "{answered} were answered");
    ensure!(guest.questions()?.is_empty(), "{}", guest.questions()?);
    let row = guest.room(ORGAN)?;
    ensure!(row.contains(" processes=2 "), "{row}");
    guest.never("FAIL")?;
    guest.power_off()
}

pub fn a08_a_model_answers_a_room_on_this_machine(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.start_room("sys://ai")?;
    guest.said(r"ai: (toy|vast), \d+ tokens$")?;
    let mut room = guest.start_and_enter("p://a")?;
    // Either goes on with the alphabet.
    let said = answer(&mut room, "bay0 ask --max 6 c")?;
    ensure!(said == "defghi", "{said}");
    let heated = "bay0 ask --max 12 --temperature 1.5 --seed 7 c";
    let (one, two) = (answer(&mut room, heated)?, answer(&mut room, heated)?);
    ensure!(one == two, "the same seed, and {one} is not {two}");
    let said = answer(
        &mut room,
        "bay0 ask --max 20 --json '{\"type\":\"boolean\"}' c",
    )?;
    ensure!(matches!(said.as_str(), "true" | "false"), "{said}");
    let (said, code) = room.try_run("bay0 ask --json '{\"type\":3}' c 2>&1")?;
    ensure!(code == 1 && said.contains("schema: "), "{code} {said}");
    room.leave()?;
    let row = guest.room("sys://ai")?;
    println!("organ: {row}");
    // What PID 1 has to do with an answer: one line of a room, one of the organ, one of the log.
    let (before, begun) = (cpu_us(&mut guest)?, Instant::now());
    guest.run_in(
        "p://a",
        "for i in 1 2 3 4; do bay0 ask --max 64 A; done >/dev/null",
    )?;
    let (us, all) = (cpu_us(&mut guest)? - before, begun.elapsed().as_micros());
    println!("PID 1: {us} us of processor in {all} us of four answers");
    guest.never("FAIL")?;
    guest.power_off()
}

/// Microseconds of processor that PID 1 has had.
fn cpu_us(guest: &mut Guest) -> Result<u64> {
    let said = guest.ask("fault cpu")?;
    let figure = said.lines().find_map(|it| it.strip_prefix("cpu_us="));
    Ok(figure.context(said.clone())?.trim().parse()?)
}

/// A block of the disk that has nothing but numbers of the toy, or one that has the end of its head as well. Both are the kernel's blocks:
/// with one changed byte all of it is not to be read.
fn place(disk: &Path, begins: u64, is_head: bool) -> Result<u64> {
    let all = blocks::of(disk, begins, "/usr/share/model/toy.gguf");
    let all = all.context("next: cargo xtask room build ai --model toy")?;
    let [head, numbers, ..] = all.as_slice() else {
        bail!("a model of {} blocks", all.len());
    };
    let at = match is_head {
        true => numbers.start / BLOCK * BLOCK,
        false => numbers.start.next_multiple_of(BLOCK),
    };
    let within = head.start..numbers.end;
    let is_own = within.contains(&at) && within.contains(&(at + BLOCK - 1));
    ensure!(is_own, "{at} is not in {within:?} alone");
    Ok(at)
}

pub fn t09_a_model_with_one_changed_byte_answers_nothing(lab: &Lab) -> Result<()> {
    for (part, is_head) in [("head", true), ("numbers", false)] {
        let disk = changed_disk(lab, part, "ai", |disk, begins| place(disk, begins, is_head))?;
        let mut guest = machine(lab, part, disk, "")?;
        guest.verdict("GREEN")?;
        guest.start_room("sys://ai")?;
        let (said, why) = match is_head {
            true => (
                "ai: FAIL: no model: model toy: the engine cannot read it: ",
                "bay0: model toy: the engine cannot read it: ",
            ),
            false => (
                r"ai: toy, \d+ tokens$",
                "bay0: the answer's process was ended: ",
            ),
        };
        guest.said(said)?;
        let ask = "! bay0 ask --max 6 c >/out 2>/why; cat /out /why";
        let said = guest.start_and_run_in("p://a", ask)?;
        ensure!(said.lines().any(|it| it.starts_with(why)), "{part}: {said}");
        guest.said("SQUASHFS error: ")?;
        guest.power_off()?;
    }
    Ok(())
}
