//! What differs from one kind of processor to the next (A17), for who writes filters: the mark that the kernel gives its calls (`seccomp(2)`,
//! `AUDIT_ARCH_*`), and those which it has in an older form, by path, or only in a newer one, by descriptor and path.

use nix::libc::{self, c_long};
use seccompiler::TargetArch;

#[cfg(target_arch = "x86_64")]
mod own {
    use super::{TargetArch, c_long, libc::*};

    /// Whose numbers a filter is for.
    pub const ARCH: TargetArch = TargetArch::x86_64;
    /// What works on files.
    pub const FILES: &[c_long] = &[
        SYS_stat,
        SYS_lstat,
        SYS_access,
        SYS_readlink,
        SYS_mkdir,
        SYS_rmdir,
        SYS_rename,
        SYS_link,
        SYS_unlink,
        SYS_poll,
        SYS_epoll_wait,
    ];
    /// What the vault's tools call beside that.
    pub const TOOLS: &[c_long] = &[SYS_arch_prctl, SYS_mknod, SYS_chown, SYS_chmod, SYS_dup2];
}

#[cfg(target_arch = "aarch64")]
mod own {
    use super::{TargetArch, c_long, libc::*};

    /// Whose numbers a filter is for.
    pub const ARCH: TargetArch = TargetArch::aarch64;
    /// What works on files.
    pub const FILES: &[c_long] = &[SYS_faccessat, SYS_readlinkat, SYS_mkdirat, SYS_renameat];
    /// What the vault's tools call beside that.
    pub const TOOLS: &[c_long] = &[SYS_fchmodat];
}

pub use own::{ARCH, FILES, TOOLS};
