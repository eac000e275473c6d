//! The files of a room, put together by the room's own process from what it was given: image, device nodes, console, and what is the
//! Spine's to show. Every path is one of a root that nobody else has touched, see [`crate::place`].

use std::ffi::CStr;
use std::fs::{self, File, create_dir};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::unistd::chdir;

use crate::error::{Failed, at};
use crate::place::{Root, bind};
use crate::plan::{Plan, UIDS, stage};
use crate::policy::{Grant, VIA_NET};
use crate::tree;

/// Where a room is put together, in its own mount namespace. The Spine has this directory.
const BASE: &str = "/mnt";
/// Its parts there: the image, what is written over it, and overlayfs's scratch space.
const PARTS: &str = "lowerdir=lower,upperdir=upper,workdir=work,userxattr";
/// The folder of the client, as an overlay of the room's own: with it the client is no file that another room has.
const CLIENT: &str = "/mnt/client";
/// The folder that the client is in, without what is mounted below it.
const SPINE: &CStr = c"/mnt/spine";
/// An empty folder.
const NOTHING: &str = "/mnt/none";
const NONE: Option<&str> = None;
/// Nothing of the room's files is a device, nothing of what the kernel shows it is a program.
const FILES: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);
const SHOWN: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC);
const READ: MsFlags = MsFlags::MS_RDONLY.union(MsFlags::MS_NODEV);
/// What `/proc` tells of the machine's memory, keys, log and devices, and of what others do with them. No ordinary program needs it:
/// those that show the devices' work (`iostat`, `irqtop`) show none.
const COVERED: [&str; 10] = [
    "kcore",
    "keys",
    "key-users",
    "kmsg",
    "sysrq-trigger",
    "timer_list",
    "interrupts",
    "softirqs",
    "diskstats",
    "partitions",
];
const EMPTIED: [&str; 7] = ["acpi", "asound", "bus", "driver", "fs", "irq", "scsi"];
/// Who may send echo requests and hear their answers, without a capability (`icmp(7)`): everybody in the room.
const PING: &str = "proc/sys/net/ipv4/ping_group_range";

/// Puts everything together; then the current directory is the room's root.
///
/// # Errors
/// The stage, the path if it is one that an image can hold, and why.
pub fn furnish(
    plan: &Plan<'_>,
    [image, nodes, folder]: [&OwnedFd; 3],
    console: &str,
) -> Result<(), Failed> {
    let bytes = plan.policy.get(Grant::Tmpfs);
    stage(c"overlay");
    let root = overlay(bytes, image).map_err(at("overlay"))?;
    let client = client(plan.client, folder).map_err(at("overlay: client"))?;
    stage(c"devices");
    root.own("dev").map_err(at("devices: /dev"))?;
    devices(nodes, bytes, console).map_err(at("devices"))?;
    stage(c"proc");
    root.own("proc").map_err(at("proc: /proc"))?;
    proc().map_err(at("proc"))?;
    stage(c"cgroup");
    let group = root.own("sys/fs/cgroup").and_then(|()| cgroup());
    group.map_err(at("cgroup: /sys/fs/cgroup"))?;
    stage(c"place");
    let umbilical = root.show(plan.umbilical, "run/umbilical");
    umbilical.map_err(at("place: /run/umbilical"))?;
    let client = root.show(&client, "usr/bin/bay0");
    client.map_err(at("place: /usr/bin/bay0"))?;
    let hosts = root.hosts(plan.policy.name.last());
    hosts.map_err(at("place: /etc/hosts"))?;
    let names = match plan.policy.get(Grant::Network) {
        VIA_NET => root.names(),
        _ => Ok(()),
    };
    names.map_err(at("place: /etc/resolv.conf"))
}

fn mounted(kind: &str, at: &str, flags: MsFlags, data: &str) -> nix::Result<()> {
    mount(Some(kind), at, Some(kind), flags, Some(data))
}

/// A tmpfs with the room's own files over the image, which no one can change. From here on the current directory is the room's
/// root, which nobody but this process has touched so far.
fn overlay(bytes: u64, image: &OwnedFd) -> io::Result<Root> {
    mount(NONE, "/", NONE, MsFlags::MS_PRIVATE | MsFlags::MS_REC, NONE)?;
    mounted("tmpfs", BASE, FILES, &format!("mode=0755,size={bytes}"))?;
    chdir(BASE)?;
    for part in ["lower", "upper", "work", "root", "client", "spine", "none"] {
        create_dir(part)?;
    }
    tree::attach(image, c"lower")?;
    mounted("overlay", "root", FILES, PARTS)?;
    chdir("root")?;
    Ok(Root::here()?)
}

/// Where the client is in a folder that is the room's own; a path of the Spine, as long as there are such.
fn client(program: &Path, folder: &OwnedFd) -> io::Result<PathBuf> {
    tree::attach(folder, SPINE)?;
    let parts = format!("lowerdir={}:{NOTHING},userxattr", SPINE.to_string_lossy());
    mounted("overlay", CLIENT, FILES | READ, &parts)?;
    // The name behind all links, which would lead past the overlay.
    let program = program.canonicalize()?;
    Ok(Path::new(CLIENT).join(program.file_name().unwrap_or_default()))
}

/// A small /dev: the harmless nodes, made for it, its console, and terminals of its own.
fn devices(nodes: &OwnedFd, bytes: u64, console: &str) -> io::Result<()> {
    tree::attach(nodes, c"dev")?;
    for (kind, at, data) in [
        ("devpts", "dev/pts", "newinstance,ptmxmode=0666,mode=0620"),
        ("tmpfs", "dev/shm", &format!("mode=1777,size={bytes}")),
    ] {
        create_dir(at)?;
        mounted(kind, at, SHOWN, data)?;
    }
    File::create("dev/console")?;
    bind(Path::new(console), Path::new("dev/console"))?;
    for (name, to) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
    ] {
        symlink(to, format!("dev/{name}"))?;
    }
    Ok(())
}

/// The room's own /proc; what tells or changes anything of the machine is covered or read-only.
fn proc() -> io::Result<()> {
    mounted("proc", "proc", SHOWN, "")?;
    if Path::new(PING).exists() {
        fs::write(PING, format!("0 {}", UIDS.saturating_sub(1)))?;
    }
    let there = |name: &str| Some(Path::new("proc").join(name)).filter(|path| path.exists());
    for file in COVERED.into_iter().filter_map(there) {
        bind(Path::new("dev/null"), &file)?;
    }
    for folder in EMPTIED.into_iter().filter_map(there) {
        bind(Path::new(NOTHING), &folder)?;
        read_only(&folder)?;
    }
    bind(Path::new("proc/sys"), Path::new("proc/sys"))?;
    Ok(read_only(Path::new("proc/sys"))?)
}

fn read_only(folder: &Path) -> nix::Result<()> {
    let again = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | SHOWN | READ;
    mount(NONE, folder, NONE, again, NONE)
}

/// The limits that hold the room and what it uses, where runtimes look for them (`cgroups(7)`): its own group, to read, and no other.
fn cgroup() -> io::Result<()> {
    Ok(mounted("cgroup2", "sys/fs/cgroup", SHOWN | READ, "")?)
}
