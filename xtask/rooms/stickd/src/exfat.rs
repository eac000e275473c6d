//! exFAT, for reading (Microsoft's exFAT specification 1.00). Nothing of it is believed: each number is held against the size of the
//! volume, and no chain is followed further than the volume has clusters.

use std::io;

use crate::disk::{Patience, Region};
use crate::name::shown;
use crate::trouble::Trouble;
use crate::volume::{Entry, Listing, MOST, Sink, only};

/// Bytes of an entry (6.2).
const ENTRY: usize = 32;
/// Most bytes of a folder (7.4.9).
const FOLDER: u64 = 256 << 20;
/// Types of entries (7.4, 7.6, 7.7): a file, where it is, and 15 units of its name. The bit of those that are in use, and of those that
/// follow another.
const FILE: u8 = 0x85;
const STREAM: u8 = 0xc0;
const NAME: u8 = 0xc1;
const IN_USE: u8 = 0x80;
const SECONDARY: u8 = 0x40;
/// The attribute of a folder (7.4.4), and what a file has no chain by: it lies in one piece (6.3.4.2).
const IS_FOLDER: u16 = 0x10;
const ONE_PIECE: u8 = 2;
/// Clusters are counted from here on (5.1).
const FIRST: u32 = 2;
/// The end of a chain (4.1).
const END: u32 = 0xffff_ffff;
/// Bytes that are read at once.
const PIECE: u64 = 65_536;
const NOWHERE: Trouble = Trouble::Damaged("a file begins nowhere");

/// A file system.
pub struct Exfat {
    region: Region,
    patience: Patience,
    /// First byte of the table and of the clusters.
    table: u64,
    heap: u64,
    /// Bytes of a cluster.
    cluster: u64,
    count: u32,
    root: u32,
}

/// Where a file or folder is.
#[derive(Clone, Copy, Debug)]
struct Place {
    first: u32,
    is_one_piece: bool,
    /// Bytes; of the root nobody knows.
    bytes: Option<u64>,
    /// Bytes that were ever written: the others are zeros (7.6.5).
    valid: u64,
}

/// A file or folder, and where it is.
struct Found {
    entry: Entry,
    place: Place,
}

impl Exfat {
    /// Reads what it says of itself (3.1).
    ///
    /// # Errors
    /// That makes no sense.
    pub fn open(mut region: Region) -> Result<Self, Trouble> {
        let mut front = [0; 512];
        region.read_at(&mut front, 0)?;
        let [sector, more] = [108, 109].map(|at| front.get(at).copied().unwrap_or(0));
        let size = u32::from(sector).saturating_add(more.into());
        if !(9..=12).contains(&sector) || size > 25 {
            return Err(Trouble::Damaged("its clusters have no size"));
        }
        let number = |at| number(&front, at);
        let bytes = |sectors: u32| u64::from(sectors) << sector;
        // Of two tables the other one, if it says so.
        let flags = front.get(106).copied().unwrap_or(0);
        let second = front.get(110) == Some(&2) && flags & 1 == 1;
        let skip = if second { bytes(number(84)) } else { 0 };
        let it = Self {
            patience: region.patience(),
            table: bytes(number(80)).saturating_add(skip),
            heap: bytes(number(88)),
            cluster: 1 << size,
            count: number(92),
            root: number(96),
            region,
        };
        let clusters = it.cluster.saturating_mul(it.count.into());
        let tables = u64::from(it.count).saturating_add(2).saturating_mul(4);
        let end = it.region.len();
        let fits =
            it.heap.saturating_add(clusters) <= end && it.table.saturating_add(tables) <= end;
        match fits && it.has(it.root) {
            true => Ok(it),
            false => Err(Trouble::Damaged("it is larger than where it is")),
        }
    }

    fn has(&self, cluster: u32) -> bool {
        let at = cluster.checked_sub(FIRST);
        at.is_some_and(|at| at < self.count)
    }

    /// The cluster behind one; none at the end.
    fn next(&mut self, cluster: u32) -> Result<Option<u32>, Trouble> {
        let mut entry = [0; 4];
        let at = self
            .table
            .saturating_add(u64::from(cluster).saturating_mul(4));
        self.region.read_at(&mut entry, at)?;
        match u32::from_le_bytes(entry) {
            END => Ok(None),
            next if self.has(next) => Ok(Some(next)),
            _ => Err(Trouble::Damaged("a chain of clusters leads nowhere")),
        }
    }

    /// Passes on what is in a place, in pieces and with their clusters' ends; false ends it.
    fn each(
        &mut self,
        place: Place,
        take: &mut dyn FnMut(&[u8]) -> Result<bool, Trouble>,
    ) -> Result<(), Trouble> {
        let (mut left, mut done) = (place.bytes.unwrap_or(FOLDER), 0_u64);
        let (mut cluster, mut steps) = (place.first, 0_u32);
        let mut piece = vec![0; usize::try_from(self.cluster.min(PIECE)).unwrap_or(ENTRY)];
        while left > 0 {
            if !self.has(cluster) {
                return Err(NOWHERE);
            }
            let at = u64::from(cluster.saturating_sub(FIRST)).saturating_mul(self.cluster);
            let at = self.heap.saturating_add(at);
            let mut within = 0;
            while within < self.cluster && left > 0 {
                let most = (piece.len() as u64).min(left);
                let most = usize::try_from(most).unwrap_or(ENTRY);
                let data = piece.get_mut(..most).unwrap_or_default();
                self.region.read_at(data, at.saturating_add(within))?;
                let written = usize::try_from(place.valid.saturating_sub(done));
                let never = data.get_mut(written.unwrap_or(usize::MAX)..);
                never.unwrap_or_default().fill(0);
                if !take(data)? {
                    return Ok(());
                }
                let more = data.len() as u64;
                (within, left) = (within.saturating_add(more), left.saturating_sub(more));
                done = done.saturating_add(more);
            }
            if left == 0 {
                break;
            }
            steps = steps.saturating_add(1);
            if steps > self.count {
                return Err(Trouble::Damaged("a chain of clusters leads in a circle"));
            }
            let next = match place.is_one_piece {
                true => cluster.checked_add(1),
                false => self.next(cluster)?,
            };
            cluster = match (next, place.bytes) {
                (Some(next), _) => next,
                (None, None) => break,
                (None, Some(_)) => return Err(Trouble::Damaged("a file ends before its size")),
            };
        }
        Ok(())
    }

    /// What is in a folder, and how many entries make no sense.
    fn folder(&mut self, place: Place) -> Result<(Vec<Found>, usize), Trouble> {
        let (mut found, mut damaged) = (Vec::new(), 0_usize);
        let mut set: Vec<u8> = Vec::new();
        let mut take = |data: &[u8]| {
            for entry in data.chunks_exact(ENTRY) {
                let kind = entry.first().copied().unwrap_or(0);
                let follows = kind & IN_USE != 0 && kind & SECONDARY != 0;
                if !set.is_empty() && !follows {
                    damaged = damaged.saturating_add(1);
                    set.clear();
                }
                if kind == 0 {
                    return Ok(false);
                }
                // A file that was deleted, what follows none, or what is no file: the table of what is free, a label.
                if kind != FILE && set.is_empty() {
                    continue;
                }
                set.extend(entry);
                let all = usize::from(set.get(1).copied().unwrap_or(0)).saturating_add(1);
                if set.len() < all.saturating_mul(ENTRY) {
                    continue;
                }
                match decode(&set) {
                    Some(it) => found.push(it),
                    None => damaged = damaged.saturating_add(1),
                }
                set.clear();
                if found.len().saturating_add(damaged) > MOST {
                    return Err(Trouble::Damaged("a folder has no end"));
                }
            }
            Ok(true)
        };
        self.each(place, &mut take)?;
        if !set.is_empty() {
            damaged = damaged.saturating_add(1);
        }
        Ok((found, damaged))
    }

    /// Where a folder is.
    fn find(&mut self, path: &[String]) -> Result<Place, Trouble> {
        let mut place = Place {
            first: self.root,
            is_one_piece: false,
            bytes: None,
            valid: u64::MAX,
        };
        for name in path {
            self.patience.renew(0);
            let found = only(self.folder(place)?.0, name, |it| &it.entry.name)?;
            if !found.entry.is_folder {
                return Err(Trouble::Kind(shown(name), "no folder"));
            }
            place = found.place;
        }
        self.patience.renew(0);
        Ok(place)
    }

    /// What is in a folder.
    ///
    /// # Errors
    /// There is none, or it makes no sense.
    pub fn list(&mut self, path: &[String]) -> Result<Listing, Trouble> {
        let place = self.find(path)?;
        let (found, damaged) = self.folder(place)?;
        let entries = found.into_iter().map(|it| it.entry).collect();
        Ok(Listing { entries, damaged })
    }

    /// Passes a file on.
    ///
    /// # Errors
    /// It ends before it should.
    pub fn read(&mut self, folder: &[String], name: &str, sink: Sink<'_>) -> Result<(), Trouble> {
        let place = self.find(folder)?;
        let found = only(self.folder(place)?.0, name, |it| &it.entry.name)?;
        if found.entry.is_folder {
            return Err(Trouble::Kind(shown(name), "a folder"));
        }
        if found.entry.size > self.cluster.saturating_mul(self.count.into()) {
            return Err(Trouble::Damaged("a file is larger than all of it"));
        }
        let patience = self.patience.clone();
        self.each(found.place, &mut |data| {
            patience.renew(0);
            sink(data)
        })
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>);
    four.map_or(0, |it| u32::from_le_bytes(*it))
}

/// A file from its entries: itself, where it is, its name; none if they make no sense.
fn decode(set: &[u8]) -> Option<Found> {
    let (file, rest) = set.split_first_chunk::<ENTRY>()?;
    let (stream, names) = rest.split_first_chunk::<ENTRY>()?;
    let sum = u16::from_le_bytes([*file.get(2)?, *file.get(3)?]);
    if *stream.first()? != STREAM || sum != checksum(set) {
        return None;
    }
    let attributes = u16::from_le_bytes([*file.get(4)?, *file.get(5)?]);
    let long = |at: usize| Some(u64::from_le_bytes(*stream.get(at..)?.first_chunk::<8>()?));
    let (valid, bytes, length) = (long(8)?, long(24)?, usize::from(*stream.get(3)?));
    let names = names
        .chunks_exact(ENTRY)
        .filter(|it| it.first() == Some(&NAME));
    let units = names.flat_map(|it| it.get(2..).unwrap_or_default().chunks_exact(2));
    let units = units.filter_map(|it| Some(u16::from_le_bytes(*it.first_chunk::<2>()?)));
    let units: Vec<u16> = units.take(length).collect();
    let is_folder = attributes & IS_FOLDER != 0;
    // A name of no letter, or one that its entries do not have, or with what separates names.
    let name = String::from_utf16(&units).ok()?;
    if units.len() < length || name.is_empty() || name.contains('/') || valid > bytes {
        return None;
    }
    Some(Found {
        entry: Entry {
            name,
            is_folder,
            size: if is_folder { 0 } else { bytes },
        },
        place: Place {
            first: number(stream, 20),
            is_one_piece: *stream.get(1)? & ONE_PIECE != 0,
            bytes: Some(if is_folder { bytes.min(FOLDER) } else { bytes }),
            valid,
        },
    })
}

/// Of all entries of a file, but for the two bytes where it stands (6.3.3).
fn checksum(set: &[u8]) -> u16 {
    let all = set
        .iter()
        .enumerate()
        .filter(|(at, _)| !matches!(at, 2 | 3));
    all.fold(0_u16, |sum, (_, byte)| {
        sum.rotate_right(1).wrapping_add(u16::from(*byte))
    })
}

impl From<io::ErrorKind> for Trouble {
    fn from(kind: io::ErrorKind) -> Self {
        io::Error::from(kind).into()
    }
}
