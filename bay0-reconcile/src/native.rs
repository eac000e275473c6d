//! bay0's own rooms: each is one cgroup below the rooms' cgroup, called by the persona's internal name.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bay0_persona::Group;

use crate::{Found, Runtime, Trouble};

/// How long a room's processes may take to be gone once killed.
const KILL_LIMIT: Duration = Duration::from_secs(1);

/// The native runtime: the rooms in this cgroup v2 directory.
#[derive(Debug)]
pub struct Native(pub PathBuf);

impl Runtime for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn list(&self) -> Result<Vec<Found>, Trouble> {
        let mut found = Vec::new();
        if self.0.try_exists()? {
            for dir in Group::open(self.0.clone())?.below()? {
                let id = dir.path.file_name().unwrap_or_default().to_string_lossy();
                found.push(Found::new("native", &id, &id, dir.populated()?));
            }
        }
        Ok(found)
    }

    fn remove(&self, id: &str) -> Result<(), Trouble> {
        if Path::new(id).file_name() != Some(id.as_ref()) {
            return Err("not a direct child".into());
        }
        Ok(Group::open(self.0.join(id))?.remove(KILL_LIMIT)?)
    }
}

#[cfg(test)]
mod tests;
