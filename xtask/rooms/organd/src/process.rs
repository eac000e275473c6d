//! A process for one answer, held by its pidfd.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use bay0_persona::ends;
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid, fork};

/// How a child ends that panics, where that does not end it by itself.
const PANICKED: i32 = 101;

/// A child. Dropping it ends the process: none answers of whom nobody knows.
#[derive(Debug)]
pub struct Child(OwnedFd);

impl Child {
    /// Starts a child that runs `body` and exits with what it returns. By the C library's `fork`, which `bay0_persona::spawn` is not: the
    /// strictest profile of rooms has no `clone3(2)`, and the library's locks of memory must be free in the child whatever other threads
    /// the caller has.
    ///
    /// # Errors
    /// Processes or memory have run out.
    pub fn start(body: impl FnOnce() -> i32) -> nix::Result<Self> {
        // SAFETY: the child uses memory, and the library has its locks ready for that; it takes no lock of ours, and ends in _exit.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => Self::of(child),
            ForkResult::Child => {
                // Unwinding would go on in the parent's copy.
                let code = catch_unwind(AssertUnwindSafe(body)).unwrap_or(PANICKED);
                // SAFETY: ends the child without destructors or exit handlers, which belong to the parent's copy.
                unsafe { libc::_exit(code) }
            }
        }
    }

    /// The child of this number, which nobody but us reaps, so that it is still the same.
    fn of(child: Pid) -> nix::Result<Self> {
        // SAFETY: the call has no pointers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.as_raw(), 0) };
        let fd = Errno::result(fd)?;
        let fd = RawFd::try_from(fd).map_err(|_| Errno::EOVERFLOW)?;
        // SAFETY: the kernel has just made this descriptor for us; nothing else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Sends a signal. A process that is gone already is no error.
    ///
    /// # Errors
    /// The errno of `pidfd_send_signal(2)`.
    pub fn signal(&self, signal: Signal) -> nix::Result<()> {
        let (fd, none) = (self.0.as_raw_fd(), ptr::null::<libc::siginfo_t>());
        let (call, number) = (libc::SYS_pidfd_send_signal, signal as libc::c_int);
        // SAFETY: the call reads no memory of ours (the siginfo pointer is null), and the fd is owned by self.
        let sent = unsafe { libc::syscall(call, fd, number, none, 0) };
        match Errno::result(sent) {
            Ok(_) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// How it has ended; none while it has not.
    ///
    /// # Errors
    /// The errno of `waitid(2)`.
    pub fn ended(&self) -> io::Result<Option<ends::End>> {
        let ended = ends::reap(Some(self.0.as_fd()))?;
        Ok(ended.map(|ended| ended.end))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.signal(Signal::SIGKILL);
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
