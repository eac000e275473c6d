//! The proof that root and kernel are as they must be (C01), found anew for each validation. What cannot be read proves nothing: it is
//! never taken for *dev*, nor for well.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

use bay0_persona::image::is_intact;

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

impl Root<'_> {
    /// Proves that the root and the kernel cannot be changed: it is the verified device, whatever else is mounted is the kernel's own or
    /// read-only, a write is refused, no module can be loaded. But in the dev profile the kernel is locked down, and its command line has
    /// no word more than was signed with it.
    ///
    /// # Errors
    /// What is not so, or cannot be read.
    pub fn prove(&self) -> Result<String, String> {
        let intact = is_intact(self.device);
        let intact = intact.map_err(|errno| format!("no verified device: {errno}"))?;
        ensure(intact, || "a block does not match its hash".to_owned())?;
        match File::create("/.write-probe").map_err(|err| err.kind()) {
            Err(ErrorKind::ReadOnlyFilesystem) => {}
            other => return Err(format!("write to /: {other:?}")),
        }
        self.judge(Path::new("/"))
    }

    /// What the files below `base` say.
    fn judge(&self, base: &Path) -> Result<String, String> {
        // A kernel without loadable modules, or without lockdown, has no such file.
        let read = |name: &str, lacking: Option<&str>| match (
            fs::read_to_string(base.join(name)),
            lacking,
        ) {
            (Err(error), Some(text)) if error.kind() == ErrorKind::NotFound => Ok(text.to_owned()),
            (text, _) => text.map_err(|error| format!("read /{name}: {error}")),
        };
        let mounts = read("proc/self/mounts", None)?;
        for line in mounts.lines() {
            let words: Vec<_> = line.split(' ').collect();
            let [_, at, kind, options, ..] = words.as_slice() else {
                return Err(format!("/proc/self/mounts says {line:?}"));
            };
            let fixed = self.own.contains(&(kind, at)) || options.starts_with("ro,");
            ensure(fixed, || format!("{at} ({kind}) is mounted writable"))?;
        }
        let count = mounts.lines().count();
        let sealed = read("proc/sys/kernel/modules_disabled", Some("1\n"))? == "1\n";
        ensure(sealed, || "modules can be loaded".to_owned())?;
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
            ensure(locked, || "the kernel is not locked down".to_owned())?;
            let words = || format!("{more} words more on the command line");
            ensure(more == 0, words)?;
        }
        Ok(format!(
            "verified, {count} mounts as they must be, a write to / answers EROFS, lockdown {lockdown}, {more} words more on the command line"
        ))
    }
}

fn ensure(so: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if so { Ok(()) } else { Err(why()) }
}

#[cfg(test)]
mod tests;
