//! The few file operations that everything on `/persist` shares.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{At, Fault};

/// Files set aside per name before the keeper gives up on it: they are evidence, and the disk is finite.
const MAX_SET_ASIDE: usize = 5;

/// Success when the file is not there: the default value.
pub(crate) fn or_missing<T: Default>(result: io::Result<T>) -> io::Result<T> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        result => result,
    }
}

/// The first `limit` bytes of a file; of a missing one, none.
pub(crate) fn read(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(file) = or_missing(File::open(path).map(Some))? {
        file.take(limit as u64).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Makes the names in a directory durable: a synced file without its name is lost all the same (`fsync(2)`).
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Renames `name`, and the WAL that SQLite keeps beside it, to `name.KIND-SECONDS-COUNT`, dated in UNIX seconds; the new
/// name. Nothing is ever deleted: when [`MAX_SET_ASIDE`] are there, nothing is done.
pub(crate) fn set_aside(dir: &Path, name: &str, kind: &str) -> Result<String, Fault> {
    let (what, prefix) = (format!("set aside {name}"), format!("{name}.{kind}-"));
    let names = fs::read_dir(dir)
        .at(&what)?
        .flatten()
        .map(|entry| entry.file_name());
    let ours = |name: &String| name.starts_with(&prefix) && !name.ends_with("-wal");
    let count = names
        .filter_map(|name| name.into_string().ok())
        .filter(ours)
        .count();
    if count >= MAX_SET_ASIDE {
        let rest = "state cannot be kept; next: copy and remove them on another machine";
        return Err(format!(
            "{what}: {count} damaged ones are kept already; {rest}"
        ));
    }
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let aside = format!("{prefix}{}-{count}", since.as_secs());
    // The WAL first: SQLite would delete one whose database is gone.
    for suffix in ["-wal", ""] {
        let (from, to) = (format!("{name}{suffix}"), format!("{aside}{suffix}"));
        or_missing(fs::rename(dir.join(from), dir.join(to))).at(&what)?;
    }
    sync_dir(dir).at(&what)?;
    Ok(aside)
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
