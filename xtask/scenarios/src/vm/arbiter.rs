//! A question on the screen (A04): asked by a process that no room has written to, on a picture of its own, and the screen is as it was
//! afterwards. Only the kernel of a PC drives a display.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use regex::Regex;
use serde_json::json;

use super::bus::{Bus, plug};
use super::hardware::{Stick, TALKATIVE};
use super::lab::{Build, LOOK, Lab, PATIENCE};
use super::screen::{ANSWER, DISPLAY, NO_SERIAL, Seat, USB_KEYS, keyboard, words};

/// What stands above each question.
const HEAD: &str = "bay0 asks, outside of all rooms:";
const SENDS: &str = "p://b asks to give p://a the file note";

impl Seat<'_> {
    /// The letters of the question that is on the screen, which is all that is there.
    pub(super) fn is_asked(&mut self) -> Result<String> {
        self.sees("^allow>")?;
        let rows = self.rows()?;
        let rows: Vec<_> = rows.iter().filter(|row| !row.is_empty()).collect();
        let expected = [HEAD, SENDS, "to allow it type  ", "allow>"];
        let is_whole = rows.len() == expected.len()
            && rows
                .iter()
                .zip(expected)
                .all(|(row, begin)| row.starts_with(begin));
        ensure!(is_whole, "the picture is {rows:#?}");
        let line = self.sees(
            "^to allow it type  [a-z] [a-z] [a-z]  and Enter; Enter alone, or 30 s, is no$",
        )?;
        let letters = Regex::new("type  (.) (.) (.)  ")?;
        let letters = letters.captures(&line).context("no letters")?;
        Ok([1, 2, 3].map(|at| letters[at].to_owned()).concat())
    }

    /// Has p://b give p://a a file, while nobody is inside a room: the letters.
    pub(super) fn begins(&mut self) -> Result<String> {
        self.guest.receives("p://a")?;
        self.guest
            .start_and_run_in("p://b", "cd /; echo text >note")?;
        self.sees("^bay0>$")?;
        self.guest.gives("p://b", "p://a", "note")?;
        self.is_asked()
    }

    /// The file of this number has passed, which the screen shows; and what is typed there is answered again.
    pub(super) fn goes_on(&mut self, number: u32) -> Result<()> {
        self.guest
            .says(&format!("courier: {number} allowed, typed"))?;
        self.guest
            .says(&format!("courier: {number} delivered (N ms)"))?;
        self.sees(&format!(r"courier: {number} delivered \(\d+ ms\)$"))?;
        self.types("hello")?;
        self.guest.expect(ANSWER).map(drop)
    }

    /// Presses keys at a question.
    pub(super) fn answers(&mut self, letters: &str) -> Result<()> {
        for (at, letter) in letters.char_indices() {
            self.presses(letter)?;
            self.sees(&format!("^allow> {}$", &letters[..=at]))?;
        }
        self.guest.press(&["ret"])
    }

    /// What stands on the screen but the log's lines, which go on.
    fn without_log(&mut self) -> Result<Vec<String>> {
        let rows = self.rows()?;
        Ok(rows
            .into_iter()
            .filter(|row| !row.is_empty() && !row.starts_with("bay0 "))
            .collect())
    }
}

/// Whoever is inside a room sees the question, and what he types there is no key of the room's; before and after it is his room's screen.
pub fn a04_a_question_on_the_screen_is_drawn_by_a_process_of_its_own(lab: &Lab) -> Result<()> {
    for display in [DISPLAY, ["-device", "bochs-display"]] {
        let mut config = lab.config_with(Build::Fault, &lab.disk()?);
        config
            .extra_args
            .extend(words(display.into_iter().chain(USB_KEYS)));
        is_answered_inside(Seat::at(lab, &config)?, display[1])?;
    }
    Ok(())
}

/// The same where no driver of a card's own draws, but that of what the firmware has left; the keys are on a PC's own port.
pub fn a04_a_question_is_on_the_firmwares_framebuffer_and_gone_with_the_answer(
    lab: &Lab,
) -> Result<()> {
    let display = "ramfb";
    let stick = Stick::of(lab, &lab.bench.fault, TALKATIVE)?;
    let mut config = stick.on(Bus::Nvme);
    let rooms = lab.bench.rooms.as_ref().context("no disk of rooms")?;
    let copy = lab.path("rooms.img");
    fs::copy(rooms, &copy)?;
    plug(&mut config, Bus::Virtio, "rooms", &copy);
    config.extra_args.extend(words(["-device", display]));
    let mut seat = Seat::at(lab, &config)?;
    seat.guest.expect(r"\[drm\] Initialized simpledrm ")?;
    is_answered_inside(seat, display)
}

fn is_answered_inside(mut seat: Seat<'_>, display: &str) -> Result<()> {
    seat.guest.verdict("GREEN")?;
    seat.sees("^bay0>$")?;
    seat.guest.receives("p://a")?;
    seat.guest.start_and_run_in(
        "p://b",
        "cd /; echo text >note; echo 'clear; echo zero' >t; echo 'cd /; bay0 send p://a note 2>/err; echo said $?' >s",
    )?;
    seat.types("enter p://b")?;
    seat.sees("^bay0 .* terminal: inside p://b ")?;
    seat.types_unseen("sh /t")?;
    seat.sees("^zero$")?;
    let before = seat.without_log()?;
    seat.types_unseen("sh /s")?;
    let letters = seat.is_asked()?;
    seat.keeps(&format!("question-{display}"))?;
    // Not these, and then these.
    seat.answers("iii")?;
    seat.sees("^not these letters; type them, or Enter alone for no$")?;
    seat.answers(&letters)?;
    seat.guest.says("courier: 1 allowed, typed")?;
    seat.guest.says("courier: 1 delivered (N ms)")?;
    seat.sees("^said 0$")?;
    let after = seat.without_log()?;
    let is_there = !before.is_empty() && after.starts_with(&before);
    ensure!(is_there, "there was {before:?}, and is {after:?}");
    let strange = after
        .iter()
        .find(|row| row.contains(&letters) || row.contains("allow") || row.contains("asks"));
    ensure!(strange.is_none(), "the room's screen has {strange:?}");
    // Its keys are the room's again.
    seat.types_unseen("echo again")?;
    seat.sees("^again$")?;
    seat.guest.press(&["ctrl", "bracket_right"])?;
    seat.guest.expect("terminal: left p://b; mark ")?;
    seat.guest.never("^bay0 .*FAIL")?;
    seat.guest.power_off()
}

/// The process is killed, and the question goes on at the serial console alone.
pub fn a04_a_question_on_the_screen_outlives_who_asks_it(lab: &Lab) -> Result<()> {
    let mut config = lab.config_with(Build::Fault, &lab.disk()?);
    config
        .extra_args
        .extend(words(DISPLAY.into_iter().chain(USB_KEYS)));
    config.append_extra = "fault=arbiter".to_owned();
    let mut seat = Seat::at(lab, &config)?;
    seat.guest.verdict("GREEN")?;
    let letters = seat.begins()?;
    let serial = seat.guest.letters()?;
    ensure!(letters == serial, "{letters} and {serial}");
    seat.presses('x')?;
    seat.sees("^allow> x$")?;
    seat.guest.machine.qmp("system_powerdown", json!({}))?;
    seat.guest.says("arbiter: FAIL: its process ended; the question is at the serial console alone; next: answer there, or let it pass")?;
    // The screen is there again, without the letters, and no key is an answer.
    seat.sees("arbiter: FAIL: its process ended; ")?;
    let spaced: Vec<_> = letters.chars().map(String::from).collect();
    let rows = seat.rows()?.join("\n");
    ensure!(!rows.contains(&spaced.join(" ")), "{rows}");
    seat.types_unseen(&letters)?;
    seat.guest.machine.send_line(&letters)?;
    seat.goes_on(1)?;
    seat.guest.power_off()
}

/// The only keyboard is pulled out in the middle of an answer, and another one is plugged in.
pub fn a04_a_keyboard_that_comes_while_a_question_is_asked_answers_it(lab: &Lab) -> Result<()> {
    let mut config = lab.config_with(Build::Fault, &lab.disk()?);
    let more = DISPLAY.into_iter().chain(USB_KEYS.into_iter().take(4));
    config.extra_args.extend(words(more));
    let mut seat = Seat::at(lab, &config)?;
    seat.guest.verdict("GREEN")?;
    seat.guest.machine.qmp("device_add", keyboard("first"))?;
    seat.guest.expect("screen: /dev/input/event[0-9]+$")?;
    let letters = seat.begins()?;
    seat.presses('i')?;
    seat.sees("^allow> i$")?;
    seat.guest
        .machine
        .qmp("device_del", json!({ "id": "first" }))?;
    seat.guest.machine.qmp_event("DEVICE_DELETED", PATIENCE)?;
    seat.guest.machine.qmp("device_add", keyboard("second"))?;
    seat.guest.expect("screen: /dev/input/event[0-9]+$")?;
    // What is pressed before who asks has it counts for nothing.
    let begun = Instant::now();
    while !seat.rows()?.iter().any(|row| row == "allow>") {
        ensure!(begun.elapsed() < PATIENCE, "the new one is not heard");
        seat.guest.press(&["backspace"])?;
        seat.guest.machine.wait_for_more(LOOK);
    }
    seat.answers(&letters)?;
    seat.goes_on(1)?;
    seat.guest.power_off()
}

/// Without a serial line it is the only place to answer.
pub fn a04_without_a_serial_port_the_screen_alone_asks(lab: &Lab) -> Result<()> {
    let mut config = lab.config_with(Build::Fault, &lab.disk()?);
    let more = DISPLAY.into_iter().chain(USB_KEYS).chain(NO_SERIAL);
    config.extra_args.extend(words(more));
    let mut seat = Seat::at(lab, &config)?;
    seat.sees("^bay0 .* validate: GREEN ")?;
    for (line, seen) in [
        ("start p://a", "room: p://a started"),
        ("enter p://a", "terminal: inside p://a"),
    ] {
        seat.types(line)?;
        seat.sees(&format!("^bay0 .* {seen}"))?;
    }
    seat.types_unseen("cd /")?;
    seat.types_unseen("bay0 receive")?;
    seat.sees("waits for a file; Ctrl-C ends it$")?;
    seat.guest.press(&["ctrl", "bracket_right"])?;
    seat.sees("^bay0 .* terminal: left p://a")?;
    for (line, seen) in [
        ("start p://b", "room: p://b started"),
        ("enter p://b", "terminal: inside p://b"),
    ] {
        seat.types(line)?;
        seat.sees(&format!("^bay0 .* {seen}"))?;
    }
    seat.types_unseen("cp /etc/passwd note")?;
    seat.types_unseen("bay0 send p://a note")?;
    seat.is_asked()?;
    seat.guest.press(&["ret"])?;
    seat.sees("^bay0: the answer was no; next: none$")?;
    seat.guest.press(&["ctrl", "bracket_right"])?;
    seat.sees("courier: 1 not delivered: the answer was no; next: none$")?;
    seat.types("poweroff")?;
    seat.guest.ended()?;
    Ok(())
}
