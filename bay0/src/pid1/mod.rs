//! PID 1 (A11): one thread, one `match` over a closed enum of sources, and the only place that feeds the watchdog (A12).
//!
//! [`Bay0`] is the router: it alone knows all parts. Each part keeps its state to itself, gets what it needs as arguments and
//! answers with values, which are carried out here.

mod arbiter;
mod attention;
mod boot;
mod buttons;
mod consent;
mod console;
mod courier;
mod disk;
mod doors;
mod drawer;
mod ending;
mod facts;
// The test build's damage: no part of what ships, so it neither lies in src nor counts as code of the Spine.
#[cfg(feature = "fault")]
#[path = "../../testing/fault.rs"]
pub mod fault;
mod health;
mod id;
mod jobs;
pub mod keeper;
mod line;
mod link;
mod organ;
mod pace;
pub mod poll;
mod proof;
mod question;
mod reaper;
pub mod rooms;
pub mod say;
mod screen;
mod seat;
mod slots;
pub mod stage;
mod status;
mod uplink;
pub mod watchdog;
mod wishes;

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::rc::Rc;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use bay0_persona::disks::VARS;
use bay0_persona::link::set_lease;
use bay0_persona::net::{Card, Lease};
use bay0_persona::policy::{ORGAN, SCREEN, SLOT, STICK};
use bay0_persona::{Grant, PersonaName, Policy, packet};
use bay0_state::{Access, Opened, Request, State, Unlocked, prove, reseal, reset};
use bay0_umbilical::organ::Kind;
use bay0_umbilical::verb::{DiskName, Verb, help, usage};
use bay0_umbilical::{SOCKET, Server};
use nix::libc;

use self::arbiter::Page;
use self::attention::{Attention, Place};
use self::consent::{Consent, Want};
use self::courier::Courier;
use self::id::{Door, RoomId};
use self::jobs::{Begun, Job, Jobs, Outcome};
use self::keeper::{Event, Keeping, Loss, Probed};
use self::organ::Organ;
use self::poll::{Poll, Source};
use self::rooms::{Effect, Rooms};
use self::say::{CONSOLE_RETRY, Log};
use self::screen::Screen;
use self::seat::Seat;
use self::uplink::Uplink;
use self::watchdog::Watchdog;
use self::{buttons::Buttons, console::Console, ending::Way};
use self::{facts::Facts, health::Health, reaper::Reaper, slots::Slots, stage::Stage};
use crate::advice::advised;
use crate::slot::answer::Answer;
use crate::slot::running::Next;
use crate::slot::setup::{install_on, list};
use crate::slot::starts;
use crate::stick::{self, Stick};
use crate::sys::{boot_ms, raise_clock, text_of};

/// How long PID 1 sleeps at most.
const TICK: Duration = Duration::from_secs(1);
/// What `help` says after the table of verbs.
const HELP: &str = "help VERB shows how one is used; Tab completes; in a room, Ctrl-] leaves it\n";

/// What the line of a stick of the release profile answers to all other verbs.
const REFUSED: &str =
    "not on a stick of the release profile; next: disks, install DISK, log, status, poweroff";

/// The parts of PID 1, and what is nobody's.
pub struct Bay0 {
    poll: Poll,
    log: Log,
    facts: Facts,
    stage: Stage,
    /// None while nothing would reset a machine that is stuck.
    watchdog: Option<Watchdog>,
    keeper: Keeping,
    health: Health,
    /// The Spine's own umbilical; nobody may ask before the answers are true.
    umbilical: Option<Server>,
    console: Console,
    screen: Screen,
    attention: Attention,
    buttons: Buttons,
    reaper: Reaper,
    rooms: Rooms,
    courier: Courier,
    consent: Consent,
    organ: Organ,
    uplink: Uplink,
    /// What children are at work on: a validation, the slots.
    jobs: Jobs,
    slots: Slots,
    /// The last second, since the kernel started, in which there was a tick.
    second: u64,
    /// bay0's first instruction, in milliseconds since the kernel started.
    exec_ms: u64,
}

impl Bay0 {
    /// Its signals are expected to be blocked: none can interrupt it, and those that mean something arrive as events.
    pub fn new(poll: Poll, log: Log, exec_ms: u64) -> Self {
        Self {
            poll,
            log,
            facts: Facts::read(),
            stage: Stage::default(),
            watchdog: None,
            keeper: Keeping::default(),
            health: Health::default(),
            umbilical: None,
            console: Console::default(),
            screen: Screen::default(),
            attention: Attention::default(),
            buttons: Buttons::default(),
            reaper: Reaper::default(),
            rooms: Rooms::default(),
            courier: Courier::default(),
            consent: Consent::default(),
            organ: Organ::default(),
            uplink: Uplink::default(),
            jobs: Jobs::default(),
            slots: Slots::default(),
            second: 0,
            exec_ms,
        }
    }

    /// Boots, serves events until the machine is to go down, and takes it down. `dog`: the watchdog, as the bay0 of the initramfs has
    /// left it.
    pub fn run(mut self, dog: Option<File>) -> ! {
        self.keeper.install(None);
        // Control-alt-delete asks PID 1 instead of resetting the machine; where that cannot be set, it resets.
        let _ = nix::sys::reboot::set_cad_enabled(false);
        self.boot(dog);
        self.buttons = Buttons::open(&mut self.poll, &mut self.log);
        self.start_keeper();
        loop {
            self.turn();
            if let Stage::Ending { way, since, up_ms } = self.stage
                && (self.keeper.is_idle() || since.elapsed() > ending::LAST_LINES)
            {
                self.go_down(way, up_ms.is_some());
            }
        }
    }

    fn turn(&mut self) {
        self.invite();
        for source in self.poll.wait(self.longest()) {
            match source {
                Source::Signal => self.on_signal(),
                Source::Keeper => self.on_keeper(),
                Source::Umbilical(door) => self.on_umbilical(door),
                Source::Operator => self.on_operator(),
                Source::Organ => self.organ.heard(&mut self.log),
                Source::Arbiter => self.on_arbiter(),
                Source::Screen => self.screen.covered(),
                Source::Attention => self.attention.read(),
                Source::Seat(id) => self.screen.hear(id, &mut self.log),
                Source::Button(number) => self.on_button(number),
                Source::Courier => {
                    let (rooms, console) = (&mut self.rooms, &mut self.console);
                    self.courier.heard(rooms, console, &mut self.log);
                }
                Source::Room(id) => self.on_room(id),
                Source::Limit(id) => {
                    if self.rooms.on_limit(id) {
                        self.organ.on_killed(id);
                    }
                }
            }
            self.carry_out();
        }
        self.log.flush();
        // What it could not write while the console was behind.
        if let Some(id) = self.console.inside() {
            self.on_output(id);
        }
        let second = boot_ms() / 1000;
        if std::mem::replace(&mut self.second, second) != second {
            self.tend();
        }
        self.reap();
        self.carry_out();
        if let Some(outcome) = self.jobs.ended() {
            self.done(outcome);
        }
        let events = self.keeper.pump(self.health.is_asked(), &mut self.log);
        self.on_events(events);
        let (rooms, console) = (&mut self.rooms, &mut self.console);
        self.courier.tend(rooms, console, &mut self.log);
        self.consent.tend(console, &mut self.log);
        self.organ.tend(&self.rooms);
        self.attend();
        self.health.pace(self.keeper.slow_ms().is_some());
        if let Some(Err(err)) = self.watchdog.as_mut().map(Watchdog::feed) {
            self.watchdog = None;
            let text = format!("feed: {err}; a reset follows; next: none");
            self.log.say(format!("watchdog: FAIL: {text}"));
        }
    }

    /// How long a turn may wait: until the keeper's deadline, until a request is slow, until the console or the reaper has its next
    /// try, or for a tick.
    fn longest(&self) -> Duration {
        let retry = self.log.is_behind().then_some(CONSOLE_RETRY);
        let all = [
            self.keeper.longest(),
            retry,
            self.reaper.rests(),
            self.courier.longest(),
            self.consent.longest(),
            self.screen.longest(),
        ];
        all.into_iter().flatten().fold(TICK, Duration::min)
    }

    /// Runs one step and logs its outcome with its milliseconds. `otherwise`: what follows from its failure and what to do then, for
    /// errors that do not say it themselves.
    fn step(
        &mut self,
        name: &'static str,
        otherwise: &str,
        body: impl FnOnce(&mut Self) -> Result<String>,
    ) {
        let begun = boot_ms();
        let outcome = body(self);
        let ms = boot_ms().saturating_sub(begun);
        if outcome.is_err() {
            self.health.fail(name);
        }
        let text = outcome.unwrap_or_else(|error| {
            let why = format!("FAIL: {error:#}");
            advised(&why, &format!("; {otherwise}"))
        });
        self.log.say(format!("{name}: {text} ({ms} ms)"));
    }

    /// What comes before the keeper is asked to unlock the disk (C07), which may take a person hours.
    fn boot(&mut self, dog: Option<File>) {
        self.step("watchdog", boot::STUCK, |bay| {
            let dog = bay.watchdog.insert(Watchdog::arm(dog)?);
            Ok(dog.armed())
        });
        self.step("mounts", boot::UNMOUNTED, |_| boot::mounts());
        self.step("switches", boot::UNSWITCHED, |_| boot::switches());
        self.step("oom", boot::MORTAL, |_| boot::oom());
        self.start_check(true);
        self.step("modules", boot::UNSEALED, |_| boot::modules());
        self.step("firmware", boot::UNNAMED, |_| boot::firmware());
        self.step("root", boot::WRITABLE, |bay| {
            let proven = proof::root();
            if proven.is_err() && bay.facts.is_release() {
                bay.shut_down(Way::Reboot, "a root that is not as it must be");
            }
            proven
        });
        self.step("time", boot::UNTIMED, |bay| boot::time(&bay.facts));
        // Before anybody is asked for a passphrase.
        self.screen.tend(&mut self.poll, &mut self.log);
    }

    /// What follows once the disk is unlocked, or given up: once, even where there is no keeper.
    fn open_up(&mut self) {
        if self.stage != Stage::Opening || !self.keeper.is_idle() {
            return;
        }
        self.step("reconcile", boot::UNTRUSTED, |bay| {
            boot::reconcile(bay.keeper.client(), &mut bay.log, &mut bay.health)
        });
        self.step("slots", boot::UNSLOTTED, |bay| {
            let refused = || Ok(bay.keeper.lines(Request::Nacks)?);
            bay.slots.find(bay.facts.is_release(), refused)
        });
        self.step("umbilical", boot::UNREACHED, |bay| {
            bay.umbilical = Some(doors::open(&mut bay.poll)?);
            Ok(format!("listening on {SOCKET}"))
        });
        self.step("rooms", boot::UNSTARTED, |bay| {
            rooms::make_groups()?;
            let lines = bay.keeper.lines(Request::Baked)?;
            let opened = bay.rooms.open(&lines, bay.slots.on_trial(), &mut bay.poll);
            bay.carry_out();
            opened
        });
        self.step("operator", boot::UNHEARD, |bay| {
            bay.facts
                .started_from(bay.keeper.disk().map_or("", |it| &it.device));
            if !bay.facts.has_line() {
                return Ok("none in the release profile".to_owned());
            }
            bay.console.open(&mut bay.poll, &mut bay.log)
        });
        self.stage.open(boot_ms());
        self.start_check(false);
        self.start_validator();
    }

    /// Lets the loop end once the log is on the disk.
    fn shut_down(&mut self, way: Way, by: &str) {
        if self.stage.end(way) {
            // Rooms end with the machine; the database hears of it before it is closed.
            for room in self.rooms.there() {
                self.keeper.record(&room.policy.name, State::Stopped);
            }
            self.log
                .say(format!("shutdown: {} requested by {by}", way.word()));
        }
    }

    /// Takes the machine down, after the loop has waited for the log's last lines. The watchdog stays armed: if a step hangs all the
    /// same, it ends the machine. A boot that waits for the passphrase has neither rooms nor anything open.
    fn go_down(mut self, way: Way, was_up: bool) -> ! {
        self.jobs.clear();
        self.courier = Courier::default();
        let firmware = ending::remember();
        if was_up {
            self.step("shutdown", ending::UNSTOPPED, |_| ending::stop_rooms());
            self.step("shutdown", ending::UNKEPT, |bay| {
                ending::close(bay.keeper.client(), way)
            });
        }
        ending::finish(way, &mut self.log, firmware.as_ref())
    }

    fn on_signal(&mut self) {
        for signal in self.poll.signals() {
            match signal {
                // The kernel sends it for control-alt-delete.
                libc::SIGINT => self.shut_down(Way::Reboot, "SIGINT"),
                _ => self.shut_down(Way::PowerOff, "SIGTERM"),
            }
        }
    }

    fn on_button(&mut self, number: usize) {
        if self.buttons.is_pressed(number) {
            #[cfg(feature = "fault")]
            if fault::kills_instead(self) {
                return;
            }
            self.shut_down(Way::PowerOff, "power button");
        }
    }

    fn reap(&mut self) {
        for ended in self.reaper.reap() {
            if let Some(id) = self.rooms.of_process(ended.pid) {
                // A room's last report and output come before its end: the stage that failed, or what it wrote.
                self.on_room(id);
                self.rooms.end(id, ended);
            }
        }
    }

    /// Opens a console that was closed, unless a child has it.
    fn listen(&mut self) {
        // Not while a passphrase is typed there.
        let booted = self.stage.up_ms().is_some();
        let locked = self.attention.place() == Place::Lock;
        let taken = locked || self.console.is_open() || self.jobs.ask();
        if booted && self.facts.has_line() && !taken {
            // A machine without a console has no place for the failure either.
            let _ = self.console.open(&mut self.poll, &mut self.log);
        }
    }

    /// Each second: looks after the screen, opens a console that was closed, looks after the keeper and the rooms, and lets those ask again that are awake.
    fn tend(&mut self) {
        if self.screen.tend(&mut self.poll, &mut self.log) {
            self.console.close();
        }
        self.heed();
        if self.attention.place() == Place::Lock && !self.jobs.is_at(Job::Lock) {
            self.lock();
        }
        self.listen();
        self.tend_keeper();
        for id in self.rooms.refill() {
            self.on_umbilical(Door::Room(id));
        }
        self.on_umbilical(Door::Spine);
        self.rooms.tend(self.is_ready(), &mut self.poll);
    }

    /// Whether something new may be begun: `/persist` is open, and the machine stays.
    fn is_ready(&self) -> bool {
        self.keeper.is_there() && !self.stage.is_ending()
    }

    // What the keeper and its disk do.

    /// Starts a keeper; what follows, follows its reply.
    fn start_keeper(&mut self) {
        let started = self.keeper.start(&self.facts, self.stage, &mut self.poll);
        if let Err(error) = started {
            self.lose_keeper(&error);
        }
    }

    /// The keeper died, hangs, or cannot open `/persist`.
    fn lose_keeper(&mut self, error: &io::Error) {
        let (up, booting) = (self.stage.is_up(), self.stage.up_ms().is_none());
        match self.keeper.lose(error, self.stage, &mut self.log) {
            Loss::Again => {
                self.stage.wait();
                return self.start_keeper();
            }
            Loss::Later { red: false } => {}
            Loss::Later { red: true } => self.health.lose_keeper(up),
            Loss::Dirty => {
                self.health.lose_keeper(up);
                self.health.soil(&error.to_string());
                if booting {
                    self.health.fail("keeper");
                }
                if self.stage.unlock() {
                    self.open_up();
                }
            }
        }
        self.answer_validations(Probed::Untried);
    }

    /// The keeper's reply, or its end.
    fn on_keeper(&mut self) {
        let events = self.keeper.receive(&mut self.log);
        self.on_events(events);
        self.succeed();
    }

    fn on_events(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Lost(error) => self.lose_keeper(&error),
                Event::Unlocked(reply) => self.unlocked(reply),
                Event::Opened(reply) => self.reopened(reply),
                Event::Probed(probe) => self.answer_validations(probe),
                Event::Unlogged(text) => {
                    // Said once, or each refusal would make the next line.
                    if self.health.fail("log") {
                        self.log.say(format!("log: FAIL: {text}"));
                    }
                    let (rooms, console) = (&mut self.rooms, &mut self.console);
                    self.courier.unrecorded(rooms, console, &mut self.log);
                }
                Event::Remembered => self.mend(),
                #[cfg(feature = "fault")]
                Event::Done(request) => fault::acknowledged(self, &request),
            }
        }
    }

    /// Goes on with the disk that the keeper has unlocked, or ends the machine if nobody could unlock it (C09).
    fn unlocked(&mut self, unlocked: Result<Unlocked, String>) {
        if let Ok(disk) = &unlocked {
            if !disk.line.is_empty() {
                self.log.say(&disk.line);
            }
            disk.notes
                .iter()
                .for_each(|text| self.health.wear(text, &mut self.log));
        }
        self.keeper.remember_unlocked(unlocked);
        if self.keeper.disk_is(Access::Locked) {
            self.keeper.install(None);
            return self.shut_down(Way::PowerOff, "the vault");
        }
        if self.stage.unlock() {
            self.step("keeper", boot::UNTIMED, Bay0::open_keeper);
            self.open_up();
        }
    }

    /// Opens `/persist`, which the boot waits for.
    fn open_keeper(&mut self) -> Result<String> {
        let opened = self.keeper.open(&self.facts);
        if let Err(error) = &opened {
            self.keeper.install(None);
            if self.keeper.may_restart(error, self.stage, &mut self.log) {
                self.stage.wait();
                self.start_keeper();
                return Ok("asked again".to_owned());
            }
            self.health.soil(&error.to_string());
        }
        self.opened(&opened?)
    }

    /// Goes on with what the keeper has opened.
    fn opened(&mut self, opened: &Opened) -> Result<String> {
        self.health
            .opened(&self.keeper, &opened.worn, &mut self.log);
        for text in &opened.trouble {
            self.log.say(format!("keeper: FAIL: {text}"));
            self.health.soil(text);
        }
        // How the boot before this one ended, and its last lines, which nobody could read then.
        if self.keeper.log_seq() == 0 {
            let fired = self.watchdog.as_ref().is_some_and(Watchdog::has_fired);
            let cause = if fired { " (watchdog reset)" } else { "" };
            for line in format!("{}{cause}", opened.previous).lines() {
                self.log.say(format!("previous: {line}"));
                self.slots.previous(line);
            }
        }
        self.keeper.opened(opened.log_seq);
        let clock = raise_clock(opened.floor)?;
        Ok(format!("/persist open: {}, {clock}", opened.note))
    }

    /// A keeper in operation has opened `/persist`, or could not.
    fn reopened(&mut self, opened: Result<Opened, String>) {
        let opened = opened.map_err(io::Error::other);
        let opened = opened.and_then(|it| self.opened(&it).map_err(io::Error::other));
        match opened {
            Ok(text) => {
                self.log.say(format!("keeper: {text}"));
                self.health.doubt();
            }
            Err(error) => self.lose_keeper(&error),
        }
    }

    /// Starts a keeper when the one before is gone, and may be followed.
    fn succeed(&mut self) {
        if !self.stage.is_ending() && self.keeper.is_over(&mut self.log) {
            self.start_keeper();
        }
    }

    /// Each second: starts a keeper when the one before has ended, looks whether the disk moves and at the kernel's counters of its
    /// errors, and has the verdict found again.
    fn tend_keeper(&mut self) {
        if !self.stage.is_up() {
            return;
        }
        self.succeed();
        self.health.look(&mut self.keeper, &mut self.log);
        if !self.jobs.is_at(Job::Validate) && self.health.take_stale() {
            self.start_validator();
        }
    }

    /// Has a child work on the vault (A02, U07), with somebody at the console.
    fn at_vault(&mut self, job: Job, work: impl FnOnce(&str) -> Result<String>) {
        if !self.keeper.is_vault() {
            let text = "/persist is no vault; next: see docs/VAULT.md";
            return self.log.say(format!("{}: FAIL: {text}", job.name()));
        }
        let disk = self.keeper.disk();
        let disk = disk.map_or(String::new(), |it| it.device.clone());
        self.at_console(job, || Answer::of(work(&disk).map(Answer::Done)));
    }

    /// Has the vault sealed to this Spine.
    fn reseal(&mut self) {
        self.at_vault(Job::Reseal, |disk| Ok(reseal(disk)?));
    }

    /// Has the keys of the vault destroyed.
    fn reset(&mut self) {
        self.at_vault(Job::Reset, |disk| Ok(reset(disk)?));
    }

    /// Has nobody use the machine until what opens the vault is typed (A14): screen and console are a child's meanwhile, and another one's if
    /// that ends before.
    fn lock(&mut self) {
        self.console.leave(&mut self.log);
        self.at_vault(Job::Lock, |disk| Ok(prove(disk)?));
        if self.jobs.is_at(Job::Lock) {
            self.attention.go(Place::Lock);
        }
    }

    /// Has a child look at all disks.
    fn list_disks(&mut self) {
        if !self.jobs.is_at(Job::Disks) {
            self.work(Job::Disks, || Answer::of(list()));
        }
    }

    /// Has this Spine installed on another disk.
    fn install(&mut self, disk: &DiskName) {
        let ready = self.is_ready() && self.health.validated_ms().is_some();
        match self.slots.may_update(&self.jobs, ready) {
            Ok(()) => {
                self.at_console(Job::Install, || Answer::of(install_on(disk.as_str())));
            }
            Err(why) => self.log.say(format!("install: FAIL: {why}")),
        }
    }

    /// Has a child do what a person confirms at the console, which is the child's until it has ended.
    fn at_console(&mut self, job: Job, work: impl FnOnce() -> Answer) {
        if self.jobs.ask() {
            let text = "not now: the console asks for something else; next: answer there";
            return self.log.say(format!("{}: FAIL: {text}", job.name()));
        }
        if !self.stage.is_ending() {
            self.console.close();
            self.work(job, work);
        }
    }

    /// Has a child do something and answer.
    fn work(&mut self, job: Job, work: impl FnOnce() -> Answer) {
        self.dispatch(job, &[], || work().encode());
    }

    // Health, as it is found and asked for.

    /// Has all of the root read: early on a machine with more than one processor, where that holds up nobody, else not.
    fn start_check(&mut self, early: bool) {
        let holds_up = early && !available_parallelism().is_ok_and(|it| it.get() > 1);
        if !holds_up && !self.health.is_whole() && !self.jobs.is_at(Job::Check) {
            self.dispatch(Job::Check, &[], proof::whole);
        }
    }

    /// Starts a validation, unless one is under way. There is none before all of the root has been read: it measures the machine, which
    /// that keeps busy, and then begins by itself.
    fn start_validator(&mut self) {
        if self.health.is_whole() && !self.jobs.is_at(Job::Validate) {
            self.dispatch(Job::Validate, &[], proof::validate);
        }
    }

    /// Has a child, which keeps these descriptors, do something.
    fn dispatch(&mut self, job: Job, keep: &[RawFd], work: impl FnOnce() -> String) {
        let begun = self.jobs.begin(job, keep, work);
        self.begun(begun);
    }

    /// A child is at work, or could not be started.
    fn begun(&mut self, begun: Begun) {
        if let Err(outcome) = begun {
            self.done(outcome);
        }
    }

    /// Goes on with what a child has done.
    fn done(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Validated(report) => {
                let (keeper, log) = (&self.keeper, &mut self.log);
                if let Some(well) = self.health.validated(report, keeper, log) {
                    self.judge(well);
                }
            }
            Outcome::Worked(Job::Check, Answer::Failed(why)) => self.forsake(&why),
            Outcome::Worked(Job::Stick, Answer::Done(sent)) => self.looked(&sent),
            Outcome::Worked(job, mut answer) => {
                if job == Job::Lock && matches!(answer, Answer::Done(_)) {
                    self.attention.unlock();
                }
                // What is typed once the answer is seen is for the operator line.
                self.listen();
                if let Some((hash, why)) = self.slots.answered(job, &mut answer) {
                    self.keeper.refuse_spine(hash, why);
                }
                for line in answer.rendered().lines() {
                    self.log.say(format!("{}: {line}", job.name()));
                }
                if job == Job::Check {
                    self.health.whole();
                    if self.stage.is_up() {
                        self.start_validator();
                    }
                }
                if job == Job::Stick {
                    drop(self.consent.looked());
                }
                if job == Job::Reset && matches!(answer, Answer::Done(_)) {
                    self.shut_down(Way::Reboot, "reset");
                }
                // An update may have been cut off while it was written.
                let failed = matches!(answer, Answer::Failed(_));
                if job == Job::Commit || job == Job::Update && failed {
                    self.mend();
                }
                if let (Job::Commit | Job::Entries, Answer::Failed(why)) = (job, answer) {
                    self.health.unsettle(why);
                }
            }
        }
    }

    /// The root is not what its hash says, or nobody knows (C12): this start ends without an end, as if nothing of it had run. The firmware
    /// counts it, and a Spine on trial has failed.
    fn forsake(&mut self, why: &str) -> ! {
        let text = format!("root: FAIL: {why}; the machine reboots");
        self.log.say(&text);
        self.log.flush();
        if let Some(keeper) = self.keeper.client() {
            bay0_state::last_words(&keeper.socket, &text);
        }
        let _ = starts::fail(Path::new(VARS));
        std::process::exit(1)
    }

    /// Carries out what follows from the first validation for the slot that runs.
    fn judge(&mut self, well: bool) {
        #[cfg(feature = "fault")]
        let well = fault::on_trial(self) && well;
        match self.slots.judge(well, self.health.only_rooms_failed()) {
            next @ (Next::Stay | Next::Commit) => {
                let begun = self.slots.settle(next == Next::Commit, &mut self.jobs);
                self.begun(begun);
            }
            Next::Retry | Next::Fail => {
                self.shut_down(Way::Reboot, "a Spine on trial");
                let text = format!(
                    "slot {} is not well; next: see why above",
                    self.slots.here()
                );
                self.log.say(format!("slots: FAIL: {text}"));
            }
        }
    }

    /// Has the slot that does not run looked after, unless the machine ends.
    fn mend(&mut self) {
        if !self.stage.is_ending() {
            let fired = self.watchdog.as_ref().is_some_and(Watchdog::has_fired);
            let begun = self.slots.mend(&mut self.jobs, fired);
            self.begun(begun);
        }
    }

    /// Whether an update may be taken now.
    fn may_update(&self) -> Result<()> {
        let ready = self.is_ready() && self.health.validated_ms().is_some();
        self.slots.may_update(&self.jobs, ready)
    }

    /// Has an update taken: what a room sends, or what is attached.
    fn update(&mut self, sent: Option<UnixStream>) {
        let floor = self.facts.epoch().unwrap_or(u64::MAX);
        let begun = self.slots.update(&mut self.jobs, floor, sent);
        self.begun(begun);
    }

    /// Has a room that may bring updates send one (A13), once a person allows it: its end of a stream to the child that takes it. Where there
    /// is no operator line nobody can be asked, and the policy decides.
    fn update_from(&mut self, id: RoomId, room: Option<&Policy>) -> Result<OwnedFd> {
        self.rooms.granted(id, SLOT)?;
        self.may_update()?;
        let (ours, theirs) = slots::stream()?;
        if self.facts.has_line() {
            self.may_ask(id)?;
            let name = &room.context("no policy")?.name;
            let (want, console) = (Want::Update(ours), &mut self.console);
            self.consent.ask(id, name, want, console, &mut self.log);
        } else {
            self.update(Some(ours));
        }
        Ok(theirs.into())
    }

    /// Whether somebody can be asked now what a room wants.
    fn may_ask(&self, id: RoomId) -> Result<()> {
        ensure!(
            self.console.is_open(),
            "not now: nobody can be asked; next: try again when the operator line is there"
        );
        ensure!(
            !self.courier.is_busy(),
            "not now: a file is on its way; next: try again"
        );
        self.consent.may_ask(id)
    }

    /// Does what a person has allowed a room.
    fn grant(&mut self, id: RoomId, want: Want) {
        match want {
            Want::Update(stream) => match self.may_update() {
                Ok(()) => self.update(Some(stream)),
                Err(why) => wishes::refuse(&stream.into(), &why.to_string()),
            },
            Want::Stick(end, _) => self.look(id, end),
        }
    }

    /// Has a child find the stick for a room that may have it (U09): the room's end of the connection that it comes by.
    fn stick(&mut self, id: RoomId) -> Result<OwnedFd> {
        self.rooms.granted(id, STICK)?;
        ensure!(
            !self.jobs.is_at(Job::Stick),
            "not now: one is looked for already; next: try again"
        );
        let (ours, theirs) = packet::pair().context("make a socket")?;
        self.look(id, ours);
        Ok(theirs)
    }

    /// Has a child look for the stick, and give it to a room that may have that one.
    fn look(&mut self, id: RoomId, end: OwnedFd) {
        let may = self.consent.allowed(id);
        let give = || stick::give(&end, may.as_ref()).encode();
        let begun = self.jobs.begin(Job::Stick, &[end.as_raw_fd()], give);
        self.consent.look(id, end);
        self.begun(begun);
    }

    /// The child has found a stick that somebody has to be asked about, or there is nothing to do any more.
    fn looked(&mut self, sent: &str) {
        let looked = self.consent.looked();
        let (Some((id, end)), Some(stick)) = (looked, Stick::decode(sent)) else {
            return;
        };
        let name = self.rooms.room(id).map(|it| it.policy.name.clone());
        let (may, console) = (self.may_ask(id), &mut self.console);
        match (may, name) {
            (Ok(()), Some(name)) => {
                let want = Want::Stick(end, stick);
                self.consent.ask(id, &name, want, console, &mut self.log);
            }
            (Err(why), _) => wishes::refuse(&end, &why.to_string()),
            (Ok(()), None) => {}
        }
    }

    /// Answers every validation that waits with what PID 1 itself knows of its health.
    fn answer_validations(&mut self, probe: Probed) {
        let (dog, server) = (self.watchdog.as_ref(), self.umbilical.as_mut());
        self.health.answer(probe, &self.keeper, dog, server);
    }

    /// Which build runs, and where from: `key=value` lines.
    fn version(&self) -> String {
        let line = text_of("/proc/cmdline");
        let (build, slot) = (proof::build(&line), self.slots.here());
        format!("{}build={build}\nslot={slot}\n", self.facts.text())
    }

    /// What the factory baked in, and figures about PID 1 and its keeper: `key=value` lines.
    fn status(&self) -> String {
        let (health, keeper, log) = (&self.health, &self.keeper, &self.log);
        let (stage, reaped) = (self.stage, self.reaper.count());
        let rows = status::rows(self.exec_ms, stage, health, keeper, log, reaped);
        self.version() + &rows + &self.uplink.rows()
    }

    // Rooms, and who asks: at the umbilicals and at the console.

    /// Carries out what follows for others from what the rooms have done.
    fn carry_out(&mut self) {
        for effect in self.rooms.effects() {
            match effect {
                Effect::Say(line) => self.log.say(line),
                Effect::Record(name, state) => self.keeper.record(&name, state),
                Effect::Gone(id) => {
                    self.uplink.gone(id);
                    self.screen.rise(id, &mut self.log);
                    self.consent.gone(id, &mut self.console, &mut self.log);
                    self.organ.gone(id, &mut self.log);
                    if self.console.inside() == Some(id) {
                        self.console.leave(&mut self.log);
                    }
                }
            }
        }
    }

    /// A room reports of its start, or writes to its terminal.
    fn on_room(&mut self, id: RoomId) {
        self.on_output(id);
        self.rooms.progress(id);
    }

    /// Takes what a room has written to its terminal, onto the console if somebody is inside.
    fn on_output(&mut self, id: RoomId) {
        let inside = self.console.inside() == Some(id);
        if let Some(room) = self.rooms.room(id) {
            room.output(inside.then_some(&mut self.log));
        }
    }

    /// Answers the clients of an umbilical. Who may ask what was decided by the uid (`Verb::allowed`).
    fn on_umbilical(&mut self, door: Door) {
        let calls = self.server(door).map(Server::turn).unwrap_or_default();
        for (id, verb) in calls {
            if (door, &verb) == (Door::Spine, &Verb::Validate) {
                self.health.ask(id);
                continue;
            }
            let answer = self.serve(door, verb).map_err(|why| why.to_string());
            let Some(server) = self.server(door) else {
                return;
            };
            match answer {
                Ok((text, given)) => server.reply(id, Ok(&text), given),
                Err(why) => server.reply(id, Err(&why), None),
            }
        }
    }

    /// The answer to a client, and the descriptor that goes with it.
    fn serve(&mut self, door: Door, verb: Verb) -> Result<(String, Option<OwnedFd>)> {
        let policy = match door {
            Door::Spine => None,
            Door::Room(id) => self.rooms.room(id).map(|it| Rc::clone(&it.policy)),
        };
        if let Some(text) = self.show(&verb, policy.as_ref().map(|it| &it.name)) {
            return Ok((text, None));
        }
        let given = match (verb, door) {
            (Verb::Net(report), Door::Room(id)) => {
                let pid = self.rooms.gateway(id)?;
                let set = |card: &Card, old: Option<&Lease>, new: Option<&Lease>| {
                    set_lease(pid, card, old, new)
                };
                self.uplink.take(id, report, &mut self.log, set)?;
                return Ok((String::new(), None));
            }
            (Verb::Device, Door::Room(id)) => self.rooms.lend(id)?,
            (verb @ Verb::Port, Door::Room(id)) if self.facts.allows(&verb) => {
                self.rooms.port(id)?
            }
            (verb @ Verb::Stick, Door::Room(id)) if self.facts.allows(&verb) => self.stick(id)?,
            (Verb::Update, Door::Room(id)) => self.update_from(id, policy.as_deref())?,
            (Verb::Send(to, file), Door::Room(id)) => {
                let from = policy.as_deref().context("no policy")?;
                self.send(id, from, &to, file)?
            }
            (Verb::Receive, Door::Room(id)) => {
                let from = policy.as_deref().context("no policy")?;
                self.courier.receive(id, from, self.rooms.may_move(id))?
            }
            (Verb::Organ, Door::Room(id)) => {
                self.rooms.granted(id, ORGAN)?;
                self.organ.serve(id, &mut self.poll)?
            }
            (Verb::Ask(most), Door::Room(id)) => {
                self.ask(id, policy.as_deref(), Kind::Ask, most)?
            }
            (Verb::Seat, Door::Room(id)) => self.seat(id)?,
            (Verb::Embed, Door::Room(id)) => self.ask(id, policy.as_deref(), Kind::Embed, 0)?,
            (Verb::Gate(wish), Door::Room(_)) => {
                let (ready, together) = (self.is_ready(), self.rooms.persist_bytes());
                let wishes = self.keeper.wishes();
                wishes.add(&wish, policy.as_deref(), together, ready)?
            }
            _ => bail!("not at this door; next: use the operator line"),
        };
        Ok((String::new(), Some(given)))
    }

    /// Gives a room a seat (A14): its end of the connection on which it is given displays, keyboards and pointers.
    fn seat(&mut self, id: RoomId) -> Result<OwnedFd> {
        self.rooms.granted(id, SCREEN)?;
        let kinds = self.rooms.room(id).map(|it| it.policy.get(Grant::Devices));
        let (ours, theirs) = packet::pair().context("make a socket")?;
        let seat = Seat::new(ours, kinds.unwrap_or(0));
        self.screen.seat(id, seat, &mut self.poll, &mut self.log)?;
        self.heed();
        Ok(theirs)
    }

    /// Listens to the keys that lead from a room's screen to the list of rooms, where there is an operator line that it stands for.
    fn heed(&mut self) {
        let wanted = self.facts.has_line() && self.screen.has_seats();
        self.attention.listen(wanted, &mut self.poll);
    }

    /// In each turn: displays and keyboards go to whoever is to have them. Who keeps them does not go on (C12).
    fn attend(&mut self) {
        let question = self.console.question().map(str::to_owned);
        let shown = || {
            let page = self.attention.page(|| self.rooms.overview());
            page.map(|it| Page::List(it.to_owned()))
        };
        let page = question.map(Page::Question).or_else(shown);
        let seats = self.screen.seats();
        let front = seats.into_iter().find(|id| self.rooms.is_in_front(*id));
        let front = front.filter(|_| self.attention.place() == Place::Room);
        let (poll, log) = (&mut self.poll, &mut self.log);
        if let Some(id) = self.screen.attend(page, front, poll, log) {
            self.rooms.condemn(id);
        }
    }

    /// Takes a line that was entered at the list of rooms.
    fn led(&mut self, line: &str) {
        match line {
            "" => return self.attention.go(Place::Room),
            "line" => return self.attention.go(Place::Line),
            _ => {}
        }
        let answer = self.answer(line);
        self.carry_out();
        let forward = match Verb::parse(line) {
            Ok(Verb::Start(name) | Verb::Focus(name) | Verb::Enter(name)) => Some(name),
            _ => None,
        };
        if forward.is_some_and(|name| self.rooms.is_front(&name)) {
            self.attention.go(Place::Room);
        } else if self.jobs.ask() {
            // A child asks there.
            self.attention.go(Place::Line);
        } else {
            self.attention.show(answer);
        }
    }

    /// Hands a question of a room to the organ.
    fn ask(
        &mut self,
        id: RoomId,
        policy: Option<&Policy>,
        kind: Kind,
        most: u32,
    ) -> Result<OwnedFd> {
        ensure!(
            self.rooms.may_move(id),
            "this room is not in front; next: ask when it is"
        );
        let policy = policy.context("no policy")?;
        self.organ.ask(id, policy, kind, most)
    }

    /// Begins to take a file from a room for another one.
    fn send(
        &mut self,
        id: RoomId,
        from: &Policy,
        to: &PersonaName,
        file: String,
    ) -> Result<OwnedFd> {
        ensure!(
            self.is_ready(),
            "not now: the boot is dirty, or ends; next: see status"
        );
        ensure!(
            self.rooms.may_move(id),
            "this room is not in front; next: send it when it is"
        );
        let (taker, policy) = self.rooms.find_running(to)?;
        let can_ask = self.console.is_open() && !self.consent.asks();
        let both = ((id, from), (taker, &*policy));
        self.courier
            .send(both.0, both.1, file, can_ask, &mut self.poll)
    }

    /// What a verb that only looks shows; a room is shown itself and what is nested in it, whatever it is called inside.
    fn show(&self, verb: &Verb, room: Option<&PersonaName>) -> Option<String> {
        match (verb, room) {
            (Verb::Hello, _) => Some(doors::HELLO.to_owned()),
            (Verb::Version, None) => Some(self.version()),
            (Verb::Status, None) => Some(self.status()),
            (Verb::Rooms, None) => Some(self.rooms.list(None) + &self.organ.rows()),
            (Verb::Status | Verb::Rooms, _) => Some(self.rooms.list(room)),
            _ => None,
        }
    }

    fn server(&mut self, door: Door) -> Option<&mut Server> {
        match door {
            Door::Spine => self.umbilical.as_mut(),
            Door::Room(id) => self.rooms.room(id).map(|it| &mut it.server),
        }
    }

    fn invite(&mut self) {
        if !self.stage.is_ending() {
            self.console.invite(&mut self.log);
        }
    }

    /// Takes what was typed: keys of the operator line, or of the room that the console is connected with.
    fn on_operator(&mut self) {
        let typed = self.console.read(&mut self.log);
        let mut typed = typed.as_slice();
        while let Some((byte, rest)) = typed.split_first() {
            if let Some(id) = self.console.inside() {
                let typed = self.console.typed(typed, &mut self.log);
                if let Some(room) = self.rooms.room(id) {
                    room.input(&typed.keys, typed.size);
                }
                return;
            }
            let names = || self.rooms.names();
            if let Some(line) = self.console.key(*byte, names, &mut self.log) {
                let answer = match self.console.question() {
                    Some(_) => self.answered(&line).to_owned(),
                    None => self.answer(&line),
                };
                self.carry_out();
                self.log.draw(answer);
            }
            typed = rest;
        }
    }

    /// Takes what was typed at a question on the screen, or at the list of rooms.
    fn on_arbiter(&mut self) {
        for line in self.screen.entered(&mut self.log) {
            if self.console.question().is_some() {
                let answer = self.answered(&line);
                self.screen.tell(answer);
            } else {
                self.led(&line);
            }
        }
    }

    /// Takes the answer to the question that is asked; what to say below it, if it goes on.
    fn answered(&mut self, line: &str) -> &'static str {
        let console = &mut self.console;
        if self.courier.asks() {
            return self
                .courier
                .answer(line, &mut self.rooms, console, &mut self.log);
        }
        match self.consent.answer(line, console, &mut self.log) {
            Ok(Some((id, want))) => self.grant(id, want),
            Ok(None) => {}
            Err(other) => return other,
        }
        ""
    }

    /// The answer to a line, once what it asks for is done or begun.
    fn answer(&mut self, line: &str) -> String {
        match Verb::parse(line) {
            Ok(verb) if !self.facts.allows(&verb) => format!("{REFUSED}\n"),
            Ok(verb) => {
                let shown = self.show(&verb, None);
                shown.unwrap_or_else(|| self.obey(verb))
            }
            #[cfg(feature = "fault")]
            Err(_) if line.starts_with("fault ") => fault::inject(self, line),
            Err(_) if line.is_empty() => String::new(),
            Err(error) => {
                let usage = line.strip_prefix("help ").and_then(usage);
                usage.unwrap_or_else(|| format!("{error}\n"))
            }
        }
    }

    /// Does what the operator asks for; the text to be shown, if there is one.
    fn obey(&mut self, verb: Verb) -> String {
        match verb {
            Verb::Help => return help() + HELP,
            Verb::Log => return self.log.text(),
            Verb::Validate => self.start_validator(),
            Verb::Update => match self.may_update() {
                Ok(()) => self.update(None),
                Err(why) => return format!("update: FAIL: {why}\n"),
            },
            Verb::Reseal => self.reseal(),
            Verb::Reset => self.reset(),
            Verb::Lock => self.lock(),
            Verb::Disks => self.list_disks(),
            Verb::Install(disk) => self.install(&disk),
            Verb::Poweroff => self.shut_down(Way::PowerOff, "operator"),
            Verb::Reboot => self.shut_down(Way::Reboot, "operator"),
            Verb::Start(name) => {
                let begun = match self.is_ready() {
                    true => self.rooms.start(&name, &mut self.poll),
                    false => Err(anyhow!("the boot is dirty, or ends; next: see status")),
                };
                self.rooms.report("start", &name, begun);
            }
            Verb::Stop(name) => {
                let stopped = self.rooms.stop(&name);
                self.rooms.report("stop", &name, stopped);
            }
            Verb::Focus(name) => {
                let passed = self.rooms.focus(&name);
                self.rooms.report("focus", &name, passed);
            }
            Verb::Enter(name) => self.enter(&name),
            _ => return "only a room has one; next: enter one\n".to_owned(),
        }
        String::new()
    }

    fn enter(&mut self, name: &PersonaName) {
        let entered = self.rooms.enter(name);
        // The line that the room is in front comes before the one that somebody is inside.
        self.carry_out();
        let room = entered.and_then(|id| Ok((id, self.rooms.room(id).context("it is gone")?)));
        let inside = room.and_then(|(id, room)| self.console.enter(id, room, &mut self.log));
        self.rooms.report("enter", name, inside);
    }
}

#[cfg(test)]
mod tests;
