//! PID 1 (A11): one thread, one `match` over a closed enum of events, and the only place that feeds the watchdog (A12).

mod boot;
mod buttons;
mod console;
mod disk;
mod doors;
mod ending;
pub mod facts;
mod id;
mod jobs;
mod keeper;
mod line;
mod link;
pub mod poll;
mod proof;
mod reaper;
mod rooms;
pub mod say;
mod slots;
pub mod watchdog;
mod wishes;

use std::collections::VecDeque;
use std::fs::File;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bay0_persona::PersonaName;
use bay0_state::{Keeper, Op, Reply, State, WRITE_DEADLINE};
use bay0_umbilical::verb::{Verb, help, usage};
use bay0_umbilical::{ConnId, Server};
use bay0_validate::Level;
use nix::libc;

use crate::pid1::boot::{PHASES, Phase};
use crate::pid1::buttons::Buttons;
use crate::pid1::console::Console;
use crate::pid1::disk::Disk;
use crate::pid1::ending::{End, POWER_OFF, REBOOT};
use crate::pid1::facts::Facts;
use crate::pid1::id::{Door, RoomId};
use crate::pid1::jobs::{Job, Jobs};
use crate::pid1::link::Link;
use crate::pid1::poll::{Poll, Source};
use crate::pid1::reaper::Reaper;
use crate::pid1::rooms::{Effect, Rooms};
use crate::pid1::say::Log;
use crate::pid1::watchdog::Watchdog;
use crate::pid1::wishes::Waiting;
use crate::slot::firmware::Slots;
use crate::sys::boot_ms;

/// Longest that the log's last lines are waited for at the end, to the next tick.
pub const LAST_LINES: Duration = Duration::from_secs(1);
/// What `help` says after the table of verbs.
const HELP: &str = "help VERB shows how one is used; Tab completes; in a room, Ctrl-] leaves it\n";
/// How long PID 1 sleeps at most.
const TICK: Duration = Duration::from_secs(1);
/// How soon a console that was full is tried again.
pub const CONSOLE_RETRY: Duration = Duration::from_millis(10);

/// Everything PID 1 holds and remembers. All of it begins empty.
pub struct Bay0 {
    poll: Poll,
    /// Where everything is said.
    pub log: Log,
    /// The watchdog, as the bay0 of the initramfs has left it.
    pub left: Option<File>,
    /// None while nothing would reset a machine that is stuck.
    pub watchdog: Option<Watchdog>,
    /// What the factory baked in: `soil=`, `profile=`, `epoch=` lines.
    pub facts: Facts,
    /// None while the boot is dirty.
    pub keeper: Option<Keeper>,
    /// How it answers.
    pub link: Link,
    /// The verdict is to be found again.
    pub stale: bool,
    /// The disk of `/persist`, as the kernel counts what it does.
    pub disk: Disk,
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
    pub console: Console,
    buttons: Buttons,
    reaper: Reaper,
    pub rooms: Rooms,
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
    pub jobs: Jobs,
    /// The last second, since the kernel started, in which there was a tick.
    second: u64,
    /// The last validation's verdict.
    pub verdict: Option<Level>,
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
    /// Everything is empty at first. PID 1's signals are expected to be blocked: none can interrupt it, and those that mean
    /// something arrive as events.
    pub fn new(poll: Poll) -> Self {
        Self {
            poll,
            log: Default::default(),
            left: Default::default(),
            watchdog: Default::default(),
            facts: Default::default(),
            keeper: Default::default(),
            link: Default::default(),
            stale: Default::default(),
            disk: Default::default(),
            restarts: Default::default(),
            trouble: Default::default(),
            worn: Default::default(),
            failed: Default::default(),
            floor_ms: Default::default(),
            log_seq: Default::default(),
            umbilical: Default::default(),
            asked: Default::default(),
            console: Default::default(),
            buttons: Default::default(),
            reaper: Default::default(),
            rooms: Default::default(),
            records: Default::default(),
            wishes: Default::default(),
            slots: Default::default(),
            ended: Default::default(),
            refused: Default::default(),
            jobs: Default::default(),
            second: Default::default(),
            verdict: Default::default(),
            end: Default::default(),
            exec_ms: Default::default(),
            vault: Default::default(),
            operator_ms: Default::default(),
            validated_ms: Default::default(),
        }
    }

    /// Boots, serves events until the machine is to go down, and takes it down.
    pub fn run(mut self) -> ! {
        // Control-alt-delete asks PID 1 instead of resetting the machine; where that cannot be set, it resets.
        let _ = nix::sys::reboot::set_cad_enabled(false);
        for phase in PHASES {
            self.phase(phase);
        }
        self.watch_buttons();
        self.start_keeper();
        loop {
            self.turn();
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

    fn turn(&mut self) {
        if self.end.is_none() {
            self.console.invite(&mut self.log);
        }
        for source in self.poll.wait(self.longest()) {
            match source {
                Source::Signal => self.on_signal(),
                Source::Keeper => self.on_keeper(),
                Source::Umbilical(door) => self.on_umbilical(door),
                Source::Operator => self.on_operator(),
                Source::Button(number) => self.on_button(number),
                Source::Room(id) => self.on_room(id),
                Source::Limit(id) => self.in_rooms(|rooms, _| rooms.on_limit(id)),
            }
        }
        self.log.flush();
        // What it could not write while the console was behind.
        if let Some(id) = self.console.inside() {
            self.rooms.output(id, Some(&mut self.log));
        }
        let second = boot_ms() / 1000;
        if std::mem::replace(&mut self.second, second) != second {
            self.tend();
        }
        for ended in self.reaper.reap() {
            if let Some(id) = self.rooms.of_process(ended.pid) {
                // What it told last comes before its end: the stage that failed, or the rest of its output.
                self.on_room(id);
                self.in_rooms(|rooms, _| rooms.end(id, ended));
            }
        }
        self.check_jobs();
        self.pump();
        if let Some(Err(err)) = self.watchdog.as_mut().map(Watchdog::feed) {
            self.watchdog = None;
            let text = format!("feed: {err}; a reset follows; next: none");
            self.log.say(format!("watchdog: FAIL: {text}"));
        }
    }

    /// How long a turn may wait: until the keeper's deadline, until a request is slow, until the console or the reaper has its next
    /// try, or for a tick.
    fn longest(&self) -> Duration {
        let keeper = self.keeper.as_ref();
        let slow = keeper.and_then(Keeper::waits);
        let slow = slow.and_then(|(_, waited)| WRITE_DEADLINE.checked_sub(waited));
        let reply = keeper.and_then(Keeper::time_left);
        let retry = self.log.is_behind().then_some(CONSOLE_RETRY);
        let all = [reply, retry, self.reaper.rests(), slow];
        all.into_iter().flatten().fold(TICK, Duration::min)
    }

    fn on_signal(&mut self) {
        for signal in self.poll.signals() {
            match signal {
                // The kernel sends it for control-alt-delete.
                libc::SIGINT => self.shut_down(REBOOT, "SIGINT"),
                _ => self.shut_down(POWER_OFF, "SIGTERM"),
            }
        }
    }

    /// Watches every power button there is.
    fn watch_buttons(&mut self) {
        let buttons = Buttons::open();
        for (number, button) in buttons.all() {
            let watched = self.poll.watch(button, Source::Button(number));
            if let Err(errno) = watched {
                let text = format!("watch Button: {errno:?}; it goes unheard");
                self.log.say(format!("bay0: FAIL: {text}; next: reboot"));
            }
        }
        self.buttons = buttons;
    }

    fn on_button(&mut self, number: usize) {
        if self.buttons.is_pressed(number) {
            #[cfg(feature = "fault")]
            if self.kills_instead() {
                return;
            }
            self.shut_down(POWER_OFF, "power button");
        }
    }

    /// Has the rooms do something, and carries out what follows from it for others.
    pub fn in_rooms<T>(&mut self, act: impl FnOnce(&mut Rooms, &mut Poll) -> T) -> T {
        let done = act(&mut self.rooms, &mut self.poll);
        for effect in self.rooms.effects() {
            match effect {
                Effect::Say(line) => self.log.say(line),
                Effect::Fail(text) => self.log.fail("room", &text),
                Effect::Record(name, state) => self.record(&name, state),
                Effect::Gone(id) if self.console.inside() == Some(id) => {
                    self.console.leave(&mut self.log);
                }
                Effect::Gone(_) => {}
            }
        }
        done
    }

    /// A room tells of its start, or writes to its terminal.
    fn on_room(&mut self, id: RoomId) {
        let inside = self.console.inside() == Some(id);
        self.rooms.output(id, inside.then_some(&mut self.log));
        self.in_rooms(|rooms, _| rooms.progress(id));
    }

    /// Each second: opens a console that was closed, looks after the keeper and the rooms, and lets those ask again that are awake.
    fn tend(&mut self) {
        // Not while a passphrase is typed there.
        let booted =
            self.operator_ms.is_some() && !self.facts.is_release() && !self.jobs.is_at(Job::Reseal);
        if booted && !self.console.is_open() {
            // Without a console there is nobody to tell either.
            let _ = self.console.open(&mut self.poll, &mut self.log);
        }
        self.tend_keeper();
        for id in self.rooms.awake() {
            self.rooms.refill(id);
            self.on_umbilical(Door::Room(id));
        }
        self.on_umbilical(Door::Spine);
        let may_start = self.end.is_none() && self.keeper.is_some();
        self.in_rooms(|rooms, poll| rooms.tend(may_start, poll));
    }

    /// Takes what was typed: keys of the operator line, or of the room that the console is connected with.
    fn on_operator(&mut self) {
        let typed = self.console.read();
        if typed.is_empty() {
            // A hang-up or an error: opened again at the next tick, so that neither can make the loop spin.
            self.console.leave(&mut self.log);
            self.console.close();
        }
        let mut typed = typed.as_slice();
        while let Some((byte, rest)) = typed.split_first() {
            if let Some(id) = self.console.inside() {
                let typed = self.console.typed(typed, &mut self.log);
                return self.rooms.input(id, &typed);
            }
            self.console.invite(&mut self.log);
            let names = || self.rooms.names();
            if let Some(line) = self.console.key(*byte, names, &mut self.log) {
                let answer = self.answer(&line);
                self.log.draw(answer);
            }
            if self.end.is_none() {
                self.console.invite(&mut self.log);
            }
            typed = rest;
        }
    }

    /// Does what a line says; the answer to be shown, if there is one.
    fn answer(&mut self, line: &str) -> String {
        match Verb::parse(line) {
            Ok(Verb::Help) => return help() + HELP,
            Ok(Verb::Hello) => return doors::HELLO.to_owned(),
            Ok(Verb::Version) => return self.version(),
            Ok(Verb::Status) => return self.status(),
            Ok(Verb::Log) => return self.log.text(),
            Ok(Verb::Rooms) => return self.rooms.list(None),
            Ok(Verb::Validate) => self.start_validator(),
            Ok(Verb::Update) => {
                if let Err(why) = self.update(None) {
                    return format!("update: FAIL: {why}\n");
                }
            }
            Ok(Verb::Reseal) => self.reseal(),
            Ok(Verb::Poweroff) => self.shut_down(POWER_OFF, "operator"),
            Ok(Verb::Reboot) => self.shut_down(REBOOT, "operator"),
            Ok(Verb::Device | Verb::Gate(_)) => {
                return "only a room has one; next: enter one\n".to_owned();
            }
            Ok(Verb::Start(name)) => self.order("start", &name, Bay0::start),
            Ok(Verb::Stop(name)) => self.order("stop", &name, |bay, name| {
                bay.in_rooms(|rooms, _| rooms.stop(name))
            }),
            Ok(Verb::Focus(name)) => self.order("focus", &name, |bay, name| {
                bay.in_rooms(|rooms, _| rooms.focus(name))
            }),
            Ok(Verb::Enter(name)) => self.order("enter", &name, Bay0::enter),
            #[cfg(feature = "fault")]
            Err(_) if line.starts_with("fault ") => return self.inject(line),
            Err(_) if line.is_empty() => {}
            Err(error) => {
                let usage = line.strip_prefix("help ").and_then(usage);
                return usage.unwrap_or_else(|| format!("{error}\n"));
            }
        }
        String::new()
    }

    /// Does something with a room, and says why it could not be done.
    fn order(
        &mut self,
        verb: &str,
        name: &PersonaName,
        act: fn(&mut Bay0, &PersonaName) -> Result<()>,
    ) {
        if let Err(error) = act(self, name) {
            self.log.fail("room", &format!("{verb} {name}: {error:#}"));
        }
    }

    fn start(&mut self, name: &PersonaName) -> Result<()> {
        let ready = self.keeper.is_some() && self.end.is_none();
        ensure!(ready, "the boot is dirty, or ends; next: see status");
        self.in_rooms(|rooms, poll| rooms.start(name, poll))
    }

    fn enter(&mut self, name: &PersonaName) -> Result<()> {
        let id = self.in_rooms(|rooms, _| rooms.enter(name))?;
        let tail = || self.rooms.take_tail(id);
        self.console.enter((id, name), tail, &mut self.log)
    }

    /// Remembers a state for the database.
    pub fn record(&mut self, name: &PersonaName, state: State) {
        let values = [name.to_string(), state.tag().to_owned()];
        // While the disk is slow each room has one state that waits, its last.
        self.records
            .retain(|(op, [known, _])| *op != "set-state" || *known != values[0]);
        self.records.push_back(("set-state", values));
    }

    /// Lets the loop end once the log is on the disk.
    pub fn shut_down(&mut self, end: End, by: &str) {
        if self.end.is_none() {
            self.end = Some((end, Instant::now()));
            // Rooms end with the machine; the database hears of it before it is closed.
            for name in self.rooms.there().cloned().collect::<Vec<_>>() {
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

    #[test]
    fn a11_a_console_that_is_behind_bounds_the_wait() {
        let mut bay = Bay0::new(Poll::new().unwrap());
        assert_eq!(bay.longest(), TICK);
        bay.log = Log::new(File::options().write(true).open("/dev/full").ok(), None);
        bay.log.draw("nobody takes this yet");
        assert_eq!(bay.longest(), CONSOLE_RETRY);
    }

    #[test]
    fn h19_a_failed_phase_says_what_follows_unless_its_error_does() {
        let mut bay = Bay0::new(Poll::new().unwrap());
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
