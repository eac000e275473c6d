//! The keeper: the one process that touches `/persist`, and may block on it.
//!
//! The log comes first and the database second: with a database that is refused, the log and the probe still work, and the
//! refusal itself is on record.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{MsgFlags, recv, send};

use crate::db::{self, Db};
use crate::entropy;
use crate::error::{Fault, at, failed};
use crate::genesis::Log;
use crate::wire::{MAX_MESSAGE, NEVER, Opened, Reply, Request, Wire};

/// The file system of the disk.
const FSTYPE: &str = "ext4";
const NOT_OPEN: &str = "/persist: not open; not done; next: open it first";

/// What the keeper keeps, and where.
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    /// The block device; without one the directory is used as it is (tests on a plain host).
    pub device: Option<&'a str>,
    /// Where it is mounted; everything lies in this directory.
    pub mountpoint: &'a str,
}

/// The Spine's own disk.
pub const SPINE: Config<'_> = Config {
    device: Some("/dev/vda"),
    mountpoint: "/persist",
};

/// The keeper process from its first instruction to its exit code. It ends when PID 1's end of the socket does.
pub fn run(socket: OwnedFd, config: &Config) -> i32 {
    // Best effort, both: a keeper with the wrong name or score still keeps.
    let _ = nix::sys::prctl::set_name(c"bay0-keeper");
    let _ = fs::write("/proc/self/oom_score_adj", "-900");
    let mut store = None;
    let mut packet = vec![0; MAX_MESSAGE];
    while let Ok(length @ 1..) = recv(socket.as_raw_fd(), &mut packet, MsgFlags::empty()) {
        let packet = packet.get(..length).unwrap_or_default();
        let reply = answer(config, &mut store, packet);
        // A reply that cannot be sent is missed by PID 1, whose patience then ends this keeper.
        let _ = send(socket.as_raw_fd(), &reply, MsgFlags::MSG_NOSIGNAL);
    }
    0
}

/// The reply packet to a request packet.
fn answer(config: &Config, store: &mut Option<Store>, packet: &[u8]) -> Vec<u8> {
    let refused = |cause| format!("keeper: {cause}; not done; next: report this text");
    let request = Request::decode(packet).map_err(refused);
    let reply = request.and_then(|request| handle(config, store, request));
    let reply = reply.and_then(|reply| reply.encode().map_err(refused));
    let reply = reply.or_else(|fault| Reply::Refused(fault).encode());
    reply.unwrap_or_default()
}

fn handle(config: &Config, store: &mut Option<Store>, request: Request) -> Result<Reply, Fault> {
    let done = |()| Reply::Done;
    let open = store.as_mut().ok_or(NOT_OPEN);
    match request {
        Request::Open(boot_id) => {
            let mut opened = Opened::default();
            *store = Some(Store::open(config, &boot_id, &mut opened)?);
            Ok(Reply::Opened(opened))
        }
        Request::Personas => open?.db.as_ref()?.personas().map(Reply::Personas),
        Request::SetState(name, state) => open?.db.as_ref()?.set_state(&name, state).map(done),
        Request::NackAdd(hash, reason) => open?.db.as_ref()?.nack_add(&hash, &reason).map(done),
        Request::NackGet(hash) => open?.db.as_ref()?.nack_get(&hash).map(Reply::Nack),
        Request::Clock(now) => open?.db.as_ref()?.raise_floor(now).map(done),
        Request::Append(texts) => open?.log()?.append(&texts).map(Reply::Recorded),
        Request::Probe => open?.probe(config).map(Reply::Recorded),
        Request::Close(how, now) => {
            let open = store.take().ok_or(NOT_OPEN)?;
            open.close(config, &how, now).map(done)
        }
    }
}

/// `/persist`, open. A part that could not be opened carries the reason, and every request for it is refused with it.
struct Store {
    log: Result<Log, Fault>,
    db: Result<Db, Fault>,
}

impl Store {
    fn open(config: &Config, boot_id: &str, opened: &mut Opened) -> Result<Self, Fault> {
        let dir = Path::new(config.mountpoint);
        if let Some(device) = config.device {
            mount_persist(device, dir)?;
        }
        let used = dir.join(db::DB_NAME).exists();
        opened.previous_end = if used { "none" } else { NEVER }.into();
        opened.seed = "none".into();
        let log = Log::open(dir, boot_id, opened);
        opened.trouble.extend(log.as_ref().err().cloned());
        let db = Db::open(dir, &mut opened.trouble).and_then(|db| {
            opened.schema = db::SCHEMA.into();
            opened.floor = db.floor()?;
            opened.seed = entropy::restore(&db, Path::new("/dev/random"))?;
            Ok(db)
        });
        opened.trouble.extend(db.as_ref().err().cloned());
        Ok(Self { log, db })
    }

    fn log(&mut self) -> Result<&mut Log, Fault> {
        self.log.as_mut().map_err(|fault| fault.clone())
    }

    fn probe(&mut self, config: &Config) -> Result<u64, Fault> {
        let path = Path::new(config.mountpoint).join(".probe");
        write_and_read_back(&path).map_err(at(format!("marker write {}", path.display())))?;
        self.log()?.append(&["validate: probe"])
    }

    /// Goes on after an error, so that one failure costs one thing; the first one is reported.
    fn close(self, config: &Config, how: &str, now: u64) -> Result<(), Fault> {
        let kept = self.db.map_or(Ok(()), |db| {
            let (floor, seed) = (db.raise_floor(now), entropy::replace(&db));
            floor.and(seed).and(db.close())
        });
        let word = if kept.is_ok() { "clean" } else { "unclean" };
        let end = format!("end: {word} {how}");
        let end = self.log.and_then(|mut log| log.append(&[end]));
        let dir = config.mountpoint;
        let unmounted = config.device.map_or(Ok(()), |_| umount(dir));
        let unmounted = unmounted.map_err(at(format!("unmount {dir}")));
        kept.and(unmounted).and(end).map(drop)
    }
}

/// Mounts the disk where only this process sees it. Never makes a file system.
fn mount_persist(device: &str, dir: &Path) -> Result<(), Fault> {
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let (none, options) = (None::<&str>, Some("errors=remount-ro"));
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    let mounted = unshare(CloneFlags::CLONE_NEWNS)
        .and_then(|()| mount(none, "/", none, private, none))
        .and_then(|()| mount(Some(device), dir, Some(FSTYPE), flags, options));
    let what = format!("mount {} ({FSTYPE}, {device})", dir.display());
    mounted.map_err(|errno| failed(what, errno, "booting dirty"))
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
