//! The stick's bytes, and where on it a file system is.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use bay0_persona::gpt::{self, Found};

use crate::trouble::Trouble;

/// Bytes that are read at once, where less is asked for: file systems are read in pieces of 1 to 32 bytes.
const WINDOW: u64 = 4096;
/// Reads for which there may be no progress: a folder has 65536 entries at most, each of which takes 14. What takes more leads in a circle.
const READS: u64 = 1 << 21;
/// Where the four entries of a master boot record begin, and the bytes of each.
const ENTRIES: usize = 446;
const ENTRY: usize = 16;
/// Bytes of a sector that an MBR may count in.
const SECTORS: [u64; 2] = [512, 4096];

/// A part of the stick: a file system's.
pub struct Region {
    file: Rc<File>,
    start: u64,
    bytes: u64,
    at: u64,
    /// What was read last, and where that begins.
    window: Vec<u8>,
    window_at: u64,
    left: Rc<Cell<u64>>,
}

/// How many reads there may be until there is progress.
#[derive(Clone)]
pub struct Patience(Rc<Cell<u64>>);

impl Patience {
    /// There was some. What follows may take so many reads more than a folder does.
    pub fn renew(&self, more: u64) {
        self.0.set(READS.saturating_add(more));
    }
}

impl Region {
    /// All of a file, or stick.
    ///
    /// # Errors
    /// It does not tell its size.
    pub fn whole(file: Rc<File>) -> io::Result<Self> {
        let bytes = (&*file).seek(SeekFrom::End(0))?;
        Ok(Self {
            file,
            start: 0,
            bytes,
            at: 0,
            window: Vec::new(),
            window_at: 0,
            left: Rc::new(Cell::new(READS)),
        })
    }

    /// A part of it, as far as it has that.
    fn part(&self, start: u64, bytes: u64) -> Option<Self> {
        let most = self.bytes.checked_sub(start)?;
        Some(Self {
            file: Rc::clone(&self.file),
            start,
            bytes: bytes.min(most),
            at: 0,
            window: Vec::new(),
            window_at: 0,
            left: Rc::clone(&self.left),
        })
    }

    /// Bytes of it.
    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// How long it is read without progress.
    pub fn patience(&self) -> Patience {
        Patience(Rc::clone(&self.left))
    }

    /// Fills the buffer from there on.
    ///
    /// # Errors
    /// It ends before, or cannot be read.
    pub fn read_at(&mut self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.seek(SeekFrom::Start(at))?;
        self.read_exact(buffer)
    }

    /// Its first 512 bytes.
    fn front(&mut self) -> io::Result<[u8; 512]> {
        let mut front = [0; 512];
        self.read_at(&mut front, 0).map(|()| front)
    }
}

impl Read for Region {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.ok_or(ErrorKind::TimedOut)?);
        let rest = self.bytes.saturating_sub(self.at);
        let most = buffer
            .len()
            .min(usize::try_from(rest).unwrap_or(usize::MAX));
        let Some(buffer) = buffer.get_mut(..most).filter(|it| !it.is_empty()) else {
            return Ok(0);
        };
        let place = self.start.saturating_add(self.at);
        let count = if buffer.len() as u64 >= WINDOW {
            self.file.read_at(buffer, place)?
        } else {
            let is_in = |it: &u64| *it < self.window.len() as u64;
            let mut skip = self.at.checked_sub(self.window_at).filter(is_in);
            if skip.is_none() {
                let within = self.at % WINDOW;
                self.window_at = self.at.saturating_sub(within);
                let from = place.saturating_sub(within);
                self.window.resize(WINDOW as usize, 0);
                let read = self.file.read_at(&mut self.window, from);
                self.window.truncate(*read.as_ref().unwrap_or(&0));
                read?;
                skip = Some(within);
            }
            let skip = usize::try_from(skip.unwrap_or(0)).unwrap_or(usize::MAX);
            let there = self.window.get(skip..).unwrap_or_default();
            let count = there.len().min(buffer.len());
            for (to, from) in buffer.iter_mut().zip(there) {
                *to = *from;
            }
            count
        };
        self.at = self.at.saturating_add(count as u64);
        Ok(count)
    }
}

impl Write for Region {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let rest = self.bytes.saturating_sub(self.at);
        let most = data.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
        let data = data.get(..most).unwrap_or_default();
        if data.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.window.clear();
        let count = self
            .file
            .write_at(data, self.start.saturating_add(self.at))?;
        self.at = self.at.saturating_add(count as u64);
        Ok(count)
    }

    /// Whoever writes makes sure of all of it at the end: `fsync(2)` here would be one for each file system's table.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Region {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.bytes.checked_add_signed(by),
        };
        self.at = at.ok_or(ErrorKind::UnexpectedEof)?;
        Ok(self.at)
    }
}

/// What a first sector is that of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// FAT12, FAT16 or FAT32.
    Fat,
    /// exFAT.
    Exfat,
}

impl Kind {
    fn of(front: &[u8; 512]) -> Option<Self> {
        let at = |place: usize| front.get(place).copied().unwrap_or(0);
        if front.get(3..11) == Some(b"EXFAT   ") {
            return Some(Self::Exfat);
        }
        let sector = u16::from_le_bytes([at(11), at(12)]);
        let is = matches!(at(0), 0xeb | 0xe9)
            && matches!(sector, 512 | 1024 | 2048 | 4096)
            && at(13).is_power_of_two()
            && matches!(at(16), 1 | 2)
            && (at(14), at(15)) != (0, 0);
        is.then_some(Self::Fat)
    }
}

/// The file system on a stick: all of it, or the first partition with one that can be read.
///
/// # Errors
/// There is none, or the stick does not answer.
pub fn find(stick: Rc<File>) -> Result<(Kind, Region), Trouble> {
    let mut whole = Region::whole(stick)?;
    if whole.bytes < 512 {
        return Err(Trouble::Foreign);
    }
    let front = whole.front()?;
    if let Some(kind) = Kind::of(&front) {
        return Ok((kind, whole));
    }
    let places = match gpt::read(&whole.file, 512).map_err(Trouble::Stick)? {
        Found::Table(parts, _) => parts.iter().map(|it| (it.start, it.bytes)).collect(),
        _ => partitions(&front),
    };
    for (start, bytes) in places {
        let part = whole.part(start, bytes).filter(|it| it.bytes >= 512);
        let Some(mut part) = part else {
            continue;
        };
        if let Some(kind) = Kind::of(&part.front()?) {
            return Ok((kind, part));
        }
    }
    Err(Trouble::Foreign)
}

/// The four partitions of a master boot record, for either size of sectors. One that is in another one is none.
fn partitions(front: &[u8; 512]) -> Vec<(u64, u64)> {
    let mut places = Vec::new();
    if front.get(510..) != Some(&[0x55, 0xaa]) {
        return places;
    }
    let table = front.get(ENTRIES..510).unwrap_or_default();
    for sector in SECTORS {
        for entry in table.chunks_exact(ENTRY) {
            let number = |at: usize| {
                let bytes = entry.get(at..)?.first_chunk::<4>()?;
                Some(u64::from(u32::from_le_bytes(*bytes)).saturating_mul(sector))
            };
            let place = number(8).zip(number(12));
            places.extend(place.filter(|it| it.0 > 0 && it.1 > 0));
        }
    }
    places
}
