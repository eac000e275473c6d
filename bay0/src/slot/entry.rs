//! Boot entries (UEFI 2.10, 3.1.3 and 10.3.5.1): what they start, and one like another for the other slot. Bytes alone: it reads and writes
//! nothing.
//!
//! ```text
//! entry = attributes u32, length of the path u16, description UTF-16 and a zero, device path, data that is left out here
//! path  = node "partition": 4, 1, 42 0, number u32, first sector u64, sectors u64, GUID, 2, 2; node "file"; end
//! ```

use bay0_persona::gpt::{Guid, Part};

/// What the node of a partition begins with: media, a partition, its length.
const PARTITION: [u8; 4] = [4, 1, 42, 0];
/// What it ends with: its table is a GPT, its signature a GUID.
const GPT_GUID: [u8; 2] = [2, 2];
/// Bytes before the description.
const HEADER: usize = 6;
const NODE: usize = 42;
/// Where the first sector stands in the node.
const FIRST: usize = 8;
/// And the GUID.
const SIGNATURE: usize = 24;

/// The device path of an entry: what it starts. None if it is cut off.
pub fn path(option: &[u8]) -> Option<&[u8]> {
    let length = option.get(4..HEADER)?.first_chunk()?;
    let length = usize::from(u16::from_le_bytes(*length));
    let units = option.get(HEADER..)?.as_chunks::<2>().0;
    let text = units.iter().position(|unit| *unit == [0, 0])?;
    let begin = text.checked_add(1)?.checked_mul(2)?.checked_add(HEADER)?;
    option.get(begin..begin.checked_add(length)?)
}

/// The partition that an entry starts a file on; none if it starts something else.
pub fn partition(option: &[u8]) -> Option<Guid> {
    let (node, _) = path(option)?.split_at_checked(NODE)?;
    let known = node.starts_with(&PARTITION) && node.ends_with(&GPT_GUID);
    let guid = node.get(SIGNATURE..)?.first_chunk()?;
    known.then_some(*guid)
}

/// An entry like `own`, which starts a file on the partition `ours`, for the same file on `other`. None if `own` is not of this form.
pub fn other(own: &[u8], ours: &Part, other: &Part, label: &str) -> Option<Vec<u8>> {
    let (node, rest) = path(own)?.split_at_checked(NODE)?;
    let first = u64::from_le_bytes(*node.get(FIRST..)?.first_chunk()?);
    // The firmware counts in sectors of the disk: how long these are, its own entry tells.
    let sector = ours.start.checked_div(first)?;
    let sectors = |bytes: u64| Some(bytes.checked_div(sector)?.to_le_bytes());
    let mut path = PARTITION.to_vec();
    path.extend(other.number.to_le_bytes());
    path.extend(sectors(other.start)?);
    path.extend(sectors(other.bytes)?);
    path.extend(other.guid);
    path.extend(GPT_GUID);
    path.extend(rest);
    let mut option = own.get(..4)?.to_vec();
    option.extend(u16::try_from(path.len()).ok()?.to_le_bytes());
    let text = label.encode_utf16().chain([0]);
    option.extend(text.flat_map(u16::to_le_bytes));
    option.extend(path);
    partition(own).map(|_| option)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::unwrap_used)]
mod tests {
    use super::*;

    fn part(number: u32, start: u64) -> Part {
        Part {
            number,
            guid: [number as u8; 16],
            start,
            bytes: 40 << 20,
            name: String::new(),
        }
    }

    /// An entry for a partition, with these bytes behind its path.
    fn option(part: &Part, sector: u64, label: &str, data: &[u8]) -> Vec<u8> {
        let mut path = PARTITION.to_vec();
        path.extend(part.number.to_le_bytes());
        path.extend((part.start / sector).to_le_bytes());
        path.extend((part.bytes / sector).to_le_bytes());
        path.extend(part.guid);
        path.extend([2, 2, 4, 4, 6, 0, b'x', 0, 0x7f, 0xff, 4, 0]);
        let mut option = vec![1, 0, 0, 0, path.len() as u8, 0];
        option.extend(label.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
        option.extend(path);
        option.extend(data);
        option
    }

    #[test]
    fn u05_the_entry_of_the_other_slot_is_made_after_this_slots_own() {
        let (a, b) = (part(1, 1 << 20), part(2, 41 << 20));
        for sector in [512, 4096] {
            // What else stands in an entry is not copied: it would be a command line.
            let own = option(&a, sector, "Spine A", b"quiet");
            let made = other(&own, &a, &b, "Spine B").unwrap();
            assert_eq!(made, option(&b, sector, "Spine B", b""));
            // Another name and other data start the same.
            let named = option(&b, sector, "whatever", b"data");
            assert_eq!(path(&made), path(&named));
            assert_ne!(path(&made), path(&own));
        }
    }

    #[test]
    fn u05_an_entry_of_another_form_is_no_pattern() {
        let (a, b) = (part(1, 1 << 20), part(2, 41 << 20));
        let own = option(&a, 512, "Spine A", b"");
        for length in 0..own.len() {
            assert_eq!(other(own.get(..length).unwrap(), &a, &b, "B"), None);
        }
        let mut network = own;
        let at = network.windows(4).position(|it| it == PARTITION).unwrap();
        *network.get_mut(at).unwrap() = 3;
        assert_eq!(other(&network, &a, &b, "B"), None);
    }
}
