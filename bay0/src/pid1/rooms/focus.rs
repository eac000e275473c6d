//! The focus (T04, T05): which room is in front, and which has the device that goes with it.

use std::fs::File;

use nix::errno::Errno;

use crate::pid1::id::RoomId;
use crate::sys;

/// Who has the focus and the device.
#[derive(Default)]
pub struct Focus {
    /// The room that is not frozen, unless nobody has the focus.
    pub(super) front: Option<RoomId>,
    /// The device that a room holds, and which room: the one in front, or one inside it.
    lent: Option<(RoomId, File)>,
}

impl Focus {
    /// Takes the device back, then the focus goes to another room.
    ///
    /// # Errors
    /// Who has the device keeps it, and the focus stays.
    pub fn pass(&mut self, id: RoomId) -> nix::Result<()> {
        revoke(self.lent.as_ref())?;
        (self.front, self.lent) = (Some(id), None);
        Ok(())
    }

    /// Lends a device to a room, and takes the one that is lent from whoever has it.
    ///
    /// # Errors
    /// Who has it keeps it.
    pub fn lend(&mut self, id: RoomId, device: File) -> nix::Result<()> {
        revoke(self.lent.as_ref())?;
        self.lent = Some((id, device));
        Ok(())
    }

    /// A room dies: it has neither any more. A descriptor on its way between processes can outlive them all.
    pub fn lose(&mut self, id: RoomId) {
        self.front.take_if(|front| *front == id);
        let lent = self.lent.take_if(|(at, _)| *at == id);
        let _ = revoke(lent.as_ref());
    }

    /// Nothing can be taken back of a file that is no device.
    #[cfg(feature = "fault")]
    pub fn stick(&mut self) -> String {
        let null = File::open("/dev/null").ok();
        self.lent = self.lent.take().and_then(|lent| Some((lent.0, null?)));
        format!("{:?}", self.lent)
    }
}

/// Takes a device back: whoever has it open reads an error from now on. One that was unplugged is nobody's already.
fn revoke(lent: Option<&(RoomId, File)>) -> nix::Result<()> {
    match lent.map(|(_, device)| sys::revoke(device)) {
        Some(Err(errno)) if errno != Errno::ENODEV => Err(errno),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t05_what_cannot_be_taken_back_is_an_error_and_what_nobody_has_is_none() {
        let (one, other) = (RoomId::new(7), RoomId::new(8));
        let mut focus = Focus::default();
        assert_eq!(focus.pass(one), Ok(()));
        focus.lend(one, File::open("/dev/null").unwrap()).unwrap();
        // The focus stays where the device is.
        assert_eq!(focus.pass(other), Err(Errno::ENOTTY));
        assert_eq!(focus.front, Some(one));
        focus.lose(other);
        assert_eq!(focus.front, Some(one));
        focus.lose(one);
        assert_eq!((focus.front, focus.pass(other)), (None, Ok(())));
    }
}
