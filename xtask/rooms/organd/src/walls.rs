//! The walls around a child: it has one descriptor, bounded memory, and of the kernel only what computing and answering needs. Whatever
//! else it calls ends it at once.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::libc::{self, c_long};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::setsid;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// What the kernel calls a child.
const NAME: &std::ffi::CStr = c"organ-child";
/// Seconds of processor time of one answer: nothing that is asked for takes longer, on the slowest machine that was tried.
const CPU_SECONDS: u64 = 3600;
/// The first that the kernel kills where memory is short: a child, never the parent (`proc_pid_oom_score_adj(5)`).
const FIRST: &str = "1000";

#[cfg(target_arch = "x86_64")]
const ARCH: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCH: TargetArch = TargetArch::aarch64;

/// System calls by their names.
macro_rules! calls {
    ($($name:ident)*) => {{ use libc::*; &[$($name),*] }};
}

/// Words on the one descriptor, memory, time, its end. Nothing can be opened or made, and no descriptor comes with a packet: `recvfrom(2)`
/// has no place for one.
const CALLS: &[c_long] = calls! {
    SYS_recvfrom SYS_sendto SYS_read SYS_write SYS_close
    SYS_brk SYS_munmap SYS_mremap SYS_madvise SYS_futex
    SYS_clock_gettime SYS_clock_nanosleep SYS_getrandom SYS_restart_syscall SYS_rt_sigreturn SYS_sigaltstack SYS_exit SYS_exit_group
};
/// What a second thread of the engine needs beside that.
const THREADS: &[c_long] = calls! {
    SYS_set_robust_list SYS_rseq SYS_rt_sigprocmask SYS_sched_getaffinity SYS_sched_yield SYS_gettid
};

/// What a child may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes of memory of its own, beside the model's, which is everybody's.
    pub memory: u64,
    /// Threads of the engine.
    pub threads: u32,
}

/// Puts up the walls; of this there is no way back. `end` is the descriptor that stays.
///
/// # Errors
/// What the kernel refused: then nothing may be heard.
pub fn raise(end: &OwnedFd, room: Room) -> io::Result<()> {
    setsid()?;
    prctl::set_name(NAME)?;
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    prctl::set_dumpable(false)?;
    // Where there is no such file, the kernel chooses by size alone.
    let _ = fs::write("/proc/self/oom_score_adj", FIRST);
    close_all_but(end.as_raw_fd())?;
    let own = own_memory()?.saturating_add(room.memory);
    setrlimit(Resource::RLIMIT_DATA, own, own)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    setrlimit(Resource::RLIMIT_NOFILE, 0, 0)?;
    setrlimit(Resource::RLIMIT_CPU, CPU_SECONDS, CPU_SECONDS)?;
    for filter in filters(room.threads > 1).map_err(io::Error::other)? {
        apply_filter(&filter).map_err(io::Error::other)?;
    }
    Ok(())
}

/// Closes every descriptor but this one, the standard ones as well.
fn close_all_but(keep: RawFd) -> io::Result<()> {
    let below = (keep > 0).then(|| (0, keep.saturating_sub(1)));
    let parts = below
        .into_iter()
        .chain([(keep.saturating_add(1), RawFd::MAX)]);
    for (first, last) in parts {
        // SAFETY: their owners are the parent's copies, which are never dropped here: a child ends in _exit.
        let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        nix::errno::Errno::result(done)?;
    }
    Ok(())
}

/// Bytes of writable memory that a child has of its parent, which the kernel counts as well (`getrlimit(2)`, RLIMIT_DATA; the sixth number
/// of `/proc/self/statm`, in pages).
fn own_memory() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages = text
        .split_whitespace()
        .nth(5)
        .and_then(|it| it.parse::<u64>().ok());
    let pages = pages.ok_or(io::ErrorKind::InvalidData)?;
    // SAFETY: the call has no pointers.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Ok(pages.saturating_mul(u64::try_from(page).unwrap_or(4096)))
}

/// What is not allowed kills the process. With threads a second filter answers `clone3(2)`, whose flags no filter sees, with ENOSYS: the
/// C library then takes `clone(2)`, which makes nothing but threads here.
fn filters(has_threads: bool) -> Result<Vec<BpfProgram>, seccompiler::BackendError> {
    let mut calls: Vec<(c_long, Vec<SeccompRule>)> =
        CALLS.iter().map(|call| (*call, vec![])).collect();
    let not_executable = without(2, libc::PROT_EXEC)?;
    calls.push((libc::SYS_mmap, vec![not_executable.clone()]));
    calls.push((libc::SYS_mprotect, vec![not_executable]));
    let mut first = Vec::new();
    if has_threads {
        calls.extend(THREADS.iter().map(|call| (*call, vec![])));
        let thread = libc::CLONE_VM | libc::CLONE_THREAD;
        calls.push((libc::SYS_clone, vec![having(0, thread)?]));
        calls.push((libc::SYS_clone3, vec![]));
        let older = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
        let of = [(libc::SYS_clone3, vec![])].into_iter().collect();
        first.push(SeccompFilter::new(of, SeccompAction::Allow, older, ARCH)?);
    }
    let (killed, allowed) = (SeccompAction::KillProcess, SeccompAction::Allow);
    let own = SeccompFilter::new(calls.into_iter().collect(), killed, allowed, ARCH)?;
    first
        .into_iter()
        .chain([own])
        .map(BpfProgram::try_from)
        .collect()
}

/// All these bits of an argument are set.
fn having(argument: u8, bits: i32) -> Result<SeccompRule, seccompiler::BackendError> {
    masked(argument, bits, bits)
}

/// None of these bits of an argument is set.
fn without(argument: u8, bits: i32) -> Result<SeccompRule, seccompiler::BackendError> {
    masked(argument, bits, 0)
}

fn masked(argument: u8, mask: i32, value: i32) -> Result<SeccompRule, seccompiler::BackendError> {
    let (mask, value) = (
        u64::from(mask.cast_unsigned()),
        u64::from(value.cast_unsigned()),
    );
    let (length, compare) = (SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask));
    SeccompRule::new(vec![SeccompCondition::new(
        argument, length, compare, value,
    )?])
}
