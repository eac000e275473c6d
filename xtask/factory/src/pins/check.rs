//! `cargo xtask repin --check`: which pinned packages the archive still has.

use anyhow::{Context, Result};

use super::archive::Archive;
use super::{Apt, Set, sets};
use crate::arch::Arch;
use crate::fetch;
use crate::layout::Layout;
use crate::lock::{Alpine, Lock};

/// Exit code when at least one pinned input is gone.
const GONE: u8 = 1;

/// Prints a line for each lock and one for each package that is gone. An error is that the archive could not be asked.
pub fn command(layout: &Layout) -> Result<u8> {
    let apt = Apt::of(layout, Arch::chosen())?;
    apt.update().context("repin --check")?;
    let (text, gone) = report(&sets::all(layout)?, &apt)?;
    print!("{text}");
    let alpine = alpine(&Lock::read(&layout.lock())?.alpine)?;
    print!("{}", alpine.0);
    let gone = gone + alpine.1;
    println!(
        "{gone} gone{}",
        if gone > 0 {
            "; a dev build takes what stands in, a locked one refuses"
        } else {
            ""
        }
    );
    Ok(if gone > 0 { GONE } else { 0 })
}

/// What is there and what is not, and how many are not.
pub fn report(sets: &[Set], apt: &Apt) -> Result<(String, usize)> {
    let (mut text, mut all) = (String::new(), 0);
    for set in sets {
        let archive = apt.archive(&set.release, &set.names())?;
        super::check_archive(set, &archive, &Ok(()))?;
        let (lines, gone) = rows(set, &archive);
        let alive = set.packages.len() - gone;
        let total = set.packages.len();
        text += &format!("{} ({}): {alive} of {total} alive\n", set.name, set.lock);
        text += &lines;
        all += gone;
    }
    Ok((text, all))
}

fn rows(set: &Set, archive: &Archive) -> (String, usize) {
    let alive = |offer: Option<&super::archive::Offer>, sha256: &str| {
        offer.is_some_and(|offer| offer.package.sha256 == sha256)
    };
    let gone: Vec<_> = set
        .packages
        .iter()
        .filter(|package| !alive(archive.of(package), &package.sha256))
        .collect();
    let line = |package: &&super::Package| {
        let cached = set.cache.join(package.pin().name).exists();
        let cached = if cached { ", in the cache" } else { "" };
        let named = super::named(archive, &[package]);
        format!("  gone: {named}{cached}; next: {}\n", set.repin)
    };
    (gone.iter().map(line).collect(), gone.len())
}

/// Alpine's two files, by their server.
fn alpine(lock: &Alpine) -> Result<(String, usize)> {
    let (mut text, mut gone) = (String::new(), 0);
    for pin in [&lock.vmlinuz, &lock.modloop] {
        let url = format!("{}/{}", lock.base_url, pin.name);
        let said = match fetch::there(&url)? {
            Some(true) => "alive",
            Some(false) => {
                gone += 1;
                "gone; next: cargo xtask repin alpine FOLDER"
            }
            None => "not known: its server could not be reached",
        };
        text += &format!("alpine (xtask/soil.lock): {}: {said}\n", pin.name);
    }
    Ok((text, gone))
}
