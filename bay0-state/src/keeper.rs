//! The keeper: the one process that touches `/persist`, and may block on it.
//!
//! The log comes first and the database second: with a database that is refused, the log and the probe still work, and the
//! refusal itself is on record.
//!
//! What can be asked, and what is done then: [`Request`].

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bay0_persona::confine::{Rights, confine};
use bay0_persona::disks::{self, Lost};
use bay0_persona::packet::{pair, receive, send};
use bay0_persona::room::enter;
use bay0_persona::{Child, PersonaName, reap, spawn};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_name;
use nix::sys::socket::MsgFlags;
use nix::unistd::{chdir, dup2_stderr, dup2_stdin, dup2_stdout, syncfs};

use crate::content;
use crate::db::{self, Db};
use crate::entropy::{self, Crediter};
use crate::error::{Error, at};
use crate::gate;
use crate::genesis::{Genesis, UNTOLD};
use crate::vault::{self, Unopened};
use crate::wire::{MAX_MESSAGE, Opened, Reply, Request};

/// Longest that the end of one room's process is waited for: it may be in the middle of a flush.
const GATE_DEADLINE: Duration = Duration::from_millis(500);

/// What the keeper keeps, and where.
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    /// What its partition is called; without one the directory is used as it is (tests on a plain host).
    pub device: Option<&'a str>,
    /// Where it is mounted; everything lies in this directory.
    pub mountpoint: &'a str,
    /// The database of the policies that were baked into the Spine.
    pub policies: &'a str,
}

/// The Spine's own disk and policies.
pub const SPINE: Config<'_> = Config {
    device: Some("persist"),
    mountpoint: "/persist",
    policies: "/lib/bay0/policy.db",
};

/// The keeper process from its first instruction to its exit code, the opener until it is confined. It ends when PID 1's end of the socket does.
pub fn run(socket: &UnixDatagram, config: &Config) -> i32 {
    // Best effort, both: a keeper with the wrong name or score still keeps.
    let _ = set_name(c"bay0-opener");
    let _ = fs::write("/proc/self/oom_score_adj", "-900");
    let (mut store, mut gates) = (None::<Persist>, Gates::default());
    let mut packet = vec![0; MAX_MESSAGE];
    while let Ok((length @ 1.., given)) = receive(socket, &mut packet, MsgFlags::empty()) {
        let packet = packet.get(..length).unwrap_or_default();
        let reply = match (Request::decode(packet), &store) {
            (Some(Request::Gate { room, .. }), Some(open)) => {
                gates.pass(&open.dir, &room, packet, given)
            }
            (Some(request), _) => {
                if matches!(request, Request::Close(..)) {
                    gates.close();
                }
                handle(config, &mut store, &request)
            }
            (None, _) => Err(Error::Unknown),
        };
        // A reply that cannot be sent is missed by PID 1, whose patience then ends this keeper.
        let refused = |error: Error| Reply::Refused(error.to_string());
        let _ = socket.send(&reply.unwrap_or_else(refused).encode());
    }
    0
}

fn handle(config: &Config, store: &mut Option<Persist>, request: &Request) -> Result<Reply, Error> {
    let open = store.as_mut().ok_or(Error::NotOpen);
    Ok(match request {
        Request::Unlock(profile) => match vault::unlock(|| found(config, profile)) {
            Ok(disk) => Reply::Unlocked(disk),
            Err(why) => Reply::Refused(why.to_string()),
        },
        Request::Open { boot_id, disk } => {
            let (persist, opened) = Persist::open(config, boot_id, disk)?;
            *store = Some(persist);
            Reply::Opened(opened)
        }
        Request::Append(texts) => open?.append(texts),
        Request::Probe => open?.probe()?,
        Request::Close(how, now) => store.take().ok_or(Error::NotOpen)?.close(how, *now)?,
        Request::Baked => Reply::Lines(match open {
            Ok(open) => open.baked.clone()?,
            Err(_) => db::baked(config.policies)?,
        }),
        _ => open?.db.as_ref().map_err(Clone::clone)?.answer(request)?,
    })
}

/// The gates of the rooms that have wished for something.
#[derive(Default)]
struct Gates(BTreeMap<PersonaName, (Child, OwnedFd)>);

impl Gates {
    /// Hands the packet of a wish on, to a process that is made if there is none or it has ended. The room gets the reason, if it
    /// cannot be.
    fn pass(
        &mut self,
        dir: &Path,
        room: &PersonaName,
        packet: &[u8],
        given: Option<OwnedFd>,
    ) -> Result<Reply, Error> {
        self.try_pass(dir, room, packet, given.as_ref())
            .map_err(|errno| {
                let error = Error::Gate(room.clone(), errno);
                if let Some(given) = given {
                    let text = error.to_string();
                    let parts = [&[gate::NOT], text.as_bytes()];
                    let _ = send(&given, &parts, None, MsgFlags::MSG_DONTWAIT);
                }
                error
            })
            .map(|()| Reply::Done)
    }

    fn try_pass(
        &mut self,
        dir: &Path,
        room: &PersonaName,
        packet: &[u8],
        given: Option<&OwnedFd>,
    ) -> nix::Result<()> {
        let flags = MsgFlags::MSG_DONTWAIT;
        let gate = self.0.get(room);
        match gate.map(|(_, gate)| send(gate, &[packet], given, flags)) {
            // One that does not listen is busy with what it was asked before.
            Some(sent @ (Ok(()) | Err(Errno::EAGAIN))) => return sent,
            _ => self.end(room),
        }
        let dir = dir.join("rooms").join(room.internal());
        let (ours, theirs) = pair()?;
        let keep = [theirs.as_raw_fd()];
        let child = spawn(None, CloneFlags::empty(), &keep, || gate::run(theirs, &dir))?;
        send(&ours, &[packet], given, flags)?;
        self.0.insert(room.clone(), (child, ours));
        Ok(())
    }

    /// Ends one, so that another does not meet it at the lock. What it has acknowledged, the disk has.
    fn end(&mut self, room: &PersonaName) {
        if let Some((child, _)) = self.0.remove(room) {
            let _ = child.kill();
            child.wait_exit(GATE_DEADLINE);
        }
        while let Ok(Some(_)) = reap(None) {}
    }

    fn close(&mut self) {
        for room in self.0.keys().cloned().collect::<Vec<_>>() {
            self.end(&room);
        }
    }
}

/// `/persist`, open. A part that could not be opened carries the reason, and every request for it is refused with it.
struct Persist {
    /// Where it is: the root of what this process sees, where it has a disk.
    dir: PathBuf,
    /// The baked policies, which are outside.
    baked: Result<Vec<String>, Error>,
    log: Result<Genesis, Error>,
    db: Result<Db, Error>,
}

impl Persist {
    /// Opens what can be opened.
    fn open(config: &Config, boot_id: &str, disk: &str) -> Result<(Self, Opened), Error> {
        let baked = db::baked(config.policies);
        let random = File::options().write(true).open("/dev/random");
        let random = random.map_err(at("open /dev/random"))?;
        let mut dir = Path::new(config.mountpoint);
        let mut worn = None;
        let crediter = Crediter::start(random, config.device.is_some());
        let crediter = crediter.map_err(at("start the seed's child"))?;
        if config.device.is_some() {
            let block = content::superblock(disk);
            mount_persist(disk, dir)?;
            // From here on everything that is read may be a gate's work of the boot before.
            confine(Rights::Files).map_err(at("confine the keeper"))?;
            let _ = set_name(c"bay0-keeper");
            worn = block.and_then(|block| content::errors(&block));
            dir = Path::new("/");
        }
        let mut trouble = Vec::new();
        let log = Genesis::open(dir, boot_id, &mut trouble);
        let (mut schema, mut floor, mut seed) = (0, 0, "none".to_owned());
        let db = Db::open(dir, &mut trouble).and_then(|db| {
            schema = db::SCHEMA;
            floor = db.floor()?;
            seed = entropy::restore(&db, crediter)?;
            Ok(db)
        });
        trouble.extend(log.as_ref().err().map(Error::to_string));
        trouble.extend(db.as_ref().err().map(Error::to_string));
        let newest = |log: &Genesis| (log.tip.last, log.previous.clone());
        let (log_seq, previous) = log.as_ref().map_or((0, UNTOLD.to_owned()), newest);
        let opened = Opened {
            floor,
            log_seq,
            note: format!("schema {schema}, log verified to record {log_seq}, seed {seed}"),
            previous,
            worn: worn.unwrap_or_default(),
            trouble,
        };
        let dir = dir.to_owned();
        let store = Self {
            dir,
            baked,
            log,
            db,
        };
        Ok((store, opened))
    }

    /// Once a write failed, what the page cache and the disk hold may differ, so nothing more is accepted.
    fn append(&mut self, texts: &[impl AsRef<str>]) -> Reply {
        let log = self.log.as_mut().map_err(|error| error.clone());
        match log.and_then(|log| log.append(texts)) {
            Ok(seq) => Reply::Recorded(seq),
            Err(error) => {
                let text = error.to_string();
                self.log = Err(error);
                Reply::Unlogged(text)
            }
        }
    }

    fn probe(&mut self) -> Result<Reply, Error> {
        let path = self.dir.join(".probe");
        write_and_read_back(&path).map_err(at(format!("marker write {}", path.display())))?;
        Ok(self.append(&["validate: probe"]))
    }

    /// Goes on after an error, so that one failure costs one thing; the first one is reported.
    fn close(self, how: &str, now: u64) -> Result<Reply, Error> {
        let closed = self.db.map_or(Ok(()), |db| {
            let (floor, seed) = (db.answer(&Request::Clock(now)), entropy::replace(&db));
            floor.and(seed).and(db.close())
        });
        let word = if closed.is_ok() { "clean" } else { "unclean" };
        let end = format!("end: {word} {how}");
        let end = self.log.and_then(|mut log| log.append(&[end]));
        let synced = File::open(&self.dir).and_then(|dir| Ok(syncfs(dir)?));
        let synced = synced.map_err(at("sync /persist"));
        closed.and(synced).and(end).map(|_| Reply::Done)
    }
}

/// The partition, by its identity (decision 21), and what is to be said of all disks. Without a firmware that names what it booted, the
/// dev profile takes the only virtio disk without partitions, where there is nothing else that it could be.
pub(crate) fn found(config: &Config, profile: &str) -> Result<(String, Vec<String>), Unopened> {
    let name = config.device.unwrap_or_default();
    let (found, disks) = disks::find(name);
    let found = match found {
        Err(lost @ (Lost::NoPart(..) | Lost::NoDisk(_)))
            if profile == "dev" && disks::booted().is_none() =>
        {
            disks::whole(&disks, lost)
        }
        _ if profile != "dev" && disks::booted().is_none() => Err(Lost::Unnamed),
        found => found,
    };
    let lost = |lost| Unopened::NoDisk(name.to_owned(), lost);
    let notes = disks.into_iter().filter_map(|disk| {
        let damage = disk.damage?;
        Some(format!(
            "/dev/{}: {damage}; next: see docs/FAILURE-MODES.md",
            disk.name
        ))
    });
    Ok((found.map_err(lost)?, notes.collect()))
}

/// Mounts the disk where only this process sees it, and makes it all that this process sees: no other file system, no network. Never
/// makes a file system.
fn mount_persist(device: &str, dir: &Path) -> Result<(), Error> {
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let (none, options) = (None::<&str>, Some("errors=remount-ro"));
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    // Nor has it the console, or a gate, which reads what a room sends.
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(at("open /dev/null"))?;
    let mounted = dup2_stdin(&null)
        .and_then(|()| dup2_stdout(&null))
        .and_then(|()| dup2_stderr(&null))
        .and_then(|()| unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET))
        .and_then(|()| mount(none, "/", none, private, none))
        .and_then(|()| mount(Some(device), dir, Some("ext4"), flags, options))
        .and_then(|()| chdir(dir))
        .and_then(|()| enter());
    let what = format!("{} (ext4, {device})", dir.display());
    mounted.map_err(|errno| Error::Mount(what, errno))
}

/// The marker is made anew each time and removed: only a file that needs a new block notices that the disk is full.
fn write_and_read_back(path: &Path) -> io::Result<()> {
    let marker = b"bay0 was here\n";
    fs::write(path, marker)?;
    File::open(path)?.sync_data()?;
    let same = fs::read(path)? == marker;
    fs::remove_file(path)?;
    let differs = || io::Error::other("read back differently");
    same.then_some(()).ok_or_else(differs)
}
