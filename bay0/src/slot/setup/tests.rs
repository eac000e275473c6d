#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::*;
use crate::slot::install::{digest, fingerprint};
use proptest::prelude::*;

/// A slot and two MiB of images, with a head that says so.
fn source() -> Source {
    let rooms = tempfile::tempfile().unwrap();
    rooms.write_all_at(&[7; 100], MIB).unwrap();
    rooms.set_len(2 * MIB).unwrap();
    let slot = tempfile::tempfile().unwrap();
    slot.write_all_at(b"a file system", 0).unwrap();
    slot.write_all_at(b"its end", 39 * MIB - 7).unwrap();
    slot.set_len(SLOT_MIB * MIB).unwrap();
    let (hash, images) = (fingerprint(&slot).unwrap(), digest(&rooms, 0, 2).unwrap());
    let head = format!(
        "bay0-slot 1\nversion 7\nhash {hash}\nrooms {} {images}\n",
        2 * MIB
    );
    slot.write_all_at(head.as_bytes(), SLOT_MIB * MIB - 4096)
        .unwrap();
    Source::of(slot, Some((rooms, 4 * MIB))).unwrap()
}

fn about_of(mib: u64, sector: u64) -> About {
    About {
        model: String::new(),
        serial: String::new(),
        bus: "NVMe",
        bytes: mib * MIB,
        sector,
    }
}

fn hash(file: &File, at: u64, bytes: u64) -> String {
    digest(file, at, bytes / MIB).unwrap()
}

#[test]
fn u07_a_new_disk_has_both_slots_both_images_and_a_table_that_is_read_as_it_was_meant() {
    for sector in [512, 4096] {
        let (source, disk) = (source(), tempfile::tempfile().unwrap());
        let (slot, rooms) = source.known().unwrap();
        disk.set_len(300 * MIB).unwrap();
        disk.write_all_at(b"what was there", 100 * MIB).unwrap();
        let parts = source.fresh(&about_of(300, sector)).unwrap();
        let target = Target {
            disk,
            parts,
            sector,
            bytes: 300 * MIB,
        };
        target.write(&slot, rooms.as_ref(), true).unwrap();
        let Found::Table(parts, None) = gpt::read(&target.disk, sector).unwrap() else {
            panic!("no table");
        };
        let places: Vec<_> = parts
            .iter()
            .map(|it| (it.name.as_str(), it.start / MIB, it.bytes / MIB))
            .collect();
        assert_eq!(
            places,
            [
                ("slot-a", 1, 40),
                ("slot-b", 41, 40),
                ("persist", 89, 210),
                ("rooms-a", 81, 4),
                ("rooms-b", 85, 4)
            ]
        );
        let slot = hash(&source.slot, 0, SLOT_MIB * MIB);
        let rooms = hash(&source.rooms.as_ref().unwrap().0, 0, 2 * MIB);
        for at in [1, 41] {
            assert_eq!(hash(&target.disk, at * MIB, SLOT_MIB * MIB), slot);
        }
        for at in [81, 85] {
            assert_eq!(hash(&target.disk, at * MIB, 2 * MIB), rooms);
        }
        // Both copies of the table are whole, whichever is asked.
        target.disk.write_all_at(&[0; 512], sector).unwrap();
        assert!(matches!(
            gpt::read(&target.disk, sector).unwrap(),
            Found::Table(again, Some(gpt::Damage::First)) if again == parts
        ));
    }
}

#[test]
fn u07_a_disk_whose_state_is_kept_has_new_slots_and_nothing_else_changes() {
    let (source, disk) = (source(), tempfile::tempfile().unwrap());
    disk.set_len(300 * MIB).unwrap();
    let parts = source.fresh(&about_of(300, 512)).unwrap();
    let persist = parts.iter().find(|it| it.name == "persist").unwrap().start;
    let target = Target {
        disk,
        parts,
        sector: 512,
        bytes: 300 * MIB,
    };
    let (slot, rooms) = source.known().unwrap();
    target.write(&slot, rooms.as_ref(), true).unwrap();
    let table = hash(&target.disk, 0, MIB);
    target.disk.write_all_at(b"what is kept", persist).unwrap();
    target.disk.write_all_at(b"another", 20 * MIB).unwrap();
    let kept = hash(&target.disk, persist, 210 * MIB);
    target.write(&slot, rooms.as_ref(), false).unwrap();
    assert_eq!(
        (
            hash(&target.disk, 0, MIB),
            hash(&target.disk, persist, 210 * MIB)
        ),
        (table, kept)
    );
    assert_eq!(
        hash(&target.disk, MIB, SLOT_MIB * MIB),
        hash(&source.slot, 0, SLOT_MIB * MIB)
    );
}

#[test]
fn u07_what_runs_is_not_installed_if_it_is_not_what_its_head_says() {
    let mut source = source();
    source.slot.write_all_at(b"x", 5).unwrap();
    let refused = |source: &Source| source.known().map(drop).unwrap_err().to_string();
    assert!(refused(&source).starts_with("this slot is not what its head says"));
    source.slot.write_all_at(b"e", 5).unwrap();
    source.slot.write_all_at(b"a file system", 0).unwrap();
    source.known().unwrap();
    source
        .rooms
        .as_mut()
        .unwrap()
        .0
        .write_all_at(b"x", 9)
        .unwrap();
    assert!(refused(&source).contains("its images are not"));
}

#[test]
fn u07_state_is_offered_to_be_kept_where_this_spine_fits_and_nowhere_else() {
    let source = source();
    let all = source.fresh(&about_of(300, 512)).unwrap();
    let disk = |parts: Vec<Part>| Disk {
        name: "sda".to_owned(),
        content: Content::Parts(parts),
        damage: None,
    };
    assert_eq!(source.kept(&disk(all.clone())).unwrap().len(), 5);
    for lost in 0..5 {
        let mut parts = all.clone();
        parts.remove(lost);
        assert_eq!(source.kept(&disk(parts)), None, "{lost}");
    }
    // As much as its images have is enough, and less is not.
    let mut other = all.clone();
    other[2].bytes = 2 * MIB;
    assert!(source.kept(&disk(other)).is_some());
    let mut small = all.clone();
    small[2].bytes = MIB;
    assert_eq!(source.kept(&disk(small)), None);
    let twice = [all.clone(), all.clone()].concat();
    assert_eq!(source.kept(&disk(twice)), None);
    let damaged = Disk {
        damage: Some("damaged".to_owned()),
        ..disk(all)
    };
    assert_eq!(source.kept(&damaged), None);
}

#[test]
fn u07_a_disk_says_what_it_is_and_what_is_on_it() {
    let it = About {
        model: "QEMU HARDDISK".to_owned(),
        serial: "QM1".to_owned(),
        ..about_of(300, 512)
    };
    assert_eq!(
        named("sda", &it),
        "sda, 300 MiB, NVMe, QEMU HARDDISK, serial QM1"
    );
    assert_eq!(named("vda", &about_of(1, 512)), "vda, 1 MiB, NVMe");
    let small = source().fresh(&about_of(216, 512)).unwrap_err().to_string();
    assert_eq!(
        small,
        format!("it has 216 MiB, and 218 are needed; {UNTOUCHED}")
    );
    source().fresh(&about_of(218, 512)).unwrap();
}

proptest! {
    #[test]
    fn u07_partitions_never_meet_and_leave_a_mib_at_either_end(bytes in 0..1u64 << 45, rooms in 0u64..5000) {
        let mut next = 0;
        let guid = || { next += 1; [next; 16] };
        let rooms = rooms * MIB;
        if let Some(parts) = lay_out(bytes, rooms, guid) {
            let mut end = MIB;
            for part in &parts {
                prop_assert_eq!(part.start, end);
                end += part.bytes;
            }
            prop_assert!(end + MIB <= bytes);
            prop_assert_eq!(parts.len(), if rooms > 0 { 5 } else { 3 });
        }
    }
}

#[test]
fn u07_a_stick_that_gives_other_bytes_than_those_that_were_hashed_is_caught() {
    let source = source();
    let (slot, rooms) = source.known().unwrap();
    let images = rooms.as_ref().unwrap().file;
    // In its first MiB, which is written last; in its head, which is not hashed; in the last of its images.
    for (file, at, said) in [
        (slot.file, 5, "MiB 0 of slot-b"),
        (slot.file, SLOT_MIB * MIB - 1, "MiB 39 of slot-b"),
        (images, 2 * MIB - 1, "MiB 1 of rooms-b"),
    ] {
        let disk = tempfile::tempfile().unwrap();
        disk.set_len(300 * MIB).unwrap();
        let target = Target {
            disk,
            parts: source.fresh(&about_of(300, 512)).unwrap(),
            sector: 512,
            bytes: 300 * MIB,
        };
        let mut before = [0];
        file.read_exact_at(&mut before, at).unwrap();
        file.write_all_at(b"x", at).unwrap();
        let written = target.write(&slot, rooms.as_ref(), true);
        let said = format!("{said} reads back differently");
        assert_eq!(written.unwrap_err().to_string(), said);
        assert_eq!(gpt::read(&target.disk, 512).unwrap(), Found::Nothing);
        file.write_all_at(&before, at).unwrap();
    }
}

proptest! {
    #[test]
    fn u07_a_sum_is_that_of_its_definition_and_tells_one_changed_byte(
        key in proptest::collection::vec(any::<u8>(), 256),
        block in proptest::collection::vec(any::<u8>(), 256),
        at in 0..256_usize,
        by in 1..=255_u8,
    ) {
        let word = |bytes: &[u8], at: usize| {
            let bytes = bytes[at..at + 8].iter().rev();
            bytes.fold(0, |word: u128, byte| word << 8 | u128::from(*byte))
        };
        let half = |at| (word(&key, at) + word(&block, at)) % (1 << 64);
        let product = |at| half(at) * half(at + 8);
        let wanted = (0..256).step_by(16).map(product).fold(0, u128::wrapping_add);
        prop_assert_eq!(sum(&key, &block), wanted);
        let mut other = block.clone();
        other[at] ^= by;
        prop_assert_ne!(sum(&key, &other), wanted);
    }
}
