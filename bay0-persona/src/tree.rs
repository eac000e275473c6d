//! An image's mount as a descriptor (`open_tree(2)`, `mount_setattr(2)`, `move_mount(2)`): the only way to show its files to a room
//! with owners of the room's own.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::{NixPath, libc};

const OPEN_TREE_CLONE: libc::c_uint = 1;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;
const RDONLY_NOSUID_NODEV_IDMAP: u64 = 0x0010_0007;

/// A copy of the mount at `path`, or of a part of it, that is not attached anywhere.
///
/// # Errors
/// The errno of `open_tree(2)`.
pub fn copy(path: &Path) -> nix::Result<OwnedFd> {
    let (call, cwd) = (libc::SYS_open_tree, libc::AT_FDCWD);
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC.unsigned_abs();
    // SAFETY: the path is a terminated string that outlives the call.
    let fd =
        path.with_nix_path(|path| unsafe { libc::syscall(call, cwd, path.as_ptr(), flags) })?;
    let fd = i32::try_from(Errno::result(fd)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes a copy read-only, without set-id programs and devices; its owners are those of the user namespace `users`.
///
/// # Errors
/// The errno of `mount_setattr(2)`.
pub fn restrict(tree: &OwnedFd, users: &OwnedFd) -> nix::Result<()> {
    let users = u64::from(users.as_raw_fd().unsigned_abs());
    // struct mount_attr: attr_set, attr_clr, propagation, userns_fd.
    let attr: [u64; 4] = [RDONLY_NOSUID_NODEV_IDMAP, 0, 0, users];
    let (call, fd, none) = (libc::SYS_mount_setattr, tree.as_raw_fd(), c"".as_ptr());
    let (attr, size) = (&raw const attr, size_of_val(&attr));
    // SAFETY: the empty path is a terminated string, and the attributes are as many bytes as is said; both outlive the call.
    let done = unsafe { libc::syscall(call, fd, none, libc::AT_EMPTY_PATH, attr, size) };
    Errno::result(done).map(drop)
}

/// Attaches a copy at `path`.
///
/// # Errors
/// The errno of `move_mount(2)`.
pub fn attach(tree: &OwnedFd, path: &CStr) -> nix::Result<()> {
    let (cwd, fd) = (libc::AT_FDCWD, tree.as_raw_fd());
    let (call, flags, from) = (libc::SYS_move_mount, MOVE_MOUNT_F_EMPTY_PATH, c"".as_ptr());
    // SAFETY: both paths are terminated strings that outlive the call.
    let done = unsafe { libc::syscall(call, fd, from, cwd, path.as_ptr(), flags) };
    Errno::result(done).map(drop)
}
