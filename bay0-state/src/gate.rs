//! The gate (T02, C07): a process for each room, which keeps what the room sends, and nothing else's.
//!
//! The keeper starts it at the room's first wish and hands every wish on, with one end of a connection of packets whose other end the
//! room has (decision 9). What is kept goes from the room to this process and to the disk: neither PID 1 nor the keeper sees it.
//!
//! ```text
//! packet = tag *OCTET                      ; at most 65536 bytes
//! tag    = "d" data / "s" decimal: bytes of data that come / "e" that was all / "o" done / "n" not done: "reason; next: action"
//! ```
//!
//! | wish | the room sends | is sent |
//! | --- | --- | --- |
//! | `save` | `s` if it is known, `d`…, `e` | `o SIZE` once the disk has all of it; a room that hangs up before has saved nothing |
//! | `load`, `list` | | `d`…, `o` |
//! | `drop`, `snapshot` | | `o TEXT` |
//! | `append` | `d` for each record, as many as it likes | `o NUMBER` for each, once the disk has it |
//! | `read` | | `d` with `NUMBER TAB RECORD`…, `o` |
//!
//! All records that have come by one turn share a flush. One room's wishes wait for each other, and for nobody else's.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use bay0_persona::landlock::stay_in;
use bay0_persona::{Wish, packet};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{MsgFlags, Shutdown, shutdown};

use crate::shelf::{CHUNK, Limits, Sending, Shelf};
use crate::wire::Request;

/// Longest packet.
pub const PACKET: usize = 65_536;
/// Wishes of one room that are being served at once.
pub const CHANNELS: usize = 64;
/// Packets of one channel taken or sent before the others have their turn.
const PER_TURN: usize = 16;
/// What the kernel reports with the keeper's own packets.
const KEEPER: u64 = 0;
const UNADVISED: &str = "; next: try again, then ask the operator";
const NOW: MsgFlags = MsgFlags::MSG_DONTWAIT;

/// Says data of a transfer.
pub const DATA: u8 = b'd';
/// Says how many bytes of data come, before the first, if that is known: what does not fit is refused before it is sent.
pub const SIZE: u8 = b's';
/// Says that what is saved is all there.
pub const END: u8 = b'e';
/// Says that it is done.
pub const DONE: u8 = b'o';
/// Says what comes to a room that takes a file: `FROM NAME SIZE KIND SHA256`.
pub const HEAD: u8 = b'h';
/// Says why it is not.
pub const NOT: u8 = b'n';
/// A person is asked first.
pub const ASKED: u8 = b'?';

/// A decimal; the greatest there is if it is none.
fn number(digits: &[u8]) -> u64 {
    let digits = str::from_utf8(digits).ok();
    digits.and_then(|it| it.parse().ok()).unwrap_or(u64::MAX)
}

/// What is sent as one: a tag, and what follows it.
type Piece = (u8, Vec<u8>);
/// Packets to be sent, the last of which is [`DONE`] or [`NOT`].
type Pieces = Box<dyn Iterator<Item = Piece>>;

/// What is being done for a room at one end of a connection.
enum Work {
    Save(Sending),
    Append,
    /// With the packet that could not be sent yet.
    Tell(Pieces, Option<Piece>),
    /// All is said. What the room still sends is read and dropped, until it hangs up: closed before, the kernel would take the answer
    /// away from it (`unix(7)`, ECONNRESET).
    Rest,
}

impl Work {
    /// What it waits for.
    fn interest(&self) -> EpollFlags {
        match self {
            Self::Tell(..) => EpollFlags::EPOLLOUT,
            _ => EpollFlags::EPOLLIN,
        }
    }
}

/// What is to be done next at one end.
enum Next {
    Again(Work),
    /// When the kernel says that it can go on.
    Wait(Work),
    End,
}

type Records = Vec<(u64, Vec<u8>)>;

/// The process.
struct Gate<'a> {
    dir: &'a Path,
    epoll: Epoll,
    control: OwnedFd,
    /// Whether it reaches nothing but its own place; tried again at the next wish.
    walls: Result<(), String>,
    /// Opened at the first wish, and again after it failed.
    shelf: Option<Shelf>,
    channels: BTreeMap<u64, (OwnedFd, Work)>,
    newest: u64,
    buffer: Vec<u8>,
}

/// The process from its first instruction to its exit code. It ends when the keeper does.
pub fn run(control: OwnedFd, dir: &Path) -> i32 {
    let _ = nix::sys::prctl::set_name(c"bay0-gate");
    let served = serve(control, dir);
    i32::from(served.is_err())
}

/// Makes the room's place and gives up everything else: that it keeps to it is the kernel's word.
fn wall(dir: &Path) -> Result<(), String> {
    Shelf::make(dir)?;
    stay_in(dir).map_err(|why| {
        let errno = Errno::try_from(why).unwrap_or(Errno::EIO);
        format!(
            "landlock {}: {errno:?}; next: boot a kernel with Landlock, Linux 6.12 or newer",
            dir.display()
        )
    })
}

fn serve(control: OwnedFd, dir: &Path) -> nix::Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&control, EpollEvent::new(EpollFlags::EPOLLIN, KEEPER))?;
    let mut gate = Gate {
        dir,
        epoll,
        control,
        walls: wall(dir),
        shelf: None,
        channels: BTreeMap::new(),
        newest: KEEPER,
        buffer: vec![0; PACKET],
    };
    while gate.turn()? {}
    Ok(())
}

/// The one packet that says what became of a wish.
fn outcome(done: Result<String, String>) -> Piece {
    match done {
        Ok(text) => (DONE, text.into()),
        Err(text) if text.contains("; next: ") => (NOT, text.into()),
        Err(text) => (NOT, (text + UNADVISED).into()),
    }
}

/// Data until one is an error or all is said.
fn telling(data: impl Iterator<Item = Result<Vec<u8>, String>> + 'static) -> Work {
    let mut ended = false;
    let packets = data.map(Some).chain([None]).map_while(move |piece| {
        let packet = match piece {
            _ if ended => return None,
            Some(Ok(data)) => (DATA, data),
            Some(Err(text)) => outcome(Err(text)),
            None => (DONE, vec![]),
        };
        ended = packet.0 != DATA;
        Some(packet)
    });
    Work::Tell(Box::new(packets), None)
}

/// Sends the next packet, once the room may read as much.
fn tell(
    socket: &OwnedFd,
    mut packets: Pieces,
    held: Option<Piece>,
    shelf: Option<&mut Shelf>,
) -> Next {
    let counted = held.is_some();
    let Some((tag, data)) = held.or_else(|| packets.next()) else {
        let _ = shutdown(socket.as_raw_fd(), Shutdown::Write);
        return Next::Again(Work::Rest);
    };
    if let Some(shelf) = shelf.filter(|_| !counted) {
        shelf.wait(data.len() as u64);
    }
    match packet::send(socket, &[&[tag], &data], None, NOW) {
        Ok(()) => Next::Again(Work::Tell(packets, None)),
        Err(Errno::EAGAIN) => Next::Wait(Work::Tell(packets, Some((tag, data)))),
        Err(_) => Next::End,
    }
}

fn once(packet: Piece) -> Work {
    Work::Tell(Box::new([packet].into_iter()), None)
}

impl Gate<'_> {
    /// Serves whoever is ready; false once the keeper is gone.
    fn turn(&mut self) -> nix::Result<bool> {
        let mut events = [EpollEvent::empty(); CHANNELS];
        let count = self.epoll.wait(&mut events, EpollTimeout::NONE);
        let mut records = Vec::new();
        for event in events.iter().take(count.unwrap_or(0)) {
            let id = event.data();
            if id == KEEPER {
                if !self.admit()? {
                    return Ok(false);
                }
            } else if let Some((socket, work)) = self.channels.remove(&id) {
                self.serve(id, socket, work, &mut records);
            }
        }
        self.append(records);
        Ok(true)
    }

    /// Takes a wish from the keeper, with the room's connection; false if the keeper is gone.
    fn admit(&mut self) -> nix::Result<bool> {
        let (length, socket) = packet::receive(&self.control, &mut self.buffer, NOW)?;
        let packet = self.buffer.get(..length).unwrap_or_default();
        let request = Request::decode(packet);
        let (Some(socket), Some(Request::Gate { wish, limits, .. })) = (socket, request) else {
            return Ok(length > 0);
        };
        if self.walls.is_err() {
            self.walls = wall(self.dir);
        }
        let parse = |()| Wish::parse(&wish).map_err(|why| why.to_string());
        let wish = self.walls.clone().and_then(parse);
        let work = wish.and_then(|wish| self.begin(limits, &wish));
        let work = work.unwrap_or_else(|text| once(outcome(Err(text))));
        self.newest = self.newest.saturating_add(1);
        let event = EpollEvent::new(work.interest(), self.newest);
        self.epoll.add(&socket, event)?;
        self.channels.insert(self.newest, (socket, work));
        Ok(true)
    }

    fn begin(&mut self, limits: Limits, wish: &Wish) -> Result<Work, String> {
        if self.channels.len() >= CHANNELS {
            return Err(format!("{CHANNELS} are being served; next: wait for one"));
        }
        let shelf = match self.shelf.as_mut() {
            Some(shelf) => shelf,
            None => self.shelf.insert(Shelf::open(self.dir, limits)?),
        };
        shelf.limit(limits);
        Ok(match wish.word {
            "save" => Work::Save(shelf.begin(&wish.name)?),
            "append" => Work::Append,
            "load" => telling(shelf.load(wish)?),
            "read" => telling(shelf.read(wish).map(|read| {
                let (seq, record) = read?;
                Ok([format!("{seq}\t").as_bytes(), &record].concat())
            })),
            "list" => {
                let lines = shelf.list(wish)?.into_bytes();
                let pieces: Vec<_> = lines.chunks(CHUNK).map(|it| Ok(it.to_vec())).collect();
                telling(pieces.into_iter())
            }
            "drop" => once(outcome(shelf.drop(wish))),
            _ => once(outcome(shelf.snapshot())),
        })
    }

    /// Goes on with a wish, for as long as it can and may.
    fn serve(&mut self, id: u64, socket: OwnedFd, mut work: Work, records: &mut Records) {
        for _ in 0..PER_TURN {
            let was = work.interest();
            work = match self.step(&socket, work) {
                (Next::Again(work), record) => {
                    records.extend(record.map(|record| (id, record)));
                    work
                }
                (Next::Wait(work), _) => {
                    self.channels.insert(id, (socket, work));
                    return;
                }
                (Next::End, _) => return,
            };
            if work.interest() != was {
                let mut event = EpollEvent::new(work.interest(), id);
                let _ = self.epoll.modify(&socket, &mut event);
            }
        }
        self.channels.insert(id, (socket, work));
    }

    /// One packet, and what it was if it is a record.
    fn step(&mut self, socket: &OwnedFd, work: Work) -> (Next, Option<Vec<u8>>) {
        if let Work::Tell(packets, held) = work {
            let next = tell(socket, packets, held, self.shelf.as_mut());
            return (next, None);
        }
        let length = match packet::receive(socket, &mut self.buffer, NOW) {
            Err(Errno::EAGAIN) => return (Next::Wait(work), None),
            received => received.map_or(0, |(length, _)| length),
        };
        if let (Work::Rest, 1..) = (&work, length) {
            return (Next::Again(work), None);
        }
        let Some(shelf) = self.shelf.as_mut() else {
            return (Next::End, None);
        };
        let packet = self.buffer.get(..length).and_then(<[u8]>::split_first);
        let done = match (work, packet) {
            (Work::Append, Some((&DATA, data))) => {
                return (Next::Again(Work::Append), Some(data.to_vec()));
            }
            (Work::Save(mut sending), Some((tag @ &(DATA | SIZE), data))) => {
                let taken = match *tag {
                    DATA => shelf.put(&mut sending, data),
                    _ => shelf.expect(&sending, number(data)),
                };
                let Err(text) = taken else {
                    return (Next::Again(Work::Save(sending)), None);
                };
                shelf.abort(sending);
                Err(text)
            }
            (Work::Save(sending), Some((&END, _))) => {
                shelf.finish(sending).map(|size| format!("{size}\n"))
            }
            (Work::Save(sending), _) => {
                shelf.abort(sending);
                return (Next::End, None);
            }
            _ => return (Next::End, None),
        };
        if done.is_err() {
            self.recount();
        }
        (Next::Again(once(outcome(done))), None)
    }

    /// What was begun and is not there counts no more. What cannot be counted is opened again at the next wish.
    fn recount(&mut self) {
        if let Some(Err(_)) = self.shelf.as_mut().map(Shelf::count) {
            self.shelf = None;
        }
    }

    /// Appends all records that have come, and tells each owner the number of his, or why there is none.
    fn append(&mut self, records: Records) {
        if records.is_empty() {
            return;
        }
        let (owners, records): (Vec<_>, Vec<_>) = records.into_iter().unzip();
        let none = || Err("what it keeps cannot be read; next: try again".to_owned());
        let append = |shelf: &mut Shelf| shelf.append(&records);
        let done = self.shelf.as_mut().map_or_else(none, append);
        if done.is_err() {
            self.recount();
        }
        let first = done.map(|last| last.saturating_sub(owners.len() as u64));
        for (nth, owner) in (1_u64..).zip(owners) {
            let seq = first.clone().map(|first| first.saturating_add(nth));
            let (tag, text) = outcome(seq.map(|seq| format!("{seq}\n")));
            let socket = self.channels.get(&owner);
            let sent = socket.map(|it| packet::send(&it.0, &[&[tag], &text], None, NOW));
            if !matches!(sent, Some(Ok(()))) {
                // Who does not listen is not served.
                self.channels.remove(&owner);
            }
        }
    }
}

#[cfg(test)]
mod tests;
