//! What bay0 says on the socket that the verb `seat` gives ([`bay0_umbilical::seat`]), with the descriptor that belongs to it. A room sends
//! nothing on it.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};

use bay0_persona::packet;
use bay0_umbilical::seat::{DeviceName, Seating};
use nix::sys::socket::MsgFlags;

/// Most bytes of a packet: the longest word, a blank and the longest name.
const MOST: usize = 32;
/// Most digits of a device's number: the kernel's numbers of both kinds have fewer.
const DIGITS: usize = 4;

/// What a device of the kernel's is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A display: `card0` in `/dev/dri`.
    Card,
    /// An input device: `event3` in `/dev/input`.
    Event,
}

/// A device's name; holding one proves that its path leads nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Which folder it is in.
    pub kind: Kind,
    /// The kernel's number of it.
    pub number: u16,
}

impl Name {
    /// From `card0` or `event3`: the only spelling of each.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, number) = match text.strip_prefix("card") {
            Some(number) => (Kind::Card, number),
            None => (Kind::Event, text.strip_prefix("event")?),
        };
        let is_plain = number.bytes().all(|it| it.is_ascii_digit()) && number.len() <= DIGITS;
        let is_only = number == "0" || !number.starts_with('0');
        let number = number.parse().ok().filter(|_| is_plain && is_only)?;
        Some(Self { kind, number })
    }

    /// From the path of its node, as the kernel's own names go.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        let name = path
            .strip_prefix("/dev/dri/")
            .or_else(|| path.strip_prefix("/dev/input/"))?;
        Self::parse(name).filter(|it| it.path() == path)
    }

    /// The path that its node has where there is one.
    #[must_use]
    pub fn path(self) -> String {
        match self.kind {
            Kind::Card => format!("/dev/dri/{self}"),
            Kind::Event => format!("/dev/input/{self}"),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Card => write!(f, "card{}", self.number),
            Kind::Event => write!(f, "event{}", self.number),
        }
    }
}

/// What an input device is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// It has keys to type with.
    Keyboard,
    /// It moves a pointer, or is touched.
    Pointer,
}

/// One packet.
#[derive(Debug)]
pub enum Given {
    /// A display.
    Screen(Name, OwnedFd),
    /// An input device.
    Input(Input, Name, OwnedFd),
    /// A device is there no more.
    Gone(Name),
    /// The room was behind.
    Away,
    /// The room is in front and has all that there is.
    Front,
    /// A packet of a later bay0, or without what belongs to it: it changes nothing.
    Other,
}

impl Given {
    /// Reads a packet, and what came with it.
    #[must_use]
    pub fn read(packet: &[u8], fd: Option<OwnedFd>) -> Self {
        let is = |name: &DeviceName, kind| Name::parse(name.as_str()).filter(|it| it.kind == kind);
        let read = match (Seating::decode(packet), fd) {
            (Some(Seating::Screen(name)), Some(fd)) => {
                is(&name, Kind::Card).map(|it| Self::Screen(it, fd))
            }
            (Some(Seating::Keyboard(name)), Some(fd)) => {
                is(&name, Kind::Event).map(|it| Self::Input(Input::Keyboard, it, fd))
            }
            (Some(Seating::Pointer(name)), Some(fd)) => {
                is(&name, Kind::Event).map(|it| Self::Input(Input::Pointer, it, fd))
            }
            (Some(Seating::Gone(name)), None) => Name::parse(name.as_str()).map(Self::Gone),
            (Some(Seating::Away), None) => Some(Self::Away),
            (Some(Seating::Front), None) => Some(Self::Front),
            _ => None,
        };
        read.unwrap_or(Self::Other)
    }
}

/// The next packet; none when bay0 has hung up: the room has no screen any more.
///
/// # Errors
/// The errno of `recvmsg(2)`; EAGAIN where nothing is there and `flags` do not wait.
pub fn next(socket: impl AsFd, flags: MsgFlags) -> nix::Result<Option<Given>> {
    let mut buffer = [0; MOST];
    let (length, fd) = packet::receive(socket, &mut buffer, flags)?;
    let packet = buffer.get(..length).unwrap_or_default();
    Ok((length > 0).then(|| Given::read(packet, fd)))
}

#[cfg(test)]
mod tests;
