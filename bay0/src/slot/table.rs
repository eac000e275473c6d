//! The partition table of the disk that was booted (U07). A disk's image that was written to a larger disk has the second copy of its table
//! where the image ended: other systems complain, and what looks for it at the end of a damaged disk finds none. It is written there once,
//! if all of the disk is ours ([`bay0_persona::gpt::to_end`] says in which order).
//!
//! The copy before it stays where it is, in a place that no partition has: nothing looks there, and a write less is one less to be cut off.
//! `/persist` does not grow: the place behind it is free.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};
use bay0_persona::gpt::{Part, to_end};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

/// Partitions of a disk of ours, by name: with images of rooms, and without.
pub const OURS: [&[&str]; 2] = [
    &["persist", "rooms-a", "rooms-b", "slot-a", "slot-b"],
    &["persist", "slot-a", "slot-b"],
];

/// Has the second copy of the table of a disk at its end: a line of what was done, or of why not; nothing where all was as it should be.
pub fn settled(disk: &File, sector: u64) -> String {
    match put_right(disk, sector) {
        Ok(false) => String::new(),
        Ok(true) => "the second copy of the partition table is at the end of the disk from now on, which is larger than its table was made for".to_owned(),
        Err(why) => format!(
            "FAIL: the second copy of the partition table is not at the end of the disk: {why:#}; next: reboot, then replace the disk"
        ),
    }
}

/// Whether anything was written; each write is read back before the next.
fn put_right(disk: &File, sector: u64) -> Result<bool> {
    let Some(writes) = to_end(disk, sector, are_ours) else {
        return Ok(false);
    };
    for write in writes {
        disk.write_all_at(&write.bytes, write.at)
            .context("write it")?;
        settle(disk).context("write it")?;
        let mut read = vec![0; write.bytes.len()];
        disk.read_exact_at(&mut read, write.at)
            .context("read it back")?;
        ensure!(
            read == write.bytes,
            "byte {} reads back differently",
            write.at
        );
    }
    Ok(true)
}

/// What is read back comes from the disk: the kernel forgets what it has of it, which is written.
///
/// # Errors
/// It could not be written.
pub fn settle(file: &File) -> io::Result<()> {
    file.sync_all()?;
    Ok(posix_fadvise(
        file,
        0,
        0,
        PosixFadviseAdvice::POSIX_FADV_DONTNEED,
    )?)
}

fn are_ours(parts: &[Part]) -> bool {
    let mut names: Vec<_> = parts.iter().map(|it| it.name.as_str()).collect();
    names.sort_unstable();
    OURS.contains(&names.as_slice())
}

#[cfg(test)]
mod tests;
