//! How processes end, and which signals come, by number: of the kernel's 64 signals `nix` names 31, and of the others it returns
//! EINVAL after the child is reaped, and panics where a signal is waited for.
//!
//! Source: `waitid(2)`, `rt_sigprocmask(2)`, `rt_sigtimedwait(2)`, `signal(7)`.

use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;

/// Every signal of the kernel's, 32 and 33 included, which the C library leaves out of its own sets.
static ALL: u64 = u64::MAX;
/// Bytes of the kernel's set of signals.
const SET: usize = size_of::<u64>();
/// The room's init ends with this and the number of the signal that ended its program, as a shell does.
const BY_SIGNAL: i32 = 128;

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Exit(i32),
    /// By this signal.
    Signal(i32),
}

impl End {
    /// The code with which a room's init tells this of its program.
    pub fn code(self) -> i32 {
        match self {
            End::Exit(code) => code,
            End::Signal(number) => BY_SIGNAL.saturating_add(number),
        }
    }

    /// How a room's program has ended, from the end of its init: the reverse of [`End::code`]. A program that ends by itself with the code
    /// of a signal, as a shell does whose last command was killed, is one that was killed.
    pub fn of_program(self) -> End {
        match self {
            End::Exit(code @ 129..=192) => End::Signal(code.saturating_sub(BY_SIGNAL)),
            other => other,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            End::Exit(code) => write!(f, "exit {code}"),
            End::Signal(number) => match Signal::try_from(number) {
                Ok(signal) => write!(f, "{signal}"),
                Err(_) => write!(f, "signal {number}"),
            },
        }
    }
}

/// A child that was reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its process id, which is free again.
    pub pid: i32,
    /// How it has ended.
    pub end: End,
}

/// Reaps one child that has ended, this one or any, and waits for none. None if there is a child and none has ended.
///
/// # Errors
/// The errno of `waitid(2)`; ECHILD: there is no child.
pub fn reap(child: Option<BorrowedFd<'_>>) -> nix::Result<Option<Ended>> {
    let (kind, id) = match child {
        Some(child) => (libc::P_PIDFD, child.as_raw_fd().unsigned_abs()),
        None => (libc::P_ALL, 0),
    };
    // SAFETY: siginfo_t is plain data, for which all zeroes means that nothing has ended.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG;
    // SAFETY: the kernel fills in the structure, which outlives the call.
    Errno::result(unsafe { libc::waitid(kind, id, &raw mut info, flags) })?;
    // SAFETY: after waitid these are fields of a SIGCHLD, or zero still.
    let pid = unsafe { info.si_pid() };
    // SAFETY: likewise.
    let status = unsafe { info.si_status() };
    let end = match info.si_code {
        libc::CLD_EXITED => End::Exit(status),
        _ => End::Signal(status),
    };
    Ok((pid != 0).then_some(Ended { pid, end }))
}

/// Blocks every signal that can be blocked: each waits for [`next`], and a process that is made inherits that.
///
/// # Errors
/// The errno of `rt_sigprocmask(2)`.
pub fn hold() -> nix::Result<()> {
    let (call, old) = (libc::SYS_rt_sigprocmask, ptr::null_mut::<u64>());
    // SAFETY: the kernel reads the set, which is as long as is said and a constant.
    let done = unsafe { libc::syscall(call, libc::SIG_SETMASK, &raw const ALL, old, SET) };
    Errno::result(done).map(drop)
}

/// Waits for the next signal; its number.
///
/// # Errors
/// The errno of `rt_sigtimedwait(2)`; EINTR: the process was stopped and goes on.
pub fn next() -> nix::Result<i32> {
    let (call, none) = (libc::SYS_rt_sigtimedwait, ptr::null::<libc::timespec>());
    let info = ptr::null_mut::<libc::siginfo_t>();
    // SAFETY: the kernel reads the set, which is as long as is said and a constant; it takes the null pointers for "not wanted".
    let number = unsafe { libc::syscall(call, &raw const ALL, info, none, SET) };
    Ok(i32::try_from(Errno::result(number)?).unwrap_or_default())
}

/// Sends a signal of any number to a child that was not reaped yet.
///
/// # Errors
/// The errno of `kill(2)`.
pub fn pass(pid: i32, number: i32) -> nix::Result<()> {
    // SAFETY: the call takes no memory of ours.
    Errno::result(unsafe { libc::kill(pid, number) }).map(drop)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{Child, CloneFlags, spawn};
    use std::os::fd::AsFd;
    use std::time::Duration;

    fn ended(child: &Child) -> End {
        assert!(child.wait_exit(Duration::from_secs(5)));
        let ended = reap(Some(child.pidfd.as_fd())).unwrap().unwrap();
        assert_eq!(ended.pid, child.pid);
        assert_eq!(reap(Some(child.pidfd.as_fd())), Err(Errno::ECHILD));
        ended.end
    }

    /// Undoes what was inherited: a program that was started by `posix_spawn` of glibc ignores 32 and 33, which no call of the
    /// library can change.
    pub(crate) fn default(number: i32) {
        let action = [0u64; 4];
        let (call, old) = (libc::SYS_rt_sigaction, ptr::null_mut::<u64>());
        // SAFETY: the kernel reads `struct sigaction`, all zeroes here, and no old one is wanted.
        unsafe { libc::syscall(call, number, &raw const action, old, SET) };
    }

    #[test]
    fn c06_an_end_by_any_signal_number_is_seen_once() {
        for number in 1..=64 {
            let child = spawn(None, CloneFlags::empty(), &[], || {
                default(number);
                let _ = pass(nix::unistd::getpid().as_raw(), number);
                7
            })
            .unwrap();
            let expected = match number {
                // Ignored by default (signal(7)).
                libc::SIGCHLD | libc::SIGCONT | libc::SIGURG | libc::SIGWINCH => End::Exit(7),
                libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => {
                    // A stop is no end. The group has no parent in its session, so that the last three do nothing.
                    let stopped = number == libc::SIGSTOP;
                    if stopped {
                        assert!(!child.wait_exit(Duration::from_millis(20)));
                        assert_eq!(reap(Some(child.pidfd.as_fd())), Ok(None));
                        pass(child.pid, libc::SIGCONT).unwrap();
                    }
                    End::Exit(7)
                }
                _ => End::Signal(number),
            };
            assert_eq!(ended(&child), expected, "{number}");
        }
    }

    #[test]
    fn c06_every_signal_that_can_be_held_comes_by_its_number() {
        let child = spawn(None, CloneFlags::empty(), &[], || {
            if hold().is_err() {
                return 100;
            }
            for number in (1..=64).filter(|it| ![libc::SIGKILL, libc::SIGSTOP].contains(it)) {
                // It is held, and so changes nothing before it is waited for.
                let sent = pass(nix::unistd::getpid().as_raw(), number);
                if sent.is_err() || next() != Ok(number) {
                    return number;
                }
            }
            0
        });
        assert_eq!(ended(&child.unwrap()), End::Exit(0));
    }

    #[test]
    fn c06_an_end_is_named_and_passes_through_the_rooms_init() {
        for (end, name) in [
            (End::Exit(0), "exit 0"),
            (End::Exit(128), "exit 128"),
            (End::Exit(193), "exit 193"),
            (End::Signal(9), "SIGKILL"),
            (End::Signal(34), "signal 34"),
            (End::Signal(64), "signal 64"),
        ] {
            assert_eq!(end.to_string(), name);
            assert_eq!(End::Exit(end.code()).of_program(), end);
        }
        assert_eq!(End::Signal(9).of_program(), End::Signal(9));
    }
}
