#![allow(clippy::arithmetic_side_effects)]

use super::*;
use std::os::unix::fs::FileExt;
use tempfile::NamedTempFile;

fn disk(bytes: u64, written: &[(u64, &[u8])]) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    file.as_file().set_len(bytes).unwrap();
    for (at, bytes) in written {
        file.as_file().write_all_at(bytes, *at).unwrap();
    }
    file
}

fn searched(bytes: u64, written: &[(u64, &[u8])]) -> Kind {
    look(disk(bytes, written).path().to_str().unwrap(), true).unwrap()
}

fn known(name: &str, at: u64) -> Kind {
    Kind::Other(What::Known(name.to_owned(), at))
}

#[test]
fn c07_a_disk_is_empty_only_if_nothing_stands_where_anything_begins() {
    for bytes in [64 * MIB, 900 * MIB, 20_000 * MIB] {
        assert_eq!(searched(bytes, &[]), Kind::Blank);
    }
    for at in [0, 4095, MIB + 1, 8 * MIB - 1, 33 * MIB, 64 * MIB - 1] {
        let found = searched(64 * MIB, &[(at, b"x")]);
        assert_eq!(found, Kind::Other(What::Data(at)), "a byte at {at}");
    }
    // Of 20 GB every twentieth MiB.
    let found = searched(20_000 * MIB, &[(10_000 * MIB + 3, b"x")]);
    assert_eq!(found, Kind::Other(What::Data(10_000 * MIB + 3)));
}

#[test]
fn c07_what_has_a_name_is_named_with_its_place() {
    for (name, offset, mark) in MARKS {
        for at in [32_256, MIB, 40 * MIB] {
            let found = searched(64 * MIB, &[(at + offset as u64, mark)]);
            assert_eq!(found, known(name, at), "{name}");
        }
    }
    let ext4: [(u64, &[u8]); 1] = [(MIB + 0x438, b"\x53\xef\x01\0\x01\0\0\0")];
    assert_eq!(searched(64 * MIB, &ext4), known("ext4", MIB));
    let boots = searched(64 * MIB, &[(510, b"\x55\xaa")]);
    assert_eq!(boots, known("a boot sector", 0));
    let noise: [(u64, &[u8]); 1] = [(MIB + 0x438, b"\x53\xef\x01\x01\x01\0\0\0")];
    let found = searched(64 * MIB, &noise);
    assert_eq!(found, Kind::Other(What::Data(MIB + 0x438)));
}

#[test]
fn c07_what_a_child_tells_is_what_it_has_seen() {
    let others = [known("a boot sector", 7), Kind::Other(What::Data(9))];
    let kinds = [Kind::Luks, Kind::Ext4, Kind::Blank].into_iter();
    for kind in kinds.chain(others) {
        assert_eq!(Kind::decode(&Kind::encode(Ok(kind.clone()))), Ok(kind));
    }
    let error = Kind::decode(&Kind::encode(Err(io::ErrorKind::UnexpectedEof.into())));
    assert_eq!(error, Err("unexpected end of file".to_owned()));
    assert_eq!(Kind::decode(""), Err("no answer".to_owned()));
}

#[test]
fn u04_errors_that_ext4_has_noted_are_told_as_the_superblock_has_them() {
    let path = |file: &NamedTempFile| file.path().to_str().unwrap().to_owned();
    let seen = |path: &str| errors(&superblock(path)?);
    let clean = disk(MIB, &[(1024 + 0x3a, b"\x01\0")]);
    assert_eq!(seen(&path(&clean)), None);
    let noted = disk(
        MIB,
        &[
            (1024 + 0x3a, b"\x02\0"),
            (1024 + 0x194, &7u32.to_le_bytes()),
            (1024 + 0x198, &1_700_000_000u32.to_le_bytes()),
            (1024 + 0x1a8, b"ext4_lookup\0"),
        ],
    );
    let told = seen(&path(&noted)).unwrap();
    assert_eq!(
        told,
        "7 errors of ext4, the first at Unix second 1700000000 in ext4_lookup(); next: copy the disk, then run e2fsck on another machine"
    );
    assert_eq!(seen("/nonexistent"), None);
}
