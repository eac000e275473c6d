//! bay0's own places among a room's files: whatever the image holds there, they are found inside the room's root (`openat2(2)`) and
//! what stands in the way goes, from the room's own copy. All of this is done by the room's process, which has no rights outside.
//!
//! | place | a link there | a file there |
//! | --- | --- | --- |
//! | a folder on the way (`/run`, `/usr/bin`, `/etc`) | is followed inside the root; one that leads to no folder of the image goes | goes |
//! | `/dev`, `/proc`, `/sys/fs/cgroup` | goes | goes |
//! | `/run/umbilical`, `/usr/bin/bay0`, `/etc/resolv.conf` of a room with a way out | goes | goes, and so does a folder |

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;
use nix::unistd::fchdir;

use crate::net::GATEWAY;

const FOLDER: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);
/// Longest hosts file that is looked into; a longer one is left as it is.
const MAX_HOSTS: u64 = 1 << 20;

/// The root of a room that is put together: the current directory of this process.
pub struct Root(OwnedFd);

impl Root {
    /// Makes the current directory that root.
    ///
    /// # Errors
    /// The errno of `open(2)`.
    pub fn here() -> nix::Result<Root> {
        open(".", FOLDER, Mode::empty()).map(Root)
    }

    /// The folder at `path`, itself and no link; made if it is not there.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn own(&self, path: &str) -> io::Result<()> {
        self.made(path, ResolveFlag::RESOLVE_NO_SYMLINKS).map(drop)
    }

    /// Shows the file `from` at `path`.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn show(&self, from: &Path, path: &str) -> io::Result<()> {
        let name = self.enter(path)?;
        File::create_new(name)?;
        bind(from, Path::new(name))?;
        Ok(fchdir(&self.0)?)
    }

    /// Adds what a hosts file must have to the image's own: the room's name and `localhost`, in both families.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn hosts(&self, room: &str) -> io::Result<()> {
        let mut text = Vec::new();
        let how = OpenHow::new().flags(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC);
        let inside = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_XDEV;
        if let Ok(file) = openat2(&self.0, "etc/hosts", how.resolve(inside)) {
            // A folder or a pipe holds no lines.
            let _ = File::from(file).take(MAX_HOSTS).read_to_end(&mut text);
        }
        let more = missing(&String::from_utf8_lossy(&text), room);
        if more.is_empty() || text.len() as u64 == MAX_HOSTS {
            return Ok(());
        }
        if !text.is_empty() && !text.ends_with(b"\n") {
            text.push(b'\n');
        }
        text.extend(more.bytes());
        fs::write(self.enter("etc/hosts")?, text)?;
        Ok(fchdir(&self.0)?)
    }

    /// Has programs ask the gateway for names, whatever the image says (`resolv.conf(5)`).
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn names(&self) -> io::Result<()> {
        let text = format!("nameserver {GATEWAY}\n");
        fs::write(self.enter("etc/resolv.conf")?, text)?;
        Ok(fchdir(&self.0)?)
    }

    /// Makes the folder of `path` the current one, where nothing has its name any more; the name.
    fn enter<'a>(&self, path: &'a str) -> io::Result<&'a str> {
        let (outer, name) = path.rsplit_once('/').unwrap_or((".", path));
        fchdir(&self.made(outer, ResolveFlag::RESOLVE_IN_ROOT)?)?;
        clear(name)?;
        Ok(name)
    }

    /// A folder that is reached without leaving the root's own mount, with links as `links` says.
    fn made(&self, path: &str, links: ResolveFlag) -> io::Result<OwnedFd> {
        let how = OpenHow::new().flags(FOLDER);
        let how = how.resolve(links | ResolveFlag::RESOLVE_NO_XDEV);
        if let Ok(found) = openat2(&self.0, path, how) {
            return Ok(found);
        }
        let (outer, name) = path.rsplit_once('/').unwrap_or((".", path));
        fchdir(&self.made(outer, links)?)?;
        clear(name)?;
        fs::create_dir(name)?;
        fchdir(&self.0)?;
        Ok(openat2(&self.0, path, how)?)
    }
}

/// Removes what has this name in the current directory.
fn clear(name: &str) -> io::Result<()> {
    match fs::symlink_metadata(name) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(name),
        Ok(_) => fs::remove_file(name),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Shows one file or folder at another path as well.
///
/// # Errors
/// The errno of `mount(2)`.
pub fn bind(from: &Path, to: &Path) -> nix::Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
}

/// The lines that a hosts file lacks.
fn missing(text: &str, room: &str) -> String {
    let has = |address: &str, name: &str| {
        text.lines().any(|line| {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            words.next() == Some(address) && words.any(|word| word == name)
        })
    };
    let mut lines = String::new();
    for address in ["127.0.0.1", "::1"] {
        for name in ["localhost", room] {
            if !has(address, name) {
                lines += &format!("{address} {name}\n");
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::missing;

    #[test]
    fn t09_a_hosts_file_gets_the_names_that_it_lacks_and_no_others() {
        let all = "127.0.0.1 localhost\n127.0.0.1 mail\n::1 localhost\n::1 mail\n";
        assert_eq!(missing("", "mail"), all);
        assert_eq!(missing("# 127.0.0.1 localhost mail\n", "mail"), all);
        assert_eq!(missing(all, "mail"), "");
        let image = "127.0.0.1\tlocalhost mail # ::1\n::1 ip6-localhost localhost";
        assert_eq!(missing(image, "mail"), "::1 mail\n");
    }
}
