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

mod life;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, ensure};
use bay0_persona::image::Image;
use bay0_persona::policy::{self, NIC, VIA_NET};
use bay0_persona::room::UIDS;
use bay0_persona::{BpfProgram, End, GROUPS, Group, ROOMS, bpf_program, link};
use bay0_persona::{Grant, PersonaName, Plan, Policy, Room};
use bay0_reconcile::native;
use bay0_state::State;
use bay0_umbilical::Server;

pub use self::life::Again;
use self::life::{LIMITS, Met};
use crate::pid1::Bay0;
use crate::pid1::doors::PER_SECOND;
use crate::pid1::id::{Door, RoomId};
use crate::pid1::jobs::by_child;
use crate::pid1::poll::Source;
use crate::slot::firmware::Slots;
use crate::sys::boot_ms;
use crate::sys::told;

/// Where the rooms' umbilicals are.
const SOCKETS: &str = "/run/bay0/rooms";
/// bay0 itself (H03), which is a room's client.
const CLIENT: &str = "/sbin/init";
/// Longest that what was made of a room may take to go, if it cannot be finished.
const UNDO_DEADLINE: Duration = Duration::from_millis(500);
const UNBAKED: &str = "no room starts; next: rebuild the Spine";

/// Something to be done with a room.
pub type Act = fn(&mut Bay0, &PersonaName) -> Result<()>;

/// What the factory has baked in about rooms.
#[derive(Default)]
pub struct Baked {
    /// Every policy, in the order of the names: a room's place here is its number, for its events and for its uids.
    pub policies: Vec<Rc<Policy>>,
    images: Vec<Image>,
    filters: BTreeMap<u64, Vec<BpfProgram>>,
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
    /// The stage that its start was last seen at, and how many seconds it has been there, awake.
    pub stage: String,
    /// See above.
    pub stuck_s: u32,
    /// Its program runs.
    pub runs: bool,
    /// When it was asked for, in milliseconds since the kernel started.
    pub begun_ms: u64,
    /// When it was killed.
    pub stop_ms: Option<u64>,
    /// How its first process has ended.
    pub status: Option<End>,
    /// How it has met its limits.
    pub met: [Met; LIMITS.len()],
    /// What tells of that, watched for as long as it is open.
    _events: Vec<File>,
}

/// What is made in a room's group.
struct Made {
    room: Room,
    server: Server,
    events: Vec<File>,
}

impl Running {
    /// Whether it is not frozen while `front` has the focus: the system's own rooms serve the others, and who is killed runs to die.
    pub fn awake(&self, front: Option<RoomId>) -> bool {
        let serves = self.background || self.policy.name.is_system();
        front == Some(self.top) || serves || self.stop_ms.is_some()
    }
}

impl Baked {
    /// Takes in one line of the compiled policies; none if it is no such line.
    fn add(&mut self, line: &str) -> Option<()> {
        let columns: Vec<&str> = line.split('\t').collect();
        match columns.as_slice() {
            ["policy", rest @ ..] => self.policies.push(Rc::new(Policy::parse(rest)?)),
            ["image", rest @ ..] => self.images.push(Image::parse(rest)?),
            ["filter", profile, _, hex] => {
                let programs = self.filters.entry(profile.parse().ok()?).or_default();
                programs.push(bpf_program(hex)?);
            }
            _ => return None,
        }
        Some(())
    }

    /// A room's policy.
    pub fn policy(&self, id: RoomId) -> Option<&Rc<Policy>> {
        self.policies.get(id.place())
    }

    /// A room's number and policy.
    pub fn find(&self, name: &PersonaName) -> Option<(RoomId, Rc<Policy>)> {
        let mut all = self.policies.iter().enumerate();
        let (id, policy) = all.find(|(_, policy)| policy.name == *name)?;
        Some((RoomId::new(id), Rc::clone(policy)))
    }

    /// Bytes that all rooms which can start in this Spine may keep together; a policy without an image starts none (U06).
    pub fn persist_bytes(&self) -> u64 {
        let can = |policy: &&Rc<Policy>| self.images.iter().any(|image| image.name == policy.image);
        let bytes = self.policies.iter().filter(can);
        let bytes = bytes.map(|policy| policy.get(Grant::PersistBytes));
        bytes.fold(0, u64::saturating_add)
    }

    /// An image, opened: verified and mounted at its first use, by a child, because that reads a disk.
    fn image(&self, name: &str) -> Result<PathBuf> {
        let image = self.images.iter().find(|image| image.name == name);
        let none =
            || format!("image {name}: not in this Spine; next: cargo xtask qemu --rooms {name}");
        let image = image.with_context(none)?;
        if !told("/proc/mounts").contains(&format!(" {} ", image.path().display())) {
            let opened = by_child(|| image.open(), "its disk hangs");
            let wanted = image.roothash.get(..16).unwrap_or_default();
            opened.map_err(|error| anyhow!("image {name}: {error:#}; root hash {wanted} is wanted; next: attach the rooms.img of this Spine's build"))?;
        }
        Ok(image.path())
    }
}

impl Bay0 {
    /// Makes the group that holds all rooms, reads what is baked in, and starts those that start with the machine.
    ///
    /// # Errors
    /// No room can be started.
    pub fn open_rooms(&mut self) -> Result<String> {
        Group::open(GROUPS.into())?.delegate()?;
        fs::create_dir_all(ROOMS).with_context(|| format!("make {ROOMS}"))?;
        Group::open(ROOMS.into())?.delegate()?;
        let keeper = self.keeper.as_mut().context("no keeper")?;
        let mut baked = Baked::default();
        for (number, line) in keeper.call("baked", &[])?.iter().enumerate() {
            let what = || format!("policy.db: line {number} is malformed; {UNBAKED}");
            baked.add(line).with_context(what)?;
        }
        self.baked = baked;
        let (policies, images) = (self.baked.policies.len(), self.baked.images.len());
        let mut dead = Vec::new();
        for policy in self.baked.policies.clone() {
            let begins = policy.may(Grant::Autostart);
            #[cfg(feature = "fault")]
            let begins = begins || crate::fault::begins(&policy.name);
            if begins && let Err(error) = self.start(&policy.name) {
                dead.push(format!("start {}: {error:#}", policy.name));
            }
        }
        // A Spine that has come without its images would be kept, and its rooms be dead at every boot.
        let on_trial = self.slots.as_ref().is_some_and(Slots::on_trial);
        let needed = self.baked.images.iter().filter(|_| on_trial);
        let opened = needed.map(|it| self.baked.image(&it.name).map(drop));
        let opened = opened.collect::<Result<()>>().err();
        dead.extend(opened.map(|error| format!("{error:#}")));
        dead.iter().for_each(|text| self.log.fail("room", text));
        ensure!(
            dead.is_empty(),
            "{} cannot begin; next: see why above",
            dead.len()
        );
        Ok(format!("{policies} policies, {images} images"))
    }

    /// Does something with a room, and says why it could not be done.
    pub fn order(&mut self, verb: &str, name: &PersonaName, act: Act) {
        if let Err(error) = act(self, name) {
            self.log.fail("room", &format!("{verb} {name}: {error:#}"));
        }
    }

    /// Starts a room and brings it forward.
    ///
    /// # Errors
    /// Why it could not be begun; then nothing is left of it. What comes later is told by [`Bay0::on_room`].
    pub fn start(&mut self, name: &PersonaName) -> Result<()> {
        let begun_ms = boot_ms();
        let ready = self.keeper.is_some() && self.end.is_none();
        ensure!(ready, "the boot is dirty, or ends; next: see status");
        let found = self.baked.find(name);
        let (id, policy) = found.context("it has no policy; next: type rooms")?;
        let top = self.top(&policy);
        let background = self.goes_on(top);
        let there = self.rooms.contains_key(&id);
        ensure!(!there, "it is there already; next: stop it");
        let within = self.within(&policy)?;
        let group = Group::create(&within, &name.internal())?;
        let made = self.furnish(id, &policy, &group);
        let undo = |_: &Error| {
            group.remove(UNDO_DEADLINE).unwrap_or_default();
            let _ = fs::remove_file(socket(name));
        };
        let made = made.inspect_err(undo)?;
        let running = Running {
            policy,
            room: made.room,
            top,
            background,
            group,
            server: made.server,
            tail: Vec::new(),
            stage: String::new(),
            stuck_s: 0,
            runs: false,
            begun_ms,
            stop_ms: None,
            status: None,
            met: Default::default(),
            _events: made.events,
        };
        self.rooms.insert(id, running);
        self.record(name, State::Starting);
        // One that goes on behind another is not brought forward from there by its start.
        let behind = background && self.front.is_some();
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
    fn furnish(&mut self, id: RoomId, policy: &Policy, group: &Group) -> Result<Made> {
        let image = self.baked.image(&policy.image)?;
        group.limit(policy)?;
        let own = group.mirror(native::OWN, policy)?;
        let umbilical = socket(&policy.name);
        let mut server = Server::bind(&umbilical).context("umbilical")?;
        server.credit = Some(PER_SECOND);
        let filters = self.baked.filters.get(&policy.get(Grant::Seccomp));
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
            self.log.say(format!("room: {} {text}", policy.name));
        }
        let events = group.events()?;
        self.poll.watch(&room.report, Source::Room(id))?;
        self.poll.watch(&room.terminal, Source::Room(id))?;
        let umbilical = Source::Umbilical(Door::Room(id));
        self.poll.watch(&server, umbilical)?;
        for file in &events {
            self.poll.watch(file, Source::Limit(id))?;
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
    pub fn connect(&self, policy: &Policy, room: &Room) -> Result<bool> {
        match policy.get(Grant::Network) {
            NIC => {
                link::switch(room).context("network: switch")?;
                for via in self.with(VIA_NET) {
                    // One that has its link keeps it; one that is about to end does not keep the others from theirs.
                    let _ = link::join(&via.room, room);
                }
            }
            VIA_NET => match self.with(NIC).next() {
                Some(net) => link::join(room, &net.room).context("network: link")?,
                None => return Ok(false),
            },
            _ => {}
        }
        Ok(true)
    }

    /// The rooms with this network that have not ended.
    pub fn with(&self, network: u64) -> impl Iterator<Item = &Running> {
        let rooms = self.rooms.values();
        let has = move |it: &&Running| it.policy.get(Grant::Network) == network;
        rooms.filter(has).filter(|it| it.status.is_none())
    }

    /// A room tells of its start, or writes to its terminal.
    pub fn on_room(&mut self, id: RoomId) {
        self.on_terminal(id);
        let starting = |room: &&mut Running| !room.runs && room.stop_ms.is_none();
        let Some(room) = self.rooms.get_mut(&id).filter(starting) else {
            return;
        };
        let name = room.policy.name.clone();
        let ms = boot_ms().saturating_sub(room.begun_ms);
        match room.room.progress() {
            None => {}
            Some(Ok(())) => {
                room.runs = true;
                self.record(&name, State::Running);
                self.log.say(format!("room: {name} started ({ms} ms)"));
            }
            Some(Err(stage)) => {
                room.stop_ms = Some(boot_ms());
                self.log.fail("room", &format!("start {name}: {stage}"));
            }
        }
    }

    /// Remembers a state for the database.
    pub fn record(&mut self, name: &PersonaName, state: State) {
        let values = [name.to_string(), state.tag().to_owned()];
        // While the disk is slow each room has one state that waits, its last.
        self.records
            .retain(|(op, [known, _])| *op != "set-state" || *known != values[0]);
        self.records.push_back(("set-state", values));
    }

    /// Every room that there is a policy of, or those only that are in one of them: a line each.
    pub fn list(&self, within: Option<&PersonaName>) -> String {
        let mut text = String::new();
        for (place, policy) in self.baked.policies.iter().enumerate() {
            if within.is_some_and(|outer| !policy.name.is_in(outer)) {
                continue;
            }
            let Some(room) = self.rooms.get(&RoomId::new(place)) else {
                text += &format!("{} stopped\n", policy.name);
                continue;
            };
            let word = match (room.stop_ms, room.runs) {
                (Some(_), _) => "stopping",
                (None, true) => "running",
                (None, false) => "starting",
            };
            let place = match room.awake(self.front) {
                true if self.front == Some(room.top) => "front",
                true => "awake",
                false => "frozen",
            };
            let figure = |file, key| room.group.figure(file, key).unwrap_or(0);
            let (bytes, pids) = (figure("memory.current", ""), figure("pids.current", ""));
            let cpu_ms = figure("cpu.stat", "usage_usec ") / 1000;
            let figures = format!("memory={bytes} processes={pids} cpu_ms={cpu_ms}");
            text += &format!("{} {word} {place} {figures}\n", policy.name);
        }
        text
    }

    /// Whether the policy of the outermost room lets it go on behind another.
    pub fn goes_on(&self, top: RoomId) -> bool {
        let policy = self.baked.policy(top);
        policy.is_some_and(|it| it.may(Grant::Background))
    }

    /// See [`Running::top`].
    pub fn top(&self, policy: &Policy) -> RoomId {
        // By name, a room comes after those it is in.
        let mut all = self.baked.policies.iter();
        let top = all.position(|outer| policy.name.is_in(&outer.name));
        RoomId::new(top.unwrap_or(usize::MAX))
    }
}

/// Where a room's umbilical is.
pub fn socket(name: &PersonaName) -> PathBuf {
    Path::new(SOCKETS).join(name.internal())
}
