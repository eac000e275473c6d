//! The one way this system makes a process: `clone3(2)` with a pidfd, straight into its cgroup.
//!
//! No `exec`: the keeper, the validator and the burner are functions of this same binary. No process is ever moved between
//! cgroups (decision 18), and every child leads its own session, because exits inside one huge process group make the real
//! PID 1 scan it quadratically.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::{pipe2, setsid};
use nix::{errno::Errno, fcntl::OFlag, libc};

use crate::ends::{self, End};

/// `clone3(2)`; the constant of the libc crate is too narrow for its value and reads as 0.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// The call that makes a process.
pub(crate) const CLONE3: libc::c_long = libc::SYS_clone3;

/// A child process, held by its pidfd: a stale handle fails instead of hitting a stranger (`pidfd_open(2)`). Dropping it ends
/// the process: nothing runs on that nobody waits for.
#[derive(Debug)]
pub struct Child {
    /// Process id, for the log and for matching what `waitid` reports; never used to send a signal.
    pub pid: i32,
    /// Readable once the process has exited.
    pub pidfd: OwnedFd,
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

impl Child {
    /// Sends SIGKILL. A process that is gone already is not an error.
    ///
    /// # Errors
    /// The errno of `pidfd_send_signal(2)`.
    pub fn kill(&self) -> nix::Result<()> {
        let (pidfd, none) = (self.pidfd.as_raw_fd(), ptr::null::<libc::siginfo_t>());
        let call = libc::SYS_pidfd_send_signal;
        // SAFETY: the call reads no memory of ours (the siginfo pointer is null), and the fd is owned by self.
        let sent = unsafe { libc::syscall(call, pidfd, libc::SIGKILL, none, 0) };
        match Errno::result(sent) {
            Ok(_) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Waits until the process has exited, at most `limit`; does not reap it. True if it has.
    pub fn wait_exit(&self, limit: Duration) -> bool {
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut fds, timeout), Ok(1))
    }

    /// Waits for a child whose exit code is an errno ([`errno`]), at most `limit`, and reaps it.
    ///
    /// # Errors
    /// Its errno; ETIMEDOUT: it runs on, until it is dropped; EIO: it was killed.
    pub fn done(&self, limit: Duration) -> nix::Result<()> {
        if !self.wait_exit(limit) {
            return Err(Errno::ETIMEDOUT);
        }
        match ends::reap(Some(self.pidfd.as_fd()))?.map(|ended| ended.end) {
            Some(End::Exit(0)) => Ok(()),
            Some(End::Exit(code)) => Err(Errno::from_raw(code)),
            _ => Err(Errno::EIO),
        }
    }
}

/// The exit code of a child that is asked with [`Child::done`].
pub fn errno<E: Into<io::Error>>(done: Result<(), E>) -> i32 {
    let code = |why: E| why.into().raw_os_error().unwrap_or(libc::EIO);
    done.map_or_else(code, |()| 0)
}

/// Starts a child that runs `body` and exits with what it returns.
///
/// In the child: a session of its own, every signal unblocked, and no descriptor but 0-2 and `keep`. With `cgroup` (an open
/// cgroup v2 directory) the child is born inside that group; `namespaces` are those of `clone(2)` that it gets anew. Whoever
/// reaps the caller's children reaps it.
///
/// Must be called from a single-threaded process: the child goes on with a copy of the caller's memory.
///
/// # Errors
/// The errno of `clone3(2)`.
pub fn spawn(
    cgroup: Option<&File>,
    namespaces: CloneFlags,
    keep: &[RawFd],
    body: impl FnOnce() -> i32,
) -> nix::Result<Child> {
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain data for which all zeroes is the documented default.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = (libc::CLONE_PIDFD | namespaces.bits()) as u64;
    args.pidfd = (&raw mut pidfd).expose_provenance() as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(group) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::try_from(group.as_raw_fd()).map_err(|_| Errno::EBADF)?;
    }
    let size = size_of::<libc::clone_args>();
    // SAFETY: args outlives the call and its size is passed; without CLONE_VM the child has its own copy of everything, and
    // the caller has one thread, so no lock can be held by a thread the child lacks.
    let pid = unsafe { libc::syscall(CLONE3, &raw mut args, size) };
    if Errno::result(pid)? == 0 {
        let _ = setsid();
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
        close_all_but(keep);
        let code = body();
        // SAFETY: ends the child without running destructors or exit handlers, which belong to the parent's copy.
        unsafe { libc::_exit(code) };
    }
    // SAFETY: on success the kernel stored a fresh descriptor that nothing else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let pid = i32::try_from(pid).map_err(|_| Errno::EOVERFLOW)?;
    Ok(Child { pid, pidfd })
}

/// A child that ends with a text for its parent.
#[derive(Debug)]
pub struct Teller {
    /// The process.
    pub child: Child,
    /// The reading end of its pipe, non-blocking: readable once the text is there, or will never be.
    pub pipe: File,
}

/// Starts a child that tells what `body` returns: at most 64 KiB, in one write, so that one read has it all. It has `keep` as well.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_teller(keep: &[RawFd], body: impl FnOnce() -> String) -> nix::Result<Teller> {
    let (pipe, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let keep = [keep, &[write.as_raw_fd()]].concat();
    let child = spawn(None, CloneFlags::empty(), &keep, || {
        let told = File::from(write).write_all(body().as_bytes());
        i32::from(told.is_err())
    })?;
    let pipe = File::from(pipe);
    Ok(Teller { child, pipe })
}

/// Closes every descriptor above 2 but `keep`.
fn close_all_but(keep: &[RawFd]) {
    let mut keep = keep.to_vec();
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep.into_iter().chain([RawFd::MAX]) {
        // SAFETY: closes descriptors whose owners are the parent's copies and are never dropped here (the child ends in _exit).
        unsafe { libc::syscall(libc::SYS_close_range, first, fd.saturating_sub(1), 0) };
        first = fd.saturating_add(1);
    }
}
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use std::io::Read;

    impl Child {
        /// Its exit code, or 128 plus the signal that ended it; then it is gone for good. None before and after.
        pub(crate) fn reap(&self) -> Option<i32> {
            let ended = ends::reap(Some(self.pidfd.as_fd())).ok()??;
            Some(ended.end.code())
        }
    }

    #[test]
    fn k03_a_child_returns_its_code_and_is_reaped_by_its_pidfd() {
        let child = spawn(None, CloneFlags::empty(), &[], || 7).unwrap();
        assert!(child.wait_exit(Duration::from_secs(5)));
        assert_eq!(child.reap(), Some(7));
    }

    #[test]
    fn c12_a_child_inherits_only_the_kept_descriptor_and_leads_its_session() {
        let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let _open_in_parent = File::open("/proc/self/status").unwrap();
        let fd = theirs.as_raw_fd();
        let child = spawn(None, CloneFlags::empty(), &[fd], || {
            let fds = std::fs::read_dir("/proc/self/fd").map_or(0, |d| d.count());
            let leads = nix::unistd::getsid(None) == Ok(nix::unistd::getpid());
            let _ = write!(&theirs, "{fds} {leads}");
            0
        })
        .unwrap();
        drop(theirs);
        let mut said = String::new();
        ours.read_to_string(&mut said).unwrap();
        assert_eq!(said, "5 true"); // 0, 1, 2, the kept one, and the listing's own
        assert!(child.wait_exit(Duration::from_secs(5)));
        assert_eq!(child.reap(), Some(0));
    }

    #[test]
    fn h06_a_teller_tells_its_text_and_then_the_end() {
        let mut teller = spawn_teller(&[], || "all is well".to_owned()).unwrap();
        assert!(teller.child.wait_exit(Duration::from_secs(5)));
        let mut text = String::new();
        teller.pipe.read_to_string(&mut text).unwrap();
        assert_eq!(
            (text.as_str(), teller.child.reap()),
            ("all is well", Some(0))
        );
    }

    #[test]
    fn a10_a_childs_errno_is_its_exit_code() {
        let child = |done: fn() -> io::Result<()>| {
            spawn(None, CloneFlags::empty(), &[], || errno(done())).unwrap()
        };
        let limit = Duration::from_secs(5);
        assert_eq!(child(|| Ok(())).done(limit), Ok(()));
        let refused = child(|| Err(Errno::ENOTTY.into()));
        assert_eq!(refused.done(limit), Err(Errno::ENOTTY));
        let odd = child(|| Err(io::ErrorKind::UnexpectedEof.into()));
        assert_eq!(odd.done(limit), Err(Errno::EIO));
        let slow = child(|| {
            loop {
                nix::unistd::pause();
            }
        });
        assert_eq!(slow.done(Duration::from_millis(1)), Err(Errno::ETIMEDOUT));
        slow.kill().unwrap();
        assert_eq!(slow.done(limit), Err(Errno::EIO));
    }

    #[test]
    fn h07_killing_an_exited_child_is_not_an_error_and_hits_nobody_else() {
        let child = spawn(None, CloneFlags::empty(), &[], || 0).unwrap();
        assert!(child.wait_exit(Duration::from_secs(5)));
        assert_eq!(child.kill(), Ok(()));
        assert_eq!(child.reap(), Some(0));
        assert_eq!(child.kill(), Ok(()));
    }

    #[test]
    fn h06_a_child_that_runs_on_is_killed_within_the_limit() {
        let child = spawn(None, CloneFlags::empty(), &[], || {
            loop {
                nix::unistd::pause();
            }
        })
        .unwrap();
        assert!(!child.wait_exit(Duration::from_millis(1)));
        child.kill().unwrap();
        assert!(child.wait_exit(Duration::from_secs(5)));
        assert_eq!(child.reap(), Some(128 + 9));
        assert_eq!(child.reap(), None);
    }
}
