//! The tree is the one that `veritysetup` makes, byte for byte, and what it accepts and refuses.

use std::fs;
use std::path::Path;
use std::process::Output;

use super::*;
use crate::host;
use crate::stamp::hex;

/// Around each place where a level is added: 128 digests in a block.
const SIZES: [(usize, usize); 5] = [(1, 0), (2, 1), (128, 1), (129, 3), (128 * 128 + 1, 132)];
const SALT: [u8; 32] = [7; 32];

/// Blocks that differ from each other.
fn data(blocks: usize) -> Vec<u8> {
    (0..blocks)
        .flat_map(|n| digest(b"data", &n.to_le_bytes()).repeat(BLOCK / DIGEST))
        .collect()
}

fn veritysetup(verb: &str, dir: &Path, blocks: usize, more: &[&str]) -> Output {
    let mut command = host::command("veritysetup").unwrap();
    command.args([verb, "--no-superblock", "--hash=sha256", "--format=1"]);
    command.args(["--data-block-size=4096", "--hash-block-size=4096"]);
    command.arg(format!("--salt={}", hex(&SALT)));
    command.arg(format!("--data-blocks={blocks}"));
    command.args([dir.join("data"), dir.join("tree")]);
    command.args(more).output().unwrap()
}

#[test]
fn t09_the_hash_tree_is_the_one_that_veritysetup_makes_and_it_verifies() {
    if host::find("veritysetup").is_none() {
        println!("skipped: no veritysetup; next: apt-get install cryptsetup-bin");
        return;
    }
    for (blocks, hashes) in SIZES {
        let dir = tempfile::tempdir().unwrap();
        let (path, bytes) = (dir.path().join("tree"), data(blocks));
        fs::write(dir.path().join("data"), &bytes).unwrap();
        let tree = Tree::of(&bytes[..], &SALT).unwrap();
        let root = hex(&tree.roothash);
        assert_eq!(tree.data_blocks, blocks as u64);
        assert_eq!(tree.blocks.len(), hashes * BLOCK, "{blocks} blocks");

        let made = veritysetup("format", dir.path(), blocks, &[]);
        let said = String::from_utf8_lossy(&made.stdout).into_owned();
        let line = said.lines().find_map(|l| l.strip_prefix("Root hash:"));
        assert_eq!(line.map(str::trim), Some(&root[..]), "{blocks}: {said}");
        assert_eq!(fs::read(&path).unwrap_or_default(), tree.blocks, "{blocks}");

        fs::write(&path, &tree.blocks).unwrap();
        let verified = veritysetup("verify", dir.path(), blocks, &[&root]);
        assert!(verified.status.success(), "{blocks} blocks: {verified:?}");
        let mut changed = bytes;
        *changed.last_mut().unwrap() ^= 1;
        fs::write(dir.path().join("data"), &changed).unwrap();
        let refused = veritysetup("verify", dir.path(), blocks, &[&root]);
        assert!(!refused.status.success(), "{blocks} blocks: {refused:?}");
        assert_ne!(
            Tree::of(&changed[..], &SALT).unwrap().roothash,
            tree.roothash
        );
    }
}

#[test]
fn t09_a_last_block_that_is_not_full_counts_as_filled_up_with_zeros() {
    let mut bytes = data(3);
    bytes.truncate(2 * BLOCK + 1);
    let short = Tree::of(&bytes[..], &SALT).unwrap();
    bytes.resize(3 * BLOCK, 0);
    assert_eq!(short, Tree::of(&bytes[..], &SALT).unwrap());
    assert_eq!(short.data_blocks, 3);
}

#[test]
fn t09_the_salt_is_part_of_every_digest_and_nothing_has_no_tree() {
    let (one, other) = (Tree::of(&data(2)[..], &SALT), Tree::of(&data(2)[..], b""));
    assert_ne!(one.unwrap().blocks, other.unwrap().blocks);
    let error = Tree::of(&b""[..], &SALT).unwrap_err().to_string();
    assert_eq!(error, "an empty image has no hash tree");
}
