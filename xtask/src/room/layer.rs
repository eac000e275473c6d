//! A layer or a root file system as tar, read into a [`Tree`]. The archive's own extensions are read here and not by the tar crate,
//! which would take a name of any size into memory.

use std::io::Read;

use anyhow::{Context, Result, bail, ensure};
use tar::{EntryType, PaxExtensions};

use super::spool::Spool;
use super::tree::{Kind, Meta, Place, Tree};

/// Bytes of one extension: names, owners and attributes of one entry.
const MAX_EXTENSION: u64 = 1 << 20;

/// What a room has no use for and its image does not get.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Device nodes: a room gets its own `/dev`.
    pub devices: u64,
    /// Entries with extended attributes; the entries are there without them.
    pub attributes: u64,
}

/// What extension headers say of the entry behind them.
#[derive(Default)]
struct Said {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    uid: Option<u64>,
    gid: Option<u64>,
    attributes: bool,
}

/// Adds all entries of a tar stream to the tree's current layer.
pub fn read(
    from: impl Read,
    tree: &mut Tree,
    spool: &mut Spool,
    left_out: &mut LeftOut,
) -> Result<()> {
    let mut archive = tar::Archive::new(from);
    let mut said = Said::default();
    for entry in archive.entries().context("read tar")?.raw(true) {
        let mut entry = entry.context("read tar")?;
        if !said.extension(&mut entry)? {
            let said = std::mem::take(&mut said);
            add(&mut entry, &said, tree, spool, left_out)?;
        }
    }
    Ok(())
}

impl Said {
    /// Reads an extension header; false if this is an entry of its own.
    fn extension(&mut self, entry: &mut tar::Entry<impl Read>) -> Result<bool> {
        let kind = entry.header().entry_type();
        let known = [
            EntryType::GNULongName,
            EntryType::GNULongLink,
            EntryType::XHeader,
            EntryType::XGlobalHeader,
        ];
        if !known.contains(&kind) {
            return Ok(false);
        }
        let bytes = entry.header().entry_size().context("read tar")?;
        ensure!(
            bytes <= MAX_EXTENSION,
            "a name or extension of {bytes} bytes (at most {MAX_EXTENSION})"
        );
        let mut text = Vec::new();
        entry.read_to_end(&mut text).context("read tar")?;
        ensure!(text.len() as u64 == bytes, "ends inside an extension");
        match kind {
            EntryType::GNULongName => self.path = Some(without_zero(text)),
            EntryType::GNULongLink => self.link = Some(without_zero(text)),
            EntryType::XHeader => self.pax(&text)?,
            _ => {}
        }
        Ok(true)
    }

    fn pax(&mut self, text: &[u8]) -> Result<()> {
        for record in PaxExtensions::new(text) {
            let record = record.context("read an extension")?;
            let value = record.value_bytes();
            match record.key_bytes() {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"uid" => self.uid = Some(number(value)?),
                b"gid" => self.gid = Some(number(value)?),
                b"size" => bail!("a file of 8 GiB or more, which no room's image may have"),
                key if key.starts_with(b"GNU.sparse.") => bail!("{SPARSE}"),
                key if key.starts_with(b"SCHILY.xattr.") => self.attributes = true,
                _ => {}
            }
        }
        Ok(())
    }
}

const SPARSE: &str = "a file with holes (GNU sparse); next: make the archive without --sparse";

fn without_zero(mut text: Vec<u8>) -> Vec<u8> {
    if let Some(end) = text.iter().position(|b| *b == 0) {
        text.truncate(end);
    }
    text
}

fn number(text: &[u8]) -> Result<u64> {
    let text = std::str::from_utf8(text).context("a number in an extension")?;
    text.parse()
        .with_context(|| format!("{text:?} in an extension is no number"))
}

fn add(
    entry: &mut tar::Entry<impl Read>,
    said: &Said,
    tree: &mut Tree,
    spool: &mut Spool,
    left_out: &mut LeftOut,
) -> Result<()> {
    let header = entry.header().clone();
    let path = said.path.clone().unwrap_or(header.path_bytes().to_vec());
    let place = Place::parse(&path)?;
    let target = said
        .link
        .clone()
        .or_else(|| header.link_name_bytes().map(|name| name.to_vec()))
        .unwrap_or_default();
    let meta = meta(&header, said).with_context(|| place.to_string())?;
    let kind = match header.entry_type() {
        EntryType::Directory => Kind::Folder,
        EntryType::Symlink => {
            ensure!(!target.is_empty(), "{place} is a link to nothing");
            Kind::Link(target)
        }
        EntryType::Fifo => Kind::Pipe,
        EntryType::Link => {
            let to = Place::parse(&target)
                .with_context(|| format!("{place} is a hard link out of the image"))?;
            return tree.add_hard_link(place, &to);
        }
        EntryType::Char | EntryType::Block => {
            ensure!(!place.is_root(), "the root is not a folder");
            left_out.devices += 1;
            // What was at its place in a lower layer is not there any more.
            tree.remove(&place);
            return Ok(());
        }
        EntryType::GNUSparse => bail!("{place}: {SPARSE}"),
        EntryType::Regular | EntryType::Continuous => {
            let bytes = header.entry_size().with_context(|| place.to_string())?;
            Kind::File(
                spool
                    .take(entry, bytes)
                    .with_context(|| place.to_string())?,
            )
        }
        other => bail!("{place} is of kind {:?}, unknown here", other.as_byte()),
    };
    left_out.attributes += u64::from(said.attributes);
    tree.add(place, meta, kind)
}

fn meta(header: &tar::Header, said: &Said) -> Result<Meta> {
    Ok(Meta {
        mode: header.mode()? & 0o7777,
        uid: said.uid.map_or_else(|| header.uid(), Ok)?,
        gid: said.gid.map_or_else(|| header.gid(), Ok)?,
        mtime: u32::try_from(header.mtime()?).unwrap_or(u32::MAX),
    })
}

#[cfg(test)]
mod tests;
