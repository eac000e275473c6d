//! The proof that root and kernel are as they must be (C01), found anew for each validation.

use std::fs::File;
use std::io::ErrorKind;

use anyhow::{Context, Result, bail, ensure};
use bay0_persona::disks::VARS;
use bay0_persona::image::is_intact;

use super::boot::MOUNTS;
use super::facts::Facts;
use crate::stage1::{NAME, WORD};
use crate::sys::told;

/// Proves that the root and the kernel cannot be changed: it is the verified device, whatever else is mounted is the kernel's own or
/// read-only, a write is refused, no module can be loaded. In the release profile the kernel is locked down, and its command line has
/// no word more than was signed with it.
///
/// # Errors
/// What is not so.
pub fn prove(facts: &Facts) -> Result<String> {
    let intact = is_intact(NAME).context("no verified device")?;
    ensure!(intact, "a block does not match its hash");
    let mounts = told("/proc/self/mounts");
    for line in mounts.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let [_, at, kind, options, ..] = words.as_slice() else {
            continue;
        };
        let own = MOUNTS.iter().any(|it| (it.0, it.1) == (*kind, *at)) || *at == VARS;
        let fixed = own || options.starts_with("ro,");
        ensure!(fixed, "{at} ({kind}) is mounted writable");
    }
    let count = mounts.lines().count();
    match File::create("/.write-probe").map_err(|err| err.kind()) {
        Err(ErrorKind::ReadOnlyFilesystem) => {}
        other => bail!("write to /: {other:?}"),
    }
    let open = told("/proc/sys/kernel/modules_disabled") == "0\n";
    ensure!(!open, "modules can be loaded");
    let lockdown = told("/sys/kernel/security/lockdown");
    let lockdown = lockdown.split(['[', ']']).nth(1).unwrap_or("unknown");
    let (line, own) = (
        told("/proc/cmdline"),
        facts.get("cmdline=").unwrap_or_default(),
    );
    let words = line.split_whitespace().filter(|it| !it.starts_with(WORD));
    let more = words
        .filter(|it| own.split(' ').all(|own| own != *it))
        .count();
    if facts.is_release() {
        ensure!(lockdown != "none", "the kernel is not locked down");
        ensure!(more == 0, "{more} words more on the command line");
    }
    let proven = format!("verified, {count} mounts as they must be, a write to / answers EROFS");
    Ok(format!(
        "{proven}, lockdown {lockdown}, {more} words more on the command line"
    ))
}

/// Which Spine a command line belongs to: the first half of its root hash.
pub fn build(line: &str) -> &str {
    let words = line.split_whitespace();
    let word = words.filter_map(|word| word.strip_prefix(WORD)).next();
    let hash = word.and_then(|word| word.split(',').nth(1));
    hash.and_then(|hash| hash.get(..32)).unwrap_or("unknown")
}
