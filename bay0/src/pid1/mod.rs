//! PID 1 (A11): one thread, one `match` over a closed enum of events, and the only place that feeds the watchdog (A12).

mod boot;
mod buttons;
mod console;
mod doors;
mod ending;
mod jobs;
mod keeper;
mod line;
mod link;
mod operator;
mod proof;
mod reaper;
mod rooms;
mod say;
mod slots;
pub mod watchdog;
mod wishes;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use bay0_state::{Keeper, Op, Reply, State, WRITE_DEADLINE};
use bay0_umbilical::{ConnId, Server};
use nix::libc;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SIGCHLD, SIGINT, SIGTERM, SigSet};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::pid1::boot::{PHASES, Phase};
use crate::pid1::buttons::Buttons;
use crate::pid1::console::Attached;
use crate::pid1::ending::{End, POWER_OFF, REBOOT};
use crate::pid1::jobs::Job;
use crate::pid1::line::Line;
use crate::pid1::link::{Counts, Link};
use crate::pid1::reaper::Reaper;
use crate::pid1::rooms::Again;
use crate::pid1::rooms::{Baked, Running};
use crate::pid1::say::Log;
use crate::pid1::watchdog::Watchdog;
use crate::pid1::wishes::Waiting;
use crate::slot::firmware::Slots;
use crate::sys::boot_ms;

/// Most events handled in one turn; what is left is still ready in the next.
const PER_TURN: usize = 32;
/// Longest that the log's last lines are waited for at the end, to the next tick.
pub const LAST_LINES: Duration = Duration::from_secs(1);
/// How long PID 1 sleeps at most.
const TICK: Duration = Duration::from_secs(1);
/// How soon a console that was full is tried again.
pub const CONSOLE_RETRY: Duration = Duration::from_millis(10);

/// Everything that can wake PID 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A signal: a child ended, or somebody wants the machine down.
    Signal,
    /// The keeper's reply, or its end.
    Keeper,
    /// A client of the umbilical.
    Umbilical,
    /// A line on the console.
    Operator,
    /// A power button.
    Button,
    /// A room tells of its start, or writes to its terminal.
    Room,
    /// A room has come to a limit, or is empty.
    Limit,
}

const EVENTS: [Event; 7] = {
    use Event::*;
    [Signal, Keeper, Umbilical, Operator, Button, Room, Limit]
};

/// Everything PID 1 holds and remembers. All of it begins empty.
#[derive(Default)]
pub struct Bay0 {
    /// What is waited for; none before [`Bay0::run`].
    epoll: Option<Epoll>,
    /// Where everything is said.
    pub log: Log,
    /// The watchdog, as the bay0 of the initramfs has left it.
    pub left: Option<File>,
    /// None while nothing would reset a machine that is stuck.
    pub watchdog: Option<Watchdog>,
    /// What the factory baked in: `soil=`, `profile=`, `epoch=` lines.
    pub facts: String,
    /// None while the boot is dirty.
    pub keeper: Option<Keeper>,
    /// How it answers.
    pub link: Link,
    /// The verdict is to be found again.
    pub stale: bool,
    /// What the kernel has counted of the disk of `/persist`.
    pub counts: Option<Counts>,
    /// Its errors since the boot, as they are said, and how many were said.
    pub marked: Option<String>,
    pub reported: u64,
    /// The kernel writes nothing to it any more.
    pub read_only: bool,
    /// How often the keeper was started again.
    pub restarts: u32,
    /// Why this boot is dirty, in the house form; empty when it is not.
    pub trouble: Vec<String>,
    /// What is not as it should be of a disk, and yet works.
    pub worn: Vec<String>,
    /// What failed since the boot began: steps of it, or the log, once it has refused a record.
    pub failed: Vec<&'static str>,
    /// When the last-known-good time was last written.
    pub floor_ms: u64,
    /// Last genesis record that was acknowledged.
    pub log_seq: u64,
    /// The socket for rooms and for the Spine's own programs.
    pub umbilical: Option<Server>,
    /// Its clients whose validation waits for the keeper's probe.
    pub asked: Vec<ConnId>,
    /// Where the operator types.
    pub console: Option<File>,
    /// What he has typed.
    pub line: Line,
    buttons: Buttons,
    reaper: Reaper,
    /// What the factory has baked in about rooms.
    pub baked: Baked,
    /// The rooms that are there, by their numbers.
    pub rooms: BTreeMap<usize, Running>,
    /// The room that is not frozen.
    pub front: Option<usize>,
    /// The device that a room holds, and which room: the one in front, or one inside it.
    pub lent: Option<(usize, File)>,
    /// The room whose terminal the console is.
    pub attached: Option<Attached>,
    /// The rooms that are started again when their time has come.
    pub again: BTreeMap<usize, Again>,
    /// What the database does not have yet: states of personas, and Spines that failed.
    pub records: VecDeque<(Op, [String; 2])>,
    /// What rooms wish to keep and the keeper has not been asked yet.
    pub wishes: VecDeque<Waiting>,
    /// The slot that runs; none if no firmware has started one.
    pub slots: Option<Slots>,
    /// How the boot before this one ended.
    pub ended: String,
    /// Spines that failed here.
    pub refused: Vec<String>,
    /// What children are at work on: a validation, the slots.
    pub jobs: Vec<Job>,
    /// The last second, since the kernel started, in which there was a tick.
    second: u64,
    /// The last validation's verdict.
    pub verdict: String,
    /// How the machine is to go down, and since when, once somebody has asked for it.
    pub end: Option<(End, Instant)>,
    /// bay0's first instruction, in milliseconds since the kernel started.
    pub exec_ms: u64,
    /// What the keeper has told of the disk: whether it is encrypted, and what is to be mounted.
    pub vault: Option<Reply>,
    /// When the operator line was offered: the end of the boot, which waits for the passphrase.
    pub operator_ms: Option<u64>,
    /// When the first validation ended.
    pub validated_ms: Option<u64>,
}

impl Bay0 {
    /// Boots, serves events until the machine is to go down, and takes it down.
    ///
    /// # Errors
    /// The errno of the system call without which there can be no loop.
    pub fn run(mut self) -> nix::Result<std::convert::Infallible> {
        // Every signal is blocked: none can interrupt, and those that mean something arrive as events.
        SigSet::all().thread_block()?;
        let wanted = SigSet::from_iter([SIGCHLD, SIGTERM, SIGINT]);
        let signals = SignalFd::with_flags(&wanted, SfdFlags::all())?;
        // Control-alt-delete asks PID 1 instead of resetting the machine; where that cannot be set, it resets.
        let _ = nix::sys::reboot::set_cad_enabled(false);
        self.epoll = Some(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?);
        self.watch(&signals, Event::Signal, 0);
        for phase in PHASES {
            self.phase(phase);
        }
        self.watch_buttons();
        self.start_keeper();
        loop {
            self.turn(&signals);
            // A keeper that has nothing to do has every line of the log, this end's own included.
            let idle = self.keeper.as_ref().and_then(Keeper::time_left).is_none();
            if let Some((end, since)) = self.end
                && (idle || since.elapsed() > LAST_LINES)
            {
                ending::run(self, end);
            }
        }
    }

    /// Runs one phase and logs its outcome with its milliseconds.
    pub fn phase(&mut self, (name, body, otherwise): Phase) {
        let begun = boot_ms();
        let outcome = body(self);
        let ms = boot_ms().saturating_sub(begun);
        let outcome = outcome.inspect_err(|_| self.failed.push(name));
        let text = match outcome.map_err(|error| format!("FAIL: {error:#}")) {
            Err(text) if !text.contains("; next: ") => format!("{text}; {otherwise}"),
            Ok(text) | Err(text) => text,
        };
        self.log.say(format!("{name}: {text} ({ms} ms)"));
    }

    /// Adds a source of events; `slot` comes back with them and tells sources of one kind apart. It goes when it is closed
    /// (`epoll(7)`).
    pub fn watch(&mut self, source: impl AsFd, event: Event, slot: usize) {
        let data = event as u64 | (slot as u64) << 8;
        // Rooms wake PID 1 for each arrival, not for as long as something is there: none of them can make the loop spin.
        let flags = match event {
            Event::Room | Event::Umbilical => EpollFlags::EPOLLIN | EpollFlags::EPOLLET,
            Event::Limit => EpollFlags::EPOLLPRI | EpollFlags::EPOLLET,
            _ => EpollFlags::EPOLLIN,
        };
        let readable = EpollEvent::new(flags, data);
        let add = |epoll: &Epoll| epoll.add(source, readable);
        if let Some(Err(errno)) = self.epoll.as_ref().map(add) {
            let text = format!("{event:?}: {errno:?}; it goes unheard; next: reboot");
            self.log.say(format!("bay0: FAIL: watch {text}"));
        }
    }

    fn turn(&mut self, signals: &SignalFd) {
        self.invite();
        for (event, slot) in self.wait() {
            match event {
                Event::Signal => self.on_signal(signals),
                Event::Keeper => self.on_keeper(),
                Event::Umbilical => self.on_umbilical(slot),
                Event::Operator => self.on_operator(),
                Event::Button => self.on_button(slot),
                Event::Room => self.on_room(slot),
                Event::Limit => self.on_limit(slot),
            }
        }
        self.log.flush();
        // What it could not write while the console was behind.
        if let Some(slot) = self.attached.as_ref().map(|at| at.slot) {
            self.on_terminal(slot);
        }
        let second = boot_ms() / 1000;
        if std::mem::replace(&mut self.second, second) != second {
            self.tend();
        }
        for ended in self.reaper.reap() {
            self.ended(ended);
        }
        self.check_jobs();
        self.pump();
        if let Some(Err(err)) = self.watchdog.as_mut().map(Watchdog::feed) {
            self.watchdog = None;
            let text = format!("feed: {err}; a reset follows; next: none");
            self.log.say(format!("watchdog: FAIL: {text}"));
        }
    }

    /// Waits for what can wake PID 1, at most until the keeper's deadline, the console's next try or for a second; answers what
    /// did, each with its slot.
    fn wait(&self) -> Vec<(Event, usize)> {
        let reply = self.keeper.as_ref().and_then(Keeper::time_left);
        let retry = self.log.is_behind().then_some(CONSOLE_RETRY);
        // That a request is slow is noticed when it is.
        let slow = self.keeper.as_ref().and_then(Keeper::waits);
        let slow = slow.and_then(|(_, waited)| WRITE_DEADLINE.checked_sub(waited));
        let all = [reply, retry, self.reaper.rests(), slow];
        let all = all.into_iter().flatten();
        let wait = all.fold(TICK, Duration::min);
        // Rounded up, or a fraction of a millisecond would make the loop spin.
        let limit = EpollTimeout::try_from(wait.saturating_add(Duration::from_micros(999)));
        let mut ready = [EpollEvent::empty(); PER_TURN];
        // EINTR and its like make an empty turn, which is harmless.
        let wait = |epoll: &Epoll| epoll.wait(&mut ready, limit.unwrap_or(EpollTimeout::ZERO));
        let count = self.epoll.as_ref().map_or(Ok(0), wait).unwrap_or(0);
        let event = |it: &EpollEvent| {
            let (kind, slot) = (it.data() & 0xff, usize::try_from(it.data() >> 8).ok()?);
            Some((EVENTS.into_iter().find(|e| *e as u64 == kind)?, slot))
        };
        ready.iter().take(count).filter_map(event).collect()
    }

    fn on_signal(&mut self, signals: &SignalFd) {
        while let Ok(Some(info)) = signals.read_signal() {
            match i32::try_from(info.ssi_signo) {
                Ok(libc::SIGTERM) => self.shut_down(POWER_OFF, "SIGTERM"),
                // The kernel sends SIGINT for control-alt-delete.
                Ok(libc::SIGINT) => self.shut_down(REBOOT, "SIGINT"),
                _ => {}
            }
        }
    }

    /// Watches every power button there is.
    fn watch_buttons(&mut self) {
        let buttons = Buttons::open();
        for (number, button) in buttons.all() {
            self.watch(button, Event::Button, number);
        }
        self.buttons = buttons;
    }

    fn on_button(&mut self, slot: usize) {
        if self.buttons.is_pressed(slot) {
            #[cfg(feature = "fault")]
            if self.kills_instead() {
                return;
            }
            self.shut_down(POWER_OFF, "power button");
        }
    }

    /// Lets the loop end once the log is on the disk.
    pub fn shut_down(&mut self, end: End, by: &str) {
        if self.end.is_none() {
            self.end = Some((end, Instant::now()));
            // Rooms end with the machine; the database hears of it before it is closed.
            let rooms = self.rooms.values();
            let names: Vec<_> = rooms.map(|room| room.policy.name.clone()).collect();
            for name in names {
                self.record(&name, State::Stopped);
            }
            self.log
                .say(format!("shutdown: {} requested by {by}", end.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{PipeWriter, Write, pipe};
    use std::os::fd::OwnedFd;

    fn source() -> (File, PipeWriter) {
        let (read, write) = pipe().unwrap();
        (File::from(OwnedFd::from(read)), write)
    }

    fn waiting() -> Bay0 {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        Bay0 {
            epoll: Some(epoll),
            ..Bay0::default()
        }
    }

    #[test]
    fn a11_what_is_ready_is_the_event_that_is_handled() {
        let mut bay = waiting();
        for (event, slot) in EVENTS.into_iter().zip([0, 1, 255, 256, 70_000]) {
            let (source, mut other) = source();
            bay.watch(&source, event, slot);
            other.write_all(b"x").unwrap();
            assert_eq!(bay.wait(), [(event, slot)]);
        }
        // What has ended is an event too, or nobody would notice; what is closed is none any more.
        let (source, other) = source();
        bay.watch(&source, Event::Keeper, 0);
        drop(other);
        assert_eq!(bay.wait(), [(Event::Keeper, 0)]);
    }

    #[test]
    fn a11_more_than_one_turn_handles_is_not_lost() {
        let mut bay = waiting();
        let mut sources = Vec::new();
        for slot in 0..PER_TURN + 1 {
            let (source, mut other) = source();
            bay.watch(&source, Event::Operator, slot);
            other.write_all(b"x").unwrap();
            sources.push((source, other));
        }
        let mut seen: Vec<usize> = [bay.wait(), bay.wait()]
            .concat()
            .into_iter()
            .map(|it| it.1)
            .collect();
        seen.sort();
        seen.dedup();
        assert!(seen.iter().copied().eq(0..PER_TURN + 1), "{seen:?}");
    }

    #[test]
    fn a11_a_console_that_is_behind_bounds_the_wait() {
        let mut bay = waiting();
        bay.log.console = File::options().write(true).open("/dev/full").ok();
        bay.log.draw("nobody takes this yet");
        assert_eq!(bay.wait(), []);
    }

    #[test]
    fn h19_a_failed_phase_says_what_follows_unless_its_error_does() {
        let mut bay = Bay0::default();
        bay.phase(("x", |_| anyhow::bail!("a: EIO"), "b; next: c"));
        bay.phase(("x", |_| anyhow::bail!("a: EIO; d; next: e"), "b; next: c"));
        bay.phase(("x", |_| Ok("well".to_owned()), "b; next: c"));
        let text = bay.log.text();
        let said: Vec<_> = text
            .lines()
            .filter_map(|it| it.split_once(" x: "))
            .collect();
        let said: Vec<_> = said
            .iter()
            .filter_map(|(_, it)| it.split_once(" ("))
            .collect();
        let said: Vec<_> = said.iter().map(|(it, _)| *it).collect();
        let first = "FAIL: a: EIO; b; next: c";
        assert_eq!(said, [first, "FAIL: a: EIO; d; next: e", "well"]);
    }
}
