//! Variables in a folder, as the firmware shows them.

#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::path::Path;

use super::*;
use crate::slot::entry::tests::{LINE, option, part, path, place};
use crate::slot::starts::begin;

const SPINE: &str = r"\EFI\BOOT\BOOTX64.EFI";

/// Numbers of entries, and which partition they start.
const ENTRIES: [(u16, u8); 3] = [(1, 1), (2, 2), (7, 9)];
/// And those that switch the machine off.
const OFFS: [(u16, u8); 2] = [(3, 1), (4, 2)];

fn spine(number: u8) -> Vec<u8> {
    option(1, "x", &path(&part(number), SPINE), b"")
}

fn put(dir: &Path, name: &str, value: &[u8]) {
    let bytes = [&[7, 0, 0, 0], value].concat();
    fs::write(dir.join(format!("{name}{GUID}")), bytes).unwrap();
}

fn list(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|it| it.to_le_bytes()).collect()
}

/// Variables as the firmware shows them, once it has started this entry, which is that of the slot of the same number.
fn firmware(started: u16, order: &[u16]) -> (tempfile::TempDir, Pair) {
    let dir = tempfile::tempdir().unwrap();
    for (number, start) in ENTRIES {
        put(dir.path(), &format!("Boot{number:04X}"), &spine(start));
    }
    for (number, start) in OFFS {
        let off = option(1, "x", &path(&part(start), r"\OFF.EFI"), b"");
        put(dir.path(), &format!("Boot{number:04X}"), &off);
    }
    put(dir.path(), "BootCurrent", &list(&[started]));
    put(dir.path(), ORDER, &list(order));
    let here = if started == 2 { Slot::B } else { Slot::A };
    let pair = pair(dir.path(), here);
    (dir, pair)
}

fn pair(dir: &Path, here: Slot) -> Pair {
    Pair {
        vars: dir.to_owned(),
        here,
        slots: vec![(Slot::A, place(1)), (Slot::B, place(2))],
    }
}

/// Whether the firmware is to start the other slot.
fn due(slots: &Pair) -> bool {
    slots.is_due().unwrap()
}

/// A variable that is not there, and cannot be written.
fn wear_out(dir: &Path, name: &str) {
    let path = dir.join(format!("{name}{GUID}"));
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/nowhere/at/all", path).unwrap();
}

fn order(slots: &Pair) -> Vec<u16> {
    slots.state().unwrap().order
}

/// The next boot, of this slot.
fn boots(dir: &Path, slot: u8) -> Pair {
    put(dir, "BootCurrent", &list(&[slot.into()]));
    begin(dir, [slot; 16]).unwrap();
    pair(dir, if slot == 2 { Slot::B } else { Slot::A })
}

#[test]
fn u05_a_slot_without_entries_has_them_after_one_boot_and_the_other_stays_out_until_it_is_looked_after()
 {
    let (dir, slots) = firmware(1, &[1, 2, 3, 4]);
    for name in ["Boot0001", "Boot0002", "Boot0003", "Boot0004", ORDER] {
        fs::remove_file(dir.path().join(format!("{name}{GUID}"))).unwrap();
    }
    // The firmware's own entry for the whole disk.
    put(
        dir.path(),
        "Boot0000",
        &option(1, "UEFI USB", &[0x7f, 0xff, 4, 0], b""),
    );
    put(dir.path(), ORDER, &list(&[0, 7]));
    put(dir.path(), "BootCurrent", &list(&[0]));
    assert_eq!(slots.way(&slots.state().unwrap()), Start::Found);
    assert_eq!(
        slots.try_once().unwrap_err().to_string(),
        "no boot entry starts slot B; next: reboot, then see log"
    );
    let text = "boot entries: Boot0001 is Spine A, Boot0002 is Spine B, Boot0003 is Off A, Boot0004 is Off B, the order is 0001 0003 0004 0000 0007; writes: 5";
    assert_eq!(slots.settle(true).unwrap(), text);
    assert_eq!(slots.settle(true).unwrap(), "");
    assert!(!due(&slots) && slots.is_entered().is_ok());
    slots.readmit().unwrap();
    assert_eq!(order(&slots), [1, 2, 3, 4, 0, 7]);
    // Started by its entry, there is nothing to write.
    let slots = boots(dir.path(), 1);
    assert_eq!(
        (
            slots.way(&slots.state().unwrap()),
            slots.settle(true).unwrap().as_str()
        ),
        (Start::First, "")
    );
    // By the firmware's way to the disk again: the newer slot stays first.
    put(dir.path(), ORDER, &list(&[2, 1, 3, 4, 0, 7]));
    put(dir.path(), "BootCurrent", &list(&[0]));
    assert_eq!(
        (
            slots.way(&slots.state().unwrap()),
            slots.settle(true).unwrap().as_str()
        ),
        (Start::Found, "")
    );
}

#[test]
fn u05_an_entry_that_is_gone_is_made_again_and_what_was_written_is_read_back() {
    let (dir, slots) = firmware(1, &[1, 2, 3, 4, 7]);
    let entry = |number: u16| dir.path().join(format!("Boot{number:04X}{GUID}"));
    fs::remove_file(entry(2)).unwrap();
    // Its name alone makes no entry ours, nor does another spelling of a number.
    put(
        dir.path(),
        "Boot0005",
        &option(1, "Spine B", &path(&part(9), SPINE), b""),
    );
    put(dir.path(), "Boot+002", &spine(2));
    assert_eq!(
        slots.settle(false).unwrap(),
        "boot entries: Boot0002 is Spine B, the order is 0001 0003 0004 0007; writes: 2"
    );
    slots.try_once().unwrap();
    assert_eq!(numbers(dir.path(), NEXT), [2]);
    let made = fs::read(entry(2)).unwrap();
    assert_eq!(made[..4], [7, 0, 0, 0]);
    assert_eq!(place(2).is_well(Program::Spine, &made[4..]), Some(true));
    // One by another number serves as well, and of two the one that was chosen.
    fs::rename(entry(2), entry(6)).unwrap();
    assert_eq!(slots.entries(&slots.state().unwrap(), Slot::B), [6]);
    put(dir.path(), "Boot0002", &spine(2));
    assert_eq!(slots.entries(&slots.state().unwrap(), Slot::B), [2, 6]);
    assert_eq!(
        slots.settle(true).unwrap(),
        "boot entries: Boot0006 is removed; writes: 1"
    );
    assert!(!entry(6).exists() && due(&slots));
}

#[test]
fn u05_a_firmware_without_room_for_an_entry_is_said_and_a_trial_ends_all_the_same() {
    let (dir, slots) = firmware(1, &[1, 3, 4, 7]);
    slots.try_once().unwrap();
    let slots = boots(dir.path(), 2);
    wear_out(dir.path(), "Boot0004");
    let error = format!("{:#}", slots.settle(true).unwrap_err());
    assert_eq!(
        error,
        "write Boot0004: No such file or directory (os error 2)"
    );
    assert_eq!(order(&slots), [2, 1, 3, 4, 7]);
    assert_eq!(slots.trial_of(Slot::B), None);
    fs::remove_file(dir.path().join(format!("Boot0004{GUID}"))).unwrap();
    assert_eq!(
        slots.settle(true).unwrap(),
        "boot entries: Boot0004 is Off B; writes: 1"
    );
}

#[test]
fn u05_all_entries_of_a_slot_that_is_being_replaced_leave_the_order() {
    let (dir, slots) = firmware(1, &[1, 5, 2, 3]);
    put(dir.path(), "Boot0005", &spine(2));
    assert_eq!(slots.entries(&slots.state().unwrap(), Slot::B), [5, 2]);
    slots.exclude().unwrap();
    assert_eq!(order(&slots), [1, 3]);
    assert!(!due(&slots));
}

#[test]
fn u05_the_slot_that_runs_was_started_by_its_entry_or_found() {
    let (dir, slots) = firmware(2, &[1, 2, 3]);
    assert_eq!(slots.way(&slots.state().unwrap()), Start::Unstartable);
    put(
        dir.path(),
        "Boot0002",
        &option(0, "Linux", &path(&part(2), SPINE), LINE),
    );
    assert_eq!(slots.way(&slots.state().unwrap()), Start::Unstartable);
    // An entry of another partition has not started it.
    put(dir.path(), "Boot0002", &spine(1));
    assert_eq!(slots.way(&slots.state().unwrap()), Start::Found);
    // What the firmware tried in vain before any slot is no slot.
    let (_dir, slots) = firmware(1, &[7, 1, 2, 3]);
    assert_eq!(slots.way(&slots.state().unwrap()), Start::First);
}

#[test]
fn u05_a_trial_is_known_whatever_the_order_is_and_over_with_a_commit() {
    for before in [[1, 3, 7].as_slice(), &[1, 2, 3], &[2, 1, 3]] {
        let (dir, slots) = firmware(1, &[1, 2, 3]);
        slots.exclude().unwrap();
        slots.try_once().unwrap();
        assert!(due(&slots) && slots.way(&slots.state().unwrap()) != Start::Trial);
        put(dir.path(), ORDER, &list(before));
        let slots = boots(dir.path(), 2);
        assert!(slots.way(&slots.state().unwrap()) == Start::Trial);
        let first = slots.settle(true).unwrap();
        let moved = first.ends_with("slot B is the first from now on");
        assert_eq!(moved, before[0] != 2, "{first}");
        assert_eq!(order(&slots)[..2], [2, 1]);
        assert!(slots.way(&slots.state().unwrap()) == Start::First && due(&slots));
        assert_eq!(slots.settle(true).unwrap(), "");
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
    let (dir, _) = firmware(1, &[1, 2, 3, 4, 7]);
    let next = || numbers(dir.path(), NEXT);
    for _ in 0..2 {
        boots(dir.path(), 1);
        assert!(next().is_empty());
    }
    // Well at the third time: nothing has happened.
    let slots = boots(dir.path(), 1);
    assert_eq!(next(), [2]);
    assert_eq!(slots.settle(true).unwrap(), "");
    assert!(next().is_empty());
    (0..3).for_each(|_| drop(boots(dir.path(), 1)));
    let slots = boots(dir.path(), 2);
    assert_eq!(next(), [3]);
    assert!(slots.way(&slots.state().unwrap()) == Start::Endless);
    // It stays where it is.
    assert_eq!(slots.settle(true).unwrap(), "");
    assert_eq!(order(&slots), [1, 2, 3, 4, 7]);
    assert!(next().is_empty());
    // A trial is none of this, however often the first one has failed.
    slots.try_once().unwrap();
    change(dir.path(), |it| it.unfinished = 9).unwrap();
    put(dir.path(), ORDER, &list(&[2, 3]));
    let slots = boots(dir.path(), 1);
    assert!(slots.way(&slots.state().unwrap()) == Start::Trial);
    slots.settle(true).unwrap();
    put(dir.path(), ORDER, &list(&[1, 2, 3, 4, 7]));
    // One that the firmware could not load is another matter.
    let slots = boots(dir.path(), 2);
    assert_eq!(
        slots.settle(true).unwrap(),
        "slot B is the first from now on"
    );
    assert_eq!(order(&slots), [2, 1, 3, 4, 7]);
}

#[test]
fn c10_a_slot_that_is_being_replaced_is_not_started_by_itself() {
    let (dir, slots) = firmware(1, &[1, 2, 3, 7]);
    assert!(due(&slots) && slots.way(&slots.state().unwrap()) == Start::First);
    slots.exclude().unwrap();
    assert_eq!(order(&slots), [1, 3, 7]);
    assert!(!due(&slots));
    slots.try_once().unwrap();
    assert_eq!(numbers(dir.path(), NEXT), [2]);
    // It waits for its one try, until another update takes its place.
    assert!(due(&slots));
    slots.exclude().unwrap();
    assert!(!due(&slots) && numbers(dir.path(), NEXT).is_empty());
    slots.readmit().unwrap();
    slots.readmit().unwrap();
    assert_eq!(order(&slots), [1, 2, 3, 7]);
}

#[test]
fn c11_a_variable_that_cannot_be_written_is_an_error() {
    let (dir, slots) = firmware(2, &[1, 2]);
    wear_out(dir.path(), ORDER);
    let error = format!("{:#}", slots.settle(true).unwrap_err());
    assert_eq!(
        error,
        "write BootOrder: No such file or directory (os error 2)"
    );
    // What cannot be read is not taken for lost: nothing is written over it.
    let before = fs::read(dir.path().join(format!("Boot0002{GUID}"))).unwrap();
    for name in [ORDER, "Boot0001"] {
        let path = dir.path().join(format!("{name}{GUID}"));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let error = format!("{:#}", slots.settle(true).unwrap_err());
        assert_eq!(error, format!("read {name}: Is a directory (os error 21)"));
        fs::remove_dir(&path).unwrap();
        put(dir.path(), name, &list(&[2]));
    }
    assert_eq!(
        fs::read(dir.path().join(format!("Boot0002{GUID}"))).unwrap(),
        before
    );
}
