//! The boot entries of the disk that was booted, and their order (C09, U05): what is to be written so that the firmware goes from one slot
//! to the other and then switches off. A plan alone: it reads and writes nothing.
//!
//! There are four: `Spine A`, `Spine B`, `Off A`, `Off B`. An entry is one of them if it names the GUID of that slot's partition and that
//! file, whatever it is called and whatever number it has (decision 21).
//!
//! | entries that start a program of a slot | what is written |
//! | --- | --- |
//! | none | one, under the lowest free number |
//! | one, as it should be | nothing |
//! | one that is switched off, has load options, or says where the partition was before | that one, anew |
//! | several | the one that stays is what `BootNext` names, else one as it should be, else the first in the order; the others are removed, [`MOST`] at a boot |
//! | with any other GUID, even if it is called as ours and starts such a file | nothing |
//!
//! The last row: no one can tell an entry of a disk that is no more from one of a disk that is in a drawer. It does no harm, because it
//! stands behind ours, where the firmware never comes to.
//!
//! | Spines of this disk in `BootOrder` | `BootOrder` begins with |
//! | --- | --- |
//! | this one is to lead | this one, then the other if it was there |
//! | one, or both | these as they were |
//! | none | this one |
//!
//! Then come `Off A`, `Off B`, and all that was there before, in its own order. The other slot is never put in: while it is being replaced or
//! on trial it is not to be there, and who looks after it puts it back ([`crate::slot::install`]).
//!
//! Entries are written before the order that names them, and removed after the one that does not: between any two writes the firmware starts
//! what it would have started before, or what it is to start.

use std::collections::BTreeMap;
use std::fmt;

use crate::slot::entry::{Place, Program};
use crate::slot::running::Slot;

/// How many entries are removed at a boot: the firmware's memory wears.
pub const MOST: usize = 8;

/// What the firmware has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// `BootOrder`.
    pub order: Vec<u16>,
    /// `BootNext`.
    pub next: Option<u16>,
    /// Every `Boot####`, without the variable's attributes.
    pub entries: BTreeMap<u16, Vec<u8>>,
}

/// A change of a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// An entry, and what it is called.
    Entry(u16, String, Vec<u8>),
    /// `BootOrder`.
    Order(Vec<u16>),
    /// An entry is no more.
    Remove(u16),
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(number, name, _) => write!(f, "Boot{number:04X} is {name}"),
            Self::Remove(number) => write!(f, "Boot{number:04X} is removed"),
            Self::Order(order) => {
                f.write_str("the order is")?;
                order.iter().try_for_each(|it| write!(f, " {it:04X}"))
            }
        }
    }
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    /// The slots of the disk that was booted.
    pub slots: &'a [(Slot, Place)],
    /// The one that runs.
    pub here: Slot,
    /// It is to be the first.
    pub leads: bool,
    /// Entries may be written: the firmware has not refused one.
    pub makes: bool,
}

/// The entries of a program on a slot: the one that stays, and all there are.
struct Row {
    program: Program,
    slot: Slot,
    stays: u16,
    all: Vec<u16>,
}

impl State {
    /// The entries that start a program at a place; first the one that stays.
    pub fn starting(&self, place: &Place, program: Program) -> Vec<u16> {
        let well = |(number, option): (&u16, &Vec<u8>)| {
            let well = place.is_well(program, option)?;
            let at = self.position(&[*number]).unwrap_or(usize::MAX);
            let rank = (self.next != Some(*number), !well, at);
            Some((rank, *number))
        };
        let mut found: Vec<_> = self.entries.iter().filter_map(well).collect();
        found.sort_unstable();
        found.into_iter().map(|(_, number)| number).collect()
    }

    /// Where in the order the first of these is that may be started.
    fn position(&self, all: &[u16]) -> Option<usize> {
        let at = |number| self.order.iter().position(|it| it == number);
        all.iter().find_map(at)
    }

    /// The first slot in the order.
    pub fn first(&self, slots: &[(Slot, Place)]) -> Option<Slot> {
        let found = slots.iter().filter_map(|(slot, place)| {
            let all = self.starting(place, Program::Spine);
            Some((self.position(&all)?, *slot))
        });
        found.min_by_key(|it| it.0).map(|it| it.1)
    }

    /// The lowest number that names nothing and is not among these.
    fn free(&self, writes: &[Write]) -> Option<u16> {
        let taken = |number| {
            let same = |it: &Write| matches!(it, Write::Entry(other, ..) if *other == number);
            self.entries.contains_key(&number)
                || self.next == Some(number)
                || writes.iter().any(same)
        };
        (1..=u16::MAX).find(|number| !taken(*number))
    }
}

/// The tables above.
pub fn plan(state: &State, wish: &Wish<'_>) -> Vec<Write> {
    let (mut writes, mut rows) = (Vec::new(), Vec::new());
    for program in Program::BOTH {
        for (slot, place) in wish.slots {
            let all = state.starting(place, program);
            let free = || state.free(&writes).filter(|_| wish.makes);
            let Some(stays) = all.first().copied().or_else(free) else {
                continue;
            };
            let option = state.entries.get(&stays);
            let is_well = option.is_some_and(|it| place.is_well(program, it) == Some(true));
            if let Some(made) = place
                .entry(program, *slot)
                .filter(|_| wish.makes && !is_well)
            {
                writes.push(Write::Entry(stays, format!("{program:?} {slot}"), made));
            }
            let slot = *slot;
            rows.push(Row {
                program,
                slot,
                stays,
                all,
            });
        }
    }
    let order = order(state, &rows, wish);
    if order != state.order {
        writes.push(Write::Order(order));
    }
    let more = rows.iter().flat_map(|it| it.all.iter().skip(1));
    writes.extend(more.take(MOST).map(|it| Write::Remove(*it)));
    writes
}

/// The second table.
fn order(state: &State, rows: &[Row], wish: &Wish<'_>) -> Vec<u16> {
    let spines = || rows.iter().filter(|it| it.program == Program::Spine);
    let offs = rows.iter().filter(|it| it.program == Program::Off);
    let at = |row: &Row| match wish.leads && row.slot == wish.here {
        true => Some(None),
        false => state.position(&row.all).map(Some),
    };
    let mut front: Vec<_> = spines().filter(|it| at(it).is_some()).collect();
    front.sort_by_key(|it| at(it));
    if front.is_empty() {
        front.extend(spines().find(|it| it.slot == wish.here));
    }
    let ours = |number: &&u16| {
        let mut rows = rows.iter();
        rows.any(|it| it.stays == **number || it.all.contains(number))
    };
    let rest = state.order.iter().filter(|it| !ours(it));
    let front = front.into_iter().chain(offs).map(|it| it.stays);
    front.chain(rest.copied()).collect()
}

#[cfg(test)]
mod tests;
