//! Why a call failed that no object has to be named for: the caller knows the group or the room.

use std::fmt;
use std::io;

use nix::errno::Errno;

/// The operation, or the stage of a room's start, and why it failed: ETIMEDOUT if the kernel did not get there in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed(pub &'static str, pub Errno);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.0, self.1)
    }
}

impl std::error::Error for Failed {}

/// The failure of this operation, for `map_err`.
pub(crate) fn at<E: Into<io::Error>>(operation: &'static str) -> impl Fn(E) -> Failed {
    move |error| Failed(operation, errno_of(error))
}

/// The errno of an error; EIO where it has none.
pub fn errno_of<E: Into<io::Error>>(error: E) -> Errno {
    Errno::try_from(error.into()).unwrap_or(Errno::EIO)
}
