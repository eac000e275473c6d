//! The courier (A03, decision 25): a process for one file on its way from one room to another.
//!
//! It reads all of the file into sealed memory before anybody is asked, and is given the end of the room that takes it only when the
//! answer is yes: whatever a room makes of this process before, there is nowhere to bring it.
//!
//! | PID 1 hears | when |
//! | --- | --- |
//! | [`Told::Read`] | all of the file is in memory that nobody can change any more |
//! | [`Told::Failed`] | nothing comes of it |
//! | [`Told::Delivered`] | the room that takes has confirmed all of it |

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use bay0_persona::CloneFlags;
use bay0_persona::confine::{Rights, confine};
use bay0_persona::kind::{Kind, Look};
use bay0_persona::packet;
use bay0_state::gate::{DATA, DONE, END, PACKET, SIZE};
use bay0_state::shelf::CHUNK;
use bay0_state::{Sha256, hex};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{MsgFlags, send};
use nix::unistd::close;

use crate::sys::mortal;

// The test build's damage, as `fault.rs`.
#[cfg(feature = "fault")]
#[path = "../testing/hostile.rs"]
mod hostile;

/// Nobody is in a hurry, and a peer that has hung up raises no SIGPIPE. What this process sends goes by `sendto(2)`; it has no
/// `sendmsg(2)`: no descriptor leaves it, neither an end of a room nor one that a room has sent it.
const WAIT: MsgFlags = MsgFlags::MSG_NOSIGNAL;
const GONE: &str = "the room has not sent all of it; next: send it again";

/// The namespaces of its own: nothing is in them.
pub const APART: CloneFlags = CloneFlags::CLONE_NEWUSER
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWCGROUP);

/// What is in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Bytes.
    pub size: u64,
    /// Found by its first bytes.
    pub kind: Kind,
    /// SHA-256, in hexadecimal.
    pub digest: String,
}

/// What PID 1 is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The file is there.
    Read(Content),
    /// It is not: why.
    Failed(String),
    /// The other room has it.
    Delivered,
}

impl Told {
    /// The packet.
    pub fn encode(&self) -> String {
        match self {
            Self::Read(it) => format!("r{} {} {}", it.size, it.kind, it.digest),
            Self::Failed(why) => format!("f{why}"),
            Self::Delivered => "d".to_owned(),
        }
    }

    /// Reads a packet; none if it is none of ours.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        let (tag, text) = str::from_utf8(packet).ok()?.split_at_checked(1)?;
        match (tag, text) {
            ("r", text) => {
                let mut words = text.split(' ');
                let mut next = || words.next();
                let (size, kind, digest) = (next()?.parse().ok()?, Kind::parse(next()?)?, next()?);
                let hex = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
                let good = digest.len() == 64 && digest.bytes().all(hex);
                let digest = digest.to_owned();
                let read = Self::Read(Content { size, kind, digest });
                (good && read.encode() == format!("r{text}")).then_some(read)
            }
            ("f", why) => Some(Self::Failed(why.to_owned())),
            ("d", "") => Some(Self::Delivered),
            _ => None,
        }
    }
}

/// Allows the courier to deliver, to the room at the other end of `taker`.
///
/// # Errors
/// The courier is gone.
pub fn allow(control: &OwnedFd, taker: &OwnedFd) -> nix::Result<()> {
    packet::send(control, &[b"y"], Some(taker), MsgFlags::MSG_DONTWAIT)
}

/// The process: `giver` is the connection with the room that gives a file, `control` that with PID 1, `most` its greatest size.
pub fn run(giver: &OwnedFd, control: &OwnedFd, most: u64) -> i32 {
    for fd in 0..=2 {
        let _ = close(fd);
    }
    mortal();
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let memory = memfd_create(c"file", flags).map_err(io::Error::from);
    let confined = memory.and_then(|memory| confine(Rights::Courier).map(|()| memory));
    let carried = match confined {
        Ok(memory) => carry(giver, control, File::from(memory), most),
        Err(error) => Err(format!("begin: {error}; next: send it again")),
    };
    let told = carried.map_or_else(Told::Failed, |()| Told::Delivered);
    i32::from(send(control.as_raw_fd(), told.encode().as_bytes(), WAIT).is_err())
}

fn carry(giver: &OwnedFd, control: &OwnedFd, mut memory: File, most: u64) -> Result<(), String> {
    let content = take(giver, &mut memory, most)?;
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK;
    fcntl(
        &memory,
        FcntlArg::F_ADD_SEALS(seals | SealFlag::F_SEAL_SEAL),
    )
    .map_err(|errno| format!("seal it: {errno:?}; next: send it again"))?;
    #[cfg(feature = "fault")]
    hostile::taken_over(giver, control, &memory, &content)?;
    let told = Told::Read(content).encode();
    send(control.as_raw_fd(), told.as_bytes(), WAIT).map_err(|_| "bay0 is gone".to_owned())?;
    let answer = packet::receive(control, &mut [0], WAIT).unwrap_or_default();
    let taker = answer.1.ok_or("bay0 is gone")?;
    deliver(&taker, &memory)
}

/// Takes all of a file.
fn take(giver: &OwnedFd, memory: &mut File, most: u64) -> Result<Content, String> {
    let large = || format!("over {most} bytes, which the policies allow; next: send less");
    let (mut hash, mut look, mut size) = (Sha256::default(), Look::default(), 0_u64);
    let mut buffer = vec![0; PACKET];
    loop {
        let (length, _) = packet::receive(giver, &mut buffer, WAIT).unwrap_or_default();
        match buffer.get(..length).and_then(|it| it.split_first()) {
            Some((&SIZE, digits)) => {
                let size = str::from_utf8(digits).ok().and_then(|it| it.parse().ok());
                if size.is_none_or(|size: u64| size > most) {
                    return Err(large());
                }
            }
            Some((&DATA, data)) => {
                size = size.saturating_add(data.len() as u64);
                if size > most {
                    return Err(large());
                }
                memory
                    .write_all(data)
                    .map_err(|error| format!("keep it: {error}; next: send less"))?;
                hash.update(data);
                look.take(data);
            }
            Some((&END, _)) => {
                let (kind, digest) = (look.kind(), hex(&hash.finish()));
                return Ok(Content { size, kind, digest });
            }
            _ => return Err(GONE.to_owned()),
        }
    }
}

/// Sends it to the room that takes it, until that says it has all of it.
fn deliver(taker: &OwnedFd, memory: &File) -> Result<(), String> {
    const LOST: &str = "the other room has not taken all of it; next: send it again";
    let lost = |_| LOST.to_owned();
    let (mut at, mut data) = (0_u64, vec![0; CHUNK]);
    loop {
        let count = memory.read_at(&mut data, at).map_err(|_| LOST)?;
        let part = data.get(..count).unwrap_or_default();
        let tag = if part.is_empty() { END } else { DATA };
        send(taker.as_raw_fd(), &[&[tag], part].concat(), WAIT).map_err(lost)?;
        at = at.saturating_add(count as u64);
        if tag == END {
            break;
        }
    }
    let mut answer = [0];
    match packet::receive(taker, &mut answer, WAIT) {
        Ok((1.., _)) if answer == [DONE] => Ok(()),
        _ => Err(LOST.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bay0_persona::packet::pair;
    use proptest::prelude::*;
    use std::thread::{self, JoinHandle};

    /// The process without its walls: what it ends with; our ends of its connections with the giving room and with PID 1.
    #[allow(clippy::disallowed_methods)]
    fn courier(most: u64) -> (JoinHandle<Result<(), String>>, OwnedFd, OwnedFd) {
        let ((giver, theirs), (control, other)) = (pair().unwrap(), pair().unwrap());
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let memory = File::from(memfd_create(c"file", flags).unwrap());
        let work = thread::spawn(move || carry(&theirs, &other, memory, most));
        (work, giver, control)
    }

    fn heard(end: &OwnedFd) -> Vec<u8> {
        let mut packet = vec![0; PACKET];
        let (length, _) = packet::receive(end, &mut packet, WAIT).unwrap_or_default();
        packet.truncate(length);
        packet
    }

    fn say(end: &OwnedFd, tag: u8, data: &[u8]) {
        send(end.as_raw_fd(), &[&[tag], data].concat(), WAIT).unwrap();
    }

    #[test]
    fn a03_a_file_is_read_before_the_answer_and_delivered_after_it() {
        let (work, giver, control) = courier(100_000);
        let file = vec![b'x'; 70_000];
        say(&giver, SIZE, b"70000");
        for piece in file.chunks(CHUNK) {
            say(&giver, DATA, piece);
        }
        say(&giver, END, b"");
        let Some(Told::Read(content)) = Told::decode(&heard(&control)) else {
            panic!("not read");
        };
        assert_eq!((content.size, content.kind), (70_000, Kind::Text));
        assert_eq!(content.digest, hex(&bay0_state::sha256(&[&file])));
        let (taker, theirs) = pair().unwrap();
        allow(&control, &theirs).unwrap();
        let mut got: Vec<u8> = Vec::new();
        loop {
            let packet = heard(&taker);
            let (tag, data) = packet.split_first().unwrap();
            got.extend(data);
            if *tag == END {
                break;
            }
        }
        assert!(got == file);
        say(&taker, DONE, b"");
        assert_eq!(work.join().unwrap(), Ok(()));
    }

    #[test]
    fn a03_what_is_too_large_or_comes_to_no_end_is_not_read() {
        for tell in [true, false] {
            let (work, giver, _control) = courier(3);
            match tell {
                true => say(&giver, SIZE, b"4"),
                false => say(&giver, DATA, b"four"),
            }
            let why = work.join().unwrap().unwrap_err();
            assert!(why.starts_with("over 3 bytes"), "{why}");
        }
        for end in [None, Some(b'?'), Some(DONE)] {
            let (work, giver, _control) = courier(3);
            say(&giver, DATA, b"abc");
            end.into_iter().for_each(|tag| say(&giver, tag, b""));
            drop(giver);
            assert_eq!(work.join().unwrap(), Err(GONE.to_owned()));
        }
    }

    #[test]
    fn a03_without_a_yes_or_with_a_room_that_takes_nothing_there_is_no_delivery() {
        let (work, giver, control) = courier(3);
        say(&giver, END, b"");
        heard(&control);
        drop(control);
        assert!(work.join().unwrap().is_err());
        for confirms in [false, true] {
            let (work, giver, control) = courier(3);
            say(&giver, END, b"");
            heard(&control);
            let (taker, theirs) = pair().unwrap();
            allow(&control, &theirs).unwrap();
            drop(theirs);
            assert_eq!(heard(&taker), [END]);
            if confirms {
                say(&taker, b'n', b"full");
            }
            drop(taker);
            assert!(work.join().unwrap().is_err());
        }
    }

    proptest! {
        #[test]
        fn a16_whatever_the_courier_says_is_one_of_three_words(packet in any::<Vec<u8>>(), size: u64, at in 0_usize..9) {
            if let Some(told) = Told::decode(&packet) {
                prop_assert_eq!(told.encode().into_bytes(), packet.clone());
            }
            let digest = hex(&bay0_state::sha256(&[&packet]));
            let told = Told::Read(Content { size, kind: Kind::ALL[at], digest });
            prop_assert_eq!(Told::decode(told.encode().as_bytes()), Some(told));
        }
    }
}
