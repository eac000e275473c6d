//! The proof that root and kernel are as they must be (C01), found anew for each validation. What cannot be read proves nothing: it is
//! never taken for *dev*, nor for well.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use bay0_persona::errno_of;
use bay0_persona::image::is_intact;
use nix::errno::Errno;

/// What a Spine's root and kernel are to be.
#[derive(Debug)]
pub struct Root<'a> {
    /// The verified device.
    pub device: &'a str,
    /// How the word of the command line begins that says what matches it.
    pub word: &'a str,
    /// What is mounted writable: kind and place.
    pub own: &'a [(&'a str, &'a str)],
}

/// What of root or kernel is not as it must be, or cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotProven {
    /// There is no verified device.
    Device(Errno),
    /// A block does not match its hash.
    Block,
    /// A write to the root went through, or failed for another reason than EROFS.
    Write(Option<Errno>),
    /// This file cannot be read.
    Read(&'static str, Errno),
    /// This is no line of a mount.
    Line(String),
    /// This place is writable, with this kind of file system.
    Writable(String, String),
    /// Modules can be loaded.
    Modules,
    /// The kernel is not locked down.
    Lockdown,
    /// The command line has so many words more than were signed with it.
    Words(usize),
}

impl fmt::Display for NotProven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(errno) => write!(f, "no verified device: {errno}"),
            Self::Block => f.write_str("a block does not match its hash"),
            Self::Write(errno) => write!(f, "write to /: {errno:?}"),
            Self::Read(name, errno) => write!(f, "read /{name}: {}", io::Error::from(*errno)),
            Self::Line(line) => write!(f, "/proc/self/mounts says {line:?}"),
            Self::Writable(at, kind) => write!(f, "{at} ({kind}) is mounted writable"),
            Self::Modules => f.write_str("modules can be loaded"),
            Self::Lockdown => f.write_str("the kernel is not locked down"),
            Self::Words(more) => write!(f, "{more} words more on the command line"),
        }
    }
}

impl Root<'_> {
    /// Proves that the root and the kernel cannot be changed: it is the verified device, whatever else is mounted is the kernel's own or
    /// read-only, a write is refused, no module can be loaded. But in the dev profile the kernel is locked down, and its command line has
    /// no word more than was signed with it.
    ///
    /// # Errors
    /// What is not so, or cannot be read.
    pub fn prove(&self) -> Result<String, NotProven> {
        let intact = is_intact(self.device).map_err(NotProven::Device)?;
        ensure(intact, NotProven::Block)?;
        let written = File::create("/.write-probe").map_err(errno_of);
        ensure(
            matches!(written, Err(Errno::EROFS)),
            NotProven::Write(written.err()),
        )?;
        self.judge(Path::new("/"))
    }

    /// What the files below `base` say.
    fn judge(&self, base: &Path) -> Result<String, NotProven> {
        // A kernel without loadable modules, or without lockdown, has no such file.
        let read = |name: &'static str, lacking: Option<&str>| {
            let text = fs::read_to_string(base.join(name));
            match (text.map_err(errno_of), lacking) {
                (Err(Errno::ENOENT), Some(text)) => Ok(text.to_owned()),
                (text, _) => text.map_err(|errno| NotProven::Read(name, errno)),
            }
        };
        let mounts = read("proc/self/mounts", None)?;
        for line in mounts.lines() {
            let words: Vec<_> = line.split(' ').collect();
            let [_, at, kind, options, ..] = words.as_slice() else {
                return Err(NotProven::Line(line.to_owned()));
            };
            let fixed = self.own.contains(&(kind, at)) || options.starts_with("ro,");
            ensure(
                fixed,
                NotProven::Writable((*at).to_owned(), (*kind).to_owned()),
            )?;
        }
        let count = mounts.lines().count();
        let sealed = read("proc/sys/kernel/modules_disabled", Some("1\n"))? == "1\n";
        ensure(sealed, NotProven::Modules)?;
        let lockdown = read("sys/kernel/security/lockdown", Some(""))?;
        let lockdown = lockdown.split(['[', ']']).nth(1).unwrap_or("unknown");
        let (facts, line) = (read("etc/spine", None)?, read("proc/cmdline", None)?);
        let fact = |key| facts.lines().find_map(|line| line.strip_prefix(key));
        let own: Vec<_> = fact("cmdline=").unwrap_or_default().split(' ').collect();
        let words = line.split_whitespace();
        let more = words.filter(|it| !it.starts_with(self.word) && !own.contains(it));
        let more = more.count();
        if fact("profile=") != Some("dev") {
            let locked = ["integrity", "confidentiality"].contains(&lockdown);
            ensure(locked, NotProven::Lockdown)?;
            ensure(more == 0, NotProven::Words(more))?;
        }
        Ok(format!(
            "verified, {count} mounts as they must be, a write to / answers EROFS, lockdown {lockdown}, {more} words more on the command line"
        ))
    }
}

fn ensure(so: bool, why: NotProven) -> Result<(), NotProven> {
    if so { Ok(()) } else { Err(why) }
}

#[cfg(test)]
mod tests;
