//! Other processes: the room's init, which bay0 made, and all that can be seen.

use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process;
use std::thread;
use std::time::Duration;

use nix::libc::{self, c_long};

use crate::calls::{call, read};
use crate::told::{Told, Ways, errno};

/// The room's init.
const INIT: c_long = 1;
/// What a uid outside the room's range looks like in there.
const NOBODYS: &str = "65534";
/// How long a killed init would need to be gone.
const MOMENT: Duration = Duration::from_millis(200);

/// Every process that can be seen, without this one.
fn visible() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != process::id()).collect()
}

/// Whether a process is in the same user namespace; one that does not show it is not.
fn within(pid: u32) -> bool {
    let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/user"));
    matches!((of(&pid.to_string()), of("self")), (Ok(theirs), Ok(own)) if theirs == own)
}

/// Whether a process is somebody's whom the room has no uid for.
fn stranger(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status"));
    // One that is gone by now was nobody.
    status.is_ok_and(|status| foreign(&status))
}

/// The same, of what the kernel says about it.
pub fn foreign(status: &str) -> bool {
    let mut lines = status.lines();
    let uids = lines.find_map(|line| line.strip_prefix("Uid:"));
    uids.is_none_or(|uids| uids.split_whitespace().any(|uid| uid == NOBODYS))
}

/// Holds on to every process. One of the room's own may be held where the policy allows it: that is told, and no success.
pub fn ptrace() -> Told {
    let mut ways = Ways::default();
    for pid in visible() {
        let to = c_long::from(pid);
        let seize = [libc::PTRACE_SEIZE.into(), to, 0, 0];
        match call(libc::SYS_ptrace, &seize) {
            Ok(_) if within(pid) && to != INIT => ways.refused(&pid.to_string(), "own"),
            seized => ways.add(&pid.to_string(), seized),
        }
        let _ = call(libc::SYS_ptrace, &[libc::PTRACE_DETACH.into(), to, 0, 0]);
    }
    ways.told()
}

/// Memory, environment and folders of the room's init.
pub fn insides_of_init() -> Told {
    let mut ways = Ways::default();
    for path in [
        "/proc/1/mem",
        "/proc/1/environ",
        "/proc/1/auxv",
        "/proc/1/stack",
    ] {
        ways.add(path, opened(path));
    }
    let own = identity("/");
    for path in ["/proc/1/root/", "/proc/1/root/..", "/proc/1/cwd/"] {
        match (identity(path), &own) {
            (Err(error), _) => ways.refused(path, &errno(&error)),
            (Ok(theirs), Ok(own)) if theirs == *own => ways.refused(path, "own-root"),
            (Ok(_), _) => ways.worked(path, "another-folder"),
        }
    }
    // Their numbers are anybody's of the same uid; what is behind them is not.
    let behind = fs::read_dir("/proc/1/fd").and_then(|mut listed| match listed.next() {
        Some(entry) => fs::read_link(entry?.path()),
        None => Err(io::Error::other("empty")),
    });
    ways.add("/proc/1/fd", behind);
    ways.told()
}

/// Memory cannot be read at its beginning, but what can be opened can be read elsewhere.
fn opened(path: &str) -> io::Result<usize> {
    match path.ends_with("mem") {
        true => fs::File::open(path).map(|_| 0),
        false => read(path),
    }
}

fn identity(path: &str) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|about| (about.dev(), about.ino()))
}

/// Signals to init that nothing can refuse to hear, and to everybody at once. The kernel takes those to an init from inside without a word:
/// that it is still there, and with it this program, is the proof. Those that can be refused init passes on to the room's own program, which is
/// the room's own affair; a death of a child that nobody died is the one that init hears itself.
pub fn signals() -> Told {
    let mut ways = Ways::default();
    let begun = started();
    for (name, signal) in [
        ("KILL", libc::SIGKILL),
        ("STOP", libc::SIGSTOP),
        ("CHLD", libc::SIGCHLD),
    ] {
        let sent = call(libc::SYS_kill, &[INIT, signal.into()]);
        thread::sleep(MOMENT);
        match (sent, started() == begun) {
            (Ok(_), true) => ways.refused(name, "unheard"),
            (sent, _) => ways.add(name, sent),
        }
    }
    // The kernel would have to find somebody outside first. Continuing harms nobody.
    let everybody = call(libc::SYS_kill, &[-1, libc::SIGCONT.into()]);
    let said = everybody.map_or_else(|error| errno(&error), |_| "own-only".to_owned());
    let strangers: Vec<_> = visible().into_iter().filter(|pid| stranger(*pid)).collect();
    match strangers.is_empty() {
        true => ways.refused("everybody", &said),
        false => ways.worked("everybody", &format!("{strangers:?}").replace(' ', "")),
    }
    ways.told()
}

/// State and start of init: stopped is not what it was.
fn started() -> Option<(String, String)> {
    let text = fs::read_to_string("/proc/1/stat").ok()?;
    let mut fields = text.rsplit(')').next()?.split_whitespace();
    let state = fields.next()?;
    let stopped = matches!(state, "T" | "t" | "Z").to_string();
    Some((stopped, fields.nth(18)?.to_owned()))
}

/// Sockets without a file: a network namespace has its own.
pub fn abstract_sockets() -> Told {
    let mut ways = Ways::default();
    let text = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let names = abstract_names(&text);
    if names.is_empty() {
        ways.refused("visible", "none");
    }
    for name in names {
        let address = SocketAddr::from_abstract_name(name);
        let reached = address.and_then(|address| UnixStream::connect_addr(&address));
        ways.add(name, reached);
    }
    ways.told()
}

/// Names of abstract sockets in the kernel's table: the last column, after an `@`.
pub fn abstract_names(table: &str) -> Vec<&str> {
    let last = table
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(7));
    last.filter_map(|name| name.strip_prefix('@')).collect()
}

/// Shared memory, semaphores and queues of others.
pub fn sysv_ipc() -> Told {
    let mut ways = Ways::default();
    for name in ["shm", "sem", "msg"] {
        let path = format!("/proc/sysvipc/{name}");
        match fs::read_to_string(&path).map(|text| text.lines().skip(1).count()) {
            Ok(0) => ways.refused(name, "none"),
            Ok(rows) => ways.worked(name, &format!("{rows}-rows")),
            Err(error) => ways.refused(name, &errno(&error)),
        }
    }
    ways.told()
}

/// Descriptors out of the room's init.
pub fn pidfd() -> Told {
    let mut ways = Ways::default();
    let opened = call(libc::SYS_pidfd_open, &[INIT, 0]);
    let Ok(init) = opened else {
        ways.add("pidfd_open", opened);
        return ways.told();
    };
    for descriptor in 0..4 {
        let taken = call(libc::SYS_pidfd_getfd, &[init, descriptor, 0]);
        ways.add(&format!("getfd-{descriptor}"), taken);
    }
    let bytes = [0u64; 8];
    let own = [crate::calls::at(&bytes), 64];
    let vector = [crate::calls::at(&own), 1];
    let [address, count] = vector;
    let read = [INIT, address, count, address, count, 0];
    ways.add("process_vm_readv", call(libc::SYS_process_vm_readv, &read));
    let me = c_long::from(process::id());
    ways.add("kcmp", call(libc::SYS_kcmp, &[me, INIT, 0, 0, 0]));
    ways.told()
}
