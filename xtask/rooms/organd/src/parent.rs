//! The one process that has the model for as long as the room runs: it takes questions from PID 1 and gives each a process of its own. It
//! never hears what is asked, nor what is answered.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use bay0_persona::{End, packet};
use bay0_state::gate::PACKET;
use bay0_umbilical::organ::{Done, NOT, Order, Outcome, Question, Report, WAITS};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::socket::MsgFlags;

use crate::child::{NO_WALLS, SAID, Task};
use crate::engine::Engine;
use crate::process::Child;
use crate::queue::{self, Act, Event, Place, State};
use crate::tally::Tally;
pub use crate::walls::Room;

/// Questions that are held at once, whatever they do.
pub const QUESTIONS: usize = 64;
/// Children that stand still at once: each has its memory.
pub const STILL: usize = 8;
/// How long an answer takes, while none has ended yet, in milliseconds.
const FIRST_MS: u64 = 5_000;
/// The mean of answers' times takes so much of each new one.
const WEIGHT: u64 = 4;
/// A prompt may take as long as so many tokens of an answer.
const PROMPT: u32 = 60;
/// Orders taken before the others have their turn.
const PER_TURN: usize = 16;

const NOW: MsgFlags = MsgFlags::MSG_DONTWAIT;

/// What a machine lets the organ do.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Answers that run at once.
    pub slots: usize,
    /// What each may use.
    pub room: Room,
    /// How long a room may take to send or to read the next packet.
    pub patience: Duration,
    /// How long an answer may run for each token that it may have. What it stands still begins that anew.
    pub token: Duration,
}

/// A question that is alive.
struct Alive {
    question: Question,
    /// The end of who answers. The child has it as well; here it shows that the room has hung up, and says what the child cannot.
    end: OwnedFd,
    begun: Instant,
    /// When its child began.
    started: Instant,
    state: State,
    child: Option<Child>,
    tally: Tally,
    /// The wait that the room knows of, in milliseconds.
    waits: Option<u64>,
}

impl Alive {
    fn place(&self) -> Place {
        Place {
            state: self.state,
            has_child: self.child.is_some(),
        }
    }

    /// Carries an event out.
    fn step(&mut self, event: Event) {
        let (state, act) = self.state.after(event);
        self.state = state;
        let signal = match act {
            Act::Leave => return,
            Act::Pause => Signal::SIGSTOP,
            Act::Kill => Signal::SIGKILL,
        };
        if let Some(child) = &self.child {
            // It can only be gone already, which its end will tell.
            let _ = child.signal(signal);
        }
    }

    /// Whether its child, if it has one, has ended.
    fn is_over(&self) -> Option<End> {
        match &self.child {
            Some(child) => match child.ended() {
                Ok(ended) => ended,
                // Nobody else reaps it: then it is gone.
                Err(_) => Some(End::Signal(0)),
            },
            None => matches!(self.state, State::Ending(_)).then_some(End::Signal(0)),
        }
    }

    /// How it has ended, once its child has: what the child has said to the room is what counts, if it came to that.
    fn outcome(&self, end: End) -> Outcome {
        match (end, self.tally.outcome(), self.state) {
            (End::Exit(SAID), Some(outcome), _) => outcome,
            // It had read all, and was gone before the child was.
            (_, Some(outcome), State::Ending(Outcome::HungUp)) => outcome,
            (_, _, State::Ending(outcome)) => outcome,
            _ => Outcome::Killed,
        }
    }
}

const UNWALLED: &str =
    "the walls around the answer's process do not stand, and nothing was heard; next: report it";

/// Why a question that its child did not end has ended, as the room reads it.
fn reason(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Cancelled => "cancelled; next: ask again",
        Outcome::Late => "it stood still for too long while this room was behind; next: ask again",
        Outcome::Overdue => {
            "it has run for longer than so many tokens take; next: ask with less, then report it"
        }
        Outcome::Killed => {
            "the answer's process was ended: by its limit of memory, its walls, or a fault of the engine; next: ask with less, then report it"
        }
        Outcome::Refused => "busy: too many questions at once; next: ask again later",
        Outcome::End | Outcome::Length | Outcome::HungUp => "the room has hung up; next: ask again",
    }
}

/// The parent.
pub struct Parent<'a> {
    /// The connection with PID 1.
    pid1: OwnedFd,
    engine: Result<&'a dyn Engine, String>,
    config: Config,
    /// In the order of asking.
    alive: Vec<Alive>,
    /// The mean time of answers, in milliseconds.
    mean: u64,
}

impl<'a> Parent<'a> {
    /// A parent with a model; or with none, and why.
    pub fn new(pid1: OwnedFd, engine: Result<&'a dyn Engine, String>, config: Config) -> Self {
        Self {
            pid1,
            engine,
            config,
            alive: Vec::new(),
            mean: FIRST_MS,
        }
    }

    /// Serves until PID 1 hangs up.
    ///
    /// # Errors
    /// The kernel refuses to wait.
    pub fn serve(mut self) -> io::Result<()> {
        let first = match &self.engine {
            Ok(engine) => {
                let model = engine.model();
                Report::Model {
                    name: model.name.clone(),
                    context: model.context,
                    embeds: model.embeds,
                }
            }
            Err(why) => Report::NoModel(why.clone()),
        };
        let mut is_there = self.report(&first);
        while is_there {
            self.start();
            self.tell_waits();
            self.wait()?;
            is_there = self.orders() && self.bury();
        }
        Ok(())
    }

    /// False if PID 1 is gone.
    fn report(&self, report: &Report) -> bool {
        let flags = MsgFlags::empty();
        packet::send(&self.pid1, &[&report.encode()], None, flags).is_ok()
    }

    /// Gives free slots to who waits for one.
    fn start(&mut self) {
        loop {
            let places: Vec<Place> = self.alive.iter().map(Alive::place).collect();
            if let Some(at) = queue::too_many(&places, STILL) {
                self.step(at, Event::End(Outcome::Cancelled));
            }
            let Some(at) = queue::next(&places, self.config.slots) else {
                return;
            };
            self.run(at);
        }
    }

    fn step(&mut self, at: usize, event: Event) {
        if let Some(alive) = self.alive.get_mut(at) {
            alive.step(event);
        }
    }

    /// Lets one run: its child goes on, or begins.
    fn run(&mut self, at: usize) {
        let (Some(alive), Ok(engine)) = (self.alive.get_mut(at), &self.engine) else {
            return;
        };
        let most = alive.question.max.saturating_add(PROMPT);
        let now = Instant::now();
        let until = now.checked_add(self.config.token.saturating_mul(most));
        alive.state = State::Running(until.unwrap_or(now));
        if let Some(child) = &alive.child {
            let _ = child.signal(Signal::SIGCONT);
            return;
        }
        let task = Task {
            end: &alive.end,
            question: &alive.question,
            begun: alive.begun,
            tally: &alive.tally,
            room: self.config.room,
            patience: self.config.patience,
        };
        match Child::start(|| task.serve(*engine)) {
            Ok(child) => {
                alive.child = Some(child);
                alive.started = Instant::now();
                // Without this a later child could write figures of this one, and nothing else.
                let _ = alive.tally.close();
            }
            Err(_) => alive.step(Event::End(Outcome::Refused)),
        }
    }

    /// Tells each room how long it waits, if it does not know that yet, or thinks of something much longer or shorter.
    fn tell_waits(&mut self) {
        let slots = u64::try_from(self.config.slots).unwrap_or(1).max(1);
        let waiting = self.alive.iter_mut();
        let waiting = waiting.filter(|it| it.state == State::Waiting && it.child.is_none());
        for (before, alive) in (1u64..).zip(waiting) {
            let ms = self.mean.saturating_mul(before).div_ceil(slots);
            let known = alive.waits.unwrap_or_default();
            if ms > known.saturating_mul(2) || ms < known / 2 {
                alive.waits = Some(ms);
                // A room that does not read is told nothing.
                let text = ms.to_string();
                let _ = packet::send(&alive.end, &[&[WAITS], text.as_bytes()], None, NOW);
            }
        }
    }

    /// Waits for PID 1, for a room that hangs up, for the end of a child, for the end of a question's time; deals with all but the first. While
    /// none of them is near it waits for ever, and nothing runs.
    fn wait(&mut self) -> io::Result<()> {
        let mut fds = vec![PollFd::new(self.pid1.as_fd(), PollFlags::POLLIN)];
        for alive in &self.alive {
            // Of one whose end is decided only its child counts. The kernel tells of a hang-up unasked.
            if !matches!(alive.state, State::Ending(_)) {
                fds.push(PollFd::new(alive.end.as_fd(), PollFlags::empty()));
            }
            fds.extend(
                alive
                    .child
                    .iter()
                    .map(|it| PollFd::new(it.as_fd(), PollFlags::POLLIN)),
            );
        }
        match poll(&mut fds, self.nearest()) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let gone = |alive: &Alive| has_hung_up(&alive.end);
        let now = Instant::now();
        for alive in &mut self.alive {
            if gone(alive) {
                alive.step(Event::End(Outcome::HungUp));
            } else if let Some((until, outcome)) = alive.state.ends()
                && until <= now
            {
                alive.step(Event::End(outcome));
            }
        }
        Ok(())
    }

    /// The time until the nearest one is late or overdue, or to one that needs no wait.
    fn nearest(&self) -> PollTimeout {
        let now = Instant::now();
        let next = self
            .alive
            .iter()
            .filter_map(|it| match (it.state, it.state.ends()) {
                (_, Some((until, _))) => Some(until.saturating_duration_since(now)),
                (State::Ending(_), None) if it.child.is_none() => Some(Duration::ZERO),
                _ => None,
            });
        // Rounded up: one that wakes too early finds nothing to do.
        let ms = next.min().map(|it| it.as_millis().saturating_add(1));
        ms.map_or(PollTimeout::NONE, |ms| {
            PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX)
        })
    }

    /// Takes PID 1's orders; false if it is gone.
    fn orders(&mut self) -> bool {
        let mut buffer = vec![0; PACKET];
        for _ in 0..PER_TURN {
            match packet::receive(&self.pid1, &mut buffer, NOW) {
                Ok((0, _)) => return false,
                Ok((length, given)) => {
                    let order = buffer.get(..length).and_then(Order::decode);
                    self.order(order, given);
                }
                Err(Errno::EAGAIN | Errno::EINTR) => return true,
                Err(_) => return false,
            }
        }
        true
    }

    fn order(&mut self, order: Option<Order>, given: Option<OwnedFd>) {
        let now = Instant::now();
        match (order, given) {
            (Some(Order::Answer(question)), Some(end)) => self.ask(question, end),
            (Some(Order::Stop(id)), _) => self.of(id, |it| {
                let ttl = Duration::from_secs(it.question.ttl.into());
                it.step(Event::Stop(now.checked_add(ttl).unwrap_or(now)));
            }),
            (Some(Order::Go(id)), _) => self.of(id, |it| it.step(Event::Go)),
            (Some(Order::Cancel(id)), _) => {
                self.of(id, |it| it.step(Event::End(Outcome::Cancelled)));
            }
            // PID 1 says nothing else.
            (Some(Order::Answer(_)) | None, _) => {}
        }
    }

    /// The question of this number; one that has just ended is none any more.
    fn of(&mut self, id: u32, act: impl FnOnce(&mut Alive)) {
        if let Some(alive) = self.alive.iter_mut().find(|it| it.question.id == id) {
            act(alive);
        }
    }

    fn ask(&mut self, question: Question, end: OwnedFd) {
        let tally = match Tally::new() {
            Ok(tally) if self.alive.len() < QUESTIONS && self.engine.is_ok() => tally,
            _ => return self.refuse(&question, &end),
        };
        let now = Instant::now();
        self.alive.push(Alive {
            question,
            end,
            begun: now,
            started: now,
            state: State::Waiting,
            child: None,
            tally,
            waits: None,
        });
    }

    /// A question that is not even held.
    fn refuse(&self, question: &Question, end: &OwnedFd) {
        let busy = reason(Outcome::Refused);
        let why = self.engine.as_ref().err().map_or(busy, String::as_str);
        say_why(end, why);
        packet::deafen(end);
        let done = Done {
            prompt: 0,
            generated: 0,
            ms: 0,
            outcome: Outcome::Refused,
        };
        self.report(&Report::Ended(question.id, done));
    }

    /// Tells PID 1 of every question that has ended, and the room where its child could not; false if PID 1 is gone.
    fn bury(&mut self) -> bool {
        let mut at = 0;
        while let Some(alive) = self.alive.get(at) {
            let Some(end) = alive.is_over() else {
                at = at.saturating_add(1);
                continue;
            };
            let alive = self.alive.remove(at);
            let outcome = alive.outcome(end);
            match (end, alive.tally.outcome()) {
                (End::Exit(SAID), Some(_)) => {}
                (End::Exit(NO_WALLS), _) => say_why(&alive.end, UNWALLED),
                _ => say_why(&alive.end, reason(outcome)),
            }
            packet::deafen(&alive.end);
            let (prompt, generated) = alive.tally.tokens();
            let ms = alive.begun.elapsed().as_millis();
            let done = Done {
                prompt,
                // A child that lies about it hurts its own room alone.
                generated: generated.min(alive.question.max),
                ms: u32::try_from(ms).unwrap_or(u32::MAX),
                outcome,
            };
            if matches!(outcome, Outcome::End | Outcome::Length) {
                self.learn(alive.started.elapsed());
            }
            if !self.report(&Report::Ended(alive.question.id, done)) {
                return false;
            }
        }
        true
    }

    /// An answer that came to its end tells how long the next ones will take.
    fn learn(&mut self, took: Duration) {
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let old = self.mean.saturating_mul(WEIGHT.saturating_sub(1));
        self.mean = old.saturating_add(ms) / WEIGHT;
    }
}

/// Tells a room why there is no answer. Who does not read is told nothing.
fn say_why(end: &OwnedFd, why: &str) {
    let _ = packet::send(end, &[&[NOT], why.as_bytes()], None, NOW);
}

fn has_hung_up(end: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(end.as_fd(), PollFlags::empty())];
    let _ = poll(&mut fds, PollTimeout::ZERO);
    let [fd] = fds;
    fd.revents()
        .is_some_and(|it| it.contains(PollFlags::POLLHUP))
}
