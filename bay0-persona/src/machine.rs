//! What differs from one kind of processor to the next (A17), for who writes filters: the mark that the kernel gives its calls (`seccomp(2)`,
//! `AUDIT_ARCH_*`), and those which it has in an older form, by path, or only in a newer one, by descriptor and path.

use nix::libc::{self, c_long};
use seccompiler::TargetArch;

/// System calls by their names.
macro_rules! calls {
    ($($name:ident)*) => {{ use libc::*; &[$($name),*] }};
}
pub(crate) use calls;

#[cfg(target_arch = "x86_64")]
mod own {
    use super::*;
    pub const ARCH: TargetArch = TargetArch::x86_64;
    pub const HERE: &[c_long] = calls! {
        SYS_stat SYS_lstat SYS_access SYS_readlink SYS_mkdir SYS_rmdir SYS_rename SYS_link SYS_unlink SYS_poll SYS_epoll_wait
    };
    pub const POLL: &[c_long] = calls! { SYS_poll };
    pub const TOOLS_HERE: &[c_long] =
        calls! { SYS_arch_prctl SYS_mknod SYS_chown SYS_chmod SYS_dup2 };
}

#[cfg(target_arch = "aarch64")]
mod own {
    use super::*;
    pub const ARCH: TargetArch = TargetArch::aarch64;
    pub const HERE: &[c_long] = calls! { SYS_faccessat SYS_readlinkat SYS_mkdirat SYS_renameat };
    pub const POLL: &[c_long] = &[];
    pub const TOOLS_HERE: &[c_long] = calls! { SYS_fchmodat };
}

/// Whose numbers a filter is for; what else works on files, waits for descriptors, and is called by the vault's tools.
pub use own::{ARCH, HERE, POLL, TOOLS_HERE};
