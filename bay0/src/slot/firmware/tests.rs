//! Variables in a folder, as the firmware shows them.

#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::*;
use crate::slot::starts::begin;

/// What entries are called and which partition they start; a path is no longer than it must be here.
const ENTRIES: [(u16, &str, u8); 4] = [
    (1, "Spine A", 1),
    (2, "Spine B", 2),
    (3, "Off A", 3),
    (7, "UiApp", 4),
];

fn part(number: u8) -> Part {
    Part {
        number: number.into(),
        guid: [number; 16],
        start: u64::from(number) << 20,
        bytes: 1 << 20,
        name: String::new(),
    }
}

fn option(text: &str, start: u8) -> Vec<u8> {
    let part = part(start);
    let mut path = vec![4, 1, 42, 0, start, 0, 0, 0];
    path.extend((part.start / 512).to_le_bytes());
    path.extend((part.bytes / 512).to_le_bytes());
    path.extend(part.guid);
    path.extend([2, 2, 0x7f, 0xff, 4, 0]);
    let mut option = vec![1, 0, 0, 0, 46, 0];
    let text = text.encode_utf16().chain([0]);
    option.extend(text.flat_map(u16::to_le_bytes));
    option.extend(path);
    option
}

fn put(dir: &Path, name: &str, value: &[u8]) {
    let bytes = [&[7, 0, 0, 0], value].concat();
    fs::write(dir.join(format!("{name}{GUID}")), bytes).unwrap();
}

fn list(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|it| it.to_le_bytes()).collect()
}

/// Variables as the firmware shows them; the stub has named the partition `booted`, and `started` is the entry that it is of.
fn variables(started: u16, booted: u8, order: &[u16]) -> (tempfile::TempDir, Option<Pair>) {
    let dir = tempfile::tempdir().unwrap();
    for (number, text, start) in ENTRIES {
        let name = format!("Boot{number:04X}");
        put(dir.path(), &name, &option(text, start));
    }
    put(dir.path(), "BootCurrent", &list(&[started]));
    put(dir.path(), ORDER, &list(order));
    let slots = read(dir.path(), booted);
    (dir, slots)
}

fn read(dir: &Path, booted: u8) -> Option<Pair> {
    let name = ["slot-a", "slot-b"].get(usize::from(booted) - 1);
    let name = name.copied().unwrap_or("persist").to_owned();
    let mut slots = Pair::read(dir.to_owned(), [booted; 16], || Ok(name)).unwrap()?;
    entered(&mut slots).unwrap();
    Some(slots)
}

fn firmware(started: u16, order: &[u16]) -> (tempfile::TempDir, Pair) {
    let (dir, slots) = variables(started, started as u8, order);
    (dir, slots.unwrap())
}

fn entered(slots: &mut Pair) -> Result<bool> {
    let (ours, other) = if slots.here == Slot::A {
        (1, 2)
    } else {
        (2, 1)
    };
    slots.enter(&part(ours), &part(other))
}

/// The next boot, of this slot.
fn boots(dir: &Path, slot: u8) -> Pair {
    put(dir, "BootCurrent", &list(&[slot.into()]));
    begin(dir, [slot; 16]).unwrap();
    read(dir, slot).unwrap()
}

#[test]
fn u05_an_entry_that_is_gone_is_made_again_and_one_by_another_name_serves() {
    let (dir, mut slots) = firmware(1, &[1, 3, 7]);
    let entry = |number: u16| dir.path().join(format!("Boot{number:04X}{GUID}"));
    fs::remove_file(entry(2)).unwrap();
    // Its name alone makes no entry ours.
    put(dir.path(), "Boot0004", &option("Spine B", 9));
    assert!(entered(&mut slots).unwrap());
    assert_eq!(fs::read(entry(2)).unwrap()[4..], option("Spine B", 2));
    slots.try_once().unwrap();
    assert_eq!(numbers(dir.path(), NEXT), [2]);
    assert!(!entered(&mut slots).unwrap());
    fs::rename(entry(2), entry(6)).unwrap();
    put(dir.path(), "Boot0006", &option("somebody's", 2));
    assert!(!entered(&mut slots).unwrap());
    assert_eq!(slots.others, [6]);
}

#[test]
fn u05_all_entries_of_a_slot_that_is_being_replaced_leave_the_order() {
    let (dir, mut slots) = firmware(1, &[1, 5, 2, 3]);
    put(dir.path(), "Boot0005", &option("a copy", 2));
    assert!(!entered(&mut slots).unwrap());
    assert_eq!(slots.others, [2, 5]);
    slots.exclude().unwrap();
    assert_eq!(slots.order(), [1, 3]);
    assert!(!slots.spare());
}

#[test]
fn u05_the_slot_that_runs_is_known_by_the_partition_that_was_booted() {
    let (dir, slots) = firmware(2, &[1, 2, 3]);
    assert_eq!((slots.here, slots.here.other()), (Slot::B, Slot::A));
    put(dir.path(), "Boot0002", &option("Linux", 2));
    assert_eq!(read(dir.path(), 2).unwrap().here, Slot::B);
    // An entry of another partition has not started it.
    put(dir.path(), "Boot0002", &option("Spine B", 1));
    assert!(read(dir.path(), 2).is_none());
    assert!(variables(3, 3, &[1, 2, 3]).1.is_none());
    assert!(variables(9, 1, &[]).1.is_none());
}

#[test]
fn u05_a_trial_is_known_whatever_the_order_is_and_over_with_a_commit() {
    for order in [[1, 3, 7].as_slice(), &[1, 2, 3], &[2, 1, 3]] {
        let (dir, slots) = firmware(1, &[1, 2, 3]);
        slots.exclude().unwrap();
        slots.try_once().unwrap();
        assert!(slots.is_next() && slots.start() != Start::Trial);
        put(dir.path(), ORDER, &list(order));
        let slots = boots(dir.path(), 2);
        assert!(slots.start() == Start::Trial);
        assert_eq!(slots.commit().unwrap(), order[0] != 2);
        assert_eq!(slots.order()[..2], [2, 1]);
        assert!(slots.start() == Start::First && slots.spare());
        assert!(!slots.commit().unwrap());
    }
}

#[test]
fn u05_a_trial_is_refused_with_proof_or_after_three_tries() {
    let (dir, slots) = firmware(1, &[1, 3, 7]);
    slots.try_once().unwrap();
    // The firmware has not started it.
    let trial = slots.trial().unwrap();
    assert_eq!((trial.armed, trial.started), (1, 0));
    // The watchdog's reset is not its own.
    assert_eq!(trial.refusal(true), None);
    slots.try_once().unwrap();
    let proof = Some("it was tried and failed".to_owned());
    boots(dir.path(), 2);
    boots(dir.path(), 2);
    assert_eq!(slots.trial().unwrap().refusal(false), None);
    assert_eq!(slots.trial().unwrap().refusal(true), proof);
    slots.try_once().unwrap();
    let why = "of 3 trials 2 have started, none with a verdict";
    assert_eq!(slots.trial().unwrap().refusal(false).unwrap(), why);
    change(dir.path(), |it| it.trial.as_mut().unwrap().failed = true).unwrap();
    assert_eq!(slots.trial().unwrap().refusal(false), proof);
    slots.exclude().unwrap();
    assert_eq!(slots.trial(), None);
}

#[test]
fn c09_a_first_slot_without_an_end_is_left_for_the_other_and_that_for_off() {
    let (dir, _) = firmware(1, &[1, 2, 3, 7]);
    let next = || numbers(dir.path(), NEXT);
    for _ in 0..2 {
        boots(dir.path(), 1);
        assert!(next().is_empty());
    }
    // Well at the third time: nothing has happened.
    let slots = boots(dir.path(), 1);
    assert_eq!(next(), [2]);
    assert!(!slots.commit().unwrap());
    assert!(next().is_empty());
    (0..3).for_each(|_| drop(boots(dir.path(), 1)));
    let slots = boots(dir.path(), 2);
    assert_eq!(next(), [3]);
    assert!(slots.start() == Start::Endless);
    // It stays where it is.
    assert!(!slots.commit().unwrap());
    assert_eq!(slots.order(), [1, 2, 3, 7]);
    assert!(next().is_empty());
    // A trial is none of this, however often the first one has failed.
    slots.try_once().unwrap();
    change(dir.path(), |it| it.unfinished = 9).unwrap();
    put(dir.path(), ORDER, &list(&[2, 3]));
    let slots = boots(dir.path(), 1);
    assert!(slots.start() == Start::Trial);
    assert!(slots.commit().unwrap());
    put(dir.path(), ORDER, &list(&[1, 2, 3, 7]));
    // One that the firmware could not load is another matter.
    let slots = boots(dir.path(), 2);
    assert!(slots.commit().unwrap());
    assert_eq!(slots.order(), [2, 1, 3, 7]);
}

#[test]
fn c10_a_slot_that_is_being_replaced_is_not_started_by_itself() {
    let (dir, slots) = firmware(1, &[1, 2, 3, 7]);
    assert!(slots.spare() && slots.start() == Start::First);
    slots.exclude().unwrap();
    assert_eq!(slots.order(), [1, 3, 7]);
    assert!(!slots.spare());
    slots.try_once().unwrap();
    assert_eq!(numbers(dir.path(), NEXT), [2]);
    // It waits for its one try, until another update takes its place.
    assert!(slots.is_next() && !slots.spare());
    slots.exclude().unwrap();
    assert!(!slots.is_next() && numbers(dir.path(), NEXT).is_empty());
    slots.readmit().unwrap();
    slots.readmit().unwrap();
    assert_eq!(slots.order(), [1, 2, 3, 7]);
}

#[test]
fn c11_a_variable_that_cannot_be_written_is_an_error() {
    let (dir, slots) = firmware(2, &[1, 2]);
    let unentered = Pair {
        others: Vec::new(),
        ..slots.clone()
    };
    let error = unentered.try_once().unwrap_err().to_string();
    assert_eq!(error, "no boot entry starts slot A");
    fs::remove_file(dir.path().join(format!("{ORDER}{GUID}"))).unwrap();
    fs::create_dir(dir.path().join(format!("{ORDER}{GUID}"))).unwrap();
    let error = format!("{:#}", slots.commit().unwrap_err());
    assert_eq!(error, "write BootOrder: Is a directory (os error 21)");
}
