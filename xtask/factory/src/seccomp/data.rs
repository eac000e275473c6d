//! The four files of `bay0-persona/policies/seccomp`, and what must be true of them together.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::number;
use crate::arch::Arch;

/// Where the files are, as findings name them.
const FOLDER: &str = "bay0-persona/policies/seccomp";
/// From strict to wide, with the names of the files.
const PROFILES: [(&str, &str); 3] = [
    (
        "strict",
        include_str!("../../../../bay0-persona/policies/seccomp/strict.toml"),
    ),
    (
        "standard",
        include_str!("../../../../bay0-persona/policies/seccomp/standard.toml"),
    ),
    (
        "workshop",
        include_str!("../../../../bay0-persona/policies/seccomp/workshop.toml"),
    ),
];
const REFUSED: &str = include_str!("../../../../bay0-persona/policies/seccomp/refused.toml");

/// Calls and why.
pub type Reasons = BTreeMap<String, String>;

/// What a profile adds to those before it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What it is for.
    pub about: String,
    /// What it adds.
    pub allow: Reasons,
}

/// What is refused to all, or to all but the profiles that name it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// EPERM.
    pub refused: Reasons,
    /// ENOSYS, and that is meant.
    pub missing: Reasons,
    /// Allowed but for some arguments.
    pub but: Vec<But>,
}

/// Arguments with which an allowed call is refused: where all of `when` holds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct But {
    /// The call.
    pub call: String,
    /// All of these.
    pub when: Vec<When>,
    /// What it answers.
    #[serde(default)]
    pub errno: Errno,
    /// Why.
    pub why: String,
}

/// One argument. One of the three says what must be true of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// From 0.
    pub argument: u8,
    /// All of these bits are set.
    pub bits: Option<u32>,
    /// It is this.
    pub is: Option<u32>,
    /// With `is`: only these bits of it are compared.
    pub of: Option<u32>,
    /// It is none of these.
    #[serde(default)]
    pub none: Vec<u32>,
}

/// What a refused call answers.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
pub enum Errno {
    #[default]
    Eperm,
    Eafnosupport,
}

impl Errno {
    /// The kernel's number.
    pub fn number(self) -> u32 {
        let number = match self {
            Errno::Eperm => nix::libc::EPERM,
            Errno::Eafnosupport => nix::libc::EAFNOSUPPORT,
        };
        number.cast_unsigned()
    }

    /// As people and headers call it.
    pub fn name(self) -> &'static str {
        match self {
            Errno::Eperm => "EPERM",
            Errno::Eafnosupport => "EAFNOSUPPORT",
        }
    }
}

/// All files, in order.
#[derive(Clone, Debug)]
pub struct Lists {
    profiles: [Profile; 3],
    rest: Refused,
}

impl Lists {
    /// Reads what is compiled in.
    pub fn read() -> Result<Lists> {
        let [strict, standard, workshop] = PROFILES;
        let profile = |(name, text): (&str, &str)| parse::<Profile>(name, text);
        let lists = Lists {
            profiles: [profile(strict)?, profile(standard)?, profile(workshop)?],
            rest: parse("refused", REFUSED)?,
        };
        lists.check()?;
        Ok(lists)
    }

    /// The profiles with their names, from strict to wide.
    pub fn profiles(&self) -> impl Iterator<Item = (&'static str, &Profile)> {
        PROFILES.iter().map(|(name, _)| *name).zip(&self.profiles)
    }

    /// What a profile allows, that of those before it included.
    pub fn allowed(&self, profile: usize) -> impl Iterator<Item = &str> {
        let upto = self.profiles.iter().take(profile + 1);
        upto.flat_map(|profile| profile.allow.keys().map(String::as_str))
    }

    /// What is refused in a profile, whatever the arguments.
    pub fn refused(&self, profile: usize) -> impl Iterator<Item = &str> {
        let calls = self.rest.refused.keys().map(String::as_str);
        calls.filter(move |call| !self.allowed(profile).any(|allowed| allowed == *call))
    }

    /// What is refused by its arguments.
    pub fn but(&self) -> impl Iterator<Item = &But> {
        self.rest.but.iter()
    }

    /// Everything that is not about a profile.
    pub fn rest(&self) -> &Refused {
        &self.rest
    }

    fn check(&self) -> Result<()> {
        let mut whole: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, profile) in self.profiles() {
            for call in profile.allow.keys() {
                let before = whole.insert(call, name);
                ensure!(
                    before.is_none(),
                    "{FOLDER}: {call} is in two profiles; next: leave it in the stricter one"
                );
            }
        }
        for call in self.rest.refused.keys() {
            ensure!(
                whole.get(call.as_str()) != Some(&"strict"),
                "{FOLDER}: {call} is refused, and every profile allows it; next: decide"
            );
        }
        for call in self.rest.missing.keys() {
            ensure!(
                !whole.contains_key(call.as_str()) && !self.rest.refused.contains_key(call),
                "{FOLDER}: {call} is missing, and listed elsewhere; next: decide"
            );
        }
        for but in &self.rest.but {
            ensure!(
                whole.contains_key(but.call.as_str()),
                "{FOLDER}: {} has arguments that are refused, and no profile allows it; next: decide",
                but.call
            );
            check_but(but)?;
        }
        let reasons = self.profiles.iter().map(|profile| &profile.allow);
        let all = reasons.chain([&self.rest.refused, &self.rest.missing]);
        all.flatten()
            .try_for_each(|(call, why)| check_call(call, why))
    }
}

fn check_call(call: &str, why: &str) -> Result<()> {
    ensure!(
        number(Arch::X86_64, call).is_some(),
        "{FOLDER}: there is no call {call}; next: correct it"
    );
    ensure!(
        !why.is_empty() && !why.contains('|'),
        "{FOLDER}: {call} has no reason, or one that breaks a table; next: say in words why"
    );
    Ok(())
}

fn check_but(but: &But) -> Result<()> {
    let one = |when: &When| {
        let ways = [
            when.bits.is_some(),
            when.is.is_some(),
            !when.none.is_empty(),
        ];
        let fits = when
            .of
            .is_none_or(|of| when.is.is_some_and(|is| is & !of == 0));
        when.argument < 6 && fits && ways.iter().filter(|way| **way).count() == 1
    };
    ensure!(
        !but.when.is_empty() && but.when.iter().all(one),
        "{FOLDER}/refused.toml: {}, {}: each condition has an argument and one of bits, is, none, and `of` beside `is` alone, with all its bits; next: correct it",
        but.call,
        but.why
    );
    check_call(&but.call, &but.why)
}

fn parse<T: DeserializeOwned>(name: &str, text: &str) -> Result<T> {
    toml::from_str(text).with_context(|| format!("parse {FOLDER}/{name}.toml"))
}

#[cfg(test)]
mod tests;
