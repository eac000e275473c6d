//! What every boot does about what the last one left behind (H12): desired × actual, decided by a table, then done.
//!
//! | desired ＼ actual | absent | partial | running | several |
//! | --- | --- | --- | --- | --- |
//! | stopped | – | remove | remove | remove all |
//! | starting | stopped | remove, stopped | remove, stopped | remove all, stopped |
//! | running | stopped | remove, stopped | – | remove all, stopped |
//! | unknown persona | – | remove | remove | remove all |
//! | name that is none | – | remove | remove | remove all |
//!
//! *Partial* is anything that exists without running: an empty cgroup, a created or exited container. *Several* is one persona
//! found more than once, in one runtime or across them. Nothing half-made is ever completed or trusted: replacement is the only
//! remedy (C06). A removal that fails is reported and changes nothing else: the persona is stopped all the same, and what is
//! left of it is *stopped × something* for the next boot.

use std::collections::BTreeMap;

use bay0_persona::PersonaName;
use bay0_state::{Persona, State};

pub mod native;
pub mod podman;

const UNLISTED: &str = "what it holds counts as gone; next: look at it, then reboot";
const UNREMOVED: &str = "it is still there; next: reboot to try again";

/// What went wrong with a runtime: a group, a tool, or what it said. Only ever shown.
pub type Trouble = Box<dyn std::error::Error>;

/// Something that runs rooms.
pub trait Runtime {
    /// Its name, in log lines and in [`Found::runtime`].
    fn name(&self) -> &'static str;

    /// Everything it has; nothing if this machine does not have the runtime, which is a fact and not an error.
    ///
    /// # Errors
    /// What could not be read or believed; never a part of the list.
    fn list(&self) -> Result<Vec<Found>, Trouble>;

    /// Ends and removes what it calls `id`.
    ///
    /// # Errors
    /// What could not be done.
    fn remove(&self, id: &str) -> Result<(), Trouble>;
}

/// Something a runtime has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// The runtime that has it.
    pub runtime: &'static str,
    /// What that runtime calls it; what [`Runtime::remove`] wants.
    pub id: String,
    /// The persona it claims to be, if its name obeys the grammar.
    pub name: Option<PersonaName>,
    /// Whether it runs, or is paused while running; otherwise it is *partial*.
    pub running: bool,
}

impl Found {
    fn new(runtime: &'static str, id: &str, called: &str, running: bool) -> Found {
        Found {
            runtime,
            id: id.to_owned(),
            name: PersonaName::from_internal(called),
            running,
        }
    }
}

/// What to do something about, each with its reason.
pub type Reasons<T> = BTreeMap<T, &'static str>;

/// Decides the whole table: what to remove, and whom to record as stopped. Pure; once that is done it decides nothing more.
pub fn plan(desired: &[Persona], found: &[Found]) -> (Reasons<Found>, Reasons<PersonaName>) {
    let wrong = |name: Option<&PersonaName>| {
        let record = desired.iter().find(|it| Some(&it.name) == name);
        let things = found.iter().filter(|it| it.name.as_ref() == name);
        let runs: Vec<bool> = things.map(|it| it.running).collect();
        Some(match (name, record.map(|it| it.state), runs.as_slice()) {
            (None, ..) => "its name is not a persona's",
            (_, None, _) => "no such persona is known",
            (_, Some(State::Stopped), _) => "it should be stopped",
            (_, Some(State::Starting), _) => "its start was cut short",
            (_, Some(State::Running), []) => "it should run and is gone",
            (_, Some(State::Running), [true]) => return None,
            (_, Some(State::Running), [false]) => "it should run and is only half there",
            (_, Some(State::Running), _) => "it is there more than once",
        })
    };
    let remove = |it: &Found| Some((it.clone(), wrong(it.name.as_ref())?));
    let stop = |it: &Persona| Some((it.name.clone(), wrong(Some(&it.name))?));
    let live = desired.iter().filter(|it| it.state != State::Stopped);
    let remove = found.iter().filter_map(remove).collect();
    (remove, live.filter_map(stop).collect())
}

/// How a persona's state is recorded; says itself what to do next when that fails.
pub type SetState<'a> = &'a mut dyn FnMut(&PersonaName, State) -> Result<(), String>;

/// Lists every runtime, decides, and does it; returns a line for each runtime that could not be listed and for each step,
/// those that failed beginning with `FAIL: `. Takes at most the sum of the runtimes' deadlines.
pub fn run(desired: &[Persona], runtimes: &[&dyn Runtime], set_state: SetState) -> Vec<String> {
    let (mut lines, mut found) = (Vec::new(), Vec::new());
    for runtime in runtimes {
        match runtime.list() {
            Ok(things) => found.extend(things),
            Err(err) => lines.push(format!("FAIL: list {}: {err}; {UNLISTED}", runtime.name())),
        }
    }
    let (remove, stop) = plan(desired, &found);
    for (Found { runtime, id, .. }, why) in remove {
        let mut owner = runtimes.iter().filter(|owner| owner.name() == runtime);
        lines.push(match owner.try_for_each(|owner| owner.remove(&id)) {
            Ok(()) => format!("{runtime} {id}: {why}; removed"),
            Err(err) => format!("FAIL: remove {runtime} {id} ({why}): {err}; {UNREMOVED}"),
        });
    }
    for (name, why) in stop {
        lines.push(match set_state(&name, State::Stopped) {
            Ok(()) => format!("{name}: {why}; recorded as stopped"),
            Err(err) => format!("FAIL: record {name} as stopped ({why}): {err}"),
        });
    }
    lines
}

#[cfg(test)]
mod tests;
