//! The dm-verity hash tree of an image (T09): format 1 of the kernel, SHA-256, blocks of 4096 bytes for data and hashes, the salt before
//! each block. No maintained crate writes it; a test compares with `veritysetup`.
//!
//! Level 0 has the digests of the data blocks, 128 in a block and zeros behind the last; each further level has those of the level
//! below, until one block is left. The root hash is that block's digest. On disk the top level stands first. An image of one block
//! has no level at all: its digest is the root hash.

use std::io::Read;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::stamp;

/// Bytes of a block, of data as of hashes.
pub const BLOCK: usize = 4096;
const DIGEST: usize = 32;

/// What dm-verity needs to know of an image, and the tree that stands behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Blocks of data, the last one filled up with zeros.
    pub data_blocks: u64,
    /// Trusted in the image's place.
    pub roothash: [u8; DIGEST],
    /// All levels, the top one first.
    pub blocks: Vec<u8>,
}

impl Tree {
    /// Hashes everything in `data`.
    pub fn of(mut data: impl Read, salt: &[u8]) -> Result<Tree> {
        let mut level = Vec::new();
        let mut block = [0; BLOCK];
        while fill(&mut data, &mut block)? {
            level.extend(digest(salt, &block));
        }
        let data_blocks = (level.len() / DIGEST) as u64;
        ensure!(data_blocks > 0, "an empty image has no hash tree");
        let mut levels = Vec::new();
        while level.len() > DIGEST {
            level.resize(level.len().next_multiple_of(BLOCK), 0);
            let above = level.chunks(BLOCK).flat_map(|block| digest(salt, block));
            let above = above.collect();
            levels.push(std::mem::replace(&mut level, above));
        }
        let roothash = level.try_into().ok().context("one digest is left")?;
        let blocks = levels.into_iter().rev().flatten().collect();
        Ok(Tree {
            data_blocks,
            roothash,
            blocks,
        })
    }
}

fn digest(salt: &[u8], block: &[u8]) -> [u8; DIGEST] {
    let hash = Sha256::new().chain_update(salt).chain_update(block);
    hash.finalize().into()
}

/// The next block, filled up with zeros; false at the end.
fn fill(data: &mut impl Read, block: &mut [u8; BLOCK]) -> Result<bool> {
    let filled = stamp::fill(data, block).context("read the image")?;
    block[filled..].fill(0);
    Ok(filled > 0)
}

#[cfg(test)]
mod tests;
