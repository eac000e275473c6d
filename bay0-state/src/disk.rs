//! The few file operations that everything on `/persist` shares.

use std::fs::{self, DirEntry, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use nix::libc;

use crate::error::{Error, at};

/// Files set aside per name before the keeper gives up on it: they are evidence, and the disk is finite.
const MAX_SET_ASIDE: usize = 5;

/// Success when the file is not there: the default value.
pub(crate) fn or_missing<T: Default>(result: io::Result<T>) -> io::Result<T> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        result => result,
    }
}

/// What the name of a file ends in that is not whole yet.
pub(crate) const NEW: &str = ".new";

/// Writes a file of which nobody knows yet, and has the disk keep it; where it is. With a full disk all is as it was.
pub(crate) fn prepare(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    let new = dir.join(format!("{name}{NEW}"));
    let written = fs::write(&new, bytes).and_then(|()| {
        #[cfg(test)]
        crash::boundary(&new, 0, bytes);
        File::open(&new)?.sync_all()
    });
    written.inspect_err(|_| drop(fs::remove_file(&new)))?;
    Ok(new)
}

/// Makes a file, or replaces it: a power cut leaves what was there before or all of the new one.
pub(crate) fn publish(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = prepare(dir, name, bytes)?;
    #[cfg(test)]
    crash::boundary(&new, 0, &[]);
    fs::rename(new, dir.join(name))?;
    #[cfg(test)]
    crash::boundary(dir, 0, &[]);
    sync_dir(dir)
}

/// Overwrites a part of a file, and has the disk keep it.
pub(crate) fn overwrite(path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    file.write_all_at(bytes, offset)?;
    #[cfg(test)]
    crash::boundary(path, offset, bytes);
    file.sync_data()
}

/// Has the disk begin with what was written to a file. Nothing depends on it: what fails, the flush says.
pub(crate) fn start(file: &File) {
    let (fd, all) = (file.as_raw_fd(), 0);
    // SAFETY: it takes no pointer, and the descriptor is open for as long as the file is borrowed.
    unsafe { libc::sync_file_range(fd, 0, all, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Makes the names in a directory durable: a synced file without its name is lost all the same (`fsync(2)`).
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Renames the damaged file `name`, and the WAL that SQLite keeps beside it, to `name.KIND-SECONDS-COUNT`, dated in UNIX
/// seconds; answers the text that says so. Nothing is ever deleted: when [`MAX_SET_ASIDE`] are there, nothing is done.
pub(crate) fn set_aside(dir: &Path, name: &str, kind: &str, damage: &str) -> Result<String, Error> {
    let (what, prefix) = (format!("set aside {name}"), format!("{name}.{kind}-"));
    let alike = |it: &DirEntry| it.file_name().to_string_lossy().starts_with(&prefix);
    let entries = fs::read_dir(dir).map_err(at(what.clone()))?;
    let count = entries.flatten().filter(alike).count();
    if count >= MAX_SET_ASIDE {
        return Err(Error::Aside(name.to_owned(), count));
    }
    let now = UNIX_EPOCH.elapsed().unwrap_or_default();
    let stamp = format!(".{kind}-{}-{count}", now.as_secs());
    // The WAL first: SQLite would delete one whose database is gone.
    for suffix in ["-wal", ""] {
        let from = format!("{name}{suffix}");
        let to = format!("{from}{stamp}");
        or_missing(fs::rename(dir.join(from), dir.join(to))).map_err(at(what.clone()))?;
    }
    sync_dir(dir).map_err(at(what))?;
    let rest = format!("begun afresh, the old one is {name}{stamp}; next: find out why");
    Ok(format!("open {name}: {damage}; {rest}"))
}

/// For tests: the names of what was set aside, oldest first.
#[cfg(test)]
pub(crate) fn aside(dir: &Path, prefix: &str) -> Vec<String> {
    let names = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    let mut found: Vec<_> = names.filter(|name| name.starts_with(prefix)).collect();
    found.sort();
    found
}

/// For tests: what a power cut would leave at each boundary between a write and its flush.
#[cfg(test)]
pub(crate) mod crash {
    use std::cell::RefCell;
    use std::path::Path;

    /// Called between a write and its flush with the file (or the directory whose names are not flushed) and what was written where.
    pub(crate) type Watch = Box<dyn FnMut(&Path, u64, &[u8])>;

    thread_local! {
        static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
    }

    pub(crate) fn watch(watch: Option<Watch>) {
        WATCH.set(watch);
    }

    pub(crate) fn boundary(path: &Path, at: u64, bytes: &[u8]) {
        // Taken out meanwhile: what it does may write as well.
        let watch = WATCH.take();
        if let Some(mut watch) = watch {
            watch(path, at, bytes);
            WATCH.set(Some(watch));
        }
    }
}
