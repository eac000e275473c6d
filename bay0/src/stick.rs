//! The USB stick that is plugged in (U09): found, opened for one room alone, and handed to it. Done by a child of PID 1, which a medium
//! that does not answer may hold up. What is on the stick is read by the room, and of it nothing here but the partition table, which tells
//! whether it is one of ours: by a child of the child, without a right, as for every disk ([`disks`]).
//!
//! | disks on USB that are not ours | what the room gets |
//! | --- | --- |
//! | none | why not |
//! | one | that, for reading and writing; for reading if it is protected from being written |
//! | two | why not, with both named |

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result, anyhow, bail};
use bay0_persona::disks::{self, Content, Disk, booted};
use bay0_persona::gpt::Guid;
use bay0_persona::packet::send;
use bay0_state::gate::{DONE, NOT};
use nix::libc;
use nix::sys::socket::MsgFlags;

use crate::slot::answer::Answer;
use crate::slot::table::OURS;
use crate::sys::{is_on_usb, text_of};

/// The partition that an update's disk has its images in; a disk of ours has others ([`OURS`]).
const UPDATE_ROOMS: &str = "rooms";

/// A stick that is plugged in: until it is pulled, the same number is that stick (`/sys/block/NAME/diskseq`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stick {
    number: u64,
    /// All that fits on it.
    pub bytes: u64,
    /// The kernel's name of it.
    pub name: String,
}

impl Stick {
    /// What the child sends of one that somebody has to be asked about.
    fn encode(&self) -> String {
        format!("{} {} {}", self.number, self.bytes, self.name)
    }

    /// What the child has sent; none of any other text.
    pub fn decode(sent: &str) -> Option<Self> {
        let mut words = sent.splitn(3, ' ');
        let mut number = || words.next()?.parse().ok();
        let (number, bytes) = (number()?, number()?);
        let name = words.next().filter(|it| !it.is_empty())?.to_owned();
        Some(Self {
            number,
            bytes,
            name,
        })
    }
}

/// Sends a room the stick if it is the one that it may have, or `reason; next: action`; else the answer names the stick. The log has each file
/// that passes, and nothing of this.
pub fn give(room: &OwnedFd, may: Option<&Stick>) -> Answer {
    let now = MsgFlags::MSG_DONTWAIT;
    let _ = match open() {
        Ok((it, _)) if Some(&it) != may => return Answer::Done(it.encode()),
        Ok((_, stick)) => send(room, &[&[DONE]], Some(&stick.into()), now),
        Err(why) => send(room, &[&[NOT], why.to_string().as_bytes()], None, now),
    };
    Answer::Done(String::new())
}

fn open() -> Result<(Stick, File)> {
    let (all, booted) = (disks::all(), booted());
    let name = only(&all, is_on_usb, booted)?;
    let stick = open_alone(&format!("/dev/{name}"))
        .map_err(|error| anyhow!("open {name}: {error}; next: plug it in again"))?;
    // It is this one from here on, whatever else was called so before.
    let known = disks::one(name).filter(|it| !is_ours(it, booted));
    let readable = known.filter(|it| matches!(it.content, Content::Whole | Content::Parts(_)));
    readable
        .with_context(|| format!("{name} does not show what is on it; next: plug it in again"))?;
    let fact = |fact: &str| text_of(format!("/sys/class/block/{name}/{fact}"));
    let number = |text: String| text.trim().parse().unwrap_or(0_u64);
    let known = Stick {
        number: number(fact("diskseq")),
        bytes: number(fact("size")).saturating_mul(512),
        name: name.to_owned(),
    };
    Ok((known, stick))
}

/// The only disk that is a stick, by name.
fn only(all: &[Disk], is_on_usb: impl Fn(&str) -> bool, booted: Option<Guid>) -> Result<&str> {
    let is_stick = |it: &&Disk| is_on_usb(&it.name) && !is_ours(it, booted);
    let mut sticks = all.iter().filter(is_stick);
    match (sticks.next(), sticks.next()) {
        (Some(one), None) => Ok(&one.name),
        (Some(a), Some(b)) => bail!(
            "{} and {} are both sticks; next: unplug one",
            a.name,
            b.name
        ),
        _ => bail!("no stick is there; next: plug one in"),
    }
}

fn is_ours(disk: &Disk, booted: Option<Guid>) -> bool {
    let named = |name: &str| name == UPDATE_ROOMS || OURS.iter().any(|it| it.contains(&name));
    let mut parts = disk.parts().iter();
    parts.any(|it| named(&it.name) || Some(it.guid) == booted)
}

/// Opens it while nobody else uses it, and nobody can until it is closed (`open(2)`, `O_EXCL` of a block device).
fn open_alone(path: &str) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).custom_flags(libc::O_EXCL);
    let opened = options.open(path);
    match opened.as_ref().map_err(io::Error::raw_os_error) {
        Err(Some(libc::EROFS | libc::EACCES)) => options.write(false).open(path),
        _ => opened,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bay0_persona::gpt::Part;

    fn disk(name: &str, parts: &[&str]) -> Disk {
        let part = |name: &&str| Part {
            number: 1,
            guid: [0; 16],
            start: 0,
            bytes: 0,
            name: (*name).to_owned(),
        };
        Disk {
            name: name.to_owned(),
            content: Content::Parts(parts.iter().map(part).collect()),
            damage: None,
        }
    }

    #[test]
    fn a04_a_child_names_the_stick_that_somebody_is_asked_about() {
        let stick = Stick {
            number: 12,
            bytes: 1 << 40,
            name: "sda".to_owned(),
        };
        assert_eq!(Stick::decode(&stick.encode()), Some(stick));
        for other in ["", "sda", "12 5", "12 5 ", "x 5 sda", "12 -5 sda"] {
            assert_eq!(Stick::decode(other), None, "{other:?}");
        }
    }

    #[test]
    fn u09_a_stick_is_the_only_disk_on_usb_that_holds_nothing_of_ours() {
        let told = |disks: &[Disk]| {
            let found = only(disks, |name| name.starts_with("sd"), None);
            found.map_or_else(|why| why.to_string(), str::to_owned)
        };
        let (inside, stick) = (disk("vda", &["data"]), disk("sda", &["data"]));
        assert_eq!(told(&[inside.clone(), stick.clone()]), "sda");
        let none = "no stick is there; next: plug one in";
        assert_eq!(told(std::slice::from_ref(&inside)), none);
        for name in ["persist", "rooms", "rooms-a", "rooms-b", "slot-a", "slot-b"] {
            assert_eq!(told(&[disk("sdb", &["data", name])]), none, "{name}");
        }
        let two = "sda and sdc are both sticks; next: unplug one";
        assert_eq!(told(&[stick.clone(), inside, disk("sdc", &[])]), two);
        // What the machine was started from is none, wherever it is.
        assert_eq!(told(&[disk("sdb", &["slot-a", "persist"]), stick]), "sda");
    }
}
