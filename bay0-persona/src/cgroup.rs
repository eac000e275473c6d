//! One cgroup v2 directory: where a persona is bounded, frozen and killed as a whole (C06, T04).
//!
//! Source: the kernel's `admin-guide/cgroup-v2`. Every wait has a deadline; a freeze that does not finish is undone, because
//! a half-frozen group is the one state nobody can reason about.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use cgroups_rs::MaxValue;
use cgroups_rs::cpu::CpuController;
use cgroups_rs::memory::MemController;
use cgroups_rs::pid::PidController;
use nix::errno::Errno;
use nix::libc;

use crate::error::{Failed, at};
use crate::policy::{Grant, Policy, UNLIMITED};

/// The Spine's own groups, and the one that holds every room.
pub const GROUPS: &str = "/sys/fs/cgroup";
/// See [`GROUPS`].
pub const ROOMS: &str = "/sys/fs/cgroup/rooms";
/// The leaf below a room's cgroup that holds its own processes, apart from those of the rooms inside it. No persona can be called so.
pub const OWN: &str = "self";
/// Files that the kernel reports changes of (`cgroup-v2`: "file modified events").
const EVENTS: [&str; 3] = ["memory.events", "pids.events", "cgroup.events"];
/// How often `cgroup.events` is read again. Polling it would not do: the kernel reports "empty" late.
const REREAD: Duration = Duration::from_micros(500);

/// A cgroup v2 directory, held open.
#[derive(Debug)]
pub struct Group {
    /// Where it is.
    pub path: PathBuf,
    /// What [`crate::spawn`] needs to put a child into it.
    pub dir: File,
}

impl Group {
    /// Makes the directory `name` under `parent`.
    ///
    /// # Errors
    /// `make` or `open`, with the errno.
    pub fn create(parent: &Path, name: &str) -> Result<Group, Failed> {
        let path = parent.join(name);
        fs::create_dir(&path).map_err(at("make cgroup"))?;
        Group::open(path)
    }

    /// Opens an existing group.
    ///
    /// # Errors
    /// `open`, with the errno.
    pub fn open(path: PathBuf) -> Result<Group, Failed> {
        let dir = File::open(&path).map_err(at("open cgroup"))?;
        Ok(Group { path, dir })
    }

    /// Sets the limits of a policy, and makes groups below possible to limit as well. Swap is none, always.
    ///
    /// # Errors
    /// `limit`, with the errno of the first limit that the kernel did not take.
    pub fn limit(&self, policy: &Policy) -> Result<(), Failed> {
        let path = || self.path.clone();
        let value = |grant| i64::try_from(policy.get(grant)).unwrap_or(i64::MAX);
        // A percent of a processor is a thousandth of a second in each tenth of one.
        let quota = value(Grant::CpuQuota).saturating_mul(1000);
        let cpu = CpuController::new(path(), true);
        let memory = MemController::new(path(), true);
        let pids = PidController::new(path(), true);
        // A kernel that is built without swap has no limit for it.
        let swap = fs::metadata(self.path.join("memory.swap.max"));
        cpu.set_shares(policy.get(Grant::CpuWeight))
            .and_then(|()| cpu.set_cfs_quota_and_period(Some(quota), Some(100_000)))
            .and_then(|()| memory.set_limit(value(Grant::MemoryMax)))
            .and_then(|()| swap.map_or(Ok(()), |_| memory.set_memswap_limit(0)))
            .and_then(|()| pids.set_pid_max(MaxValue::Value(value(Grant::Pids))))
            .map_err(|_| Failed("limit cgroup", Errno::last()))
    }

    /// Sets how much memory one process that has nothing else may take, in bytes.
    ///
    /// # Errors
    /// `limit`, with the errno.
    pub fn limit_one(&self, memory: u64) -> Result<(), Failed> {
        self.set("limit cgroup", "memory.max", &memory.to_string())?;
        self.set("limit cgroup", "pids.max", "1")
    }

    /// Sets how many bytes a second its processes may read of the disk behind `image`, where its policy says that.
    ///
    /// # Errors
    /// `limit`, with the errno; ENOENT: this kernel has no such limit.
    pub fn limit_disk(&self, policy: &Policy, image: &Path) -> Result<(), Failed> {
        let rate = policy.get(Grant::DiskRate);
        if rate >= UNLIMITED {
            return Ok(());
        }
        let device = fs::metadata(image).map_err(at("limit cgroup"))?.dev();
        let (major, minor) = (libc::major(device), libc::minor(device));
        let line = format!("{major}:{minor} rbps={rate}");
        self.set("limit cgroup", "io.max", &line)
    }

    /// Makes [`OWN`], in which a room's programs see the limits of its policy, once more: those that hold are of the group around it,
    /// where rooms nested in it count as well. The group around reaches its limits first, and is the one that is reported: this one may save processor time up.
    ///
    /// # Errors
    /// As [`Group::create`], [`Group::delegate`] and [`Group::limit`].
    pub fn mirror(&self, policy: &Policy) -> Result<Group, Failed> {
        let inner = Group::create(&self.path, OWN)?;
        self.delegate()?;
        inner.limit(policy)?;
        let quota = policy.get(Grant::CpuQuota).saturating_mul(1000);
        inner.set("limit cgroup", "cpu.max.burst", &quota.to_string())?;
        Ok(inner)
    }

    /// Lets the groups below have limits of their own.
    ///
    /// # Errors
    /// `limit`, with the errno.
    pub fn delegate(&self) -> Result<(), Failed> {
        let set = |what| self.set("limit cgroup", "cgroup.subtree_control", what);
        // Where there is none for disks, a room whose policy has one does not start.
        let _ = set("+io");
        set("+cpu +memory +pids")
    }

    /// A figure of the kernel about the whole group: what stands after `key` in a line of `file`.
    ///
    /// # Errors
    /// `measure`, with the errno; EBADMSG from a kernel that does not count it.
    pub fn figure(&self, file: &str, key: &str) -> Result<u64, Failed> {
        let text = fs::read_to_string(self.path.join(file)).map_err(at("measure cgroup"))?;
        let value = |line: &str| line.strip_prefix(key)?.trim().parse().ok();
        let figure = text.lines().find_map(value);
        figure.ok_or(Failed("measure cgroup", Errno::EBADMSG))
    }

    /// The files that are ready (EPOLLPRI) when the group has come to a limit, is frozen, or has lost its last process: each at most
    /// a hundred times a second, whatever goes on in the group (`cgroup_file_notify` of the kernel).
    ///
    /// # Errors
    /// `open`, with the errno.
    pub fn events(&self) -> Result<Vec<File>, Failed> {
        let files = EVENTS.iter().map(|file| File::open(self.path.join(file)));
        files.collect::<io::Result<_>>().map_err(at("open cgroup"))
    }

    /// Freezes the whole tree and waits for the kernel to confirm it. A freeze that fails is taken back.
    ///
    /// # Errors
    /// `freeze`, with the errno; ETIMEDOUT after `limit`; as [`Group::figure`].
    pub fn freeze(&self, limit: Duration) -> Result<(), Failed> {
        let set = self.set("freeze cgroup", "cgroup.freeze", "1");
        let frozen = set.and_then(|()| self.wait("freeze cgroup", "frozen ", 1, limit));
        frozen.inspect_err(|_| self.thaw(Duration::ZERO).unwrap_or_default())
    }

    /// Thaws the whole tree and waits for the kernel to confirm it.
    ///
    /// # Errors
    /// `thaw`, with the errno; ETIMEDOUT after `limit`; as [`Group::figure`].
    pub fn thaw(&self, limit: Duration) -> Result<(), Failed> {
        self.set("thaw cgroup", "cgroup.freeze", "0")?;
        self.wait("thaw cgroup", "frozen ", 0, limit)
    }

    /// Kills every process of the tree, frozen or not, and waits until none is left. Whatever is cloned into the group from
    /// then on is killed as well (Linux 6.18): a room that was killed is removed and made anew.
    ///
    /// # Errors
    /// `kill`, with the errno; ETIMEDOUT after `limit`; as [`Group::figure`].
    pub fn kill(&self, limit: Duration) -> Result<(), Failed> {
        self.condemn()?;
        self.wait("kill cgroup", "populated ", 0, limit)
    }

    /// The groups directly below.
    ///
    /// # Errors
    /// `read` or `open`, with the errno.
    pub fn below(&self) -> Result<Vec<Group>, Failed> {
        let mut groups = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(at("read cgroup"))? {
            let entry = entry.map_err(at("read cgroup"))?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                groups.push(Group::open(entry.path())?);
            }
        }
        Ok(groups)
    }

    /// As [`Group::kill`], without waiting.
    ///
    /// # Errors
    /// `kill`, with the errno.
    pub fn condemn(&self) -> Result<(), Failed> {
        self.set("kill cgroup", "cgroup.kill", "1")
    }

    /// Kills every process of the tree, waits until none is left, and removes the group and the groups below it.
    ///
    /// # Errors
    /// As [`Group::kill`] and [`Group::below`]; `remove`, with the errno.
    pub fn remove(&self, limit: Duration) -> Result<(), Failed> {
        let killed = self.kill(limit);
        killed.and(self.remove_tree())
    }

    fn remove_tree(&self) -> Result<(), Failed> {
        for group in self.below()? {
            group.remove_tree()?;
        }
        fs::remove_dir(&self.path).map_err(at("remove cgroup"))
    }

    /// Writes a value to a file, which is not made where it is not: that would be no group.
    fn set(&self, what: &'static str, file: &str, value: &str) -> Result<(), Failed> {
        let knob = File::options().write(true).open(self.path.join(file));
        let set = knob.and_then(|mut knob| knob.write_all(value.as_bytes()));
        set.map_err(at(what))
    }

    /// Waits until the kernel shows this in `cgroup.events`.
    fn wait(&self, what: &'static str, key: &str, is: u64, limit: Duration) -> Result<(), Failed> {
        let begun = Instant::now();
        while self.figure("cgroup.events", key)? != is {
            if begun.elapsed() >= limit {
                return Err(Failed(what, Errno::ETIMEDOUT));
            }
            sleep(REREAD);
        }
        Ok(())
    }
}

/// Where cgroup v2 is mounted: the Spine's `/sys/fs/cgroup`, or beside the older version on a hybrid host.
pub fn cgroup2_root() -> Option<PathBuf> {
    let places = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(PathBuf::from);
    let is_v2 = |place: &PathBuf| place.join("cgroup.controllers").exists();
    places.into_iter().find(is_v2)
}

#[cfg(test)]
mod tests;
