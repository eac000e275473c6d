//! What two rooms could have in common: no attacks, but words that a scenario asks both of.
//!
//! | word | prints |
//! | --- | --- |
//! | `inodes` | device and inode number of all that can be reached, a line each; of a device with many, the device alone |
//! | `hold` | holds a lock on each of these and watches it, until a line is typed; then what was seen of others |
//! | `locks` | on which of these somebody else has a lock |
//! | `echo` | the addresses that answer an echo request |

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc::{self, c_long};

use crate::calls::{at, call, text};
use crate::told::errno;

/// A device with more than these is told as a whole: it cannot be one that two rooms have.
const MANY: usize = 200;
/// `struct inotify_event` without a name, in bytes.
const EVENT: usize = 16;
/// A file of the image that no program opens by itself.
const IMAGES_OWN: &str = "/etc/passwd";

/// Everything that has a path, by device, without what lies behind a number in /proc.
fn all() -> BTreeMap<u64, Vec<(u64, PathBuf)>> {
    let mut found: BTreeMap<u64, Vec<(u64, PathBuf)>> = BTreeMap::new();
    let mut folders = vec![PathBuf::from("/")];
    let spaces = fs::read_dir("/proc/self/ns")
        .into_iter()
        .flatten()
        .flatten();
    let spaces = spaces.filter_map(|entry| Some((fs::metadata(entry.path()).ok()?, entry.path())));
    let spaces: Vec<_> = spaces.collect();
    for (about, path) in spaces {
        found
            .entry(about.dev())
            .or_default()
            .push((about.ino(), path));
    }
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let number = name.to_string_lossy().parse::<u32>().is_ok();
            let Ok(about) = fs::symlink_metadata(&path) else {
                continue;
            };
            if folder == Path::new("/proc") && number {
                continue;
            }
            if about.is_dir() {
                folders.push(path.clone());
            }
            found
                .entry(about.dev())
                .or_default()
                .push((about.ino(), path));
        }
    }
    found
}

/// `inode DEVICE NUMBER PATH`, or `device DEVICE COUNT PATH`.
pub fn inodes() -> u8 {
    for (device, inodes) in all() {
        match inodes.as_slice() {
            [(_, path), ..] if inodes.len() > MANY => {
                println!("device {device} {} {}", inodes.len(), path.display());
            }
            _ => {
                for (number, path) in inodes {
                    println!("inode {device} {number} {}", path.display());
                }
            }
        }
    }
    0
}

/// What may be one for two rooms, opened to be read.
fn opened() -> Vec<(PathBuf, File)> {
    let few = all().into_values().filter(|inodes| inodes.len() <= MANY);
    // One inode under two names, such as a namespace and that of children, is held once.
    let once = few.map(|inodes| inodes.into_iter().collect::<BTreeMap<_, _>>());
    let paths = once.flat_map(BTreeMap::into_values);
    // What is said here is kept in there.
    let paths = paths.filter(|path| !path.starts_with("/tmp"));
    // What a link leads to has a name of its own, but for namespaces.
    let kinds = |path: &PathBuf| match path.starts_with("/proc/self/ns") {
        true => true,
        false => fs::symlink_metadata(path).is_ok_and(|it| !it.is_dir() && !it.is_symlink()),
    };
    let paths = paths.filter(kinds).chain([PathBuf::from(IMAGES_OWN)]);
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    paths
        .filter_map(|path| Some((path.clone(), options.open(&path).ok()?)))
        .collect()
}

fn lock(file: &File) -> io::Result<c_long> {
    let how = libc::LOCK_EX | libc::LOCK_NB;
    call(libc::SYS_flock, &[file.as_raw_fd().into(), how.into()])
}

/// See the module.
pub fn hold() -> u8 {
    let files = opened();
    let held = files.iter().filter(|(_, file)| lock(file).is_ok()).count();
    let watch = match call(libc::SYS_inotify_init1, &[libc::O_NONBLOCK.into()]) {
        Ok(watch) => watch,
        Err(error) => {
            println!("hold: not tried: {}", errno(&error));
            return 1;
        }
    };
    let events = c_long::from(libc::IN_OPEN | libc::IN_CLOSE);
    let watched = files.iter().filter_map(|(path, _)| {
        let number = call(libc::SYS_inotify_add_watch, &[watch, text(path), events]);
        Some((i32::try_from(number.ok()?).ok()?, path))
    });
    let watched: BTreeMap<_, _> = watched.collect();
    println!("hold: {held} locks, {} watches", watched.len());
    let _ = io::stdin().read_line(&mut String::new());
    let buffer = [0i32; 4096];
    let read = [watch, at(&buffer), size_of_val(&buffer) as c_long];
    let seen = match call(libc::SYS_read, &read) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(error) => {
            println!("seen: not tried: {}", errno(&error));
            return 1;
        }
        Ok(bytes) => bytes as usize / EVENT,
    };
    // struct inotify_event: the watch first; of a file itself it has no name.
    let numbers = buffer.chunks(EVENT / size_of::<i32>()).take(seen);
    let paths: BTreeSet<_> = numbers
        .filter_map(|event| watched.get(event.first()?))
        .collect();
    println!("seen: {seen} events {paths:?}");
    0
}

/// See the module.
pub fn locks() -> u8 {
    let files = opened();
    for (path, file) in &files {
        if let Err(error) = lock(file) {
            println!("held: {} {}", path.display(), errno(&error));
        }
    }
    println!("locks: tried {}", files.len());
    0
}

/// An echo request to each family's own address, through the kind of socket that needs no right (`icmp(7)`).
pub fn echo() -> u8 {
    let mut worst = 0;
    for address in ["127.0.0.1", "::1"] {
        match address.parse().map_err(io::Error::other).and_then(asked) {
            Ok(()) => println!("echo: {address} answers"),
            Err(error) => {
                println!("echo: {address}: {}", errno(&error));
                worst = 1;
            }
        }
    }
    worst
}

fn asked(address: IpAddr) -> io::Result<()> {
    let (family, protocol, request) = match address {
        IpAddr::V4(_) => (libc::AF_INET, libc::IPPROTO_ICMP, 8),
        IpAddr::V6(_) => (libc::AF_INET6, libc::IPPROTO_ICMPV6, 128),
    };
    let socket = call(
        libc::SYS_socket,
        &[family.into(), libc::SOCK_DGRAM.into(), protocol.into()],
    )?;
    // struct sockaddr_in and sockaddr_in6: family, port, then the address, with the flow before the second.
    let mut to = [0u8; 28];
    to[..2].copy_from_slice(&(family as u16).to_ne_bytes());
    let length = match address {
        IpAddr::V4(address) => {
            to[4..8].copy_from_slice(&address.octets());
            16
        }
        IpAddr::V6(address) => {
            to[8..24].copy_from_slice(&address.octets());
            28
        }
    };
    let packet: [u8; 8] = [request, 0, 0, 0, 0, 0, 0, 1];
    let arguments = [socket, at(&packet), 8, 0, at(&to), length];
    call(libc::SYS_sendto, &arguments)?;
    // The loopback has answered when the call returns.
    let answer = [0u8; 64];
    let arguments = [socket, at(&answer), 64, libc::MSG_DONTWAIT.into(), 0, 0];
    call(libc::SYS_recvfrom, &arguments).map(drop)
}
