//! A [`Tree`] as a SquashFS image, by `sqfstar`: fed with one tar stream in one order, it writes the same bytes for the same tree,
//! without privilege, since owners are only numbers in the stream.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tar::{EntryType, Header};

use super::spool::Spool;
use super::tree::{Kind, Meta, Place, Tree};
use crate::host;

/// The root and what a room's set-up mounts on, with their modes; an image without them gets them. A root that nobody described would
/// be writable by all.
const MOUNT_POINTS: [(&str, u32); 6] = [
    ("", 0o755),
    ("dev", 0o755),
    ("proc", 0o755),
    ("run", 0o755),
    ("sys", 0o755),
    ("tmp", 0o1777),
];

/// Bytes handed over at once.
const BUFFER: usize = 256 << 10;
/// Bytes of a block of tar.
const BLOCK: usize = 512;
/// Bytes of a name that a header holds.
const SHORT: usize = 100;
/// What GNU tar calls an entry that holds a longer one.
const LONG: &[u8] = b"././@LongLink";

/// Writes the image. Its own time is that of its newest file.
pub fn pack(tree: &mut Tree, spool: &mut Spool, to: &Path) -> Result<()> {
    host::need(&[host::TOOL_SQFSTAR])?;
    for (folder, mode) in MOUNT_POINTS {
        tree.add_missing_folder(Place::parse(folder.as_bytes())?, mode)?;
    }
    let newest = tree.nodes().map(|(_, node)| node.meta.mtime).max();
    let root = tree.get(&Place::default()).map_or(Meta::PLAIN, |n| n.meta);
    let mut child = sqfstar(newest.unwrap_or(0), &root, to)?
        .spawn()
        .context("start sqfstar")?;
    let stdin = child.stdin.take().context("sqfstar without an input")?;
    let written = write(tree, spool, BufWriter::with_capacity(BUFFER, stdin));
    let output = child.wait_with_output().context("wait for sqfstar")?;
    if !output.status.success() {
        bail!(
            "sqfstar: {}: {}; next: squashfs-tools 4.5 or newer, and space for the image",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    written.context("feed sqfstar")
}

/// The root's own entry in a stream is passed over by sqfstar, so it is said here.
fn sqfstar(newest: u32, root: &Meta, to: &Path) -> Result<Command> {
    let mut command = host::command("sqfstar")?;
    command.args(["-comp", "zstd", "-no-xattrs", "-quiet", "-no-progress"]);
    for (option, value) in [
        ("-root-mode", format!("{:o}", root.mode)),
        ("-root-uid", root.uid.to_string()),
        ("-root-gid", root.gid.to_string()),
        ("-root-time", root.mtime.to_string()),
    ] {
        command.args([option, &value]);
    }
    command
        .arg(to)
        .env("SOURCE_DATE_EPOCH", newest.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    Ok(command)
}

/// The tree as a tar stream: entries in the tree's order, the first name of a file with its bytes, the others as links to it.
fn write(tree: &Tree, spool: &mut Spool, mut to: impl Write) -> Result<()> {
    let mut first: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for (place, node) in tree.nodes().filter(|(place, _)| !place.is_root()) {
        let path = place.bytes();
        let mut entry =
            |kind, link: &[u8], bytes| header(&mut to, kind, &path, link, &node.meta, bytes);
        match &node.kind {
            Kind::Link(target) => entry(EntryType::Symlink, target, 0)?,
            Kind::File(content) if first.contains_key(&content.number) => {
                entry(EntryType::Link, &first[&content.number], 0)?;
            }
            Kind::File(content) => {
                entry(EntryType::Regular, b"", content.bytes)?;
                io::copy(&mut spool.read(content)?, &mut to)?;
                pad(&mut to, content.bytes)?;
                first.insert(content.number, path);
            }
            Kind::Folder => entry(EntryType::Directory, b"", 0)?,
            Kind::Pipe => entry(EntryType::Fifo, b"", 0)?,
        }
    }
    to.write_all(&[0; 2 * BLOCK])?;
    Ok(to.flush()?)
}

/// The header of one entry, in GNU's form. Names and targets go in as they are: the tar crate's builder would tidy them.
fn header(
    to: &mut impl Write,
    kind: EntryType,
    path: &[u8],
    link: &[u8],
    meta: &Meta,
    bytes: u64,
) -> Result<()> {
    for (kind, text) in [
        (EntryType::GNULongLink, link),
        (EntryType::GNULongName, path),
    ] {
        if text.len() > SHORT {
            let text = [text, b"\0"].concat();
            let long = header_block(kind, LONG, b"", &Meta::PLAIN, text.len() as u64);
            to.write_all(long.as_bytes())?;
            to.write_all(&text)?;
            pad(to, text.len() as u64)?;
        }
    }
    Ok(to.write_all(header_block(kind, path, link, meta, bytes).as_bytes())?)
}

fn header_block(kind: EntryType, path: &[u8], link: &[u8], meta: &Meta, bytes: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(meta.mode);
    header.set_uid(meta.uid);
    header.set_gid(meta.gid);
    header.set_mtime(meta.mtime.into());
    header.set_size(bytes);
    let fields = header.as_old_mut();
    for (field, text) in [(&mut fields.name, path), (&mut fields.linkname, link)] {
        let length = text.len().min(SHORT);
        field[..length].copy_from_slice(&text[..length]);
    }
    header.set_cksum();
    header
}

/// Zeros up to a whole block.
fn pad(to: &mut impl Write, bytes: u64) -> Result<()> {
    let over = usize::try_from(bytes % BLOCK as u64)?;
    Ok(to.write_all(&[0; BLOCK][..(BLOCK - over) % BLOCK])?)
}

#[cfg(test)]
pub mod tests;
