//! PID 1 (A11): one thread, one `match` over a closed enum of events, and the only place that feeds the watchdog (A12).

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use bay0_state::Keeper;
use bay0_umbilical::{ConnId, Server};
use nix::libc;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use crate::boot::{self, PHASES, Phase};
use crate::care::Task;
use crate::log::{Log, PROMPT, boot_ms};
use crate::shutdown::{End, POWER_OFF, REBOOT};
use crate::validator::{self, Validator};
use crate::watchdog::Watchdog;

/// Most zombies reaped before the loop looks at its other events again.
const REAP_BATCH: usize = 256;
/// How often the last-known-good time is written, in ticks of a second.
const FLOOR_TICKS: u64 = 60;
/// How soon a console that was full is tried again.
const CONSOLE_RETRY: Duration = Duration::from_millis(10);
/// How a press of the power button ends the 24 bytes of its record (`input-event-codes.h`): EV_KEY, KEY_POWER, 1.
const POWER_PRESSED: [u8; 8] = [1, 0, 116, 0, 1, 0, 0, 0];

/// Everything that can wake PID 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A signal: a child ended, or somebody wants the machine down.
    Signal,
    /// A second has passed.
    Tick,
    /// The keeper's socket or its pidfd: a reply, or its end.
    Keeper,
    /// The umbilical's own epoll descriptor.
    Umbilical,
    /// A line on the console.
    Operator,
    /// A part of the validator's report, or its end.
    Validator,
    /// The power button.
    Button,
}

impl Event {
    const ALL: [Event; 7] = {
        use Event::*;
        [Signal, Tick, Keeper, Umbilical, Operator, Validator, Button]
    };
}

/// Everything PID 1 holds.
pub struct Bay0 {
    pub(crate) log: Log,
    epoll: Epoll,
    signals: SignalFd,
    timer: TimerFd,
    pub(crate) watchdog: Option<Watchdog>,
    /// What the factory baked in: `soil=`, `profile=`, `epoch=` lines.
    pub(crate) facts: String,
    /// None while the boot is dirty.
    pub(crate) keeper: Option<Keeper>,
    pub(crate) umbilical: Option<Server>,
    pub(crate) console: Option<File>,
    pub(crate) validator: Option<Validator>,
    buttons: Vec<File>,
    pub(crate) end: Option<End>,
    pub(crate) tally: Tally,
}

/// What PID 1 remembers besides; all of it begins empty.
#[derive(Default)]
pub struct Tally {
    /// What the keeper is busy with.
    pub task: Option<Task>,
    /// How often the keeper was started again.
    pub restarts: u32,
    /// Why this boot is dirty, in the house form; empty when it is not.
    pub trouble: Vec<String>,
    /// Validations that wait for the keeper's probe.
    pub asked: Vec<ConnId>,
    /// The last-known-good time is to be written.
    pub floor_due: bool,
    /// The genesis log refuses records, which has been said.
    pub log_refused: bool,
    /// Last genesis record that was acknowledged.
    pub log_seq: u64,
    /// The personas and their states, a line each, as the boot left them.
    pub personas: String,
    /// The last validation's verdict.
    pub verdict: String,
    /// bay0's first instruction, in milliseconds since the kernel started.
    pub exec_ms: u64,
    /// When the operator line was offered.
    pub operator_ms: u64,
    /// When the first validation ended; 0 before.
    pub validated_ms: u64,
    /// Children reaped since the loop began.
    pub reaped: u64,
    /// Seconds since the loop began.
    pub ticks: u64,
    /// The last reaping stopped at its batch, not at the last zombie.
    pub more_to_reap: bool,
    /// Every acknowledged record is to bring the next one.
    #[cfg(feature = "fault")]
    pub write_load: bool,
}

impl Bay0 {
    /// Takes over the process's signals and starts the tick.
    ///
    /// # Errors
    /// The errno of the system call without which there can be no loop.
    pub fn new(log: Log, exec_ms: u64) -> nix::Result<Bay0> {
        // Every signal is blocked: none can interrupt, and those that mean something arrive as events.
        SigSet::all().thread_block()?;
        let wanted = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT];
        let signals = SignalFd::with_flags(&SigSet::from_iter(wanted), SfdFlags::all())?;
        let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::all())?;
        let second = Expiration::Interval(TimeSpec::new(1, 0));
        timer.set(second, TimerSetTimeFlags::empty())?;
        // Control-alt-delete asks PID 1 instead of resetting the machine; where that cannot be set, it resets.
        let _ = nix::sys::reboot::set_cad_enabled(false);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        add(&epoll, &signals, Event::Signal)?;
        add(&epoll, &timer, Event::Tick)?;
        let mut tally = Tally::default();
        (tally.exec_ms, tally.more_to_reap) = (exec_ms, true);
        Ok(Bay0 {
            log,
            epoll,
            signals,
            timer,
            watchdog: None,
            facts: String::new(),
            keeper: None,
            umbilical: None,
            console: None,
            validator: None,
            buttons: Vec::new(),
            end: None,
            tally,
        })
    }

    /// Boots, then serves events until the machine is to go down.
    pub fn run(mut self) -> (Bay0, End) {
        for phase in PHASES {
            self.phase(phase);
        }
        self.tally.operator_ms = boot_ms();
        self.log.draw(PROMPT);
        self.log.prompt = true;
        for button in power_buttons() {
            self.watch(&button, Event::Button);
            self.buttons.push(button);
        }
        self.start_validator();
        loop {
            self.turn();
            // The log gets a last chance to reach the disk, this end's own lines included.
            let kept = self.keeper.is_none() || self.log.unkept().is_none();
            if let Some(end) = self.end.filter(|_| kept) {
                return (self, end);
            }
        }
    }

    /// Runs one phase and logs its outcome with its milliseconds.
    pub fn phase(&mut self, (name, body, otherwise): Phase) {
        let begun = boot_ms();
        let outcome = body(self);
        let ms = boot_ms().saturating_sub(begun);
        let text = outcome.unwrap_or_else(|error| {
            let text = format!("FAIL: {error:#}");
            let complete = text.contains("; next: ");
            if complete {
                text
            } else {
                text + "; " + otherwise
            }
        });
        self.log.say(format!("{name}: {text} ({ms} ms)"));
    }

    /// Adds a source of events.
    pub fn watch(&mut self, source: impl AsFd, event: Event) {
        if let Err(errno) = add(&self.epoll, source, event) {
            let text = format!("{event:?}: {errno:?}; it goes unheard; next: reboot");
            self.log.say(format!("bay0: FAIL: watch {text}"));
        }
    }

    fn turn(&mut self) {
        let mut ready = [EpollEvent::empty(); Event::ALL.len()];
        // EINTR and its like make an empty turn, which is harmless.
        let count = self.epoll.wait(&mut ready, self.timeout()).unwrap_or(0);
        for event in ready.iter().take(count) {
            let index = usize::try_from(event.data()).unwrap_or(usize::MAX);
            match Event::ALL.get(index) {
                Some(Event::Signal) => self.on_signal(),
                Some(Event::Tick) => self.on_tick(),
                Some(Event::Keeper) => self.on_keeper(),
                Some(Event::Umbilical) => self.on_umbilical(),
                Some(Event::Operator) => self.on_operator(),
                Some(Event::Validator) => self.check_validator(),
                Some(Event::Button) => self.on_button(),
                None => {}
            }
        }
        if self.tally.more_to_reap {
            self.reap();
        }
        self.check_validator();
        self.pump();
        self.log.flush();
        if let Some(Err(err)) = self.watchdog.as_mut().map(Watchdog::feed) {
            self.watchdog = None;
            let text = format!("feed: {err}; a reset follows; next: none");
            self.log.say(format!("watchdog: FAIL: {text}"));
        }
    }

    /// Until the nearest deadline; rounded up, or a fraction of a millisecond would make the loop spin.
    fn timeout(&self) -> EpollTimeout {
        let waits = [
            self.keeper.as_ref().and_then(Keeper::time_left),
            self.validator.as_ref().map(validator::time_left),
            self.log.is_behind().then_some(CONSOLE_RETRY),
            self.tally.more_to_reap.then_some(Duration::ZERO),
        ];
        let wait = waits.into_iter().flatten().min();
        let wait = wait.map(|wait| wait.as_micros().div_ceil(1000));
        let wait = wait.and_then(|ms| u16::try_from(ms).ok());
        wait.map_or(EpollTimeout::NONE, EpollTimeout::from)
    }

    fn on_signal(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            match i32::try_from(info.ssi_signo) {
                Ok(libc::SIGTERM) => self.shut_down(POWER_OFF, "SIGTERM"),
                // The kernel sends SIGINT for control-alt-delete.
                Ok(libc::SIGINT) => self.shut_down(REBOOT, "SIGINT"),
                _ => {}
            }
        }
        self.reap();
    }

    fn on_tick(&mut self) {
        let _ = self.timer.wait();
        self.tally.ticks = self.tally.ticks.saturating_add(1);
        self.tally.floor_due |= self.tally.ticks.is_multiple_of(FLOOR_TICKS);
        if let Some(server) = self.umbilical.as_mut() {
            server.expire(Instant::now());
        }
        if self.console.is_none() {
            // Without a console there is nobody to tell either.
            let _ = boot::operator(self);
        }
        // A signal can be lost among many; the sweep finds what it announced (H07).
        self.reap();
    }

    /// Reaps a batch of zombies, whoever's they were, in constant memory (H07).
    fn reap(&mut self) {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
        let reap = || waitid(Id::All, flags).is_ok_and(|s| s != WaitStatus::StillAlive);
        let count = (0..REAP_BATCH).take_while(|_| reap()).count();
        self.tally.reaped = self.tally.reaped.saturating_add(count as u64);
        self.tally.more_to_reap = count == REAP_BATCH;
    }

    fn on_button(&mut self) {
        let mut record = [0; 24];
        let mut pressed = false;
        for button in &mut self.buttons {
            while matches!(button.read(&mut record), Ok(24)) {
                pressed |= record.ends_with(&POWER_PRESSED);
            }
        }
        if pressed {
            self.shut_down(POWER_OFF, "power button");
        }
    }

    /// Lets the loop end after this turn.
    pub fn shut_down(&mut self, end: End, by: &str) {
        if self.end.replace(end).is_none() {
            self.log.prompt = false;
            self.log
                .say(format!("shutdown: {} requested by {by}", end.0));
        }
    }
}

fn add(epoll: &Epoll, source: impl AsFd, event: Event) -> nix::Result<()> {
    epoll.add(source, EpollEvent::new(EpollFlags::EPOLLIN, event as u64))
}

/// Every ACPI power button, found by the name its driver gives it.
fn power_buttons() -> Vec<File> {
    let open = |entry: fs::DirEntry| {
        let name = fs::read_to_string(entry.path().join("device/name")).ok()?;
        let node = Path::new("/dev/input").join(entry.file_name());
        let mut options = File::options();
        options.read(true).custom_flags(libc::O_NONBLOCK);
        (name.trim_end() == "Power Button").then(|| options.open(node).ok())?
    };
    let inputs = fs::read_dir("/sys/class/input").into_iter().flatten();
    inputs.flatten().filter_map(open).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a11_every_event_finds_itself_by_its_number() {
        for (index, event) in Event::ALL.iter().enumerate() {
            assert_eq!(*event as usize, index);
        }
    }
}
