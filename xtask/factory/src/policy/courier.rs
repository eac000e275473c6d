//! What the courier may move between a room and others: the fields in `courier`, and what must be true of both ends.

use std::collections::BTreeSet;

use bay0_persona::PersonaName;
use bay0_persona::policy::{PORT, STICK};
use toml::Spanned;

use super::file::{Policy, Reader};
use super::set::Policies;
use super::spelled::Moves;
use super::terms::{self, TERMS};

/// What the courier may move from and to a room; by default nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Courier {
    /// The rooms that get its files.
    pub to: BTreeSet<PersonaName>,
    /// The rooms whose files it gets.
    pub from: BTreeSet<PersonaName>,
    /// Bytes of one file.
    pub bytes: u64,
    /// One bit for each type of file.
    pub types: u64,
    /// Whether a file may go without a question, where the other policy says so too and it goes to less trust.
    pub silent: bool,
}

/// Why no other room of `sys://` has a courier: none of them is ever in front.
const NEVER: &str = "which is not the outside (devices has neither port nor stick): nobody can move a file from or to it; next: remove it";

impl Reader<'_> {
    /// Nothing without a room in `to` or `from`, and then the others say nothing.
    pub fn courier(&mut self, raw: Moves) -> Courier {
        if !raw.to.is_empty() || !raw.from.is_empty() {
            return Courier {
                to: self.rooms("courier.to", &raw.to),
                from: self.rooms("courier.from", &raw.from),
                bytes: self.size("courier.bytes", raw.bytes, terms::COURIER_BYTES),
                types: self.types(raw.types),
                silent: raw.ask.is_some_and(|ask| !ask.into_inner()),
            };
        }
        let bytes_at = raw.bytes.map(|bytes| bytes.span().start);
        let types_at = raw.types.map(|types| types.span().start);
        let ask_at = raw.ask.map(|ask| ask.span().start);
        let known = !self.refused("courier.to") && !self.refused("courier.from");
        for (field, at) in [("bytes", bytes_at), ("types", types_at), ("ask", ask_at)] {
            if known && at.is_some() {
                let what = format!(
                    "courier.{field} has no use in a room that no file is moved from or to"
                );
                let next = "remove it, or set courier.to or courier.from";
                self.found(at, format!("{what}; next: {next}"));
            }
        }
        Courier::default()
    }

    fn rooms(&mut self, field: &str, values: &[Spanned<String>]) -> BTreeSet<PersonaName> {
        let mut rooms = BTreeSet::new();
        if let Some(last) = values.get(terms::MAX_ROOMS) {
            let (has, most) = (values.len(), terms::MAX_ROOMS);
            self.wrong(
                last,
                &format!("{field} has {has} rooms; next: at most {most}"),
            );
        }
        for value in values {
            match PersonaName::parse(value.get_ref()) {
                Err(why) => {
                    let what = format!("{field} has {:?}: {why}", value.get_ref());
                    self.wrong(value, &format!("{what}; next: a room's name as p://work"));
                }
                Ok(name) if rooms.contains(&name) => {
                    self.wrong(
                        value,
                        &format!("{field} has {name} twice; next: remove one"),
                    );
                }
                Ok(name) => drop(rooms.insert(name)),
            }
        }
        rooms
    }

    /// All of them where none is named.
    fn types(&mut self, value: Option<Spanned<Vec<Spanned<String>>>>) -> u64 {
        let Some(value) = value else {
            return terms::bits(&TERMS.types);
        };
        if value.get_ref().is_empty() {
            let all = terms::words(&TERMS.types).join(", ");
            let what = "courier.types has no word, so no file is moved";
            self.wrong(
                &value,
                &format!("{what}; next: some of {all}, or remove it for all"),
            );
        }
        self.set("courier.types", value.into_inner(), &TERMS.types)
    }
}

/// One list of a room, and the list of another room that must have this one in return.
struct Side<'a> {
    field: &'static str,
    rooms: &'a BTreeSet<PersonaName>,
    back: &'static str,
    returns: fn(&Courier) -> &BTreeSet<PersonaName>,
}

/// A person's room with one of them could move files past the courier.
const PAST: &str = "devices has port or stick, which only a room of sys:// has: all others reach the outside by the courier; next: remove it";

/// All rooms and their policies: those that are there, and those that can be read.
pub struct Others<'a> {
    pub policies: &'a Policies,
    pub there: &'a dyn Fn(&PersonaName) -> bool,
    /// Where the policy of a room would be.
    pub path: &'a dyn Fn(&PersonaName) -> String,
}

/// Each room that a courier cannot serve, in the words of this room's file.
pub fn ends(name: &PersonaName, policy: &Policy, others: &Others<'_>) -> Vec<String> {
    let courier = &policy.grant.courier;
    if !name.is_system() && is_outside(policy) {
        return vec![PAST.to_owned()];
    }
    if name.is_system() && !is_outside(policy) && *courier != Courier::default() {
        return vec![format!("courier is in the policy of {name}, {NEVER}")];
    }
    let sides = [
        Side {
            field: "courier.to",
            rooms: &courier.to,
            back: "courier.from",
            returns: |courier| &courier.from,
        },
        Side {
            field: "courier.from",
            rooms: &courier.from,
            back: "courier.to",
            returns: |courier| &courier.to,
        },
    ];
    let mut told = Vec::new();
    for side in &sides {
        for other in side.rooms {
            let why = others.refuse(name, side, other);
            told.extend(why.map(|why| format!("{} has {other}, {why}", side.field)));
        }
    }
    told
}

/// Whether a room stands for what is outside of the machine.
fn is_outside(policy: &Policy) -> bool {
    policy.grant.devices & (PORT | STICK) != 0
}

impl Others<'_> {
    /// Why a room cannot stand in a list, with the next action. A policy that is there and cannot be read may agree.
    fn refuse(&self, name: &PersonaName, side: &Side<'_>, other: &PersonaName) -> Option<String> {
        let theirs = self.policies.get(other);
        if other.is_system() && theirs.is_some_and(|it| !is_outside(it)) {
            return Some(NEVER.into());
        }
        if other == name {
            return Some("which is this room itself; next: remove it".into());
        }
        if other.is_in(name) || name.is_in(other) {
            let why =
                "and one of the two rooms is inside the other, between which no file is moved";
            return Some(format!("{why}; next: remove it"));
        }
        if !(self.there)(other) {
            let next = format!("write {}, or remove it", (self.path)(other));
            return Some(format!("which there is no policy of; next: {next}"));
        }
        let agrees = (side.returns)(&theirs?.grant.courier).contains(name);
        let why = format!(
            "and {} of {other} has no {name}: both ends must agree",
            side.back
        );
        (!agrees).then(|| format!("{why}; next: write it there, or remove it here"))
    }
}
