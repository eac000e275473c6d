//! `cargo xtask policy`: what each room may, checked, explained, compared and compiled. Host side: nothing at run time reads TOML.
//!
//! [`file`] reads one file (with [`spelled`], [`texts`], [`reach`], [`courier`] and [`ai`]), [`set`] a folder of them, [`rule`] says what a nested room may never have, [`words`] tells it to a person,
//! [`db`] writes what ships.

mod ai;
mod courier;
mod db;
mod file;
mod reach;
mod rule;
mod seat;
mod set;
mod spelled;
mod terms;
mod texts;
mod words;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use bay0_persona::PersonaName;
use clap::{Args, Subcommand};

use crate::layout::Layout;
use crate::roomdisk::{self, Image, Set};
use crate::{seccomp, stamp};
use db::Baked;
use file::Policy;
use set::Loaded;

pub(crate) use reach::{Egress, Port, Protocol};
pub(crate) use set::Policies;
#[cfg(test)]
pub use terms::TERMS;
pub(crate) use terms::{UNLIMITED, VIA};

/// What `cargo xtask policy` takes.
#[derive(Args)]
pub struct PolicyArgs {
    #[command(subcommand)]
    which: Which,
    /// The folder of policies [default: bay0-persona/policies]
    #[arg(long, global = true, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Which {
    /// Check every policy; shows all findings, with file, line and column
    Check,
    /// Say in plain words what one room may
    Show {
        /// p://web, or p__web
        #[arg(value_parser = name)]
        name: PersonaName,
    },
    /// Say in plain words what B may that A may not, and the reverse
    Diff {
        /// The one room
        #[arg(value_parser = name)]
        a: PersonaName,
        /// The other room
        #[arg(value_parser = name)]
        b: PersonaName,
    },
    /// Write the database of a Spine: policies, images, seccomp profiles
    Compile {
        /// Where to [default: build/policy.db]
        out: Option<PathBuf>,
        /// Images that it has, made where they are missing [default: those of build/rooms.img]
        #[arg(long, value_name = "LIST", value_parser = Set::parse)]
        rooms: Option<Set>,
    },
    /// Print which system calls each seccomp profile allows and why: docs/SYSCALL-JUSTIFICATIONS.md
    Syscalls,
}

/// Either spelling of a name; what is wrong with it.
pub fn name(text: &str) -> Result<PersonaName, String> {
    let internal = || PersonaName::from_internal(text);
    PersonaName::parse(text)
        .or_else(|error| internal().ok_or(format!("{error}; next: p://web, say")))
}

/// Does it; 1 when a policy is not in order, and then nothing is written.
pub fn command(layout: &Layout, args: &PolicyArgs) -> Result<u8> {
    if let Which::Syscalls = args.which {
        print!("{}", seccomp::document()?);
        return Ok(0);
    }
    let dir = args.dir.clone().unwrap_or_else(|| layout.policies());
    let shown = dir.strip_prefix(&layout.root).unwrap_or(&dir);
    let loaded = set::load(&[(&dir, &shown.display().to_string())])?;
    match &args.which {
        Which::Check => {
            let code = refused(&loaded);
            println!("{}", checked(&loaded));
            return Ok(code);
        }
        Which::Show { name } => match chosen(&loaded, name)? {
            Some(policy) => print!("{}", words::show(name, policy)),
            None => return Ok(refused(&loaded)),
        },
        Which::Diff { a, b } => match (chosen(&loaded, a)?, chosen(&loaded, b)?) {
            (Some(first), Some(second)) => print!("{}", words::diff((a, first), (b, second))),
            _ => return Ok(refused(&loaded)),
        },
        Which::Compile { out, rooms } if loaded.findings.is_empty() => {
            let there = roomdisk::last(layout).is_some();
            let images = match rooms {
                None if !there => Vec::new(),
                rooms => roomdisk::make(
                    layout,
                    &roomdisk::choose(layout, rooms.as_ref(), roomdisk::NONE)?,
                )?,
            };
            let default = layout.policy_db(false);
            let out = out.as_deref().unwrap_or(&default);
            println!("{}", compile(loaded.policies, images, out)?);
            return Ok(0);
        }
        Which::Syscalls => {}
        Which::Compile { .. } => {
            eprintln!("policy: nothing written, since not all policies are in order")
        }
    }
    Ok(refused(&loaded))
}

/// Shows every finding; the exit code that says whether there was one.
fn refused(loaded: &Loaded) -> u8 {
    for finding in &loaded.findings {
        eprintln!("policy: {finding}");
    }
    u8::from(!loaded.findings.is_empty())
}

fn checked(loaded: &Loaded) -> String {
    let (policies, findings) = (loaded.policies.len(), loaded.findings.len());
    format!("policy: {policies} can be read, {findings} to mend")
}

/// The policy of that room; none if its file is there and not in order.
fn chosen<'a>(loaded: &'a Loaded, name: &PersonaName) -> Result<Option<&'a Policy>> {
    if let Some(policy) = loaded.policies.get(name) {
        return Ok(Some(policy));
    }
    let base = format!("/{}.toml", name.internal());
    if loaded
        .findings
        .iter()
        .any(|finding| finding.file.ends_with(&base))
    {
        return Ok(None);
    }
    let there: Vec<_> = loaded.policies.keys().map(ToString::to_string).collect();
    bail!("no policy of {name}; next: one of {}", there.join(", "))
}

/// The policy of a text.
#[cfg(test)]
pub(crate) fn parse_text(text: &str) -> Result<Policy, Vec<file::Finding>> {
    file::parse("p__x.toml", text)
}

/// Fails, with every finding, unless this is the text of a policy.
pub fn check_text(file: &str, text: &str) -> Result<()> {
    let Err(findings) = file::parse(file, text) else {
        return Ok(());
    };
    let findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
    bail!("{}", findings.join("; "))
}

/// The database of a Spine with these images: the shipped policies, and those of the tests for a test build.
pub fn bake(layout: &Layout, fault: bool, images: &[Image]) -> Result<PathBuf> {
    let (shipped, tests) = (layout.policies(), layout.test_policies());
    let shown = |dir: &Path| {
        let dir = dir.strip_prefix(&layout.root).unwrap_or(dir);
        dir.display().to_string()
    };
    let (shipped_shown, tests_shown) = (shown(&shipped), shown(&tests));
    let both = [(&*shipped, &*shipped_shown), (&*tests, &*tests_shown)];
    let loaded = set::load(if fault { &both } else { &both[..1] })?;
    if refused(&loaded) != 0 {
        bail!("policy: not all policies are in order; next: mend them, cargo xtask policy check");
    }
    let out = layout.policy_db(fault);
    compile(loaded.policies, images.to_vec(), &out)?;
    Ok(out)
}

/// The rule set of `sys://net` for the policies of a folder.
///
/// # Errors
/// The folder cannot be read, or a policy is not in order.
pub fn rules_of(dir: &Path) -> Result<Vec<u8>> {
    let loaded = set::load(&[(dir, "policies")])?;
    ensure!(
        refused(&loaded) == 0,
        "policy: not all policies are in order; next: mend them"
    );
    Ok(crate::rules::batch(&loaded.policies))
}

/// Writes the database; one line about it.
fn compile(policies: Policies, images: Vec<Image>, out: &Path) -> Result<String> {
    let baked = Baked {
        policies,
        images,
        filters: seccomp::programs()?,
    };
    db::compile(&baked, out)?;
    Ok(format!(
        "{}: {} policies, {} images, sha256 {}",
        out.display(),
        baked.policies.len(),
        baked.images.len(),
        stamp::sha256_file(out)?
    ))
}

#[cfg(test)]
pub(crate) mod tests;
