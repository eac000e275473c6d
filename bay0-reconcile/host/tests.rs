use super::*;
use proptest::prelude::*;
use std::cell::RefCell;

fn name(text: &str) -> PersonaName {
    PersonaName::parse(text).unwrap()
}

fn thing(id: &str, running: bool) -> Found {
    let name = PersonaName::from_internal(id.rsplit('/').next().unwrap());
    Found {
        id: id.to_owned(),
        name,
        running,
    }
}

/// What is done about `p://a`, recorded as `state`, when this is found.
fn cell(state: Option<State>, found: &[Found]) -> Vec<String> {
    let desired: Vec<Persona> = state
        .map(|state| Persona {
            name: name("p://a"),
            state,
        })
        .into_iter()
        .collect();
    let (remove, stop) = plan(&desired, found);
    let removals = remove
        .iter()
        .map(|(thing, why)| format!("remove {}: {why}", thing.id));
    let records = stop.iter().map(|(name, why)| format!("stop {name}: {why}"));
    removals.chain(records).collect()
}

#[test]
fn h12_the_whole_table_cell_by_cell() {
    use State::{Running, Starting, Stopped};
    let absent: &[Found] = &[];
    let partial = &[thing("p__a", false)];
    let running = &[thing("p__a", true)];
    let several = &[thing("p__a", true), thing("p__b/p__a", true)];
    let none: [&str; 0] = [];

    assert_eq!(cell(Some(Stopped), absent), none);
    let remove = ["remove p__a: it should be stopped"];
    assert_eq!(cell(Some(Stopped), partial), remove);
    assert_eq!(cell(Some(Stopped), running), remove);
    let both = [
        "remove p__a: it should be stopped",
        "remove p__b/p__a: it should be stopped",
    ];
    assert_eq!(cell(Some(Stopped), several), both);

    assert_eq!(
        cell(Some(Starting), absent),
        ["stop p://a: its start was cut short"]
    );
    let remove = [
        "remove p__a: its start was cut short",
        "stop p://a: its start was cut short",
    ];
    assert_eq!(cell(Some(Starting), partial), remove);
    assert_eq!(cell(Some(Starting), running), remove);
    let both = [
        remove[0],
        "remove p__b/p__a: its start was cut short",
        remove[1],
    ];
    assert_eq!(cell(Some(Starting), several), both);

    assert_eq!(
        cell(Some(Running), absent),
        ["stop p://a: it should run and is gone"]
    );
    let half = [
        "remove p__a: it should run and is only half there",
        "stop p://a: it should run and is only half there",
    ];
    assert_eq!(cell(Some(Running), partial), half);
    assert_eq!(cell(Some(Running), running), none);
    let both = [
        "remove p__a: it is there more than once",
        "remove p__b/p__a: it is there more than once",
        "stop p://a: it is there more than once",
    ];
    assert_eq!(cell(Some(Running), several), both);

    assert_eq!(cell(None, absent), none);
    let remove = ["remove p__a: no such persona is known"];
    assert_eq!(cell(None, partial), remove);
    assert_eq!(cell(None, running), remove);
    let both = [remove[0], "remove p__b/p__a: no such persona is known"];
    assert_eq!(cell(None, several), both);

    for running in [false, true] {
        let nameless = [thing("tmp.x", running)];
        assert_eq!(
            cell(Some(Stopped), &nameless),
            ["remove tmp.x: its name is not a persona's"]
        );
    }
}

fn desired() -> Vec<Persona> {
    let running = |text| Persona {
        name: name(text),
        state: State::Running,
    };
    vec![
        running("p://gone"),
        running("p://a"),
        running("p://gone/in"),
    ]
}

/// What is said when these are found, removed and recorded; and those two lists.
fn done(desired: &[Persona], found: &[Found]) -> (Vec<String>, Vec<String>, Vec<String>) {
    let (removed, mut set) = (RefCell::new(Vec::new()), Vec::new());
    let rm = |id: &str| {
        removed.borrow_mut().push(id.to_owned());
        Ok(())
    };
    let lines = run(desired, found, &rm, &mut |name| {
        set.push(format!("{name} stopped"));
        Ok(())
    });
    (lines, removed.into_inner(), set)
}

#[test]
fn h19_every_action_is_a_line_that_says_why() {
    let found = [thing("p__ghost", true), thing("p__a", true)];
    let (lines, removed, set) = done(&desired(), &found);
    let expected = [
        "native p__ghost: no such persona is known; removed",
        "p://gone: it should run and is gone; recorded as stopped",
        "p://gone/in: it should run and is gone; recorded as stopped",
    ];
    assert_eq!(lines, expected);
    assert_eq!(removed, ["p__ghost"]);
    assert_eq!(set, ["p://gone stopped", "p://gone/in stopped"]);
}

#[test]
fn h12_a_room_goes_with_the_one_around_it_and_before_it() {
    let found = [
        thing("p__gone", false),
        thing("p__gone/p__gone__in", true),
        thing("p__a", true),
    ];
    let (lines, removed, set) = done(&desired(), &found);
    let expected = [
        "native p__gone/p__gone__in: the room around it goes; removed",
        "native p__gone: it should run and is only half there; removed",
        "p://gone: it should run and is only half there; recorded as stopped",
        "p://gone/in: the room around it goes; recorded as stopped",
    ];
    assert_eq!(lines, expected);
    assert_eq!(removed, ["p__gone/p__gone__in", "p__gone"]);
    assert_eq!(set, ["p://gone stopped", "p://gone/in stopped"]);
}

#[test]
fn h19_every_failure_is_a_line_that_says_what_next() {
    let busy = |_: &str| Err("EBUSY".into());
    let mut full = |_: &_| Err("set p://gone: ENOSPC; not recorded; next: free space".into());
    let found = [thing("p__ghost", true)];
    let lines = run(&desired()[..1], &found, &busy, &mut full);
    let expected = [
        "FAIL: remove native p__ghost (no such persona is known): EBUSY; it is still there; next: reboot to try again",
        "FAIL: record p://gone as stopped (it should run and is gone): set p://gone: ENOSPC; not recorded; next: free space",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn h12_the_order_of_the_records_and_of_the_findings_does_not_matter() {
    let found = [thing("p__x", true), thing("p__y", false), thing("??", true)];
    let mut backwards = found.clone();
    backwards.reverse();
    let mut desired = desired();
    let forwards = plan(&desired, &found);
    desired.reverse();
    assert_eq!(plan(&desired, &backwards), forwards);
}

fn any_state() -> impl Strategy<Value = State> {
    prop_oneof![
        Just(State::Stopped),
        Just(State::Starting),
        Just(State::Running)
    ]
}

proptest! {
    #[test]
    fn h12_what_was_planned_and_done_leaves_nothing_to_plan(
        states in prop::collection::btree_map("p://[a-d](/[a-d])?", any_state(), 0..5),
        found in prop::collection::vec(("([xy]/)?(p__[a-e](__[a-d])?|junk)", any::<bool>()), 0..10),
    ) {
        let mut desired: Vec<Persona> = states
            .iter()
            .map(|(text, state)| Persona { name: name(text), state: *state })
            .collect();
        let mut found: Vec<Found> = found.iter().map(|(id, running)| thing(id, *running)).collect();
        let (remove, stop) = plan(&desired, &found);
        found.retain(|thing| !remove.contains_key(thing));
        for persona in desired.iter_mut().filter(|persona| stop.contains_key(&persona.name)) {
            persona.state = State::Stopped;
        }
        let (remove, stop) = plan(&desired, &found);
        prop_assert!(remove.is_empty() && stop.is_empty());
        // What is left runs once, is known, and is recorded as running.
        for thing in &found {
            prop_assert!(thing.running);
            prop_assert_eq!(found.iter().filter(|other| other.name == thing.name).count(), 1);
        }
        let left = desired.iter().filter(|persona| persona.state != State::Stopped).count();
        prop_assert_eq!(left, found.len());
    }
}
