//! What becomes of a room after its start: the focus and the device that goes with it, its limits, its end, and another try.

use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bay0_persona::policy::{NIC, STANDIN};
use bay0_persona::{End, Ended, Grant, PersonaName, Policy, link};
use bay0_reconcile::native::OWN;
use bay0_state::State;
use nix::errno::Errno;
use nix::libc;

use crate::pid1::Bay0;
use crate::pid1::boot;
use crate::pid1::id::{Door, RoomId};
use crate::pid1::rooms::{Running, socket};
use crate::sys::boot_ms;
use crate::sys::inputs;

/// Longest that a room may take to freeze or to thaw.
const FOCUS_DEADLINE: Duration = Duration::from_millis(500);
/// How long a room may take to die before that is said.
pub const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// Longest pause before a room is started again, in milliseconds. One that ran for so long has recovered.
const MAX_DELAY_MS: u64 = 60_000;
/// The device that stands in for hardware (T05), by the name that its driver gives it.
const KEYS: &str = "QEMU Virtio Keyboard";
/// How many seconds a room's start may stay at one stage, while the room is not frozen: a busy machine needs one or two.
const STAGE_S: u32 = 10;
/// How long after it came to a limit a room's end may be laid to that, in milliseconds: what is killed on a busy machine needs time.
const BY_LIMIT_MS: u64 = 60_000;
/// What the kernel counts when a room comes to a limit: file, key, what it means, and the limit. It says at once when one of the first
/// two has changed; what it counts of the processor is looked at each second.
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

nix::ioctl_write_int!(evdev_revoke, b'E', 0x91);

/// How often a room has come to a limit: counted, said, and counted last at this time, in milliseconds since the kernel started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Met {
    count: u64,
    said: u64,
    last_ms: u64,
}

/// A room that is to be started again: how often that was tried, and when it is due, in milliseconds since the kernel started.
pub type Again = (u64, u64);

impl Bay0 {
    /// Brings a room forward: freezes the one in front, then thaws this one. If either fails, all is as it was (T04, C12). A
    /// nested room comes with the outermost one around it. The system's own rooms serve the others and are always awake.
    ///
    /// # Errors
    /// What failed; the room that was in front still is.
    pub fn focus(&mut self, name: &PersonaName) -> Result<()> {
        let id = self.running(name)?.1.top;
        if name.is_system() || self.front == Some(id) {
            return Ok(());
        }
        let old = self.front.and_then(|old| self.rooms.get(&old));
        let old = old.filter(|old| !old.background);
        old.map_or(Ok(()), |old| old.group.freeze(FOCUS_DEADLINE))?;
        let new = self.rooms.get(&id);
        let thawed = new.map_or(Ok(()), |new| new.group.thaw(FOCUS_DEADLINE));
        if let (Err(_), Some(old)) = (thawed, old) {
            let _ = old.group.thaw(FOCUS_DEADLINE);
        }
        thawed?;
        if let Err(errno) = revoke(&self.lent) {
            // Nobody goes on while it is uncertain who has the device (C12).
            let _ = new.map(|new| new.group.freeze(FOCUS_DEADLINE));
            self.front.map_or(Ok(()), |front| self.kill(front))?;
            bail!("the room in front kept its device: {errno:?}; that room is stopped");
        }
        self.lent = None;
        self.front = Some(id);
        self.log.say(format!("room: {name} is in front"));
        Ok(())
    }

    /// Opens the device that stands in for hardware for a room in front (T05): PID 1 keeps hold of what it hands over, to take
    /// it back, and takes it from whoever had it.
    ///
    /// # Errors
    /// Why the room may not have it now.
    pub fn lend(&mut self, id: RoomId) -> Result<OwnedFd> {
        let room = self.granted(id, STANDIN)?;
        let in_front = self.front == Some(room.top);
        ensure!(in_front, "this room is not in front; next: ask when it is");
        let none = "this machine has no such device; next: attach one";
        let node = inputs(KEYS).pop().context(none)?;
        // For reading only: what is written to it, the whole machine would take for typed.
        let device = File::open(node).context(none)?;
        revoke(&self.lent).context("who has it keeps it; next: stop this room")?;
        let given = device.try_clone()?;
        self.lent = Some((id, device));
        Ok(given.into())
    }

    /// A room, if its policy grants it this kind of device.
    ///
    /// # Errors
    /// It does not.
    pub fn granted(&self, id: RoomId, kind: u64) -> Result<&Running> {
        let room = self.rooms.get(&id);
        let room = room.filter(|it| it.policy.get(Grant::Devices) & kind != 0);
        room.context("not in this room's policy; next: write it there")
    }

    /// The room of this name.
    ///
    /// # Errors
    /// It does not run.
    pub fn running(&self, name: &PersonaName) -> Result<(RoomId, &Running)> {
        let found = self.baked.find(name);
        let running = found.and_then(|(id, _)| Some((id, self.rooms.get(&id)?)));
        let running = running.filter(|(_, room)| room.stop_ms.is_none() && room.status.is_none());
        running.context("it does not run; next: type rooms")
    }

    /// Stops a room and all that is nested in it: the only remedy there is (C06). When nothing is left of it, that is said.
    ///
    /// # Errors
    /// It does not run, or the kernel refuses to kill it.
    pub fn stop(&mut self, name: &PersonaName) -> Result<()> {
        let found = self.baked.find(name);
        let waited = found.and_then(|(id, _)| self.again.remove(&id));
        match self.running(name).map(|(id, _)| id) {
            Ok(id) => self.kill(id),
            Err(error) => waited.map(drop).ok_or(error),
        }
    }

    /// Kills every process of a room and of what is nested in it, frozen or not, and waits for none of them: the kernel reports
    /// the end of a room's first process when all others are gone (`pid_namespaces(7)`).
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn kill(&mut self, id: RoomId) -> Result<()> {
        let Some(outer) = self.rooms.get(&id) else {
            return Ok(());
        };
        outer.group.condemn()?;
        self.front.take_if(|front| *front == id);
        let outer = outer.policy.name.clone();
        for (id, room) in &mut self.rooms {
            let inside = room.policy.name.is_in(&outer);
            if inside && room.status.is_none() {
                room.stop_ms.get_or_insert_with(boot_ms);
            }
            // A descriptor on its way between processes can outlive them all.
            if let Some(lent) = self.lent.take_if(|(at, _)| inside && at == id) {
                let _ = revoke(&Some(lent));
            }
        }
        Ok(())
    }

    /// A child of PID 1 has ended; if it was a room's first process, the room has, and with it what is nested in it.
    pub fn ended(&mut self, ended: Ended) {
        let mut rooms = self.rooms.iter();
        let found = rooms.find(|(_, it)| it.room.child.pid == ended.pid);
        if let Some(id) = found.map(|(id, _)| *id) {
            // What it told last comes before its end: the stage that failed, or the rest of its output.
            self.on_room(id);
            let room = self.rooms.get_mut(&id);
            let _ = room.and_then(|room| room.status.replace(ended.end.of_program()));
            let _ = self.kill(id);
            self.bury();
        }
    }

    /// Takes away what is left of the rooms that have ended. The group around another room stays until that is gone.
    fn bury(&mut self) {
        let ended = self.rooms.iter().rev();
        let ended = ended.filter_map(|(id, room)| Some((*id, room.status?)));
        for (id, status) in ended.collect::<Vec<_>>() {
            let Some(room) = self.rooms.get_mut(&id) else {
                continue;
            };
            room.limits().iter().for_each(|line| self.log.say(line));
            let path = room.group.path.clone();
            let _ = fs::remove_dir(path.join(OWN));
            let gone = fs::remove_dir(path);
            let Some(room) = gone.ok().and_then(|()| self.rooms.remove(&id)) else {
                continue;
            };
            let name = &room.policy.name;
            let how = match room.stop_ms {
                Some(begun) => format!("stopped ({} ms)", boot_ms().saturating_sub(begun)),
                None => format!("ended: {status}{}", room.by_limit(status)),
            };
            self.log.say(format!("room: {name} {how}"));
            if self.attached.as_ref().is_some_and(|at| at.id == id) {
                self.leave();
            }
            let _ = fs::remove_file(socket(name));
            self.record(name, State::Stopped);
            if room.stop_ms.is_none() && status != End::Exit(0) {
                self.retry(id, &room);
            }
        }
    }

    /// Plans another start of a room that has failed, if its policy wants one.
    fn retry(&mut self, id: RoomId, room: &Running) {
        let recovered = boot_ms().saturating_sub(room.begun_ms) >= MAX_DELAY_MS;
        let again = self.again.remove(&id).filter(|_| !recovered);
        let tries = again.map_or(0, |it| it.0);
        let (policy, most) = (&room.policy, room.policy.get(Grant::Tries));
        if tries < most {
            let delay = policy.get(Grant::DelayMs);
            let delay = delay.saturating_mul(1 << tries.min(16)).min(MAX_DELAY_MS);
            let (due, tries) = (boot_ms().saturating_add(delay), tries.saturating_add(1));
            self.again.insert(id, (tries, due));
            let when = format!("in {delay} ms, try {tries} of {most}");
            let text = format!("room: {} starts again {when}", policy.name);
            self.log.say(text);
        }
    }

    /// A room has come to a limit, or its last process has ended.
    pub fn on_limit(&mut self, id: RoomId) {
        if let Some(room) = self.rooms.get_mut(&id) {
            room.limits().iter().for_each(|line| self.log.say(line));
        }
        self.bury();
    }

    /// Each second: opens a console that was closed, gives `sys://net` the cards that have come back, starts again what is due,
    /// and says who came to a limit and who does not die.
    pub fn tend(&mut self) {
        // Not while a passphrase is typed there.
        let booted =
            self.operator_ms.is_some() && !self.facts.is_release() && !self.is_at("reseal");
        if self.console.is_none() && booted {
            // Without a console there is nobody to tell either.
            let _ = boot::operator(self);
        }
        self.tend_keeper();
        let (now, front) = (boot_ms(), self.front);
        let awake = self.rooms.iter().filter(|(_, room)| room.awake(front));
        let doors = awake.map(|(id, _)| Door::Room(*id)).chain([Door::Spine]);
        for door in doors.collect::<Vec<_>>() {
            self.refill(door);
        }
        // The kernel gives the cards back a while after a room has ended, perhaps when the next one runs already.
        let net = self.with(NIC).next();
        if let Some(net) = net.filter(|_| !link::cards().is_empty()) {
            // What the kernel refuses here, it refuses at the next start, which says so.
            let _ = self.connect(&net.policy, &net.room);
        }
        let due = self.again.iter().filter(|(_, again)| again.1 <= now);
        let mut due = due.map(|(id, _)| *id);
        if let Some(id) = due.find(|id| self.may_return(*id))
            && let Some(policy) = self.baked.policy(id).cloned()
        {
            // Not again before it has ended again.
            self.again.entry(id).and_modify(|it| it.1 = u64::MAX);
            self.order("start", &policy.name, Bay0::start);
        }
        self.bury();
        self.give_up();
        for room in self.rooms.values_mut().filter(|room| room.awake(front)) {
            let stopping_ms = room.stop_ms.map_or(0, |begun| now.saturating_sub(begun));
            if stopping_ms / 1000 == STOP_DEADLINE.as_secs() {
                let name = &room.policy.name;
                let text = format!("room: FAIL: stop {name}: it does not die; next: reboot");
                self.log.say(text);
            }
            room.limits().iter().for_each(|line| self.log.say(line));
        }
    }

    /// Ends the rooms whose start does not get on, whatever holds it up.
    fn give_up(&mut self) {
        let front = self.front;
        let awake = self.rooms.iter_mut().filter(|(_, it)| it.awake(front));
        let stuck = awake.filter_map(|(id, room)| room.is_stuck().then_some(*id));
        for id in stuck.collect::<Vec<_>>() {
            if let Some(room) = self.rooms.get(&id) {
                let (name, stage) = (&room.policy.name, &room.stage);
                let text = format!("still at stage {stage} after {STAGE_S} s");
                self.log.fail(
                    "room",
                    &format!("start {name}: {text}; next: check the disk of rooms, start it again"),
                );
            }
            let _ = self.kill(id);
        }
    }

    /// A room that would take the focus from another one waits until nobody has it.
    fn may_return(&self, id: RoomId) -> bool {
        let policy = self.baked.policy(id);
        let own = |front, it: &Policy| {
            let top = self.top(it);
            it.name.is_system() || top == front || self.goes_on(top)
        };
        let own = |front| policy.is_some_and(|it| own(front, it));
        !self.rooms.contains_key(&id) && self.end.is_none() && self.front.is_none_or(own)
    }
}

impl Running {
    /// What there is to say of the limits that it has come to: at first, then each time a count has doubled.
    fn limits(&mut self) -> Vec<String> {
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

    /// Looks at a start, each second; whether it has been at one stage for too long.
    fn is_stuck(&mut self) -> bool {
        if self.runs || self.stop_ms.is_some() || self.status.is_some() {
            return false;
        }
        let stage = self.room.stage();
        self.stuck_s = match stage == self.stage {
            true => self.stuck_s.saturating_add(1),
            false => 0,
        };
        self.stage = stage;
        self.stuck_s >= STAGE_S
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

/// Takes a device back: whoever has it open reads an error from now on. One that was unplugged is nobody's already.
fn revoke(lent: &Option<(RoomId, File)>) -> nix::Result<()> {
    let fd = lent.as_ref().map(|(_, device)| device.as_raw_fd());
    // SAFETY: the call takes no memory of ours, and the descriptor is open as long as the file is.
    match fd.map(|fd| unsafe { evdev_revoke(fd, 0) }) {
        Some(Err(errno)) if errno != Errno::ENODEV => Err(errno),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t05_what_cannot_be_taken_back_is_an_error_and_what_nobody_has_is_none() {
        assert_eq!(revoke(&None), Ok(()));
        let file = File::open("/dev/null")
            .ok()
            .map(|file| (RoomId::new(7), file));
        assert_eq!(revoke(&file), Err(Errno::ENOTTY));
    }
}
