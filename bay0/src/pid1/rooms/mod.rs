//! The rooms (C02, C06): what starts, stops, freezes and replaces them. Everything about one is in its entry here, its cgroup
//! and its namespaces; nothing else in the Spine changes when it comes or goes.
//!
//! | room | `start` | `focus` | its program ends | `stop` |
//! | --- | --- | --- | --- | --- |
//! | not there | made, in front | refused | | refused |
//! | in front | refused | nothing to do | removed, started again if its policy says so | removed |
//! | behind, frozen (T04) | refused | the one in front is frozen, then it is thawed | | removed, frozen or not |
//!
//! `sys://` rooms serve the others and are never frozen. A nested room is frozen with the room it is in, and dies with it.
//!
//! What follows for others comes back as an [`Effect`].

mod again;
mod baked;
mod focus;
pub mod room;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail, ensure};
use bay0_persona::UIDS;
use bay0_persona::cgroup::OWN;
use bay0_persona::policy::{self, NIC, STANDIN, VIA_NET};
use bay0_persona::{Ended, GROUPS, Group, ROOMS, link};
use bay0_persona::{Grant, PersonaName, Plan, Policy, Room};
use bay0_state::State;
use bay0_umbilical::Server;
use nix::libc;

use self::again::Again;
use self::baked::Baked;
use self::focus::Focus;
use self::room::{Life, Made, Running};
use super::console::Typed;
use super::id::{Door, RoomId};
use super::poll::{Poll, Source};
use super::say::Log;
use crate::sys::{boot_ms, inputs};

/// Where the rooms' umbilicals are.
const SOCKETS: &str = "/run/bay0/rooms";
/// bay0 itself (H03), which is a room's client.
const CLIENT: &str = "/sbin/init";
/// Newcomers and requests that a room's umbilical takes in a second (T02): each costs PID 1 time that the room's limits do not see.
const PER_SECOND: u32 = 128;
/// Longest that a room may take to freeze or to thaw.
const FOCUS_DEADLINE: Duration = Duration::from_millis(500);
/// How long a room may take to die before that is said.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// Longest that what was made of a room may take to go, if it cannot be finished.
const UNDO_DEADLINE: Duration = Duration::from_millis(500);
/// The device that stands in for hardware (T05), by the name that its driver gives it.
const KEYS: &str = "QEMU Virtio Keyboard";

nix::ioctl_write_ptr_bad!(set_size, libc::TIOCSWINSZ, libc::winsize);

/// What follows for others from what has become of a room.
#[must_use]
pub enum Effect {
    /// A line is to be said.
    Say(String),
    /// A failure is to be said.
    Fail(String),
    /// The database is to hear of a room's state.
    Record(PersonaName, State),
    /// The room is gone: nobody is inside it any more.
    Gone(RoomId),
}

/// Every room that there is a policy of, and those that are there.
#[derive(Default)]
pub struct Rooms {
    baked: Baked,
    there: BTreeMap<RoomId, Running>,
    focus: Focus,
    again: Again,
    effects: Vec<Effect>,
}

impl Rooms {
    /// Makes the group that holds all rooms, takes in what is baked in, and starts those that start with the machine.
    ///
    /// # Errors
    /// No room can be started.
    pub fn open(&mut self, lines: &[String], on_trial: bool, poll: &mut Poll) -> Result<String> {
        self.baked = Baked::parse(lines)?;
        let policies: Vec<_> = self.baked.all().map(|(_, it)| Rc::clone(it)).collect();
        let mut dead = Vec::new();
        for policy in &policies {
            let begins = policy.may(Grant::Autostart);
            #[cfg(feature = "fault")]
            let begins = begins || crate::fault::begins(&policy.name);
            if begins && let Err(error) = self.start(&policy.name, poll) {
                dead.push(format!("start {}: {error:#}", policy.name));
            }
        }
        let images = self.baked.images();
        let count = images.len();
        // A Spine that has come without its images would be kept, and its rooms be dead at every boot.
        let needed = images.filter(|_| on_trial);
        let opened = needed.map(|it| self.baked.open(it).map(drop));
        let opened = opened.collect::<Result<()>>().err();
        dead.extend(opened.map(|error| format!("{error:#}")));
        let dead_count = dead.len();
        self.effects.extend(dead.into_iter().map(Effect::Fail));
        let none = dead_count == 0;
        ensure!(none, "{dead_count} cannot begin; next: see why above");
        Ok(format!("{} policies, {count} images", policies.len()))
    }

    /// What follows from all that was done since this was asked last.
    pub fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    fn say(&mut self, line: String) {
        self.effects.push(Effect::Say(line));
    }

    fn fail(&mut self, text: String) {
        self.effects.push(Effect::Fail(text));
    }

    /// Starts a room and brings it forward.
    ///
    /// # Errors
    /// Why it could not be begun; then nothing is left of it. What comes later is told by [`Rooms::progress`].
    pub fn start(&mut self, name: &PersonaName, poll: &mut Poll) -> Result<()> {
        let begun_ms = boot_ms();
        let found = self.baked.find(name);
        let (id, policy) = found.context("it has no policy; next: type rooms")?;
        let policy = Rc::clone(policy);
        let top = self.baked.top(&policy).unwrap_or(id);
        let background = self.baked.goes_on(top);
        let there = self.there.contains_key(&id);
        ensure!(!there, "it is there already; next: stop it");
        let within = self.within(&policy)?;
        let group = Group::create(&within, &name.internal())?;
        let made = self.furnish(id, &policy, &group, poll);
        let undo = |_: &Error| {
            group.remove(UNDO_DEADLINE).unwrap_or_default();
            let _ = fs::remove_file(socket(name));
        };
        let made = made.inspect_err(undo)?;
        let running = Running::new(policy, (top, background), group, made, begun_ms);
        self.there.insert(id, running);
        self.effects
            .push(Effect::Record(name.clone(), State::Starting));
        // One that goes on behind another is not brought forward from there by its start.
        let behind = background && self.focus.front().is_some();
        let focus = if behind { Ok(()) } else { self.focus(name) };
        focus.or_else(|error| self.kill(id).and(Err(error)))
    }

    /// The group a room is made in: that of the room it is nested in, which must run and must not be exceeded (A05).
    fn within(&self, policy: &Policy) -> Result<PathBuf> {
        let Some(parent) = policy.name.parent() else {
            return Ok(ROOMS.into());
        };
        let outer = self.running(&parent).map(|(_, outer)| outer);
        let outer = outer.with_context(|| format!("{parent}, which it is in"))?;
        let beyond = policy::beyond(&policy.grants, &outer.policy.grants).join(", ");
        let within = beyond.is_empty();
        ensure!(within, "beyond {parent} in {beyond}; next: mend its policy");
        Ok(outer.group.path.clone())
    }

    /// Makes what is in a room's group: its image's files, its umbilical, its first process and the network.
    fn furnish(
        &mut self,
        id: RoomId,
        policy: &Policy,
        group: &Group,
        poll: &mut Poll,
    ) -> Result<Made> {
        let image = self.baked.open(&policy.image)?;
        group.limit(policy)?;
        let own = group.mirror(policy)?;
        let umbilical = socket(&policy.name);
        let mut server = Server::bind(&umbilical).context("umbilical")?;
        server.credit = Some(PER_SECOND);
        let filters = self.baked.filters(policy);
        let number = u32::try_from(id.place())?.saturating_add(1);
        let plan = Plan {
            policy,
            uid: number.saturating_mul(UIDS),
            image: &image,
            umbilical: &umbilical,
            client: Path::new(CLIENT),
            filters: filters.context("no seccomp filter of its profile")?,
        };
        let room = Room::prepare(&plan, &own.dir).map_err(Error::msg)?;
        if !self.connect(policy, &room)? {
            let text = "has no network: sys://net does not run";
            self.say(format!("room: {} {text}", policy.name));
        }
        let events = group.events()?;
        poll.watch(&room.report, Source::Room(id))?;
        poll.watch(&room.terminal, Source::Room(id))?;
        poll.watch(&server, Source::Umbilical(Door::Room(id)))?;
        for file in &events {
            poll.watch(file, Source::Limit(id))?;
        }
        #[cfg(feature = "fault")]
        let go = !crate::fault::holds_starts();
        #[cfg(not(feature = "fault"))]
        let go = true;
        let released = if go { room.release() } else { Ok(()) };
        released.map_err(Error::msg)?;
        Ok(Made {
            room,
            server,
            events,
        })
    }

    /// Gives a room the network that its policy says; false if it goes through `sys://net`, which is not there. With the cards
    /// come the links of all rooms that go through it: those they had went with the last `sys://net`.
    ///
    /// # Errors
    /// What the kernel refused.
    fn connect(&self, policy: &Policy, room: &Room) -> Result<bool> {
        match policy.get(Grant::Network) {
            NIC => {
                link::switch(room.child.pid).context("network: switch")?;
                for via in self.with(VIA_NET) {
                    // One that has its link keeps it; one that is about to end does not keep the others from theirs.
                    let _ = link::join(via.room.child.pid, room.child.pid);
                }
            }
            VIA_NET => match self.with(NIC).next() {
                Some(net) => {
                    link::join(room.child.pid, net.room.child.pid).context("network: link")?
                }
                None => return Ok(false),
            },
            _ => {}
        }
        Ok(true)
    }

    /// The rooms with this network that have not ended.
    fn with(&self, network: u64) -> impl Iterator<Item = &Running> {
        let has = move |it: &&Running| it.policy.get(Grant::Network) == network;
        let rooms = self.there.values().filter(has);
        rooms.filter(|it| !matches!(it.life(), Life::Ended { .. }))
    }

    /// A room tells of its start.
    pub fn progress(&mut self, id: RoomId) {
        let Some(room) = self.there.get_mut(&id) else {
            return;
        };
        let (name, ms) = (room.policy.name.clone(), room.age_ms());
        match room.progress() {
            None => {}
            Some(Ok(())) => {
                let text = format!("room: {name} started ({ms} ms)");
                self.effects.push(Effect::Record(name, State::Running));
                self.say(text);
            }
            Some(Err(stage)) => {
                self.fail(format!("start {name}: {stage}"));
            }
        }
    }

    /// Takes what a room has written to its terminal, onto the console if somebody is inside.
    pub fn output(&mut self, id: RoomId, inside: Option<&mut Log>) {
        if let Some(room) = self.there.get_mut(&id) {
            room.output(inside);
        }
    }

    /// Gives a room what was typed inside it, and the console's size.
    pub fn input(&mut self, id: RoomId, typed: &Typed) {
        if let Some(room) = self.there.get_mut(&id) {
            let fd = room.room.terminal.as_raw_fd();
            // SAFETY: the descriptor is open as long as the file is, and the size is read during the call.
            let _ = typed
                .size
                .map(|size| unsafe { set_size(fd, &raw const size) });
            // A terminal that nobody reads is full at some time; what is typed then is lost, as on any terminal.
            let _ = room.room.terminal.write(&typed.keys);
        }
    }

    /// Brings a room that has a terminal forward, which somebody enters: its number.
    ///
    /// # Errors
    /// It does not run, has no terminal, or cannot come forward.
    pub fn enter(&mut self, name: &PersonaName) -> Result<RoomId> {
        let (id, room) = self.running(name)?;
        let has = room.policy.may(Grant::Terminal);
        ensure!(has, "it has no terminal; next: see its policy");
        self.focus(name)?;
        Ok(id)
    }

    /// What a room had written before somebody entered it.
    pub fn take_tail(&mut self, id: RoomId) -> Vec<u8> {
        let room = self.there.get_mut(&id);
        room.map_or_else(Vec::new, |it| std::mem::take(&mut it.tail))
    }

    /// Every room that there is a policy of, or those only that are in one of them: a line each.
    pub fn list(&self, within: Option<&PersonaName>) -> String {
        let mut text = String::new();
        for (id, policy) in self.baked.all() {
            if within.is_none_or(|outer| policy.name.is_in(outer)) {
                let room = self.there.get(&id);
                let room = room.map_or("stopped".to_owned(), |it| it.text(self.focus.front()));
                text += &format!("{} {room}\n", policy.name);
            }
        }
        text
    }

    /// The names of all rooms that there is a policy of.
    pub fn names(&self) -> Vec<String> {
        self.baked
            .all()
            .map(|(_, it)| it.name.to_string())
            .collect()
    }

    /// The names of the rooms that are there.
    pub fn there(&self) -> impl Iterator<Item = &PersonaName> {
        self.there.values().map(|it| &it.policy.name)
    }

    /// A room's policy, while it is there.
    pub fn policy(&self, id: RoomId) -> Option<&Policy> {
        self.there.get(&id).map(|it| &*it.policy)
    }

    /// A room's end of its umbilical.
    pub fn server(&mut self, id: RoomId) -> Option<&mut Server> {
        self.there.get_mut(&id).map(|it| &mut it.server)
    }

    /// Bytes that all rooms of this Spine may keep together.
    pub fn persist_bytes(&self) -> u64 {
        self.baked.persist_bytes()
    }

    /// Brings a room forward: freezes the one in front, then thaws this one. If either fails, all is as it was (T04, C12). A
    /// nested room comes with the outermost one around it. The system's own rooms serve the others and are always awake.
    ///
    /// # Errors
    /// What failed; the room that was in front still is.
    pub fn focus(&mut self, name: &PersonaName) -> Result<()> {
        let id = self.running(name)?.1.top;
        let front = self.focus.front();
        if name.is_system() || front == Some(id) {
            return Ok(());
        }
        let old = front.and_then(|old| self.there.get(&old));
        let old = old.filter(|old| !old.background);
        old.map_or(Ok(()), |old| old.group.freeze(FOCUS_DEADLINE))?;
        let new = self.there.get(&id);
        let thawed = new.map_or(Ok(()), |new| new.group.thaw(FOCUS_DEADLINE));
        if let (Err(_), Some(old)) = (thawed, old) {
            let _ = old.group.thaw(FOCUS_DEADLINE);
        }
        thawed?;
        if let Err(errno) = self.focus.pass(id) {
            // Nobody goes on while it is uncertain who has the device (C12).
            let _ = new.map(|new| new.group.freeze(FOCUS_DEADLINE));
            front.map_or(Ok(()), |front| self.kill(front))?;
            bail!("the room in front kept its device: {errno:?}; that room is stopped");
        }
        self.say(format!("room: {name} is in front"));
        Ok(())
    }

    /// Opens the device that stands in for hardware for a room in front (T05): PID 1 keeps hold of what it hands over, to take
    /// it back, and takes it from whoever had it.
    ///
    /// # Errors
    /// Why the room may not have it now.
    pub fn lend(&mut self, id: RoomId) -> Result<OwnedFd> {
        let room = self.granted(id, STANDIN)?;
        let in_front = self.focus.front() == Some(room.top);
        ensure!(in_front, "this room is not in front; next: ask when it is");
        let none = "this machine has no such device; next: attach one";
        let node = inputs(KEYS).pop().context(none)?;
        // For reading only: what is written to it, the whole machine would take for typed.
        let device = File::open(node).context(none)?;
        let given = device.try_clone()?;
        let lent = self.focus.lend(id, device);
        lent.context("who has it keeps it; next: stop this room")?;
        Ok(given.into())
    }

    /// A room, if its policy grants it this kind of device.
    ///
    /// # Errors
    /// It does not.
    pub fn granted(&self, id: RoomId, kind: u64) -> Result<&Running> {
        let room = self.there.get(&id);
        let room = room.filter(|it| it.policy.get(Grant::Devices) & kind != 0);
        room.context("not in this room's policy; next: write it there")
    }

    /// The room of this name.
    ///
    /// # Errors
    /// It does not run.
    fn running(&self, name: &PersonaName) -> Result<(RoomId, &Running)> {
        let found = self.baked.find(name);
        let running = found.and_then(|(id, _)| Some((id, self.there.get(&id)?)));
        let running = running.filter(|(_, room)| room.lives());
        running.context("it does not run; next: type rooms")
    }

    /// Stops a room and all that is nested in it: the only remedy there is (C06). When nothing is left of it, that is said.
    ///
    /// # Errors
    /// It does not run, or the kernel refuses to kill it.
    pub fn stop(&mut self, name: &PersonaName) -> Result<()> {
        let found = self.baked.find(name).map(|(id, _)| id);
        let waited = found.is_some_and(|id| self.again.forget(id));
        match self.running(name).map(|(id, _)| id) {
            Ok(id) => self.kill(id),
            Err(_) if waited => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Kills every process of a room and of what is nested in it, frozen or not, and waits for none of them: the kernel reports
    /// the end of a room's first process when all others are gone (`pid_namespaces(7)`).
    ///
    /// # Errors
    /// The kernel refuses.
    fn kill(&mut self, id: RoomId) -> Result<()> {
        let Some(outer) = self.there.get(&id) else {
            return Ok(());
        };
        outer.group.condemn()?;
        let outer = outer.policy.name.clone();
        for (id, room) in &mut self.there {
            if room.policy.name.is_in(&outer) {
                room.condemn();
                self.focus.lose(*id);
            }
        }
        Ok(())
    }

    /// The room whose first process has this number, which the reaper has just had.
    pub fn of_process(&self, pid: i32) -> Option<RoomId> {
        let mut rooms = self.there.iter();
        let found = rooms.find(|(_, it)| it.room.child.pid == pid);
        found.map(|(id, _)| *id)
    }

    /// A room's first process has ended: so has the room, and with it what is nested in it.
    pub fn end(&mut self, id: RoomId, ended: Ended) {
        if let Some(room) = self.there.get_mut(&id) {
            room.end(ended.end);
        }
        let _ = self.kill(id);
        self.bury();
    }

    /// Takes away what is left of the rooms that have ended. The group around another room stays until that is gone.
    fn bury(&mut self) {
        let ended = self.there.iter_mut().rev();
        let ended = ended.filter_map(|(id, room)| Some((*id, room.how()?, room.limits())));
        for (id, (how, failed), limits) in ended.collect::<Vec<_>>() {
            self.effects.extend(limits.into_iter().map(Effect::Say));
            let path = self.there.get(&id).map(|room| room.group.path.clone());
            let path = path.unwrap_or_default();
            let _ = fs::remove_dir(path.join(OWN));
            let gone = fs::remove_dir(path);
            let Some(room) = gone.ok().and_then(|()| self.there.remove(&id)) else {
                continue;
            };
            let name = &room.policy.name;
            self.say(format!("room: {name} {how}"));
            let _ = fs::remove_file(socket(name));
            let record = Effect::Record(name.clone(), State::Stopped);
            self.effects.extend([Effect::Gone(id), record]);
            if failed
                && let Some((delay, tries)) =
                    self.again.plan(id, &room.policy, room.age_ms(), boot_ms())
            {
                let most = room.policy.get(Grant::Tries);
                let when = format!("in {delay} ms, try {tries} of {most}");
                self.say(format!("room: {name} starts again {when}"));
            }
        }
    }

    /// A room has come to a limit, or its last process has ended.
    pub fn on_limit(&mut self, id: RoomId) {
        let lines = self.there.get_mut(&id).map(Running::limits);
        let lines = lines.unwrap_or_default().into_iter();
        self.effects.extend(lines.map(Effect::Say));
        self.bury();
    }

    /// Who is awake, and may ask again each second.
    pub fn awake(&self) -> Vec<RoomId> {
        let front = self.focus.front();
        let awake = self.there.iter().filter(|(_, room)| room.awake(front));
        awake.map(|(id, _)| *id).collect()
    }

    /// A room may ask again.
    pub fn refill(&mut self, id: RoomId) {
        if let Some(server) = self.server(id) {
            server.credit = Some(PER_SECOND);
        }
    }

    /// Each second: gives `sys://net` the cards that have come back, starts again what is due if anything may start, ends the rooms
    /// whose start does not get on, and says who came to a limit and who does not die.
    pub fn tend(&mut self, may_start: bool, poll: &mut Poll) {
        // The kernel gives the cards back a while after a room has ended, perhaps when the next one runs already.
        let net = self.with(NIC).next();
        if let Some(net) = net.filter(|_| !link::cards().is_empty()) {
            // What the kernel refuses here, it refuses at the next start, which says so.
            let _ = self.connect(&net.policy, &net.room);
        }
        let (baked, there, front) = (&self.baked, &self.there, self.focus.front());
        let may =
            |id: RoomId| may_start && !there.contains_key(&id) && may_return(baked, front, id);
        let due = self.again.due(boot_ms(), may);
        if let Some(policy) = due.and_then(|id| self.baked.policy(id)).cloned()
            && let Err(error) = self.start(&policy.name, poll)
        {
            self.fail(format!("start {}: {error:#}", policy.name));
        }
        self.bury();
        for id in self.awake() {
            self.look_at(id);
        }
    }

    /// Says what is wrong with a room that is awake: its start does not get on, it does not die, it has come to a limit.
    fn look_at(&mut self, id: RoomId) {
        let Some(room) = self.there.get_mut(&id) else {
            return;
        };
        let name = room.policy.name.clone();
        if let Some(text) = room.is_stuck() {
            let next = "next: check the disk of rooms, start it again";
            self.fail(format!("start {name}: {text}; {next}"));
            let _ = self.kill(id);
            return;
        }
        let since_ms = match room.life() {
            Life::Stopping { since_ms } => *since_ms,
            _ => u64::MAX,
        };
        let lines = room.limits().into_iter().map(Effect::Say);
        self.effects.extend(lines);
        if boot_ms().saturating_sub(since_ms) / 1000 == STOP_DEADLINE.as_secs() {
            self.fail(format!("stop {name}: it does not die; next: reboot"));
        }
    }

    /// See [`Focus::stick`].
    #[cfg(feature = "fault")]
    pub fn stick_device(&mut self) -> String {
        self.focus.stick()
    }
}

/// A room that would take the focus from another one waits until nobody has it.
fn may_return(baked: &Baked, front: Option<RoomId>, id: RoomId) -> bool {
    let own = |front, it: &Policy| {
        let top = baked.top(it);
        it.name.is_system() || top == Some(front) || top.is_some_and(|top| baked.goes_on(top))
    };
    let own = |front| baked.policy(id).is_some_and(|it| own(front, it));
    front.is_none_or(own)
}

/// Makes the group that all rooms are in.
///
/// # Errors
/// The kernel refuses.
pub fn make_groups() -> Result<()> {
    Group::open(GROUPS.into())?.delegate()?;
    fs::create_dir_all(ROOMS).with_context(|| format!("make {ROOMS}"))?;
    Ok(Group::open(ROOMS.into())?.delegate()?)
}

/// Where a room's umbilical is.
fn socket(name: &PersonaName) -> PathBuf {
    Path::new(SOCKETS).join(name.internal())
}
