//! The build's own lock: what was taken where the lock's packages were not to be had, `NAME.lock` beside the files. It holds until the
//! lock changes, or until the cache has all that is pinned.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use super::{Set, by_name, version};
use crate::room::{self, Package};
use crate::stamp;

/// Packages that one line names; the record has all.
const NAMED: usize = 8;

/// Sets of which this process has said what it takes.
static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

fn path(cache: &Path, name: &str) -> PathBuf {
    cache.join(format!("{name}.lock"))
}

/// The first line, which ties a record to the pins it stands in for.
fn head(set: &Set) -> String {
    let pins = stamp::sha256(room::lock_text(&set.name, &set.packages).as_bytes());
    format!(
        "# Taken instead of what {} pins ({})\n",
        set.lock,
        &pins[..16]
    )
}

/// What a build takes as far as that can be known without asking anybody: what the lock pins or, where that is not all there, what was
/// taken before.
pub fn known(set: &Set, locked: bool) -> Result<Vec<Package>> {
    let path = path(&set.cache, &set.name);
    let text = match fs::read_to_string(&path) {
        _ if locked => return Ok(set.packages.clone()),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(set.packages.clone()),
        text => text.with_context(|| format!("read {}", path.display()))?,
    };
    let there = |package: &Package| set.cache.join(package.pin().name).exists();
    let ours = text.strip_prefix(&head(set)).and_then(room::parse_lock);
    match ours {
        Some(taken) if !set.packages.iter().all(there) => Ok(taken),
        _ => Ok(set.packages.clone()),
    }
}

/// What a build's inputs are beside its lock: the packages that stand in for pinned ones, if any do; said as well.
pub fn instead(cache: &Path, name: &str, set: impl FnOnce() -> Result<Set>) -> Result<String> {
    if super::locked() || !path(cache, name).exists() {
        return Ok(String::new());
    }
    let set = set()?;
    let taken = known(&set, false)?;
    say(&set, &taken);
    Ok(match taken == set.packages {
        true => String::new(),
        false => room::lock_lines(&taken),
    })
}

/// Records what was taken; nothing where that is what is pinned.
pub fn write(set: &Set, taken: &[Package]) -> Result<()> {
    let path = path(&set.cache, &set.name);
    if taken == set.packages {
        return match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(e).with_context(|| format!("remove {}", path.display()))
            }
            _ => Ok(()),
        };
    }
    let text = head(set) + &room::lock_lines(taken);
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}

/// Says in one line what stands in for what, once.
pub fn say(set: &Set, taken: &[Package]) {
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(line) = line(set, taken)
        && said.insert(set.name.clone())
    {
        eprintln!("{line}");
    }
}

/// `dev: 1 of 192 packages is newer than its pin: linux-libc-dev 6.1.192-2 → 6.1.192-3`; none where all is as pinned.
pub fn line(set: &Set, taken: &[Package]) -> Option<String> {
    let (others, more): (Vec<_>, Vec<_>) = changes(set, taken)
        .into_iter()
        .partition(|change| change.from.is_some());
    if others.is_empty() && more.is_empty() {
        return None;
    }
    let what = match others.iter().all(Change::is_newer) {
        true => "newer",
        false => "other",
    };
    let verb = match others.len() {
        1 => format!("is {what} than its pin"),
        _ => format!("are {what} than their pins"),
    };
    let with = match more.is_empty() {
        true => String::new(),
        false => format!("; with them: {}", shown(set, &more)),
    };
    Some(format!(
        "{}: {} of {} packages {verb}: {}{with}",
        set.name,
        others.len(),
        set.packages.len(),
        shown(set, &others)
    ))
}

/// One package that is not as pinned.
struct Change {
    name: String,
    from: Option<String>,
    to: Option<String>,
}

impl Change {
    fn is_newer(&self) -> bool {
        let (from, to) = (self.from.as_ref(), self.to.as_ref());
        from.zip(to)
            .is_some_and(|(from, to)| version::holds(from, "lt", to))
    }

    fn shown(&self) -> String {
        let to = self.to.as_deref().unwrap_or("none");
        match &self.from {
            Some(from) => format!("{} {from} → {to}", self.name),
            None => format!("{} {to}", self.name),
        }
    }
}

fn shown(set: &Set, changes: &[Change]) -> String {
    let mut words: Vec<String> = changes.iter().take(NAMED).map(Change::shown).collect();
    if changes.len() > NAMED {
        let path = path(&set.cache, &set.name);
        words.push(format!(
            "and {} more, all in {}",
            changes.len() - NAMED,
            path.display()
        ));
    }
    words.join(", ")
}

fn changes(set: &Set, taken: &[Package]) -> Vec<Change> {
    let (pinned, taken) = (by_name(&set.packages), by_name(taken));
    let names: BTreeSet<&str> = pinned.keys().chain(taken.keys()).copied().collect();
    let other = names
        .into_iter()
        .filter(|name| pinned.get(name) != taken.get(name));
    let version = |it: Option<&&Package>| it.map(|package| package.version.clone());
    other
        .map(|name| Change {
            name: name.to_owned(),
            from: version(pinned.get(name)),
            to: version(taken.get(name)),
        })
        .collect()
}

/// What `/etc/spine` says of these sets: `none`, or names and versions that are not the pinned ones, as in
/// `dev:linux-libc-dev=6.1.192-3`.
pub fn drifted(sets: &[Set]) -> Result<String> {
    let mut words = Vec::new();
    for set in sets {
        let changes = changes(set, &known(set, super::locked())?);
        words.extend(changes.into_iter().map(|change| {
            let to = change.to.unwrap_or_else(|| "none".to_owned());
            format!("{}:{}={to}", set.name, change.name)
        }));
    }
    let more = words.len().saturating_sub(NAMED);
    words.truncate(NAMED);
    if more > 0 {
        words.push(format!("and-{more}-more"));
    }
    Ok(match words.is_empty() {
        true => "none".to_owned(),
        false => words.join(","),
    })
}
