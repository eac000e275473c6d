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
//! | A | A | B was not replaced to the end, or has failed | it is refused from now on (H17) and made a copy of A (T06) |

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use bay0_persona::disks::VARS;

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
        self.number().is_ok_and(|it| entries.contains(&it))
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
        let order = self.order_without(&[self.number()?]);
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
        let names = fs::read_dir(&self.vars)?.flatten();
        let mut numbers = names.filter_map(|name| {
            let name = name.file_name().into_string().ok()?;
            let digits = name.strip_prefix("Boot")?.strip_suffix(GUID)?;
            u16::from_str_radix(digits, 16).ok()
        });
        let is = |number: &u16| described(&self.vars, *number).as_deref() == Some(self.there);
        let number = numbers.find(is);
        number.with_context(|| format!("no boot entry is called {ENTRY}{}", self.there))
    }

    /// Writes a variable, kept over power cuts, and reads it back.
    fn set(&self, name: &str, values: &[u16]) -> Result<()> {
        // Non-volatile, for boot services, at run time.
        let mut bytes = vec![7, 0, 0, 0];
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let path = self.vars.join(format!("{name}{GUID}"));
        fs::write(path, bytes).with_context(|| format!("write {name}"))?;
        let read = numbers(&self.vars, name);
        ensure!(read == values, "{name} reads back {read:?}");
        #[cfg(feature = "fault")]
        crate::fault::step();
        Ok(())
    }
}

/// What a variable holds behind its attributes.
fn numbers(vars: &Path, name: &str) -> Vec<u16> {
    let bytes = fs::read(vars.join(format!("{name}{GUID}"))).unwrap_or_default();
    let pairs = bytes.get(4..).unwrap_or_default().as_chunks().0;
    pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect()
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

    const ENTRIES: [(u16, &str); 4] = [(1, "Spine A"), (2, "Spine B"), (3, "Off A"), (7, "UiApp")];

    /// Variables as the firmware shows them; `started` runs.
    fn firmware(started: u16, order: &[u16]) -> (tempfile::TempDir, Option<Slots>) {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, values: Vec<u16>| {
            let values = [vec![7, 0], values].concat();
            let bytes = values.iter().flat_map(|value| value.to_le_bytes());
            let path = dir.path().join(format!("{name}{GUID}"));
            fs::write(path, bytes.collect::<Vec<_>>()).unwrap();
        };
        for (number, text) in ENTRIES {
            let words = [vec![1, 0, 4], text.encode_utf16().collect(), vec![0, 9, 9]];
            put(&format!("Boot{number:04X}"), words.concat());
        }
        put("BootCurrent", vec![started]);
        put(ORDER, order.to_vec());
        let slots = Slots::read(dir.path().to_owned());
        (dir, slots)
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
        fs::remove_file(dir.path().join(format!("Boot0002{GUID}"))).unwrap();
        let error = slots.try_once().unwrap_err().to_string();
        assert_eq!(error, "no boot entry is called Spine B");
        fs::remove_file(dir.path().join(format!("{ORDER}{GUID}"))).unwrap();
        fs::create_dir(dir.path().join(format!("{ORDER}{GUID}"))).unwrap();
        let error = format!("{:#}", slots.commit().unwrap_err());
        assert_eq!(error, "write BootOrder: Is a directory (os error 21)");
    }
}
