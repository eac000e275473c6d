//! The program between a host and the courier, with neither behind it: a stream in the place of the port, a connection in the place of
//! the courier's.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;

use bay0_persona::packet::{self, pair};
use bay0_state::gate::{DATA, DONE, END, HEAD, NOT, PACKET, SIZE};
use nix::sys::socket::MsgFlags;
use outside::Refused;
use portd::port::{LINE, Port};
use portd::session::serve;
use proptest::prelude::*;

const WAIT: MsgFlags = MsgFlags::empty();

/// What bay0 says to a line, once: its end of the connection, or a refusal.
type Answer = Result<OwnedFd, Refused>;

/// The program at work on one request: the host's end; when it has ended, what it has asked bay0.
fn portd(answer: Answer) -> (UnixStream, thread::JoinHandle<(Vec<String>, bool)>) {
    let (host, port) = UnixStream::pair().unwrap();
    let work = thread::spawn(move || {
        let (asked, answer) = (
            std::cell::RefCell::new(Vec::new()),
            std::cell::Cell::new(Some(answer)),
        );
        let mut port = Port::new(port.into()).unwrap();
        let ask = |line: &str| {
            asked.borrow_mut().push(line.to_owned());
            answer.take().unwrap()
        };
        let done = serve(&mut port, &ask).is_ok();
        (asked.into_inner(), done)
    });
    (host, work)
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

#[test]
fn u09_a_file_of_the_host_is_given_to_the_courier_whole_and_its_answer_passed_on() {
    for (answer, told) in [
        ((DONE, &b""[..]), "m ok\n"),
        (
            (NOT, b"the answer was no; next: none"),
            "m no the answer was no; next: none\n",
        ),
    ] {
        let (courier, theirs) = pair().unwrap();
        let (mut host, work) = portd(Ok(theirs));
        let file: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
        host.write_all(b"m send p://dev big.bin 200000\n").unwrap();
        let mut lines = BufReader::new(host.try_clone().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "m go");
        host.write_all(&file).unwrap();
        assert_eq!(packet_of(&courier), (SIZE, b"200000".to_vec()));
        let mut had = Vec::new();
        loop {
            match packet_of(&courier) {
                (DATA, data) => had.extend(data),
                (tag, _) => break assert_eq!(tag, END),
            }
        }
        assert!(had == file);
        say(&courier, answer.0, answer.1);
        assert_eq!(lines.next().unwrap().unwrap() + "\n", told);
        assert_eq!(
            work.join().unwrap(),
            (vec!["send p://dev big.bin".to_owned()], true)
        );
    }
}

#[test]
fn u09_a_file_for_the_host_is_confirmed_by_the_host_and_by_nobody_before() {
    for confirms in [true, false] {
        let (courier, theirs) = pair().unwrap();
        let (mut host, work) = portd(Ok(theirs));
        host.write_all(b"m receive p://dev note.txt\n").unwrap();
        let mut host_in = BufReader::new(host.try_clone().unwrap());
        let mut line = || {
            let mut line = String::new();
            host_in.read_line(&mut line).unwrap();
            line
        };
        assert_eq!(line(), "m waits\n");
        say(&courier, HEAD, b"p://dev note.txt 4 text 00ff");
        assert_eq!(line(), "m file note.txt 4 text 00ff\n");
        say(&courier, DATA, b"abc\n");
        say(&courier, END, b"");
        assert_eq!([line(), line(), line()], ["m data 4\n", "abc\n", "m end\n"]);
        if confirms {
            host.write_all(b"m ok\n").unwrap();
            assert_eq!(packet_of(&courier).0, DONE);
            assert_eq!(line(), "m ok\n");
        }
        drop((host, host_in));
        assert_eq!(work.join().unwrap(), (vec!["receive".to_owned()], confirms));
        let rest = packet::receive(&courier, &mut [0], WAIT).unwrap_or_default();
        assert_eq!(rest.0, 0, "nothing more is said for the host");
    }
}

#[test]
fn u09_what_another_room_gives_or_under_another_name_is_refused_both_ways() {
    for head in [
        "p://work note.txt 4 text 00ff",
        "p://dev notes.txt 4 text 00ff",
    ] {
        let (courier, theirs) = pair().unwrap();
        let (mut host, work) = portd(Ok(theirs));
        host.write_all(b"m receive p://dev note.txt\n").unwrap();
        say(&courier, HEAD, head.as_bytes());
        assert_eq!(packet_of(&courier).0, NOT);
        work.join().unwrap();
        let mut told = String::new();
        host.read_to_string(&mut told).unwrap();
        let from = head.split(' ').next().unwrap();
        assert_eq!(
            told,
            format!(
                "m waits\nm no p://dev was to give note.txt, and {from} gives another file; next: receive that\n"
            )
        );
    }
}

#[test]
fn u09_a_host_that_hangs_up_ends_it_and_the_room_s_connection() {
    let requests = [
        &b"m send p://dev x 100\nhalf"[..],
        b"m send p://dev",
        b"m receive p://dev x\n",
        b"m receive p://dev - \n",
    ];
    for request in requests {
        let (courier, theirs) = pair().unwrap();
        let (mut host, work) = portd(Ok(theirs));
        host.write_all(request).unwrap();
        drop(host);
        work.join().unwrap();
        let ends = || {
            packet::receive(&courier, &mut [0; 512], WAIT)
                .unwrap_or_default()
                .0
                == 0
        };
        assert!((0..3).any(|_| ends()));
    }
}

#[test]
fn u09_a_second_host_ends_what_the_first_has_begun_and_its_line_is_kept() {
    // Both are there before this program has run: no hang-up is seen between them.
    let (host, port) = UnixStream::pair().unwrap();
    let (courier, theirs) = pair().unwrap();
    let given = std::cell::RefCell::new(vec![Err(Refused("no such room".to_owned())), Ok(theirs)]);
    let ask = |_: &str| given.borrow_mut().pop().unwrap();
    (&host)
        .write_all(b"a receive p://dev x\nb send p://dev x 3\n")
        .unwrap();
    let mut port = Port::new(port.into()).unwrap();
    // The line that is there already is in its buffer; one that comes later wakes it.
    say(&courier, HEAD, b"p://dev x 1 text 00");
    say(&courier, END, b"");
    assert!(serve(&mut port, &ask).is_err());
    serve(&mut port, &ask).unwrap();
    drop(port);
    let mut told = String::new();
    (&host).read_to_string(&mut told).unwrap();
    assert_eq!(
        told,
        "a waits\na file x 1 text 00\na end\nb no no such room\n"
    );
}

#[test]
fn u09_what_bay0_refuses_the_host_is_told() {
    let (mut host, work) = portd(Err(Refused(
        "p://dev does not wait for a file; next: type bay0 receive there".to_owned(),
    )));
    host.write_all(b"m send p://dev x 3\n").unwrap();
    work.join().unwrap();
    let mut told = String::new();
    host.read_to_string(&mut told).unwrap();
    assert_eq!(
        told,
        "m no p://dev does not wait for a file; next: type bay0 receive there\n"
    );
}

proptest! {
    #[test]
    fn a16_whatever_the_host_sends_it_ends_and_asks_at_most_once(sent in any::<Vec<u8>>(), line in "[a-z]{0,8}( [ -~]{0,9}){0,4}", long in 0..2_usize) {
        for request in [sent, format!("{line}\n").into_bytes(), vec![b'x'; LINE * long]] {
            let (courier, theirs) = pair().unwrap();
            let (mut host, work) = portd(Ok(theirs));
            let _ = host.write_all(&request);
            drop((host, courier));
            prop_assert!(work.join().unwrap().0.len() <= 1);
        }
    }
}
