//! File systems as mtools and mkfs.exfat make them, whole and damaged.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs
)]

mod common;

use std::fs::File;
use std::os::unix::fs::FileExt;

use common::{Image, big, mtype, run};
use proptest::prelude::*;
use stickd::trouble::Trouble;
use stickd::volume::{Path, Volume};

fn path(text: &str) -> Path {
    Path::typed(text).unwrap()
}

fn names(volume: &mut Volume, folder: &str) -> Vec<(String, u64)> {
    let listing = volume.list(&path(folder)).unwrap();
    assert_eq!(listing.damaged, 0);
    let mut names: Vec<_> = listing
        .entries
        .into_iter()
        .map(|it| (it.name, it.size))
        .collect();
    names.sort();
    names
}

fn content(volume: &mut Volume, file: &str) -> Result<Vec<u8>, Trouble> {
    let mut content = Vec::new();
    let read = volume.read(&path(file), &mut |data| {
        content.extend(data);
        Ok(true)
    });
    read.map(|()| content)
}

fn open(image: &Image) -> Volume {
    Volume::open(image.open().into()).unwrap()
}

/// Each FAT, by mformat: 12, 16 and 32 bits.
fn fats() -> [Image; 3] {
    [
        Image::fat(2, &["-T", "4096"]),
        Image::fat(5, &["-T", "10240", "-c", "1"]),
        Image::fat(40, &["-F", "-T", "81920", "-c", "1"]),
    ]
}

#[test]
fn u09_all_files_of_each_fat_are_listed_and_read() {
    for image in fats() {
        let mut volume = open(&image);
        let root = [("NOTE.TXT", 15), ("empty", 15), ("papers", 0)];
        assert_eq!(
            names(&mut volume, "/"),
            root.map(|(name, size)| (name.to_owned(), size))
        );
        let long = [("a long name.bin".to_owned(), 200_000)];
        assert_eq!(names(&mut volume, "papers"), long);
        assert_eq!(
            content(&mut volume, "note.txt").unwrap(),
            b"from the stick\n"
        );
        assert!(content(&mut volume, "papers/a\\x20long\\x20name.bin").unwrap() == big());
        assert!(
            volume
                .size(&path("papers"))
                .unwrap_err()
                .to_string()
                .starts_with("papers is a folder; ")
        );
        assert!(
            content(&mut volume, "gone.txt")
                .unwrap_err()
                .to_string()
                .starts_with("gone.txt is not on the stick; ")
        );
    }
}

#[test]
fn u09_all_files_of_an_exfat_are_listed_and_read_those_behind_a_deleted_one_too() {
    let image = Image::exfat(16);
    run("fsck.exfat", &["-n", &image.text()]);
    let mut volume = open(&image);
    let long = "grüße \u{1f600} with a name of more than 15 units";
    let root = [
        ("NOTE.TXT", 15),
        ("empty", 0),
        (long, 200_000),
        ("papers", 0),
        ("reserved", 10_000),
    ];
    assert_eq!(
        names(&mut volume, ""),
        root.map(|(name, size)| (name.to_owned(), size))
    );
    assert_eq!(
        content(&mut volume, "NOTE.TXT").unwrap(),
        b"from the stick\n"
    );
    assert!(content(&mut volume, &stickd::name::shown(long)).unwrap() == big());
    assert!(content(&mut volume, "papers/a\\x20long\\x20name.bin").unwrap() == big());
    assert_eq!(content(&mut volume, "empty").unwrap(), b"");
    // Of what was never written there are zeros, and not what lay there before.
    let reserved = content(&mut volume, "reserved").unwrap();
    assert_eq!(reserved.len(), 10_000);
    assert!(reserved.starts_with(b"written\0") && reserved[7..].iter().all(|it| *it == 0));
}

#[test]
fn u09_a_file_that_is_put_on_a_stick_is_there_for_others_and_replaces_none() {
    for image in fats() {
        let put = |name: &str, pieces: Vec<Result<Option<Vec<u8>>, Trouble>>| {
            let Volume::Fat(fat) = open(&image) else {
                panic!("no FAT");
            };
            let mut pieces = pieces.into_iter();
            fat.takes(name, 100)?;
            fat.put(name, &mut || pieces.next().unwrap())
        };
        let data = || {
            big()
                .chunks(10_000)
                .map(|it| Ok(Some(it.to_vec())))
                .chain([Ok(None)])
                .collect()
        };
        put("a-file_of.the.courier", data()).unwrap();
        let back = mtype(
            &image.path(),
            "::a-file_of.the.courier",
            &image.beside("back"),
        );
        assert!(back == big());
        let there = put("note.txt", data()).unwrap_err().to_string();
        assert_eq!(
            there,
            "note.txt is on the stick already; next: take NAME, another one"
        );
        assert!(
            put("dot.", data())
                .unwrap_err()
                .to_string()
                .starts_with("dot. is no name ")
        );
        // What does not come whole leaves nothing.
        let half = vec![Ok(Some(big())), Err(Trouble::Ended)];
        assert!(matches!(put("half", half), Err(Trouble::Ended)));
        assert!(
            !names(&mut open(&image), "/")
                .iter()
                .any(|it| it.0 == "half")
        );
        let much = (0..1000).map(|_| Ok(Some(big()))).collect();
        let full = put("much", much).unwrap_err().to_string();
        assert_eq!(full, "the stick is full; next: make room on it elsewhere");
        assert!(
            !names(&mut open(&image), "/")
                .iter()
                .any(|it| it.0 == "much")
        );
        run("fsck.fat", &["-n", &image.text()]);
    }
}

#[test]
fn u09_a_stick_that_may_not_be_written_says_so() {
    let image = Image::fat(2, &["-T", "4096"]);
    let Volume::Fat(fat) = Volume::open(File::open(image.path()).unwrap().into()).unwrap() else {
        panic!("no FAT");
    };
    let why = fat.takes("x", 1).unwrap_err().to_string();
    assert_eq!(
        why,
        "nothing can be put on this stick: it is protected from being written; next: take another one"
    );
}

#[test]
fn u09_a_file_system_is_found_in_the_partition_that_has_one() {
    let bare = Image::fat(2, &["-T", "4096"]);
    let all = std::fs::read(bare.path()).unwrap();
    let image = Image::new(8);
    let disk = image.open();
    let foreign = |disk: &File| match Volume::open(disk.try_clone().unwrap().into()) {
        Err(why) => why.to_string(),
        Ok(_) => "found".to_owned(),
    };
    let none =
        "no FAT and no exFAT is on the stick; next: format it elsewhere, or take another one";
    assert_eq!(foreign(&disk), none);
    // A master boot record, with one partition of another kind before it.
    let mut front = [0; 512];
    front[510..].copy_from_slice(&[0x55, 0xaa]);
    for (at, (start, sectors)) in [(100_u32, 10_u32), (2048, 4096)].into_iter().enumerate() {
        let entry = &mut front[446 + at * 16..462 + at * 16];
        entry[4] = 0x0c;
        entry[8..12].copy_from_slice(&start.to_le_bytes());
        entry[12..16].copy_from_slice(&sectors.to_le_bytes());
    }
    disk.write_all_at(&front, 0).unwrap();
    assert_eq!(foreign(&disk), none);
    disk.write_all_at(&all, 2048 * 512).unwrap();
    assert_eq!(
        content(&mut open(&image), "NOTE.TXT").unwrap(),
        b"from the stick\n"
    );
    // Behind the end of the stick, too short, empty.
    for length in [0, 100, 512, 1024] {
        disk.set_len(length).unwrap();
        assert_eq!(foreign(&disk), none);
    }
}

/// What can be done with a stick is done, and it ends, without a panic.
fn use_all(image: &File, writes: bool) {
    let Ok(mut volume) = Volume::open(image.try_clone().unwrap().into()) else {
        return;
    };
    for folder in ["/", "papers", "papers/x"] {
        let entries = volume
            .list(&path(folder))
            .map_or(Vec::new(), |it| it.entries);
        for entry in entries.iter().take(8) {
            let file = format!("{folder}/{}", stickd::name::shown(&entry.name));
            let mut read = 0;
            let done = volume.read(&path(&file), &mut |data| {
                read += data.len() as u64;
                Ok(read < 1 << 20)
            });
            // All of a file, or a word about it.
            assert!(done.is_err() || read >= entry.size.min(1 << 20), "{file}");
        }
    }
    if let (true, Volume::Fat(fat)) = (writes, volume)
        && fat.takes("new", 1000).is_ok()
    {
        let mut pieces = vec![None, Some(vec![1; 1000])];
        let _ = fat.put("new", &mut || Ok(pieces.pop().unwrap()));
    }
}

/// The image with other bytes in some places that are not zero, or beside such.
fn damage(image: &Image, places: &[(prop::sample::Index, u8)], writes: bool) {
    let whole = std::fs::read(image.path()).unwrap();
    let file = image.open();
    // Not in what files contain, where it is nothing.
    let blocks: Vec<usize> = (0..whole.len().min(1 << 20))
        .step_by(16)
        .filter(|at| whole[*at..at + 16].iter().any(|it| *it != 0))
        .collect();
    for (index, byte) in places {
        let at = index.index(blocks.len() * 16);
        file.write_all_at(&[*byte], (blocks[at / 16] + at % 16) as u64)
            .unwrap();
    }
    use_all(&file, writes);
    file.write_all_at(&whole, 0).unwrap();
}

/// In each order of bits there is more to go wrong where numbers are large, or one off.
fn places() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    let byte = prop_oneof![
        Just(0),
        Just(1),
        Just(2),
        Just(0xff),
        Just(0xf7),
        any::<u8>()
    ];
    prop::collection::vec((any::<prop::sample::Index>(), byte), 1..12)
}

thread_local! {
    static SMALL: [Image; 3] = [
        Image::fat(2, &["-T", "4096"]),
        Image::fat(5, &["-T", "10240", "-c", "1"]),
        Image::exfat(4),
    ];
    static LARGE: Image = Image::fat(40, &["-F", "-T", "81920", "-c", "1"]);
}

proptest! {
    #[test]
    fn u09_a_damaged_stick_is_an_error_and_neither_a_panic_nor_without_end(
        places in places(), which in 0..3_usize, writes: bool,
    ) {
        SMALL.with(|images| damage(&images[which], &places, writes));
    }

    #[test]
    fn u09_random_bytes_are_no_stick(front in prop::collection::vec(any::<u8>(), 0..4096), kind in 0..3) {
        let image = Image::new(1);
        let file = image.open();
        file.write_all_at(&front, 0).unwrap();
        let begin: &[u8] = [&b""[..], b"\xeb\x76\x90EXFAT   ", b"\xeb\x3c\x90MTOO4043\0\x02\x01\x01\0\x02"][kind as usize];
        file.write_all_at(begin, 0).unwrap();
        use_all(&file, true);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn u09_a_damaged_fat32_is_an_error_too(places in places(), writes: bool) {
        LARGE.with(|image| damage(image, &places, writes));
    }
}

#[test]
fn u09_a_chain_of_clusters_that_leads_in_a_circle_ends() {
    for image in fats() {
        // Each entry of the table is the next one's, and the last the first.
        let file = image.open();
        let mut front = [0; 64];
        file.read_exact_at(&mut front, 0).unwrap();
        let reserved = u64::from(u16::from_le_bytes([front[14], front[15]])) * 512;
        file.write_all_at(&[2, 0].repeat(512), reserved + 4)
            .unwrap();
        use_all(&file, false);
    }
    let image = Image::exfat(4);
    let file = image.open();
    let mut front = [0; 512];
    file.read_exact_at(&mut front, 0).unwrap();
    let at = |place: usize| u32::from_le_bytes(front[place..place + 4].try_into().unwrap());
    let (table, root) = (u64::from(at(80)) << front[108], at(96));
    file.write_all_at(&root.to_le_bytes(), table + u64::from(root) * 4)
        .unwrap();
    let why = match Volume::open(image.open().into()) {
        Ok(mut volume) => volume.list(&path("/")).map(|it| it.entries.len()),
        Err(why) => Err(why),
    };
    // The root ends where its entries do, before its chain is followed.
    assert_eq!(why.unwrap(), 5);
    let _ = file;
}
