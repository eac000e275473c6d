//! A [`Tree`] as a SquashFS image, by `sqfstar`: fed with one tar stream in one order, it writes the same bytes for the same tree,
//! without privilege, since owners are only numbers in the stream.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
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
    let written = write(tree, spool, BufWriter::new(stdin));
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
fn write(tree: &Tree, spool: &mut Spool, to: impl Write) -> Result<()> {
    let mut archive = tar::Builder::new(to);
    let mut first: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for (place, node) in tree.nodes().filter(|(place, _)| !place.is_root()) {
        let path = place.bytes();
        let path = Path::new(OsStr::from_bytes(&path));
        let mut link = |kind, target: &[u8]| {
            let mut header = header(kind, &node.meta, 0);
            archive.append_link(&mut header, path, OsStr::from_bytes(target))
        };
        match &node.kind {
            Kind::Link(target) => link(EntryType::Symlink, target)?,
            Kind::File(content) if first.contains_key(&content.number) => {
                link(EntryType::Link, &first[&content.number])?;
            }
            Kind::File(content) => {
                first.insert(content.number, place.bytes());
                let mut header = header(EntryType::Regular, &node.meta, content.bytes);
                archive.append_data(&mut header, path, spool.read(content)?)?;
            }
            Kind::Folder | Kind::Pipe => {
                let kind = match node.kind {
                    Kind::Folder => EntryType::Directory,
                    _ => EntryType::Fifo,
                };
                archive.append_data(&mut header(kind, &node.meta, 0), path, std::io::empty())?;
            }
        }
    }
    archive.into_inner()?.flush()?;
    Ok(())
}

fn header(kind: EntryType, meta: &Meta, bytes: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(meta.mode);
    header.set_uid(meta.uid);
    header.set_gid(meta.gid);
    header.set_mtime(meta.mtime.into());
    header.set_size(bytes);
    header
}

#[cfg(test)]
pub mod tests;
