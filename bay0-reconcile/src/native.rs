//! bay0's own rooms: each is one cgroup below the rooms' cgroup, called by the persona's internal name.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use bay0_persona::{Group, PersonaName};

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

    fn list(&self) -> io::Result<Option<Vec<Found>>> {
        let entries = match fs::read_dir(&self.root) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                let id = path.file_name().unwrap_or_default().to_string_lossy();
                // A room runs if any process is left in its tree, frozen or not.
                let events = fs::read_to_string(path.join("cgroup.events"))?;
                found.push(Found {
                    runtime: self.name(),
                    id: id.to_string(),
                    name: PersonaName::from_internal(&id).ok(),
                    running: events.lines().any(|line| line == "populated 1"),
                });
            }
        }
        Ok(Some(found))
    }

    fn remove(&self, id: &str) -> io::Result<()> {
        if Path::new(id).file_name() != Some(OsStr::new(id)) {
            return Err(io::Error::other("not a direct child"));
        }
        let group = Group::open(self.root.join(id));
        let gone = group.and_then(|group| group.kill(KILL_LIMIT).and_then(|()| group.remove()));
        gone.map_err(|err| io::Error::other(err.to_string()))
    }
}

#[cfg(test)]
mod tests;
