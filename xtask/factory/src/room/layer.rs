//! A layer or a root file system as tar, read into a [`Tree`].

use std::io::Read;

use anyhow::{Context, Result, bail, ensure};

use super::records::{Entry, Records, Streamed};
use super::spool::Spool;
use super::tree::{Kind, Meta, Place, Tree};

/// What a room has no use for and its image does not get.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Device nodes: a room gets its own `/dev`.
    pub devices: u64,
    /// Entries with extended attributes; the entries are there without them.
    pub attributes: u64,
}

/// Adds all entries of a tar stream to the tree's current layer.
pub fn read(
    from: impl Read,
    tree: &mut Tree,
    spool: &mut Spool,
    left_out: &mut LeftOut,
) -> Result<()> {
    let mut records = Records::new(Streamed(from));
    while let Some(entry) = records.next()? {
        add(&entry, &mut records, tree, spool, left_out)?;
    }
    Ok(())
}

fn add(
    entry: &Entry,
    data: &mut impl Read,
    tree: &mut Tree,
    spool: &mut Spool,
    left_out: &mut LeftOut,
) -> Result<()> {
    let place = Place::parse(&entry.path)?;
    // By its name alone, whatever it is: one storage driver has them as hard links, others as devices.
    if tree.whiteout(&place)? {
        return Ok(());
    }
    let kind = match entry.kind {
        b'5' => Kind::Folder,
        b'2' => {
            ensure!(!entry.link.is_empty(), "{place} is a link to nothing");
            Kind::Link(entry.link.clone())
        }
        b'6' => Kind::Pipe,
        b'1' => {
            let to = Place::parse(&entry.link)
                .with_context(|| format!("{place} is a hard link out of the image"))?;
            if tree.is_left_out(&to)? {
                left_out.devices += 1;
                return tree.leave_out(&place);
            }
            return tree.add_hard_link(place, &to);
        }
        b'3' | b'4' => {
            ensure!(!place.is_root(), "the root is not a folder");
            left_out.devices += 1;
            return tree.leave_out(&place);
        }
        b'0' => {
            let content = spool.take(data, entry.bytes);
            Kind::File(content.with_context(|| place.to_string())?)
        }
        other => bail!("{place} is of kind {other:?}, unknown here"),
    };
    left_out.attributes += u64::from(entry.attributes);
    tree.add(place, meta(entry), kind)
}

/// What SquashFS can say: its times begin at 1970 and end in 2106.
fn meta(entry: &Entry) -> Meta {
    let mtime = entry.mtime.clamp(0, i64::from(u32::MAX));
    Meta {
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime: u32::try_from(mtime).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
