//! A room's seat (A14, T05, decision 23): what of the displays, keyboards and pointers its program has while it is in front.
//!
//! | | first time in front | goes behind | comes back | a device comes or goes meanwhile |
//! | --- | --- | --- | --- | --- |
//! | display | opened, master set, given | master dropped | master set | opened and given; said to be gone |
//! | keyboard, pointer | opened, given | revoked | opened anew, given | the same |
//!
//! A room has an opening of its own of each display: what another one has made on its own cannot be mapped by it, nor by what it handed on.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result};
use bay0_persona::packet::send;
use bay0_persona::policy::{KEYBOARD, POINTER, SCREEN};
use bay0_umbilical::seat::{DeviceName, Seating};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

use crate::sys::{displays, keyboards, open_device, open_input, pointers};
use crate::sys::{revoke, start_drawing, stop_drawing};

/// Most devices of a room: what is plugged in later does not lock those out that are there.
const MOST: usize = 16;
const NOW: MsgFlags = MsgFlags::MSG_DONTWAIT;

/// What a room's program has, and where it is told of it.
pub struct Seat {
    end: OwnedFd,
    /// The bits of its policy.
    kinds: u64,
    devices: Vec<Device>,
}

/// Another one under the same path has another inode.
struct Device {
    path: String,
    inode: u64,
    kind: u64,
    file: File,
}

impl Seat {
    /// One that has nothing yet. `end`: where its program is told; `kinds`: what of it the policy grants.
    pub fn new(end: OwnedFd, kinds: u64) -> Self {
        let devices = Vec::new();
        Self {
            end,
            kinds,
            devices,
        }
    }

    /// Gives the room all that it may have.
    ///
    /// # Errors
    /// A display cannot be drawn on, or the room takes nothing.
    pub fn give(&mut self) -> Result<()> {
        for display in self.devices.iter().filter(|it| it.kind == SCREEN) {
            draw_on(&display.file, &display.path)?;
        }
        self.look()?;
        self.tell(&Seating::Front, None)
    }

    /// Gives it what has come since, and tells it what is gone.
    ///
    /// # Errors
    /// A display cannot be drawn on, or the room takes nothing.
    pub fn look(&mut self) -> Result<()> {
        let (there, gone) = self
            .devices
            .drain(..)
            .partition(|it| inode(&it.path) == it.inode);
        self.devices = there;
        let gone: Vec<Device> = gone;
        for name in gone.iter().filter_map(|it| DeviceName::of(&it.path)) {
            self.tell(&Seating::Gone(name), None)?;
        }
        let all = [
            (SCREEN, displays as fn() -> _),
            (KEYBOARD, keyboards),
            (POINTER, pointers),
        ];
        for (kind, paths) in all {
            if self.kinds & kind == 0 {
                continue;
            }
            for path in paths() {
                self.add(kind, path)?;
            }
        }
        Ok(())
    }

    /// Opens and gives one that it has not got. What cannot be opened is gone again, or will be there at the next look.
    fn add(&mut self, kind: u64, path: String) -> Result<()> {
        let has = self.devices.iter().any(|it| it.path == path);
        let opened = match kind {
            _ if has || self.devices.len() >= MOST => return Ok(()),
            SCREEN => open_device(&path),
            _ => open_input(&path),
        };
        let (Ok(file), Some(name)) = (opened, DeviceName::of(&path)) else {
            return Ok(());
        };
        let said = match kind {
            SCREEN => Seating::Screen(name),
            KEYBOARD => Seating::Keyboard(name),
            _ => Seating::Pointer(name),
        };
        if kind == SCREEN {
            draw_on(&file, &path)?;
        }
        let inode = inode(&path);
        self.tell(&said, Some(&file.try_clone()?.into()))?;
        self.devices.push(Device {
            path,
            inode,
            kind,
            file,
        });
        Ok(())
    }

    /// Takes all of it back.
    ///
    /// # Errors
    /// The errno of what the room keeps.
    pub fn take(&mut self) -> nix::Result<()> {
        let taken = self.devices.iter().map(|it| match it.kind {
            SCREEN => stop_drawing(&it.file),
            _ => revoke(&it.file),
        });
        let taken: Vec<_> = taken.collect();
        self.devices.retain(|it| it.kind == SCREEN);
        let _ = self.tell(&Seating::Away, None);
        // Of one that was unplugged, or on which nobody could draw, there is nothing to take.
        let kept =
            |it: &nix::Result<()>| !matches!(it, Ok(()) | Err(Errno::ENODEV | Errno::EINVAL));
        taken.into_iter().find(kept).unwrap_or(Ok(()))
    }

    /// Its openings of displays, of which a driver may take its time to close the last.
    pub fn into_displays(self) -> impl Iterator<Item = OwnedFd> {
        self.devices.into_iter().map(|it| it.file.into())
    }

    /// Whether its program is still there. It has nothing to say.
    pub fn lives(&self) -> bool {
        recv(self.end.as_raw_fd(), &mut [0], NOW) == Err(Errno::EAGAIN)
    }

    fn tell(&self, said: &Seating, given: Option<&OwnedFd>) -> Result<()> {
        let told = send(&self.end, &[said.to_string().as_bytes()], given, NOW);
        told.context("it takes nothing")
    }
}

impl AsFd for Seat {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}

fn draw_on(file: &File, path: &str) -> Result<()> {
    start_drawing(file).with_context(|| format!("draw on {path}"))
}

/// Of a file that is not there: 0.
pub fn inode(path: &str) -> u64 {
    fs::metadata(path).map_or(0, |it| it.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bay0_persona::packet::{pair, receive};

    fn told(end: &OwnedFd) -> Option<Seating> {
        let mut packet = [0; 64];
        let (length, _) = receive(end, &mut packet, NOW).ok()?;
        Seating::decode(&packet[..length])
    }

    fn with(files: &[(u64, &str)]) -> (Seat, OwnedFd) {
        let (ours, theirs) = pair().unwrap();
        let mut seat = Seat::new(ours, 0);
        for (kind, path) in files {
            seat.devices.push(Device {
                path: (*path).to_owned(),
                inode: inode(path),
                kind: *kind,
                file: File::open(path).unwrap(),
            });
        }
        (seat, theirs)
    }

    #[test]
    fn t05_what_a_room_keeps_is_an_error_and_it_is_told_all_the_same() {
        let (mut seat, end) = with(&[(SCREEN, "/dev/zero"), (KEYBOARD, "/dev/null")]);
        assert_eq!(seat.take(), Err(Errno::ENOTTY));
        assert_eq!(told(&end), Some(Seating::Away));
        // The display's opening stays, for the next time.
        assert_eq!(seat.devices.len(), 1);
        let (mut seat, _) = with(&[]);
        assert_eq!(seat.take(), Ok(()));
    }

    #[test]
    fn a14_a_room_is_told_what_is_gone_and_that_it_has_all() {
        let (mut seat, end) = with(&[]);
        seat.give().unwrap();
        assert_eq!(told(&end), Some(Seating::Front));
        seat.devices.push(Device {
            path: "/dev/input/event77".to_owned(),
            inode: 5,
            kind: KEYBOARD,
            file: File::open("/dev/null").unwrap(),
        });
        seat.look().unwrap();
        let name = DeviceName::parse("event77").unwrap();
        assert_eq!(told(&end), Some(Seating::Gone(name)));
        assert!(seat.devices.is_empty() && told(&end).is_none());
    }

    #[test]
    fn c12_who_hangs_up_talks_or_reads_nothing_has_no_seat() {
        let (seat, end) = with(&[]);
        assert!(seat.lives());
        send(&end, &[b"x"], None, NOW).unwrap();
        assert!(!seat.lives());
        let (seat, end) = with(&[]);
        drop(end);
        assert!(!seat.lives() && seat.tell(&Seating::Front, None).is_err());
        let (seat, _end) = with(&[]);
        assert!((0..10_000).any(|_| seat.tell(&Seating::Away, None).is_err()));
    }
}
