//! The parent with an engine that does what the prompt says, between a PID 1 and rooms that are the tests themselves.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

#[path = "../../testing/engine.rs"]
mod engine;

use std::os::fd::{AsFd, OwnedFd};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bay0_persona::PersonaName;
use bay0_persona::packet::{self, pair};
use bay0_state::gate::PACKET;
use bay0_umbilical::organ::{DONE, Done, Kind, NOT, Order, PIECE, Question, Report, WAITS};
pub use engine::Fake;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::MsgFlags;
use organd::engine::Engine;
use organd::frames::Asked;
use organd::parent::{Config, Parent, Room};

const WAIT: MsgFlags = MsgFlags::empty();
/// Longer than anything takes that is to come.
const LONG_MS: u16 = 20_000;

pub fn config(slots: usize) -> Config {
    Config {
        slots,
        room: Room {
            memory: 64 << 20,
            threads: 1,
        },
        patience: Duration::from_secs(5),
        token: Duration::from_secs(60),
    }
}

/// The parent at work, as PID 1 sees it.
pub struct Organ {
    pub pid1: OwnedFd,
    work: JoinHandle<bool>,
    next: u32,
}

impl Organ {
    pub fn new(slots: usize) -> Self {
        Self::with(Fake::new(), config(slots))
    }

    pub fn with<E: Engine + Send + 'static>(engine: E, config: Config) -> Self {
        let mut organ = Self::begun(Ok(engine), config);
        assert!(matches!(organ.report(), Report::Model { .. }));
        organ.next = 1;
        organ
    }

    pub fn begun<E: Engine + Send + 'static>(engine: Result<E, String>, config: Config) -> Self {
        let (pid1, theirs) = pair().unwrap();
        let work = thread::spawn(move || {
            let engine = engine.as_ref();
            let engine = engine.map(|it| it as &dyn Engine).map_err(String::clone);
            Parent::new(theirs, engine, config).serve().is_ok()
        });
        Self {
            pid1,
            work,
            next: 1,
        }
    }

    pub fn send(&self, order: &Order) {
        packet::send(&self.pid1, &[&order.encode()], None, WAIT).unwrap();
    }

    /// Hands a question over, of which nothing is said yet.
    pub fn open(&mut self, kind: Kind, max: u32, ttl: u32) -> Asking {
        self.open_for("p://dev", kind, max, ttl)
    }

    /// The same of this room.
    pub fn open_for(&mut self, name: &str, kind: Kind, max: u32, ttl: u32) -> Asking {
        let (room, theirs) = pair().unwrap();
        let question = Question {
            id: self.next,
            room: PersonaName::parse(name).unwrap(),
            kind,
            max,
            context: 2048,
            ttl,
        };
        self.next += 1;
        let id = question.id;
        let order = Order::Answer(question).encode();
        packet::send(&self.pid1, &[&order], Some(&theirs), WAIT).unwrap();
        Asking { id, room }
    }

    pub fn ask(&mut self, prompt: &str) -> Asking {
        let asking = self.open(Kind::Ask, 1000, 60);
        asking.say(&Asked {
            prompt: prompt.to_owned(),
            ..Asked::default()
        });
        asking
    }

    /// What the organ says next.
    pub fn report(&mut self) -> Report {
        let packet = next(&self.pid1).unwrap_or_else(|| panic!("no report"));
        Report::decode(&packet).unwrap_or_else(|| panic!("{packet:?}"))
    }

    /// The next question that has ended.
    pub fn ended(&mut self) -> (u32, Done) {
        match self.report() {
            Report::Ended(id, done) => (id, done),
            other => panic!("{other:?}"),
        }
    }

    /// Nothing is said for so long.
    pub fn is_silent(&self, ms: u16) -> bool {
        !is_readable(&self.pid1, ms)
    }

    /// PID 1 hangs up, and the parent ends.
    pub fn end(self) {
        drop(self.pid1);
        assert!(self.work.join().unwrap());
    }
}

/// A question, as its room sees it.
pub struct Asking {
    pub id: u32,
    pub room: OwnedFd,
}

/// What a room reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    Waits(u64),
    Piece(String),
    Done(Done),
    Not(String),
    HungUp,
}

impl Asking {
    pub fn say(&self, asked: &Asked) {
        for packet in asked.packets() {
            self.send(&packet);
        }
    }

    pub fn send(&self, bytes: &[u8]) {
        let _ = packet::send(&self.room, &[bytes], None, WAIT);
    }

    pub fn read(&self) -> Read {
        let Some(packet) = next(&self.room) else {
            return Read::HungUp;
        };
        let (tag, data) = packet.split_first().unwrap();
        let text = String::from_utf8(data.to_vec()).unwrap();
        match *tag {
            WAITS => Read::Waits(text.parse().unwrap()),
            PIECE => Read::Piece(text),
            DONE => Read::Done(Done::decode(data).unwrap()),
            NOT => Read::Not(text),
            tag => panic!("{tag}"),
        }
    }

    /// All that comes, joined, and how it ends.
    pub fn answer(&self) -> (String, Read) {
        let mut text = String::new();
        loop {
            match self.read() {
                Read::Piece(piece) => text += &piece,
                Read::Waits(_) => {}
                end => return (text, end),
            }
        }
    }

    pub fn is_silent(&self, ms: u16) -> bool {
        !is_readable(&self.room, ms)
    }
}

fn is_readable(end: &OwnedFd, ms: u16) -> bool {
    let mut fds = [PollFd::new(end.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(ms)).unwrap() > 0
}

/// The next packet; none at the end.
fn next(end: &OwnedFd) -> Option<Vec<u8>> {
    assert!(is_readable(end, LONG_MS), "nothing comes");
    let mut packet = vec![0; PACKET];
    let (length, _) = packet::receive(end, &mut packet, WAIT).unwrap();
    packet.truncate(length);
    (length > 0).then_some(packet)
}

/// Whether it comes to be within some seconds.
pub fn becomes(is: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    while !is() {
        if begun.elapsed() > Duration::from_secs(20) {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}
