//! A process that reaches the files of one folder and no others (`landlock(7)`), which no mistake in a path of its own takes back.
//!
//! Source: the kernel's `linux/landlock.h`; what it asks for is in Linux 6.12 (ABI 6).

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl::set_no_new_privs;

/// Every right to files that ABI 6 has a bit for: what is not allowed below is refused.
const FILES: u64 = (1 << 16) - 1;
/// Reading, writing and truncating files, listing folders; making, removing, renaming and linking both. No program, device, socket,
/// pipe or link by path.
const ALLOWED: u64 = WRITE_FILE | READ_FILE | READ_DIR | REMOVE | MAKE | REFER | TRUNCATE;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
/// `REMOVE_DIR` and `REMOVE_FILE`.
const REMOVE: u64 = 1 << 4 | 1 << 5;
/// `MAKE_DIR` and `MAKE_REG`.
const MAKE: u64 = 1 << 7 | 1 << 8;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
/// `BIND_TCP` and `CONNECT_TCP`.
const NET: u64 = 0b11;
/// `ABSTRACT_UNIX_SOCKET` and `SIGNAL`: to nobody who is not as shut in.
const SCOPED: u64 = 0b11;
/// `LANDLOCK_RULE_PATH_BENEATH`.
const PATH_BENEATH: libc::c_int = 1;

/// Gives up every file but those below `dir`; of this there is no way back. Descriptors that are open stay as they are.
///
/// # Errors
/// ENOSYS or EOPNOTSUPP: the kernel has no Landlock; EINVAL or E2BIG: it has less of it.
pub fn stay_in(dir: &Path) -> io::Result<()> {
    set_no_new_privs()?;
    let dir = File::open(dir)?;
    // struct landlock_ruleset_attr.
    let attr: [u64; 3] = [FILES, NET, SCOPED];
    let (create, size) = (libc::SYS_landlock_create_ruleset, size_of_val(&attr));
    // SAFETY: the kernel reads as many bytes as the attributes have; they outlive the call.
    let rules = unsafe { libc::syscall(create, &raw const attr, size, 0) };
    let rules = i32::try_from(Errno::result(rules)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor.
    let rules = unsafe { OwnedFd::from_raw_fd(rules) };
    // struct landlock_path_beneath_attr, which is packed.
    let beneath = [
        ALLOWED.to_ne_bytes().as_slice(),
        &dir.as_raw_fd().to_ne_bytes(),
    ]
    .concat();
    let (add, fd, beneath) = (libc::SYS_landlock_add_rule, rules.as_raw_fd(), &*beneath);
    // SAFETY: the kernel reads the twelve bytes that there are; they outlive the call.
    let added = unsafe { libc::syscall(add, fd, PATH_BENEATH, beneath.as_ptr(), 0) };
    Errno::result(added)?;
    // SAFETY: the call takes numbers only.
    let done = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, fd, 0) };
    Ok(Errno::result(done).map(drop)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    #[allow(clippy::disallowed_methods)] // A test has threads, and only one of them is shut in.
    fn c05_outside_of_its_folder_a_process_opens_makes_links_and_takes_nothing() {
        let all = tempfile::tempdir().unwrap();
        let (own, other) = (all.path().join("own"), all.path().join("other"));
        fs::create_dir_all(own.join("a")).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(other.join("secret"), "x").unwrap();
        let denied = |done: io::Result<()>| {
            assert_eq!(done.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        };
        std::thread::spawn(move || {
            stay_in(&own).unwrap();
            fs::write(own.join("a/f"), "f").unwrap();
            fs::hard_link(own.join("a/f"), own.join("g")).unwrap();
            fs::rename(own.join("g"), own.join("a/g")).unwrap();
            assert_eq!(fs::read_dir(own.join("a")).unwrap().count(), 2);
            fs::remove_file(own.join("a/g")).unwrap();
            denied(fs::read(other.join("secret")).map(drop));
            denied(fs::write(other.join("new"), ""));
            denied(fs::read_dir(&other).map(drop));
            denied(fs::read_dir(own.join("..")).map(drop));
            denied(fs::remove_file(other.join("secret")));
            denied(std::os::unix::fs::symlink(&other, own.join("way")));
            // Between two folders of which it has one: EXDEV or EACCES, whichever the kernel finds first.
            fs::hard_link(other.join("secret"), own.join("mine")).unwrap_err();
            fs::rename(own.join("a/f"), other.join("f")).unwrap_err();
        })
        .join()
        .unwrap();
    }
}
