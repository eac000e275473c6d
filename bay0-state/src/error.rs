//! Why something of the state was not done. The text is made where an error leaves the process, by `Display` alone, in the form
//! `operation object: CAUSE; consequence; next: action` (H19).

use std::borrow::Cow;
use std::fmt;
use std::io;

use bay0_persona::PersonaName;
use nix::errno::Errno;

pub(crate) const DIRTY: &str = "state is dirty; next: check the disk, then reboot";

/// An operation and its object.
pub type Operation = Cow<'static, str>;

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The kernel refused it; nothing can be recorded then.
    Call(Operation, Errno),
    /// The kernel refused to mount the disk: the directory and the disk.
    Mount(String, Errno),
    /// A file, or SQLite, does not hold what it should; why.
    Damaged(Operation, String),
    /// No row may be like that; SQLite's reason.
    Unfit(Operation, String),
    /// As many rows are there as there may be.
    Full(Operation),
    /// A newer Spine has made the database.
    Newer {
        /// Its schema.
        version: u32,
        /// The newest schema that this Spine knows.
        known: u32,
    },
    /// The file system is too full to change the schema.
    Short {
        /// Bytes that are free.
        free: u64,
        /// Bytes that are needed.
        need: u64,
    },
    /// So many damaged files of this name are set aside already.
    Aside(String, usize),
    /// The baked policies at this path cannot be read; SQLite's reason.
    Unbaked(String, String),
    /// The room's gate cannot be reached.
    Gate(PersonaName, Errno),
    /// `/persist` is not open.
    NotOpen,
    /// A packet holds no request.
    Unknown,
}

impl Error {
    /// What follows from it, and what to do then unless that depends on the cause.
    fn rest(&self) -> &'static str {
        match self {
            Self::Call(..) => "state cannot be kept",
            Self::Mount(..) => "booting dirty",
            Self::Damaged(..) => DIRTY,
            Self::Unfit(..) => "nothing recorded; next: correct the value",
            Self::Full(_) => "not recorded; next: reuse one of them",
            Self::Newer { .. } => "left untouched; next: boot the newer Spine",
            Self::Short { .. } => "left untouched; next: free space on /persist",
            Self::Aside(..) => {
                "state cannot be kept; next: copy and remove them on another machine"
            }
            Self::Unbaked(..) => "no room starts; next: rebuild the Spine",
            Self::Gate(..) => "next: try again",
            Self::NotOpen => "not done; next: open it first",
            Self::Unknown => "not done; next: report this text",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(what, errno) => write!(f, "{what}: {errno:?}")?,
            Self::Mount(what, errno) => write!(f, "mount {what}: {errno:?}")?,
            Self::Damaged(what, why) | Self::Unfit(what, why) => write!(f, "{what}: {why}")?,
            Self::Full(what) => write!(f, "{what}: 256 others are recorded")?,
            Self::Newer { version, known } => {
                let known = format!("{known}, the newest known");
                write!(f, "open state.db: schema {version} is newer than {known}")?;
            }
            Self::Short { free, need } => {
                write!(f, "open state.db: {free} bytes free, {need} needed")?;
            }
            Self::Aside(name, count) => {
                write!(f, "set aside {name}: {count} damaged ones are kept already")?;
            }
            Self::Unbaked(path, why) => write!(f, "read {path}: {why}")?,
            Self::Gate(room, errno) => write!(f, "gate {room}: {errno:?}")?,
            Self::NotOpen => write!(f, "/persist: not open")?,
            Self::Unknown => write!(f, "keeper: unknown request")?,
        }
        write!(f, "; {}", self.rest())?;
        match self {
            Self::Call(_, errno) | Self::Mount(_, errno) => {
                write!(f, "; next: {}", advice(*errno))
            }
            _ => Ok(()),
        }
    }
}

/// What to do about a failed call on the disk.
fn advice(errno: Errno) -> &'static str {
    match errno {
        Errno::ENOENT | Errno::ENXIO => "attach the disk and reboot",
        Errno::EINVAL | Errno::EUCLEAN => "check the disk with e2fsck on another machine",
        Errno::EROFS | Errno::EACCES => "attach the disk writable and reboot",
        Errno::ENODEV => "boot a kernel with this file system",
        Errno::ENOSPC => "free space on /persist",
        _ => "check the disk, then reboot",
    }
}

/// The error of a failed call, by what was being done: for `map_err`.
pub(crate) fn at<E: Into<io::Error>>(what: impl Into<Operation>) -> impl FnOnce(E) -> Error {
    |error| {
        let error = error.into();
        match error.raw_os_error() {
            Some(errno) => Error::Call(what.into(), Errno::from_raw(errno)),
            None => Error::Damaged(what.into(), error.to_string()),
        }
    }
}
