//! Rooms with a screen (A14): who draws, who gets the keys, and the way back to bay0. The rooms' program paints all of the screen in one
//! colour and writes down what it was told and what was pressed.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use regex::Regex;
use serde_json::json;

use super::lab::{Build, Guest, LOOK, Lab, PATIENCE};
use super::online::{ORDINARY, leased, ordinary};
use super::screen::{DISPLAY, Seat, USB_KEYS, keyboard, words};
use super::unplugged::{IN, OUT, TELLS, Viewer};
use crate::lan::Card;

const TABLET: [&str; 2] = ["-device", "usb-tablet,bus=keys.0"];
const RED: (&str, &str) = ("p://red", "ff0000");
const BLUE: (&str, &str) = ("p://blue", "0000ff");
/// What a terminal shows where nothing is written, and one that was asked for another colour.
const TERMINAL: [u8; 3] = [0x11, 0x11, 0x11];
const GREEN: [u8; 3] = [0, 0xff, 0];
/// A browser without a page; a page whose script has run, and once a key was pressed there.
const EMPTY: [u8; 3] = [0xff, 0xff, 0xff];
const PRESSED: [u8; 3] = [0, 0, 0xff];
const PAGE: &str = "<h1>A page of the network</h1><p>What runs it has no capability and sees no other room.</p><body><script>\
    document.body.style.background = '#00ff00';\
    document.onkeydown = () => document.body.style.background = '#0000ff';\
    </script></body>\n";
/// No capability, as `/proc` has it.
const NONE: &str = "0000000000000000";
/// Bytes of memory of a room that paints, by its policy.
const LIMIT: u64 = 64 << 20;
/// What programs play to and record from: the card itself, in stereo.
const SOUND: &str = "-q -D hw:0,0 -f S16_LE -r 48000 -c 2";
/// Where they lead.
const LIST: &str = "bay0, outside of all rooms:";
/// The keys that lead to bay0.
const ATTENTION: [&str; 3] = ["ctrl", "alt", "delete"];
/// `KEY_A`, and what QEMU calls it.
const KEY: (&str, &str) = ("a", "key 30 down");

impl Seat<'_> {
    /// A machine with this display, keyboard and tablet.
    fn with<'a>(lab: &'a Lab, display: [&str; 2]) -> Result<Seat<'a>> {
        let mut config = lab.config_with(Build::Fault, &lab.disk()?);
        let all = display.into_iter().chain(USB_KEYS).chain(TABLET);
        config.extra_args.extend(words(all));
        let mut seat = Seat::at(lab, &config)?;
        seat.guest.verdict("GREEN")?;
        Ok(seat)
    }

    /// Starts a room that paints; what else it does.
    fn paints(&mut self, (room, colour): (&str, &str), way: &str) -> Result<()> {
        self.guest.start_room(room)?;
        self.guest
            .begin_in(room, &format!("paints {colour} {way} >/told 2>&1"))?;
        self.shows(colour)
    }

    /// Presses the keys that lead to bay0 until its list of rooms is there: a keyboard that has just come is not heard yet.
    fn leads(&mut self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while !self.rows()?.iter().any(|row| row == LIST) {
            ensure!(Instant::now() < end, "the keys lead nowhere");
            self.guest.press(&ATTENTION)?;
            self.guest.machine.wait_for_more(LOOK);
        }
        Ok(())
    }

    /// Enter alone at the list, until all of the screen has this colour: what is pressed before who shows the list has the keyboard counts
    /// for nothing.
    fn goes_back(&mut self, colour: &str) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while self.colour()?.as_deref() != Some(colour) {
            ensure!(Instant::now() < end, "the list stays");
            if self.rows()?.iter().any(|row| row == LIST) {
                self.guest.press(&["ret"])?;
            }
            self.guest.machine.wait_for_more(LOOK);
        }
        Ok(())
    }

    /// Waits until so many percent of the screen have this colour.
    fn fills(&mut self, colour: [u8; 3], percent: usize) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while self.share(colour)? < percent {
            ensure!(Instant::now() < end, "no {percent} % of {colour:?}");
            self.guest.machine.wait_for_more(LOOK);
        }
        Ok(())
    }

    /// Waits until all of the screen has this colour.
    fn shows(&mut self, colour: &str) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let seen = self.colour()?;
            if seen.as_deref() == Some(colour) {
                return Ok(());
            }
            ensure!(Instant::now() < end, "the screen is {seen:?}, not {colour}");
            self.guest.machine.wait_for_more(LOOK);
        }
    }
}

impl Guest {
    /// What the program of a room has written down.
    fn told(&mut self, room: &str) -> Result<Vec<String>> {
        let said = self.run_in(room, "cat /told")?;
        Ok(said.lines().map(|it| it.trim().to_owned()).collect())
    }

    /// Waits until that has this line so often.
    fn was_told(&mut self, room: &str, line: &str, count: usize) -> Result<Vec<String>> {
        let end = Instant::now() + PATIENCE;
        loop {
            let told = self.told(room)?;
            if told.iter().filter(|it| it.starts_with(line)).count() >= count {
                return Ok(told);
            }
            ensure!(Instant::now() < end, "not {count} of {line}: {told:?}");
            self.machine.wait_for_more(LOOK);
        }
    }
}

/// How many lines begin so.
fn count(told: &[String], line: &str) -> usize {
    told.iter().filter(|it| it.starts_with(line)).count()
}

pub fn a14_of_two_rooms_the_one_in_front_has_screen_and_keys(lab: &Lab) -> Result<()> {
    for display in [DISPLAY, ["-device", "bochs-display"]] {
        let mut seat = Seat::with(lab, display)?;
        seat.sees("^bay0>$")?;
        seat.paints(RED, "")?;
        seat.guest.press(&[KEY.0])?;
        seat.guest.was_told(RED.0, KEY.1, 1)?;
        seat.paints(BLUE, "")?;
        seat.guest.press(&[KEY.0])?;
        seat.guest.was_told(BLUE.0, KEY.1, 1)?;
        // Back and forth, each time with a key.
        for turn in 2..4 {
            for (room, colour) in [RED, BLUE] {
                seat.guest.machine.send_line(&format!("focus {room}"))?;
                seat.guest.says(&format!("room: {room} is in front"))?;
                seat.shows(colour)?;
                seat.guest.press(&[KEY.0])?;
                let told = seat.guest.was_told(room, KEY.1, turn)?;
                ensure!(count(&told, KEY.1) == turn, "{room}: {told:?}");
                ensure!(count(&told, "screen ") == 1, "{room}: {told:?}");
                ensure!(count(&told, "away") == turn - 1, "{room}: {told:?}");
            }
        }
        // To bay0, and from its list to the other room; what is typed there no room gets.
        seat.guest.press(&ATTENTION)?;
        seat.sees("^bay0, outside of all rooms:$")?;
        seat.sees("^p://blue running front ")?;
        seat.sees("^stopped: p://a p://a/kid ")?;
        seat.types("hello")?;
        seat.sees("^bay0 [0-9.]+$")?;
        seat.types("focus p://red")?;
        seat.shows(RED.1)?;
        let told = seat.guest.told(RED.0)?;
        let keys = count(&told, "key ");
        ensure!(keys == 6, "{keys} of 6 changes of a key: {told:?}");
        // There and back without a choice; to the operator line, and back.
        seat.guest.press(&ATTENTION)?;
        seat.sees("^p://red running front ")?;
        seat.goes_back(RED.1)?;
        // Nobody has seen the keys let go, and none of them leads anywhere by itself.
        seat.guest.press(&["delete"])?;
        seat.guest.was_told(RED.0, "key 111 up", 1)?;
        seat.shows(RED.1)?;
        seat.guest.press(&ATTENTION)?;
        seat.sees("^p://red running front ")?;
        seat.types("line")?;
        seat.sees("terminal: left p://red; mark ")?;
        seat.types("hello")?;
        seat.sees("^bay0 [0-9.]+$")?;
        seat.guest.press(&ATTENTION)?;
        seat.sees("^p://red running front ")?;
        seat.types("stop p://red")?;
        seat.guest.expect("room: p://red stopped")?;
        seat.guest.press(&["ret"])?;
        seat.sees("room: p://red stopped")?;
        seat.guest.never("^bay0 .*FAIL")?;
        seat.guest.power_off()?;
    }
    Ok(())
}

pub fn t05_no_room_reaches_the_screen_of_another(lab: &Lab) -> Result<()> {
    let mut seat = Seat::with(lab, DISPLAY)?;
    seat.paints(RED, "")?;
    seat.paints(BLUE, "steal")?;
    let told = seat.guest.was_told(BLUE.0, "steal done", 1)?;
    for (attempt, answers) in [
        ("set_master", "EACCES"),
        ("drop_master", "EACCES"),
        // By the room's filter.
        ("frame", "EPERM"),
        ("frame2", "EPERM"),
        ("grab", "EPERM"),
        ("keycode", "EPERM"),
        ("repeat", "EPERM"),
        // By the kernel: the memory of pictures that another opening has made.
        ("map", "EACCES"),
        ("name", "ENOENT"),
    ] {
        let begin = format!("steal {attempt} ");
        let tried: Vec<_> = told.iter().filter(|it| it.starts_with(&begin)).collect();
        let all = tried.iter().all(|it| it.ends_with(answers));
        ensure!(all && !tried.is_empty(), "{attempt}: {tried:?}");
    }
    seat.guest.power_off()
}

/// Pictures without end are the room's memory like any other.
pub fn c05_a_room_that_makes_pictures_without_end_is_held_at_its_memory(lab: &Lab) -> Result<()> {
    for display in [DISPLAY, ["-device", "bochs-display"]] {
        let mut seat = Seat::with(lab, display)?;
        seat.guest.start_room(RED.0)?;
        seat.guest
            .begin_in(RED.0, "paints ff0000 hoard >/told 2>&1")?;
        // The call for one more fails, or the kernel ends what it finds in the room: there is no more memory in either case.
        let (end, mut most) = (Instant::now() + PATIENCE, 0);
        while most < LIMIT / 10 * 9 {
            ensure!(Instant::now() < end, "it has {most} bytes of {LIMIT}");
            let line = seat.guest.room(RED.0)?;
            let memory = line.split("memory=").nth(1).context(line.clone())?;
            let memory = memory.split(' ').next().unwrap_or_default();
            most = memory.parse()?;
            ensure!(most <= LIMIT, "{line}");
        }
        seat.guest.machine.send_line(&format!("stop {}", RED.0))?;
        seat.guest.expect("room: p://red (stopped|ended)")?;
        seat.paints(RED, "")?;
        seat.guest.power_off()?;
    }
    Ok(())
}

/// One that goes on drawing and reading whatever it is told.
pub fn t05_a_room_that_does_not_let_go_neither_draws_nor_reads(lab: &Lab) -> Result<()> {
    let mut seat = Seat::with(lab, DISPLAY)?;
    seat.paints(RED, "deaf")?;
    // It is in front and goes on, while the screen is bay0's.
    seat.guest.press(&ATTENTION)?;
    seat.sees("^p://red running front ")?;
    seat.guest.was_told(RED.0, "dead event", 1)?;
    let told = seat.guest.was_told(RED.0, "deaf ", 1)?;
    let last = told.iter().rfind(|it| it.starts_with("deaf "));
    ensure!(
        last.is_some_and(|it| it.ends_with("crtc=EACCES lease=EACCES")),
        "{told:?}"
    );
    seat.types("hello")?;
    seat.sees("^bay0 [0-9.]+$")?;
    let before = count(&seat.guest.told(RED.0)?, "key ");
    seat.types("help")?;
    seat.sees("^bay0>$")?;
    let told = seat.guest.told(RED.0)?;
    ensure!(count(&told, "key ") == before, "{told:?}");
    ensure!(count(&told, "dead event") > 0, "{told:?}");
    // Behind another one, and back: the picture is there again, and no key.
    seat.types("start p://blue")?;
    seat.guest.says("room: p://blue is in front")?;
    seat.guest.begin_in(BLUE.0, "paints 0000ff >/told 2>&1")?;
    seat.shows(BLUE.1)?;
    seat.guest.press(&[KEY.0])?;
    seat.guest.was_told(BLUE.0, KEY.1, 1)?;
    seat.guest.machine.send_line("focus p://red")?;
    seat.shows(RED.1)?;
    ensure!(
        count(&seat.guest.told(RED.0)?, KEY.1) == 0,
        "it has read a key"
    );
    seat.guest.never("^bay0 .*FAIL")?;
    seat.guest.power_off()
}

/// A room with the screen gives a file away: bay0 asks in its place, and gives the screen back with the answer.
pub fn a04_a_question_takes_the_screen_from_a_room_and_gives_it_back(lab: &Lab) -> Result<()> {
    let mut seat = Seat::with(lab, DISPLAY)?;
    seat.guest.receives(BLUE.0)?;
    seat.paints(RED, "")?;
    seat.guest.run_in(RED.0, "cd /; echo text >note")?;
    seat.guest.gives(RED.0, BLUE.0, "note")?;
    seat.sees("^p://red asks to give p://blue the file note")?;
    let line = seat.sees("^to allow it type  ")?;
    let letters = Regex::new("type  (.) (.) (.)  ")?;
    let letters = letters.captures(&line).context("no letters")?;
    let letters = [1, 2, 3].map(|at| letters[at].to_owned()).concat();
    seat.answers(&letters)?;
    seat.guest.says("courier: N allowed, typed")?;
    seat.guest.says("courier: N delivered (N ms)")?;
    seat.shows(RED.1)?;
    let told = seat.guest.told(RED.0)?;
    ensure!(
        count(&told, "key ") == 0 && count(&told, "away") == 1,
        "{told:?}"
    );
    seat.guest.press(&[KEY.0])?;
    seat.guest.was_told(RED.0, KEY.1, 1)?;
    seat.guest.never("^bay0 .*FAIL")?;
    seat.guest.power_off()
}

/// Its program dies, and what it had is bay0's again; a second one gets it.
pub fn a14_a_program_that_ends_gives_the_screen_back(lab: &Lab) -> Result<()> {
    let mut seat = Seat::with(lab, DISPLAY)?;
    seat.paints(RED, "")?;
    seat.guest.run_in(RED.0, "killall paints")?;
    seat.sees("^bay0>$")?;
    seat.types("hello")?;
    seat.sees("^bay0 [0-9.]+$")?;
    seat.guest.begin_in(RED.0, "paints 00ff00 >/told 2>&1")?;
    seat.shows("00ff00")?;
    seat.guest.machine.send_line("stop p://red")?;
    seat.guest.expect("room: p://red stopped")?;
    seat.sees("room: p://red stopped")?;
    seat.guest.never("^bay0 .*FAIL")?;
    seat.guest.power_off()
}

/// Another keyboard in the place of the one that is pulled out, while a room has them.
pub fn a14_a_room_is_told_of_keyboards_that_come_and_go(lab: &Lab) -> Result<()> {
    let mut config = lab.config_with(Build::Fault, &lab.disk()?);
    let more = DISPLAY.into_iter().chain(USB_KEYS.into_iter().take(4));
    config.extra_args.extend(words(more));
    let mut seat = Seat::at(lab, &config)?;
    seat.guest.verdict("GREEN")?;
    seat.paints(RED, "")?;
    for (turn, id) in ["first", "second"].into_iter().enumerate() {
        seat.guest.machine.qmp("device_add", keyboard(id))?;
        // It is given anew each time that the room has the screen again.
        seat.guest.was_told(RED.0, "keyboard event", 2 * turn + 1)?;
        seat.guest.press(&[KEY.0])?;
        seat.guest.was_told(RED.0, KEY.1, turn + 1)?;
        // The keys that lead to bay0 are heard on the new one as well.
        seat.leads()?;
        seat.goes_back(RED.1)?;
        seat.guest.machine.qmp("device_del", json!({ "id": id }))?;
        seat.guest.machine.qmp_event("DEVICE_DELETED", PATIENCE)?;
        seat.guest.was_told(RED.0, "gone event", turn + 1)?;
    }
    seat.guest.power_off()
}

/// The cable of the only display is pulled, and put in again, while it shows bay0's list; the room in front has it next.
pub fn a14_a_room_whose_display_was_unplugged_has_its_picture_again(lab: &Lab) -> Result<()> {
    let socket = lab.path("display");
    let vnc = format!("unix:{}", socket.display());
    let mut config = lab.config_with(Build::Fault, &lab.disk()?);
    let all = DISPLAY.into_iter().chain(USB_KEYS);
    let all = all.chain(["-vnc", vnc.as_str()]);
    config.extra_args.extend(words(all));
    config.append_extra = TELLS.to_owned();
    let mut seat = Seat::at(lab, &config)?;
    let mut viewer = Viewer::new(&socket)?;
    seat.guest.verdict("GREEN")?;
    seat.paints(RED, "")?;
    seat.leads()?;
    viewer.resize(OUT, &mut seat.guest)?;
    viewer.resize(IN, &mut seat.guest)?;
    seat.sees("^p://red running front ")?;
    seat.goes_back(RED.1)?;
    seat.guest.never("^bay0 .*FAIL")?;
    seat.guest.power_off()
}

/// Two displays of two cards are one seat: the room in front has both, and while bay0 draws on one of them the other is dark.
pub fn a14_of_two_displays_none_shows_a_room_that_is_behind(lab: &Lab) -> Result<()> {
    let mut config = lab.config_with(Build::Fault, &lab.disk()?);
    let displays = ["virtio-gpu-pci,id=one", "bochs-display,id=other"];
    let devices = displays.into_iter().flat_map(|it| ["-device", it]);
    config.extra_args.extend(words(devices.chain(USB_KEYS)));
    let mut seat = Seat::at(lab, &config)?;
    seat.guest.verdict("GREEN")?;
    let both = |seat: &mut Seat, colour: &str| {
        let end = Instant::now() + PATIENCE;
        for display in ["one", "other"] {
            while seat.colour_of(display)?.as_deref() != Some(colour) {
                ensure!(Instant::now() < end, "{display} is not {colour}");
                seat.guest.machine.wait_for_more(LOOK);
            }
        }
        Ok(())
    };
    seat.guest.start_room(RED.0)?;
    seat.guest.begin_in(RED.0, "paints ff0000 >/told 2>&1")?;
    both(&mut seat, RED.1)?;
    // bay0's list is on one of them; what the other shows is not the room's.
    seat.guest.press(&ATTENTION)?;
    let end = Instant::now() + PATIENCE;
    for display in ["one", "other"] {
        while seat.colour_of(display)?.as_deref() == Some(RED.1) {
            ensure!(Instant::now() < end, "{display} shows the room behind");
            seat.guest.machine.wait_for_more(LOOK);
        }
    }
    seat.guest.machine.send_line("focus p://red")?;
    seat.guest.press(&["ret"])?;
    both(&mut seat, RED.1)?;
    seat.paints(BLUE, "")?;
    both(&mut seat, BLUE.1)?;
    seat.guest.never("^bay0 .*FAIL")?;
    seat.guest.power_off()
}

/// A compositor of Debian's in a room, with a terminal: what is typed there is done, and its picture is there again after another one's. Twice
/// what a terminal shows is one colour on at least a quarter of the screen.
pub fn a14_a_desktop_is_typed_at_and_comes_back_as_it_was(lab: &Lab) -> Result<()> {
    let mut config = lab.config_with(Build::Fault, &lab.disk()?);
    config.mem_mb = 1024;
    let all = DISPLAY.into_iter().chain(USB_KEYS).chain(TABLET);
    config.extra_args.extend(words(all));
    let mut seat = Seat::at(lab, &config)?;
    seat.guest.verdict("GREEN")?;
    seat.guest.machine.send_line("start p://desk")?;
    seat.guest.says("room: p://desk started (N ms)")?;
    // Its own terminal, to which nothing is typed before it is there: the operator line has the keyboard until then.
    seat.fills(TERMINAL, 50)?;
    // QEMU types on the keyboard that came last: the compositor has to have found it.
    seat.guest.machine.qmp("device_add", keyboard("other"))?;
    let end = Instant::now() + 2 * PATIENCE;
    while seat.share(GREEN)? < 25 {
        ensure!(Instant::now() < end, "nothing green on the screen");
        seat.types_unseen("foot -o colors.background=00ff00")?;
        seat.guest.machine.wait_for_more(PATIENCE / 4);
    }
    seat.keeps("desk")?;
    // What sway has started, sway, and who has started it.
    for program in ["foot", "sway", "seat"] {
        let rights = seat.guest.ask(&format!("fault rights {program}"))?;
        let begin = format!("{program}: ");
        let lines: Vec<_> = rights
            .lines()
            .filter_map(|it| it.strip_prefix(&begin))
            .collect();
        let none = [NONE; 4].join(" ");
        let is_none = !lines.is_empty() && lines.iter().all(|it| it.trim() == none);
        ensure!(is_none, "{rights}");
    }
    seat.leads()?;
    seat.keeps("list")?;
    ensure!(seat.share(GREEN)? == 0, "it is still seen");
    seat.types("start p://red")?;
    seat.guest.says("room: p://red started (N ms)")?;
    seat.guest.begin_in(RED.0, "paints ff0000 >/told 2>&1")?;
    seat.shows(RED.1)?;
    seat.guest.machine.send_line("focus p://desk")?;
    seat.fills(GREEN, 25)?;
    seat.guest.never("^bay0 .*FAIL")?;
    seat.guest.power_off()
}

/// Debian's Firefox in a room, on an ordinary network: a page from a public address runs its script, which sees keys, and is there again after
/// bay0's list. What runs it has a filter of the browser's own above those of the room.
pub fn a14_a_browser_shows_a_page_and_keeps_its_own_sandbox(lab: &Lab) -> Result<()> {
    let names = format!("{ORDINARY}\naddress=/public.example.org/203.0.113.10");
    let mut lan = ordinary(lab, &names)?;
    lan.address("add", "203.0.113.10/32", "lo")?;
    lan.file("www/page.html", PAGE)?;
    let mut config = lab.config_with(Build::Fault, &lab.disk()?);
    config.mem_mb = 3072;
    let all = DISPLAY.into_iter().chain(USB_KEYS).chain(TABLET);
    config.extra_args.extend(words(all));
    lan.plug(&mut config, Card::Virtio, "lan0", 1);
    let mut seat = Seat::at(lab, &config)?;
    seat.guest.verdict("GREEN")?;
    seat.guest.machine.send_line("start p://desk")?;
    seat.fills(TERMINAL, 50)?;
    seat.leads()?;
    seat.types("start p://web")?;
    seat.guest.says("room: p://web started (N ms)")?;
    seat.guest
        .said(&leased(r"192\.0\.2\.1\d\d/24", r"192\.0\.2\.1"))?;
    let end = Instant::now() + 6 * PATIENCE;
    while seat.share(EMPTY)? < 75 {
        ensure!(Instant::now() < end, "the browser is not seen");
        seat.guest.machine.wait_for_more(PATIENCE / 4);
    }
    while seat.share(GREEN)? < 75 {
        ensure!(Instant::now() < end, "the page is not seen");
        seat.guest.press(&["ctrl", "l"])?;
        seat.types_unseen("http://public.example.org/page.html")?;
        seat.guest.machine.wait_for_more(PATIENCE / 4);
    }
    lan.logs("nginx", r#""GET /page.html HTTP/1.1" 200 "#)?;
    seat.keeps("web")?;
    let own = filters(&mut seat.guest, "sway")?;
    let own = *own.iter().max().context("no sway")?;
    let page = filters(&mut seat.guest, "Isolated Web Co")?;
    let has_more = !page.is_empty() && page.iter().all(|it| *it > own);
    ensure!(has_more, "{page:?} filters, and {own} of the room");
    seat.guest.press(&[KEY.0])?;
    seat.fills(PRESSED, 75)?;
    seat.leads()?;
    seat.types("focus p://desk")?;
    seat.fills(TERMINAL, 50)?;
    ensure!(seat.share(PRESSED)? == 0, "it is still seen");
    seat.leads()?;
    seat.types("focus p://web")?;
    seat.fills(PRESSED, 75)?;
    seat.guest.machine.send_line("stop p://web")?;
    seat.guest.says("room: p://web stopped (N ms)")?;
    seat.guest.never("^bay0 .*FAIL")?;
    seat.guest.power_off()
}

/// How many filters hold each process of this name.
fn filters(guest: &mut Guest, program: &str) -> Result<Vec<usize>> {
    let said = guest.ask(&format!("fault filters {program}"))?;
    let begin = format!("{program}: ");
    let counts = said.lines().filter_map(|it| it.strip_prefix(&begin));
    let counts = counts.map(|it| it.trim().parse().context("no number"));
    counts.collect()
}

/// A room plays and is heard, and so it is with one that records. Once another room is in front, nothing plays, and the card is free; a room
/// whose program has closed it stays.
pub fn t05_a_room_that_has_sound_open_ends_when_another_comes_forward(lab: &Lab) -> Result<()> {
    let heard = lab.path("heard.wav");
    let backend = format!("wav,id=sound,path={}", heard.display());
    let card = [
        "-device",
        "intel-hda",
        "-device",
        "hda-duplex,audiodev=sound,mixer=off",
    ];
    let mut config = lab.config_with(Build::Fault, &lab.disk()?);
    config.mem_mb = 512;
    let backend = ["-audiodev", backend.as_str()];
    config
        .extra_args
        .extend(words(backend.into_iter().chain(card)));
    let mut guest = lab.start(&config)?;
    guest.verdict("GREEN")?;
    guest.start_room("p://tunes")?;
    let nodes = guest.run_in("p://tunes", "ls /dev/snd | tr '\\n' ' '")?;
    ensure!(nodes.trim() == "controlC0 pcmC0D0c pcmC0D0p", "{nodes}");
    guest.run_in("p://tunes", &format!("aplay {SOUND} -d 1 /dev/urandom"))?;
    ensure!(loud(&heard)? > 0, "nothing was heard");
    guest.start_room("p://b")?;
    guest.run_in("p://b", "! ls /dev/snd")?;
    let ends = |guest: &mut Guest| {
        guest.machine.send_line("focus p://b")?;
        guest.says("room: p://tunes has sound open, which cannot be taken back: it is stopped")?;
        guest.says("room: p://tunes stopped (N ms)")
    };
    guest.machine.send_line("focus p://tunes")?;
    guest.says("room: p://tunes is in front")?;
    let before = loud(&heard)?;
    guest.begin_in("p://tunes", &format!("aplay {SOUND} /dev/urandom"))?;
    let end = Instant::now() + PATIENCE;
    while loud(&heard)? == before {
        ensure!(Instant::now() < end, "nothing more was heard");
        guest.machine.wait_for_more(LOOK);
    }
    ends(&mut guest)?;
    // What QEMU had of it is in the file within a look.
    guest.machine.wait_for_more(LOOK);
    let after = loud(&heard)?;
    guest.machine.wait_for_more(LOOK * 4);
    ensure!(loud(&heard)? == after, "it is still heard");
    // The card is free: it records, and ends so as well.
    guest.start_room("p://tunes")?;
    guest.begin_in("p://tunes", &format!("arecord {SOUND} /recorded"))?;
    guest.run_in("p://tunes", "until [ -s /recorded ]; do sleep 0.1; done")?;
    ends(&mut guest)?;
    guest.never("^bay0 .*FAIL")?;
    guest.power_off()
}

/// Bytes of a recording that are not silence.
fn loud(file: &Path) -> Result<usize> {
    let all = fs::read(file)?;
    Ok(all.iter().skip(44).filter(|it| **it != 0).count())
}

/// Two hundred times from one room to the other, while a third one takes what it gets of the processors.
pub fn a14_two_hundred_changes_of_focus_show_the_right_picture_each_time(lab: &Lab) -> Result<()> {
    let mut seat = Seat::with(lab, DISPLAY)?;
    seat.guest.start_room("p://behind")?;
    seat.paints(RED, "")?;
    seat.paints(BLUE, "")?;
    for turn in 0..100 {
        for (room, colour) in [RED, BLUE] {
            seat.guest.machine.send_line(&format!("focus {room}"))?;
            seat.guest.says(&format!("room: {room} is in front"))?;
            seat.shows(colour)?;
            if turn % 10 == 0 {
                seat.guest.press(&[KEY.0])?;
                seat.guest.was_told(room, KEY.1, turn / 10 + 1)?;
            }
        }
    }
    for (room, _) in [RED, BLUE] {
        let keys = count(&seat.guest.told(room)?, KEY.1);
        ensure!(keys == 10, "{room} has read {keys} keys of its 10");
    }
    seat.guest.never("^bay0 .*FAIL")?;
    seat.guest.power_off()
}
