//! What becomes of a room after its start: the focus, its limits, its end, and another try.

use std::fs;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use bay0_persona::{Grant, PersonaName};
use bay0_state::State;
use nix::sys::wait::WaitStatus;

use crate::log::boot_ms;
use crate::pid1::Bay0;
use crate::rooms::{Running, socket};

/// Longest that a room may take to freeze or to thaw.
const FOCUS_DEADLINE: Duration = Duration::from_millis(500);
/// Longest that a room may take to die.
pub const STOP_DEADLINE: Duration = Duration::from_secs(1);
/// Longest pause before a room is started again, in milliseconds. One that ran for so long has recovered.
const MAX_DELAY_MS: u64 = 60_000;
/// What the kernel counts when a room comes to a limit: file, key, what it means, and the limit.
pub const LIMITS: [(&str, &str, &str, Grant); 3] = [
    (
        "memory.events",
        "oom_kill ",
        "killed at its memory limit, bytes",
        Grant::MemoryMax,
    ),
    (
        "pids.events",
        "max ",
        "forks refused at its limit of processes",
        Grant::Pids,
    ),
    (
        "cpu.stat",
        "nr_throttled ",
        "times throttled at its limit of percent",
        Grant::CpuQuota,
    ),
];

/// A room that is to be started again: how often that was tried, and when it is due, in milliseconds since the kernel started.
pub type Again = (u64, u64);

impl Bay0 {
    /// Brings a room forward: freezes the one in front, then thaws this one. If either fails, all is as it was (T04, C12). A
    /// nested room comes with the outermost one around it. The system's own rooms serve the others and are always awake.
    ///
    /// # Errors
    /// What failed; the room that was in front still is.
    pub fn focus(&mut self, name: &PersonaName) -> Result<()> {
        self.running(name)?;
        let slot = self.outermost(name).filter(|_| !name.is_system());
        let Some(slot) = slot.filter(|slot| self.front != Some(*slot)) else {
            return Ok(());
        };
        let old = self.front.and_then(|old| self.rooms.get(&old));
        old.map_or(Ok(()), |old| old.group.freeze(FOCUS_DEADLINE))?;
        let new = self.rooms.get(&slot);
        let thawed = new.map_or(Ok(()), |new| new.group.thaw(FOCUS_DEADLINE));
        if let (Err(_), Some(old)) = (thawed, old) {
            let _ = old.group.thaw(FOCUS_DEADLINE);
        }
        thawed?;
        self.front = Some(slot);
        self.log.say(format!("room: {name} is in front"));
        Ok(())
    }

    /// The room of this name.
    ///
    /// # Errors
    /// It does not run.
    pub fn running(&self, name: &PersonaName) -> Result<(usize, &Running)> {
        let found = self.baked.find(name);
        let running = found.and_then(|(slot, _)| Some((slot, self.rooms.get(&slot)?)));
        running.context("it does not run; next: type rooms")
    }

    /// Stops a room and all that is nested in it.
    ///
    /// # Errors
    /// It does not run, or does not die.
    pub fn stop(&mut self, name: &PersonaName) -> Result<()> {
        let begun = boot_ms();
        let again = self
            .baked
            .find(name)
            .and_then(|(slot, _)| self.again.remove(&slot));
        match self.running(name) {
            Ok((slot, _)) => self.remove(slot)?,
            // One that waits for its next start has nothing but that to be stopped.
            Err(error) => again.map(drop).ok_or(error)?,
        }
        let ms = boot_ms().saturating_sub(begun);
        self.log.say(format!("room: {name} stopped ({ms} ms)"));
        Ok(())
    }

    /// Kills every process of a room and takes away all that was its own: the only remedy there is (C06).
    ///
    /// # Errors
    /// It does not die; then it is still there.
    pub fn remove(&mut self, slot: usize) -> Result<()> {
        let Some(outer) = self.rooms.get(&slot) else {
            return Ok(());
        };
        outer.group.remove(STOP_DEADLINE)?;
        let outer = outer.policy.name.clone();
        let inside = |room: &Running| room.policy.name.chain().any(|name| name == outer);
        let gone = self.rooms.iter().filter(|(_, room)| inside(room));
        let gone: Vec<usize> = gone.map(|(slot, _)| *slot).collect();
        for slot in gone {
            if self.attached.as_ref().is_some_and(|at| at.slot == slot) {
                self.leave();
            }
            self.front.take_if(|front| *front == slot);
            if let Some(room) = self.rooms.remove(&slot) {
                let _ = fs::remove_file(socket(&room.policy.name));
                self.record(&room.policy.name, State::Stopped);
            }
        }
        Ok(())
    }

    /// A child of PID 1 has ended; if it was a room's first process, the room has.
    pub fn ended(&mut self, pid: i32, status: WaitStatus) {
        let mut rooms = self.rooms.iter();
        let Some((slot, room)) = rooms.find(|(_, it)| it.room.child.pid == pid) else {
            return;
        };
        let (slot, policy, begun) = (*slot, Rc::clone(&room.policy), room.begun_ms);
        // What it told last comes before its end: the stage that failed, or the rest of its output.
        self.on_room(slot);
        if !self.rooms.contains_key(&slot) {
            return;
        }
        let name = &policy.name;
        self.log.say(format!("room: {name} ended: {}", how(status)));
        if let Err(error) = self.remove(slot) {
            self.fail(&format!("remove {name}: {error}"));
        }
        let recovered = boot_ms().saturating_sub(begun) >= MAX_DELAY_MS;
        let again = self.again.remove(&slot).filter(|_| !recovered);
        let (tries, most) = (again.map_or(0, |it| it.0), policy.get(Grant::Tries));
        if tries >= most || matches!(status, WaitStatus::Exited(_, 0)) {
            return;
        }
        let delay = policy
            .get(Grant::DelayMs)
            .saturating_mul(1 << tries.min(16));
        let (delay, tries) = (delay.min(MAX_DELAY_MS), tries.saturating_add(1));
        let due = boot_ms().saturating_add(delay);
        self.again.insert(slot, (tries, due));
        let nth = format!("try {tries} of {most}");
        self.log
            .say(format!("room: {name} starts again in {delay} ms, {nth}"));
    }

    /// Each second: starts again what is due, and says who came to a limit: at first, then each time the count has doubled.
    pub fn tend(&mut self) {
        let now = boot_ms();
        let rooms = self.rooms.keys().map(|slot| slot.saturating_add(1));
        for slot in rooms.chain([0]).collect::<Vec<_>>() {
            self.on_umbilical(slot);
        }
        let due = self.again.iter().filter(|(_, (_, due))| *due <= now);
        let policies = &self.baked.policies;
        let mut due = due.filter_map(|(slot, _)| Some((*slot, policies.get(*slot)?)));
        // A room that would take the focus from another one waits until nobody has it.
        let free = |name: &PersonaName| {
            let top = self.outermost(name);
            self.end.is_none() && (name.is_system() || self.front.is_none() || self.front == top)
        };
        if let Some((slot, policy)) = due.find(|(_, policy)| free(&policy.name)) {
            let name = policy.name.clone();
            // Not again before it has ended again.
            self.again
                .entry(slot)
                .and_modify(|again| again.1 = u64::MAX);
            self.order("start", &name, Bay0::start);
        }
        for room in self.rooms.values_mut() {
            for ((file, key, what, limit), counted) in LIMITS.into_iter().zip(&mut room.counted) {
                let count = room.group.figure(file, key).unwrap_or(0);
                if count > counted.saturating_mul(2) {
                    *counted = count;
                    let (name, limit) = (&room.policy.name, room.policy.get(limit));
                    self.log
                        .say(format!("room: {name}: {count} {what}: {limit}"));
                }
            }
        }
    }
}

fn how(status: WaitStatus) -> String {
    match status {
        WaitStatus::Exited(_, code) => format!("exit {code}"),
        WaitStatus::Signaled(_, signal, _) => format!("{signal}"),
        other => format!("{other:?}"),
    }
}
