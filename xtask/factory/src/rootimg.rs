//! The root (T01): the Spine's files as one SquashFS with its dm-verity tree behind it, and the words of the kernel's command line
//! that say what matches. It is made in this process, because the container that assembles has no other program.

use std::io::Cursor;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use backhand::compression::{CompressionOptions, Compressor, Zstd};
use backhand::{FilesystemCompressor, FilesystemWriter, NodeHeader};
use sha2::{Digest, Sha256};

use crate::arch;
use crate::assemble::{Entry, Kind};
use crate::stamp;
use crate::verity::{BLOCK, Tree};

/// Kernel arguments every boot of a Spine has. `panic=1`: a machine whose PID 1 died reboots after one second.
pub fn base_append() -> String {
    let serial = arch::facts().serial;
    format!("console={serial} rdinit=/sbin/init panic=1 loglevel=4 printk.devkmsg=on")
}

/// Mode bits that a file of the Spine may have: nothing is set-uid or set-gid (C01).
const PERMISSIONS: u32 = 0o777;

/// As the initramfs around it: each block is compressed by itself, and nothing makes it smaller afterwards.
const ZSTD_LEVEL: u32 = 19;

/// A root, ready to go into an initramfs.
pub struct Root {
    /// SquashFS, filled up to whole blocks, then the tree.
    pub bytes: Vec<u8>,
    /// The kernel's command line with which alone it is taken.
    pub command_line: String,
}

impl Root {
    /// Packs the files and hashes every block of them. The salt depends on them alone, so that the same files make the same bits.
    pub fn pack(entries: &[Entry], epoch: u32) -> Result<Root> {
        let mut bytes = squashfs(entries, epoch)?;
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        let salt = Sha256::digest(&bytes);
        let tree = Tree::of(&bytes[..], &salt)?;
        let (hash, salt) = (stamp::hex(&tree.roothash), stamp::hex(&salt));
        let blocks = tree.data_blocks;
        bytes.extend(&tree.blocks);
        let base = base_append();
        let command_line = format!("{base} spine.root={blocks},{hash},{salt}");
        Ok(Root {
            bytes,
            command_line,
        })
    }
}

/// The line that was made for an initramfs; [`base_append`] for one that is no Spine's.
pub fn command_line(initrd: &Path) -> String {
    let made = std::fs::read_to_string(initrd.with_extension("cmdline"));
    made.map_or_else(|_| base_append(), |line| line.trim_end().to_owned())
}

/// One file system in one order, with one owner and one time.
fn squashfs(entries: &[Entry], epoch: u32) -> Result<Vec<u8>> {
    let mut writer = FilesystemWriter::default();
    let level = CompressionOptions::Zstd(Zstd {
        compression_level: ZSTD_LEVEL,
    });
    writer.set_compressor(FilesystemCompressor::new(Compressor::Zstd, Some(level))?);
    writer.set_time(epoch);
    writer.set_root_mode(0o755);
    writer.set_only_root_id();
    for entry in entries {
        let mode = entry.permissions & PERMISSIONS;
        ensure!(
            mode == entry.permissions,
            "{}: mode {:o}; the Spine has no set-id file",
            entry.path,
            entry.permissions
        );
        let header = NodeHeader::new(u16::try_from(mode)?, 0, 0, epoch);
        let path = format!("/{}", entry.path);
        match &entry.kind {
            Kind::Directory => writer.push_dir(path, header),
            Kind::File(bytes) => writer.push_file(Cursor::new(bytes.clone()), path, header),
            Kind::Link(to) => writer.push_symlink(to, path, header),
            Kind::Device(major, minor) => writer.push_char_device(major << 8 | minor, path, header),
        }
        .with_context(|| format!("put {} into the root", entry.path))?;
    }
    let mut image = Cursor::new(Vec::new());
    writer.write(&mut image).context("write the root")?;
    Ok(image.into_inner())
}

#[cfg(test)]
mod tests;
