#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

use super::*;
use crate::shelf::Shelf;
use bay0_persona::Wish;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use tempfile::tempdir;

const WIDE: Limits = Limits {
    bytes: 1 << 30,
    records: 10_000,
    rate: 1 << 30,
    read: 1 << 30,
    together: 0,
};

/// What the file system says of all below a directory, each inode once: bytes of its blocks, and how many inodes there are.
fn spent(dir: &Path) -> (u64, u64) {
    fn walk(path: &Path, all: &mut BTreeMap<u64, u64>) {
        let meta = fs::symlink_metadata(path).unwrap();
        all.insert(meta.ino(), meta.blocks() * BLOCK);
        if meta.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                walk(&entry.unwrap().path(), all);
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(dir, &mut all);
    (all.values().sum(), all.len() as u64)
}

#[derive(Clone, Debug)]
enum Step {
    Save(u16, usize),
    Half(u16, usize),
    Append(usize),
    Drop(u16),
    Snapshot,
    Forget(u8),
    Again,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..40_u16, 0..150_000_usize).prop_map(|(name, size)| Step::Save(name, size)),
        3 => (0..40_u16, 0..60_usize).prop_map(|(name, size)| Step::Save(name, size)),
        1 => (0..40_u16, 0..150_000_usize).prop_map(|(name, size)| Step::Half(name, size)),
        2 => (0..60_000_usize).prop_map(Step::Append),
        2 => (0..40_u16).prop_map(Step::Drop),
        1 => Just(Step::Snapshot),
        1 => (1..5_u8).prop_map(Step::Forget),
        1 => Just(Step::Again),
    ];
    prop::collection::vec(step, 1..40)
}

/// One step; whether it is done.
fn take(shelf: &mut Shelf, step: &Step) -> Result<(), String> {
    let name = |name: &u16| format!("{name:0>70}");
    let wish = |line: String| Wish::parse(&line).unwrap();
    match step {
        Step::Save(at, size) | Step::Half(at, size) => {
            let mut sending = shelf.begin(&name(at))?;
            for piece in vec![7; *size].chunks(crate::shelf::CHUNK) {
                if let Err(text) = shelf.put(&mut sending, piece) {
                    shelf.abort(sending);
                    return Err(text);
                }
            }
            if matches!(step, Step::Half(..)) {
                shelf.abort(sending);
                return Ok(());
            }
            shelf.finish(sending).map(drop)
        }
        Step::Append(size) => shelf.append(&[vec![7; *size]]).map(drop),
        Step::Drop(at) => shelf.drop(&wish(format!("drop {}", name(at)))).map(drop),
        Step::Snapshot => shelf.snapshot().map(drop),
        Step::Forget(at) => shelf.drop(&wish(format!("drop @{at}"))).map(drop),
        Step::Again => Ok(()),
    }
}

fn walked(at: &Path, bytes: u64, steps: &[Step]) {
    let limits = Limits { bytes, ..WIDE };
    let mut shelf = Shelf::open(at, limits).unwrap();
    for step in steps {
        if matches!(step, Step::Again) {
            drop(shelf);
            shelf = Shelf::open(at, limits).unwrap();
        }
        if let Err(why) = take(&mut shelf, step) {
            let known = why.starts_with("full: ") || why.starts_with("not-found: ");
            assert!(known, "{step:?}: {why}");
        }
        let (blocks, inodes) = spent(at);
        let account = shelf.account();
        let held = account.bytes;
        assert!(
            blocks <= held && inodes * account.disk.share <= held,
            "{step:?}: {held} are counted, the disk says {blocks} in {inodes}"
        );
        assert!(
            held <= bytes.max(3 * account.disk.share),
            "{step:?}: {held} of {bytes}"
        );
        shelf.count().unwrap();
        assert_eq!(shelf.account().bytes, held, "{step:?}");
        assert_eq!(shelf.account().coming, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn u06_what_is_counted_is_never_less_than_what_the_disk_spends(steps in steps(), kib in 100..3000_u64) {
        let dir = tempdir().unwrap();
        walked(&dir.path().join("p__work"), kib << 10, &steps);
    }
}

fn disk(size: u64, files: u64) -> Space {
    let reserve = size / PART;
    let (usable, usable_files) = (size - reserve, files - files / PART);
    Space {
        usable,
        share: usable.div_ceil(usable_files).max(LEAST),
        block: 4096,
        reserve,
        reserved_files: files / PART,
    }
}

#[test]
fn u06_all_rooms_together_fit_beside_the_reserve_in_bytes_and_inodes() {
    for (size, files) in [(64 << 20, 16_384), (1 << 30, 65_536), (1 << 40, 1 << 20)] {
        let disk = disk(size, files);
        let policies = [1 << 20, 5 << 20, 1 << 30, 1 << 40, 3 << 38];
        let together: u64 = policies.iter().sum();
        let parts = policies.map(|bytes| {
            disk.part(Limits {
                bytes,
                together,
                ..WIDE
            })
        });
        let sum: u64 = parts.iter().sum();
        assert!(sum <= disk.usable && sum + 5 >= disk.usable.min(together));
        let inodes: u64 = parts.iter().map(|part| part / disk.share).sum();
        assert!(inodes <= files - disk.reserved_files);
    }
    let limits = Limits {
        bytes: 7,
        together: 8,
        ..WIDE
    };
    assert_eq!(disk(1 << 30, 65_536).part(limits), 7);
}

/// An ext4 of so many MiB, with blocks of so many bytes and an inode for so many.
fn ext4(mib: u64, block: u64, each: u64) -> tempfile::TempDir {
    use nix::mount::{MsFlags, mount};
    let dir = tempdir().unwrap();
    let image = dir.path().join("image");
    let file = fs::File::create(&image).unwrap();
    file.set_len(mib << 20).unwrap();
    let run = |line: String| {
        let mut words = line.split(' ');
        let mut command = std::process::Command::new(words.next().unwrap());
        assert!(command.args(words).status().unwrap().success(), "{line}");
    };
    let at = image.display();
    run(format!(
        "mke2fs -q -F -t ext4 -m 0 -b {block} -i {each} {at}"
    ));
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    let place = dir.path().join("at");
    fs::create_dir(&place).unwrap();
    run(format!("mount -o loop {at} {}", place.display()));
    dir
}

#[test]
#[ignore = "needs root"]
fn u06_rooms_that_fill_their_part_leave_the_others_theirs_and_the_log_its_reserve() {
    for (block, each) in [(1024, 4096), (4096, 65_536)] {
        let dir = ext4(24, block, each);
        let at = dir.path().join("at");
        let limits = Limits {
            bytes: 1 << 30,
            records: 1_000_000,
            rate: 1 << 30,
            read: 1 << 30,
            together: 3 << 30,
        };
        let mut rooms = ["a", "b", "c"].map(|name| Shelf::open(&at.join(name), limits).unwrap());
        let [small, snapshots, last] = &mut rooms;
        let fill = |shelf: &mut Shelf, step: &dyn Fn(u16) -> [Step; 2]| {
            for count in 0.. {
                for step in step(count) {
                    if let Err(why) = take(shelf, &step) {
                        return assert!(why.starts_with("full: it may keep "), "{why}");
                    }
                }
            }
        };
        fill(small, &|at| [Step::Save(at, 1), Step::Again]);
        fill(snapshots, &|_| [Step::Append(1), Step::Snapshot]);
        let part = last.account().disk.part(limits);
        let rest = part - last.account().bytes;
        take(last, &Step::Save(1, (rest / 10 * 9) as usize)).unwrap();
        let now = statvfs(&at).unwrap();
        let disk = last.account().disk;
        let free = now.blocks_available() * now.fragment_size();
        assert!(free >= disk.reserve, "{free} {disk:?}");
        assert!(now.files_free() >= disk.reserved_files, "{disk:?}");
        drop(rooms);
        nix::mount::umount(&at).unwrap();
    }
}
