use super::*;
use proptest::prelude::*;
use std::cell::RefCell;

fn name(text: &str) -> PersonaName {
    PersonaName::parse(text).unwrap()
}

fn thing(runtime: &'static str, id: &str, running: bool) -> Found {
    let name = PersonaName::from_internal(id.trim_end_matches('+'));
    Found {
        runtime,
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
        .map(|(thing, why)| format!("remove {} {}: {why}", thing.runtime, thing.id));
    let records = stop.iter().map(|(name, why)| format!("stop {name}: {why}"));
    removals.chain(records).collect()
}

#[test]
fn h12_the_whole_table_cell_by_cell() {
    use State::{Running, Starting, Stopped};
    let absent: &[Found] = &[];
    let partial = &[thing("native", "p__a", false)];
    let running = &[thing("native", "p__a", true)];
    let several = &[thing("podman", "p__a", true), thing("native", "p__a", true)];
    let none: [&str; 0] = [];

    assert_eq!(cell(Some(Stopped), absent), none);
    let remove = ["remove native p__a: it should be stopped"];
    assert_eq!(cell(Some(Stopped), partial), remove);
    assert_eq!(cell(Some(Stopped), running), remove);
    let both = [
        "remove native p__a: it should be stopped",
        "remove podman p__a: it should be stopped",
    ];
    assert_eq!(cell(Some(Stopped), several), both);

    assert_eq!(
        cell(Some(Starting), absent),
        ["stop p://a: its start was cut short"]
    );
    let remove = [
        "remove native p__a: its start was cut short",
        "stop p://a: its start was cut short",
    ];
    assert_eq!(cell(Some(Starting), partial), remove);
    assert_eq!(cell(Some(Starting), running), remove);
    let both = [
        remove[0],
        "remove podman p__a: its start was cut short",
        remove[1],
    ];
    assert_eq!(cell(Some(Starting), several), both);

    assert_eq!(
        cell(Some(Running), absent),
        ["stop p://a: it should run and is gone"]
    );
    let half = [
        "remove native p__a: it should run and is only half there",
        "stop p://a: it should run and is only half there",
    ];
    assert_eq!(cell(Some(Running), partial), half);
    assert_eq!(cell(Some(Running), running), none);
    let both = [
        "remove native p__a: it is there more than once",
        "remove podman p__a: it is there more than once",
        "stop p://a: it is there more than once",
    ];
    assert_eq!(cell(Some(Running), several), both);

    assert_eq!(cell(None, absent), none);
    let remove = ["remove native p__a: no such persona is known"];
    assert_eq!(cell(None, partial), remove);
    assert_eq!(cell(None, running), remove);
    let both = [remove[0], "remove podman p__a: no such persona is known"];
    assert_eq!(cell(None, several), both);

    for running in [false, true] {
        let nameless = [thing("native", "tmp.x", running)];
        assert_eq!(
            cell(Some(Stopped), &nameless),
            ["remove native tmp.x: its name is not a persona's"]
        );
    }
}

/// A runtime in memory.
struct Toy {
    name: &'static str,
    has: RefCell<Vec<Found>>,
    stubborn: bool,
}

impl Runtime for Toy {
    fn name(&self) -> &'static str {
        self.name
    }

    fn list(&self) -> Result<Vec<Found>, Trouble> {
        Ok(self.has.borrow().clone())
    }

    fn remove(&self, id: &str) -> Result<(), Trouble> {
        if self.stubborn {
            return Err("EBUSY".into());
        }
        self.has.borrow_mut().retain(|thing| thing.id != id);
        Ok(())
    }
}

struct Broken;

impl Runtime for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn list(&self) -> Result<Vec<Found>, Trouble> {
        Err("line 3 is half a line".into())
    }

    fn remove(&self, _: &str) -> Result<(), Trouble> {
        panic!("nothing of it was listed")
    }
}

struct Missing;

impl Runtime for Missing {
    fn name(&self) -> &'static str {
        "missing"
    }

    fn list(&self) -> Result<Vec<Found>, Trouble> {
        Ok(Vec::new())
    }

    fn remove(&self, _: &str) -> Result<(), Trouble> {
        panic!("nothing of it was listed")
    }
}

fn toy(stubborn: bool) -> Toy {
    let has = vec![thing("toy", "p__ghost", true), thing("toy", "p__a", true)];
    Toy {
        name: "toy",
        has: RefCell::new(has),
        stubborn,
    }
}

fn desired() -> Vec<Persona> {
    let running = |text| Persona {
        name: name(text),
        state: State::Running,
    };
    vec![running("p://gone"), running("p://a")]
}

#[test]
fn h19_every_action_is_a_line_that_says_why() {
    let (toy, mut set) = (toy(false), Vec::new());
    let lines = run(&desired(), &[&Missing, &toy], &mut |name, state| {
        set.push((name.to_string(), state));
        Ok(())
    });
    let expected = [
        "toy p__ghost: no such persona is known; removed",
        "p://gone: it should run and is gone; recorded as stopped",
    ];
    assert_eq!(lines, expected);
    assert_eq!(set, [("p://gone".to_owned(), State::Stopped)]);
    assert_eq!(toy.has.take(), [thing("toy", "p__a", true)]);
}

#[test]
fn h19_every_failure_is_a_line_that_says_what_next() {
    let lines = run(&desired(), &[&Broken, &toy(true)], &mut |_, _| {
        Err("set p://gone: ENOSPC; not recorded; next: free space".to_owned())
    });
    let expected = [
        "FAIL: list broken: line 3 is half a line; what it holds counts as gone; next: look at it, then reboot",
        "FAIL: remove toy p__ghost (no such persona is known): EBUSY; it is still there; next: reboot to try again",
        "FAIL: record p://gone as stopped (it should run and is gone): set p://gone: ENOSPC; not recorded; next: free space",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn h12_the_order_of_the_records_and_of_the_findings_does_not_matter() {
    let found = [
        thing("b", "p__x", true),
        thing("a", "p__y", false),
        thing("a", "??", true),
    ];
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
        states in prop::collection::btree_map("p://[a-d]", any_state(), 0..5),
        found in prop::collection::vec(
            (prop_oneof![Just("native"), Just("podman")], "(p__[a-f]\\+{0,2}|junk)", any::<bool>()), 0..10,
        ),
    ) {
        let mut desired: Vec<Persona> = states
            .iter()
            .map(|(text, state)| Persona { name: name(text), state: *state })
            .collect();
        let mut found: Vec<Found> = found.iter().map(|(runtime, id, running)| thing(runtime, id, *running)).collect();
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
