//! One cgroup v2 directory: where a persona is bounded, frozen and killed as a whole (C06, T04).
//!
//! Source: the kernel's `admin-guide/cgroup-v2`. Every wait has a deadline; a freeze that does not finish is undone, because
//! a half-frozen group is the one state nobody can reason about.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::spawn::write_knob;

/// The group below the cgroup root that holds every room.
pub const ROOMS: &str = "rooms";
/// Deepest tree of groups that [`Group::remove`] walks.
const MAX_TREE: usize = 8;
/// How often `cgroup.events` is read again when its poll says nothing: the kernel reports "empty" late.
const REREAD: Duration = Duration::from_millis(2);

/// A cgroup v2 directory, held open.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
    dir: File,
}

/// What failed on a group.
#[derive(Debug)]
pub enum GroupError {
    /// This operation on this file failed.
    Io(&'static str, PathBuf, io::Error),
    /// The group did not reach this state in time; the request was taken back where it can be.
    TimedOut(&'static str, PathBuf, Duration),
}

impl fmt::Display for GroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GroupError::Io(op, path, err) => write!(f, "{op} {}: {err}", path.display()),
            GroupError::TimedOut(state, path, limit) => {
                write!(
                    f,
                    "{} not {state} after {} ms",
                    path.display(),
                    limit.as_millis()
                )
            }
        }
    }
}

impl std::error::Error for GroupError {}

impl Group {
    /// Makes the directory `name` under `parent`, or opens it if it is there.
    ///
    /// # Errors
    /// [`GroupError::Io`] naming the path.
    pub fn create(parent: &Path, name: &str) -> Result<Group, GroupError> {
        let path = parent.join(name);
        match fs::create_dir(&path) {
            Err(err) if err.kind() != io::ErrorKind::AlreadyExists => {
                Err(GroupError::Io("make cgroup", path, err))
            }
            _ => Group::open(path),
        }
    }

    /// Opens an existing group.
    ///
    /// # Errors
    /// [`GroupError::Io`] naming the path.
    pub fn open(path: PathBuf) -> Result<Group, GroupError> {
        match File::open(&path) {
            Ok(dir) => Ok(Group { path, dir }),
            Err(err) => Err(GroupError::Io("open cgroup", path, err)),
        }
    }

    /// The group's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The descriptor [`crate::spawn`] puts a child into.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// CPU time the whole group has used, in microseconds (`usage_usec` of `cpu.stat`).
    ///
    /// # Errors
    /// [`GroupError::Io`] naming the file.
    pub fn usage_usec(&self) -> Result<u64, GroupError> {
        self.value("cpu.stat", "usage_usec")
    }

    /// Freezes or thaws the whole tree and waits for the kernel to confirm it. On time-out the freeze is taken back.
    ///
    /// # Errors
    /// [`GroupError::TimedOut`] after `limit`, [`GroupError::Io`] naming the file.
    pub fn freeze(&self, frozen: bool, limit: Duration) -> Result<(), GroupError> {
        let (value, state) = if frozen {
            ("1", "frozen")
        } else {
            ("0", "thawed")
        };
        self.write("cgroup.freeze", value)?;
        let done = self.wait_event("frozen", u64::from(frozen), state, limit);
        if frozen && done.is_err() {
            self.write("cgroup.freeze", "0")?;
        }
        done
    }

    /// Kills every process of the tree, frozen or not, and waits until none is left.
    ///
    /// # Errors
    /// [`GroupError::TimedOut`] after `limit`, [`GroupError::Io`] naming the file.
    pub fn kill(&self, limit: Duration) -> Result<(), GroupError> {
        self.write("cgroup.kill", "1")?;
        self.wait_event("populated", 0, "empty", limit)
    }

    /// Removes the group and the groups below it; all must be empty.
    ///
    /// # Errors
    /// [`GroupError::Io`] naming the first directory that would not go.
    pub fn remove(self) -> Result<(), GroupError> {
        remove_tree(&self.path, MAX_TREE)
    }

    fn write(&self, file: &str, value: &str) -> Result<(), GroupError> {
        let path = self.path.join(file);
        write_knob(&path, value).map_err(|err| GroupError::Io("write", path, err))
    }

    fn value(&self, file: &str, key: &str) -> Result<u64, GroupError> {
        let path = self.path.join(file);
        let found = fs::read_to_string(&path).and_then(|text| {
            let value = text
                .lines()
                .find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
            value.ok_or_else(|| io::Error::other(format!("no {key} in it")))
        });
        found.map_err(|err| GroupError::Io("read", path, err))
    }

    fn wait_event(
        &self,
        key: &str,
        want: u64,
        state: &'static str,
        limit: Duration,
    ) -> Result<(), GroupError> {
        let path = self.path.join("cgroup.events");
        let events = File::open(&path).map_err(|err| GroupError::Io("open", path, err))?;
        let begun = Instant::now();
        while self.value("cgroup.events", key)? != want {
            if begun.elapsed() >= limit {
                return Err(GroupError::TimedOut(state, self.path.clone(), limit));
            }
            let timeout = PollTimeout::try_from(REREAD).unwrap_or(PollTimeout::ZERO);
            let _ = poll(
                &mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)],
                timeout,
            );
        }
        Ok(())
    }
}

/// Where cgroup v2 is mounted: the Spine's `/sys/fs/cgroup`, or wherever a host has it.
pub fn cgroup2_root() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        // mountinfo(5): the mount point is the fifth field; the type follows the lone hyphen.
        let (left, right) = line.split_once(" - ")?;
        right
            .starts_with("cgroup2 ")
            .then(|| left.split(' ').nth(4).map(PathBuf::from))?
    })
}

fn remove_tree(path: &Path, depth: usize) -> Result<(), GroupError> {
    let named = |err| GroupError::Io("remove cgroup", path.to_owned(), err);
    let deeper = depth
        .checked_sub(1)
        .ok_or_else(|| named(io::Error::other("nested too deep")))?;
    for entry in fs::read_dir(path).map_err(named)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path(), deeper)?;
        }
    }
    fs::remove_dir(path).map_err(named)
}

#[cfg(test)]
mod tests;
