#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::*;
use proptest::prelude::*;
use tempfile::tempfile;

const MIB: u64 = 1 << 20;
const GUID: &str = "5350494e-4500-4001-a001-736c6f742d61";

/// A disk of 4 MiB with a table for these sectors: `slot-a` at 1 MiB and `persist` at 2 MiB, a MiB each.
fn disk(sector: u64) -> File {
    let file = tempfile().unwrap();
    file.set_len(4 * MIB).unwrap();
    let mut front = [0; 512];
    (front[450], front[510], front[511]) = (PROTECTIVE, 0x55, 0xaa);
    file.write_all_at(&front, 0).unwrap();
    let mut entries = vec![0; ENTRY * 128];
    for (at, (name, place)) in [("slot-a", 1), ("persist", 2)].into_iter().enumerate() {
        let entry = &mut entries[at * ENTRY..][..ENTRY];
        entry[0] = 1;
        entry[16..32].copy_from_slice(&guid(GUID).unwrap());
        entry[16] ^= at as u8;
        entry[32..40].copy_from_slice(&(place * MIB / sector).to_le_bytes());
        entry[40..48].copy_from_slice(&((place + 1) * MIB / sector - 1).to_le_bytes());
        for (unit, byte) in entry[56..].chunks_mut(2).zip(name.bytes()) {
            unit[0] = byte;
        }
    }
    let (end, held) = (4 * MIB / sector, 16384 / sector);
    for (at, other, place) in [(1, end - 1, 2), (end - 1, 1, end - 1 - held)] {
        let mut header = vec![0; HEADER];
        header[..8].copy_from_slice(SIGNATURE);
        header[12..16].copy_from_slice(&(HEADER as u32).to_le_bytes());
        header[24..32].copy_from_slice(&at.to_le_bytes());
        header[32..40].copy_from_slice(&other.to_le_bytes());
        header[72..80].copy_from_slice(&place.to_le_bytes());
        header[80..84].copy_from_slice(&128u32.to_le_bytes());
        header[84..88].copy_from_slice(&(ENTRY as u32).to_le_bytes());
        header[88..92].copy_from_slice(&crc32(&entries).to_le_bytes());
        let sum = crc32(&header);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        file.write_all_at(&header, at * sector).unwrap();
        file.write_all_at(&entries, place * sector).unwrap();
    }
    file
}

fn flip(file: &File, at: u64, bit: u8) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
}

fn parts(sector: u64) -> Vec<Part> {
    match read(&disk(sector), sector).unwrap() {
        Found::Table(parts, None) => parts,
        other => panic!("{other:?}"),
    }
}

#[test]
fn u04_a_table_is_read_with_names_places_and_guids() {
    let found = parts(512);
    let names: Vec<_> = found
        .iter()
        .map(|it| (it.number, it.name.as_str(), it.start, it.bytes))
        .collect();
    assert_eq!(
        names,
        [(1, "slot-a", MIB, MIB), (2, "persist", 2 * MIB, MIB)]
    );
    assert_eq!(found[0].guid, guid(&GUID.to_uppercase()).unwrap());
    assert_eq!(parts(4096), found);
}

#[test]
fn u04_a_table_for_other_sectors_is_read_and_named() {
    for (made, own) in [(512, 4096), (4096, 512)] {
        let found = read(&disk(made), own).unwrap();
        assert_eq!(found, Found::Table(parts(512), Some(Damage::Sectors(made))));
    }
}

#[test]
fn u04_no_bit_of_the_first_copy_loses_a_partition_and_damage_is_named() {
    let (disk, whole) = (disk(512), parts(512));
    for at in (0..34 * 512).step_by(101) {
        for bit in [0, 7] {
            flip(&disk, at, bit);
            let found = read(&disk, 512).unwrap();
            let Found::Table(parts, damage) = found else {
                panic!("a bit at {at}: {found:?}");
            };
            assert_eq!(parts, whole, "a bit at {at}");
            let first = (512..512 + HEADER as u64).contains(&at) || at >= 1024;
            assert_eq!(
                damage == Some(Damage::First),
                first,
                "a bit at {at}: {damage:?}"
            );
            flip(&disk, at, bit);
        }
    }
}

#[test]
fn u04_damage_elsewhere_is_named_and_two_damaged_copies_are_no_table() {
    let file = disk(512);
    flip(&file, 511, 0);
    let found = read(&file, 512).unwrap();
    assert_eq!(found, Found::Table(parts(512), Some(Damage::Front)));
    let file = disk(512);
    flip(&file, 4 * MIB - 500, 0);
    let found = read(&file, 512).unwrap();
    assert_eq!(found, Found::Table(parts(512), Some(Damage::Second)));
    flip(&file, 1024, 0);
    assert_eq!(read(&file, 512).unwrap(), Found::Broken);
}

#[test]
fn u04_a_second_copy_alone_is_no_table() {
    // A room may have kept it in a file that ends an ext4 without partitions.
    let file = disk(512);
    file.write_all_at(&[0; 34 * 512], 0).unwrap();
    assert_eq!(read(&file, 512).unwrap(), Found::Nothing);
    file.set_len(100).unwrap();
    assert!(read(&file, 512).is_err());
}

#[test]
fn u04_a_partition_survives_being_told() {
    for part in parts(512) {
        assert_eq!(Part::parse(&part.to_string()), Some(part));
    }
    assert_eq!(Part::parse("1 2 3"), None);
    for text in ["", "5350494e", "5350494e-4500-4001-a001-736c6f742d6g", "é"] {
        assert_eq!(guid(text), None);
    }
}

/// The same on a larger disk, with what protects it as a tool makes it.
fn larger(sector: u64, bytes: u64) -> File {
    let file = disk(sector);
    let last = u32::try_from(4 * MIB / sector - 1).unwrap();
    file.write_all_at(&last.to_le_bytes(), 458).unwrap();
    file.set_len(bytes).unwrap();
    file
}

fn bytes(file: &File, at: u64, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    file.read_exact_at(&mut bytes, at).unwrap();
    bytes
}

#[test]
fn u07_a_table_on_a_larger_disk_is_whole_at_every_sector_until_its_second_copy_is_at_the_end() {
    for (sector, end) in [(512, 9 * MIB + 512), (4096, 5 * MIB)] {
        let (file, size) = (larger(sector, end), sector as usize);
        let (whole, entries) = (parts(sector), bytes(&file, 2 * sector, 16384));
        let writes = to_end(&file, sector, |it| it == whole).unwrap();
        let places: Vec<_> = writes.iter().map(|it| (it.at, it.bytes.len())).collect();
        let second = end - sector - 16384;
        assert_eq!(places, [(second, 16384 + size), (0, size), (sector, size)]);
        // The power may go after any of them, and the table is the same by the next boot.
        for write in &writes {
            for (at, bytes) in (write.at..).step_by(size).zip(write.bytes.chunks(size)) {
                assert!(to_end(&file, sector, |it| it == whole).is_some());
                file.write_all_at(bytes, at).unwrap();
                let found = read(&file, sector).unwrap();
                assert_eq!(found, Found::Table(whole.clone(), None), "{at}");
            }
        }
        assert_eq!(to_end(&file, sector, |it| it == whole), None);
        assert_eq!(bytes(&file, 2 * sector, 16384), entries);
        assert_eq!(bytes(&file, second, 16384), entries);
        let last = u32::try_from(end / sector - 1).unwrap();
        assert_eq!(bytes(&file, 458, 4), last.to_le_bytes());
        for header in [sector, end - sector] {
            assert_eq!(
                bytes(&file, header + 48, 8),
                (second / sector - 1).to_le_bytes()
            );
        }
        // And what looks at the end finds it.
        flip(&file, sector + 20, 0);
        let found = read(&file, sector).unwrap();
        assert_eq!(found, Found::Table(whole, Some(Damage::First)));
    }
}

#[test]
fn u07_what_is_right_foreign_damaged_or_in_the_way_is_left_as_it_is() {
    let plan = |file: &File| to_end(file, 512, |_| true);
    assert!(plan(&larger(512, 9 * MIB)).is_some());
    assert_eq!(plan(&disk(512)), None);
    assert_eq!(to_end(&larger(512, 9 * MIB), 512, |_| false), None);
    assert_eq!(plan(&larger(4096, 9 * MIB)), None);
    // Sector 0, the first copy and its entries, the second and its entries.
    for at in [511, 512 + 20, 1024 + 60, 4 * MIB - 500, 4 * MIB - 16384] {
        let file = larger(512, 9 * MIB);
        flip(&file, at, 0);
        assert_eq!(plan(&file), None, "{at}");
    }
    // The old copy must be whole until the first names the new one.
    assert_eq!(plan(&larger(512, 4 * MIB + 32 * 512)), None);
    assert!(plan(&larger(512, 4 * MIB + 33 * 512)).is_some());
    // It protects something else as well.
    let file = larger(512, 9 * MIB);
    flip(&file, 458, 3);
    let places: Vec<_> = plan(&file).unwrap().iter().map(|it| it.at).collect();
    assert_eq!(places, [9 * MIB - 33 * 512, 512]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a16_no_damage_makes_another_table(at in 0..68usize * 512, bytes in prop::collection::vec(any::<u8>(), 1..600)) {
        let file = disk(512);
        let place = if at < 34 * 512 { at as u64 } else { 4 * MIB - (at as u64 - 34 * 512) - 1 };
        file.write_all_at(&bytes, place).unwrap();
        if let Found::Table(found, _) = read(&file, 512).unwrap() {
            prop_assert_eq!(found, parts(512));
        }
    }

    #[test]
    fn a16_any_first_sectors_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 4096), size in any::<u32>(), count in any::<u32>()) {
        let file = tempfile().unwrap();
        let mut bytes = bytes;
        bytes[510..520].copy_from_slice(b"\x55\xaaEFI PART");
        bytes[524..528].copy_from_slice(&(size % 1000).to_le_bytes());
        bytes[592..596].copy_from_slice(&count.to_le_bytes());
        file.write_all_at(&bytes, 0).unwrap();
        let _ = read(&file, 512);
    }
}
