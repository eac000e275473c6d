//! bay0's own rooms: each is one cgroup, called by the persona's internal name, below the rooms' cgroup or the room it is nested
//! in. A room's own processes are in the leaf [`OWN`] of its cgroup, apart from those of the rooms inside it.

use std::path::Path;
use std::time::Duration;

use bay0_persona::cgroup::OWN;
use bay0_persona::{Group, PersonaName};

use super::{Found, Trouble};

/// How long a room's processes may take to be gone once killed.
const KILL_LIMIT: Duration = Duration::from_secs(1);

/// The rooms in this cgroup v2 directory; that there is none is a fact and not an error.
///
/// # Errors
/// The group that could not be read.
pub fn list(rooms: &Path) -> Result<Vec<Found>, Trouble> {
    let (mut found, mut unseen) = (Vec::new(), Vec::new());
    if rooms.try_exists()? {
        unseen = Group::open(rooms.to_owned())?.below()?;
    }
    while let Some(room) = unseen.pop() {
        let called = room.path.file_name().unwrap_or_default().to_string_lossy();
        if called != OWN {
            let id = room.path.strip_prefix(rooms)?.display().to_string();
            let (name, own) = (PersonaName::from_internal(&called), room.path.join(OWN));
            let running =
                own.try_exists()? && Group::open(own)?.figure("cgroup.events", "populated ")? == 1;
            found.push(Found { id, name, running });
            unseen.extend(room.below()?);
        }
    }
    Ok(found)
}

/// Ends and removes a room that [`list`] has found, and every room inside it.
///
/// # Errors
/// What could not be done.
pub fn remove(rooms: &Path, id: &str) -> Result<(), Trouble> {
    Ok(Group::open(rooms.join(id))?.remove(KILL_LIMIT)?)
}

#[cfg(test)]
mod tests;
