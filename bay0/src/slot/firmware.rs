//! The slots (C09 to C11, U05, decisions 11 and 21): which Spine the firmware starts, and which one it tries once.
//!
//! What is to be started stands in the firmware's own variables (UEFI 2.10, 3.3), and what has not proven itself in one of ours
//! ([`crate::slot::starts`]). While a slot is being replaced, and until the Spine in it is GREEN, it is not in `BootOrder`: whatever happens
//! meanwhile, the firmware starts the other one.
//!
//! | on trial | started | what it means | what follows |
//! | --- | --- | --- | --- |
//! | none | the first in `BootOrder` | all is well | |
//! | none | another | the firmware could not start the first one | it goes on and, once GREEN, is first |
//! | none | another, and starts without an end | the first one came to no end, three times | it goes on and stays where it is |
//! | this slot | this slot, wherever it is in `BootOrder` | a new Spine's first boot | GREEN: first from now on. Anything else: a reboot |
//! | the other slot, and it has failed | this slot | | refused from now on (H17), and made a copy of this one (T06) |
//! | the other slot, and nothing proves that | this slot | it never started, or the power was cut | tried again, up to three times, then refused |
//! | none | this slot, and the other is in no order | nobody has begun its trial | it is tried, or put behind this one if it is older |
//!
//! The entries of the other slot are known by their device path: however many there are and whatever they are called, all of them leave the
//! order, and the first is what `BootNext` names. The slot that runs is known by the partition that the stub has named.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use bay0_persona::disks::{self, Lost, VARS};
use bay0_persona::gpt::{Guid, Part};

use crate::slot::entry;
use crate::slot::running::{Running, Slot, Start};
use crate::slot::starts::{
    GUID, MOST, NEXT, ORDER, Starts, Trial, change, finish, numbers, put, remove_next,
};

/// How an entry that starts a slot is called, before the slot's letter.
const ENTRY: &str = "Spine ";

/// Both slots of a machine that the firmware has started from one of them.
#[derive(Clone, Debug)]
pub struct Pair {
    vars: PathBuf,
    current: u16,
    /// The partition that runs, and the other one once [`Pair::enter`] has found it.
    ours: Guid,
    other: Guid,
    /// The entries that start the other slot, once [`Pair::enter`] has looked for them.
    others: Vec<u16>,
    /// The slot that runs.
    pub here: Slot,
}

impl Pair {
    /// Finds out which slot runs; none if no firmware has started one. `name` finds what the partition is called.
    ///
    /// # Errors
    /// That of `name`.
    pub fn find(name: impl FnOnce() -> Result<String>) -> Result<Option<Pair>> {
        let found = disks::booted().map(|ours| Pair::read(VARS.into(), ours, name));
        found.unwrap_or(Ok(None))
    }

    /// The slot that is known to run, and the other one.
    ///
    /// # Errors
    /// The firmware does not say any more what it has started.
    pub fn of(here: Slot) -> Result<Pair> {
        let found = Pair::find(|| Ok(here.partition()))?;
        found.context("no firmware has started a slot")
    }

    fn read(
        vars: PathBuf,
        ours: Guid,
        name: impl FnOnce() -> Result<String>,
    ) -> Result<Option<Pair>> {
        let current = numbers(&vars, "BootCurrent").first().copied();
        let starts = |it: &u16| entry::partition(&option(&vars, *it)) == Some(ours);
        let Some(current) = current.filter(starts) else {
            return Ok(None);
        };
        let name = name()?;
        let mut both = Slot::BOTH.into_iter();
        Ok(both.find(|it| it.partition() == name).map(|here| Pair {
            vars,
            current,
            ours,
            other: Guid::default(),
            others: Vec::new(),
            here,
        }))
    }

    /// The slot that runs, and how it was started.
    pub fn running(&self) -> Running {
        let secure = fs::read(self.vars.join(format!("SecureBoot{GUID}")));
        Running {
            slot: self.here,
            start: self.start(),
            is_secure: secure.is_ok_and(|value| value.ends_with(&[1])),
        }
    }

    fn start(&self) -> Start {
        match self.order().first() {
            _ if self.trial_of(self.ours).is_some() => Start::Trial,
            Some(first) if *first == self.current => Start::First,
            _ if self.starts().unfinished > MOST => Start::Endless,
            _ => Start::Unstartable,
        }
    }

    /// What is known of the other slot's trial.
    pub fn trial(&self) -> Option<Trial> {
        self.trial_of(self.other)
    }

    /// Whether the firmware may start the other slot by itself.
    pub fn spare(&self) -> bool {
        self.others.iter().any(|it| self.order().contains(it))
    }

    /// Whether it is to try the other slot at the next boot.
    pub fn is_next(&self) -> bool {
        let next = numbers(&self.vars, NEXT);
        self.others.iter().any(|it| next.contains(it))
    }

    /// The slot that runs is well: a trial is over, and it is made the first, but not if it only stands in for the first. True if it was
    /// not the first before.
    ///
    /// # Errors
    /// The firmware did not take it.
    pub fn commit(&self) -> Result<bool> {
        // Not at every boot: the firmware's memory wears.
        let is_first = self.order().first() == Some(&self.current);
        let behind = !is_first && self.start() != Start::Endless;
        if behind {
            let order = [vec![self.current], self.order_without(&[self.current])];
            self.set(ORDER, &order.concat())?;
        }
        finish(&self.vars)?;
        self.drop_trial(self.ours).map(|()| behind)
    }

    /// Keeps the firmware from starting the other slot, by itself or because an update before this one has said so.
    ///
    /// # Errors
    /// The firmware did not take it.
    pub fn exclude(&self) -> Result<()> {
        remove_next(&self.vars)?;
        self.drop_trial(self.other)?;
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

    /// Has the firmware start the other slot once, on trial.
    ///
    /// # Errors
    /// The firmware did not take it.
    pub fn try_once(&self) -> Result<()> {
        let number = self.number()?;
        let mut trial = self.trial().unwrap_or_default();
        (trial.part, trial.armed) = (self.other, trial.armed.saturating_add(1));
        let armed = Starts {
            unfinished: 0,
            trial: Some(trial),
        };
        change(&self.vars, |starts| *starts = armed)?;
        self.set(NEXT, &[number])
    }

    fn starts(&self) -> Starts {
        Starts::read(&self.vars).unwrap_or_default()
    }

    fn trial_of(&self, part: Guid) -> Option<Trial> {
        self.starts().trial.filter(|it| it.part == part)
    }

    fn drop_trial(&self, part: Guid) -> Result<()> {
        change(&self.vars, |starts| {
            starts.trial.take_if(|it| it.part == part);
        })
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
        first.with_context(|| format!("no boot entry starts slot {}", self.here.other()))
    }

    /// Finds the entries that start the other slot by their device path, whatever they are called (U05); makes one if there is none,
    /// which is answered with true.
    ///
    /// # Errors
    /// The firmware does not let it.
    pub fn enter(&mut self, ours: &Part, other: &Part) -> Result<bool> {
        let own = option(&self.vars, self.current);
        let label = format!("{ENTRY}{}", self.here.other());
        let made = entry::other(&own, ours, other, &label);
        let made = made.context("the boot entry of this slot has no partition and file")?;
        let wanted = entry::path(&made);
        self.other = other.guid;
        let all = self.entries()?;
        let is = |it: &&u16| entry::path(&option(&self.vars, **it)) == wanted;
        self.others = all.iter().filter(is).copied().collect();
        if !self.others.is_empty() {
            return Ok(false);
        }
        let free = (1..=u16::MAX).find(|it| !all.contains(it));
        let free = free.context("the firmware has no number for a boot entry")?;
        put(&self.vars, &format!("Boot{free:04X}{GUID}"), &made)?;
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
        put(&self.vars, &format!("{name}{GUID}"), &bytes)?;
        #[cfg(feature = "fault")]
        crate::fault::step();
        Ok(())
    }
}

/// An entry without the variable's attributes.
fn option(vars: &Path, number: u16) -> Vec<u8> {
    let bytes = fs::read(vars.join(format!("Boot{number:04X}{GUID}"))).unwrap_or_default();
    bytes.get(4..).unwrap_or_default().to_vec()
}

/// Why a partition is not used.
pub fn told(lost: Lost) -> anyhow::Error {
    anyhow!("{lost}; nothing is written; next: {}", lost.next())
}

#[cfg(test)]
mod tests;
