//! bay0's own rooms: each is one cgroup below the rooms' cgroup, called by the persona's internal name.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use bay0_persona::Group;

use crate::{Found, Runtime};

/// How long a room's processes may take to be gone once killed.
const KILL_LIMIT: Duration = Duration::from_secs(1);

/// The native runtime.
#[derive(Debug)]
pub struct Native {
    /// The cgroup v2 directory that holds the rooms.
    pub root: PathBuf,
}

impl Runtime for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn list(&self) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        if !self.root.try_exists()? {
            return Ok(found);
        }
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            if path.is_dir() {
                let id = path.file_name().unwrap_or_default().to_string_lossy();
                // A room runs if any process is left in its tree, frozen or not.
                let events = fs::read_to_string(path.join("cgroup.events"))?;
                let running = events.lines().any(|line| line == "populated 1");
                found.push(Found::new("native", &id, &id, running));
            }
        }
        Ok(found)
    }

    fn remove(&self, id: &str) -> io::Result<()> {
        if Path::new(id).file_name() != Some(id.as_ref()) {
            return Err(io::Error::other("not a direct child"));
        }
        let group = Group::open(self.root.join(id));
        let gone = group.and_then(|group| group.kill(KILL_LIMIT).and_then(|()| group.remove()));
        gone.map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests;
