#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::*;
use crate::disk::crash;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use tempfile::{TempDir, tempdir};

type Files = BTreeMap<String, Vec<u8>>;

fn place(dir: &TempDir) -> PathBuf {
    dir.path().join("store")
}

fn all(store: &Store) -> Vec<Vec<u8>> {
    records(store.read(1))
}

fn records(reader: Reader) -> Vec<Vec<u8>> {
    let numbered: Vec<_> = reader.map(|record| record.unwrap()).collect();
    let numbers: Vec<_> = numbered.iter().map(|(seq, _)| *seq).collect();
    let count = numbers.len() as u64;
    assert_eq!(
        numbers,
        (1..=count).collect::<Vec<_>>(),
        "strictly increasing"
    );
    numbered.into_iter().map(|(_, record)| record).collect()
}

fn code<T: std::fmt::Debug>(result: Result<T>) -> Code {
    result.unwrap_err().code
}

/// Random bytes that are the same each time, with stretches of zeros, which look like what a power cut leaves.
fn noise(seed: &mut u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    for chunk in bytes.chunks_mut(64) {
        let zeros = next(seed).is_multiple_of(4);
        for byte in chunk {
            *byte = if zeros { 0 } else { next(seed) as u8 };
        }
    }
    bytes
}

/// The next of a row of numbers that look like chance (xorshift).
pub(crate) fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

fn load(dir: &Path) -> Files {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let file = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap())
    };
    entries.map(file).collect()
}

fn put(dir: &Path, files: &Files) {
    fs::create_dir(dir).unwrap();
    for (name, bytes) in files {
        fs::write(dir.join(name), bytes).unwrap();
    }
}

/// Some of the sectors of a write, in any order: what the disk may have of it when the power goes before it is flushed.
fn tear(old: &[u8], at: usize, new: &[u8], seed: &mut u64) -> Vec<u8> {
    let mut bytes = old.to_vec();
    bytes.resize(bytes.len().max(at + new.len()), 0);
    let mut from = 0;
    let all = next(seed) % 4;
    while from < new.len() {
        let to = ((at + from + SECTOR) / SECTOR * SECTOR - at).min(new.len());
        let arrives = match all {
            0 => false,
            1 => true,
            _ => next(seed).is_multiple_of(2),
        };
        if arrives {
            bytes[at + from..at + to].copy_from_slice(&new[from..to]);
        }
        from = to;
    }
    bytes
}

/// A block layer that keeps what was flushed, and of what was not any part: calls `cut` at each boundary with what is left then.
fn cutting(dir: &Path, mut seed: u64, mut cut: impl FnMut(&Files) + 'static) {
    let dir = dir.to_owned();
    let mut durable = load(&dir);
    let mut pending: Option<(String, Vec<u8>)> = None;
    let watch = move |path: &Path, at: u64, bytes: &[u8]| {
        // Whoever goes on has flushed what was before.
        durable.extend(pending.take());
        if path == dir {
            // A name is there or it is not; which file it was, the other names tell.
            cut(&durable);
            durable = load(&dir);
            return cut(&durable);
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if bytes.is_empty() {
            return cut(&durable);
        }
        let old = durable.get(&name).cloned().unwrap_or_default();
        let torn = tear(&old, at as usize, bytes, &mut seed);
        let mut left = durable.clone();
        left.insert(name.clone(), torn);
        cut(&left);
        // A new file may also be there without a byte, or not at all.
        if old.is_empty() {
            cut(&durable);
        }
        pending = Some((name, fs::read(path).unwrap()));
    };
    crash::watch(Some(Box::new(watch)));
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<usize>),
    Seal,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lengths = prop_oneof![0..40_usize, 0..600_usize, 0..4000_usize];
    let step = prop_oneof![
        6 => prop::collection::vec(lengths, 1..6).prop_map(Step::Append),
        1 => Just(Step::Seal),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..14)
}

/// What was acknowledged, and what was being appended meanwhile.
#[derive(Default)]
struct Model {
    acknowledged: Vec<Vec<u8>>,
    flying: Vec<Vec<u8>>,
}

/// What is left must be a store that has all that was acknowledged, of what was in flight a first part, and goes on.
fn check(files: &Files, model: &Model) {
    let dir = tempdir().unwrap();
    let at = place(&dir);
    put(&at, files);
    let mut store = Store::open(&at).unwrap();
    let mut found = all(&store);
    let sure = model.acknowledged.len();
    assert!(found.len() >= sure, "{} of {sure} are there", found.len());
    let written = model.acknowledged.iter().chain(&model.flying);
    assert!(found.iter().eq(written.take(found.len())), "other bytes");
    let seq = store.append(&[b"one more"]).unwrap();
    found.push(b"one more".to_vec());
    assert_eq!(seq, found.len() as u64);
    drop(store);
    assert_eq!(all(&Store::open(&at).unwrap()), found);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn s04_a_power_cut_at_each_boundary_loses_nothing_acknowledged(steps in steps(), seed in 1_u64..) {
        let dir = tempdir().unwrap();
        let at = place(&dir);
        let mut store = Store::create(&at, MIN_SEGMENT).unwrap();
        let (model, cuts) = (Rc::new(RefCell::new(Model::default())), Rc::new(RefCell::new(0)));
        let (watched, counted) = (Rc::clone(&model), Rc::clone(&cuts));
        let mut random = seed;
        cutting(&at, seed, move |files| {
            *counted.borrow_mut() += 1;
            check(files, &watched.borrow());
        });
        for step in steps {
            match step {
                Step::Append(lengths) => {
                    let records: Vec<_> = lengths.iter().map(|it| noise(&mut random, *it)).collect();
                    model.borrow_mut().flying.clone_from(&records);
                    let seq = store.append(&records).unwrap();
                    let mut model = model.borrow_mut();
                    model.flying.clear();
                    model.acknowledged.extend(records);
                    prop_assert_eq!(seq, model.acknowledged.len() as u64);
                }
                Step::Seal => {
                    let sealed = store.seal().unwrap();
                    prop_assert_eq!(sealed, model.borrow().acknowledged.len() as u64);
                }
                Step::Reopen => {
                    drop(store);
                    store = Store::open(&at).unwrap();
                }
            }
            prop_assert_eq!(&all(&store), &model.borrow().acknowledged);
        }
        crash::watch(None);
        let wrote = model.borrow().acknowledged.is_empty();
        prop_assert!(wrote || *cuts.borrow() > 0);
    }

    /// Recovery is cut off as well, at each of its writes.
    #[test]
    fn s01_a_power_cut_during_recovery_loses_nothing_either(lengths in prop::collection::vec(0..2000_usize, 1..8), seed in 1_u64..) {
        let dir = tempdir().unwrap();
        let at = place(&dir);
        let mut random = seed;
        let mut store = Store::create(&at, 1 << 14).unwrap();
        let kept = noise(&mut random, 100);
        store.append(std::slice::from_ref(&kept)).unwrap();
        let before = load(&at);
        let records: Vec<_> = lengths.iter().map(|it| noise(&mut random, *it)).collect();
        store.append(&records).unwrap();
        drop(store);
        let after = load(&at);
        let name = segment(1);
        let (old, new) = (&before[&name], &after.get(&name).unwrap());
        let end = frame::size(kept.len());
        let mut left = before.clone();
        left.insert(name.clone(), tear(old, end, &new[end..], &mut random));
        fs::remove_dir_all(&at).unwrap();
        put(&at, &left);
        let model = Model { acknowledged: vec![kept], flying: records };
        cutting(&at, seed, move |files| check(files, &model));
        drop(Store::open(&at).unwrap());
        crash::watch(None);
    }

    #[test]
    fn a16_no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), key in any::<u64>()) {
        let mut rest = bytes.as_slice();
        while let Ok(Some(_)) = frame::read(&mut rest, key) {}
    }

    #[test]
    fn s02_a_frame_is_read_as_it_was_written_and_no_other_bit_is(payload in prop::collection::vec(any::<u8>(), 0..100), key in any::<u64>(), seq in 1_u64.., bit in any::<prop::sample::Index>()) {
        let mut bytes = Vec::new();
        frame::push(&mut bytes, key, seq, seq - 1, &payload);
        prop_assert_eq!(bytes.len(), frame::size(payload.len()));
        let read = frame::read(&mut bytes.as_slice(), key).unwrap().unwrap();
        prop_assert_eq!((read.seq, read.durable, &read.payload), (seq, seq - 1, &payload));
        // The padding alone is covered by nothing, and read by nobody.
        let bit = bit.index((HEADER + payload.len()) * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!matches!(frame::read(&mut bytes.as_slice(), key), Ok(Some(_))));
    }
}

#[test]
fn s01_creation_that_is_cut_off_leaves_a_store_or_none() {
    let dir = tempdir().unwrap();
    let at = place(&dir);
    fs::create_dir(&at).unwrap();
    let cuts = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&cuts);
    cutting(&at, 7, move |files| seen.borrow_mut().push(files.clone()));
    drop(Store::create(&at, MIN_SEGMENT).unwrap());
    crash::watch(None);
    let cuts = cuts.borrow();
    assert!(cuts.len() >= 4, "{}", cuts.len());
    for files in cuts.iter() {
        let dir = tempdir().unwrap();
        let at = place(&dir);
        put(&at, files);
        let mut store = match Store::open(&at) {
            Ok(store) => {
                store.close().unwrap();
                assert_eq!(code(Store::create(&at, MIN_SEGMENT)), Code::Exists);
                Store::open(&at).unwrap()
            }
            Err(why) => {
                assert_eq!(why.code, Code::NotFound);
                Store::create(&at, MIN_SEGMENT).unwrap()
            }
        };
        assert_eq!(store.append(&[b"a"]), Ok(1));
    }
}

#[test]
fn s06_each_call_ends_with_its_code() {
    let dir = tempdir().unwrap();
    let at = place(&dir);
    assert_eq!(code(Store::open(&at)), Code::NotFound);
    assert_eq!(code(mount_snapshot(&at, 0)), Code::NotFound);
    assert_eq!(code(Store::create(&at.join("in"), 0)), Code::NotFound);
    let store = Store::create(&at, 0).unwrap();
    assert_eq!(code(Store::open(&at)), Code::ConcurrentModification);
    assert_eq!(code(Store::create(&at, 0)), Code::ConcurrentModification);
    assert_eq!(code(mount_snapshot(&at, 1)), Code::NotFound);
    store.close().unwrap();
    assert_eq!(code(Store::create(&at, 0)), Code::Exists);
    let file = dir.path().join("file");
    fs::write(&file, "somebody's").unwrap();
    assert_eq!(code(Store::create(&file, 0)), Code::Exists);
    assert_eq!(code(Store::open(&file)), Code::NotFound);
    // Somebody's directory is not made a store, and nothing in it changes.
    let foreign = dir.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("mail"), "mine").unwrap();
    assert_eq!(code(Store::create(&foreign, 0)), Code::Exists);
    assert_eq!(code(Store::open(&foreign)), Code::NotFound);
    assert_eq!(
        load(&foreign),
        Files::from([("mail".into(), b"mine".into())])
    );
    fs::write(at.join("store"), "bay0-store 2 1000 0\n").unwrap();
    let why = Store::open(&at).unwrap_err().to_string();
    assert_eq!(why, format!("io-error: {}/store: malformed", at.display()));
    let words: Vec<_> = [
        Code::Exists,
        Code::NotFound,
        Code::IoError,
        Code::ConcurrentModification,
    ]
    .map(Code::word)
    .into();
    let want = ["exists", "not-found", "io-error", "concurrent-modification"];
    assert_eq!(words, want);
}

#[test]
fn s02_a_record_that_is_too_long_is_refused_before_anything_is_written() {
    let dir = tempdir().unwrap();
    let mut store = Store::create(&place(&dir), MIN_SEGMENT).unwrap();
    let long = vec![1; MIN_SEGMENT - HEADER + 1];
    assert_eq!(code(store.append(&[vec![1], long])), Code::IoError);
    assert_eq!((store.last(), all(&store).len()), (0, 0));
    let fits = vec![1; MIN_SEGMENT - HEADER];
    assert_eq!(store.append(&[fits.clone(), fits.clone()]), Ok(2));
    assert_eq!(all(&store), [fits.clone(), fits]);
}

#[test]
fn s03_a_snapshot_stays_as_it_was_while_others_write() {
    let dir = tempdir().unwrap();
    let at = place(&dir);
    let mut store = Store::create(&at, MIN_SEGMENT).unwrap();
    assert_eq!(store.snapshot(), Ok(0));
    assert!(records(mount_snapshot(&at, 0).unwrap()).is_empty());
    let mut seen = Vec::new();
    for round in 0..20_u8 {
        store.append(&[vec![round; 700], vec![round; 3]]).unwrap();
        seen.push((store.snapshot().unwrap(), all(&store)));
        // A second one of the same has the same number.
        assert_eq!(store.snapshot(), Ok(seen.last().unwrap().0));
    }
    store.append(&[b"not sealed"]).unwrap();
    assert_eq!(code(mount_snapshot(&at, store.last())), Code::NotFound);
    for (id, content) in &seen {
        assert_eq!(&records(mount_snapshot(&at, *id).unwrap()), content);
    }
    drop(store);
    let store = Store::open(&at).unwrap();
    for (id, content) in seen {
        assert_eq!(records(mount_snapshot(&at, id).unwrap()), content);
    }
    assert_eq!(
        store.read(41).map(|it| it.unwrap().1).collect::<Vec<_>>(),
        [b"not sealed"]
    );
    assert_eq!(store.read(42).count(), 0);
}

/// Every bit of a store is turned, one at a time: nothing acknowledged is lost without a word.
#[test]
fn s04_rot_is_named_and_never_taken_for_what_a_power_cut_tore() {
    let dir = tempdir().unwrap();
    let at = place(&dir);
    let mut store = Store::create(&at, MIN_SEGMENT).unwrap();
    let mut seed = 3;
    let mut solid = |length| (0..length).map(|_| next(&mut seed) as u8 | 1).collect();
    let first: Vec<Vec<u8>> = vec![solid(300), solid(40)];
    store.append(&first).unwrap();
    store.seal().unwrap();
    let second: Vec<Vec<u8>> = vec![solid(20), solid(700)];
    store.append(&second[..1]).unwrap();
    store.append(&second[1..]).unwrap();
    drop(store);
    let (files, both) = (load(&at), [first, second].concat());
    for (name, records) in [(segment(1), 1..=2_u64), (segment(3), 3..=4)] {
        let used: usize = records
            .clone()
            .map(|it| frame::size(both[it as usize - 1].len()))
            .sum();
        for bit in 0..used * 8 {
            let mut rotten = files.clone();
            rotten.get_mut(&name).unwrap()[bit / 8] ^= 1 << (bit % 8);
            fs::remove_dir_all(&at).unwrap();
            put(&at, &rotten);
            let read = Store::open(&at).and_then(|store| {
                let read: Result<Vec<_>> = store.read(1).collect();
                Ok(read?
                    .into_iter()
                    .map(|(_, record)| record)
                    .collect::<Vec<_>>())
            });
            match read {
                // A bit of the padding means nothing.
                Ok(read) => assert_eq!(read, both, "bit {bit} of {name}"),
                Err(why) => {
                    let named = records.clone().any(|it| {
                        why.text.ends_with(&format!(
                            "{name}: record {it} does not match its checksum, or is missing"
                        ))
                    });
                    assert!(named && why.code == Code::IoError, "{why}");
                    // It is left for whoever can repair it.
                    assert_eq!(load(&at), rotten);
                }
            }
        }
    }
}

/// A sector of zeros is what a power cut leaves as well, but not before a record that says what the disk had.
#[test]
fn s04_a_sector_that_is_gone_before_what_was_acknowledged_later_is_rot() {
    let dir = tempdir().unwrap();
    let at = place(&dir);
    let mut store = Store::create(&at, 1 << 14).unwrap();
    for round in 1..9_u8 {
        store.append(&[vec![round; 700]]).unwrap();
    }
    drop(store);
    let files = load(&at);
    let size = frame::size(700);
    // The last record alone may have been torn: whatever lies wholly before it was there.
    for sector in 0..7 * size / SECTOR {
        let mut rotten = files.clone();
        let bytes = rotten.get_mut(&segment(1)).unwrap();
        bytes[sector * SECTOR..(sector + 1) * SECTOR].fill(0);
        fs::remove_dir_all(&at).unwrap();
        put(&at, &rotten);
        let why = Store::open(&at).unwrap_err();
        let lost = sector * SECTOR / size + 1;
        assert!(why.text.contains(&format!("record {lost} ")), "{why}");
        assert_eq!(load(&at), rotten);
    }
}

#[test]
fn s04_a_segment_that_is_lost_is_named() {
    let dir = tempdir().unwrap();
    let at = place(&dir);
    let mut store = Store::create(&at, MIN_SEGMENT).unwrap();
    for _ in 0..3 {
        store.append(&[b"a", b"b"]).unwrap();
        store.seal().unwrap();
    }
    fs::remove_file(at.join(segment(3))).unwrap();
    let found: Vec<_> = store.read(1).collect();
    assert!(found[0].is_ok() && found[1].is_ok());
    let why = found[2].clone().unwrap_err();
    assert!(why.text.contains("record 3"), "{why}");
    assert_eq!(found.len(), 3, "nothing after an error");
    fs::write(at.join(segment(7)), "short").unwrap();
    drop(store);
    assert_eq!(code(Store::open(&at)), Code::IoError);
}

#[test]
fn s04_after_a_failed_write_nothing_is_taken_until_it_is_opened_again() {
    let dir = tempdir().unwrap();
    let at = place(&dir);
    let mut store = Store::create(&at, MIN_SEGMENT).unwrap();
    store.append(&[b"kept"]).unwrap();
    let file = at.join(segment(1));
    let aside = dir.path().join("aside");
    fs::rename(&file, &aside).unwrap();
    assert!(store.append(&[b"lost"]).is_err());
    fs::rename(&aside, &file).unwrap();
    let why = store.append(&[b"refused"]).unwrap_err();
    assert!(
        why.text.ends_with("a write has failed; open it again"),
        "{why}"
    );
    assert_eq!(code(store.seal()), Code::IoError);
    assert_eq!(code(store.close()), Code::IoError);
    let mut store = Store::open(&at).unwrap();
    assert_eq!(store.append(&[b"again"]), Ok(2));
    assert_eq!(all(&store), [b"kept".to_vec(), b"again".to_vec()]);
}

#[test]
fn s05_the_clock_only_rises_and_the_identity_stays() {
    let mut last = 0;
    for _ in 0..1000 {
        let now = host_clock().unwrap();
        assert!(now >= last);
        last = now;
    }
    let (dir, other) = (tempdir().unwrap(), tempdir().unwrap());
    let identity = host_identity(dir.path()).unwrap();
    assert_eq!(
        (identity.len(), host_identity(dir.path()).unwrap()),
        (64, identity.clone())
    );
    assert_ne!(host_identity(other.path()).unwrap(), identity);
    assert!(host_identity(&dir.path().join("none")).is_err());
}

#[test]
fn s01_ten_thousand_stores_lie_side_by_side() {
    let dir = tempdir().unwrap();
    let at = |number: u32| dir.path().join(number.to_string());
    for number in 0..10_000_u32 {
        drop(Store::create(&at(number), MIN_SEGMENT).unwrap());
    }
    for number in (0..10_000).step_by(997) {
        let mut store = Store::open(&at(number)).unwrap();
        store.append(&[number.to_le_bytes()]).unwrap();
    }
    for number in 0..10_000_u32 {
        let found = all(&Store::open(&at(number)).unwrap());
        let mine: Vec<_> = number
            .is_multiple_of(997)
            .then(|| number.to_le_bytes().to_vec())
            .into_iter()
            .collect();
        assert_eq!(found, mine);
    }
}

/// The disk is full after so many bytes, whatever the store is doing then.
#[test]
#[ignore = "needs root"]
fn s04_a_disk_that_is_full_at_any_step_loses_nothing_and_goes_on_with_space() {
    let mut full = [0, 0];
    for kib in (4..120).step_by(4) {
        let dir = crate::client::tests::tmpfs(&format!("{kib}k"));
        if kib == 4 {
            crate::client::tests::fill(&dir);
        }
        let (at, mut seed) = (place(&dir), 9);
        let enough = |why: &Error| why.code == Code::IoError && why.text.ends_with("ENOSPC");
        let mut acknowledged = Vec::new();
        match Store::create(&at, MIN_SEGMENT) {
            Err(why) => {
                assert!(enough(&why), "{why}");
                full[0] += 1;
            }
            Ok(mut store) => {
                for _ in 0..40 {
                    let records = vec![noise(&mut seed, 900), noise(&mut seed, 1500)];
                    match store.append(&records) {
                        Ok(_) => acknowledged.extend(records),
                        Err(why) => {
                            assert!(enough(&why), "{why}");
                            full[1] += 1;
                            break;
                        }
                    }
                }
                let found = all(&store);
                assert!(found.starts_with(&acknowledged));
                // The same handle goes on once there is space.
                crate::client::tests::resize(&dir, "1m");
                acknowledged = found;
                acknowledged.push(b"space".to_vec());
                assert_eq!(store.append(&[b"space"]), Ok(acknowledged.len() as u64));
            }
        }
        crate::client::tests::resize(&dir, "1m");
        let store = Store::open(&at)
            .or_else(|_| Store::create(&at, MIN_SEGMENT))
            .unwrap();
        assert_eq!(all(&store), acknowledged, "{kib} KiB");
    }
    assert!(full[0] > 0 && full[1] > 10, "{full:?}");
}
