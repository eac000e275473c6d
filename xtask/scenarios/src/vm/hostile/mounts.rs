//! Mounts, device nodes, and what bay0 mounted over the room's own files.

use std::fs;
use std::io;

use nix::libc::{self, c_long};

use crate::calls::{self, at, call, text};
use crate::told::{Told, Ways};

/// Where mounts are tried.
const HERE: &str = "/tmp/hostile-mount";
/// What bay0 put over the room's files. The nodes in /dev are the room's own.
const COVERS: [&str; 11] = [
    "/run/umbilical",
    "/usr/bin/bay0",
    "/dev",
    "/dev/console",
    "/dev/pts",
    "/dev/shm",
    "/proc",
    "/proc/kcore",
    "/proc/bus",
    "/proc/interrupts",
    "/sys/fs/cgroup",
];
/// A copy of the mount.
const OPEN_TREE_CLONE: c_long = 1;

/// `struct mount_attr`.
#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

fn mount(source: &str, kind: &str, flags: u64, data: &str) -> io::Result<c_long> {
    let flags = flags as c_long;
    let arguments = [text(source), text(HERE), text(kind), flags, text(data)];
    let done = call(libc::SYS_mount, &arguments);
    if done.is_ok() {
        let _ = call(libc::SYS_umount2, &[text(HERE), libc::MNT_DETACH.into()]);
    }
    done
}

/// Every way to a mount: the old call, the new ones, changes of what is there.
pub fn tricks() -> Told {
    let mut ways = Ways::default();
    let _ = fs::create_dir_all(HERE);
    for kind in [
        "tmpfs", "proc", "sysfs", "cgroup2", "devpts", "mqueue", "ramfs",
    ] {
        ways.add(kind, mount("none", kind, 0, ""));
    }
    let overlay = format!("lowerdir=/,upperdir={HERE},workdir={HERE}");
    ways.add("overlay", mount("none", "overlay", 0, &overlay));
    ways.add("squashfs", mount("/dev/vdb", "squashfs", 0, ""));
    ways.add("bind", mount("/", "", libc::MS_BIND | libc::MS_REC, ""));
    ways.add("shared", again("/", libc::MS_SHARED | libc::MS_REC));
    let writable = libc::MS_REMOUNT | libc::MS_BIND;
    ways.add("remount", again("/usr/bin/bay0", writable));
    for path in ["/proc", "/dev", "/proc/sys", "/usr/bin/bay0", "/"] {
        let done = call(libc::SYS_umount2, &[text(path), libc::MNT_DETACH.into()]);
        ways.add(&format!("umount:{path}"), done);
    }
    new_calls(&mut ways);
    let _ = fs::remove_dir(HERE);
    ways.told()
}

fn again(path: &str, flags: u64) -> io::Result<c_long> {
    let flags = flags as c_long;
    call(libc::SYS_mount, &[0, text(path), 0, flags, 0])
}

fn new_calls(ways: &mut Ways) {
    let here = libc::AT_FDCWD.into();
    let clear = Attributes {
        set: 0,
        clear: libc::MOUNT_ATTR_RDONLY,
        propagation: 0,
        user_namespace: 0,
    };
    let size = size_of::<Attributes>() as c_long;
    for (name, number, arguments) in [
        ("fsopen", libc::SYS_fsopen, vec![text("tmpfs"), 0]),
        ("fspick", libc::SYS_fspick, vec![here, text("/"), 0]),
        ("fsmount", libc::SYS_fsmount, vec![0, 0, 0]),
        (
            "open_tree",
            libc::SYS_open_tree,
            vec![here, text("/"), OPEN_TREE_CLONE],
        ),
        (
            "move_mount",
            libc::SYS_move_mount,
            vec![here, text("/proc"), here, text(HERE), 0],
        ),
        (
            "mount_setattr",
            libc::SYS_mount_setattr,
            vec![here, text("/usr/bin/bay0"), 0, at(&clear), size],
        ),
        (
            "pivot_root",
            libc::SYS_pivot_root,
            vec![text("/"), text(HERE)],
        ),
    ] {
        ways.add(name, call(number, &arguments));
    }
}

/// The old way out: a program that the kernel starts outside when a group is empty.
pub fn release_agent() -> Told {
    let mut ways = Ways::default();
    let _ = fs::create_dir_all(HERE);
    for options in ["rdma", "memory", "none,name=hostile"] {
        ways.add(options, mount("cgroup", "cgroup", 0, options));
    }
    ways.add("cgroup2", mount("cgroup2", "cgroup2", 0, ""));
    for path in [
        "/sys/fs/cgroup/release_agent",
        "/sys/fs/cgroup/cgroup.procs",
    ] {
        ways.add(path, calls::write(path, b"0"));
    }
    let _ = fs::remove_dir(HERE);
    ways.told()
}

/// Devices made by number: memory, the disks, the console.
pub fn devices() -> Told {
    let mut ways = Ways::default();
    let (block, character) = (libc::S_IFBLK, libc::S_IFCHR);
    for (name, kind, major, minor) in [
        ("mem", character, 1, 1),
        ("null", character, 1, 3),
        ("kmsg", character, 1, 11),
        ("console", character, 5, 1),
        ("serial", character, 4, 64),
        ("mapper", character, 10, 236),
        ("vda", block, 254, 0),
        ("vdb", block, 254, 16),
        ("loop", block, 7, 0),
    ] {
        for folder in ["/tmp", "/dev"] {
            let path = format!("{folder}/hostile-{name}");
            let number = libc::makedev(major, minor) as c_long;
            let made = call(
                libc::SYS_mknodat,
                &[
                    libc::AT_FDCWD.into(),
                    text(&path),
                    (kind | 0o600).into(),
                    number,
                ],
            );
            let opened = made.and_then(|_| fs::File::open(&path));
            let _ = fs::remove_file(&path);
            ways.add(&path, opened);
        }
    }
    ways.told()
}

/// To put something else where bay0 mounted: who looks there next would follow it.
pub fn bind_targets() -> Told {
    let mut ways = Ways::default();
    for path in COVERS {
        let aside = format!("{path}.hostile");
        let moved = fs::rename(path, &aside);
        if moved.is_ok() {
            let _ = fs::rename(&aside, path);
        }
        ways.add(&format!("rename:{path}"), moved);
        let removed = match fs::symlink_metadata(path).is_ok_and(|about| about.is_dir()) {
            true => fs::remove_dir(path),
            false => fs::remove_file(path),
        };
        ways.add(&format!("remove:{path}"), removed);
        let uncovered = call(libc::SYS_umount2, &[text(path), libc::MNT_DETACH.into()]);
        ways.add(&format!("umount:{path}"), uncovered);
    }
    ways.told()
}
