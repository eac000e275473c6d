//! What follows from what bay0 gives and what the compositor asks. No system call is made here.
//!
//! The compositor's side of the seat, and what changes it:
//!
//! | is | bay0: away, or another device | the compositor has stopped | bay0: front |
//! | --- | --- | --- | --- |
//! | `Closed`: no compositor has it | `Closed` | `Closed` | `Closed` |
//! | `Enabled` | tell it to stop: `Stopping` | `Enabled` | `Enabled` |
//! | `Stopping`: it was told | `Stopping` | `Disabled`, then at once as below if the room is in front | `Stopping` |
//! | `Disabled` | `Disabled` | `Disabled` | tell it to go on: `Enabled` |
//!
//! A device that comes or goes while the room is in front is a short stop as well: the compositor then looks for all devices anew, which
//! is what it does at each change of focus. So nothing has to stand for the events of udevd.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::rc::Rc;

use nix::errno::Errno;

use crate::given::{Kind, Name};
use crate::wire::{Reply, Request};

/// The seat's name, as libinput and every compositor expect it without udevd.
const SEAT: &CStr = c"seat0";
/// Most devices that one compositor has open at once.
const MOST_OPEN: usize = 256;

/// Whose the seat is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Enabled,
    Stopping,
    Disabled,
}

/// What came from bay0, without what it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News<D> {
    /// A device, new or opened anew.
    Device(Name, D),
    /// One is there no more.
    Gone(Name),
    /// The room was behind.
    Away,
    /// It is in front.
    Front,
}

/// An answer, and the device that goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<D> {
    /// What is said.
    pub reply: Reply,
    /// What comes with it.
    pub device: Option<Rc<D>>,
}

/// Everything that is known.
#[derive(Debug)]
pub struct Broker<D> {
    devices: BTreeMap<Name, Rc<D>>,
    state: State,
    is_front: bool,
    /// Numbers of devices that the compositor has open.
    open: BTreeSet<i32>,
    last: i32,
}

impl<D> Default for Broker<D> {
    fn default() -> Self {
        Self {
            devices: BTreeMap::new(),
            state: State::Closed,
            is_front: false,
            open: BTreeSet::new(),
            last: 0,
        }
    }
}

fn says<D>(reply: Reply) -> Answer<D> {
    Answer {
        reply,
        device: None,
    }
}

impl<D> Broker<D> {
    /// Whether a compositor finds all that there is: the room is in front, and has a display.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.is_front && self.devices.keys().any(|it| it.kind == Kind::Card)
    }

    /// What to tell the compositor now that bay0 has said this.
    #[must_use]
    pub fn hear(&mut self, news: News<D>) -> Vec<Answer<D>> {
        match news {
            News::Device(name, device) => {
                self.devices.insert(name, Rc::new(device));
                self.stop()
            }
            News::Gone(name) => {
                self.devices.remove(&name);
                self.stop()
            }
            News::Away => {
                self.is_front = false;
                self.devices.retain(|name, _| name.kind == Kind::Card);
                self.stop()
            }
            News::Front => {
                self.is_front = true;
                self.go_on()
            }
        }
    }

    fn stop(&mut self) -> Vec<Answer<D>> {
        if self.state != State::Enabled {
            return Vec::new();
        }
        self.state = State::Stopping;
        vec![says(Reply::Disable)]
    }

    fn go_on(&mut self) -> Vec<Answer<D>> {
        if self.state != State::Disabled || !self.is_front {
            return Vec::new();
        }
        self.state = State::Enabled;
        vec![says(Reply::Enable)]
    }

    /// What to answer the compositor.
    #[must_use]
    pub fn answer(&mut self, request: &Request) -> Vec<Answer<D>> {
        let refused = |errno: Errno| vec![says(Reply::Error(errno as i32))];
        match (request, self.state) {
            (Request::Ping, _) => vec![says(Reply::Pong)],
            (Request::OpenSeat, State::Closed) => {
                self.state = State::Disabled;
                let mut answers = vec![says(Reply::SeatOpened(SEAT))];
                answers.extend(self.go_on());
                answers
            }
            (Request::OpenSeat, _) => refused(Errno::EBUSY),
            (Request::DisableSeat, State::Stopping) => {
                self.state = State::Disabled;
                self.go_on()
            }
            // libseat 0.7 reads no answer to either, and takes one for that to its next question. Which room is in front is for bay0 to say.
            (Request::DisableSeat | Request::SwitchSession(_), _) => Vec::new(),
            (_, State::Closed) => refused(Errno::EPERM),
            (Request::CloseSeat, _) => {
                self.hang_up();
                vec![says(Reply::SeatClosed)]
            }
            (Request::OpenDevice(path), State::Enabled) => match self.open(path) {
                Ok(answer) => vec![answer],
                Err(errno) => refused(errno),
            },
            (Request::OpenDevice(_), _) => refused(Errno::EPERM),
            (Request::CloseDevice(number), _) => match self.open.remove(number) {
                true => vec![says(Reply::DeviceClosed)],
                false => refused(Errno::EBADF),
            },
        }
    }

    fn open(&mut self, path: &str) -> Result<Answer<D>, Errno> {
        let name = Name::of_path(path).ok_or(Errno::ENOENT)?;
        let device = self.devices.get(&name).ok_or(Errno::ENOENT)?;
        let is_full = self.open.len() >= MOST_OPEN;
        let next = self.last.checked_add(1).filter(|_| !is_full);
        self.last = next.ok_or(Errno::EMFILE)?;
        self.open.insert(self.last);
        Ok(Answer {
            reply: Reply::DeviceOpened(self.last),
            device: Some(Rc::clone(device)),
        })
    }

    /// The compositor is gone.
    pub fn hang_up(&mut self) {
        self.state = State::Closed;
        self.open.clear();
    }
}

#[cfg(test)]
mod tests;
