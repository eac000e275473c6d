//! A folder of policies: each file on its own, then what must be true of all together.
//!
//! A file is called by the internal form of its room's name: `p__work__mail.toml` is `p://work/mail`, a room inside `p://work`. So no
//! two files can claim one name, no file can disagree with itself, and the parent needs no field.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Result, anyhow};
use bay0_persona::PersonaName;

use super::file::{self, Finding, Policy};
use super::{ai, courier, rule, seat, terms, words};

/// All policies by their rooms' names.
pub type Policies = BTreeMap<PersonaName, Policy>;

/// The folder of each room's file, whether it can be read or not.
type Homes<'a> = BTreeMap<PersonaName, &'a str>;

/// A folder beside the policies: what the seccomp profiles allow, which `crate::seccomp` reads.
const SYSTEM_CALLS: &str = "seccomp";

/// What a folder holds.
#[derive(Default)]
pub struct Loaded {
    /// The policies that are in order by themselves.
    pub policies: Policies,
    /// Everything that is not, sorted.
    pub findings: Vec<Finding>,
}

/// Reads every file of these folders, each with what it is called in findings. A room has one policy, in whichever folder.
pub fn load(dirs: &[(&Path, &str)]) -> Result<Loaded> {
    let mut loaded = Loaded::default();
    let mut homes = Homes::new();
    for &(dir, home) in dirs {
        for entry in listed(dir)? {
            let path = entry?.path();
            let base = path.file_name().unwrap_or_default().to_string_lossy();
            if base == SYSTEM_CALLS && path.is_dir() {
                continue;
            }
            let shown = format!("{home}/{base}");
            let name = match name(&base) {
                Ok(name) => name,
                Err(what) => {
                    loaded.findings.push(whole(&shown, what));
                    continue;
                }
            };
            if let Some(other) = homes.insert(name.clone(), home) {
                let what = format!("{name} has a policy in {other} too; next: remove one");
                loaded.findings.push(whole(&shown, what));
                continue;
            }
            match read(&path, &shown) {
                Ok(policy) => drop(loaded.policies.insert(name, policy)),
                Err(findings) => loaded.findings.extend(findings),
            }
        }
    }
    loaded.findings.extend(together(&loaded.policies, &homes));
    loaded.findings.sort();
    Ok(loaded)
}

fn listed(dir: &Path) -> Result<fs::ReadDir> {
    let next = "next: --dir with a folder of policies";
    fs::read_dir(dir).map_err(|e| anyhow!("read {}: {e}; {next}", dir.display()))
}

/// The room that a file is about.
fn name(base: &str) -> Result<PersonaName, String> {
    let next = "call it as p__work__mail.toml for p://work/mail";
    let Some(stem) = base.strip_suffix(".toml") else {
        return Err(format!("not a policy; next: {next}, or move it away"));
    };
    PersonaName::from_internal(stem).ok_or_else(|| {
        let external = stem.replacen("__", "://", 1).replace("__", "/");
        let why = PersonaName::parse(&external)
            .map_or_else(|e| e.to_string(), |_| "not its own spelling".into());
        format!("names no room: {external}: {why}; next: {next}")
    })
}

fn read(path: &Path, shown: &str) -> Result<Policy, Vec<Finding>> {
    let refused = |what: String| vec![whole(shown, what)];
    let about =
        fs::symlink_metadata(path).map_err(|e| refused(format!("{e}; next: make it readable")))?;
    if !about.is_file() || about.len() > terms::MAX_FILE as u64 {
        let what = format!(
            "not a file of at most {} bytes; next: make it one",
            terms::MAX_FILE
        );
        return Err(refused(what));
    }
    let text = fs::read_to_string(path)
        .map_err(|e| refused(format!("{e}; next: make it readable UTF-8")))?;
    file::parse(shown, &text)
}

/// What no file can show by itself. A file that is broken is there all the same: it is not missing as well.
fn together(policies: &Policies, homes: &Homes) -> Vec<Finding> {
    let there = |name: &PersonaName| homes.contains_key(name);
    let mut found = Vec::new();
    for (name, policy) in policies {
        let dir = homes.get(name).copied().unwrap_or_default();
        let mut told = ways_out(name, policy, policies, &there);
        let others = courier::Others {
            policies,
            there: &there,
            path: &|other| path(dir, other),
        };
        told.extend(courier::ends(name, policy, &others));
        told.extend(ai::ends(name, policy));
        told.extend(seat::ends(name, policy));
        if let Some(parent) = name.parent() {
            match policies.get(&parent) {
                Some(above) => told.extend(exceeds(name, policy, &parent, above)),
                None if there(&parent) => {}
                None => {
                    let next = format!("write {}", path(dir, &parent));
                    told.push(format!(
                        "no policy of {parent}, which {name} is in; next: {next}"
                    ));
                }
            }
        }
        found.extend(told.into_iter().map(|what| whole(&path(dir, name), what)));
    }
    found
}

/// A card is in one room, and the room that is a way out has it.
fn ways_out(
    name: &PersonaName,
    policy: &Policy,
    policies: &Policies,
    there: &dyn Fn(&PersonaName) -> bool,
) -> Vec<String> {
    let has_card = |policy: &Policy| policy.grant.network == terms::NIC;
    let gate = PersonaName::parse(terms::GATE).ok();
    let opens = |gate: &PersonaName| there(gate) && policies.get(gate).is_none_or(has_card);
    let mut told = twice(name, policy, policies);
    if policy.grant.network == terms::VIA && !gate.as_ref().is_some_and(opens) {
        let what = format!("network goes through {}, which has no card", terms::GATE);
        told.push(format!(
            "{what}; next: give that room network = \"nic\", or this one none"
        ));
    }
    let first = policies.iter().find(|(_, policy)| has_card(policy));
    if let Some((first, _)) = first.filter(|(first, _)| has_card(policy) && *first != name) {
        let what = format!("network is the card, which {first} has: a card is in one room");
        told.push(format!(
            "{what}; next: network = \"via {}\" or none",
            terms::GATE
        ));
    }
    told
}

/// A port of the machine is one room's.
fn twice(name: &PersonaName, policy: &Policy, policies: &Policies) -> Vec<String> {
    let others = policies.iter().take_while(|(other, _)| *other != name);
    let theirs = others
        .flat_map(|(other, policy)| policy.grant.publish.iter().map(move |port| (other, port)));
    let both = theirs.filter(|(_, theirs)| {
        policy
            .grant
            .publish
            .iter()
            .any(|port| port.outside() == theirs.outside())
    });
    let told = both.map(|(other, port)| {
        let what = format!(
            "publish: {name} has {}, which {other} has too",
            port.outside()
        );
        format!("{what}: a port of the machine is one room's; next: another port in one of the two")
    });
    told.collect()
}

/// One finding for each field in which a room may more than the room it is in.
fn exceeds(
    name: &PersonaName,
    policy: &Policy,
    parent: &PersonaName,
    above: &Policy,
) -> Vec<String> {
    let mut fields = rule::beyond(&policy.grant, &above.grant);
    if fields.contains(&"network") {
        // What belongs to a way out that is not the parent's is not one more thing to mend.
        fields.retain(|field| !matches!(*field, "traffic" | "publish" | "egress"));
    }
    let told = fields.into_iter().map(|field| {
        let (more, less) = (words::of(field, policy), words::of(field, above));
        let next = "take it from this room, or give it to that one too";
        format!("{field}: {name} has more than {parent}, which it is in: {more}; there: {less}; next: {next}")
    });
    told.collect()
}

fn path(dir: &str, name: &PersonaName) -> String {
    format!("{dir}/{}.toml", name.internal())
}

fn whole(file: &str, what: String) -> Finding {
    Finding {
        file: file.to_owned(),
        at: None,
        what,
    }
}
