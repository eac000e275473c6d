//! Errors, each in the form `operation object: CAUSE; consequence; next: action` (H19).

use std::fmt::Display;
use std::io;

use nix::errno::Errno;

pub(crate) const DIRTY: &str = "state is dirty; next: check the disk, then reboot";

/// Why the keeper could not do what it was asked: the whole message, since it goes to PID 1 as text.
pub type Fault = String;

/// The message of a failed system call; the errno, if it has one, tells what to do about it.
pub(crate) fn failed(what: impl Display, error: &io::Error, consequence: &str) -> Fault {
    let Some(errno) = error.raw_os_error().map(Errno::from_raw) else {
        return format!("{what}: {error}; {DIRTY}");
    };
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

/// Says of a failed system call what was being done, and to what: for `map_err`.
pub(crate) fn at<E: Into<io::Error>>(what: impl Display) -> impl FnOnce(E) -> Fault {
    |error| failed(what, &error.into(), "state cannot be kept")
}
