//! Entries as the factory, the firmware and others write them.

#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::*;
use proptest::prelude::*;

pub fn part(number: u8) -> Part {
    Part {
        number: number.into(),
        guid: [number; 16],
        start: u64::from(number) << 20,
        bytes: 40 << 20,
        name: format!("slot-{}", char::from(b'a' - 1 + number)),
    }
}

pub fn place(number: u8) -> Place {
    Place::of(&part(number), 512)
}

/// An entry of these attributes, name and path, with data behind it.
pub fn option(attributes: u32, text: &str, path: &[u8], data: &[u8]) -> Vec<u8> {
    let length = (path.len() as u16).to_le_bytes();
    let attributes = attributes.to_le_bytes();
    [&attributes, length.as_slice(), &wide(text), path, data].concat()
}

/// The path to a file on a partition.
pub fn path(part: &Part, file: &str) -> Vec<u8> {
    let (file, place) = (wide(file), Place::of(part, 512));
    let length = (file.len() as u16 + 4).to_le_bytes();
    [place.0.as_slice(), &FILE, &length, &file, &END].concat()
}

/// What the data of an entry is beside nothing: a command line.
pub const LINE: &[u8] = b"q\0u\0i\0e\0t\0";

#[test]
fn u05_an_entry_is_made_of_no_more_than_the_partition_and_the_file() {
    for (program, file) in [
        (Program::Spine, r"\EFI\BOOT\BOOTX64.EFI"),
        (Program::Off, r"\OFF.EFI"),
    ] {
        let made = place(2).entry(program, Slot::B).unwrap();
        let name = format!("{program:?} B");
        assert_eq!(made, option(1, &name, &path(&part(2), file), b""));
        assert_eq!(place(2).is_well(program, &made), Some(true));
        // Not of the other slot, and no other program.
        assert_eq!(place(1).is_well(program, &made), None);
        let others = Program::BOTH.into_iter().filter(|it| *it != program);
        others.for_each(|it| assert_eq!(place(2).is_well(it, &made), None));
    }
    // Sectors are the disk's own.
    let wide = Place::of(&part(1), 4096).0;
    assert_eq!(wide[8..16], 256_u64.to_le_bytes());
    assert_eq!(wide[16..24], 10_240_u64.to_le_bytes());
}

#[test]
fn u05_an_entry_is_known_by_guid_and_file_and_well_only_if_it_starts_as_it_should() {
    let spine = path(&part(1), r"\EFI\BOOT\BOOTX64.EFI");
    let way = [[1, 1, 6, 0, 0, 4].as_slice(), &spine].concat();
    let before = path(
        &Part {
            start: 7 << 20,
            ..part(1)
        },
        r"\EFI\BOOT\BOOTX64.EFI",
    );
    let cut = spine.len() - END.len();
    // An end of one path, and another path behind it.
    let two = [&spine[..cut], &[0x7f, 1, 4, 0], &spine].concat();
    let is_well = |option: &[u8]| place(1).is_well(Program::Spine, option);
    for (attributes, path, data, well) in [
        (1, &spine, b"".as_slice(), Some(true)),
        (1, &way, b"", Some(true)),
        // What some firmware marks its own with, and what the stub does not take for a line.
        (1, &spine, b"\0\0BO", Some(true)),
        (1, &spine, b"q", Some(true)),
        (3, &spine, b"", Some(true)),
        (1, &spine, LINE, Some(false)),
        (0, &spine, b"", Some(false)),
        (0x101, &spine, b"", Some(false)),
        (1, &before, b"", Some(false)),
        (1, &two, b"", Some(false)),
        (1, &path(&part(9), r"\EFI\BOOT\BOOTX64.EFI"), b"", None),
        (1, &path(&part(1), r"\EFI\BOOT\GRUBX64.EFI"), b"", None),
        (1, &path(&part(1), r"efi\boot\bootx64.efi"), b"", Some(true)),
        // The whole disk, which is how firmware finds a stick by itself.
        (1, &[1, 1, 6, 0, 0, 4, 0x7f, 0xff, 4, 0].to_vec(), b"", None),
        (1, &spine[..cut].to_vec(), b"", Some(false)),
    ] {
        let name = format!("{attributes:#x} {path:02x?} {data:?}");
        assert_eq!(
            is_well(&option(attributes, "x", path, data)),
            well,
            "{name}"
        );
    }
    // A table that is no GPT.
    let mut table = spine;
    table[40] = 1;
    assert_eq!(is_well(&option(1, "x", &table, b"")), None);
}

proptest! {
    #[test]
    fn u05_no_damage_of_an_entry_makes_it_another_ones(at in 0usize..120, byte: u8, length in 0usize..120) {
        let mut made = place(1).entry(Program::Spine, Slot::A).unwrap();
        let at = at.min(made.len() - 1);
        made[at] = byte;
        made.truncate(length);
        // Whatever it is by then: no panic, and never the other slot's or the other program.
        prop_assert_eq!(place(2).is_well(Program::Spine, &made), None);
        prop_assert_eq!(place(1).is_well(Program::Off, &made), None);
    }

    #[test]
    fn u05_any_bytes_are_an_entry_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(place(1).is_well(Program::Spine, &bytes), None);
    }
}
