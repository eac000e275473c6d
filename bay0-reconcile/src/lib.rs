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

use std::io;

use bay0_persona::PersonaName;
use bay0_state::{Persona, State};

pub mod native;
pub mod podman;

pub use native::Native;
pub use podman::Podman;

const UNLISTED: &str = "what it holds counts as gone; next: look at it, then reboot";
const UNREMOVED: &str = "it is still there; next: reboot to try again";

/// Something that runs rooms.
pub trait Runtime {
    /// Its name, in log lines and in [`Found::runtime`].
    fn name(&self) -> &'static str;

    /// Everything it has; nothing if this machine does not have the runtime, which is a fact and not an error.
    ///
    /// # Errors
    /// What could not be read or believed; never a part of the list.
    fn list(&self) -> io::Result<Vec<Found>>;

    /// Ends and removes what it calls `id`.
    ///
    /// # Errors
    /// What could not be done.
    fn remove(&self, id: &str) -> io::Result<()>;
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
        let (id, name) = (id.to_owned(), PersonaName::from_internal(called).ok());
        Found {
            runtime,
            id,
            name,
            running,
        }
    }
}

/// One step towards agreement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Remove this, for this reason.
    Remove(Found, &'static str),
    /// Record this persona as stopped, for this reason.
    Stop(PersonaName, &'static str),
}

/// Decides the whole table. Pure; ordered: removals by runtime and id, then records by name; once its actions are done it
/// returns none.
pub fn plan(desired: &[Persona], found: &[Found]) -> Vec<Action> {
    let wrong = |name: Option<&PersonaName>| {
        let record = desired.iter().find(|it| Some(&it.name) == name);
        let things = found.iter().filter(|it| it.name.as_ref() == name);
        let things: Vec<&Found> = things.collect();
        Some(match (name, record.map(|it| it.state), things.as_slice()) {
            (None, ..) => "its name is not a persona's",
            (_, None, _) => "no such persona is known",
            (_, Some(State::Stopped), _) => "it should be stopped",
            (_, Some(State::Starting), _) => "its start was cut short",
            (_, Some(State::Running), []) => "it should run and is gone",
            (_, Some(State::Running), [one]) if one.running => return None,
            (_, Some(State::Running), [_]) => "it should run and is only half there",
            (_, Some(State::Running), _) => "it is there more than once",
        })
    };
    let remove = |it: &Found| Some(Action::Remove(it.clone(), wrong(it.name.as_ref())?));
    let stop = |it: &Persona| Some(Action::Stop(it.name.clone(), wrong(Some(&it.name))?));
    let mut actions: Vec<Action> = found.iter().filter_map(remove).collect();
    let live = desired.iter().filter(|it| it.state != State::Stopped);
    actions.extend(live.filter_map(stop));
    actions.sort();
    actions
}

/// Lists every runtime, decides, and does it; returns a line for each runtime that could not be listed and for each action,
/// those that failed beginning with `FAIL: `. `set_state` says itself what to do next when it fails. Takes at most the sum of the runtimes' deadlines.
pub fn run(
    desired: &[Persona],
    runtimes: &[&dyn Runtime],
    set_state: &mut dyn FnMut(&PersonaName, State) -> Result<(), String>,
) -> Vec<String> {
    let (mut lines, mut found) = (Vec::new(), Vec::new());
    for runtime in runtimes {
        match runtime.list() {
            Ok(things) => found.extend(things),
            Err(err) => lines.push(format!("FAIL: list {}: {err}; {UNLISTED}", runtime.name())),
        }
    }
    for action in plan(desired, &found) {
        lines.push(match action {
            Action::Remove(Found { runtime, id, .. }, why) => {
                let mut owner = runtimes.iter().filter(|owner| owner.name() == runtime);
                match owner.try_for_each(|owner| owner.remove(&id)) {
                    Ok(()) => format!("{runtime} {id}: {why}; removed"),
                    Err(err) => format!("FAIL: remove {runtime} {id} ({why}): {err}; {UNREMOVED}"),
                }
            }
            Action::Stop(name, why) => match set_state(&name, State::Stopped) {
                Ok(()) => format!("{name}: {why}; recorded as stopped"),
                Err(err) => format!("FAIL: record {name} as stopped ({why}): {err}"),
            },
        });
    }
    lines
}

#[cfg(test)]
mod tests;
