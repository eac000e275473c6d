//! System calls by their numbers, as an attacker makes them: past the C library, which would check or fall back.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::libc::{self, c_long};

/// The number of `/dev/null`.
const NULL: u64 = libc::makedev(1, 3);

/// Calls the kernel. Arguments that are not named are 0.
pub fn call(number: c_long, arguments: &[c_long]) -> io::Result<c_long> {
    let mut all = [0; 6];
    for (place, argument) in all.iter_mut().zip(arguments) {
        *place = *argument;
    }
    let [a, b, c, d, e, f] = all;
    // SAFETY: callers pass numbers, nulls, and pointers to what they keep until this returns.
    let answer = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    match answer {
        -1 => Err(io::Error::last_os_error()),
        answer => Ok(answer),
    }
}

/// The address of something that lives as long as the call, for [`call`].
pub fn at<T>(thing: &T) -> c_long {
    (&raw const *thing).expose_provenance() as c_long
}

/// A path or another text for the kernel. It is never freed, so its address stays good.
pub fn text(text: impl AsRef<Path>) -> c_long {
    let text = CString::new(text.as_ref().as_os_str().as_bytes()).unwrap_or_default();
    text.into_raw().expose_provenance() as c_long
}

/// How a child ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Code(i32),
    Signal(i32),
}

/// Forks; 0 in the child. This program has one thread, so the child may do all that the parent may.
pub fn fork() -> io::Result<libc::pid_t> {
    // SAFETY: there is one thread.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        child => Ok(child),
    }
}

/// Ends this process at once, with nothing of the parent's written a second time.
pub fn leave(code: i32) -> ! {
    let _ = io::stdout().flush();
    // SAFETY: takes no memory and does not return.
    unsafe { libc::_exit(code) }
}

/// Waits for one child.
pub fn wait(child: libc::pid_t) -> io::Result<End> {
    let mut status = 0;
    // SAFETY: `status` is ours and lives as long as the call.
    let ended = unsafe { libc::waitpid(child, &raw mut status, 0) };
    if ended != child {
        return Err(io::Error::last_os_error());
    }
    Ok(match libc::WIFSIGNALED(status) {
        true => End::Signal(libc::WTERMSIG(status)),
        false => End::Code(libc::WEXITSTATUS(status)),
    })
}

/// Runs `work` in a child; its value is the exit code.
pub fn in_child(work: impl FnOnce() -> i32) -> io::Result<End> {
    match fork()? {
        0 => leave(work()),
        child => wait(child),
    }
}

/// Writes to a file that is there. One that is covered by `/dev/null` takes everything and does nothing.
pub fn write(path: &str, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let about = file.metadata()?;
    if about.file_type().is_char_device() && about.rdev() == NULL {
        return Err(io::Error::other("covered"));
    }
    file.write_all(bytes)
}

/// Reads the first bytes of a file. One without any is covered or empty, and gives nothing away.
pub fn read(path: &str) -> io::Result<usize> {
    let mut bytes = [0; 64];
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    match file.read(&mut bytes)? {
        0 => Err(io::Error::other("empty")),
        length => Ok(length),
    }
}
