//! What a room's files cost the disk, and what it may spend (U06).
//!
//! A file or a directory costs its blocks, and never less than its share: the bytes of the file system for each inode of it. Therefore
//! files that stay within bytes stay within inodes too, and one figure bounds both.
//!
//! ```text
//! reserve = 1/16 of the disk, at most 64 MiB, and 1/16 of its inodes, at most 1024: for the log and the database
//! usable  = the disk without the reserve
//! share   = usable bytes / usable inodes, at least 4096
//! may     = persist.bytes, or its part of usable if the rooms that can start together have more
//! ```
//!
//! All rooms together thus fit beside the reserve, and none of them takes what another may keep. What is on the disk besides
//! (rooms that have no policy any more) is seen by a second look: nothing is taken out of the reserve.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::{Statvfs, statvfs};

use crate::store::at;
use crate::wire::Limits;

/// Unit of `st_blocks` (`stat(2)`).
const BLOCK: u64 = 512;
/// Least that a file costs.
const LEAST: u64 = 4096;
/// Part of the disk and of its inodes that is reserved, and the most of each.
const PART: u64 = 16;
const MOST_BYTES: u64 = 64 << 20;
const MOST_FILES: u64 = 1024;

/// What a file system has, in bytes and inodes.
#[derive(Clone, Copy, Debug)]
struct Space {
    usable: u64,
    share: u64,
    block: u64,
    reserve: u64,
    reserved_files: u64,
}

impl Space {
    fn new(it: &Statvfs) -> Self {
        let size = it.blocks().saturating_mul(it.fragment_size());
        let reserve = (size / PART).min(MOST_BYTES);
        let reserved_files = (it.files() / PART).min(MOST_FILES);
        // Blocks that only root may take count as taken, and the file system's own are not in its size.
        let roots = it.blocks_free().saturating_sub(it.blocks_available());
        let roots = roots.saturating_mul(it.fragment_size());
        let usable = size.saturating_sub(reserve).saturating_sub(roots);
        let files = it.files().saturating_sub(reserved_files);
        let share = usable.div_ceil(files.max(1));
        Self {
            usable,
            // Without a number of inodes there is no bound to them (btrfs).
            share: if files == 0 { LEAST } else { share.max(LEAST) },
            block: it.fragment_size().max(1),
            reserve,
            reserved_files,
        }
    }

    /// A room's part of the disk.
    fn part(&self, limits: Limits) -> u64 {
        if limits.together <= self.usable {
            return limits.bytes;
        }
        let part = u128::from(limits.bytes).saturating_mul(self.usable.into());
        let part = part.checked_div(limits.together.into()).unwrap_or(0);
        u64::try_from(part).unwrap_or(0).min(limits.bytes)
    }
}

/// What a room has spent.
#[derive(Debug)]
pub(crate) struct Account {
    dir: PathBuf,
    disk: Space,
    pub(crate) limits: Limits,
    /// Of what is on the disk under its name.
    pub(crate) bytes: u64,
    pub(crate) pieces: u64,
    /// Of objects that are being sent.
    pub(crate) coming: u64,
    pub(crate) coming_pieces: u64,
}

impl Account {
    pub(crate) fn new(dir: &Path, limits: Limits) -> Result<Self, String> {
        let disk = statvfs(dir).map_err(at(dir.display()))?;
        Ok(Self {
            dir: dir.to_owned(),
            disk: Space::new(&disk),
            limits,
            bytes: 0,
            pieces: 0,
            coming: 0,
            coming_pieces: 0,
        })
    }

    /// Bytes that a file costs, or a directory.
    pub(crate) fn cost(&self, file: &Metadata) -> u64 {
        file.blocks().saturating_mul(BLOCK).max(self.disk.share)
    }

    /// Bytes that a file of this length costs, as long as it lies in one piece.
    pub(crate) fn estimate(&self, length: u64) -> u64 {
        let blocks = length.div_ceil(self.disk.block);
        blocks.saturating_mul(self.disk.block).max(self.disk.share)
    }

    /// Bytes by which a directory grows at most for so many more names of so many bytes together: half of a block may stay empty.
    pub(crate) fn names(&self, count: usize, bytes: usize) -> u64 {
        let entries = count.saturating_mul(12).saturating_add(bytes) as u64;
        self.estimate(entries.saturating_mul(2))
            .saturating_add(self.disk.block.saturating_mul(2))
    }

    /// Fails, with the figures, unless so much more may be kept.
    ///
    /// # Errors
    /// The policy's bytes or pieces are spent, or the disk is.
    pub(crate) fn fits(&self, bytes: u64, pieces: u64) -> Result<(), String> {
        let may = self.disk.part(self.limits);
        let held = self.bytes.saturating_add(self.coming);
        let counted = self.pieces.saturating_add(self.coming_pieces);
        if held.saturating_add(bytes) > may || counted.saturating_add(pieces) > self.limits.records
        {
            return Err(self.full(may));
        }
        let now = statvfs(&self.dir).map_err(at(self.dir.display()))?;
        let free = now.blocks_available().saturating_mul(now.fragment_size());
        let no_bytes = free.saturating_sub(self.disk.reserve) < bytes;
        let no_files = now.files() > 0 && now.files_free() <= self.disk.reserved_files;
        if no_bytes || no_files {
            let (reserve, files) = (self.disk.reserve, self.disk.reserved_files);
            return Err(format!(
                "full: the disk has {free} bytes and {} files free, of which {reserve} and {files} are the log's; next: drop something, or attach a larger disk",
                now.files_free()
            ));
        }
        Ok(())
    }

    fn full(&self, may: u64) -> String {
        let (has, pieces) = (self.bytes, self.pieces);
        let free = may.saturating_sub(has);
        let coming = match self.coming {
            0 => String::new(),
            coming => format!(", {coming} bytes were on their way"),
        };
        let shared = match self.limits.bytes {
            bytes if bytes == may => String::new(),
            bytes => format!(" (a part of its policy's {bytes}: the disk is too small for all)"),
        };
        format!(
            "full: it may keep {may} bytes{shared} and {} pieces, and has {has} and {pieces}, {free} bytes are free{coming}; next: drop something",
            self.limits.records
        )
    }

    /// Counts what is on the disk from now on.
    pub(crate) fn keep(&mut self, bytes: u64, pieces: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.pieces = self.pieces.saturating_add(pieces);
    }
}

#[cfg(test)]
mod tests;
