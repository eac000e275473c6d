#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::*;
use bay0_persona::gpt::{Found, make, read};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// A disk with partitions of these names, and a table for its first 16 MiB.
fn disk(names: &[&str], sector: u64, bytes: u64) -> (TempDir, PathBuf, File) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let file = File::create_new(&path).unwrap();
    let part = |(number, name): (u32, &&str)| Part {
        number,
        guid: [number as u8; 16],
        start: u64::from(number) * MIB,
        bytes: MIB,
        name: (*name).to_owned(),
    };
    let parts: Vec<_> = (1..).zip(names).map(part).collect();
    let typed: Vec<_> = parts.iter().map(|it| ([7; 16], it)).collect();
    let [front, back] = make([1; 16], &typed, sector, 16 * MIB / sector).unwrap();
    file.write_all_at(&front, 0).unwrap();
    file.write_all_at(&back, 16 * MIB - back.len() as u64)
        .unwrap();
    file.set_len(bytes).unwrap();
    assert_eq!(read(&file, sector).unwrap(), Found::Table(parts, None));
    (dir, path, file)
}

#[test]
fn u07_the_table_of_a_larger_disk_is_put_right_once_and_said_in_a_line() {
    for (names, sector) in [(OURS[0], 512), (OURS[1], 4096)] {
        let (_dir, path, file) = disk(names, sector, 20 * MIB);
        let before = read(&file, sector).unwrap();
        assert_eq!(
            settled(&file, sector),
            "the second copy of the partition table is at the end of the disk from now on, which is larger than its table was made for"
        );
        assert_eq!(read(&file, sector).unwrap(), before);
        let end = fs::read(&path)
            .unwrap()
            .split_off(20 * MIB as usize - sector as usize);
        assert!(end.starts_with(b"EFI PART"));
        let once = fs::read(&path).unwrap();
        assert_eq!(settled(&file, sector), "");
        assert!(fs::read(&path).unwrap() == once);
    }
}

#[test]
fn u04_a_table_with_any_other_partition_or_of_its_own_size_is_not_written() {
    let more = [OURS[0], &["home"]].concat();
    let twice = ["persist", "persist", "slot-a", "slot-b"];
    for (names, mib) in [
        (OURS[0], 16),
        (&more, 20),
        (&twice, 20),
        (&["slot-a", "slot-b"], 20),
        (&[], 20),
    ] {
        let (_dir, path, file) = disk(names, 512, mib * MIB);
        let before = fs::read(&path).unwrap();
        assert_eq!(settled(&file, 512), "", "{names:?}");
        assert!(fs::read(&path).unwrap() == before, "{names:?}");
    }
}

#[test]
fn h19_a_disk_that_does_not_take_its_table_is_said_with_what_to_do() {
    let (_dir, path, _) = disk(OURS[0], 512, 20 * MIB);
    let before = fs::read(&path).unwrap();
    assert_eq!(
        settled(&File::open(&path).unwrap(), 512),
        "FAIL: the second copy of the partition table is not at the end of the disk: write it: Bad file descriptor (os error 9); next: reboot, then replace the disk"
    );
    assert!(fs::read(&path).unwrap() == before);
}
