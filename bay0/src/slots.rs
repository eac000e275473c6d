//! The slots (C09 to C11, decision 11): which Spine the firmware starts, and which one it tries once.
//!
//! What is to be started stands in the firmware's own variables (UEFI 2.10, 3.3). While a slot is being replaced, and until the Spine
//! in it has proven itself, it is not in `BootOrder`: whatever happens meanwhile, the firmware starts the other one.
//!
//! | `BootOrder` | started | what it means | what follows |
//! | --- | --- | --- | --- |
//! | A, B | A | all is well | |
//! | A, B | B | the firmware could not start A | B goes on and, once GREEN, is first |
//! | A | B | the first boot of a new Spine, by `BootNext` | GREEN: `BootOrder` is B, A. Anything else: a reboot, to A |
//! | A | A, and an entry starts B | B was not replaced to the end, or has failed | it is refused from now on (H17) and made a copy of A (T06) |
//! | any | A, and no entry starts B | B cannot have been started (U05) | an entry is made; B, unless it is older than A, is tried at the next boot |
//!
//! The entries of the other slot are known by their device path: however many there are and whatever they are called, all of them leave the
//! order, and the first is what `BootNext` names.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use bay0_persona::disks::{self, VARS};
use bay0_persona::gpt::Part;

use crate::entry;
use crate::update::told as lost;

/// Whose the variables are: the firmware's.
const GUID: &str = "-8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// How an entry that starts a slot is called, before the slot's letter.
const ENTRY: &str = "Spine ";
const ORDER: &str = "BootOrder";
const NEXT: &str = "BootNext";

/// A machine that the firmware has started from a slot.
#[derive(Clone, Debug)]
pub struct Slots {
    vars: PathBuf,
    current: u16,
    /// The entries that start the other slot, once [`Slots::enter`] has looked for them.
    others: Vec<u16>,
    /// The slot that runs: `A` or `B`.
    pub here: String,
    /// The other one.
    pub there: &'static str,
}

impl Slots {
    /// Finds out which slot runs; none if no firmware has started one.
    pub fn find() -> Option<Slots> {
        Slots::read(VARS.into())
    }

    fn read(vars: PathBuf) -> Option<Slots> {
        let current = *numbers(&vars, "BootCurrent").first()?;
        let here = described(&vars, current)?;
        let there = if here == "A" { "B" } else { "A" };
        let slots = Slots {
            vars,
            current,
            others: Vec::new(),
            here,
            there,
        };
        Some(slots)
    }

    /// Whether the firmware starts nothing that is not signed.
    pub fn is_secure(&self) -> bool {
        let path = self.vars.join(format!("SecureBoot{GUID}"));
        fs::read(path).is_ok_and(|value| value.ends_with(&[1]))
    }

    /// Whether the firmware starts this slot before all others.
    pub fn is_first(&self) -> bool {
        self.order().first() == Some(&self.current)
    }

    /// Whether this is the first boot of a Spine that has not proven itself.
    pub fn on_trial(&self) -> bool {
        !self.order().contains(&self.current)
    }

    /// Whether the firmware may start the other slot by itself, or is to try it at the next boot.
    pub fn spare(&self) -> bool {
        let entries = [self.order(), numbers(&self.vars, NEXT)].concat();
        self.others.iter().any(|it| entries.contains(it))
    }

    /// Makes the slot that runs the first. True if it was not.
    ///
    /// # Errors
    /// The firmware did not take it.
    pub fn commit(&self) -> Result<bool> {
        // Not at every boot: the firmware's memory wears.
        if self.is_first() {
            return Ok(false);
        }
        let order = [vec![self.current], self.order_without(&[self.current])];
        self.set(ORDER, &order.concat()).map(|()| true)
    }

    /// Keeps the firmware from starting the other slot, by itself or because an update before this one has said so.
    ///
    /// # Errors
    /// The firmware did not take it.
    pub fn exclude(&self) -> Result<()> {
        let next = self.vars.join(format!("{NEXT}{GUID}"));
        if next.exists() {
            fs::remove_file(next).with_context(|| format!("remove {NEXT}"))?;
        }
        let order = self.order_without(&self.others);
        self.set(ORDER, &order)
    }

    /// Has the firmware start the other slot after this one again.
    ///
    /// # Errors
    /// The firmware did not take it.
    pub fn readmit(&self) -> Result<()> {
        let both = [self.current, self.number()?];
        let order = [both.to_vec(), self.order_without(&both)];
        self.set(ORDER, &order.concat())
    }

    /// Has the firmware start the other slot once.
    ///
    /// # Errors
    /// The firmware did not take it.
    pub fn try_once(&self) -> Result<()> {
        self.set(NEXT, &[self.number()?])
    }

    fn order(&self) -> Vec<u16> {
        numbers(&self.vars, ORDER)
    }

    fn order_without(&self, entries: &[u16]) -> Vec<u16> {
        let mut order = self.order();
        order.retain(|it| !entries.contains(it));
        order
    }

    /// The entry of the other slot.
    fn number(&self) -> Result<u16> {
        let first = self.others.first().copied();
        first.with_context(|| format!("no boot entry starts slot {}", self.there))
    }

    /// Finds the entries that start the other slot by their device path, whatever they are called (U05); makes one if there is none,
    /// which is answered with true. It reads the disk: a child's work.
    ///
    /// # Errors
    /// The disk, or the firmware, does not let it.
    pub fn enter(&mut self) -> Result<bool> {
        let part = |slot: &str| disks::part_on_booted(&format!("slot-{}", slot.to_lowercase()));
        let [ours, other] = [part(&self.here), part(self.there)].map(|it| it.map_err(lost));
        self.enter_at(&ours?, &other?)
    }

    fn enter_at(&mut self, ours: &Part, other: &Part) -> Result<bool> {
        let own = option(&self.vars, self.current);
        let label = format!("{ENTRY}{}", self.there);
        let made = entry::other(&own, ours, other, &label);
        let made = made.context("the boot entry of this slot has no partition and file")?;
        let wanted = entry::path(&made);
        let all = self.entries()?;
        let is = |it: &&u16| entry::path(&option(&self.vars, **it)) == wanted;
        self.others = all.iter().filter(is).copied().collect();
        if !self.others.is_empty() {
            return Ok(false);
        }
        let free = (1..=u16::MAX).find(|it| !all.contains(it));
        let free = free.context("the firmware has no number for a boot entry")?;
        self.put(&format!("Boot{free:04X}"), &made)?;
        self.others = vec![free];
        Ok(true)
    }

    /// The numbers of all entries.
    fn entries(&self) -> Result<Vec<u16>> {
        let names = fs::read_dir(&self.vars)?.flatten();
        let mut numbers: Vec<_> = names
            .filter_map(|name| {
                let name = name.file_name().into_string().ok()?;
                let digits = name.strip_prefix("Boot")?.strip_suffix(GUID)?;
                let number = u16::from_str_radix(digits, 16);
                number.ok().filter(|_| digits.len() == 4)
            })
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Writes numbers to a variable.
    fn set(&self, name: &str, values: &[u16]) -> Result<()> {
        let bytes: Vec<_> = values.iter().flat_map(|it| it.to_le_bytes()).collect();
        self.put(name, &bytes)?;
        #[cfg(feature = "fault")]
        crate::fault::step();
        Ok(())
    }

    /// Writes a variable, kept over power cuts, and reads it back.
    fn put(&self, name: &str, value: &[u8]) -> Result<()> {
        // Non-volatile, for boot services, at run time.
        let bytes = [&[7, 0, 0, 0], value].concat();
        let path = self.vars.join(format!("{name}{GUID}"));
        fs::write(&path, &bytes).with_context(|| format!("write {name}"))?;
        let read = fs::read(path).unwrap_or_default();
        ensure!(
            read == bytes,
            "{name} reads back {:02x?}",
            read.get(4..).unwrap_or_default()
        );
        Ok(())
    }
}

/// What a variable holds behind its attributes.
fn numbers(vars: &Path, name: &str) -> Vec<u16> {
    let bytes = fs::read(vars.join(format!("{name}{GUID}"))).unwrap_or_default();
    let pairs = bytes.get(4..).unwrap_or_default().as_chunks().0;
    pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect()
}

/// An entry without the variable's attributes.
fn option(vars: &Path, number: u16) -> Vec<u8> {
    let bytes = fs::read(vars.join(format!("Boot{number:04X}{GUID}"))).unwrap_or_default();
    bytes.get(4..).unwrap_or_default().to_vec()
}

/// The slot that an entry starts.
fn described(vars: &Path, number: u16) -> Option<String> {
    // Attributes and a length come before the description, six bytes.
    let option = numbers(vars, &format!("Boot{number:04X}"));
    let text = option.iter().skip(3).take_while(|unit| **unit != 0);
    let text = String::from_utf16(&text.copied().collect::<Vec<_>>()).ok()?;
    let slot = text.strip_prefix(ENTRY)?;
    ["A", "B"].contains(&slot).then(|| slot.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// Variables as the firmware shows them; `started` runs.
    fn firmware(started: u16, order: &[u16]) -> (tempfile::TempDir, Option<Slots>) {
        let dir = tempfile::tempdir().unwrap();
        for (number, text, start) in ENTRIES {
            let name = format!("Boot{number:04X}");
            put(dir.path(), &name, &option(text, start));
        }
        let list = |values: &[u16]| values.iter().flat_map(|it| it.to_le_bytes()).collect();
        let (current, order): (Vec<u8>, Vec<u8>) = (list(&[started]), list(order));
        put(dir.path(), "BootCurrent", &current);
        put(dir.path(), ORDER, &order);
        let mut slots = Slots::read(dir.path().to_owned());
        if let Some(slots) = &mut slots {
            entered(slots).unwrap();
        }
        (dir, slots)
    }

    fn entered(slots: &mut Slots) -> Result<bool> {
        let (ours, other) = if slots.here == "A" { (1, 2) } else { (2, 1) };
        slots.enter_at(&part(ours), &part(other))
    }

    #[test]
    fn u05_an_entry_that_is_gone_is_made_again_and_one_by_another_name_serves() {
        let (dir, slots) = firmware(1, &[1, 3, 7]);
        let mut slots = slots.unwrap();
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
        let (dir, slots) = firmware(1, &[1, 5, 2, 3]);
        let mut slots = slots.unwrap();
        put(dir.path(), "Boot0005", &option("a copy", 2));
        assert!(!entered(&mut slots).unwrap());
        assert_eq!(slots.others, [2, 5]);
        slots.exclude().unwrap();
        assert_eq!(slots.order(), [1, 3]);
        assert!(!slots.spare());
    }

    #[test]
    fn c09_the_slot_that_runs_is_known_by_its_entry() {
        let (_dir, slots) = firmware(2, &[1, 2, 3]);
        let slots = slots.unwrap();
        assert_eq!((slots.here.as_str(), slots.there), ("B", "A"));
        assert!(firmware(7, &[1, 2, 3]).1.is_none());
        assert!(firmware(9, &[]).1.is_none());
    }

    #[test]
    fn c11_a_slot_on_trial_becomes_first_only_by_a_commit() {
        let (_dir, slots) = firmware(2, &[1, 3, 7]);
        let slots = slots.unwrap();
        assert!(slots.on_trial());
        assert!(slots.commit().unwrap());
        assert_eq!(slots.order(), [2, 1, 3, 7]);
        assert!(!slots.on_trial() && slots.spare());
        assert!(!slots.commit().unwrap());
    }

    #[test]
    fn c10_a_slot_that_is_being_replaced_is_not_started_by_itself() {
        let (dir, slots) = firmware(1, &[1, 2, 3, 7]);
        let slots = slots.unwrap();
        assert!(slots.spare() && !slots.on_trial());
        slots.exclude().unwrap();
        assert_eq!(slots.order(), [1, 3, 7]);
        assert!(!slots.spare());
        slots.try_once().unwrap();
        assert_eq!(numbers(dir.path(), NEXT), [2]);
        // It waits for its one try, until another update takes its place.
        assert!(slots.spare());
        slots.exclude().unwrap();
        assert!(!slots.spare() && numbers(dir.path(), NEXT).is_empty());
        slots.readmit().unwrap();
        slots.readmit().unwrap();
        assert_eq!(slots.order(), [1, 2, 3, 7]);
    }

    #[test]
    fn c11_a_variable_that_cannot_be_written_is_an_error() {
        let (dir, slots) = firmware(1, &[1, 2]);
        let slots = slots.unwrap();
        let unentered = Slots {
            others: Vec::new(),
            ..slots.clone()
        };
        let error = unentered.try_once().unwrap_err().to_string();
        assert_eq!(error, "no boot entry starts slot B");
        fs::remove_file(dir.path().join(format!("{ORDER}{GUID}"))).unwrap();
        fs::create_dir(dir.path().join(format!("{ORDER}{GUID}"))).unwrap();
        let error = format!("{:#}", slots.commit().unwrap_err());
        assert_eq!(error, "write BootOrder: Is a directory (os error 21)");
    }
}
