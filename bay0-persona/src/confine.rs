//! Walls around a process of the Spine itself: no capability that it does not use, and of the kernel only what it needs (`seccomp(2)`).

use std::ffi::CStr;
use std::io;

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};
use nix::libc::{self, c_long};
use nix::sys::prctl::set_name;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use crate::machine::{ARCH, HERE, POLL, TOOLS_HERE, calls};
use crate::spawn::CLONE3;

/// Files, the database's memory maps, packets with descriptors, and the processes of the gate. No socket can be made but pairs, no
/// program started, nothing mounted, nobody traced.
const FILES: &[c_long] = calls! {
    SYS_read SYS_write SYS_writev SYS_pread64 SYS_pwrite64 SYS_lseek SYS_openat SYS_close SYS_fcntl SYS_flock
    SYS_fstat SYS_newfstatat SYS_statx SYS_statfs SYS_fstatfs SYS_getcwd SYS_getdents64 SYS_linkat SYS_unlinkat SYS_fchown SYS_ftruncate
    SYS_fsync SYS_fdatasync SYS_syncfs SYS_sync_file_range
    SYS_mmap SYS_munmap SYS_mremap SYS_mprotect SYS_madvise SYS_brk SYS_getrandom
    SYS_clock_gettime SYS_gettimeofday SYS_clock_nanosleep SYS_futex
    SYS_socketpair SYS_sendmsg SYS_recvmsg SYS_sendto SYS_recvfrom SYS_shutdown
    SYS_ppoll SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait
    SYS_landlock_create_ruleset SYS_landlock_add_rule SYS_landlock_restrict_self
    CLONE3 SYS_close_range SYS_setsid SYS_prctl SYS_wait4 SYS_waitid SYS_pidfd_send_signal SYS_getpid SYS_gettid SYS_geteuid
    SYS_rt_sigprocmask SYS_rt_sigaction SYS_rt_sigreturn SYS_sigaltstack SYS_restart_syscall SYS_tgkill SYS_exit SYS_exit_group
};
/// The seed comes on a pipe, and goes to the kernel.
const SEED: &[c_long] = calls! { SYS_read SYS_ioctl SYS_close SYS_prctl SYS_exit SYS_exit_group };
/// A socket in a namespace, and what is said on it; the namespace's switches, which are files.
const LINKS: &[c_long] = calls! {
    SYS_setns SYS_socket SYS_sendto SYS_recvfrom SYS_openat SYS_write SYS_close SYS_prctl SYS_brk SYS_mmap SYS_munmap SYS_mremap SYS_exit SYS_exit_group
};
/// Displays and keyboards, which come on a socket, a picture in memory, and a terminal: nothing can be opened or made.
const SCREEN: &[c_long] = calls! {
    SYS_read SYS_write SYS_ioctl SYS_ppoll SYS_recvmsg SYS_close SYS_fcntl SYS_brk SYS_mmap SYS_munmap SYS_mremap SYS_madvise
    SYS_prctl SYS_restart_syscall SYS_exit SYS_exit_group
};

/// Packets of two rooms and of PID 1, and memory that is sealed: nothing can be opened or made, and no descriptor handed on.
const COURIER: &[c_long] = calls! {
    SYS_recvmsg SYS_sendto SYS_write SYS_pread64 SYS_fcntl SYS_close SYS_prctl SYS_brk SYS_mmap SYS_munmap SYS_mremap
    SYS_restart_syscall SYS_exit SYS_exit_group
};

/// Device mapper, mounts, partitions; and walls of their own for children.
const DISKS: &[c_long] = calls! { SYS_ioctl SYS_mount SYS_pipe2 SYS_capget SYS_capset SYS_seccomp };
/// Signatures, what the page cache has of a disk; and walls of their own for children, and for itself.
const SLOTS: &[c_long] = calls! {
    SYS_ioctl SYS_add_key SYS_keyctl SYS_fadvise64 SYS_pipe2 SYS_capget SYS_capset SYS_seccomp
};
/// What `cryptsetup`, `mke2fs` and their libraries call, and who starts them; no socket is among it, and nothing is mounted.
const TOOLS: &[c_long] = calls! {
    SYS_execve SYS_set_tid_address SYS_set_robust_list SYS_rseq SYS_prlimit64 SYS_uname SYS_sysinfo SYS_umask
    SYS_sched_getaffinity SYS_getuid SYS_getgid SYS_getegid SYS_getppid SYS_mlock SYS_munlock SYS_fallocate SYS_fadvise64 SYS_ioctl
    SYS_mkdirat SYS_faccessat2 SYS_mknodat SYS_fchownat SYS_pipe2 SYS_dup3 SYS_capget SYS_capset SYS_seccomp
};
/// What a device tells of itself, what the page cache has of it, and what protects a variable of the firmware's (`FS_IOC_SETFLAGS`).
const DEVICE: &[c_long] = calls! { SYS_ioctl SYS_fadvise64 };
/// One descriptor is read, another written to; what it took is a call where the kernel's own clock is not mapped (`vdso(7)`).
const CHECK: &[c_long] = calls! {
    SYS_read SYS_write SYS_close SYS_prctl SYS_brk SYS_clock_gettime SYS_exit SYS_exit_group
};
/// The connection to PID 1's socket.
const FEEL: &[c_long] = calls! { SYS_socket SYS_connect SYS_getsockopt SYS_setsockopt SYS_getuid };

/// What a process of the Spine still may, once it is confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Keeper and gates: files, and processes of their own.
    Files,
    /// The seed's child: one ioctl of `random(4)`, which takes CAP_SYS_ADMIN.
    Seed,
    /// Who makes a room's network: netlink sockets in rooms' namespaces, which takes CAP_SYS_ADMIN and CAP_NET_ADMIN.
    Links,
    /// Who draws on the display and reads keyboards.
    Screen,
    /// Asks a person at the screen: the same.
    Arbiter,
    /// Who carries a file from one room to another.
    Courier,
    /// Who reads a disk's table or its content, or asks the TPM: files, and what a device tells of itself.
    Look,
    /// Who has children look at all disks: CAP_SETPCAP for their walls.
    List,
    /// Who opens an image, or finds a partition: CAP_SYS_ADMIN, and CAP_SETPCAP for its children's walls.
    Disks,
    /// Who loads modules: CAP_SYS_MODULE.
    Modules,
    /// Who has the firmware remember something, in files that only CAP_LINUX_IMMUTABLE can change.
    Firmware,
    /// Who finds and opens the slots: CAP_SYS_ADMIN to name a partition to the kernel, CAP_SETPCAP for walls, and what [`Rights::Slots`] keeps.
    Finder,
    /// Who reads and writes the slots, which are open, and has the firmware remember it.
    Slots,
    /// Who asks for the vault's key and starts its tools: CAP_SETPCAP for their walls.
    Reseal,
    /// A tool of the vault's. One that opens it makes a mapped device (CAP_SYS_ADMIN), its node (CAP_MKNOD) and that one's owners
    /// (CAP_CHOWN); started by who has none of these, a tool has none either.
    Tool,
    /// Who reads all of the root once, from one descriptor.
    Check,
    /// The validator: PID 1's socket, and a group, which nobody makes in the kernel's root of them without CAP_DAC_OVERRIDE.
    Feel,
}

impl Rights {
    /// What the kernel calls the process once it is confined; keeper and gates name themselves.
    fn called(self) -> Option<&'static CStr> {
        match self {
            Self::Files => None,
            Self::Seed => Some(c"bay0-seed"),
            Self::Links => Some(c"bay0-links"),
            Self::Screen => Some(c"bay0-screen"),
            Self::Arbiter => Some(c"bay0-arbiter"),
            Self::Courier => Some(c"bay0-courier"),
            Self::Look => Some(c"bay0-look"),
            Self::List => Some(c"bay0-list"),
            Self::Disks => Some(c"bay0-disks"),
            Self::Modules => Some(c"bay0-modules"),
            Self::Firmware => Some(c"bay0-firmware"),
            Self::Finder => Some(c"bay0-finder"),
            Self::Slots => Some(c"bay0-slots"),
            Self::Reseal => Some(c"bay0-reseal"),
            Self::Tool => Some(c"ld.so"),
            Self::Check => Some(c"bay0-check"),
            Self::Feel => Some(c"bay0-validate"),
        }
    }

    /// The capabilities that stay, as bits, and the system calls.
    fn kept(self) -> (u64, &'static [&'static [c_long]]) {
        let admin = Capability::CAP_SYS_ADMIN.bitmask();
        let (net, walls) = (Capability::CAP_NET_ADMIN, Capability::CAP_SETPCAP);
        let node = Capability::CAP_MKNOD.bitmask() | Capability::CAP_CHOWN.bitmask();
        let module = Capability::CAP_SYS_MODULE.bitmask();
        let files = Capability::CAP_DAC_OVERRIDE.bitmask();
        let variables = Capability::CAP_LINUX_IMMUTABLE.bitmask();
        match self {
            Self::Files => (0, &[FILES, HERE]),
            Self::Seed => (admin, &[SEED]),
            Self::Links => (admin | net.bitmask(), &[LINKS]),
            Self::Screen | Self::Arbiter => (0, &[SCREEN, POLL]),
            Self::Courier => (0, &[COURIER]),
            Self::Look => (0, &[FILES, HERE, DEVICE]),
            Self::List => (walls.bitmask(), &[FILES, HERE, DISKS]),
            Self::Disks => (admin | walls.bitmask(), &[FILES, HERE, DISKS]),
            Self::Modules => (module, &[FILES, HERE, &[libc::SYS_finit_module]]),
            Self::Firmware => (variables, &[FILES, HERE, DEVICE]),
            Self::Finder => (admin | walls.bitmask() | variables, &[FILES, HERE, SLOTS]),
            Self::Slots => (variables, &[FILES, HERE, SLOTS]),
            Self::Reseal => (walls.bitmask(), &[FILES, HERE, TOOLS, TOOLS_HERE]),
            Self::Tool => (admin | node, &[FILES, HERE, TOOLS, TOOLS_HERE]),
            Self::Check => (0, &[CHECK]),
            Self::Feel => (files, &[FILES, HERE, FEEL]),
        }
    }
}

/// Gives up for good every capability whose bit is not in `kept`; what is not there is not gained.
pub(crate) fn capabilities(kept: u64) -> Result<(), CapsError> {
    let there = caps::read(None, CapSet::Permitted)?;
    let of = |it: &caps::Capability| kept & it.bitmask() != 0 && there.contains(it);
    let (keep, lose): (CapsHashSet, CapsHashSet) = caps::all().into_iter().partition(of);
    for capability in lose {
        caps::drop(None, CapSet::Bounding, capability)?;
    }
    caps::clear(None, CapSet::Ambient)?;
    caps::set(None, CapSet::Effective, &keep)?;
    caps::set(None, CapSet::Permitted, &keep)?;
    caps::clear(None, CapSet::Inheritable)
}

/// Gives up every capability and every system call but those of `rights`; of this there is no way back, and children inherit it.
/// Another call answers EPERM, another machine's numbers end the process. Called before anything from outside is read.
///
/// # Errors
/// What the kernel refused.
pub fn confine(rights: Rights) -> io::Result<()> {
    let (kept, calls) = rights.kept();
    capabilities(kept).map_err(io::Error::other)?;
    let calls = calls.iter().copied().flatten().map(|call| (*call, vec![]));
    let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let filter = SeccompFilter::new(calls.collect(), refused, SeccompAction::Allow, ARCH);
    let program = filter.and_then(BpfProgram::try_from);
    let program = program.map_err(io::Error::other)?;
    apply_filter(&program).map_err(io::Error::other)?;
    Ok(rights.called().map_or(Ok(()), set_name)?)
}
