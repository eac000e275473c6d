//! What rooms wish to keep (T02): PID 1 decides who may ask, and hands the room one end of a connection and the keeper the other
//! (decision 9). What goes through it, PID 1 never sees.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result, ensure};
use bay0_persona::{Grant, Policy, Wish, packet};

use bay0_state::Request;
use bay0_state::gate::NOT;
use bay0_state::shelf::Limits;
use nix::sys::socket::MsgFlags;

/// Wishes that wait for the keeper.
const MOST: usize = 64;
const UNGRANTED: &str = "this room may keep nothing; next: write persist in its policy";
const DIRTY: &str = "not now: /persist is not open; next: try again, see status";
const LOST: &str = "not done: the keeper was given up; next: try again, see status";

/// A wish for the keeper: the request, and the room's connection.
type Waiting = (Request, OwnedFd);

/// The wishes that the keeper has not been asked yet.
#[derive(Default)]
pub struct Wishes(VecDeque<Waiting>);

impl Wishes {
    /// Takes in a room's wish; the room's end of the connection. `together`: bytes that all rooms may keep.
    ///
    /// # Errors
    /// Why it may not, or not now. `ready`: there is a keeper.
    pub fn add(
        &mut self,
        wish: &Wish,
        policy: Option<&Policy>,
        together: u64,
        ready: bool,
    ) -> Result<OwnedFd> {
        let policy = policy.filter(|it| it.may(Grant::PersistBytes));
        let policy = policy.context(UNGRANTED)?;
        ensure!(ready, DIRTY);
        ensure!(
            self.0.len() < MOST,
            "not now: {MOST} wishes wait for the disk; next: try again, see status"
        );
        let limits = Limits {
            bytes: policy.get(Grant::PersistBytes),
            records: policy.get(Grant::PersistRecords),
            rate: policy.get(Grant::PersistRate),
            read: policy.get(Grant::DiskRate),
            together,
        };
        let request = Request::Gate {
            room: policy.name.clone(),
            wish: wish.to_string(),
            limits,
        };
        let (ours, theirs) = packet::pair()?;
        self.0.push_back((request, theirs));
        Ok(ours)
    }

    /// The next one for the keeper.
    pub fn next(&mut self) -> Option<Waiting> {
        self.0.pop_front()
    }

    /// Answers every wish that waits: none of it is done.
    pub fn refuse(&mut self) {
        self.0.drain(..).for_each(|(_, room)| refuse(&room, LOST));
    }
}

/// Tells a room why nothing comes of what it sends.
pub fn refuse(room: &OwnedFd, why: &str) {
    packet::deafen(room);
    let _ = packet::send(
        room,
        &[&[NOT], why.as_bytes()],
        None,
        MsgFlags::MSG_DONTWAIT,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h06_a_wish_that_waits_for_a_keeper_that_is_given_up_is_refused_and_says_so() {
        let (room, theirs) = packet::pair().unwrap();
        // What it has sent already does not take the answer away.
        for _ in 0..3 {
            packet::send(&room, &[b"d", b"data"], None, MsgFlags::empty()).unwrap();
        }
        let mut wishes = Wishes(VecDeque::from([(Request::Probe, theirs)]));
        wishes.refuse();
        let mut answer = [0; 256];
        let (length, _) = packet::receive(&room, &mut answer, MsgFlags::empty()).unwrap();
        let text = "nnot done: the keeper was given up; next: try again, see status";
        assert_eq!(str::from_utf8(&answer[..length]), Ok(text));
        assert!(wishes.next().is_none());
    }
}
