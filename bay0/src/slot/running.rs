//! The slot that runs, and how it came to be started: what a child reads in the firmware's variables, and what follows from it.
//!
//! | how the slot was started | first validation | what follows | once the firmware has taken it |
//! | --- | --- | --- | --- |
//! | as the first in the order | GREEN | the firmware remembers that this boot is well | first |
//! | the firmware could not start the first one | GREEN | the same, and this slot becomes the first | first |
//! | the first one came to no end | GREEN | the firmware remembers that this boot is well | stays where it is |
//! | by something that is no boot entry of ours | GREEN | the same | stays where it is, or first if no slot was in the order |
//! | on trial | GREEN | the trial is over, and this slot becomes the first | first |
//! | on trial | not, because of the images of rooms alone | a reboot; the slot may be tried again | |
//! | on trial | not | a reboot; the firmware remembers that the trial has failed | |
//! | in any other way | not | nothing but that boot entries are mended | |

use std::fmt;

/// One of the two slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Slot {
    /// The first one on a new disk.
    A = b'A',
    /// The other one.
    B = b'B',
}

impl Slot {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// The one that this one is not.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The name of its partition.
    pub fn partition(self) -> String {
        format!("slot-{self}").to_lowercase()
    }

    /// The name of the partition of its Spine's images.
    pub fn rooms(self) -> String {
        format!("rooms-{self}").to_lowercase()
    }

    /// The slot whose partition is called so.
    pub fn of(partition: &str) -> Option<Self> {
        let mut both = Self::BOTH.into_iter();
        both.find(|it| it.partition() == partition)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// How it came that a slot was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Start {
    /// It is the first in the order.
    First = b'f',
    /// It is on trial, wherever it is in the order.
    Trial = b't',
    /// The firmware could not start the first one.
    Unstartable = b'u',
    /// The first one was started too often without an end.
    Endless = b'e',
    /// By no boot entry of ours: the firmware has found it by itself.
    Found = b'n',
}

/// What follows from the first validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The firmware remembers that this slot is well.
    Commit,
    /// The firmware remembers that the trial has failed, and the machine reboots.
    Fail,
    /// The machine reboots, and the trial may be repeated.
    Retry,
    /// Boot entries are mended, and nothing else.
    Stay,
}

impl Start {
    /// Every way.
    pub const ALL: [Self; 5] = {
        use Start::{Endless, First, Found, Trial, Unstartable};
        [First, Trial, Unstartable, Endless, Found]
    };

    /// What it is once the firmware remembers that the slot is well.
    pub fn committed(self) -> Self {
        match self {
            Self::Endless | Self::Found => self,
            _ => Self::First,
        }
    }
}

/// The slot that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// Which it is.
    pub slot: Slot,
    /// How it was started.
    pub start: Start,
    /// Whether the firmware starts nothing that is not signed.
    pub is_secure: bool,
}

impl Running {
    /// What follows from a validation; `only_rooms_failed`: all that is not well is the images of rooms.
    pub fn judge(self, well: bool, only_rooms_failed: bool) -> Next {
        match self.start {
            _ if well => Next::Commit,
            Start::Trial if only_rooms_failed => Next::Retry,
            Start::Trial => Next::Fail,
            _ => Next::Stay,
        }
    }

    /// What the child sends: a letter each.
    pub fn encode(&self) -> String {
        let secure = if self.is_secure { b's' } else { b'-' };
        let letters = [self.slot as u8, self.start as u8, secure];
        letters.map(char::from).iter().collect()
    }

    /// What the child has sent.
    pub fn decode(sent: &str) -> Option<Self> {
        let [slot, start, secure @ (b's' | b'-')] = sent.as_bytes() else {
            return None;
        };
        Some(Self {
            slot: Slot::BOTH.into_iter().find(|it| *it as u8 == *slot)?,
            start: Start::ALL.into_iter().find(|it| *it as u8 == *start)?,
            is_secure: *secure == b's',
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c11_each_way_to_be_started_has_its_cell_for_each_verdict() {
        use Next::{Commit, Fail, Retry, Stay};
        use Start::{Endless, First, Found, Trial, Unstartable};
        for (start, unwell, without_rooms, committed) in [
            (First, Stay, Stay, First),
            (Trial, Fail, Retry, First),
            (Unstartable, Stay, Stay, First),
            (Endless, Stay, Stay, Endless),
            (Found, Stay, Stay, Found),
        ] {
            let (slot, is_secure) = (Slot::B, true);
            let running = Running {
                slot,
                start,
                is_secure,
            };
            for only_rooms_failed in [true, false] {
                assert_eq!(running.judge(true, only_rooms_failed), Commit);
            }
            assert_eq!(running.judge(false, false), unwell);
            assert_eq!(running.judge(false, true), without_rooms);
            assert_eq!(start.committed(), committed);
        }
    }

    #[test]
    fn a18_the_slot_that_runs_is_decoded_as_it_was_encoded() {
        let mut sent = std::collections::BTreeSet::new();
        for slot in Slot::BOTH {
            for start in Start::ALL {
                for is_secure in [true, false] {
                    let running = Running {
                        slot,
                        start,
                        is_secure,
                    };
                    assert_eq!(Running::decode(&running.encode()), Some(running));
                    assert!(sent.insert(running.encode()));
                }
            }
        }
        assert!(sent.contains("Bt-"));
        for other in ["", "A", "Cfs", "Afs ", "Afx", "Axs"] {
            assert_eq!(Running::decode(other), None);
        }
    }
}
