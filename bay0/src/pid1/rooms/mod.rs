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
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use bay0_persona::cgroup::OWN;
use bay0_persona::confine::Rights;
use bay0_persona::policy::{self, NIC, PORT, RENDER, SOUND, STANDIN, VIA_NET};
use bay0_persona::{Ended, GROUPS, Group, ROOMS, UIDS, link};
use bay0_persona::{Grant, PersonaName, Plan, Policy, Room};
use bay0_state::State;
use bay0_umbilical::Server;

use self::again::Again;
use self::baked::Baked;
use self::focus::Focus;
use self::room::{Life, Running};
use super::id::RoomId;
use super::jobs::answer_of_child;
use super::poll::Poll;
use crate::advice::advised;
use crate::sys::{LENT, boot_ms, has_streams, inputs, port, render_node, sounds, text_of};

/// Where the rooms' umbilicals are.
const SOCKETS: &str = "/run/bay0/rooms";
/// bay0 itself (H03), which is a room's client.
const CLIENT: &str = "/sbin/init";
/// Newcomers and requests that a room's umbilical takes in a second (T02): each costs PID 1 time that the room's limits do not see.
const PER_SECOND: u32 = 128;
/// Longest that a room may take to freeze or to thaw.
const FOCUS_DEADLINE: Duration = Duration::from_millis(500);
/// How long a room may take to die before the log has a failure of it.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// Longest that what was made of a room may take to go, if it cannot be finished.
const UNDO_DEADLINE: Duration = Duration::from_millis(500);
/// Longest that the packet filter may take to tell what it has stopped; it takes a millisecond.
const LOOK: Duration = Duration::from_millis(500);
/// Where the kernel shows the streams of sound cards.
const ASOUND: &str = "/proc/asound";
const LATE: &str = "no answer of the packet filter";

/// What follows for others from what has become of a room.
#[must_use]
pub enum Effect {
    /// The log takes this line.
    Say(String),
    /// The database takes this state of a room.
    Record(PersonaName, State),
    /// The room is gone: nobody is inside it any more.
    Gone(RoomId),
}

/// A room that there is a policy of.
struct Entry {
    id: RoomId,
    policy: Rc<Policy>,
    /// The outermost room that this one is in: itself, if it is not nested. The focus is that one's.
    top: RoomId,
    /// It goes on while another room is in front: it serves the others, or the policy of the outermost room lets it.
    background: bool,
    again: Again,
    /// The room itself, while it is there.
    running: Option<Running>,
}

impl Entry {
    /// Whether the room is not frozen, or would not be, while `front` has the focus: a room that was killed runs to die.
    fn is_awake(&self, front: Option<RoomId>) -> bool {
        let dies = self.running.as_ref().is_some_and(|it| !it.lives());
        front == Some(self.top) || self.background || dies
    }

    fn group(&self) -> Option<&Group> {
        self.running.as_ref().map(|room| &room.group)
    }

    /// The line of the list of rooms, behind the name.
    fn text(&self, front: Option<RoomId>) -> String {
        let Some(room) = &self.running else {
            return "stopped".to_owned();
        };
        let place = match self.is_awake(front) {
            _ if front == Some(self.top) => "front",
            true => "awake",
            false => "frozen",
        };
        room.text(place)
    }
}

/// All rooms, in the order of their names: the place of one is its number.
#[derive(Default)]
pub struct Rooms {
    table: Vec<Entry>,
    baked: Baked,
    focus: Focus,
    effects: Vec<Effect>,
    /// What the kernel had last counted of the links of `sys://net`.
    passed: String,
    /// What its packet filter had stopped then, by the counter's name.
    stopped: BTreeMap<String, u64>,
}

impl Rooms {
    /// Parses what is baked in, and starts the rooms that start with the machine. On trial every image is opened.
    ///
    /// # Errors
    /// A line is malformed, or some rooms cannot begin, each with a line of its own.
    pub fn open(&mut self, lines: &[String], on_trial: bool, poll: &mut Poll) -> Result<String> {
        self.baked = Baked::parse(lines)?;
        self.fill();
        let mut dead = 0_usize;
        for policy in self.baked.policies.clone() {
            let begins = policy.may(Grant::Autostart);
            #[cfg(feature = "fault")]
            let begins = begins || crate::fault::begins(&policy.name);
            let begun = if begins {
                self.start(&policy.name, poll)
            } else {
                Ok(())
            };
            dead = dead.saturating_add(usize::from(!self.report("start", &policy.name, begun)));
        }
        // A Spine that has come without its images would be kept, and its rooms be dead at every boot.
        let needed = self.baked.images.iter().filter(|_| on_trial);
        let opened = needed.map(|it| self.baked.open(&it.name).map(drop));
        if let Err(error) = opened.collect::<Result<()>>() {
            dead = dead.saturating_add(1);
            self.fail(&format!("{error:#}"));
        }
        ensure!(dead == 0, "{dead} cannot begin; next: see why above");
        let (policies, images) = (self.table.len(), self.baked.images.len());
        Ok(format!("{policies} policies, {images} images"))
    }

    /// Makes an entry of each policy.
    fn fill(&mut self) {
        for policy in &self.baked.policies {
            let id = RoomId::new(self.table.len());
            let mut before = self.table.iter();
            let outer = before.find(|it| policy.name.is_in(&it.policy.name));
            let outermost = outer.map_or(policy, |it| &it.policy);
            let background = policy.name.is_system() || outermost.may(Grant::Background);
            self.table.push(Entry {
                id,
                policy: Rc::clone(policy),
                top: outer.map_or(id, |it| it.id),
                background,
                again: Again::default(),
                running: None,
            });
        }
    }

    /// What follows from all that was done since this was asked last.
    pub fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    fn say(&mut self, line: String) {
        self.effects.push(Effect::Say(line));
    }

    /// Says that something failed; what to do is added where the text does not say it.
    fn fail(&mut self, text: &str) {
        let text = advised(text, "; next: try again");
        self.say(format!("room: FAIL: {text}"));
    }

    /// Whether something was done with a room, or else says why not.
    pub fn report(&mut self, verb: &str, name: &PersonaName, done: Result<()>) -> bool {
        let fail = |error| self.fail(&format!("{verb} {name}: {error:#}"));
        done.map_err(fail).is_ok()
    }

    /// Starts a room and brings it forward.
    ///
    /// # Errors
    /// Why it could not be begun; then nothing is left of it. [`Rooms::progress`] logs what comes later.
    pub fn start(&mut self, name: &PersonaName, poll: &mut Poll) -> Result<()> {
        let begun_ms = boot_ms();
        let entry = self.find(name);
        let entry = entry.context("it has no policy; next: type rooms")?;
        let there = entry.running.is_some();
        ensure!(!there, "it is there already; next: stop it");
        let (id, background, policy) = (entry.id, entry.background, Rc::clone(&entry.policy));
        self.open_way_out(&policy, poll);
        let group = Group::create(&self.within(&policy)?, &name.internal())?;
        let path = group.path.clone();
        let undo = |_: &Error| {
            let _ = Group::open(path).map(|it| it.remove(UNDO_DEADLINE));
            let _ = fs::remove_file(socket(name));
        };
        let mut room = self.furnish(id, policy, group, poll).inspect_err(undo)?;
        room.begun_ms = begun_ms;
        if let Some(entry) = self.table.get_mut(id.place()) {
            entry.running = Some(room);
        }
        self.effects
            .push(Effect::Record(name.clone(), State::Starting));
        // One that goes on behind another is not brought forward from there by its start.
        let behind = background && self.focus.front.is_some();
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
        let beyond = policy::beyond(policy, &outer.policy).join(", ");
        let within = beyond.is_empty();
        ensure!(within, "beyond {parent} in {beyond}; next: mend its policy");
        Ok(outer.group.path.clone())
    }

    /// Makes what is in a room's group: its image's files, its umbilical, its first process and the network.
    fn furnish(
        &mut self,
        id: RoomId,
        policy: Rc<Policy>,
        group: Group,
        poll: &mut Poll,
    ) -> Result<Running> {
        let devices = self.devices(&policy)?;
        let image = self.baked.open(&policy.image)?;
        group.limit(&policy)?;
        group.limit_disk(&policy, &image)?;
        let own = group.mirror(&policy)?;
        let umbilical = socket(&policy.name);
        let mut server = Server::bind(&umbilical).context("umbilical")?;
        server.credit = Some(PER_SECOND);
        let filters = self.baked.filters.get(&policy.get(Grant::Seccomp));
        let number = u32::from(id.number());
        let plan = Plan {
            policy: &policy,
            uid: number.saturating_mul(UIDS),
            image: &image,
            umbilical: &umbilical,
            client: Path::new(CLIENT),
            devices: &devices,
            filters: filters.context("no seccomp filter of its profile")?,
        };
        let room = Room::prepare(&plan, &own.dir).map_err(Error::msg)?;
        if !self.connect(id, &policy, &room)? {
            let text = "has no network: sys://net does not run";
            self.say(format!("room: {} {text}", policy.name));
        }
        let running = Running::new(policy, group, room, server)?;
        running.watch(id, poll)?;
        #[cfg(feature = "fault")]
        if crate::fault::holds_starts() {
            return Ok(running);
        }
        running.room.release().map_err(Error::msg)?;
        Ok(running)
    }

    /// The devices that a room has in its own `/dev` from its start.
    ///
    /// # Errors
    /// Another room has what is one room's alone.
    fn devices(&mut self, policy: &Policy) -> Result<Vec<String>> {
        let mut devices = Vec::from_iter(self.render(policy)?);
        // The system's own rooms are never behind, and so would never lose it.
        if policy.get(Grant::Devices) & SOUND != 0 && !policy.name.is_system() {
            devices.extend(sounds());
        }
        Ok(devices)
    }

    /// Whether a room, or one in it, has sound, and anybody has a stream of it open: who is in front, since nobody else is left with one.
    fn plays(&self, top: RoomId) -> bool {
        let all = self.table.iter().filter(|it| it.top == top);
        let mut all = all.filter_map(|it| it.running.as_ref());
        let is_open = |it: &String| has_streams(it, Path::new(ASOUND));
        all.any(|it| it.policy.get(Grant::Devices) & SOUND != 0) && sounds().iter().any(is_open)
    }

    /// The render node for a room whose policy has it, if the machine has one: nobody's but its own until nothing of it is left.
    ///
    /// # Errors
    /// Another room has it.
    fn render(&mut self, policy: &Policy) -> Result<Option<String>> {
        let has = |it: &Policy| it.get(Grant::Devices) & RENDER != 0;
        if !has(policy) {
            return Ok(None);
        }
        if let Some(holder) = self.there().find(|it| has(&it.policy)) {
            let name = &holder.policy.name;
            bail!("{name} has the render node, which is one room's alone; next: stop {name}");
        }
        let node = render_node();
        if node.is_none() {
            let text = "has no render node: this machine has none";
            self.say(format!("room: {} {text}", policy.name));
        }
        Ok(node)
    }

    /// Gives a room the network that its policy says; false if it goes through `sys://net`, which is not there. The links of rooms
    /// that run without come with the next second.
    ///
    /// # Errors
    /// What the kernel refused.
    fn connect(&self, id: RoomId, policy: &Policy, room: &Room) -> Result<bool> {
        match policy.get(Grant::Network) {
            NIC => {
                link::gateway(room.child.pid, &self.baked.rules).context("network: rules")?;
                link::give_cards(room.child.pid).context("network: cards")?;
            }
            VIA_NET => match self.with(NIC).next() {
                Some((_, net)) => {
                    let joined = link::join(id.number(), room.child.pid, net.room.child.pid);
                    joined.context("network: link")?;
                }
                None => return Ok(false),
            },
            _ => {}
        }
        Ok(true)
    }

    /// The rooms with this network that have not ended.
    fn with(&self, network: u64) -> impl Iterator<Item = (RoomId, &Running)> {
        let all = self.table.iter();
        let rooms = all.filter_map(|it| Some((it.id, it.running.as_ref()?)));
        let has = move |it: &Running| it.policy.get(Grant::Network) == network;
        rooms.filter(move |(_, it)| has(it) && !matches!(it.life, Life::Ended { .. }))
    }

    /// The process of a room that reports of the network, which only the one with the cards may.
    ///
    /// # Errors
    /// It has none.
    pub fn gateway(&self, id: RoomId) -> Result<i32> {
        let mut all = self.with(NIC);
        let net = all.find(|(net, _)| *net == id);
        let net = net.context("this room has no card; next: none")?;
        Ok(net.1.room.child.pid)
    }

    /// Starts the room with the cards for one that goes through it, unless it is there. That one starts even if it does not: it gets
    /// its link then when the other comes.
    fn open_way_out(&mut self, policy: &Policy, poll: &mut Poll) {
        let is_way = |it: &&Entry| it.policy.get(Grant::Network) == NIC;
        let way = self.table.iter().find(is_way);
        let way = way.filter(|it| it.running.is_none() && it.policy.name != policy.name);
        if policy.get(Grant::Network) == VIA_NET
            && let Some(name) = way.map(|it| it.policy.name.clone())
        {
            let begun = self.start(&name, poll);
            self.report("start", &name, begun);
        }
    }

    /// Reads what a room reports of its start.
    pub fn progress(&mut self, id: RoomId) {
        let Some(room) = self.room(id) else {
            return;
        };
        let (name, ms) = (room.policy.name.clone(), room.age_ms());
        match room.progress() {
            None => {}
            Some(Ok(())) => {
                self.say(format!("room: {name} started ({ms} ms)"));
                self.effects.push(Effect::Record(name, State::Running));
            }
            Some(Err(stage)) => self.fail(&format!("start {name}: {stage}")),
        }
    }

    /// Brings a room that has a terminal forward, which somebody enters: its number.
    ///
    /// # Errors
    /// It does not run, has no terminal, or cannot come forward.
    pub fn enter(&mut self, name: &PersonaName) -> Result<RoomId> {
        let (entry, _) = self.running(name)?;
        let (id, has) = (entry.id, entry.policy.may(Grant::Terminal));
        ensure!(has, "it has no terminal; next: see its policy");
        self.focus(name)?;
        Ok(id)
    }

    /// A line for every room that there is a policy of, or for those only that are in one of them.
    pub fn list(&self, within: Option<&PersonaName>) -> String {
        let is_in = |it: &&Entry| within.is_none_or(|outer| it.policy.name.is_in(outer));
        let line = |it: &Entry| format!("{} {}\n", it.policy.name, it.text(self.focus.front));
        self.table.iter().filter(is_in).map(line).collect()
    }

    /// The same on less room: a line for each that is there, and the names of those that are not.
    pub fn overview(&self) -> String {
        let is_there = |it: &&Entry| it.running.is_some();
        let (there, not): (Vec<_>, Vec<_>) = self.table.iter().partition(is_there);
        let line = |it: &&Entry| format!("{} {}\n", it.policy.name, it.text(self.focus.front));
        let name = |it: &&Entry| format!(" {}", it.policy.name);
        let lines: String = there.iter().map(line).collect();
        let names: String = not.iter().map(name).collect();
        format!("{lines}\nstopped:{names}\n")
    }

    /// The names of all rooms that there is a policy of.
    pub fn names(&self) -> Vec<String> {
        let names = self.table.iter().map(|it| it.policy.name.to_string());
        names.collect()
    }

    /// The rooms that are there.
    pub fn there(&self) -> impl Iterator<Item = &Running> {
        self.table.iter().filter_map(|it| it.running.as_ref())
    }

    /// A room, while it is there.
    pub fn room(&mut self, id: RoomId) -> Option<&mut Running> {
        self.table.get_mut(id.place())?.running.as_mut()
    }

    /// Bytes that all rooms which can start in this Spine may keep together; a policy without an image starts none (U06).
    pub fn persist_bytes(&self) -> u64 {
        let policies = self.baked.policies.iter();
        let can = policies.filter(|it| self.baked.image(&it.image).is_some());
        let bytes = can.map(|it| it.get(Grant::PersistBytes));
        bytes.fold(0, u64::saturating_add)
    }

    /// Brings a room forward: freezes the one in front, then thaws this one. If either fails, all is as it was (T04, C12). A
    /// nested room comes with the outermost one around it. The system's own rooms serve the others and are always awake.
    ///
    /// # Errors
    /// What failed; the room that was in front still is.
    pub fn focus(&mut self, name: &PersonaName) -> Result<()> {
        let (id, front) = (self.running(name)?.0.top, self.focus.front);
        if name.is_system() || front == Some(id) {
            return Ok(());
        }
        let entry = |id: RoomId| self.table.get(id.place());
        let (old, new) = (front.and_then(entry), entry(id).and_then(Entry::group));
        let old = old.filter(|it| !it.background).and_then(Entry::group);
        old.map_or(Ok(()), |old| old.freeze(FOCUS_DEADLINE))?;
        let thawed = new.map_or(Ok(()), |new| new.thaw(FOCUS_DEADLINE));
        if let (Err(_), Some(old)) = (thawed, old) {
            let _ = old.thaw(FOCUS_DEADLINE);
        }
        thawed?;
        if let Err(errno) = self.focus.pass(id) {
            // Nobody goes on while it is uncertain who has the device (C12).
            let _ = new.map(|new| new.freeze(FOCUS_DEADLINE));
            front.map_or(Ok(()), |front| self.kill(front))?;
            bail!("the room in front kept its device: {errno:?}; that room is stopped");
        }
        self.say(format!("room: {name} is in front"));
        if let Some(old) = front.filter(|it| self.plays(*it)) {
            let old_name = self.room(old).map(|it| it.policy.name.to_string());
            let old_name = old_name.unwrap_or_default();
            self.say(format!(
                "room: {old_name} has sound open, which cannot be taken back: it is stopped"
            ));
            self.kill(old)?;
        }
        Ok(())
    }

    /// Whether a room has the focus, or is in the one that has it.
    pub fn is_in_front(&self, id: RoomId) -> bool {
        let is = |it: &Entry| self.focus.front == Some(it.top);
        self.table.get(id.place()).is_some_and(is)
    }

    /// The same of a room by its name.
    pub fn is_front(&self, name: &PersonaName) -> bool {
        self.find(name).is_some_and(|it| self.is_in_front(it.id))
    }

    /// Has a room end that has kept what it was lent (C12).
    pub fn condemn(&mut self, id: RoomId) {
        let top = self.table.get(id.place()).map_or(id, |it| it.top);
        if let Err(error) = self.kill(top) {
            self.fail(&format!("stop it: {error:#}"));
        }
    }

    /// Whether a room may give a file or wait for one now: it has the focus, or is in the one that has it, or is one of the system's,
    /// which stand for the outside.
    pub fn may_move(&self, id: RoomId) -> bool {
        let is_system = |it: &Entry| it.policy.name.is_system();
        self.is_in_front(id) || self.table.get(id.place()).is_some_and(is_system)
    }

    /// A room that runs, and its policy.
    ///
    /// # Errors
    /// It does not.
    pub fn find_running(&self, name: &PersonaName) -> Result<(RoomId, Rc<Policy>)> {
        let none = |_| anyhow!("{name} does not run; next: type rooms");
        let (entry, _) = self.running(name).map_err(none)?;
        Ok((entry.id, Rc::clone(&entry.policy)))
    }

    /// Has a room stand still, wherever it is, until [`Rooms::settle`].
    ///
    /// # Errors
    /// It goes on.
    pub fn hold(&self, id: RoomId) -> Result<()> {
        let entry = self.table.get(id.place());
        let group = entry.and_then(Entry::group).context("it has ended")?;
        Ok(group.freeze(FOCUS_DEADLINE)?)
    }

    /// Has a room go on behind another, until [`Rooms::settle`].
    ///
    /// # Errors
    /// It stands still.
    pub fn wake(&self, id: RoomId) -> Result<()> {
        let entry = self.table.get(id.place());
        let top = entry.and_then(|it| self.table.get(it.top.place()));
        let group = top.and_then(Entry::group).context("it has ended")?;
        Ok(group.thaw(FOCUS_DEADLINE)?)
    }

    /// Has a room run, or stand still, as the focus is. One of which that is uncertain is stopped (C12).
    pub fn settle(&mut self, id: RoomId) {
        let Some(entry) = self.table.get(id.place()) else {
            return;
        };
        let top = self.table.get(entry.top.place()).and_then(Entry::group);
        let awake = entry.is_awake(self.focus.front);
        let settled = match (top, awake) {
            (Some(top), true) => top.thaw(FOCUS_DEADLINE),
            (Some(top), false) => top.freeze(FOCUS_DEADLINE),
            (None, _) => Ok(()),
        };
        // A nested room was held by itself. Inside one that stands still it does not go on yet, and nobody waits for that.
        let nested = entry.group().filter(|_| entry.id != entry.top);
        let settled = match nested {
            Some(own) if awake => settled.and(own.thaw(FOCUS_DEADLINE)),
            Some(own) => {
                let _ = own.thaw(Duration::ZERO);
                settled
            }
            None => settled,
        };
        let (top, name) = (entry.top, entry.policy.name.clone());
        if let Err(error) = settled {
            self.fail(&format!("settle {name}: {error}; it is stopped"));
            let _ = self.kill(top);
        }
    }

    /// Opens the device that stands in for hardware for a room in front (T05): PID 1 keeps hold of what it hands over, to take
    /// it back, and takes it from whoever had it.
    ///
    /// # Errors
    /// Why the room may not have it now.
    pub fn lend(&mut self, id: RoomId) -> Result<OwnedFd> {
        let in_front = self.focus.front == Some(self.granted(id, STANDIN)?);
        ensure!(in_front, "this room is not in front; next: ask when it is");
        let none = "this machine has no such device; next: attach one";
        let node = inputs(LENT).pop().context(none)?;
        // For reading only: what is written to it, the whole machine would take for typed.
        let device = File::open(node).context(none)?;
        let given = device.try_clone()?;
        let lent = self.focus.lend(id, device);
        lent.context("who has it keeps it; next: stop this room")?;
        Ok(given.into())
    }

    /// Opens the port to what is outside of the machine for a room, which has it until it closes it.
    ///
    /// # Errors
    /// Why the room may not have it now.
    pub fn port(&self, id: RoomId) -> Result<OwnedFd> {
        self.granted(id, PORT)?;
        let node = port().context("this machine has no port; next: attach one")?;
        let opened = File::options().read(true).write(true).open(node);
        Ok(opened
            .context("who has it keeps it; next: try again")?
            .into())
    }

    /// The room whose focus is that of a room, if the policy of this one grants it this kind of device.
    ///
    /// # Errors
    /// It does not.
    pub fn granted(&self, id: RoomId, kind: u64) -> Result<RoomId> {
        let entry = self.table.get(id.place());
        let entry = entry.filter(|it| it.policy.get(Grant::Devices) & kind != 0);
        let granted = entry.context("not in this room's policy; next: write it there");
        granted.map(|it| it.top)
    }

    fn find(&self, name: &PersonaName) -> Option<&Entry> {
        self.table.iter().find(|it| it.policy.name == *name)
    }

    /// The room of this name.
    ///
    /// # Errors
    /// It does not run.
    fn running(&self, name: &PersonaName) -> Result<(&Entry, &Running)> {
        let found = self.find(name);
        let running = found.and_then(|it| Some((it, it.running.as_ref()?)));
        let running = running.filter(|(_, room)| room.lives());
        running.context("it does not run; next: type rooms")
    }

    /// Stops a room and all that is nested in it: the only remedy there is (C06). The log has a line when nothing is left of it.
    ///
    /// # Errors
    /// It does not run, or the kernel refuses to kill it.
    pub fn stop(&mut self, name: &PersonaName) -> Result<()> {
        let mut all = self.table.iter_mut();
        let entry = all.find(|it| it.policy.name == *name);
        let waited = entry.is_some_and(|it| it.again.forget());
        match self.running(name).map(|(entry, _)| entry.id) {
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
        let Some(outer) = self.room(id) else {
            return Ok(());
        };
        outer.group.condemn()?;
        let outer = outer.policy.name.clone();
        for entry in &mut self.table {
            if let Some(room) = &mut entry.running
                && room.policy.name.is_in(&outer)
            {
                room.life.condemn(boot_ms());
                self.focus.lose(entry.id);
            }
        }
        Ok(())
    }

    /// The room whose first process has this number, which the reaper has just had.
    pub fn of_process(&self, pid: i32) -> Option<RoomId> {
        let is = |room: &Running| room.room.child.pid == pid;
        let mut all = self.table.iter();
        let found = all.find(|it| it.running.as_ref().is_some_and(is));
        found.map(|it| it.id)
    }

    /// A room's first process has ended: so has the room, and with it what is nested in it.
    pub fn end(&mut self, id: RoomId, ended: Ended) {
        if let Some(room) = self.room(id) {
            room.life.end(ended.end.of_program());
        }
        let _ = self.kill(id);
        self.bury();
    }

    /// Removes what is left of the rooms that have ended. The group around another room stays until that is gone.
    fn bury(&mut self) {
        for entry in self.table.iter_mut().rev() {
            let ended = entry.running.as_mut();
            let Some((room, (how, failed))) = ended.and_then(|it| it.how().map(|how| (it, how)))
            else {
                continue;
            };
            self.effects
                .extend(room.limits().into_iter().map(Effect::Say));
            let _ = fs::remove_dir(room.group.path.join(OWN));
            if fs::remove_dir(&room.group.path).is_err() {
                continue;
            }
            let (name, ran_ms) = (&entry.policy.name, room.age_ms());
            entry.running = None;
            let _ = fs::remove_file(socket(name));
            self.effects.extend([
                Effect::Say(format!("room: {name} {how}")),
                Effect::Gone(entry.id),
                Effect::Record(name.clone(), State::Stopped),
            ]);
            if failed && let Some(when) = entry.again.plan(&entry.policy, ran_ms, boot_ms()) {
                let line = format!("room: {name} starts again {when}");
                self.effects.push(Effect::Say(line));
            }
        }
    }

    /// A room has come to a limit, or its last process has ended: whether the kernel has killed processes of it for memory.
    pub fn on_limit(&mut self, id: RoomId) -> bool {
        let before = self.room(id).map(|it| it.killed());
        let lines = self.room(id).map(Running::limits).unwrap_or_default();
        let after = self.room(id).map(|it| it.killed());
        self.effects.extend(lines.into_iter().map(Effect::Say));
        self.bury();
        after > before
    }

    /// Lets the rooms that are awake ask again, each second: their numbers.
    pub fn refill(&mut self) -> Vec<RoomId> {
        let awake = self.awake();
        for id in &awake {
            if let Some(room) = self.room(*id) {
                room.server.credit = Some(PER_SECOND);
            }
        }
        awake
    }

    fn awake(&self) -> Vec<RoomId> {
        let awake = |it: &&Entry| it.running.is_some() && it.is_awake(self.focus.front);
        self.table.iter().filter(awake).map(|it| it.id).collect()
    }

    /// Each second: mends the network, starts again what is due if anything may start, ends the rooms
    /// whose start does not get on, and says who came to a limit and who does not die.
    pub fn tend(&mut self, may_start: bool, poll: &mut Poll) {
        self.mend_network();
        if may_start && let Some(name) = self.due(boot_ms()) {
            let begun = self.start(&name, poll);
            self.report("start", &name, begun);
        }
        self.bury();
        self.look_at_network();
        for id in self.awake() {
            self.look_at(id);
        }
    }

    /// Gives `sys://net` the cards that have come back, and the rooms that go through it their links: the kernel takes away a while
    /// after a room has ended what that had, perhaps when the next one runs already.
    fn mend_network(&self) {
        let Some((_, net)) = self.with(NIC).next() else {
            return;
        };
        // What the kernel refuses here, it refuses at the next start, which says so.
        if !link::cards().is_empty() {
            let _ = link::give_cards(net.room.child.pid);
        }
        let unlinked = self.with(VIA_NET).filter(|(_, via)| !via.is_linked());
        for (id, via) in unlinked {
            let _ = link::join(id.number(), via.room.child.pid, net.room.child.pid);
        }
    }

    /// Has a child ask what the packet filter has stopped, if anything has passed `sys://net` since the last look.
    fn look_at_network(&mut self) {
        let mut net = self.with(NIC).map(|(_, net)| net.room.child.pid);
        let Some(pid) = net.next() else {
            return;
        };
        drop(net);
        let passed = text_of(format!("/proc/{pid}/net/dev"));
        if std::mem::replace(&mut self.passed, passed.clone()) == passed {
            return;
        }
        // Opened here: the child that reads gives up every file.
        let Ok(space) = link::space(pid) else {
            return;
        };
        let stopped = || link::stopped(&space).map_err(|errno| format!("{errno:?}"));
        // A room that comes to a limit meanwhile is counted at the next look.
        let keep = [space.as_raw_fd()];
        let text = answer_of_child(Rights::Links, &keep, stopped, LOOK, LATE).unwrap_or_default();
        for line in text.lines() {
            self.stop_packets(line);
        }
    }

    /// `KEY` and a room's number, then how many packets the packet filter has stopped of it since this `sys://net` began: those that
    /// have come since the last answer are the room's. An answer that is lost costs none.
    fn stop_packets(&mut self, line: &str) -> Option<()> {
        let (name, count) = line.split_once(' ')?;
        let (key, number) = name.split_at_checked(4)?;
        let (place, count) = (number.parse::<usize>().ok()?, count.parse::<u64>().ok()?);
        let before = self.stopped.insert(name.to_owned(), count).unwrap_or(0);
        let more = count.checked_sub(before).unwrap_or(count);
        let room = self.room(RoomId::new(place.checked_sub(1)?))?;
        room.stop_packets(key, more);
        Some(())
    }

    /// The first room that is to be started again now. One that would take the focus from another waits until nobody has it.
    fn due(&mut self, now_ms: u64) -> Option<PersonaName> {
        let front = self.focus.front;
        let may = |it: &Entry| it.running.is_none() && (front.is_none() || it.is_awake(front));
        let due = |it: &mut Entry| may(it) && it.again.is_due(now_ms);
        let mut all = self.table.iter_mut();
        all.find_map(|it| due(it).then(|| it.policy.name.clone()))
    }

    /// Says what is wrong with a room that is awake: its start does not get on, it does not die, it has come to a limit.
    fn look_at(&mut self, id: RoomId) {
        let Some(room) = self.room(id) else {
            return;
        };
        let (name, lines, stuck) = (room.policy.name.clone(), room.limits(), room.is_stuck());
        let stopping_s = match room.life {
            Life::Stopping { since_ms } => boot_ms().saturating_sub(since_ms) / 1000,
            _ => 0,
        };
        self.effects.extend(lines.into_iter().map(Effect::Say));
        if let Some(text) = stuck {
            let next = "next: check the disk of rooms, start it again";
            self.fail(&format!("start {name}: {text}; {next}"));
            let _ = self.kill(id);
        } else if stopping_s == STOP_DEADLINE.as_secs() {
            self.fail(&format!("stop {name}: it does not die; next: reboot"));
        }
    }

    /// See [`Focus::stick`].
    #[cfg(feature = "fault")]
    pub fn stick_device(&mut self) -> String {
        self.focus.stick()
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use bay0_persona::policy::Numbers;

    fn rooms() -> Rooms {
        let names = ["p://a", "p://a/b", "p://c", "sys://net"];
        let lines = names.map(|name| {
            let mut numbers: Numbers = [0; _];
            numbers[Grant::Background as usize] = u64::from(name == "p://c");
            let numbers = numbers.map(|number| number.to_string()).join("\t");
            format!("policy\t{name}\ti\t/x\t\t\t\t{numbers}")
        });
        let baked = Baked::parse(&lines).unwrap();
        let mut rooms = Rooms {
            baked,
            ..Rooms::default()
        };
        rooms.fill();
        rooms
    }

    #[test]
    fn t04_a_nested_room_has_the_focus_of_the_one_around_it_and_some_go_on_behind_another() {
        let rooms = rooms();
        let [a, b, c] = [0, 1, 2].map(RoomId::new);
        let tops: Vec<_> = rooms.table.iter().map(|it| it.top).collect();
        assert_eq!(tops, [a, a, c, RoomId::new(3)]);
        let awake = |front| rooms.table.iter().map(|it| it.is_awake(front)).collect();
        let expected: [Vec<bool>; 3] = [awake(None), awake(Some(a)), awake(Some(c))];
        assert_eq!(expected[0], [false, false, true, true]);
        assert_eq!(expected[1], [true, true, true, true]);
        assert_eq!(expected[2], [false, false, true, true]);
        let within = rooms.baked.policies.first().map(|it| &it.name);
        assert_eq!(rooms.list(within), "p://a stopped\np://a/b stopped\n");
        assert!(rooms.granted(b, STANDIN).is_err());
    }

    #[test]
    fn c06_a_room_that_is_due_waits_until_no_other_has_the_focus() {
        let mut rooms = rooms();
        let mut numbers: Numbers = [0; _];
        numbers[Grant::Tries as usize] = 1;
        for entry in &mut rooms.table {
            let mut policy = (*entry.policy).clone();
            policy.grants = numbers;
            assert!(entry.again.plan(&policy, 0, 0).is_some());
        }
        let mut due = |front| {
            rooms.focus.front = front;
            let names = std::iter::from_fn(|| rooms.due(0)).map(|it| it.to_string());
            names.collect::<Vec<_>>()
        };
        assert_eq!(due(Some(RoomId::new(2))), ["p://c", "sys://net"]);
        assert_eq!(due(None), ["p://a", "p://a/b"]);
    }

    #[test]
    fn h19_a_failure_says_what_to_do_even_where_its_text_does_not() {
        let mut rooms = rooms();
        let name = PersonaName::parse("p://x").unwrap();
        for text in ["EIO", "EIO; next: y"] {
            assert!(!rooms.report("stop", &name, Err(Error::msg(text))));
        }
        let lines = rooms.effects().into_iter().map(|it| match it {
            Effect::Say(line) => line,
            _ => String::new(),
        });
        let first = "room: FAIL: stop p://x: EIO; next: try again";
        assert_eq!(
            lines.collect::<Vec<_>>(),
            [first, "room: FAIL: stop p://x: EIO; next: y"]
        );
    }
}
