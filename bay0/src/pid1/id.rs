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
}

/// An umbilical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The Spine's own.
    Spine,
    /// A room's.
    Room(RoomId),
}
