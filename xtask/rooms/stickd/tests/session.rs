//! The program between a person and the courier, with neither a stick nor bay0: an image in the place of the one, connections in the place
//! of the other.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs
)]

mod common;

use std::cell::RefCell;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::thread::{self, JoinHandle};

use bay0_persona::packet::{self, pair};
use bay0_state::gate::{ASKED, DATA, DONE, END, HEAD, NOT, PACKET, SIZE};
use bay0_state::{hex, sha256};
use common::{Image, big, mtype};
use nix::sys::socket::MsgFlags;
use outside::Refused;
use stickd::session::{Person, serve};

const WAIT: MsgFlags = MsgFlags::empty();

/// What bay0 gives for each line.
type Answer = Result<OwnedFd, Refused>;

/// The program at work: where a person types, and what was asked and shown by its end.
fn stickd(answers: Vec<Answer>) -> (std::io::PipeWriter, JoinHandle<(Vec<String>, String)>) {
    let (typed, types) = std::io::pipe().unwrap();
    let work = thread::spawn(move || {
        let (asked, answers) = (RefCell::new(Vec::new()), RefCell::new(answers.into_iter()));
        let ask = |line: &str| {
            asked.borrow_mut().push(line.to_owned());
            answers.borrow_mut().next().unwrap()
        };
        let mut shown = Vec::new();
        serve(Person::new(typed.into(), &mut shown), &ask);
        (asked.into_inner(), String::from_utf8(shown).unwrap())
    });
    (types, work)
}

/// What `device stick` gives: a connection that the stick comes by.
fn stick(image: &Image) -> Answer {
    let (ours, theirs) = pair().unwrap();
    packet::send(&ours, &[&[DONE]], Some(&image.open().into()), WAIT).unwrap();
    Ok(theirs)
}

/// The same once a person has allowed it, or this answer of one that has not.
fn asked(then: Result<&Image, &str>) -> Answer {
    let (ours, theirs) = pair().unwrap();
    say(&ours, ASKED, b"");
    match then {
        Ok(image) => packet::send(&ours, &[&[DONE]], Some(&image.open().into()), WAIT).unwrap(),
        Err(why) => say(&ours, NOT, why.as_bytes()),
    }
    Ok(theirs)
}

fn refusal(why: &str) -> Answer {
    let (ours, theirs) = pair().unwrap();
    say(&ours, NOT, why.as_bytes());
    Ok(theirs)
}

fn packet_of(end: &OwnedFd) -> (u8, Vec<u8>) {
    let mut packet = vec![0; PACKET];
    let (length, _) = packet::receive(end, &mut packet, WAIT).unwrap();
    let (tag, data) = packet[..length].split_first().unwrap();
    (*tag, data.to_vec())
}

fn say(end: &OwnedFd, tag: u8, data: &[u8]) {
    packet::send(end, &[&[tag], data], None, WAIT).unwrap();
}

fn small() -> Image {
    Image::fat(2, &["-T", "4096"])
}

#[test]
fn u09_a_file_of_the_stick_is_given_to_the_courier_whole_under_a_name_of_the_gates() {
    for (image, file) in [
        (small(), "papers/a\\x20long\\x20name.bin"),
        (Image::exfat(16), "papers/a\\x20long\\x20name.bin"),
    ] {
        let (courier, theirs) = pair().unwrap();
        let (mut types, work) = stickd(vec![stick(&image), Ok(theirs)]);
        // Under a name that is none nothing is asked.
        write!(types, "give papers/.x p://dev\ngive {file} p://dev\n").unwrap();
        assert_eq!(packet_of(&courier), (SIZE, b"200000".to_vec()));
        let mut had = Vec::new();
        loop {
            match packet_of(&courier) {
                (DATA, data) => had.extend(data),
                (tag, _) => break assert_eq!(tag, END),
            }
        }
        assert!(had == big());
        say(&courier, DONE, b"");
        drop(types);
        let (asked, shown) = work.join().unwrap();
        assert_eq!(
            asked,
            ["device stick", "send p://dev a\\x20long\\x20name.bin"]
        );
        assert!(
            shown.contains("no: .x is no name that a file passes under, "),
            "{shown}"
        );
        assert!(
            shown.ends_with("p://dev has a\\x20long\\x20name.bin: 200000 bytes\nstick> "),
            "{shown}"
        );
    }
}

#[test]
fn u09_what_a_room_gives_is_confirmed_when_it_is_on_the_stick_and_else_refused() {
    let (digest, other) = (hex(&sha256(&[&big()])), hex(&sha256(&[b"other"])));
    for (digest, name, answer, told) in [
        (
            &digest,
            "new.bin",
            DONE,
            "new.bin of p://dev is on the stick: 200000 bytes\n",
        ),
        (
            &other,
            "new.bin",
            NOT,
            "no: it is not what was allowed; next: send it again\n",
        ),
        (
            &digest,
            "Note.txt",
            NOT,
            "no: Note.txt is on the stick already; next: take NAME, another one\n",
        ),
    ] {
        let image = small();
        let (courier, theirs) = pair().unwrap();
        let (mut types, work) = stickd(vec![stick(&image), Ok(theirs)]);
        types.write_all(b"take\n").unwrap();
        say(
            &courier,
            HEAD,
            format!("p://dev {name} 200000 other {digest}").as_bytes(),
        );
        for piece in big().chunks(50_000) {
            // Whoever has refused it hangs up.
            let _ = packet::send(&courier, &[&[DATA], piece], None, WAIT);
        }
        let _ = packet::send(&courier, &[&[END]], None, WAIT);
        assert_eq!(packet_of(&courier).0, answer, "{told}");
        drop(types);
        let (asked, shown) = work.join().unwrap();
        assert_eq!(asked, ["device stick", "receive"]);
        assert!(shown.contains(told), "{shown}");
        if answer == DONE {
            assert!(mtype(&image.path(), "::new.bin", &image.beside("back")) == big());
        }
        common::run("fsck.fat", &["-n", &image.text()]);
    }
}

#[test]
fn u09_each_command_that_comes_to_nothing_says_why_and_the_next_one_is_served() {
    let exfat = Image::exfat(16);
    let (courier, waits) = pair().unwrap();
    let answers = vec![
        refusal("no stick is there; next: plug one in"),
        stick(&exfat),
        Err(Refused("not now; next: wait".to_owned())),
        stick(&small()),
        Ok(waits),
    ];
    let (mut types, work) = stickd(answers);
    types
        .write_all(b"list\ntake\nlist\nstart\ngive x\ntake /x\n\n\xff\nend\ntake\n\n")
        .unwrap();
    drop(types);
    let (asked, shown) = work.join().unwrap();
    drop(courier);
    let devices = ["device stick"; 4];
    assert_eq!(asked, [&devices[..], &["receive"]].concat());
    let lines: Vec<&str> = shown
        .lines()
        .map(|it| it.trim_start_matches("stick> "))
        .collect();
    assert_eq!(
        lines,
        [
            "files of a USB stick; type help",
            "no: no stick is there; next: plug one in",
            "no: nothing can be put on this stick: it has exFAT, which is only read here; next: take another one",
            "no: not now; next: wait",
            "no: not a command; next: type help",
            "no: not a command; next: type help",
            "no: /x is no name that a file passes under, or that a stick can have; next: add another NAME",
            "nothing of the stick is open: it may be pulled",
            "waits for a file; Enter ends that. In the room: bay0 send stick NAME <FILE",
            "no: ended; next: none",
            "",
        ]
    );
}

#[test]
fn a04_a_person_is_asked_about_the_stick_and_no_is_no() {
    let image = small();
    let no = "the answer was no; next: none";
    let (mut types, work) = stickd(vec![asked(Err(no)), asked(Ok(&image))]);
    types.write_all(b"list\nlist\n").unwrap();
    drop(types);
    let shown = work.join().unwrap().1;
    let lines: Vec<&str> = shown.lines().collect();
    let is_asked = "stick> a person is asked at the operator line whether this room may have the stick: Ctrl-] leads there";
    assert_eq!(
        lines[1..4],
        [is_asked, "no: the answer was no; next: none", is_asked]
    );
    assert!(shown.contains("        folder  papers/\n"), "{shown}");
}

#[test]
fn u09_a_list_shows_names_that_a_terminal_cannot_obey() {
    let image = Image::exfat(16);
    let (mut types, work) = stickd(vec![stick(&image)]);
    types.write_all(b"list\n").unwrap();
    drop(types);
    let shown = work.join().unwrap().1;
    assert!(
        shown
            .bytes()
            .all(|it| it.is_ascii_graphic() || matches!(it, b' ' | b'\n'))
    );
    assert!(
        shown.contains("        200000  gr\\xc3\\xbc\\xc3\\x9fe\\x20\\xf0\\x9f\\x98\\x80\\x20with"),
        "{shown}"
    );
    assert!(shown.contains("        folder  papers/\n"), "{shown}");
}
