//! Walls around a process of the Spine itself: no capability that it does not use, and of the kernel only what it needs (`seccomp(2)`).

use std::io;

use caps::Capability;
use nix::libc::{self, c_long};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

use crate::room::capabilities;
use crate::spawn::CLONE3;

/// Files, the database's memory maps, packets with descriptors, and the processes of the gate. No socket can be made but pairs, no
/// program started, nothing mounted, nobody traced.
const CALLS: [c_long; 78] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_rename,
    libc::SYS_link,
    libc::SYS_linkat,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_fchown,
    libc::SYS_ftruncate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_syncfs,
    libc::SYS_sync_file_range,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_clock_nanosleep,
    libc::SYS_futex,
    libc::SYS_socketpair,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_shutdown,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self,
    CLONE3,
    libc::SYS_close_range,
    libc::SYS_setsid,
    libc::SYS_prctl,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_pidfd_send_signal,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_geteuid,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_tgkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
];
/// The seed comes on a pipe, and goes to the kernel.
const SEED: [c_long; 5] = [
    libc::SYS_read,
    libc::SYS_ioctl,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// What a process of the Spine still may, once it is confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Keeper and gates: files, and processes of their own.
    Files,
    /// The seed's child: one ioctl of `random(4)`, which takes CAP_SYS_ADMIN.
    Seed,
}

impl Rights {
    /// The capabilities that stay, as bits.
    fn capabilities(self) -> u64 {
        match self {
            Self::Files => 0,
            Self::Seed => Capability::CAP_SYS_ADMIN.bitmask(),
        }
    }

    /// The system calls that stay.
    fn calls(self) -> &'static [c_long] {
        match self {
            Self::Files => &CALLS,
            Self::Seed => &SEED,
        }
    }
}

/// Gives up every capability and every system call but those of `rights`; of this there is no way back, and children inherit it.
/// Another call answers EPERM, another machine's numbers end the process. Called before anything from outside is read.
///
/// # Errors
/// What the kernel refused.
pub fn confine(rights: Rights) -> io::Result<()> {
    capabilities(rights.capabilities()).map_err(io::Error::other)?;
    let calls = rights.calls().iter().map(|call| (*call, vec![]));
    let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let filter = SeccompFilter::new(
        calls.collect(),
        refused,
        SeccompAction::Allow,
        TargetArch::x86_64,
    );
    let program = filter.and_then(BpfProgram::try_from);
    let program = program.map_err(io::Error::other)?;
    apply_filter(&program).map_err(io::Error::other)
}
