//! Builders take turns: two of them in one `build` folder would empty each other's work.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::layout::Layout;

/// The file that is locked (flock(2)): it stays, the lock ends with its process.
const FILE: &str = "turn.lock";

/// Locks that this process has: one who builds calls others who build.
static HELD: Mutex<Vec<(PathBuf, Weak<Flock<File>>)>> = Mutex::new(Vec::new());

/// The turn of this process, until the last of these is dropped.
#[must_use]
pub struct Turn(#[expect(dead_code, reason = "held, not read")] Arc<Flock<File>>);

/// Waits, with a word, until no other process builds in `layout`'s folder.
pub fn take(layout: &Layout) -> Result<Turn> {
    // One turn for all kinds of processors: they share the cache.
    let build = layout.root.join("build");
    let path = build.join(FILE);
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    held.retain(|(_, lock)| lock.strong_count() > 0);
    let ours = held.iter().find(|(of, _)| *of == path);
    if let Some(lock) = ours.and_then(|(_, lock)| lock.upgrade()) {
        return Ok(Turn(lock));
    }
    fs::create_dir_all(&build).with_context(|| format!("create {}", build.display()))?;
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Err((file, Errno::EWOULDBLOCK)) => {
            eprintln!(
                "build: waiting for another cargo xtask that builds in {}",
                build.display()
            );
            Flock::lock(file, FlockArg::LockExclusive)
        }
        other => other,
    };
    let lock = lock.map_err(|(_, e)| anyhow!("lock {}: {e}", path.display()))?;
    let lock = Arc::new(lock);
    held.push((path, Arc::downgrade(&lock)));
    Ok(Turn(lock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h01_a_process_takes_its_turn_as_often_as_it_likes_and_another_waits() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout {
            root: dir.path().to_owned(),
        };
        // Another process has a descriptor of its own, as this one has here.
        let other = || {
            let file = File::create(layout.build().join(FILE)).unwrap();
            Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| e)
        };
        let first = take(&layout).unwrap();
        let second = take(&layout).unwrap();
        drop(first);
        assert_eq!(other().err(), Some(Errno::EWOULDBLOCK));
        drop(second);
        drop(other().unwrap());
        let again = take(&layout).unwrap();
        assert_eq!(other().err(), Some(Errno::EWOULDBLOCK));
        drop(again);
    }
}
