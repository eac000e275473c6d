//! What tells rooms apart, and the doors that requests come through.

/// A room's number: the place of its policy among all of this Spine, in the order of their names. Its uids follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoomId(usize);

impl RoomId {
    /// The room of the policy at this place.
    pub const fn new(place: usize) -> Self {
        Self(place)
    }

    /// Its policy's place.
    pub const fn place(self) -> usize {
        self.0
    }

    /// Its number among those of rooms, from 1 on.
    pub fn number(self) -> u16 {
        u16::try_from(self.0).map_or(u16::MAX, |place| place.saturating_add(1))
    }
}

/// An umbilical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The Spine's own.
    Spine,
    /// A room's.
    Room(RoomId),
}
