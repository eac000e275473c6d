//! The few file operations that everything on `/persist` shares.

use std::fs::{self, DirEntry, File};
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use crate::error::{Fault, at};

/// Files set aside per name before the keeper gives up on it: they are evidence, and the disk is finite.
const MAX_SET_ASIDE: usize = 5;

const KEPT: &str = "damaged ones are kept already; state cannot be kept; \
    next: copy and remove them on another machine";

/// Success when the file is not there: the default value.
pub(crate) fn or_missing<T: Default>(result: io::Result<T>) -> io::Result<T> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        result => result,
    }
}

/// Makes the names in a directory durable: a synced file without its name is lost all the same (`fsync(2)`).
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Renames the damaged file `name`, and the WAL that SQLite keeps beside it, to `name.KIND-SECONDS-COUNT`, dated in UNIX
/// seconds; answers the text that says so. Nothing is ever deleted: when [`MAX_SET_ASIDE`] are there, nothing is done.
pub(crate) fn set_aside(dir: &Path, name: &str, kind: &str, damage: &str) -> Result<Fault, Fault> {
    let (what, prefix) = (format!("set aside {name}"), format!("{name}.{kind}-"));
    let kept = |it: &DirEntry| it.file_name().to_string_lossy().starts_with(&prefix);
    let entries = fs::read_dir(dir).map_err(at(&what))?;
    let count = entries.flatten().filter(kept).count();
    if count >= MAX_SET_ASIDE {
        return Err(format!("{what}: {count} {KEPT}"));
    }
    let now = UNIX_EPOCH.elapsed().unwrap_or_default();
    let stamp = format!(".{kind}-{}-{count}", now.as_secs());
    // The WAL first: SQLite would delete one whose database is gone.
    for suffix in ["-wal", ""] {
        let from = format!("{name}{suffix}");
        let to = format!("{from}{stamp}");
        or_missing(fs::rename(dir.join(from), dir.join(to))).map_err(at(&what))?;
    }
    sync_dir(dir).map_err(at(&what))?;
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
