//! The room's own walls: namespaces, root folder, rights, what came along from outside.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, chroot as change_root};

use nix::libc::{self, c_long};

use crate::calls::{self, End, at, call};
use crate::told::{Told, Ways, errno};

/// Every kind of namespace, as `/proc/PID/ns` calls them.
const NAMESPACES: [&str; 7] = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
/// The rights that a policy can name, as bits: all others are nobody's in a room.
const NAMEABLE: u64 = 0xA00C_35FB;
/// Exit codes of the child that tries to get out of a root folder.
const OUT: i32 = 100;
const ROOM: i32 = 101;
const JAIL: i32 = 102;
/// Deeper than any folder here.
const UP: usize = 64;

/// Into the namespaces of init, and into its own once more.
pub fn setns() -> Told {
    let mut ways = Ways::default();
    for pid in ["1", "self"] {
        for name in NAMESPACES {
            let path = format!("/proc/{pid}/ns/{name}");
            let entered = fs::File::open(&path)
                .and_then(|file| call(libc::SYS_setns, &[file.as_raw_fd().into(), 0]));
            ways.add(&format!("{pid}:{name}"), entered);
        }
    }
    ways.told()
}

/// New namespaces, and with them rights in there.
pub fn user_namespaces() -> Told {
    let mut ways = Ways::default();
    for (name, flag) in [
        ("user", libc::CLONE_NEWUSER),
        ("mnt", libc::CLONE_NEWNS),
        ("pid", libc::CLONE_NEWPID),
        ("net", libc::CLONE_NEWNET),
        ("ipc", libc::CLONE_NEWIPC),
        ("uts", libc::CLONE_NEWUTS),
        ("cgroup", libc::CLONE_NEWCGROUP),
    ] {
        let flag = c_long::from(flag);
        // In a child: what works is gone with it.
        ways.add(
            &format!("unshare:{name}"),
            child(|| call(libc::SYS_unshare, &[flag])),
        );
        let clone = [flag | c_long::from(libc::SIGCHLD)];
        ways.add(&format!("clone:{name}"), cloned(libc::SYS_clone, &clone));
        let mut arguments = [0u64; 11];
        (arguments[0], arguments[4]) = (flag.cast_unsigned(), 17);
        let clone3 = [at(&arguments), 88];
        ways.add(&format!("clone3:{name}"), cloned(libc::SYS_clone3, &clone3));
    }
    ways.told()
}

fn child(work: impl FnOnce() -> io::Result<c_long>) -> io::Result<()> {
    let code = || match work() {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap_or(255),
    };
    match calls::in_child(code)? {
        End::Code(0) => Ok(()),
        End::Code(errno) => Err(io::Error::from_raw_os_error(errno)),
        End::Signal(signal) => Err(io::Error::other(format!("signal-{signal}"))),
    }
}

/// Like fork: the child leaves at once.
fn cloned(number: c_long, arguments: &[c_long]) -> io::Result<()> {
    match call(number, arguments)? {
        0 => calls::leave(0),
        child => calls::wait(child as libc::pid_t).map(|_| ()),
    }
}

/// The classic: a root folder inside, the working folder left outside of it, then up. Where it ends is the room's own root at most.
pub fn chroot() -> Told {
    let jail = "/tmp/hostile-jail";
    let _ = fs::create_dir_all(jail);
    let came = calls::in_child(|| escape(jail).unwrap_or_else(|error| code(&error)));
    let _ = fs::remove_dir(jail);
    match came {
        Ok(End::Code(OUT)) => Told::Succeeded("outside the room".to_owned()),
        Ok(End::Code(ROOM)) => Told::Refused("chroot=the-room's-own-root".to_owned()),
        Ok(End::Code(JAIL)) => Told::Refused("chroot=still-in-there".to_owned()),
        Ok(End::Code(number)) => {
            let why = errno(&io::Error::from_raw_os_error(number));
            Told::Refused(format!("chroot={why}"))
        }
        other => Told::Refused(format!("chroot={other:?}")),
    }
}

fn code(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(99)
}

fn escape(jail: &str) -> io::Result<i32> {
    let identity = |path: &str| fs::metadata(path).map(|about| (about.dev(), about.ino()));
    let (room, inside) = (identity("/")?, identity(jail)?);
    change_root(jail)?;
    for _ in 0..UP {
        std::env::set_current_dir("..")?;
    }
    change_root(".")?;
    Ok(match identity(".")? {
        here if here == room => ROOM,
        here if here == inside => JAIL,
        _ => OUT,
    })
}

/// What bay0 left open for the room's programs: three descriptors, told as what they are.
pub fn inherited() -> Told {
    let mut ways = Ways::default();
    let entries = match fs::read_dir("/proc/self/fd") {
        Ok(entries) => entries.flatten(),
        Err(error) => return Told::Succeeded(format!("not tried: {}", errno(&error))),
    };
    for entry in entries {
        let number = entry.file_name().to_string_lossy().into_owned();
        let what = fs::read_link(entry.path()).unwrap_or_default();
        let what = what.display().to_string();
        let own = what.starts_with("/proc/") && what.ends_with("/fd");
        match number.as_str() {
            "0" | "1" | "2" => ways.refused(&number, &what),
            _ if own => {}
            _ => ways.worked(&number, &what),
        }
    }
    ways.told()
}

/// Who this is: ids, rights, filter.
pub fn rights() -> Told {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    judged(
        &read("/proc/self/status"),
        &read("/proc/self/uid_map"),
        &read("/proc/self/gid_map"),
    )
}

/// What of it a room must not have.
pub fn judged(status: &str, uids: &str, gids: &str) -> Told {
    let mut ways = Ways::default();
    let field = |name: &str| {
        let mut lines = status.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_default().trim()
    };
    for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let set = field(name);
        match u64::from_str_radix(set, 16) {
            Ok(bits) if bits & !NAMEABLE == 0 => ways.refused(name, set),
            _ => ways.worked(name, set),
        }
    }
    for (name, wanted) in [("NoNewPrivs", "1"), ("Seccomp", "2")] {
        match field(name) {
            value if value == wanted => ways.refused(name, value),
            value => ways.worked(name, value),
        }
    }
    for (name, map) in [("uid_map", uids), ("gid_map", gids)] {
        let columns: Vec<_> = map.split_whitespace().collect();
        let shown = columns.join(":");
        match columns.as_slice() {
            // One range of its own, which does not begin at the machine's root.
            [_, outside, "65536"] if *outside != "0" => ways.refused(name, &shown),
            _ => ways.worked(name, &shown),
        }
    }
    ways.told()
}
