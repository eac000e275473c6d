//! A disk's partition table (UEFI 2.10, 5.3): both of its copies, each with its checksums.
//!
//! The kernel looks at the second copy only if its command line has `gpt`, and then on every disk (`block/partitions/efi.c`): a file that
//! a room has kept could end a disk without partitions and be taken for one. Here the second copy counts only where the first sectors
//! say that there is a table. The kernel does not tell the GUIDs of partitions either, which is how a disk is known (decision 21).
//!
//! | first sectors | first copy | second copy | |
//! | --- | --- | --- | --- |
//! | no trace of a table | | | no table |
//! | whatever | whole | | the first is used; damage elsewhere is named |
//! | a trace | damaged | whole | the second is used, and that is named |
//! | a trace | damaged | damaged | broken: nothing on this disk is known |

use std::fmt;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// A GUID, as it stands on the disk.
pub type Guid = [u8; 16];

/// What a header begins with.
const SIGNATURE: &[u8] = b"EFI PART";
/// Bytes of a header that have a meaning, and of an entry.
const HEADER: usize = 92;
const ENTRY: usize = 128;
/// Bytes of the widest entry that is read.
const WIDEST: usize = 4096;
/// Most entries that are read: what tools make; the kernel takes no more than 255.
const ENTRIES: u32 = 256;
/// Type of a protective MBR's entry, where its four entries begin, and the bytes of each.
const PROTECTIVE: u8 = 0xee;
const MBR_ENTRIES: usize = 446;
const MBR_ENTRY: usize = 16;
/// Sector sizes that a table may be made for, beside the disk's own.
const SECTORS: [u64; 2] = [512, 4096];

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its place in the table, from 1.
    pub number: u32,
    /// Its own GUID.
    pub guid: Guid,
    /// First byte on the disk.
    pub start: u64,
    /// How many.
    pub bytes: u64,
    /// Its name; what is not printable ASCII is `?`.
    pub name: String,
}

/// What does not keep a table from being read, and is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The protective MBR.
    Front,
    /// The first copy.
    First,
    /// The second copy.
    Second,
    /// It is made for sectors of this many bytes, which are not the disk's.
    Sectors(u64),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Front => f.write_str("sector 0, which protects its partition table, is damaged"),
            Damage::First => f.write_str(
                "the first copy of its partition table, sectors 1 to 33, is damaged; the second, at its end, is used",
            ),
            Damage::Second => {
                f.write_str("the second copy of its partition table, at its end, is damaged; the first is used")
            }
            Damage::Sectors(bytes) => {
                write!(f, "its partition table is made for sectors of {bytes} bytes, which are not its own")
            }
        }
    }
}

/// What a disk has of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing that looks like one.
    Nothing,
    /// One, of which neither copy is whole.
    Broken,
    /// One.
    Table(Vec<Part>, Option<Damage>),
}

/// One copy of a table.
enum Copy {
    Nothing,
    Damaged,
    Whole { other: u64, parts: Vec<Part> },
}

/// Reads the table of a disk with sectors of `own` bytes.
///
/// # Errors
/// The disk cannot be read, or is shorter than a sector.
pub fn read(mut disk: &File, own: u64) -> io::Result<Found> {
    let end = disk.seek(SeekFrom::End(0))?;
    let mut front = [0; 512];
    disk.read_exact_at(&mut front, 0)?;
    let protected = is_protective(&front);
    let mut trace = protected;
    // Where a disk without a table may have what others wrote, nothing is looked for.
    let others = SECTORS.into_iter().filter(|it| *it != own && protected);
    for sector in [own].into_iter().chain(others) {
        let last = end.checked_div(sector).unwrap_or(0).saturating_sub(1);
        let first = copy(disk, end, sector, 1);
        trace |= matches!(first, Copy::Damaged);
        let read = match first {
            Copy::Whole { other, parts } => {
                let second = copy(disk, end, sector, other);
                let lost = (!matches!(second, Copy::Whole { .. })).then_some(Damage::Second);
                Some((parts, lost.or((!protected).then_some(Damage::Front))))
            }
            Copy::Nothing if !protected => None,
            Copy::Damaged | Copy::Nothing => second(disk, end, sector, last),
        };
        if let Some((parts, damage)) = read {
            let odd = (sector != own).then_some(Damage::Sectors(sector));
            return Ok(Found::Table(parts, odd.or(damage)));
        }
    }
    Ok(if trace { Found::Broken } else { Found::Nothing })
}

/// What the second copy has, where the first is damaged.
fn second(disk: &File, end: u64, sector: u64, at: u64) -> Option<(Vec<Part>, Option<Damage>)> {
    match copy(disk, end, sector, at) {
        Copy::Whole { parts, .. } => Some((parts, Some(Damage::First))),
        _ => None,
    }
}

fn is_protective(front: &[u8]) -> bool {
    let kinds = front.iter().skip(MBR_ENTRIES.saturating_add(4));
    front.ends_with(&[0x55, 0xaa]) && kinds.step_by(MBR_ENTRY).take(4).any(|it| *it == PROTECTIVE)
}

/// Reads the copy whose header is in this sector. What cannot be read is not there.
fn copy(disk: &File, end: u64, sector: u64, at: u64) -> Copy {
    let mut header = [0; 512];
    let place = at.saturating_mul(sector);
    if disk.read_exact_at(&mut header, place).is_err() || !header.starts_with(SIGNATURE) {
        return Copy::Nothing;
    }
    parse(disk, end, sector, at, &header).unwrap_or(Copy::Damaged)
}

/// `struct gpt_header` and the entries it speaks of; none if a checksum or a place is wrong.
fn parse(disk: &File, end: u64, sector: u64, at: u64, header: &[u8]) -> Option<Copy> {
    let size = usize::try_from(word(header, 12)?).ok()?;
    let mut bare = header.get(..size).filter(|_| size >= HEADER)?.to_vec();
    bare.get_mut(16..20)?.fill(0);
    let (count, width) = (word(header, 80)?, usize::try_from(word(header, 84)?).ok()?);
    let sound = crc32(&bare) == word(header, 16)? && long(header, 24)? == at;
    if !sound || count > ENTRIES || !(ENTRY..=WIDEST).contains(&width) {
        return None;
    }
    let mut entries = vec![0; width.checked_mul(usize::try_from(count).ok()?)?];
    let place = long(header, 72)?.checked_mul(sector)?;
    disk.read_exact_at(&mut entries, place).ok()?;
    if crc32(&entries) != word(header, 88)? {
        return None;
    }
    let parts = (1..).zip(entries.chunks(width));
    let parts = parts.filter_map(|(number, entry)| part(number, entry, sector, end));
    Some(Copy::Whole {
        other: long(header, 32)?,
        parts: parts.collect(),
    })
}

/// `struct gpt_entry`; none if it is unused or not on the disk.
fn part(number: u32, entry: &[u8], sector: u64, end: u64) -> Option<Part> {
    let used = *entry.first_chunk::<16>()? != [0; 16];
    let (first, last) = (long(entry, 32)?, long(entry, 40)?);
    let start = first.checked_mul(sector)?;
    let sectors = last.checked_add(1)?.checked_sub(first)?;
    let bytes = sectors.checked_mul(sector)?;
    let within = bytes > 0 && start.checked_add(bytes)? <= end;
    let units = utf16(entry.get(56..128)?);
    let shown = units.map(|unit| u8::try_from(unit).unwrap_or_default());
    let shown = shown.map(|byte| if byte.is_ascii_graphic() { byte } else { b'?' });
    (used && within).then_some(Part {
        number,
        guid: entry.get(16..32)?.try_into().ok()?,
        start,
        bytes,
        name: shown.map(char::from).collect(),
    })
}

/// The units of a text in UTF-16 that ends with a zero.
pub(crate) fn utf16(bytes: &[u8]) -> impl Iterator<Item = u16> {
    let units = bytes.as_chunks::<2>().0.iter();
    let units = units.map(|unit| u16::from_le_bytes(*unit));
    units.take_while(|unit| *unit != 0)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_le_bytes(*bytes))
}

/// Partitions of a table that is made here.
const COUNT: usize = 128;

/// Both copies of the table of a disk with so many sectors of so many bytes, each partition behind its type: what the disk begins with,
/// the protective MBR first, and what it ends with. None where there is no room for them.
pub fn make(
    disk: Guid,
    parts: &[(Guid, &Part)],
    sector: u64,
    sectors: u64,
) -> Option<[Vec<u8>; 2]> {
    let mut entries = vec![0; COUNT.checked_mul(ENTRY)?];
    for (kind, part) in parts {
        let number = usize::try_from(part.number).ok()?;
        let at = number.checked_sub(1)?.checked_mul(ENTRY)?;
        let entry = entries.get_mut(at..at.checked_add(ENTRY)?)?;
        let first = part.start.checked_div(sector)?;
        let last = first
            .checked_add(part.bytes.checked_div(sector)?)?
            .checked_sub(1)?;
        let name = part.name.encode_utf16().flat_map(u16::to_le_bytes);
        let place = [first, last, 0].map(u64::to_le_bytes);
        let head = [*kind, part.guid].concat();
        let bytes = head.into_iter().chain(place.concat()).chain(name);
        entry
            .iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = from);
    }
    let length = u64::try_from(entries.len()).ok()?.div_ceil(sector);
    let last = sectors.checked_sub(1)?;
    // Usable is what lies between both copies.
    let (first, end) = (
        length.checked_add(2)?,
        last.checked_sub(length)?.checked_sub(1)?,
    );
    let header = |own: u64, other: u64, at: u64| {
        let places = [own, other, first, end].map(u64::to_le_bytes).concat();
        let counts = [COUNT as u32, ENTRY as u32, crc32(&entries)].map(u32::to_le_bytes);
        let mut header = [SIGNATURE, &[0, 0, 1, 0, HEADER as u8], &[0; 11]].concat();
        header.extend(
            [
                &places,
                disk.as_slice(),
                &at.to_le_bytes(),
                &counts.concat(),
            ]
            .concat(),
        );
        let sum = crc32(&header).to_le_bytes();
        header.get_mut(16..20)?.copy_from_slice(&sum);
        header.resize(usize::try_from(sector).ok()?, 0);
        Some(header)
    };
    let mut padded = entries.clone();
    padded.resize(usize::try_from(length.checked_mul(sector)?).ok()?, 0);
    let mut front = vec![0; usize::try_from(sector).ok()?];
    // One entry that takes all of the disk, from the second sector on, as far as it can say.
    let all = u32::try_from(last).unwrap_or(u32::MAX).to_le_bytes();
    let entry = [
        &[0, 0, 2, 0, PROTECTIVE, 0xff, 0xff, 0xff, 1, 0, 0, 0],
        all.as_slice(),
    ]
    .concat();
    let end_of_entry = MBR_ENTRIES.checked_add(MBR_ENTRY)?;
    front
        .get_mut(MBR_ENTRIES..end_of_entry)?
        .copy_from_slice(&entry);
    front.get_mut(510..512)?.copy_from_slice(&[0x55, 0xaa]);
    front.extend(header(1, last, 2)?);
    front.extend(&padded);
    padded.extend(header(last, 1, last.checked_sub(length)?)?);
    (first <= end).then_some([front, padded])
}

/// What is to be written, and from which byte of the disk on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Its first byte.
    pub at: u64,
    /// What is to be there.
    pub bytes: Vec<u8>,
}

/// What puts the second copy at the end of a disk that is larger than its table was made for: to be written in this order, each on the disk
/// before the next. Between any two sectors of it the table is whole: the first copy names one whole second copy or the other. Its entries
/// stay byte for byte. None where the second copy is there, or its places overlap; where a copy is damaged, or the partitions are not `ours`.
pub fn to_end(mut disk: &File, sector: u64, ours: impl Fn(&[Part]) -> bool) -> Option<Vec<Write>> {
    let Ok(Found::Table(parts, None)) = read(disk, sector) else {
        return None;
    };
    let end = disk.seek(SeekFrom::End(0)).ok()?;
    let last = end.checked_div(sector)?.checked_sub(1)?;
    let size = usize::try_from(sector).ok()?;
    let mut front = vec![0; size.checked_mul(2)?];
    disk.read_exact_at(&mut front, 0).ok()?;
    let (mbr, first) = front.split_at_mut_checked(size)?;
    let (old, entries) = (long(first, 32)?, long(first, 72)?);
    let bytes = u64::from(word(first, 80)?).checked_mul(word(first, 84)?.into())?;
    let held = bytes.div_ceil(sector);
    let at = last.checked_sub(held)?;
    let place = at.checked_mul(sector)?;
    let mut ends = parts.iter().map(|it| it.start.saturating_add(it.bytes));
    if old >= at || ends.any(|it| it > place) || !ours(&parts) {
        return None;
    }
    let header = |own: u64, other: u64, entries: u64| {
        let mut made = first.to_vec();
        let usable = at.checked_sub(1)?;
        for (field, value) in [(24, own), (32, other), (48, usable), (72, entries)] {
            *made.get_mut(field..)?.first_chunk_mut()? = value.to_le_bytes();
        }
        made.get_mut(16..20)?.fill(0);
        let length = usize::try_from(word(first, 12)?).ok()?;
        let sum = crc32(made.get(..length)?).to_le_bytes();
        made.get_mut(16..20)?.copy_from_slice(&sum);
        Some(made)
    };
    let mut back = vec![0; usize::try_from(held.checked_mul(sector)?).ok()?];
    disk.read_exact_at(&mut back, entries.checked_mul(sector)?)
        .ok()?;
    back.extend(header(last, 1, at)?);
    let mut writes = vec![(place, back)];
    // What protects the table says how large the disk is; what says something else is nobody's to change.
    let [before, now] = [old, last].map(|it| u32::try_from(it).unwrap_or(u32::MAX).to_le_bytes());
    let table = mbr.get_mut(MBR_ENTRIES..)?.chunks_exact_mut(MBR_ENTRY);
    let mut fields = table.filter(|it| it.get(4) == Some(&PROTECTIVE));
    let field = fields.next()?.get_mut(12..)?;
    if *field == before && before != now {
        field.copy_from_slice(&now);
        writes.push((0, mbr.to_vec()));
    }
    writes.push((sector, header(1, last, entries)?));
    let writes = writes.into_iter();
    Some(writes.map(|(at, bytes)| Write { at, bytes }).collect())
}

/// CRC-32 of IEEE 802.3, which UEFI uses.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & 0u32.wrapping_sub(crc & 1));
    let fed = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), step);
    !bytes.iter().fold(u32::MAX, fed)
}

/// The GUID that a text like `5350494e-4500-4001-a001-736c6f742d61` means: its first three groups are numbers, lowest byte first.
pub fn guid(text: &str) -> Option<Guid> {
    let digits = text.replace('-', "");
    let mut guid = u128::from_str_radix(&digits, 16).ok()?.to_be_bytes();
    for number in [0..4, 4..6, 6..8] {
        guid.get_mut(number)?.reverse();
    }
    (digits.len() == 32).then_some(guid)
}

impl fmt::Display for Part {
    /// One line, for [`Part::parse`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, guid) = (self.number, u128::from_be_bytes(self.guid));
        let (start, bytes, name) = (self.start, self.bytes, &self.name);
        write!(f, "{number} {guid:032x} {start} {bytes} {name}")
    }
}

impl Part {
    /// What [`Part`]'s text means; none if it is not one.
    pub fn parse(text: &str) -> Option<Part> {
        let mut words = text.splitn(5, ' ');
        let mut next = || words.next();
        Some(Part {
            number: next()?.parse().ok()?,
            guid: u128::from_str_radix(next()?, 16).ok()?.to_be_bytes(),
            start: next()?.parse().ok()?,
            bytes: next()?.parse().ok()?,
            name: next()?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests;
