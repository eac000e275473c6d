//! The program between an end of bay0's and a compositor that speaks seatd's protocol, over real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    reason = "a test may have threads, and ends where something is wrong"
)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use bay0_persona::packet;
use nix::sys::socket::MsgFlags;
use seat::run::{Config, Run, Trouble};

/// A room, its bay0 and its compositor.
struct Room {
    root: tempfile::TempDir,
    bay0: OwnedFd,
    serves: JoinHandle<Result<i32, Trouble>>,
}

impl Room {
    fn new(command: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let (bay0, end) = packet::pair().unwrap();
        let config = Config {
            command: command.iter().map(Into::into).collect(),
            socket: root.path().join("socket"),
            root: root.path().to_owned(),
            folders: vec![root.path().join("run/user")],
            user: None,
        };
        let serves = std::thread::spawn(move || Run::new(end, config)?.serve());
        Self { root, bay0, serves }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn say(&self, text: &str, fd: Option<&OwnedFd>) {
        packet::send(&self.bay0, &[text.as_bytes()], fd, MsgFlags::empty()).unwrap();
    }

    fn connect(&self) -> UnixStream {
        let stream = until(|| UnixStream::connect(self.path("socket")).ok());
        let limit = Some(Duration::from_secs(10));
        stream.set_read_timeout(limit).unwrap();
        stream
    }
}

fn until<T>(mut there: impl FnMut() -> Option<T>) -> T {
    for _ in 0..500 {
        if let Some(it) = there() {
            return it;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("it did not come");
}

fn device() -> OwnedFd {
    File::open("/dev/zero").unwrap().into()
}

fn ask(stream: &mut UnixStream, kind: u16, body: &[u8]) {
    let length = u16::try_from(body.len()).unwrap();
    let message = [&kind.to_ne_bytes(), &length.to_ne_bytes(), body].concat();
    stream.write_all(&message).unwrap();
}

fn open(stream: &mut UnixStream, path: &str) {
    let path = [path.as_bytes(), &[0]].concat();
    let length = u16::try_from(path.len()).unwrap().to_ne_bytes();
    ask(stream, 3, &[&length[..], &path].concat());
}

/// The next message: its kind without the mark of an answer, and what follows.
fn hear(stream: &mut UnixStream) -> (u16, Vec<u8>) {
    let mut header = [0; 4];
    stream.read_exact(&mut header).unwrap();
    let mut body = vec![0; u16::from_ne_bytes([header[2], header[3]]).into()];
    stream.read_exact(&mut body).unwrap();
    (u16::from_ne_bytes([header[0], header[1]]) & 0x7fff, body)
}

/// An answer that brings a descriptor.
fn receive(stream: &UnixStream) -> (u16, Option<OwnedFd>) {
    let mut buffer = [0; 8];
    let (length, fd) = packet::receive(stream, &mut buffer, MsgFlags::empty()).unwrap();
    assert_eq!(length, 8);
    (u16::from_ne_bytes([buffer[0], buffer[1]]) & 0x7fff, fd)
}

fn is(fd: &OwnedFd, device: &OwnedFd) -> bool {
    let inode = |fd: &OwnedFd| {
        let file = fs::metadata(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
        (file.dev(), file.ino())
    };
    inode(fd) == inode(device)
}

#[test]
fn t05_a_compositor_starts_in_front_gets_its_display_and_stops_when_the_room_was_behind() {
    let room = Room::new(&["/bin/sh", "-c", "exec sleep 30"]);
    let mut compositor = room.connect();
    let display = device();
    room.say("screen card7", Some(&display));
    room.say("front", None);
    let listed = room.path("sys/class/drm/card7/uevent");
    let uevent = until(|| fs::read_to_string(&listed).ok().filter(|it| !it.is_empty()));
    assert_eq!(uevent, "MAJOR=1\nMINOR=5\nDEVNAME=dri/card7\n");
    ask(&mut compositor, 1, &[]);
    assert_eq!(hear(&mut compositor), (1, b"\x06\x00seat0\0".to_vec()));
    assert_eq!(hear(&mut compositor).0, 6);
    open(&mut compositor, "/dev/dri/card7");
    let (kind, fd) = receive(&compositor);
    assert_eq!(kind, 3);
    assert!(is(&fd.unwrap(), &display));
    open(&mut compositor, "/dev/dri/card0");
    assert_eq!(
        hear(&mut compositor),
        (0x7fff, 2_i32.to_ne_bytes().to_vec())
    );
    room.say("away", None);
    assert_eq!(hear(&mut compositor).0, 5);
    room.say("front", None);
    ask(&mut compositor, 5, &[]);
    assert_eq!(hear(&mut compositor).0, 6);
    room.say("gone card7", None);
    assert_eq!(hear(&mut compositor).0, 5);
    assert!(!listed.exists());
    // bay0 hangs up: nothing is left to be done.
    drop(room.bay0);
    assert!(matches!(room.serves.join().unwrap(), Err(Trouble::Taken)));
}

#[test]
fn a14_it_ends_when_the_compositor_does_and_says_with_what() {
    for (command, code) in [("exit 7", 7), ("kill -9 $$", 137)] {
        let room = Room::new(&["/bin/sh", "-c", command]);
        room.say("screen card0", Some(&device()));
        room.say("front", None);
        assert_eq!(room.serves.join().unwrap().unwrap(), code);
    }
    let room = Room::new(&["/no/such/program"]);
    room.say("screen card0", Some(&device()));
    room.say("front", None);
    let why = room.serves.join().unwrap().unwrap_err().to_string();
    assert!(
        why.starts_with("start the compositor: No such file"),
        "{why}"
    );
}

#[test]
fn c12_who_speaks_another_protocol_is_hung_up_on_and_another_one_is_served() {
    let room = Room::new(&["/bin/sleep", "30"]);
    let mut garbled = room.connect();
    garbled.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(garbled.read(&mut [0; 8]).unwrap_or(0), 0);
    let mut compositor = until(|| {
        let mut stream = room.connect();
        ask(&mut stream, 7, &[]);
        let mut header = [0; 4];
        stream.read_exact(&mut header).is_ok().then_some(stream)
    });
    ask(&mut compositor, 1, &[]);
    assert_eq!(hear(&mut compositor).0, 1);
}

#[test]
fn a14_without_a_display_no_compositor_is_started() {
    let room = Room::new(&["/bin/sh", "-c", "exit 3"]);
    room.say("front", None);
    room.say("away", None);
    std::thread::sleep(Duration::from_millis(300));
    assert!(!room.serves.is_finished());
    room.say("screen card0", Some(&device()));
    room.say("front", None);
    assert_eq!(room.serves.join().unwrap().unwrap(), 3);
}
