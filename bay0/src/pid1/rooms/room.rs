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

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::rc::Rc;

use anyhow::Result;
use bay0_persona::policy::VIA_NET;
use bay0_persona::{End, Grant, Group, Policy, Room};
use bay0_umbilical::Server;
use nix::libc;
use nix::sys::signal::{SIGCHLD, raise};

use crate::pid1::id::{Door, RoomId};
use crate::pid1::poll::{Poll, Source};
use crate::pid1::say::Log;
use crate::sys::{boot_ms, text_of};

/// The last of a room's output, in bytes, for whoever enters it; also the most that is read at once.
const TAIL: usize = 4096;
/// How often one room's terminal is read before the others have their turn.
const READS: usize = 8;
/// How many seconds a room's start may stay at one stage, while the room is not frozen: a busy machine needs one or two.
const STAGE_S: u32 = 10;
/// How long after it came to a limit a room's end may be laid to that, in milliseconds: what is killed on a busy machine needs time.
const BY_LIMIT_MS: u64 = 60_000;
/// What the kernel counts when a room comes to a limit. It says at once when one of the first two has changed; what it counts of the
/// processor is looked at each second, and so is what the packet filter counts.
const LIMITS: [Limit; 5] = [
    Limit {
        file: "memory.events",
        key: "oom_kill ",
        what: "killed at its memory limit, bytes",
        grant: Grant::MemoryMax,
    },
    Limit {
        file: "pids.events",
        key: "max ",
        what: "forks refused at its limit of processes",
        grant: Grant::Pids,
    },
    Limit {
        file: "cpu.stat",
        key: "nr_throttled ",
        what: "times throttled at its limit of percent",
        grant: Grant::CpuQuota,
    },
    Limit {
        file: NETWORK,
        key: "rate",
        what: "packets dropped at its limit of bytes a second",
        grant: Grant::NetRate,
    },
    Limit {
        file: NETWORK,
        key: "conn",
        what: "packets dropped at its limit of connections",
        grant: Grant::NetConnections,
    },
];
/// No file of a group: the packet filter of `sys://net` counts, see [`Running::stopped`].
const NETWORK: &str = "";

nix::ioctl_write_ptr_bad!(set_size, libc::TIOCSWINSZ, libc::winsize);

/// A limit, and where in a group's folder the kernel counts that a room has come to it (`admin-guide/cgroup-v2`).
struct Limit {
    file: &'static str,
    key: &'static str,
    what: &'static str,
    grant: Grant,
}

/// How often a room has come to a limit: counted, logged, and counted last at this time, in milliseconds since the kernel started.
#[derive(Clone, Copy, Default)]
struct Met {
    count: u64,
    logged: u64,
    last_ms: u64,
}

/// See the table above. Times are in milliseconds since the kernel started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    /// Its program does not run yet.
    Starting,
    /// Its program runs.
    Running,
    /// It was killed.
    Stopping { since_ms: u64 },
    /// Its first process has ended, after it was killed then or by itself.
    Ended { end: End, killed_ms: Option<u64> },
}

impl Life {
    fn begin(&mut self) {
        if *self == Self::Starting {
            *self = Self::Running;
        }
    }

    /// The room is to die.
    pub fn condemn(&mut self, since_ms: u64) {
        if matches!(self, Self::Starting | Self::Running) {
            *self = Self::Stopping { since_ms };
        }
    }

    /// The room's first process has ended.
    pub fn end(&mut self, end: End) {
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
    /// Its end of the umbilical.
    pub server: Server,
    /// Its first process.
    pub(super) room: Room,
    pub(super) group: Group,
    pub(super) life: Life,
    /// When it was asked for, in milliseconds since the kernel started.
    pub(super) begun_ms: u64,
    /// The last of what it wrote to its terminal while nobody was inside.
    tail: Vec<u8>,
    /// The stage of its start that it was last seen at, and how many seconds it has been there, awake.
    stage: String,
    stuck_s: u32,
    met: [Met; LIMITS.len()],
    /// What the packet filter has stopped, by what it calls it.
    stopped: BTreeMap<&'static str, u64>,
    /// The kernel's counters that say at once when they have changed, watched for as long as they are open.
    events: Vec<File>,
}

impl Running {
    /// A room that starts.
    ///
    /// # Errors
    /// The kernel does not count what it comes to.
    pub fn new(policy: Rc<Policy>, group: Group, room: Room, server: Server) -> Result<Self> {
        Ok(Self {
            policy,
            server,
            room,
            events: group.events()?,
            group,
            life: Life::Starting,
            begun_ms: boot_ms(),
            tail: Vec::new(),
            stage: String::new(),
            stuck_s: 0,
            met: Default::default(),
            stopped: BTreeMap::new(),
        })
    }

    /// Has all that a room can cause wake PID 1.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn watch(&self, id: RoomId, poll: &mut Poll) -> nix::Result<()> {
        poll.watch(&self.room.report, Source::Room(id))?;
        poll.watch(&self.room.terminal, Source::Room(id))?;
        poll.watch(&self.server, Source::Umbilical(Door::Room(id)))?;
        let mut events = self.events.iter();
        events.try_for_each(|file| poll.watch(file, Source::Limit(id)))
    }

    /// It starts or runs, and nobody has killed it.
    pub fn lives(&self) -> bool {
        matches!(self.life, Life::Starting | Life::Running)
    }

    /// How long ago it was asked for, in milliseconds.
    pub fn age_ms(&self) -> u64 {
        boot_ms().saturating_sub(self.begun_ms)
    }

    /// What it reports of its start: its program runs, or the stage that failed, with which it dies.
    pub fn progress(&mut self) -> Option<Result<(), String>> {
        let starting = self.life == Life::Starting;
        let report = starting.then(|| self.room.progress()).flatten()?;
        match &report {
            Ok(()) => self.life.begin(),
            Err(_) => self.life.condemn(boot_ms()),
        }
        Some(report)
    }

    /// How it ended, once it has; whether it has failed.
    pub fn how(&self) -> Option<(String, bool)> {
        let Life::Ended { end, killed_ms } = self.life else {
            return None;
        };
        let stopped_ms = killed_ms.map(|since| boot_ms().saturating_sub(since));
        let ended = || format!("ended: {end}{}", self.by_limit(end));
        let how = stopped_ms.map_or_else(ended, |ms| format!("stopped ({ms} ms)"));
        Some((how, killed_ms.is_none() && end != End::Exit(0)))
    }

    /// How it is, in a word, then its `place` and figures.
    pub fn text(&self, place: &str) -> String {
        let word = match self.life {
            Life::Starting => "starting",
            Life::Running => "running",
            Life::Stopping { .. } | Life::Ended { .. } => "stopping",
        };
        let figure = |file, key| self.group.figure(file, key).unwrap_or(0);
        let (bytes, pids) = (figure("memory.current", ""), figure("pids.current", ""));
        let cpu_ms = figure("cpu.stat", "usage_usec ") / 1000;
        let traffic = self.traffic().unwrap_or_default();
        format!("{word} {place} memory={bytes} processes={pids} cpu_ms={cpu_ms}{traffic}")
    }

    /// The bytes that came in and went out since it has its link, if it goes through `sys://net` (`proc_pid_net(5)`).
    fn traffic(&self) -> Option<String> {
        let has = self.policy.get(Grant::Network) == VIA_NET;
        let devices = text_of(format!("/proc/{}/net/dev", self.room.child.pid));
        let mut lines = devices.lines().filter(|_| has);
        let line = lines.find_map(|line| line.trim().strip_prefix("eth0:"))?;
        let mut figures = line.split_whitespace();
        let (bytes_in, bytes_out) = (figures.next()?, figures.nth(7)?);
        Some(format!(" bytes_in={bytes_in} bytes_out={bytes_out}"))
    }

    /// Whether it goes through `sys://net`, and has its link.
    pub fn is_linked(&self) -> bool {
        self.traffic().is_some()
    }

    /// What it had written before somebody entered it.
    pub fn take_tail(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.tail)
    }

    /// Gives the room what was typed inside it, and the console's size.
    pub fn input(&mut self, keys: &[u8], size: Option<libc::winsize>) {
        let fd = self.room.terminal.as_raw_fd();
        // SAFETY: the descriptor is open as long as the file is, and the size is read during the call.
        let _ = size.map(|size| unsafe { set_size(fd, &raw const size) });
        // A terminal that nobody reads is full at some time; what is typed then is lost, as on any terminal.
        let _ = self.room.terminal.write(keys);
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

    /// The packet filter has stopped so many packets more at the limit that it calls so.
    pub fn stop_packets(&mut self, key: &str, count: u64) {
        if let Some(limit) = LIMITS.iter().find(|it| it.key == key) {
            let all = self.stopped.entry(limit.key).or_default();
            *all = all.saturating_add(count);
        }
    }

    fn count(&self, limit: &Limit) -> u64 {
        match limit.file {
            NETWORK => self.stopped.get(limit.key).copied().unwrap_or(0),
            file => self.group.figure(file, limit.key).unwrap_or(0),
        }
    }

    /// Lines about the limits that it has come to: at first, then each time a count has doubled.
    pub fn limits(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let counts = LIMITS.each_ref().map(|limit| self.count(limit));
        for ((limit, met), count) in LIMITS.iter().zip(&mut self.met).zip(counts) {
            if count > met.count {
                (met.count, met.last_ms) = (count, boot_ms());
            }
            if count > met.logged.saturating_mul(2) {
                met.logged = count;
                let (name, most) = (&self.policy.name, self.policy.get(limit.grant));
                lines.push(format!("room: {name}: {count} {}: {most}", limit.what));
            }
        }
        lines
    }

    /// Processes that the kernel has killed for memory, as it was counted last: the first row of the table of limits.
    pub fn killed(&self) -> u64 {
        self.met.first().map_or(0, |met| met.count)
    }

    /// Looks at a start, each second; a text if it has been at one stage for too long.
    pub fn is_stuck(&mut self) -> Option<String> {
        if self.life != Life::Starting {
            return None;
        }
        let before = std::mem::replace(&mut self.stage, self.room.stage());
        let same = before == self.stage;
        self.stuck_s = if same {
            self.stuck_s.saturating_add(1)
        } else {
            0
        };
        let stage = &self.stage;
        (self.stuck_s >= STAGE_S).then(|| format!("still at stage {stage} after {STAGE_S} s"))
    }

    /// The limit that a room's program has ended by, if it came to that a moment ago: memory if it was killed, processes if it failed.
    fn by_limit(&self, ended: End) -> String {
        let grant = match ended {
            End::Signal(libc::SIGKILL) => Grant::MemoryMax,
            End::Exit(1..) => Grant::Pids,
            _ => return String::new(),
        };
        let recent = |met: &Met| boot_ms().saturating_sub(met.last_ms) < BY_LIMIT_MS;
        let mut all = LIMITS.iter().zip(&self.met);
        let found = all.find(|(it, met)| it.grant == grant && met.count > 0 && recent(met));
        let text = |limit: &Limit| format!(", {}: {}", limit.what, self.policy.get(grant));
        found.map_or_else(String::new, |(limit, _)| text(limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c06_a_room_lives_by_the_table_cell_by_cell() {
        let end = End::Exit(0);
        let starting = || Life::Starting;
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
