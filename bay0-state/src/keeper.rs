//! The keeper: the one process that touches `/persist`, and may block on it.
//!
//! The log comes first and the database second: with a database that is refused, the log and the probe still work, and the
//! refusal itself is on record.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{MsgFlags, recv, send};

use crate::db::{self, Db};
use crate::entropy;
use crate::error::{At, Fault, failed};
use crate::genesis::{self, Log};
use crate::wire::{self, MAX_MESSAGE, Opened, Reply, Request};

/// What the keeper keeps, and where.
#[derive(Clone, Debug)]
pub struct Config {
    /// The block device.
    pub device: PathBuf,
    /// Where it is mounted; everything lies in this directory.
    pub mountpoint: PathBuf,
    /// Its file system.
    pub fstype: String,
    /// False where the directory is used as it is: tests on a plain host.
    pub mount: bool,
}

impl Default for Config {
    /// The Spine's own.
    fn default() -> Self {
        Self {
            device: "/dev/vda".into(),
            mountpoint: "/persist".into(),
            fstype: "ext4".into(),
            mount: true,
        }
    }
}

/// The keeper process from its first instruction to its exit code: 0 when PID 1 closed it, 1 when the socket failed.
pub fn run(socket: OwnedFd, config: &Config) -> i32 {
    // Best effort, both: a keeper with the wrong name or score still keeps.
    let _ = nix::sys::prctl::set_name(c"bay0-keeper");
    let _ = fs::write("/proc/self/oom_score_adj", "-900");
    let mut store = Store {
        config,
        log: Err(not_open()),
        db: Err(not_open()),
        opened: false,
        closed: false,
    };
    let mut packet = vec![0; MAX_MESSAGE];
    while !store.closed {
        let length = match recv(socket.as_raw_fd(), &mut packet, MsgFlags::empty()) {
            Ok(0) | Err(Errno::ECONNRESET) => return 0,
            Err(Errno::EINTR) => continue,
            Err(_) => return 1,
            Ok(length) => length,
        };
        let reply = store.answer(packet.get(..length).unwrap_or_default());
        if send(socket.as_raw_fd(), &reply, MsgFlags::MSG_NOSIGNAL).is_err() {
            return 1;
        }
    }
    0
}

/// What is open. What is not carries the reason, and every request for it is refused with it.
struct Store<'a> {
    config: &'a Config,
    log: Result<Log, Fault>,
    db: Result<Db, Fault>,
    opened: bool,
    closed: bool,
}

impl Store<'_> {
    /// The reply packet to a request packet.
    fn answer(&mut self, packet: &[u8]) -> Vec<u8> {
        let id = wire::id_of(packet).unwrap_or(0);
        let refused = |cause| format!("keeper: {cause}; not done; next: report this text");
        let request = Request::decode(packet).map_err(refused);
        let reply = request.and_then(|(_, request)| self.handle(request));
        let reply = reply.and_then(|reply| reply.encode(id).map_err(refused));
        let reply = reply.or_else(|fault| Reply::Refused(fault).encode(id));
        reply.unwrap_or_default()
    }

    fn handle(&mut self, request: Request) -> Result<Reply, Fault> {
        let done = |()| Reply::Done;
        match request {
            Request::Open(boot_id) => self.open(&boot_id).map(Reply::Opened),
            Request::Personas => self.db()?.personas().map(Reply::Personas),
            Request::SetState(name, state) => self.db()?.set_state(&name, state).map(done),
            Request::NackAdd(hash, reason) => self.db()?.nack_add(&hash, &reason).map(done),
            Request::NackGet(hash) => self.db()?.nack_get(&hash).map(Reply::Nack),
            Request::Clock(now) => self.db()?.raise_floor(now).map(done),
            Request::Append(texts) => self.append(&texts).map(Reply::Recorded),
            Request::Probe => self.probe().map(Reply::Recorded),
            Request::Close(how, now) => self.close(&how, now).map(done),
            #[cfg(feature = "fault")]
            Request::Stall(milliseconds) => {
                std::thread::sleep(std::time::Duration::from_millis(milliseconds));
                Ok(Reply::Done)
            }
        }
    }

    fn open(&mut self, boot_id: &str) -> Result<Opened, Fault> {
        if self.config.mount {
            mount_persist(self.config)?;
        }
        self.opened = true;
        let dir = self.config.mountpoint.as_path();
        let no_db = !dir.join(db::DB_NAME).exists();
        let mut opened = genesis::previous(&[], boot_id);
        self.log = Log::open(dir, boot_id).map(|(log, found)| {
            opened = found;
            log
        });
        opened.trouble.extend(self.log.as_ref().err().cloned());
        opened.first_boot &= no_db;
        opened.seed = "none".into();
        self.db = Db::open(dir).and_then(|(db, trouble)| {
            opened.schema = db::SCHEMA;
            opened.trouble.extend(trouble);
            opened.floor = db.floor()?;
            opened.seed = entropy::restore(&db, Path::new("/dev/random"))?;
            Ok(db)
        });
        opened.trouble.extend(self.db.as_ref().err().cloned());
        Ok(opened)
    }

    fn db(&self) -> Result<&Db, Fault> {
        self.db.as_ref().map_err(Fault::clone)
    }

    fn append(&mut self, texts: &[String]) -> Result<u64, Fault> {
        let log = self.log.as_mut().map_err(|fault| fault.clone())?;
        log.append(texts)
    }

    fn probe(&mut self) -> Result<u64, Fault> {
        // With nothing open, the directory may be the mount point's own, beneath the disk that is not there.
        if !self.opened {
            return Err(not_open());
        }
        let path = self.config.mountpoint.join(".probe");
        write_and_read_back(&path).at(format!("marker write {}", path.display()))?;
        self.append(&["validate: probe".into()])
    }

    /// Goes on after an error, so that one failure costs one thing; the first one is reported.
    fn close(&mut self, how: &str, now: u64) -> Result<(), Fault> {
        self.closed = true;
        let db = std::mem::replace(&mut self.db, Err(not_open()));
        let kept = db.map_or(Ok(()), |db| {
            let (floor, seed) = (db.raise_floor(now), entropy::replace(&db));
            floor.and(seed).and(db.close())
        });
        let end = self.append(&[format!("end: clean {how}")]);
        self.log = Err(not_open());
        let mut unmounted = Ok(());
        if self.config.mount {
            let at = self.config.mountpoint.as_path();
            let done = umount(at).map_err(io::Error::from);
            unmounted = done.at(format!("unmount {}", at.display()));
        }
        kept.and(unmounted).and(end).map(drop)
    }
}

fn not_open() -> Fault {
    "/persist: not open; not done; next: open it first".into()
}

/// Mounts the disk where only this process sees it. Never makes a file system.
fn mount_persist(config: &Config) -> Result<(), Fault> {
    let (at, device, kind) = (&config.mountpoint, &config.device, config.fstype.as_str());
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let (none, options) = (None::<&str>, Some("errors=remount-ro"));
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    let mounted = unshare(CloneFlags::CLONE_NEWNS)
        .and_then(|()| mount(none, "/", none, private, none))
        .and_then(|()| mount(Some(device), at, Some(kind), flags, options));
    let what = format!("mount {} ({kind}, {})", at.display(), device.display());
    mounted.map_err(|errno| failed(what, errno, "booting dirty"))
}

/// The marker is made anew each time and removed: only a file that needs a new block notices that the disk is full.
fn write_and_read_back(path: &Path) -> io::Result<()> {
    let marker = b"bay0 was here\n";
    fs::write(path, marker)?;
    File::open(path)?.sync_data()?;
    if fs::read(path)? != marker {
        return Err(io::Error::other("read back differently"));
    }
    fs::remove_file(path)
}
