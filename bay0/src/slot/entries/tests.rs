//! The tables, cell by cell, and what holds whatever the firmware has.

#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::*;
use crate::slot::entry::tests::{LINE, option, part, path, place};
use proptest::prelude::*;

const SPINE: &str = r"\EFI\BOOT\BOOTX64.EFI";
const OFF: &str = r"\OFF.EFI";

fn slots() -> [(Slot, Place); 2] {
    [(Slot::A, place(1)), (Slot::B, place(2))]
}

fn entry(number: u8, file: &str) -> Vec<u8> {
    option(1, "whatever", &path(&part(number), file), b"")
}

/// The four of ours by the factory's numbers, and one of the firmware's own.
fn whole(order: &[u16]) -> State {
    let all = [
        (1, entry(1, SPINE)),
        (2, entry(2, SPINE)),
        (3, entry(1, OFF)),
        (4, entry(2, OFF)),
        (7, b"firmware's".to_vec()),
    ];
    State {
        order: order.to_vec(),
        next: None,
        entries: all.into(),
    }
}

fn planned(state: &State, here: Slot, leads: bool) -> Vec<Write> {
    let wish = Wish {
        slots: &slots(),
        here,
        leads,
        makes: true,
    };
    plan(state, &wish)
}

fn made(number: u16, slot: Slot, program: Program) -> Write {
    let place = place(if slot == Slot::A { 1 } else { 2 });
    let option = place.entry(program, slot).unwrap();
    Write::Entry(number, format!("{program:?} {slot}"), option)
}

fn apply(state: &mut State, write: &Write) {
    match write {
        Write::Entry(number, _, option) => drop(state.entries.insert(*number, option.clone())),
        Write::Order(order) => state.order.clone_from(order),
        Write::Remove(number) => drop(state.entries.remove(number)),
    }
}

#[test]
fn u05_a_first_boot_makes_four_entries_and_puts_this_slot_and_off_before_the_firmwares() {
    use Program::{Off, Spine};
    let mut state = State {
        order: vec![0, 7],
        next: Some(2),
        entries: [(0, b"x".to_vec()), (7, b"y".to_vec())].into(),
    };
    for leads in [true, false] {
        let expected = [
            made(1, Slot::A, Spine),
            // What is to be started once is no number for anything else.
            made(3, Slot::B, Spine),
            made(4, Slot::A, Off),
            made(5, Slot::B, Off),
            Write::Order(vec![3, 4, 5, 0, 7]),
        ];
        assert_eq!(planned(&state, Slot::B, leads), expected);
    }
    // A disk with one slot: that, and off.
    let one = [(Slot::A, place(1))];
    let wish = Wish {
        slots: &one,
        here: Slot::A,
        leads: true,
        makes: true,
    };
    assert_eq!(plan(&state, &wish)[2], Write::Order(vec![1, 3, 0, 7]));
    // A firmware that takes no entry.
    let none = Wish {
        makes: false,
        ..wish
    };
    assert_eq!(plan(&state, &none), []);
    state.next = None;
    assert_eq!(planned(&state, Slot::A, true)[1], made(2, Slot::B, Spine));
}

#[test]
fn u05_nothing_is_written_where_all_is_well() {
    for order in [[1, 2, 3, 4, 7], [2, 1, 3, 4, 7]] {
        let first = if order[0] == 1 { Slot::A } else { Slot::B };
        assert_eq!(planned(&whole(&order), first, true), []);
        // A slot that stands in for the first, or was found by another way, changes nothing.
        assert_eq!(planned(&whole(&order), first.other(), false), []);
    }
    // Out of the order, because it is being replaced or on trial.
    assert_eq!(planned(&whole(&[1, 3, 4, 7]), Slot::A, true), []);
    // Not even what has the name of ours: only who erased that disk knows that it is no more.
    let mut state = whole(&[1, 2, 3, 4, 9, 7]);
    let other = option(1, "Spine A", &path(&part(9), SPINE), b"");
    state.entries.insert(9, other);
    assert_eq!(planned(&state, Slot::A, true), []);
}

#[test]
fn u05_an_order_that_was_changed_is_put_right() {
    for (order, here, leads, expected) in [
        // The firmware's before ours, off before a slot, off lost, all lost.
        (
            [7, 1, 2, 3, 4].as_slice(),
            Slot::A,
            true,
            vec![1, 2, 3, 4, 7],
        ),
        (&[3, 1, 7, 2], Slot::A, true, vec![1, 2, 3, 4, 7]),
        (&[], Slot::A, true, vec![1, 3, 4]),
        (&[7], Slot::B, false, vec![2, 3, 4, 7]),
        // The slots stay as they are among themselves, unless this one leads.
        (&[7, 2, 1], Slot::A, false, vec![2, 1, 3, 4, 7]),
        (&[7, 2, 1], Slot::A, true, vec![1, 2, 3, 4, 7]),
        (&[2, 3, 4, 7], Slot::A, true, vec![1, 2, 3, 4, 7]),
        // One that was replaced and is not well stays out.
        (&[2, 7], Slot::A, false, vec![2, 3, 4, 7]),
        // A number twice, and one without an entry.
        (&[1, 1, 2, 3, 4], Slot::A, true, vec![1, 2, 3, 4]),
        (&[99, 1, 2, 3, 4], Slot::A, true, vec![1, 2, 3, 4, 99]),
    ] {
        let writes = planned(&whole(order), here, leads);
        assert_eq!(writes, [Write::Order(expected)], "{order:?}");
    }
}

#[test]
fn u05_an_entry_that_is_lost_or_ill_is_made_again_under_its_number() {
    let mut state = whole(&[1, 2, 3, 4, 7]);
    state.entries.remove(&4);
    let again = made(4, Slot::B, Program::Off);
    assert_eq!(planned(&state, Slot::A, true), [again]);
    // Lost while it was in the order: it is for who looks after the slots to put it back.
    state = whole(&[1, 2, 3, 4, 7]);
    state.entries.remove(&2);
    let again = made(2, Slot::B, Program::Spine);
    let writes = planned(&state, Slot::A, true);
    assert_eq!(writes, [again.clone(), Write::Order(vec![1, 3, 4, 7])]);
    let moved = bay0_persona::gpt::Part {
        start: 9 << 20,
        ..part(2)
    };
    for ill in [
        option(0, "Spine B", &path(&part(2), SPINE), b""),
        option(1, "Spine B", &path(&part(2), SPINE), LINE),
        option(1, "Spine B", &path(&moved, SPINE), b""),
    ] {
        state = whole(&[1, 2, 3, 4, 7]);
        state.entries.insert(2, ill);
        assert_eq!(planned(&state, Slot::A, true), std::slice::from_ref(&again));
    }
}

#[test]
fn u05_of_several_entries_one_stays_and_the_others_go_after_the_order() {
    let double = |next, order: &[u16]| {
        let mut state = whole(order);
        state.next = next;
        state.entries.insert(8, entry(2, SPINE));
        planned(&state, Slot::A, true)
    };
    let order = Write::Order(vec![1, 8, 3, 4]);
    // The one in the order stays, else the lowest; first of all the one that is to be started next.
    assert_eq!(double(None, &[1, 2, 3, 4]), [Write::Remove(8)]);
    assert_eq!(double(None, &[1, 8, 3, 4]), [Write::Remove(2)]);
    assert_eq!(double(None, &[1, 3, 4]), [Write::Remove(8)]);
    let moved = [order.clone(), Write::Remove(2)];
    assert_eq!(double(Some(8), &[1, 2, 3, 4]), moved);
    // What is switched off before a slot does not make that the first.
    let mut state = whole(&[8, 1, 2, 3, 4]);
    let off = option(0, "", &path(&part(2), SPINE), b"");
    state.entries.insert(8, off);
    assert_eq!(state.first(&slots()), Some(Slot::A));
    let put_right = [Write::Order(vec![1, 2, 3, 4]), Write::Remove(8)];
    assert_eq!(planned(&state, Slot::A, false), put_right);
    // One that is ill gives way.
    let mut state = whole(&[1, 2, 3, 4]);
    let line = option(1, "", &path(&part(2), SPINE), LINE);
    state.entries.insert(2, line);
    state.entries.insert(8, entry(2, SPINE));
    assert_eq!(planned(&state, Slot::A, true), moved);
    // So many and no more at a boot.
    (100..200).for_each(|it| drop(state.entries.insert(it, entry(1, OFF))));
    let writes = planned(&state, Slot::A, true);
    assert_eq!(writes.len(), 1 + MOST);
}

#[test]
fn h19_what_is_written_is_said() {
    let writes = [
        made(0x1f, Slot::B, Program::Off),
        Write::Order(vec![1, 0x1f]),
        Write::Remove(0xa),
    ];
    let texts = writes.map(|it| it.to_string());
    let expected = [
        "Boot001F is Off B",
        "the order is 0001 001F",
        "Boot000A is removed",
    ];
    assert_eq!(texts, expected);
}

fn any_entry() -> impl Strategy<Value = Vec<u8>> {
    let ours = (0u32..4, 1u8..4, any::<bool>(), any::<bool>()).prop_map(|it| {
        let (attributes, number, spine, line) = it;
        let file = if spine { SPINE } else { OFF };
        let data = if line { LINE } else { b"" };
        option(attributes, "x", &path(&part(number), file), data)
    });
    let bytes = prop::collection::vec(any::<u8>(), 0..60);
    prop_oneof![3 => ours, 1 => bytes]
}

prop_compose! {
    fn any_state()(
        order in prop::collection::vec(0u16..24, 0..12),
        next in prop::option::of(0u16..24),
        entries in prop::collection::btree_map(0u16..24, any_entry(), 0..20),
    ) -> State {
        State { order, next, entries }
    }
}

fn is_ours(option: &[u8]) -> bool {
    let is = |place: &Place| {
        let mut both = Program::BOTH.into_iter();
        both.any(|it| place.is_well(it, option).is_some())
    };
    slots().iter().any(|(_, place)| is(place))
}

fn foreign(state: &State) -> Vec<(u16, Vec<u8>)> {
    let all = state.entries.clone().into_iter();
    all.filter(|(_, option)| !is_ours(option)).collect()
}

/// What the firmware starts first of this disk.
fn first(state: &State) -> Option<Slot> {
    let mut numbers = state.order.iter();
    numbers.find_map(|number| {
        let option = state.entries.get(number)?;
        let mut slots = slots().into_iter();
        let well = slots.find(|it| it.1.is_well(Program::Spine, option) == Some(true));
        well.map(|it| it.0)
    })
}

/// Whether a slot is in the order, by any of its entries.
fn is_in(state: &State, slot: Slot) -> bool {
    let mut slots = slots().into_iter();
    let place = slots.find(|it| it.0 == slot).unwrap().1;
    let entries = state.starting(&place, Program::Spine);
    entries.iter().any(|it| state.order.contains(it))
}

proptest! {
    #[test]
    fn u05_a_plan_is_bounded_ends_and_leaves_a_slot_to_start_between_any_two_writes(state in any_state(), b: bool, leads: bool) {
        let here = if b { Slot::B } else { Slot::A };
        let (mut after, led) = (state.clone(), first(&state));
        for round in 0..4 {
            let writes = planned(&after, here, leads);
            prop_assert!(writes.len() <= 4 + 1 + MOST);
            prop_assert!(round < 3 || writes.is_empty(), "{writes:?}");
            for write in &writes {
                apply(&mut after, write);
                // The power may go here.
                prop_assert!(led.is_none() || first(&after).is_some(), "{write:?}");
            }
        }
        prop_assert!(first(&after).is_some());
        prop_assert!(!leads || first(&after) == Some(here));
        // A slot is put in only if there was none, or it leads.
        let before = state.first(&slots()).is_some();
        for it in Slot::BOTH {
            let may = is_in(&state, it) || it == here && (leads || !before);
            prop_assert_eq!(is_in(&after, it), may);
        }
    }

    #[test]
    fn u05_what_is_not_ours_stays_and_keeps_its_order_behind_ours(state in any_state(), b: bool, leads: bool) {
        let (here, mut after) = (if b { Slot::B } else { Slot::A }, state.clone());
        for write in planned(&state, here, leads) {
            apply(&mut after, &write);
        }
        prop_assert_eq!(foreign(&after), foreign(&state));
        let ours = |state: &State, it: &u16| state.entries.get(it).is_some_and(|it| is_ours(it));
        let front = after.order.iter().take_while(|it| ours(&after, it)).count();
        prop_assert!((3..=4).contains(&front));
        let mut rest = state.order.clone();
        rest.retain(|it| !ours(&state, it) && !ours(&after, it));
        prop_assert_eq!(&after.order[front..], rest.as_slice());
        // What is to be started once is what it was.
        let next = |state: &State| state.next.and_then(|it| state.entries.get(&it).cloned());
        prop_assert_eq!(next(&after).map(|it| is_ours(&it)), next(&state).map(|it| is_ours(&it)));
    }
}
