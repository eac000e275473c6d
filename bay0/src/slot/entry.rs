//! Boot entries (UEFI 2.10, 3.1.3 and 10.3.5.1): what one starts, and how ours are made. Bytes alone: it reads and writes nothing.
//!
//! ```text
//! entry = attributes u32, length of the path u16, description UTF-16 and a zero, device path, data
//! path  = nodes of the way to the disk, or none; node "partition"; node "file": 4, 4, length u16, UTF-16 and a zero; end
//! node "partition" = 4, 1, 42 0, number u32, first sector u64, sectors u64, GUID, 2, 2
//! ```

use bay0_persona::gpt::{Guid, Part};

use crate::slot::machine;
use crate::slot::running::Slot;

/// What the nodes begin with: media, and of these a partition and its length, a file; the end of a path.
const PARTITION: [u8; 4] = [4, 1, 42, 0];
const FILE: [u8; 2] = [4, 4];
const END: [u8; 4] = [0x7f, 0xff, 4, 0];
/// What a partition's node ends with: its table is a GPT, its signature a GUID.
const GPT_GUID: [u8; 2] = [2, 2];
/// Where the GUID stands in it.
const SIGNATURE: usize = 24;
/// Bytes before the description, and before what is in a node.
const HEADER: usize = 6;
const NODE_HEADER: usize = 4;
/// `LOAD_OPTION_ACTIVE`, and with it the bits that make an entry one that is not started by itself (`LOAD_OPTION_CATEGORY`).
const ACTIVE: u32 = 1;
const STARTED: u32 = 0x1f01;
/// The stub takes data that begins with a character after this one for a command line, where Secure Boot is off (`systemd-stub(7)`).
const LAST_CONTROL: u16 = 0x1f;

/// What is on each slot for the firmware to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The Spine.
    Spine,
    /// What switches the machine off.
    Off,
}

impl Program {
    /// Both, in the order of the law.
    pub const BOTH: [Self; 2] = [Self::Spine, Self::Off];

    fn file(self) -> &'static str {
        match self {
            Self::Spine => machine::SPINE,
            Self::Off => r"\OFF.EFI",
        }
    }
}

/// A partition as entries name it: the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(Vec<u8>);

impl Place {
    /// A partition of a disk with sectors of so many bytes.
    pub fn of(part: &Part, sector: u64) -> Self {
        let sectors = |bytes: u64| bytes.checked_div(sector).unwrap_or(0).to_le_bytes();
        let (number, first, count) = (part.number, sectors(part.start), sectors(part.bytes));
        let place = [first.as_slice(), &count, &part.guid].concat();
        Self(
            [
                &PARTITION,
                &number.to_le_bytes(),
                place.as_slice(),
                &GPT_GUID,
            ]
            .concat(),
        )
    }

    /// Its GUID.
    pub fn guid(&self) -> Option<Guid> {
        guid(&self.0)
    }

    /// The entry that starts a program here, by no more than the node and the file.
    pub fn entry(&self, program: Program, slot: Slot) -> Option<Vec<u8>> {
        let file = wide(program.file());
        let length = u16::try_from(file.len().checked_add(NODE_HEADER)?).ok()?;
        let node = [&FILE, length.to_le_bytes().as_slice(), &file].concat();
        let path = [self.0.as_slice(), &node, &END].concat();
        let length = u16::try_from(path.len()).ok()?.to_le_bytes();
        let text = wide(&format!("{program:?} {slot}"));
        Some([&ACTIVE.to_le_bytes(), length.as_slice(), &text, &path].concat())
    }

    /// Whether an entry of this program here, told by GUID and file, is as it should be: not if it is switched off, has what the stub takes
    /// for a command line, or says another place of the partition. None if it starts something else.
    pub fn is_well(&self, program: Program, option: &[u8]) -> Option<bool> {
        let it = Target::of(option)?;
        let file = it.file.trim_start_matches('\\');
        let same = file.eq_ignore_ascii_case(program.file().trim_start_matches('\\'));
        let ours = same && guid(it.node) == self.guid();
        ours.then_some(it.is_started && it.node == self.0)
    }
}

/// What an entry starts.
struct Target<'a> {
    node: &'a [u8],
    file: String,
    /// By itself, and with the Spine's own command line.
    is_started: bool,
}

impl<'a> Target<'a> {
    fn of(option: &'a [u8]) -> Option<Self> {
        let attributes = u32::from_le_bytes(*option.first_chunk()?);
        let length = usize::from(u16::from_le_bytes(*option.get(4..HEADER)?.first_chunk()?));
        let units = option.get(HEADER..)?.as_chunks::<2>().0;
        let text = units.iter().position(|unit| *unit == [0, 0])?;
        let begin = text.checked_add(1)?.checked_mul(2)?.checked_add(HEADER)?;
        let (mut rest, data) = option.get(begin..)?.split_at_checked(length)?;
        let mut node = [].as_slice();
        // Some firmware puts the way to the disk first.
        while !node.starts_with(&PARTITION) {
            (node, rest) = next(rest)?;
        }
        let (file, rest) = next(rest)?;
        let file = file.strip_prefix(&FILE)?.get(2..)?.as_chunks().0;
        let file = file.iter().map(|unit| u16::from_le_bytes(*unit));
        let file = file.take_while(|unit| *unit != 0).collect::<Vec<_>>();
        let line = data.first_chunk().map(|unit| u16::from_le_bytes(*unit));
        let bare = rest == END && line.is_none_or(|first| first <= LAST_CONTROL);
        Some(Self {
            node,
            file: String::from_utf16(&file).ok()?,
            is_started: bare && attributes & STARTED == ACTIVE,
        })
    }
}

/// The first node of a path and the rest; none at its end, or if it is cut off.
fn next(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u16::from_le_bytes(*path.get(2..NODE_HEADER)?.first_chunk()?).into();
    let whole = length >= NODE_HEADER && !path.starts_with(&END[..1]);
    path.split_at_checked(length).filter(|_| whole)
}

/// The GUID in a node of a partition.
fn guid(node: &[u8]) -> Option<Guid> {
    let guid = node.get(SIGNATURE..)?.first_chunk()?;
    node.ends_with(&GPT_GUID).then_some(*guid)
}

/// UTF-16 with its end.
fn wide(text: &str) -> Vec<u8> {
    let units = text.encode_utf16().chain([0]);
    units.flat_map(u16::to_le_bytes).collect()
}

#[cfg(test)]
pub mod tests;
