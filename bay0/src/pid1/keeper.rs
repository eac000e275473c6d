//! PID 1's side of the keeper (H06, decision 3): it is started, fed the log and watched. What follows for others is an [`Event`].
//!
//! | what happens to the keeper | what follows |
//! | --- | --- |
//! | it cannot mount or open | dirty boot: it is killed, every report is RED, the machine goes on |
//! | it dies | started again, at most [`RESTARTS`] times a boot, then dirty |
//! | it misses a deadline of the boot | killed, dirty: a disk that hangs would hang the next keeper too |
//! | it is slow, or stands still, in operation | see [`super::link`]: nothing is killed before nothing has moved for [`bay0_state::STUCK`] |
//!
//! Only the boot waits for it, within the open deadline. After that one request is in flight at a time, and its reply is an
//! event.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, ErrorKind, Write, stderr};
use std::os::unix::net::UnixDatagram;
use std::panic::{PanicHookInfo, set_hook};
use std::path::Path;
use std::time::{Duration, Instant};

use bay0_persona::PersonaName;
use bay0_persona::disks::VARS;
use bay0_state::{
    Access, Keeper, Opened, Persona, Reply, Request, SPINE, State, Unlocked, WRITE_DEADLINE,
};
use nix::libc;
use nix::unistd::getpid;

use super::facts::Facts;
use super::link::Link;
use super::poll::{Poll, Source};
use super::say::Log;
use super::stage::Stage;
use super::wishes::Wishes;
use crate::slot::starts;
use crate::sys::{boot_ms, unix_seconds};

/// How often a keeper that died is started again within one boot.
const RESTARTS: u32 = 3;
/// How often the last-known-good time is written.
const FLOOR: Duration = Duration::from_secs(60);
const UNENCRYPTED: &str = "/persist is no vault; booting dirty; next: attach one, or an empty disk";
/// What has become of a request, or of the keeper.
#[must_use]
pub enum Event {
    /// It died, hangs, or cannot open `/persist`.
    Lost(io::Error),
    /// It has unlocked the disk, or could not.
    Unlocked(Result<Unlocked, String>),
    /// One in operation has opened `/persist`, or could not.
    Opened(Result<Opened, String>),
    /// Validations that wait are answered.
    Probed(Probed),
    /// It has refused to append to the log.
    Unlogged(String),
    /// A Spine that failed is remembered: now it may be overwritten.
    Remembered,
    /// It has done this.
    #[cfg(feature = "fault")]
    Done(Request),
}

/// What a probe of `/persist` has found.
#[derive(Debug, PartialEq)]
pub enum Probed {
    /// The marker and this record are durable.
    Durable(u64),
    /// The marker is; the log takes no record.
    Unlogged(String),
    /// The marker is not.
    Unmarked(String),
    /// There is no keeper, or a slow one.
    Untried,
}

/// What follows when it is lost.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub enum Loss {
    /// Another one is started at once.
    Again,
    /// Another one is started when this one has ended. Whether reports are RED from now on.
    Later { red: bool },
    /// None, from now on: the boot is dirty.
    Dirty,
}

/// The keeper, how it answers, and what it has yet to be asked.
#[derive(Default)]
pub struct Keeping {
    /// None while the boot is dirty.
    client: Option<Keeper>,
    link: Link,
    /// How often it was started again.
    restarts: u32,
    /// What it has answered `unlock` with.
    unlocked: Option<Result<Unlocked, String>>,
    /// What the database does not have yet: states of rooms, and Spines that failed.
    records: VecDeque<Request>,
    /// What rooms wish to keep.
    wishes: Wishes,
    /// Last genesis record that was acknowledged.
    log_seq: u64,
    /// When the last-known-good time was last written.
    floor_ms: u64,
}

impl Keeping {
    /// Starts a keeper and asks it to unlock the disk, or in operation to open the one that is unlocked already.
    ///
    /// # Errors
    /// It could not be started or asked.
    pub fn start(&mut self, facts: &Facts, stage: Stage, poll: &mut Poll) -> io::Result<()> {
        let request = match stage.is_up() {
            true => self.to_open(facts)?,
            false => Request::Unlock(facts.profile().to_owned()),
        };
        let mut keeper = Keeper::start(&SPINE)?;
        keeper.post(request, None)?;
        poll.watch(&keeper.socket, Source::Keeper)?;
        poll.watch(&keeper.child.pidfd, Source::Keeper)?;
        self.install(Some(keeper));
        Ok(())
    }

    /// The request to open the disk that is unlocked, in this boot (`random(4)`).
    fn to_open(&self, facts: &Facts) -> io::Result<Request> {
        if let Some(Err(text)) = &self.unlocked {
            return Err(io::Error::other(text.clone()));
        }
        if facts.is_release() && !self.is_vault() {
            return Err(io::Error::other(UNENCRYPTED));
        }
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
        let boot_id = boot_id.as_deref().unwrap_or("unknown").trim_end();
        Ok(Request::Open {
            boot_id: boot_id.to_owned(),
            disk: self.disk().map_or(String::new(), |it| it.mounted.clone()),
        })
    }

    /// Puts another keeper, or none, in the place of the one that was, which dies with that; the panic hook gets a socket of
    /// its own, because the keeper may be in use when it is called.
    pub fn install(&mut self, keeper: Option<Keeper>) {
        let socket = keeper.as_ref().and_then(|it| it.socket.try_clone().ok());
        set_hook(Box::new(move |info| last_words(info, socket.as_ref())));
        self.client = keeper;
    }

    /// Opens `/persist`, which the boot waits for.
    ///
    /// # Errors
    /// The keeper's refusal, or its end.
    pub fn open(&mut self, facts: &Facts) -> io::Result<Opened> {
        let request = self.to_open(facts)?;
        match self.there()?.call(request)? {
            Reply::Opened(opened) => Ok(opened),
            other => Err(io::Error::other(format!(
                "keeper open: {other:?}; not understood; next: report this text"
            ))),
        }
    }

    /// Asks for lines that the boot waits for.
    ///
    /// # Errors
    /// The keeper's refusal, or its end.
    pub fn lines(&mut self, request: Request) -> io::Result<Vec<String>> {
        self.there()?.lines(request)
    }

    fn there(&mut self) -> io::Result<&mut Keeper> {
        let none = || io::Error::other("no keeper");
        self.client.as_mut().ok_or_else(none)
    }

    /// The keeper, for those that have more to ask of it: the start of the database, and the end.
    pub fn client(&mut self) -> Option<&mut Keeper> {
        self.client.as_mut()
    }

    /// Whether there is one, slow or not.
    pub fn is_there(&self) -> bool {
        self.client.is_some()
    }

    /// Remembers how the keeper has unlocked the disk. One that was started again cannot know.
    pub fn remember_unlocked(&mut self, unlocked: Result<Unlocked, String>) {
        let again = matches!(&unlocked, Ok(it) if it.access == Access::Again);
        if self.unlocked.is_none() || !again {
            self.unlocked = Some(unlocked);
        }
    }

    /// The disk, once it is unlocked.
    pub fn disk(&self) -> Option<&Unlocked> {
        self.unlocked.as_ref()?.as_ref().ok()
    }

    /// Whether the disk was unlocked so.
    pub fn disk_is(&self, access: Access) -> bool {
        self.disk().is_some_and(|disk| disk.access == access)
    }

    /// What whoever has the disk needs to read it, in a word; `none` without a disk.
    pub fn protection(&self) -> &'static str {
        self.disk().map_or("none", |disk| disk.access.protection())
    }

    /// Whether a vault is open.
    pub fn is_vault(&self) -> bool {
        self.disk().is_some_and(|disk| disk.access.is_vault())
    }

    /// The last genesis record that was acknowledged.
    pub fn log_seq(&self) -> u64 {
        self.log_seq
    }

    /// `/persist` is open, with its log verified up to this record.
    pub fn opened(&mut self, log_seq: u64) {
        (self.log_seq, self.link) = (log_seq, Link::Quick);
    }

    /// Remembers a room's state for the database. While the disk is slow each room has one state that waits, its last.
    pub fn record(&mut self, name: &PersonaName, state: State) {
        let is_older = |it: &Request| matches!(it, Request::SetState(it) if it.name == *name);
        self.records.retain(|it| !is_older(it));
        let name = name.clone();
        self.records
            .push_back(Request::SetState(Persona { name, state }));
    }

    /// Remembers a Spine that has failed.
    pub fn refuse_spine(&mut self, hash: String, reason: String) {
        self.records.push_back(Request::AddNack { hash, reason });
    }

    /// What rooms wish to keep.
    pub fn wishes(&mut self) -> &mut Wishes {
        &mut self.wishes
    }

    /// How long a turn may wait until there is something to do here: its deadline, or that a request is slow.
    pub fn longest(&self) -> Option<Duration> {
        let client = self.client.as_ref()?;
        let slow = client.waits();
        let slow = slow.and_then(|(_, waited)| WRITE_DEADLINE.checked_sub(waited));
        client.time_left().into_iter().chain(slow).min()
    }

    /// Whether it has nothing to do, and so has every line of the log, this end's own included.
    pub fn is_idle(&self) -> bool {
        self.client.as_ref().and_then(Keeper::time_left).is_none()
    }

    /// The disk has completed something.
    pub fn moved(&mut self) {
        let _ = self.client.as_mut().map(Keeper::moved);
    }

    /// Notices a missed deadline, then gives an idle keeper its next request: a probe before the floor before states before the log, so
    /// that no flood of lines delays a validation. Without a keeper, validations are answered at once.
    pub fn pump(&mut self, probe: bool, log: &mut Log) -> Vec<Event> {
        let waits = self.client.as_ref().and_then(Keeper::waits);
        let late = waits.filter(|(_, waited)| *waited >= WRITE_DEADLINE);
        let late = late.map(|(request, waited)| (request.word(), waited));
        self.follow(late, false, log);
        let mut events = Vec::new();
        if let Some(error) = self.client.as_ref().and_then(Keeper::expired) {
            events.push(Event::Lost(error));
            return events;
        }
        let busy = !self.is_idle();
        if probe && (!self.is_there() || busy && !matches!(self.link, Link::Quick)) {
            events.push(Event::Probed(Probed::Untried));
        }
        if !busy && let Err(error) = self.post(probe, log) {
            events.push(Event::Lost(error));
        }
        events
    }

    fn post(&mut self, probe: bool, log: &mut Log) -> io::Result<()> {
        let Some(keeper) = self.client.as_mut() else {
            return Ok(());
        };
        let floor = self.link.again(FLOOR).as_millis();
        if probe {
            keeper.post(Request::Probe, None)
        } else if u128::from(boot_ms().saturating_sub(self.floor_ms)) >= floor {
            self.floor_ms = boot_ms();
            keeper.post(Request::Clock(unix_seconds()), None)
        } else if let Some((wish, room)) = self.wishes.next() {
            keeper.post(wish, Some(&room))
        } else if let Some(record) = self.records.pop_front() {
            keeper.post(record, None)
        } else if let Some(lines) = log.hand_over() {
            keeper.post(Request::Append(lines), None)
        } else {
            Ok(())
        }
    }

    /// A request has waited for so long, and its reply has come or not.
    fn follow(&mut self, waits: Option<(&'static str, Duration)>, came: bool, log: &mut Log) {
        let took = waits.and_then(|(op, waited)| self.link.took(op, waited, came, Instant::now()));
        if let Some(line) = took {
            log.say(format!("persist: {line}"));
        }
    }

    /// The keeper's reply, or its end.
    pub fn receive(&mut self, log: &mut Log) -> Vec<Event> {
        let waits = self.client.as_ref().and_then(Keeper::waits);
        let waits = waits.map(|(request, waited)| (request.word(), waited));
        let take = |keeper: &mut Keeper| keeper.receive(Duration::ZERO);
        let (request, reply) = match self.client.as_mut().map(take) {
            Some(Ok(Some(both))) => both,
            Some(Err(error)) => return vec![Event::Lost(error)],
            _ => return Vec::new(),
        };
        self.follow(waits, true, log);
        if let Reply::Recorded(seq) = reply {
            self.log_seq = seq;
        }
        if let Request::Append(_) = request {
            // Lines that it refuses stay in the ring and on the console.
            log.taken();
        }
        #[cfg(feature = "fault")]
        let done = match reply {
            Reply::Unlogged(_) | Reply::Refused(_) => None,
            _ => Some(Event::Done(request.clone())),
        };
        let event = match (request, reply) {
            (Request::Unlock(_), Reply::Unlocked(disk)) => Some(Event::Unlocked(Ok(disk))),
            (Request::Unlock(_), Reply::Refused(text)) => Some(Event::Unlocked(Err(text))),
            (Request::Open { .. }, Reply::Opened(opened)) => Some(Event::Opened(Ok(opened))),
            (Request::Open { .. }, Reply::Refused(text)) => Some(Event::Opened(Err(text))),
            (Request::Probe, Reply::Recorded(seq)) => Some(Event::Probed(Probed::Durable(seq))),
            (Request::Probe, Reply::Unlogged(text)) => Some(Event::Probed(Probed::Unlogged(text))),
            (Request::Probe, Reply::Refused(text)) => Some(Event::Probed(Probed::Unmarked(text))),
            (_, Reply::Unlogged(text)) | (Request::Append(_), Reply::Refused(text)) => {
                Some(Event::Unlogged(text))
            }
            (Request::AddNack { .. }, Reply::Done) => Some(Event::Remembered),
            (request, Reply::Refused(text)) => {
                let what = match request {
                    Request::Clock(_) => "time",
                    _ => "room",
                };
                log.say(format!("{what}: FAIL: {text}"));
                None
            }
            _ => None,
        };
        #[cfg(feature = "fault")]
        return event.into_iter().chain(done).collect();
        #[cfg(not(feature = "fault"))]
        event.into_iter().collect()
    }

    /// It died, hangs, or cannot open `/persist`: see the table above.
    pub fn lose(&mut self, error: &io::Error, stage: Stage, log: &mut Log) -> Loss {
        let old = self.client.take().map(|keeper| keeper.child);
        self.install(None);
        let restarts = self.may_restart(error, stage, log);
        if restarts && !stage.is_up() {
            return Loss::Again;
        }
        let red = !restarts;
        if red {
            log.say(format!("keeper: FAIL: {error}"));
            self.wishes.refuse();
        }
        let died = error.kind() == ErrorKind::BrokenPipe;
        if stage.is_up() && (restarts || !died || self.link.cause().is_some()) {
            let pause = self.link.lose(error.to_string(), old, Instant::now());
            let seconds = pause.as_secs();
            let text = "keeper: another is started when this one has ended, not before";
            log.say(format!("{text} {seconds} s from now"));
            return Loss::Later { red };
        }
        Loss::Dirty
    }

    /// Whether the keeper may be started again after this, which is said.
    pub fn may_restart(&mut self, error: &io::Error, stage: Stage, log: &mut Log) -> bool {
        let died = error.kind() == ErrorKind::BrokenPipe;
        let may = died && self.restarts < RESTARTS && !stage.is_ending();
        if may {
            self.restarts = self.restarts.saturating_add(1);
            log.say(format!("keeper: FAIL: {error}"));
            log.say(format!("keeper: restart {} of {RESTARTS}", self.restarts));
        }
        may
    }

    /// Whether the one before is gone, and may be followed now, which is said.
    pub fn is_over(&mut self, log: &mut Log) -> bool {
        let over = self.client.is_none() && self.link.is_over(Instant::now());
        if over {
            log.say("keeper: the one before has ended, another opens /persist");
        }
        over
    }

    /// Why there is none in operation.
    pub fn cause(&self) -> Option<&String> {
        self.link.cause()
    }

    /// The longest that a request has taken, while the disk is slow.
    pub fn slow_ms(&self) -> Option<u128> {
        self.link.slow_ms()
    }

    /// How it is, in a word; its process, or 0; how often it was started again.
    pub fn figures(&self) -> (&'static str, i32, u32) {
        let word = match self.client {
            Some(_) if self.slow_ms().is_some() => "slow",
            Some(_) if self.cause().is_none() => "up",
            _ => "down",
        };
        let pid = self.client.as_ref().map_or(0, |keeper| keeper.child.pid);
        (word, pid, self.restarts)
    }
}

/// The panic hook: says where on the console and, through the keeper, in the genesis log; then ends PID 1, so that the
/// kernel panics and reboots (C03).
fn last_words(info: &PanicHookInfo<'_>, keeper: Option<&UnixDatagram>) {
    let place = info.location().map(ToString::to_string);
    let text = format!("bay0 panic at {}", place.unwrap_or_default());
    let _ = writeln!(stderr(), "bay0: FAIL: {text}; the machine reboots");
    // A child has inherited the hook, but not the socket.
    if let Some(keeper) = keeper.filter(|_| getpid().as_raw() == 1) {
        bay0_state::last_words(keeper, &text);
    }
    if getpid().as_raw() == 1 {
        let _ = starts::fail(Path::new(VARS));
    }
    // SAFETY: ends the process without unwinding; nothing of it may run on after a panic.
    unsafe { libc::_exit(101) }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A disk that was unlocked so.
    pub fn unlocked(access: Access) -> Unlocked {
        Unlocked {
            access,
            mounted: "/dev/x".to_owned(),
            device: String::new(),
            line: String::new(),
            notes: vec![],
        }
    }

    impl Keeping {
        /// One that is slow.
        pub fn slow() -> Self {
            let mut keeping = Self::default();
            let _ = keeping
                .link
                .took("append", WRITE_DEADLINE, false, Instant::now());
            keeping
        }
    }

    fn up() -> Stage {
        Stage::Up { since_ms: 1 }
    }

    fn lose(keeper: &mut Keeping, kind: ErrorKind, stage: Stage) -> Loss {
        let error = io::Error::new(kind, "keeper x: y; next: z");
        keeper.lose(&error, stage, &mut Log::default())
    }

    #[test]
    fn h06_a_keeper_that_dies_in_the_boot_is_started_again_three_times_and_one_that_hangs_is_not() {
        let mut keeper = Keeping::default();
        for _ in 0..RESTARTS {
            assert_eq!(
                lose(&mut keeper, ErrorKind::BrokenPipe, Stage::Unlocking),
                Loss::Again
            );
        }
        let dirty = Loss::Dirty;
        assert_eq!(
            lose(&mut keeper, ErrorKind::BrokenPipe, Stage::Opening),
            dirty
        );
        let mut keeper = Keeping::default();
        assert_eq!(
            lose(&mut keeper, ErrorKind::TimedOut, Stage::Opening),
            dirty
        );
    }

    #[test]
    fn h06_a_keeper_that_is_lost_in_operation_is_followed_when_it_has_ended() {
        let mut keeper = Keeping::default();
        assert_eq!(
            lose(&mut keeper, ErrorKind::BrokenPipe, up()),
            Loss::Later { red: false }
        );
        assert!(keeper.cause().is_some() && keeper.is_over(&mut Log::default()));
        assert_eq!(
            lose(&mut keeper, ErrorKind::TimedOut, up()),
            Loss::Later { red: true }
        );
        // Too many have died: none follows, unless one was lost before that was to follow.
        let mut keeper = Keeping {
            restarts: RESTARTS,
            ..Keeping::default()
        };
        assert_eq!(lose(&mut keeper, ErrorKind::BrokenPipe, up()), Loss::Dirty);
    }

    #[test]
    fn h06_without_a_keeper_a_validation_is_answered_at_once() {
        let (mut keeper, mut log) = (Keeping::default(), Log::default());
        let events = keeper.pump(true, &mut log);
        assert!(matches!(
            events.as_slice(),
            [Event::Probed(Probed::Untried)]
        ));
        assert!(keeper.pump(false, &mut log).is_empty() && keeper.is_idle());
    }

    #[test]
    fn h06_a_room_has_one_state_that_waits_and_a_keeper_started_again_knows_less_of_the_disk() {
        let mut keeper = Keeping::default();
        let name = PersonaName::parse("p://a").unwrap();
        keeper.record(&name, State::Starting);
        keeper.refuse_spine("hash".to_owned(), "why".to_owned());
        keeper.record(&name, State::Stopped);
        let waiting: Vec<_> = keeper.records.iter().map(Request::word).collect();
        assert_eq!(waiting, ["nack-add", "set-state"]);
        keeper.remember_unlocked(Ok(unlocked(Access::Recovered)));
        keeper.remember_unlocked(Ok(unlocked(Access::Again)));
        assert!(keeper.is_vault() && keeper.protection() == "passphrase+tpm");
        assert!(keeper.disk_is(Access::Recovered));
    }
}
