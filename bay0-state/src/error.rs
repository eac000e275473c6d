//! Errors, each in the form `operation object: CAUSE; consequence; next: action` (H19).

use std::error::Error;
use std::fmt::{self, Display};
use std::io;

use nix::errno::Errno;
use rusqlite::ErrorCode::{ConstraintViolation, DiskFull, ReadOnly};

pub(crate) const DIRTY: &str = "state is dirty; next: check the disk, then reboot";

/// Why the keeper could not do what it was asked: the whole message, since it goes to PID 1 as text.
pub type Fault = String;

/// The message of a failed system call; the errno tells what to do about it.
pub(crate) fn failed(what: impl Display, errno: Errno, consequence: &str) -> Fault {
    let next = match errno {
        Errno::ENOENT | Errno::ENXIO => "attach the disk and reboot",
        Errno::EINVAL | Errno::EUCLEAN => "check the disk with e2fsck on another machine",
        Errno::EROFS | Errno::EACCES => "attach the disk writable and reboot",
        Errno::ENODEV => "boot a kernel with this file system",
        Errno::ENOSPC => "free space on /persist",
        _ => "check the disk, then reboot",
    };
    format!("{what}: {errno:?}; {consequence}; next: {next}")
}

/// Says of a lower layer's error (a system call's, `io` or SQLite) what was being done, and to what: for `map_err`.
pub(crate) fn at<E: Error + 'static>(what: impl Display) -> impl FnOnce(E) -> Fault {
    move |error| explain(what, &error)
}

fn explain(what: impl Display, error: &(dyn Error + 'static)) -> Fault {
    let sql: Option<&rusqlite::Error> = error.downcast_ref();
    let system: Option<&io::Error> = error.downcast_ref();
    let system = system.and_then(io::Error::raw_os_error);
    let errno: Option<&Errno> = error.downcast_ref();
    let errno = match sql.and_then(rusqlite::Error::sqlite_error_code) {
        Some(DiskFull) => Some(Errno::ENOSPC),
        Some(ReadOnly) => Some(Errno::EROFS),
        Some(ConstraintViolation) => {
            return format!("{what}: {error}; nothing recorded; next: correct the value");
        }
        _ => errno.copied().or(system.map(Errno::from_raw)),
    };
    match errno {
        Some(errno) => failed(what, errno, "state cannot be kept"),
        None => format!("{what}: {error}; {DIRTY}"),
    }
}

/// Why a call to the keeper did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeeperError {
    /// The keeper's end of the socket is closed; the request's tag.
    Died(&'static str),
    /// Anything else, the keeper's own refusal above all: the whole message.
    Failed(String),
}

impl Display for KeeperError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Died(op) => write!(f, "keeper {op}: the keeper died; {DIRTY}"),
            Self::Failed(text) => f.write_str(text),
        }
    }
}

impl Error for KeeperError {}
