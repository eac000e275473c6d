//! What rooms wish to keep (T02): PID 1 decides who may ask, and hands the room one end of a connection and the keeper the other
//! (decision 9). What goes through it, PID 1 never sees.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result, ensure};
use bay0_persona::{Grant, Wish, packet};

use crate::pid1::Bay0;

/// Wishes that wait for the keeper.
const MOST: usize = 64;
const UNGRANTED: &str = "this room may keep nothing; next: write persist in its policy";
const BUSY: &str = "not now: the boot is dirty, or too many wait; next: try again, see status";

/// A wish for the keeper: the fields of the request, and the room's connection.
pub type Waiting = (Vec<String>, OwnedFd);

impl Bay0 {
    /// Has the keeper serve a room's wish; the room's end of the connection.
    ///
    /// # Errors
    /// Why it may not, or not now.
    pub fn wish(&mut self, slot: usize, wish: &Wish) -> Result<OwnedFd> {
        let room = self.rooms.get(&slot);
        let room = room.filter(|room| room.policy.may(Grant::PersistBytes));
        let policy = &room.context(UNGRANTED)?.policy;
        let open = self.keeper.is_some() && self.end.is_none() && self.wishes.len() < MOST;
        ensure!(open, BUSY);
        let limits = [
            Grant::PersistBytes,
            Grant::PersistRecords,
            Grant::PersistRate,
        ];
        let together = self.baked.persist_bytes();
        let limits = limits.map(|grant| policy.get(grant));
        let limits = limits.into_iter().chain([together]);
        let limits = limits.map(|number| number.to_string());
        let fields = [policy.name.to_string(), wish.to_string()].into_iter();
        let (ours, theirs) = packet::pair()?;
        self.wishes
            .push_back((fields.chain(limits).collect(), theirs));
        Ok(ours)
    }
}
