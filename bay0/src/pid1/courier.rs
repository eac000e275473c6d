//! Files from one room to another, when a person says so (A03, decision 25): one at a time, asked each time, nothing remembered.
//! What a room has to do with it is a connection; who reads it is a process of its own ([`crate::courier`]).
//!
//! | stage | the room that gives | the room that takes | goes on when | ends without when |
//! | --- | --- | --- | --- | --- |
//! | reading | in front | waits, frozen or not | all of it is in sealed memory | [`READING`] |
//! | asking | frozen | | the three letters are typed, or the policies ask nobody | Enter alone; [`ASKING`] |
//! | recording | frozen | | the record is on the disk | it is refused; [`DELIVERING`] since the answer, longer for what is large |
//! | delivering | frozen | thawed | it has confirmed all of it | the same [`DELIVERING`] |
//!
//! In each stage it ends without when the courier, or the room that takes, does; up to the answer also when the one that gives does.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use bay0_persona::filename::name_of;
use bay0_persona::packet::{pair, receive, send};
use bay0_persona::{Child, GROUPS, Grant, Group, PersonaName, Policy, spawn};
use bay0_state::gate::{DONE, HEAD};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::MsgFlags;

use super::console::Console;
use super::id::RoomId;
use super::pace::{Pace, Rest, after};
use super::poll::{Poll, Source};
use super::question::{No, Question, REST};
use super::rooms::Rooms;
use super::say::Log;
use super::wishes::refuse;
use crate::courier::{APART, Content, Told, allow, run};

/// Longest that a room may take to send a file.
const READING: Duration = Duration::from_secs(600);
/// Longest from the answer to the end, and as much again for each so many bytes: an emulated machine moves 10 MB a second.
const DELIVERING: Duration = Duration::from_secs(5);
const MORE: u64 = 32 << 20;
/// As long as [`REST`] where it came to nothing otherwise: each try may freeze and thaw rooms, which PID 1 waits for.
const PAUSE: Duration = Duration::from_secs(1);
/// How many files without a question pass at once; then one in each of these, or the log would be full of them.
const AT_ONCE: u32 = 16;
const EACH: Duration = Duration::from_secs(1);
/// Memory of the courier beside the file, in bytes, and of the kernel's for each so many of the file: it keeps 576 for 64 pages of it.
const OWN: u64 = 8 << 20;
const KEPT: u64 = 256;
/// Longest that what the last one has left may take to go.
const UNDO: Duration = Duration::from_millis(500);
/// The group that bounds it.
const GROUP: &str = "courier";
/// Longest name of a file that a question shows whole.
const SHOWN: usize = 40;
const NOW: MsgFlags = MsgFlags::MSG_DONTWAIT;

/// What two policies let one room give the other.
#[derive(Debug, PartialEq, Eq)]
struct Terms {
    bytes: u64,
    kinds: u64,
    asks: bool,
}

impl Terms {
    /// What both agree on. Without a question a file only goes to a room that is trusted less.
    ///
    /// # Errors
    /// One of them does not let it.
    fn of(giver: &Policy, taker: &Policy) -> Result<Self> {
        ensure!(
            giver.to.contains(&taker.name),
            "{} is not in courier.to of this room's policy; next: write it there",
            taker.name
        );
        ensure!(
            taker.from.contains(&giver.name),
            "{} takes nothing from this room; next: write it into courier.from of its policy",
            taker.name
        );
        let both = |grant| (giver.get(grant), taker.get(grant));
        let (silent, kinds) = (both(Grant::CourierSilent), both(Grant::CourierTypes));
        let (bytes, trust) = (both(Grant::CourierBytes), both(Grant::Trust));
        Ok(Self {
            bytes: bytes.0.min(bytes.1),
            kinds: kinds.0 & kinds.1,
            asks: silent != (1, 1) || trust.0 <= trust.1,
        })
    }
}

/// How far it is.
enum Stage {
    Reading,
    Asking(Question),
    Recording { lines: usize },
    Delivering,
}

/// One file on its way.
struct Transfer {
    /// Of this boot's.
    number: u64,
    giver: RoomId,
    taker: RoomId,
    names: [PersonaName; 2],
    file: String,
    terms: Terms,
    /// Our end of the connection with the room that gives it; the courier has it as well.
    room: OwnedFd,
    child: Child,
    control: OwnedFd,
    content: Option<Content>,
    stage: Stage,
    /// When the stage ends without.
    until: Instant,
    /// When it was allowed, or began.
    since: Instant,
}

/// What waits for a file, and the file that is on its way.
#[derive(Default)]
pub struct Courier {
    /// Our ends of the connections of rooms that wait for one.
    waiting: BTreeMap<RoomId, OwnedFd>,
    transfer: Option<Transfer>,
    /// After a file that was not delivered.
    rest: Rest,
    /// Of files without a question.
    pace: Pace,
    count: u64,
}

impl Courier {
    /// Has a room in front wait for a file from now on, until it hangs up: its end of the connection.
    ///
    /// # Errors
    /// Its policy lets it take none, it is not in front, or it waits already.
    pub fn receive(&mut self, id: RoomId, policy: &Policy, is_front: bool) -> Result<OwnedFd> {
        ensure!(
            !policy.from.is_empty(),
            "this room may take no files; next: write courier in its policy"
        );
        ensure!(
            is_front,
            "this room is not in front; next: type it when it is"
        );
        let waits = self.waiting.get(&id).is_some_and(is_there);
        ensure!(
            !waits,
            "this room waits for a file already; next: end the other bay0 receive"
        );
        let (ours, theirs) = pair().context("make a socket")?;
        self.waiting.insert(id, ours);
        Ok(theirs)
    }

    /// Begins to take a file from the room in front, for another one: the room's end of the connection.
    ///
    /// # Errors
    /// Why it may not give it, or not now.
    pub fn send(
        &mut self,
        (giver, from): (RoomId, &Policy),
        (taker, to): (RoomId, &Policy),
        file: String,
        can_ask: bool,
        poll: &mut Poll,
    ) -> Result<OwnedFd> {
        let terms = Terms::of(from, to)?;
        ensure!(
            !to.name.is_in(&from.name),
            "{} is in this room; next: give it the file there",
            to.name
        );
        ensure!(
            self.transfer.is_none(),
            "not now: another file is on its way; next: try again"
        );
        ensure!(
            can_ask || !terms.asks,
            "not now: nobody can be asked; next: try again when the operator line is there"
        );
        ensure!(
            terms.asks || self.pace.allows(AT_ONCE, EACH),
            "not now: too many files without a question; next: try again in a second"
        );
        let waits = self.waiting.get(&taker).is_some_and(is_there);
        ensure!(
            waits,
            "{} does not wait for a file; next: type bay0 receive there",
            to.name
        );
        if let Some(seconds) = self.rest.seconds(giver) {
            bail!("not now: the last file was not delivered, {seconds} s left; next: wait");
        }
        let (room, theirs) = pair().context("make a socket")?;
        let (control, other) = pair().context("make a socket")?;
        let child = start(&room, &other, terms.bytes)?;
        poll.watch(&control, Source::Courier)?;
        if !terms.asks {
            self.pace.take(EACH);
        }
        self.count = self.count.saturating_add(1);
        self.transfer = Some(Transfer {
            number: self.count,
            giver,
            taker,
            names: [from.name.clone(), to.name.clone()],
            file,
            terms,
            room,
            child,
            control,
            content: None,
            stage: Stage::Reading,
            until: after(READING),
            since: Instant::now(),
        });
        Ok(theirs)
    }

    /// How long a turn may wait until a stage ends.
    pub fn longest(&self) -> Option<Duration> {
        let transfer = self.transfer.as_ref()?;
        Some(transfer.until.saturating_duration_since(Instant::now()))
    }

    /// Whether a file is on its way.
    pub fn is_busy(&self) -> bool {
        self.transfer.is_some()
    }

    /// Whether a question is asked.
    pub fn asks(&self) -> bool {
        let stage = self.transfer.as_ref().map(|it| &it.stage);
        matches!(stage, Some(Stage::Asking(_)))
    }

    /// Goes on with what the courier has told.
    pub fn heard(&mut self, rooms: &mut Rooms, console: &mut Console, log: &mut Log) {
        let Some(transfer) = &mut self.transfer else {
            return;
        };
        let mut packet = [0; 512];
        let (length, _) = match receive(&transfer.control, &mut packet, NOW) {
            Err(nix::errno::Errno::EAGAIN) => return,
            told => told.unwrap_or_default(),
        };
        let told = packet.get(..length).and_then(Told::decode);
        let done = match (told, &transfer.stage) {
            (Some(Told::Read(content)), Stage::Reading) => {
                transfer.read(content, rooms, console, log)
            }
            (Some(Told::Delivered), Stage::Delivering) => return self.delivered(rooms, log),
            (Some(Told::Failed(why)), _) => Err(Error::msg(why)),
            _ => Err(anyhow!("the courier has ended; next: send it again")),
        };
        self.unless(done, rooms, console, log);
    }

    /// In each turn: ends what is late or has lost a room, and delivers what is recorded.
    pub fn tend(&mut self, rooms: &mut Rooms, console: &mut Console, log: &mut Log) {
        let Some(transfer) = &mut self.transfer else {
            return;
        };
        let (giver, taker) = (transfer.giver, transfer.taker);
        let late = Instant::now() >= transfer.until;
        let done = match &transfer.stage {
            Stage::Asking(_) if late => Err(No.into()),
            Stage::Reading if late => Err(anyhow!("it was not sent in time; next: send it again")),
            _ if late => Err(anyhow!("it took too long; next: send it again")),
            Stage::Reading | Stage::Asking(_) if !rooms.may_move(giver) => Err(anyhow!(
                "the room is not in front any more; next: send it again"
            )),
            _ if rooms.room(taker).is_none() => {
                Err(anyhow!("the other room has ended; next: start it"))
            }
            Stage::Recording { lines } if log.has_given(*lines) => {
                match self.waiting.remove(&taker).filter(is_there) {
                    Some(end) => transfer.deliver(&end, rooms),
                    None => Err(anyhow!(
                        "the other room waits no more; next: type bay0 receive there"
                    )),
                }
            }
            _ => Ok(()),
        };
        self.unless(done, rooms, console, log);
    }

    /// Takes the answer to a question; a text to be shown if it is none.
    pub fn answer(
        &mut self,
        typed: &str,
        rooms: &mut Rooms,
        console: &mut Console,
        log: &mut Log,
    ) -> &'static str {
        let Some(transfer) = &mut self.transfer else {
            return "";
        };
        let Stage::Asking(question) = &transfer.stage else {
            return "";
        };
        let done = match question.answer(typed) {
            Ok(true) => {
                console.ask(None, log);
                let size = transfer.content.as_ref().map_or(0, |it| it.size);
                transfer.allow("typed", size, log);
                Ok(())
            }
            Ok(false) => Err(No.into()),
            Err(other) => return other,
        };
        self.unless(done, rooms, console, log);
        ""
    }

    /// The log has refused its record: nothing is delivered without one.
    pub fn unrecorded(&mut self, rooms: &mut Rooms, console: &mut Console, log: &mut Log) {
        let stage = self.transfer.as_ref().map(|it| &it.stage);
        if matches!(stage, Some(Stage::Recording { .. })) {
            let why = Err(anyhow!("its record was refused; next: see status"));
            self.unless(why, rooms, console, log);
        }
    }

    fn delivered(&mut self, rooms: &mut Rooms, log: &mut Log) {
        if let Some(transfer) = self.transfer.take() {
            let ms = transfer.since.elapsed().as_millis();
            log.say(format!("courier: {} delivered ({ms} ms)", transfer.number));
            let _ = send(&transfer.room, &[&[DONE]], None, NOW);
            transfer.release(rooms);
        }
    }

    /// Ends the transfer if this failed: the room that gives, and the log, are told why.
    fn unless(
        &mut self,
        done: Result<()>,
        rooms: &mut Rooms,
        console: &mut Console,
        log: &mut Log,
    ) {
        let Err(why) = done else {
            return;
        };
        console.ask(None, log);
        if let Some(transfer) = self.transfer.take() {
            let number = transfer.number;
            let was_asked = matches!(transfer.stage, Stage::Asking(_));
            let (fail, rest) = weight(&why, was_asked);
            if transfer.content.is_none() {
                log.say(transfer.between());
            }
            log.say(format!("courier: {fail}{number} not delivered: {why}"));
            self.rest.begin(transfer.giver, rest);
            let _ = transfer.child.kill();
            refuse(&transfer.room, &why.to_string());
            transfer.release(rooms);
        }
    }
}

impl Transfer {
    /// The first line of its record.
    fn between(&self) -> String {
        let (number, [from, to]) = (self.number, &self.names);
        format!("courier: {number} from {from} to {to}")
    }

    /// All of the file is there: the room that gives it stands still from now on, and a person is asked, or nobody.
    fn read(
        &mut self,
        content: Content,
        rooms: &mut Rooms,
        console: &mut Console,
        log: &mut Log,
    ) -> Result<()> {
        let (kind, size) = (content.kind, content.size);
        let fits = self.terms.kinds & kind.bit() != 0 && size <= self.terms.bytes;
        ensure!(
            fits,
            "the policies let no file of {kind} pass; next: see courier.types"
        );
        rooms.hold(self.giver)?;
        let (number, [from, to], file) = (self.number, &self.names, &self.file);
        log.say(self.between());
        let digest = &content.digest;
        log.say(format!(
            "courier: {number} {file}: {size} bytes, {kind}, sha256 {digest}"
        ));
        if self.terms.asks {
            let file = shown(file);
            let what = format!("{from} asks to give {to} the file {file}: {size} bytes, {kind}");
            let question = Question::ask(&what, console, log)?;
            self.until = question.until;
            self.stage = Stage::Asking(question);
        } else {
            self.allow("by the policies", size, log);
        }
        self.content = Some(content);
        Ok(())
    }

    /// It may pass, once that is recorded.
    fn allow(&mut self, by: &str, size: u64, log: &mut Log) {
        log.say(format!("courier: {} allowed, {by}", self.number));
        let lines = log.said();
        self.stage = Stage::Recording { lines };
        (self.since, self.until) = (Instant::now(), after(delivering(size)));
    }

    /// The room that takes it wakes, is told what comes, and gets it from the courier.
    fn deliver(&mut self, taker: &OwnedFd, rooms: &mut Rooms) -> Result<()> {
        rooms.wake(self.taker)?;
        self.stage = Stage::Delivering;
        let content = self.content.as_ref().context("no file")?;
        let Content { size, kind, digest } = content;
        let ([from, _], file) = (&self.names, &self.file);
        let told = format!("{from} {file} {size} {kind} {digest}");
        send(taker, &[&[HEAD], told.as_bytes()], None, NOW).context("tell the other room")?;
        allow(&self.control, taker).context("tell the courier")
    }

    /// Both rooms are as the focus has them, and nothing is left of the courier.
    fn release(self, rooms: &mut Rooms) {
        rooms.settle(self.giver);
        rooms.settle(self.taker);
    }
}

/// Starts the process, in a group and namespaces of its own.
fn start(room: &OwnedFd, control: &OwnedFd, most: u64) -> Result<Child> {
    let parent = Path::new(GROUPS);
    // What the last one has left.
    let _ = Group::open(parent.join(GROUP)).map(|it| it.remove(UNDO));
    let group = Group::create(parent, GROUP)?;
    group.limit_one(memory(most))?;
    let keep = [room.as_raw_fd(), control.as_raw_fd()];
    let child = spawn(Some(&group.dir), APART, &keep, || run(room, control, most));
    child.context("start the courier")
}

/// A name as a question shows it: a long one is cut in the middle, between two of its bytes.
fn shown(file: &str) -> String {
    let length = name_of(file).map_or(0, |it| it.len());
    if file.len() <= SHOWN {
        return file.to_owned();
    }
    // Nothing may follow from half of a `\xNN`.
    let whole = |at: &usize| {
        (at.saturating_sub(3)..*at).all(|it| file.get(it..it.saturating_add(1)) != Some("\\"))
    };
    let half = SHOWN / 2;
    let first = (0..=half).rev().find(whole).unwrap_or(0);
    let last = (file.len().saturating_sub(half)..=file.len()).find(whole);
    let (first, last) = (file.get(..first), last.and_then(|at| file.get(at..)));
    let (first, last) = (first.unwrap_or_default(), last.unwrap_or_default());
    format!("{first}...{last} ({length} bytes)")
}

/// Most memory of a courier for a file of this size.
fn memory(most: u64) -> u64 {
    most.saturating_add(OWN).saturating_add(most / KEPT)
}

/// What a reason is said after, and how long the room that gives rests then: a no is no failure, and whoever takes back what somebody is asked
/// about rests as long, or questions without end would be in the place of the operator line.
fn weight(why: &Error, was_asked: bool) -> (&'static str, Duration) {
    let fail = if why.is::<No>() { "" } else { "FAIL: " };
    (fail, if was_asked { REST } else { PAUSE })
}

/// How long a file of this size may take from the answer on.
fn delivering(size: u64) -> Duration {
    let more = u32::try_from(size / MORE).unwrap_or(u32::MAX);
    DELIVERING.saturating_mul(more.saturating_add(1))
}

/// Whether the room at the other end has not hung up.
fn is_there(end: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(end.as_fd(), PollFlags::POLLHUP)];
    matches!(poll(&mut fds, PollTimeout::ZERO), Ok(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bay0_persona::policy::Numbers;

    /// What the courier asks a policy for, in the order of the figures below.
    const FIGURES: [Grant; 4] = [
        Grant::CourierBytes,
        Grant::CourierTypes,
        Grant::CourierSilent,
        Grant::Trust,
    ];

    /// A policy of this name with these figures: bytes, kinds, silent, trust.
    fn policy(name: &str, to: &str, from: &str, figures: [u64; 4]) -> Policy {
        let mut numbers: Numbers = [0; _];
        for (grant, figure) in FIGURES.into_iter().zip(figures) {
            numbers[grant as usize] = figure;
        }
        let numbers = numbers.map(|number| number.to_string());
        let mut columns = vec![name, "i", "/x", "", to, from];
        columns.extend(numbers.iter().map(String::as_str));
        Policy::parse(&columns).unwrap()
    }

    #[test]
    fn a03_both_policies_have_to_agree_and_what_rises_is_always_asked_about() {
        let of = |a: &[u64; 4], b: &[u64; 4]| {
            let a = policy("p://a", "p://b", "", *a);
            let b = policy("p://b", "", "p://a", *b);
            Terms::of(&a, &b).map_err(|why| why.to_string())
        };
        let asks = |a, b| of(&[9, 1, a, 2], &[9, 1, b, 1]).unwrap().asks;
        assert_eq!(
            [asks(1, 1), asks(1, 0), asks(0, 1), asks(0, 0)],
            [false, true, true, true]
        );
        for trust in [2, 3] {
            assert!(of(&[9, 1, 1, 2], &[9, 1, 1, trust]).unwrap().asks);
        }
        let terms = of(&[9, 6, 1, 2], &[7, 3, 1, 1]).unwrap();
        assert_eq!((terms.bytes, terms.kinds), (7, 2));
        let one = |to: &str, from: &str| {
            let (a, b) = (
                policy("p://a", to, "", [9; 4]),
                policy("p://b", "", from, [9; 4]),
            );
            Terms::of(&a, &b).map_err(|why| why.to_string())
        };
        let not = |done: Result<Terms, String>, what: &str| {
            let why = done.unwrap_err();
            assert!(why.contains(what), "{why}");
        };
        not(one("p://c", "p://a"), "p://b is not in courier.to of");
        not(one("p://b", "p://c"), "courier.from of its policy");
        not(one("", ""), "of this room's policy");
    }

    #[test]
    fn a04_a_long_name_is_cut_in_the_middle_with_its_length() {
        assert_eq!(shown("report.pdf"), "report.pdf");
        let whole = "x".repeat(SHOWN);
        assert_eq!(shown(&whole), whole);
        let long = format!("{}{}.pdf", "a".repeat(60), "b".repeat(60));
        let (first, last) = ("a".repeat(20), "b".repeat(16));
        assert_eq!(shown(&long), format!("{first}...{last}.pdf (124 bytes)"));
        // No part of a byte is shown without the other.
        for more in 0..8 {
            let odd = format!("{}{}", "a".repeat(more), "\\xc3\\xb6".repeat(20));
            let cut = shown(&odd);
            let (first, last) = cut.split_once("...").unwrap();
            let last = last.split_once(' ').unwrap().0;
            assert!(
                last.starts_with("\\x") && first.len() > SHOWN / 2 - 4,
                "{cut}"
            );
            assert!(name_of(first).is_some() && name_of(last).is_some(), "{cut}");
            assert!(cut.ends_with(&format!(" ({} bytes)", 40 + more)), "{cut}");
        }
    }

    #[test]
    fn a03_what_is_large_may_take_longer_and_nothing_else() {
        let seconds = |mib: u64| delivering(mib << 20).as_secs();
        assert_eq!([0, 31, 32, 64, 1024].map(seconds), [5, 5, 10, 15, 165]);
    }

    #[test]
    fn a03_a_courier_has_memory_for_the_largest_file_and_what_the_kernel_keeps_of_it() {
        let mib = |most: u64| memory(most << 20) >> 20;
        assert_eq!([0, 1, 1024, 16 << 10].map(mib), [8, 9, 1036, 16_456]);
        assert!([1, 4, 16].iter().all(|gib| {
            let pages = (gib << 30) / 4096;
            memory(gib << 30) - (gib << 30) > pages.div_ceil(64) * 576 + (4 << 20)
        }));
        assert_eq!(memory(u64::MAX), u64::MAX);
    }

    #[test]
    fn a04_a_no_alone_is_no_failure_and_a_room_that_had_somebody_asked_rests_long() {
        assert_eq!(weight(&No.into(), true), ("", REST));
        // The courier may say the same words; it is not asked.
        for other in [
            Error::msg(No.to_string()),
            anyhow!("the other room has ended"),
        ] {
            assert_eq!(weight(&other, true), ("FAIL: ", REST));
            assert_eq!(weight(&other, false), ("FAIL: ", PAUSE));
        }
    }

    #[test]
    fn a03_a_room_waits_for_one_file_at_a_time_and_once_it_has_hung_up_for_none() {
        let mut courier = Courier::default();
        let (id, takes) = (RoomId::new(1), policy("p://b", "", "p://a", [9; 4]));
        let refused = |courier: &mut Courier, takes: &Policy, front, what: &str| {
            let why = courier.receive(id, takes, front).unwrap_err().to_string();
            assert!(why.starts_with(what), "{why}");
        };
        let nothing = policy("p://b", "p://a", "", [9; 4]);
        refused(&mut courier, &nothing, true, "this room may take no files");
        refused(&mut courier, &takes, false, "this room is not in front");
        let end = courier.receive(id, &takes, true).unwrap();
        refused(
            &mut courier,
            &takes,
            true,
            "this room waits for a file already",
        );
        drop(end);
        assert!(courier.receive(id, &takes, true).is_ok());
    }
}
