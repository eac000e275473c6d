//! Sets of pinned Debian packages (decision 20), used as cargo uses a lock: what the lock names is taken as long as the cache or the
//! archive has it. A version that the archive has dropped is replaced by the archive's current one, in builds that may: authenticated by
//! the archive's own signature, said in one line, recorded beside the packages. A locked build refuses, and names every package.

mod apt;
mod archive;
mod check;
mod depends;
mod host;
mod record;
mod resolve;
mod sets;
mod version;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};

pub use apt::Apt;
use archive::Archive;
pub use check::command as check;
use depends::Relations;
pub use record::{drifted, instead, known};
pub use resolve::resolve;
pub use sets::{room, soil, tools};

use crate::fetch::{self, fresh_dir};
use crate::room::{self as rooms, Package};

/// How often the archive is asked: with the lists that are there, and with new ones.
const ROUNDS: usize = 2;

/// Set by `--locked`, and by commands whose result must be what the locks say.
static LOCKED: AtomicBool = AtomicBool::new(false);

/// From here on this process takes what the locks name and nothing else.
pub fn lock() {
    LOCKED.store(true, Ordering::Relaxed);
}

/// True when it does.
pub fn locked() -> bool {
    LOCKED.load(Ordering::Relaxed)
}

/// A lock and where its packages are kept.
pub struct Set {
    /// Short name, for people and for the record.
    pub name: String,
    /// The lock's path in the repository.
    pub lock: String,
    /// What it pins.
    pub packages: Vec<Package>,
    /// Code name of the Debian release.
    pub release: String,
    /// The folder with the files.
    pub cache: PathBuf,
    /// What makes other versions the pins.
    pub repin: String,
    /// What may stand in for a package that is gone.
    pub successor: Successor,
}

/// What may stand in for a package that is gone.
pub enum Successor {
    /// The same name; where that is not enough, what these names stand for today with all they need, `essential` packages too.
    Recipe {
        /// What the recipe asks for.
        asked: Vec<String>,
        /// With a system's essential packages.
        essential: bool,
    },
    /// The same name.
    Name,
    /// The newest package whose name begins and ends like this.
    Series(&'static str, &'static str),
}

/// Brings every package of a set into its cache and returns them: the pinned ones, or what stands in for them.
pub fn take(set: &Set, apt: &Apt, locked: bool) -> Result<Vec<Package>> {
    let start = known(set, locked)?;
    let lacking = missing(set, &start)?;
    if lacking.is_empty() {
        record::say(set, &start);
        return Ok(start);
    }
    host::check(set, apt, &lacking)?;
    fs::create_dir_all(&set.cache).with_context(|| format!("create {}", set.cache.display()))?;
    let names = set.names();
    let mut archive = apt.archive(&set.release, &names)?;
    let pinned = missing(set, &set.packages)?;
    let covered = pinned.iter().all(|package| archive.of(package).is_some());
    let mut updated = Ok(());
    for round in 0..ROUNDS {
        if round > 0 || !covered {
            updated = apt.update();
            archive = apt.archive(&set.release, &names)?;
        }
        check_archive(set, &archive, &updated)?;
        let taken = choose(set, apt, &archive, locked, &updated)?;
        match download(set, apt, &taken) {
            Ok(()) => {
                record::write(set, &taken)?;
                record::say(set, &taken);
                return Ok(taken);
            }
            Err(Failure::Wrong(error)) => return Err(error),
            Err(Failure::Stopped(error)) if round + 1 == ROUNDS || !covered => return Err(error),
            Err(Failure::Stopped(_)) => {}
        }
    }
    unreachable!("the last round returns")
}

impl Set {
    /// Names that the archive is asked for.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.packages.iter().map(|p| p.name.clone()).collect();
        if let Successor::Series(beginning, _) = self.successor {
            names.push(format!("{beginning}*"));
        }
        names
    }

    fn next(&self) -> String {
        format!(
            "next: {}, or put the files into {}: they stay in Debian's snapshot archive",
            self.repin,
            self.cache.display()
        )
    }
}

/// Those that are not in the cache; one that is there and is not what it must be is an error.
pub fn missing(set: &Set, packages: &[Package]) -> Result<Vec<Package>> {
    let mut missing = Vec::new();
    for package in packages {
        if fetch::cached(&package.pin(), &set.cache, &set.repin)?.is_none() {
            missing.push(package.clone());
        }
    }
    Ok(missing)
}

/// An archive without one list of that release cannot say that something is gone.
fn check_archive(set: &Set, archive: &Archive, updated: &Result<()>) -> Result<()> {
    let why = match updated {
        Ok(()) => format!("this host's apt has no list of Debian {}", set.release),
        Err(error) => format!("{error:#}"),
    };
    ensure!(
        !archive.is_unknown(),
        "fetch {}: the archive could not be asked: {why}; next: check the network and this host's apt sources, or put the packages of {} \
         into {}",
        set.name,
        set.lock,
        set.cache.display()
    );
    Ok(())
}

/// The pinned packages, with the archive's current ones in the place of those that are gone.
fn choose(
    set: &Set,
    apt: &Apt,
    archive: &Archive,
    locked: bool,
    updated: &Result<()>,
) -> Result<Vec<Package>> {
    let missing = missing(set, &set.packages)?;
    for package in &missing {
        same_file(set, archive, package)?;
    }
    let gone: Vec<&Package> = missing
        .iter()
        .filter(|package| archive.of(package).is_none())
        .collect();
    if gone.is_empty() {
        return Ok(set.packages.clone());
    }
    if locked {
        bail!("{}", refusal(set, archive, &gone, updated));
    }
    let replaced = set.packages.iter().map(|package| {
        match gone.iter().any(|gone| gone.name == package.name) {
            true => successor(set, archive, package),
            false => Some(package.clone()),
        }
    });
    let replaced: Option<Vec<Package>> = replaced.collect();
    match (replaced, &set.successor) {
        (Some(packages), Successor::Recipe { .. }) if whole(set, archive, &packages)? => {
            Ok(packages)
        }
        (
            _,
            Successor::Recipe {
                asked, essential, ..
            },
        ) => {
            let packages = resolve(apt, &set.release, asked, *essential)
                .with_context(|| format!("fetch {}: {}", set.name, named(archive, &gone)))?;
            signed(set, apt, &packages)?;
            Ok(packages)
        }
        (Some(packages), _) => Ok(packages),
        (None, _) => bail!(
            "fetch {}: gone from the archive, and nothing there stands in for it: {}; {}",
            set.name,
            named(archive, &gone),
            set.next()
        ),
    }
}

/// An archive with another file under the pinned version is not one to take a successor from.
fn same_file(set: &Set, archive: &Archive, pinned: &Package) -> Result<()> {
    let Some(offer) = archive.of(pinned) else {
        return Ok(());
    };
    ensure!(
        offer.package.sha256 == pinned.sha256,
        "check {} (pinned sha256 {}, the archive has {}): mismatch; not used; next: {}",
        pinned.wanted(),
        pinned.sha256,
        offer.package.sha256,
        set.repin
    );
    Ok(())
}

/// The archive's current version of a package or, of a kernel, of its series.
fn successor(set: &Set, archive: &Archive, package: &Package) -> Option<Package> {
    if let Some(offer) = archive.current(&package.name) {
        return Some(offer.package.clone());
    }
    let Successor::Series(beginning, end) = set.successor else {
        return None;
    };
    let series = archive.names().filter(|name| {
        let middle = name
            .strip_prefix(beginning)
            .and_then(|it| it.strip_suffix(end));
        // With a number of its own: not the package that only depends on the newest.
        middle.is_some_and(|middle| middle.starts_with('.'))
    });
    let newest = series.max_by(|a, b| version::compare(a, b))?;
    Some(archive.current(newest)?.package.clone())
}

/// True if every package has all it needs among the others.
fn whole(set: &Set, archive: &Archive, packages: &[Package]) -> Result<bool> {
    let mut members = Vec::new();
    for package in packages {
        let relations = match archive.of(package) {
            Some(offer) => offer.relations.clone(),
            None => Relations::of(&rooms::control(&set.cache.join(package.pin().name))?),
        };
        members.push((package, relations));
    }
    Ok(depends::lacks(&members).is_none())
}

/// Fails unless a signed list names each of them: apt itself resolved them, from whatever its sources believe.
fn signed(set: &Set, apt: &Apt, packages: &[Package]) -> Result<()> {
    let names: Vec<String> = packages.iter().map(|p| p.name.clone()).collect();
    let archive = apt.archive(&set.release, &names)?;
    let unsigned = packages.iter().find(|package| {
        let offer = archive.of(package);
        !offer.is_some_and(|it| it.signed && it.package == **package)
            && !set.packages.contains(package)
    });
    match unsigned {
        None => Ok(()),
        Some(package) => bail!(
            "fetch {}: {} is in no signed list of Debian {}; not used; next: take it out of this host's apt sources",
            set.name,
            package.wanted(),
            set.release
        ),
    }
}

/// `a=1 (the archive has 2), b=3 (the archive has no b)`.
fn named(archive: &Archive, gone: &[&Package]) -> String {
    let one = |package: &&Package| match archive.current(&package.name) {
        Some(offer) => format!(
            "{} (the archive has {})",
            package.wanted(),
            offer.package.version
        ),
        None => format!("{} (the archive has no {})", package.wanted(), package.name),
    };
    gone.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn refusal(set: &Set, archive: &Archive, gone: &[&Package], updated: &Result<()>) -> String {
    let old = match updated {
        Ok(()) => String::new(),
        Err(error) => format!(" (by this host's lists, which could not be refreshed: {error:#})"),
    };
    format!(
        "fetch {}: {} of {} packages pinned in {} are gone from the archive{old}: {}; a locked build takes no other; {}",
        set.name,
        gone.len(),
        set.packages.len(),
        set.lock,
        named(archive, gone),
        set.next()
    )
}

/// Why packages are not there.
enum Failure {
    /// They did not come: again, with new lists.
    Stopped(anyhow::Error),
    /// They are not what they must be.
    Wrong(anyhow::Error),
}

/// Fetches what is not there yet. What came whole stays, whatever happens to the rest.
fn download(set: &Set, apt: &Apt, taken: &[Package]) -> Result<(), Failure> {
    let missing = missing(set, taken).map_err(Failure::Wrong)?;
    if missing.is_empty() {
        return Ok(());
    }
    let wanted: Vec<String> = missing.iter().map(Package::wanted).collect();
    let bytes = missing.iter().map(|package| package.bytes).sum();
    let part = fresh_dir(&set.cache.join("part")).map_err(Failure::Wrong)?;
    let what = match &missing[..] {
        [one] => one.wanted(),
        _ => format!("{} packages of {}", missing.len(), set.name),
    };
    let fetched = apt.download(&wanted, &what, bytes, &part);
    let mut lacking = Vec::new();
    for package in &missing {
        let whole = package
            .pin()
            .check(&part.join(package.pin().name), "")
            .is_ok();
        if whole || fetched.is_ok() {
            fetch::keep(&package.pin(), &part, &set.cache, &set.repin).map_err(Failure::Wrong)?;
        } else {
            lacking.push(package.wanted());
        }
    }
    let _ = fs::remove_dir_all(&part);
    match fetched {
        Err(error) if !lacking.is_empty() => Err(Failure::Stopped(stopped(
            set,
            &error,
            missing.len(),
            &lacking,
        ))),
        _ => Ok(()),
    }
}

fn stopped(set: &Set, error: &anyhow::Error, all: usize, lacking: &[String]) -> anyhow::Error {
    anyhow::anyhow!(
        "fetch {}: {} of {all} packages did not come: {}: {error:#}; those that came are kept; next: check the network, then the same \
         command again, or put the files into {}",
        set.name,
        lacking.len(),
        lacking.join(", "),
        set.cache.display()
    )
}

/// By name.
fn by_name(packages: &[Package]) -> BTreeMap<&str, &Package> {
    packages.iter().map(|it| (it.name.as_str(), it)).collect()
}

#[cfg(test)]
mod tests;
