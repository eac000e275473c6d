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
//! | none | either, by no entry of ours | the firmware has found it by itself | it goes on, and the order of the slots stays |
//! | this slot | this slot, wherever it is in `BootOrder` | a new Spine's first boot | GREEN: first from now on. Anything else: a reboot |
//! | the other slot, and it has failed | this slot | | refused from now on (H17), and made a copy of this one (T06) |
//! | the other slot, and nothing proves that | this slot | it never started, or the power was cut | tried again, up to three times, then refused |
//! | none | this slot, and the other is in no order | nobody has begun its trial | it is tried, or put behind this one if it is older |
//!
//! Entries are known by their device path ([`crate::slot::entries`], which also says how they are mended): however many there are and whatever
//! they are called, all those of the other slot leave the order, and the first is what `BootNext` names. The slot that runs is known by the
//! partition that the stub has named.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Context, Error, Result, anyhow};
use bay0_persona::confine::{Rights, confine};
use bay0_persona::disks::{Booted, Lost, VARS, booted};
use bay0_persona::gpt::Guid;

use crate::slot::entries::{MOST as MOST_GONE, State, Wish, Write, plan};
use crate::slot::entry::{Place, Program};
use crate::slot::running::{Running, Slot, Start};
use crate::slot::starts::{
    GUID, MOST, NEXT, ORDER, Starts, Trial, change, finish, numbers, put, remove_next,
};

/// The slots of the disk that the firmware has started.
#[derive(Clone, Debug)]
pub struct Pair {
    vars: PathBuf,
    /// The slot that runs.
    pub here: Slot,
    slots: Vec<(Slot, Place)>,
}

impl Pair {
    /// Finds out which slot runs; none if no firmware has started one. Then gives up the rights that took, before it reads a variable.
    ///
    /// # Errors
    /// The disk cannot be told for certain.
    pub fn find() -> Result<Option<Pair>> {
        let found = booted().map(|_| Booted::find().map_err(told)).transpose()?;
        confine(Rights::Firmware).map_err(|error| anyhow!("confine the child: {error}"))?;
        Ok(found.and_then(|disk| Pair::of(&disk)))
    }

    /// The slots of this disk; none if what was booted is no slot.
    pub fn of(disk: &Booted) -> Option<Pair> {
        let here = Slot::of(&disk.part.name)?;
        let other = disk.part(&here.other().partition()).ok();
        let parts = [(here, Some(disk.part.clone())), (here.other(), other)];
        let mut slots: Vec<_> = parts
            .into_iter()
            .filter_map(|(slot, part)| Some((slot, Place::of(&part?, disk.sector))))
            .collect();
        slots.sort_by_key(|(slot, _)| *slot as u8);
        let vars = VARS.into();
        Some(Pair { vars, here, slots })
    }

    /// The slot that runs, and how it was started.
    ///
    /// # Errors
    /// The firmware's variables cannot be read.
    pub fn running(&self) -> Result<Running> {
        let secure = fs::read(self.vars.join(format!("SecureBoot{GUID}")));
        Ok(Running {
            slot: self.here,
            start: self.way(&self.state()?),
            is_secure: secure.is_ok_and(|value| value.ends_with(&[1])),
        })
    }

    fn way(&self, state: &State) -> Start {
        let own = self.entries(state, self.here);
        let current = numbers(&self.vars, "BootCurrent");
        match state.first(&self.slots) {
            _ if self.trial_of(self.here).is_some() => Start::Trial,
            _ if !own.iter().any(|it| current.first() == Some(it)) => Start::Found,
            Some(first) if first == self.here => Start::First,
            _ if self.starts().unfinished > MOST => Start::Endless,
            _ => Start::Unstartable,
        }
    }

    /// What is known of the other slot's trial.
    pub fn trial(&self) -> Option<Trial> {
        self.trial_of(self.here.other())
    }

    /// Whether the firmware is to start the other slot: at the next boot, or, if that is on trial for no boot, by itself.
    ///
    /// # Errors
    /// The firmware's variables cannot be read.
    pub fn is_due(&self) -> Result<bool> {
        let state = self.state()?;
        let mut others = self.entries(&state, self.here.other()).into_iter();
        let spare = self.trial().is_none();
        Ok(others.any(|it| state.next == Some(it) || spare && state.order.contains(&it)))
    }

    /// Mends the boot entries. A slot that runs and is `well`: its trial is over, and it is made the first, but not if it only stands in for
    /// the first. What was written, and how often; nothing where all was as it should be.
    ///
    /// # Errors
    /// The firmware did not take it. Where it has no room for an entry, the order is put right all the same.
    pub fn settle(&self, well: bool) -> Result<String> {
        let before = self.state()?;
        let leads = well && self.way(&before).committed() == Start::First;
        let wish = |makes| Wish {
            slots: &self.slots,
            here: self.here,
            leads,
            makes,
        };
        let writes = plan(&before, &wish(true));
        let made = self.carry_out(&writes);
        if made.is_err() {
            self.carry_out(&plan(&self.state()?, &wish(false)))?;
        }
        if well {
            finish(&self.vars)?;
            self.drop_trial(self.here)?;
        }
        made?;
        let first = before.first(&self.slots);
        let moved = leads && first.is_some_and(|it| it != self.here);
        Ok(text(&writes, moved.then_some(self.here)))
    }

    /// Has the firmware start the slots of a disk that was made, A and then B, before all others, and forget what started these, which are
    /// no more. What was written.
    ///
    /// # Errors
    /// The firmware did not take it.
    pub fn enter(slots: Vec<(Slot, Place)>, gone: &[Place]) -> Result<String> {
        let (vars, here) = (VARS.into(), Slot::A);
        let new = Pair { vars, here, slots };
        let wish = Wish {
            slots: &new.slots,
            here,
            leads: true,
            makes: true,
        };
        // Of what was there before nothing is to be tried.
        remove_next(&new.vars)?;
        Slot::BOTH
            .into_iter()
            .try_for_each(|it| new.drop_trial(it))?;
        let (mut writes, rest): (Vec<_>, Vec<_>) = plan(&new.state()?, &wish)
            .into_iter()
            .partition(|it| matches!(it, Write::Entry(..)));
        new.carry_out(&writes)?;
        let state = new.state()?;
        let programs = |place| Program::BOTH.map(|it| state.starting(place, it)).concat();
        let mut gone: Vec<_> = gone.iter().flat_map(programs).collect();
        gone.truncate(MOST_GONE);
        // Both are whole, which the plan does not know.
        let both = [new.chosen(Slot::A)?, new.chosen(Slot::B)?];
        let (mut order, mut more) = (state.order.clone(), Vec::new());
        for write in rest {
            match write {
                Write::Order(planned) => order = planned,
                other => more.push(other),
            }
        }
        let order = without(order, &[&both, gone.as_slice()].concat());
        let order = [both.as_slice(), &order].concat();
        if order != state.order {
            more.insert(0, Write::Order(order));
        }
        more.extend(gone.into_iter().map(Write::Remove));
        new.carry_out(&more)?;
        writes.extend(more);
        Ok(text(&writes, None))
    }

    fn carry_out(&self, writes: &[Write]) -> Result<()> {
        // Not at every boot: the firmware's memory wears.
        writes.iter().try_for_each(|write| match write {
            Write::Order(order) => self.set(ORDER, order),
            Write::Entry(number, _, option) => self.keep(&format!("Boot{number:04X}"), option),
            Write::Remove(number) => {
                let path = self.vars.join(format!("Boot{number:04X}{GUID}"));
                fs::remove_file(path).with_context(|| format!("remove Boot{number:04X}"))
            }
        })
    }

    /// Whether both slots have boot entries.
    ///
    /// # Errors
    /// One has none: the firmware has taken none, which was said.
    pub fn is_entered(&self) -> Result<()> {
        self.chosen(self.here)?;
        self.chosen(self.here.other()).map(drop)
    }

    /// Keeps the firmware from starting the other slot, by itself or because an update before this one has said so.
    ///
    /// # Errors
    /// The firmware did not take it.
    pub fn exclude(&self) -> Result<()> {
        remove_next(&self.vars)?;
        self.drop_trial(self.here.other())?;
        let state = self.state()?;
        let others = self.entries(&state, self.here.other());
        self.set(ORDER, &without(state.order, &others))
    }

    /// Has the firmware start the other slot after this one again.
    ///
    /// # Errors
    /// The firmware did not take it.
    pub fn readmit(&self) -> Result<()> {
        let both = [self.chosen(self.here)?, self.chosen(self.here.other())?];
        let order = [both.to_vec(), without(self.state()?.order, &both)];
        self.set(ORDER, &order.concat())
    }

    /// Has the firmware start the other slot once, on trial.
    ///
    /// # Errors
    /// The firmware did not take it.
    pub fn try_once(&self) -> Result<()> {
        let other = self.here.other();
        let number = self.chosen(other)?;
        let mut trial = self.trial().unwrap_or_default();
        trial.part = self.guid(other).unwrap_or_default();
        trial.armed = trial.armed.saturating_add(1);
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

    fn trial_of(&self, slot: Slot) -> Option<Trial> {
        let part = self.guid(slot);
        self.starts().trial.filter(|it| Some(it.part) == part)
    }

    fn drop_trial(&self, slot: Slot) -> Result<()> {
        let part = self.guid(slot);
        change(&self.vars, |starts| {
            starts.trial.take_if(|it| Some(it.part) == part);
        })
    }

    fn place(&self, slot: Slot) -> Option<&Place> {
        let mut slots = self.slots.iter();
        slots.find(|it| it.0 == slot).map(|it| &it.1)
    }

    fn guid(&self, slot: Slot) -> Option<Guid> {
        self.place(slot)?.guid()
    }

    /// The entries that start a slot.
    fn entries(&self, state: &State, slot: Slot) -> Vec<u16> {
        let starting = |place| state.starting(place, Program::Spine);
        self.place(slot).map(starting).unwrap_or_default()
    }

    /// The entry of a slot.
    fn chosen(&self, slot: Slot) -> Result<u16> {
        let first = self.entries(&self.state()?, slot).first().copied();
        first.with_context(|| {
            format!("no boot entry starts slot {slot}; next: reboot, then see log")
        })
    }

    /// What the firmware has. What cannot be read is not taken for lost.
    fn state(&self) -> Result<State> {
        let numbers = |name| {
            let value = self.value(name)?.unwrap_or_default();
            let pairs = value.as_chunks().0.iter();
            Ok::<_, Error>(pairs.map(|it| u16::from_le_bytes(*it)).collect::<Vec<_>>())
        };
        let (order, next) = (numbers(ORDER)?, numbers(NEXT)?.first().copied());
        let mut entries = BTreeMap::new();
        for name in fs::read_dir(&self.vars).context("read the firmware's variables")? {
            let name = name?.file_name().into_string().unwrap_or_default();
            let digits = name
                .strip_prefix("Boot")
                .and_then(|it| it.strip_suffix(GUID));
            let number = u16::from_str_radix(digits.unwrap_or_default(), 16).unwrap_or_default();
            let short = format!("Boot{number:04X}");
            if digits.is_some_and(|it| short.ends_with(it) && it.len() == 4) {
                entries.extend(self.value(&short)?.map(|option| (number, option)));
            }
        }
        Ok(State {
            order,
            next,
            entries,
        })
    }

    /// What a variable holds behind its attributes. One that could not be written is there without a byte.
    fn value(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let read = fs::read(self.vars.join(format!("{name}{GUID}")));
        if read
            .as_ref()
            .is_err_and(|it| it.kind() == ErrorKind::NotFound)
        {
            return Ok(None);
        }
        let bytes = read.with_context(|| format!("read {name}"))?;
        Ok(bytes.get(4..).map(<[u8]>::to_vec))
    }

    /// Writes numbers to a variable.
    fn set(&self, name: &str, values: &[u16]) -> Result<()> {
        let bytes: Vec<_> = values.iter().flat_map(|it| it.to_le_bytes()).collect();
        self.keep(name, &bytes)
    }

    fn keep(&self, name: &str, value: &[u8]) -> Result<()> {
        put(&self.vars, &format!("{name}{GUID}"), value)?;
        #[cfg(feature = "fault")]
        crate::fault::step();
        Ok(())
    }
}

fn without(mut order: Vec<u16>, entries: &[u16]) -> Vec<u16> {
    order.retain(|it| !entries.contains(it));
    order
}

/// What was written, for people; `first`: the slot that was not.
fn text(writes: &[Write], first: Option<Slot>) -> String {
    let first = first.map(|slot| format!("slot {slot} is the first from now on"));
    let written: Vec<_> = writes.iter().map(Write::to_string).collect();
    let (all, count) = (written.join(", "), writes.len());
    match first {
        Some(first) if count < 2 => first,
        _ if count == 0 => String::new(),
        first => {
            let first = first.map(|it| format!("; {it}")).unwrap_or_default();
            format!("boot entries: {all}; writes: {count}{first}")
        }
    }
}

/// Why a partition is not used.
pub fn told(lost: Lost) -> anyhow::Error {
    anyhow!("{lost}; nothing is written; next: {}", lost.next())
}

#[cfg(test)]
mod tests;
