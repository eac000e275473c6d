//! Errors, each in the form `operation object: CAUSE; consequence; next: action` (H19).

use std::fmt::{self, Display};
use std::io;

use nix::errno::Errno;
use rusqlite::ErrorCode;

const NOT_KEPT: &str = "state cannot be kept";
const DIRTY: &str = "state is dirty; next: check the disk, then reboot";

/// Why the keeper could not do what it was asked: the whole message, since it goes to PID 1 as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(String);

impl Fault {
    /// `rest` is the consequence and the next action.
    pub(crate) fn new(what: impl Display, cause: impl Display, rest: &str) -> Self {
        Self(format!("{what}: {cause}; {rest}"))
    }

    /// A failed system call; the errno tells what to do about it.
    pub(crate) fn errno(what: impl Display, errno: Errno, consequence: &str) -> Self {
        let next = match errno {
            Errno::ENOENT | Errno::ENXIO => "attach the disk and reboot",
            Errno::EINVAL | Errno::EUCLEAN => "check the disk with e2fsck on another machine",
            Errno::EROFS | Errno::EACCES => "attach the disk writable and reboot",
            Errno::ENODEV => "boot a kernel with this file system",
            Errno::ENOSPC => "free space on /persist",
            _ => "check the disk, then reboot",
        };
        Self(format!("{what}: {errno:?}; {consequence}; next: {next}"))
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

/// Says of a lower layer's error what was being done, and to what.
pub(crate) trait At<T> {
    fn at(self, what: impl Display) -> Result<T, Fault>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, what: impl Display) -> Result<T, Fault> {
        self.map_err(|error| match error.raw_os_error() {
            Some(code) => Fault::errno(what, Errno::from_raw(code), NOT_KEPT),
            None => Fault::new(what, error, DIRTY),
        })
    }
}

impl<T> At<T> for rusqlite::Result<T> {
    fn at(self, what: impl Display) -> Result<T, Fault> {
        self.map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Fault::errno(what, Errno::ENOSPC, NOT_KEPT),
            Some(ErrorCode::ReadOnly) => Fault::errno(what, Errno::EROFS, NOT_KEPT),
            Some(ErrorCode::ConstraintViolation) => {
                Fault::new(what, error, "nothing recorded; next: correct the value")
            }
            _ => Fault::new(what, error, DIRTY),
        })
    }
}

/// Why a call to the keeper did not do what was asked. The first field is the request's tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeeperError {
    /// No answer within this many milliseconds.
    TimedOut(&'static str, u128),
    /// The keeper's end of the socket is closed.
    Died(&'static str),
    /// Not sent: an earlier request is still in flight.
    Busy(&'static str),
    /// The keeper's answer is no, and this is its whole message.
    Refused(String),
    /// A system call or the protocol failed, and how.
    Failed(&'static str, String),
}

impl Display for KeeperError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut(op, ms) => write!(f, "keeper {op}: no answer in {ms} ms; {DIRTY}"),
            Self::Died(op) => write!(f, "keeper {op}: the keeper died; {DIRTY}"),
            Self::Busy(op) => write!(f, "keeper {op}: busy; not sent; next: try again"),
            Self::Refused(message) => f.write_str(message),
            Self::Failed(op, cause) => write!(f, "keeper {op}: {cause}; {DIRTY}"),
        }
    }
}

impl std::error::Error for KeeperError {}
