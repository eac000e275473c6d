//! Mounts as descriptors, which a room's process attaches: its image's (`open_tree(2)`, `mount_setattr(2)`, `move_mount(2)`), the only
//! way to show files with owners of the room's own; and that of its device nodes (`fsopen(2)`), which nobody can make in a room, and
//! which are its own so that no other room sees or locks them.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, makedev, mkdirat, mknodat, stat};
use nix::unistd::{Gid, Uid, fchownat};
use nix::{NixPath, fcntl::AtFlags, libc};

/// What every program expects (the kernel's `admin-guide/devices`), and nothing else.
const NODES: [(&str, libc::dev_t); 6] = [
    ("null", makedev(1, 3)),
    ("zero", makedev(1, 5)),
    ("full", makedev(1, 7)),
    ("random", makedev(1, 8)),
    ("urandom", makedev(1, 9)),
    ("tty", makedev(5, 0)),
];
/// What else there may be beside them.
const DEV: [(&CStr, &CStr); 3] = [(c"mode", c"0755"), (c"size", c"64k"), (c"nr_inodes", c"64")];
/// Everybody in the room uses them, and lists what there is.
const ALL: Mode = Mode::from_bits_truncate(0o666);
const SHOWN: Mode = Mode::from_bits_truncate(0o755);
/// Of the kernel's `mount.h`.
const CLOEXEC: libc::c_uint = 1;
const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
const NOSUID_NOEXEC: libc::c_uint = 0x0a;
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
    // SAFETY: the kernel has just made this descriptor.
    unsafe { owned(fd) }
}

/// What a call that makes a descriptor has returned.
///
/// # Safety
/// Nothing else owns it.
unsafe fn owned(fd: libc::c_long) -> nix::Result<OwnedFd> {
    let fd = i32::try_from(Errno::result(fd)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the caller's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A file system in memory with device nodes, all `owner`'s, that is not attached anywhere; with those of `given`, each in a folder and by
/// a name as there, and with its number.
///
/// # Errors
/// What the kernel answers.
pub fn devices(owner: u32, given: &[String]) -> nix::Result<OwnedFd> {
    let (call, kind) = (libc::SYS_fsopen, c"tmpfs".as_ptr());
    // SAFETY: the name is a terminated string, a constant.
    let context = unsafe { libc::syscall(call, kind, CLOEXEC) };
    // SAFETY: the kernel has just made this descriptor.
    let context = unsafe { owned(context) }?;
    for (key, value) in DEV {
        configure(&context, FSCONFIG_SET_STRING, Some((key, value)))?;
    }
    configure(&context, FSCONFIG_CMD_CREATE, None)?;
    let (call, fd) = (libc::SYS_fsmount, context.as_raw_fd());
    // SAFETY: the call takes numbers only.
    let tree = unsafe { libc::syscall(call, fd, CLOEXEC, NOSUID_NOEXEC) };
    // SAFETY: the kernel has just made this descriptor.
    let tree = unsafe { owned(tree) }?;
    let (uid, gid) = (Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner)));
    // Whatever the mask of this process is.
    let finish = |at: &Path, mode| {
        fchmodat(&tree, at, mode, FchmodatFlags::FollowSymlink)?;
        fchownat(&tree, at, uid, gid, AtFlags::empty())
    };
    let node = |at: &Path, number| {
        mknodat(&tree, at, SFlag::S_IFCHR, ALL, number)?;
        finish(at, ALL)
    };
    for (name, number) in NODES {
        node(Path::new(name), number)?;
    }
    for path in given.iter().map(Path::new) {
        let (folder, name) = (path.parent().and_then(Path::file_name), path.file_name());
        let folder = Path::new(folder.unwrap_or_default());
        match mkdirat(&tree, folder, SHOWN) {
            Err(Errno::EEXIST) => {}
            made => made.and_then(|()| finish(folder, SHOWN))?,
        }
        let name = folder.join(name.unwrap_or_default());
        node(&name, stat(path)?.st_rdev)?;
    }
    finish(Path::new("."), SHOWN)?;
    Ok(tree)
}

/// `fsconfig(2)`, with a key and its value or with none.
fn configure(
    context: &OwnedFd,
    order: libc::c_uint,
    set: Option<(&CStr, &CStr)>,
) -> nix::Result<()> {
    let (call, fd, null) = (libc::SYS_fsconfig, context.as_raw_fd(), std::ptr::null());
    let (key, value) = set.map_or((null, null), |(key, value)| (key.as_ptr(), value.as_ptr()));
    // SAFETY: both are terminated strings that outlive the call, or null where the order takes none.
    let done = unsafe { libc::syscall(call, fd, order, key, value, 0) };
    Errno::result(done).map(drop)
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
