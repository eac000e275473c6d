//! The proof that root and kernel are as they must be (C01): by the validator, and once in the boot by a child of the same kind; and all
//! of the root read once, by another.

use std::io::{copy, sink};
use std::time::Instant;

use anyhow::{Context, Result};
use bay0_persona::confine::{Rights, confine};
use bay0_persona::disks::VARS;
use bay0_validate::Root;

use super::boot::MOUNTS;
use super::jobs::{PATIENCE, answer_of_child};
use crate::slot::answer::Answer;
use crate::stage1::{DISK, NAME, WORD, described};
use crate::sys::mortal;

const HUNG: &str = "the verified device hangs";

/// Has a child prove that root and kernel are as they must be.
///
/// # Errors
/// What is not so.
pub fn root() -> Result<String> {
    let prove = || with(|root| root.prove().map_err(|why| why.to_string()));
    answer_of_child(Rights::Disks, &[], prove, PATIENCE, HUNG)
}

/// Has something done with what this Spine's root is to be: the child's part.
pub fn with<T>(act: impl FnOnce(&Root<'_>) -> T) -> T {
    let kernels = MOUNTS.iter().map(|it| (it.0, it.1));
    let own: Vec<_> = kernels.chain([("efivarfs", VARS)]).collect();
    let (device, word, own) = (NAME, WORD, own.as_slice());
    act(&Root { device, word, own })
}

/// In a child, which has no right left when it begins to: reads all of the root.
pub fn whole() -> String {
    mortal();
    let begun = Instant::now();
    let read = |mut root| {
        #[cfg(feature = "fault")]
        crate::fault::check();
        confine(Rights::Check).context("confine the child")?;
        let bytes = copy(&mut root, &mut sink()).context("verify it")?;
        let ms = begun.elapsed().as_millis();
        let text = format!("whole, {bytes} bytes match the root hash ({ms} ms)");
        Ok(Answer::Done(text))
    };
    let root = described().and_then(|it| it.aside(DISK).context("dm-verity"));
    Answer::of(root.and_then(read)).encode()
}

/// In the child.
pub fn validate() -> String {
    mortal();
    let report = with(bay0_validate::run);
    report.map_or_else(String::new, |report| report.encode())
}

/// Which Spine a command line belongs to: the first half of its root hash.
pub fn build(line: &str) -> &str {
    let words = line.split_whitespace();
    let word = words.filter_map(|word| word.strip_prefix(WORD)).next();
    let hash = word.and_then(|word| word.split(',').nth(1));
    hash.and_then(|hash| hash.get(..32)).unwrap_or("unknown")
}
