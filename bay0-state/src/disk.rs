//! The few file operations that everything on `/persist` shares.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

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
    let file = or_missing(File::open(path).map(Some))?;
    file.map_or(Ok(0), |f| f.take(limit as u64).read_to_end(&mut bytes))?;
    Ok(bytes)
}

/// Makes the names in a directory durable: a synced file without its name is lost all the same (`fsync(2)`).
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Renames `name`, and what SQLite keeps beside it, to `name.KIND-NOW`, or the next number that is free. Nothing is
/// deleted; when [`MAX_SET_ASIDE`] are there already, nothing is done. The new name.
pub(crate) fn set_aside(dir: &Path, name: &str, kind: &str, now: u64) -> Result<String, Fault> {
    let what = format!("set aside {name}");
    let prefix = format!("{name}.{kind}-");
    let entries = fs::read_dir(dir).at(&what)?.flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let ours = |name: &String| {
        let number = name.strip_prefix(&prefix);
        number.is_some_and(|number| number.parse::<u64>().is_ok())
    };
    if names.filter(ours).count() >= MAX_SET_ASIDE {
        let cause = format!("{MAX_SET_ASIDE} damaged ones are kept already");
        let rest = "state cannot be kept; next: copy and remove them on another machine";
        return Err(Fault::new(what, cause, rest));
    }
    let mut candidates = (now..).map(|number| format!("{prefix}{number}"));
    let free = candidates.find(|name| !dir.join(name).exists());
    let aside = free.unwrap_or_else(|| format!("{prefix}{now}"));
    // The WAL first: SQLite would delete one whose database is gone.
    for suffix in ["-wal", ""] {
        let (from, to) = (format!("{name}{suffix}"), format!("{aside}{suffix}"));
        or_missing(fs::rename(dir.join(from), dir.join(to))).at(&what)?;
    }
    sync_dir(dir).at(&what)?;
    Ok(aside)
}
