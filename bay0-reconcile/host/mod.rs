//! What is done about what a runtime has and should not, or should have and has not (H12, H13): desired × actual, decided by a table.
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
//! found more than once. A room inside one that does not stay as it is goes with it. A removal that fails is reported and changes
//! nothing else: the persona is stopped all the same, and what is left of it is *stopped × something* for the next time.
//!
//! A runtime is bay0's own ([`native`]) or [`podman`].

use std::collections::BTreeMap;

use bay0_persona::PersonaName;
use bay0_state::{Persona, State};

use crate::absent;

pub mod native;
pub mod podman;

const AROUND: &str = "the room around it goes";
const UNREMOVED: &str = "it is still there; next: reboot to try again";

/// What went wrong with a runtime: a group, a tool, or what it said. Only ever shown.
pub type Trouble = Box<dyn std::error::Error>;
/// Ends and removes what the runtime calls so.
pub type Remove<'a> = &'a dyn Fn(&str) -> Result<(), Trouble>;
/// Records a persona as stopped; says itself what to do next when that fails.
pub type Stop<'a> = &'a mut dyn FnMut(&PersonaName) -> Result<(), Trouble>;

/// Something a runtime has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// What the runtime calls it; what [`Remove`] wants. That of a room inside another sorts after that one's.
    pub id: String,
    /// The persona it claims to be, if its name obeys the grammar.
    pub name: Option<PersonaName>,
    /// Whether it runs, or is paused while running; otherwise it is *partial*.
    pub running: bool,
}

/// What to do something about, each with its reason.
pub type Reasons<T> = BTreeMap<T, &'static str>;

/// Decides the whole table: what to remove, and whom to record as stopped. Pure; once that is done it decides nothing more.
pub fn plan(desired: &[Persona], found: &[Found]) -> (Reasons<Found>, Reasons<PersonaName>) {
    let wrong = |name: Option<&PersonaName>| wrong(desired, found, name);
    let remove = |it: &Found| Some((it.clone(), wrong(it.name.as_ref())?));
    let stop = |it: &Persona| Some((it.name.clone(), wrong(Some(&it.name))?));
    let live = desired.iter().filter(|it| it.state != State::Stopped);
    let remove = found.iter().filter_map(remove).collect();
    (remove, live.filter_map(stop).collect())
}

/// Why nothing of this name is to stay; none if it runs as it should.
fn wrong(desired: &[Persona], found: &[Found], name: Option<&PersonaName>) -> Option<&'static str> {
    let record = desired.iter().find(|it| Some(&it.name) == name);
    let things = found.iter().filter(|it| it.name.as_ref() == name);
    let runs: Vec<bool> = things.map(|it| it.running).collect();
    Some(match (name, record.map(|it| it.state), runs.as_slice()) {
        (None, ..) => "its name is not a persona's",
        (_, None, _) => "no such persona is known",
        (_, Some(State::Stopped), _) => "it should be stopped",
        (_, Some(state @ State::Starting), _) | (_, Some(state), []) => absent(state)?,
        (_, Some(State::Running), [false]) => "it should run and is only half there",
        (_, Some(State::Running), [_, _, ..]) => "it is there more than once",
        (Some(it), ..) => wrong(desired, found, Some(&it.parent()?)).and(Some(AROUND))?,
    })
}

/// Decides about what was found, and does it, the innermost rooms first; returns a line for each step, those that failed
/// beginning with `FAIL: `. Takes at most the deadline of each removal.
pub fn run(desired: &[Persona], found: &[Found], remove: Remove, stop: Stop) -> Vec<String> {
    let (removals, stops) = plan(desired, found);
    let removed = |(it, why): (Found, &str)| match remove(&it.id) {
        Ok(()) => format!("native {}: {why}; removed", it.id),
        Err(err) => format!("FAIL: remove native {} ({why}): {err}; {UNREMOVED}", it.id),
    };
    let stopped = |(name, why): (PersonaName, &str)| match stop(&name) {
        Ok(()) => format!("{name}: {why}; recorded as stopped"),
        Err(err) => format!("FAIL: record {name} as stopped ({why}): {err}"),
    };
    let removed = removals.into_iter().rev().map(removed);
    removed.chain(stops.into_iter().map(stopped)).collect()
}

#[cfg(test)]
mod tests;
