//! The steps of the boot (H04). Their one safe order is `Bay0::boot` and `Bay0::open_up`; each says what it did and how long it took (H19).
//!
//! The watchdog comes before anything that can fail. Nothing touches a disk in PID 1 itself: even the driver that finds the
//! disk is loaded by a child with a deadline, because probing a disk reads it, and a disk may hang (H06).

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use bay0_persona::confine::Rights;
use bay0_persona::disks::{self, VARS};
use bay0_state::{Keeper, Persona, Request, State};
use nix::mount::{MsFlags, mount};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use nix::{errno::Errno, libc};

use super::facts::Facts;
use super::health::Health;
use super::jobs::by_child;
use super::say::Log;
use crate::stage1::{QUIET, SEALED};
use crate::sys::{load_list, raise_clock, set, text_of};

// What follows from the failure of each step, and what to do then, for errors that do not say it themselves.
pub const STUCK: &str = "a stuck machine stays stuck; next: add a watchdog device";
pub const UNMOUNTED: &str = "what needs it fails; next: use a kernel that has it";
pub const UNSWITCHED: &str = "rooms learn more of the kernel; next: report this kernel";
pub const MORTAL: &str = "PID 1 may be killed for memory; next: report this kernel";
const HUNG: &str = "load disk drivers: a disk hangs; no disk; next: detach it, then reboot";
pub const UNSEALED: &str = "a device is missing or loading open; next: rebuild the Spine";
pub const UNNAMED: &str = "no slot is known; next: use a kernel that has it";
pub const WRITABLE: &str = "the root can be changed; next: report this kernel";
pub const UNTIMED: &str = "the clock is wrong; next: set it";
pub const UNTRUSTED: &str = "no persona starts; next: see the keeper's line";
pub const UNSLOTTED: &str = "no update is taken; next: see the firmware's boot entries";
pub const UNREACHED: &str = "rooms cannot reach bay0; next: free that path and reboot";
pub const UNSTARTED: &str = "no room starts; next: see the keeper's line";
pub const UNHEARD: &str = "no operator line; next: attach a serial line, then reboot";

/// What the kernel allows at most unless told otherwise (`fs.nr_open`).
const MAX_FILES: u64 = 1 << 20;

const FROZEN: MsFlags = SEALED.union(MsFlags::MS_RDONLY);

/// What is mounted where, in order, each with the flags that take away most.
pub const MOUNTS: [(&str, &str, MsFlags, &str); 7] = [
    ("proc", "/proc", SEALED, ""),
    ("sysfs", "/sys", FROZEN, ""),
    ("devtmpfs", "/dev", QUIET, "mode=0755"),
    ("devpts", "/dev/pts", QUIET, "mode=0600,ptmxmode=0"),
    ("tmpfs", "/run", SEALED, "mode=0755,size=8m"),
    ("cgroup2", "/sys/fs/cgroup", SEALED, "nsdelegate"),
    ("securityfs", "/sys/kernel/security", SEALED, ""),
];

/// Mounts the kernel's file systems; one that fails does not keep the others from being tried.
pub fn mounts() -> Result<String> {
    let done = MOUNTS.map(|(kind, at, flags, data)| {
        // Only the last has no place in the image, which the kernel's own /dev covers.
        let _ = fs::create_dir(at);
        let done = mount(Some(kind), at, Some(kind), flags, Some(data));
        done.map_err(|errno| anyhow!("mount {at} ({kind}): {errno:?}"))
    });
    done.into_iter().fold(Ok(()), Result::and)?;
    Ok(MOUNTS.map(|(_, at, ..)| at).join(" "))
}

/// Addresses and the log are not for rooms; in a folder that anybody may write, nobody is led by another's link, pipe or file
/// (`admin-guide/sysctl`). The last one is for kernels with BPF.
const SWITCHES: [(&str, &str); 7] = [
    ("kernel/kptr_restrict", "2"),
    ("kernel/dmesg_restrict", "1"),
    ("fs/protected_symlinks", "1"),
    ("fs/protected_hardlinks", "1"),
    ("fs/protected_fifos", "2"),
    ("fs/protected_regular", "2"),
    ("kernel/unprivileged_bpf_disabled", "1"),
];

/// Sets those that the kernel has; one that fails does not keep the others from being tried.
pub fn switches() -> Result<String> {
    let paths = SWITCHES.map(|(name, value)| (format!("/proc/sys/{name}"), value));
    let there = paths.iter().filter(|(path, _)| Path::new(path).exists());
    let done: Vec<_> = there.map(|(path, value)| set(path, value)).collect();
    let count = done.len();
    done.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(format!("{count} set and read back"))
}

/// Tells the kernel to panic rather than kill PID 1 for memory (H09), and to let it run before all that is no realtime, which
/// its children are not (decision 17): no crowd of a room can keep it from feeding the watchdog. Its own limits go: each room
/// costs it descriptors, and a room's limits are its policy's, not what it inherits. Its memory is locked (`mlockall(2)`), which its
/// children's is not.
pub fn oom() -> Result<String> {
    let first = libc::sched_param { sched_priority: 1 };
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the kernel reads the parameter, which outlives the call.
    let done = unsafe { libc::sched_setscheduler(0, policy, &raw const first) };
    Errno::result(done).context("set the realtime class")?;
    // What it has touched once stays: read again from the root while memory is short, it would starve with everybody else.
    let all = libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT;
    // SAFETY: the call takes no memory of ours.
    Errno::result(unsafe { libc::mlockall(all) }).context("lock PID 1's memory")?;
    let tasks = setrlimit(Resource::RLIMIT_NPROC, RLIM_INFINITY, RLIM_INFINITY);
    let files = setrlimit(Resource::RLIMIT_NOFILE, MAX_FILES, MAX_FILES);
    tasks.and(files).context("raise PID 1's limits")?;
    set("/proc/self/oom_score_adj", "-1000")
}

/// Loads the rest of the drivers, then seals module loading for good (A07). The disk's are loaded by a child with a deadline: a
/// disk that hangs while it is probed holds that up, not PID 1.
pub fn modules() -> Result<String> {
    let disk = || load_list("disk").map_err(|error| error.to_string());
    let loaded = load_list("early").and(by_child(Rights::Modules, disk, HUNG));
    let seal = "/proc/sys/kernel/modules_disabled";
    if !Path::new(seal).exists() {
        return Ok("monolithic kernel, nothing to load".to_owned());
    }
    let sealed = set(seal, "1")?;
    loaded?;
    let count = text_of("/proc/modules").lines().count();
    Ok(format!("{count} loaded, loading sealed: {sealed}"))
}

/// Mounts the firmware's variables, where the keeper reads which disk was booted (decision 21). Their driver may be a module.
pub fn firmware() -> Result<String> {
    if !Path::new(VARS).exists() {
        return Ok("none".to_owned());
    }
    let (kind, none) = (Some("efivarfs"), None::<&str>);
    mount(kind, VARS, kind, SEALED, none).context("mount efivarfs")?;
    let known = disks::booted().map_or("has not named", |_| "has named");
    Ok(format!("{known} the partition that it booted"))
}

/// Puts the clock at or after the image's own build (H16).
pub fn time(facts: &Facts) -> Result<String> {
    raise_clock(facts.epoch().context("no epoch in /etc/spine")?)
}

/// Corrects the records of rooms, of which none is there at a boot (H12).
pub fn reconcile(
    keeper: Option<&mut Keeper>,
    log: &mut Log,
    health: &mut Health,
) -> Result<String> {
    let keeper = keeper.context("no database")?;
    let (personas, mut corrections) = (keeper.personas()?, 0_usize);
    for Persona { name, state } in &personas {
        let Some(why) = bay0_reconcile::absent(*state) else {
            continue;
        };
        let stopped = Persona {
            name: name.clone(),
            state: State::Stopped,
        };
        log.say(match keeper.call(Request::SetState(stopped)) {
            Ok(_) => format!("reconcile: {name}: {why}; recorded as stopped"),
            Err(error) => {
                health.fail("reconcile");
                format!("reconcile: FAIL: record {name} as stopped ({why}): {error}")
            }
        });
        corrections = corrections.saturating_add(1);
    }
    let count = personas.len();
    Ok(format!("{count} personas, {corrections} corrections"))
}
