//! One room that is there: its life, its limits, its terminal.
//!
//! | life | its program begins | it is to die | its first process ends |
//! | --- | --- | --- | --- |
//! | starting | running | stopping | ended |
//! | running | running | stopping | ended |
//! | stopping | stopping | stopping, since it was first | ended, stopped |
//! | ended | ended | ended | ended |
//!
//! An ended room is there until its group is empty: what is nested in it may still be dying.

use std::fs::File;
use std::io::Read;
use std::rc::Rc;

use bay0_persona::{End, Grant, Group, Policy, Room};
use bay0_umbilical::Server;
use nix::libc;
use nix::sys::signal::{SIGCHLD, raise};

use crate::pid1::id::RoomId;
use crate::pid1::say::Log;
use crate::sys::boot_ms;

/// What is kept of a room's output while nobody is inside, in bytes; also the most that is read at once.
const TAIL: usize = 4096;
/// How often one room's terminal is read before the others have their turn.
const READS: usize = 8;
/// How many seconds a room's start may stay at one stage, while the room is not frozen: a busy machine needs one or two.
const STAGE_S: u32 = 10;
/// How long after it came to a limit a room's end may be laid to that, in milliseconds: what is killed on a busy machine needs time.
const BY_LIMIT_MS: u64 = 60_000;
const OOM: &str = "killed at its memory limit, bytes";
const FORKS: &str = "forks refused at its limit of processes";
const THROTTLED: &str = "times throttled at its limit of percent";
/// What the kernel counts when a room comes to a limit: file, key, what it means, and the limit. It says at once when one of the first
/// two has changed; what it counts of the processor is looked at each second.
const LIMITS: [(&str, &str, &str, Grant); 3] = [
    ("memory.events", "oom_kill ", OOM, Grant::MemoryMax),
    ("pids.events", "max ", FORKS, Grant::Pids),
    ("cpu.stat", "nr_throttled ", THROTTLED, Grant::CpuQuota),
];

/// How often a room has come to a limit: counted, said, and counted last at this time, in milliseconds since the kernel started.
#[derive(Clone, Copy, Default)]
struct Met {
    count: u64,
    said: u64,
    last_ms: u64,
}

/// See the table above. Times are in milliseconds since the kernel started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    /// Its program does not run yet: the stage that it was last seen at, and how many seconds it has been there, awake.
    Starting { stage: String, stuck_s: u32 },
    /// Its program runs.
    Running,
    /// It was killed.
    Stopping { since_ms: u64 },
    /// Its first process has ended, after it was killed then or by itself.
    Ended { end: End, killed_ms: Option<u64> },
}

impl Life {
    fn begin(&mut self) {
        if matches!(self, Self::Starting { .. }) {
            *self = Self::Running;
        }
    }

    fn condemn(&mut self, since_ms: u64) {
        if matches!(self, Self::Starting { .. } | Self::Running) {
            *self = Self::Stopping { since_ms };
        }
    }

    fn end(&mut self, end: End) {
        let killed_ms = match self {
            Self::Stopping { since_ms } => Some(*since_ms),
            Self::Ended { .. } => return,
            _ => None,
        };
        *self = Self::Ended { end, killed_ms };
    }
}

/// A room that is there.
pub struct Running {
    /// What it may.
    pub policy: Rc<Policy>,
    /// Its first process.
    pub room: Room,
    /// The number of the outermost room that this one is in: its own, if it is not nested. The focus is that one's.
    pub top: RoomId,
    /// That one goes on while another room is in front, and this one with it.
    pub background: bool,
    /// Its group.
    pub group: Group,
    /// Its end of the umbilical.
    pub server: Server,
    /// The last of what it wrote to its terminal while nobody was inside.
    pub tail: Vec<u8>,
    /// When it was asked for, in milliseconds since the kernel started.
    begun_ms: u64,
    life: Life,
    met: [Met; LIMITS.len()],
    /// What tells of that, watched for as long as it is open.
    _events: Vec<File>,
}

/// What is made in a room's group.
pub struct Made {
    /// Its first process.
    pub room: Room,
    /// Its end of the umbilical.
    pub server: Server,
    /// What tells of its limits.
    pub events: Vec<File>,
}

impl Running {
    /// A room that starts.
    pub fn new(
        policy: Rc<Policy>,
        (top, background): (RoomId, bool),
        group: Group,
        made: Made,
        begun_ms: u64,
    ) -> Self {
        Self {
            policy,
            room: made.room,
            top,
            background,
            group,
            server: made.server,
            tail: Vec::new(),
            begun_ms,
            life: Life::Starting {
                stage: String::new(),
                stuck_s: 0,
            },
            met: Default::default(),
            _events: made.events,
        }
    }

    /// Where it is in its life.
    pub fn life(&self) -> &Life {
        &self.life
    }

    /// It starts or runs, and nobody has killed it.
    pub fn lives(&self) -> bool {
        matches!(self.life, Life::Starting { .. } | Life::Running)
    }

    /// How long ago it was asked for, in milliseconds.
    pub fn age_ms(&self) -> u64 {
        boot_ms().saturating_sub(self.begun_ms)
    }

    /// Whether it is not frozen while `front` has the focus: the system's own rooms serve the others, and who is killed runs to die.
    pub fn awake(&self, front: Option<RoomId>) -> bool {
        let serves = self.background || self.policy.name.is_system();
        front == Some(self.top) || serves || !self.lives()
    }

    /// What it tells of its start: its program runs, or the stage that failed, with which it dies.
    pub fn progress(&mut self) -> Option<Result<(), String>> {
        let starting = matches!(self.life, Life::Starting { .. });
        let told = starting.then(|| self.room.progress()).flatten()?;
        match &told {
            Ok(()) => self.life.begin(),
            Err(_) => self.condemn(),
        }
        Some(told.map_err(|stage| stage.to_string()))
    }

    /// It is to die.
    pub fn condemn(&mut self) {
        self.life.condemn(boot_ms());
    }

    /// Its first process has ended.
    pub fn end(&mut self, end: End) {
        self.life.end(end.of_program());
    }

    /// How it ended, once it has; whether it has failed.
    pub fn how(&self) -> Option<(String, bool)> {
        match &self.life {
            Life::Ended {
                end: _,
                killed_ms: Some(since),
            } => {
                let ms = boot_ms().saturating_sub(*since);
                Some((format!("stopped ({ms} ms)"), false))
            }
            Life::Ended {
                end,
                killed_ms: None,
            } => {
                let how = format!("ended: {end}{}", self.by_limit(*end));
                Some((how, *end != End::Exit(0)))
            }
            _ => None,
        }
    }

    /// One line of the list of rooms, behind the name.
    pub fn text(&self, front: Option<RoomId>) -> String {
        let word = match self.life {
            Life::Starting { .. } => "starting",
            Life::Running => "running",
            Life::Stopping { .. } | Life::Ended { .. } => "stopping",
        };
        let place = match self.awake(front) {
            true if front == Some(self.top) => "front",
            true => "awake",
            false => "frozen",
        };
        let figure = |file, key| self.group.figure(file, key).unwrap_or(0);
        let (bytes, pids) = (figure("memory.current", ""), figure("pids.current", ""));
        let cpu_ms = figure("cpu.stat", "usage_usec ") / 1000;
        format!("{word} {place} memory={bytes} processes={pids} cpu_ms={cpu_ms}")
    }

    /// Takes what it has written, as far as the console takes it if somebody is inside: a room that writes more has to wait.
    pub fn output(&mut self, mut inside: Option<&mut Log>) {
        let mut bytes = [0; TAIL];
        for _ in 0..READS {
            if inside.as_ref().is_some_and(|log| log.is_behind()) {
                return;
            }
            let count = self.room.terminal.read(&mut bytes).unwrap_or(0);
            match (bytes.get(..count), inside.as_mut()) {
                (Some(&[]) | None, _) => return,
                (Some(written), Some(log)) => log.draw(written),
                (Some(written), None) => self.tail.extend(written),
            }
            let over = self.tail.len().saturating_sub(TAIL);
            self.tail.drain(..over);
        }
        // There may be more, of which nothing tells again: the next turn comes at once.
        let _ = raise(SIGCHLD);
    }

    /// What there is to say of the limits that it has come to: at first, then each time a count has doubled.
    pub fn limits(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for ((file, key, what, limit), met) in LIMITS.into_iter().zip(&mut self.met) {
            let count = self.group.figure(file, key).unwrap_or(0);
            if count > met.count {
                (met.count, met.last_ms) = (count, boot_ms());
            }
            if count > met.said.saturating_mul(2) {
                met.said = count;
                let (name, limit) = (&self.policy.name, self.policy.get(limit));
                lines.push(format!("room: {name}: {count} {what}: {limit}"));
            }
        }
        lines
    }

    /// Looks at a start, each second; what there is to say if it has been at one stage for too long.
    pub fn is_stuck(&mut self) -> Option<String> {
        let Life::Starting { stage, stuck_s } = &mut self.life else {
            return None;
        };
        let now = self.room.stage();
        *stuck_s = if now == *stage {
            stuck_s.saturating_add(1)
        } else {
            0
        };
        *stage = now;
        (*stuck_s >= STAGE_S).then(|| format!("still at stage {stage} after {STAGE_S} s"))
    }

    /// The limit that a room's program has ended by, if it came to that a moment ago: memory if it was killed, processes if it failed.
    fn by_limit(&self, ended: End) -> String {
        let limit = match ended {
            End::Signal(libc::SIGKILL) => Grant::MemoryMax,
            End::Exit(1..) => Grant::Pids,
            _ => return String::new(),
        };
        let met = |met: &Met| met.count > 0 && boot_ms().saturating_sub(met.last_ms) < BY_LIMIT_MS;
        let mut all = LIMITS.iter().zip(&self.met);
        let found = all.find(|(it, at)| it.3 == limit && met(at));
        found.map_or_else(String::new, |((_, _, what, _), _)| {
            format!(", {what}: {}", self.policy.get(limit))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c06_a_room_lives_by_the_table_cell_by_cell() {
        let (stage, end) = (String::new(), End::Exit(0));
        let starting = || Life::Starting {
            stage: stage.clone(),
            stuck_s: 0,
        };
        let (running, stopping) = (|| Life::Running, || Life::Stopping { since_ms: 1 });
        let ended = |killed_ms| Life::Ended { end, killed_ms };
        let after = |mut life: Life, step: fn(&mut Life)| {
            step(&mut life);
            life
        };
        let steps: [fn(&mut Life); 3] =
            [Life::begin, |it| it.condemn(1), |it| it.end(End::Exit(0))];
        let row = |life: &dyn Fn() -> Life| steps.map(|step| after(life(), step));
        assert_eq!(row(&starting), [running(), stopping(), ended(None)]);
        assert_eq!(row(&running), [running(), stopping(), ended(None)]);
        assert_eq!(row(&stopping), [stopping(), stopping(), ended(Some(1))]);
        assert_eq!(row(&|| ended(None)), [(); 3].map(|()| ended(None)));
        assert_eq!(
            after(stopping(), |it| it.condemn(9)),
            stopping(),
            "since it was first"
        );
        assert_eq!(after(ended(None), |it| it.end(End::Exit(9))), ended(None));
    }
}
