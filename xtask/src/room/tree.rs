//! A root file system as a table in memory: layer upon layer, with whiteouts. Nothing of an archive is ever unpacked on the host, so no
//! path and no link of it can lead anywhere: a path is a key, a link is a text.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound::{Excluded, Unbounded};

use anyhow::{Result, bail, ensure};

use super::spool::Content;

/// Paths in one image: what a full desktop has is a fifth of it.
pub const MAX_PATHS: usize = 1_000_000;
/// Bytes of a path, as the kernel has it.
const MAX_PATH: usize = 4096;
/// Bytes of one name, as SquashFS has it.
const MAX_NAME: usize = 255;
/// A room has this many uids of its own (decision 10); no file can belong to another.
const UIDS: u64 = 65_536;
/// Marks a name of a lower layer as gone.
const WHITEOUT: &[u8] = b".wh.";
/// Hides all that lower layers have in its folder.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Other names of this kind are bookkeeping of one storage driver.
const BOOKKEEPING: &[u8] = b".wh..wh.";

/// A path from the image's root, parsed: no empty name, no `.`, no `..`. Its order puts what is in a folder right behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(Vec<Vec<u8>>);

/// Mode, owner and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Permissions, with setuid, setgid and sticky bits.
    pub mode: u32,
    /// Owner, below 65,536.
    pub uid: u64,
    /// Group, below 65,536.
    pub gid: u64,
    /// Seconds since 1970.
    pub mtime: u32,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A file; two paths with the same content are hard links of each other.
    File(Content),
    /// A symbolic link, its target as written.
    Link(Vec<u8>),
    /// A named pipe.
    Pipe,
}

/// One path's entry, and the layer it came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Mode, owner, time.
    pub meta: Meta,
    /// What it is.
    pub kind: Kind,
    layer: usize,
}

/// A root file system.
#[derive(Default)]
pub struct Tree {
    nodes: BTreeMap<Place, Node>,
    layer: usize,
}

impl Place {
    /// Reads a path of an archive. One that begins with `/` begins at the image's root; one with `..` is refused.
    pub fn parse(path: &[u8]) -> Result<Place> {
        let shown = || String::from_utf8_lossy(path).into_owned();
        ensure!(
            path.len() <= MAX_PATH,
            "a path of {} bytes (at most {MAX_PATH})",
            path.len()
        );
        let mut names = Vec::new();
        for name in path.split(|b| *b == b'/') {
            match name {
                b"" | b"." => {}
                b".." => bail!("{:?} leaves the root", shown()),
                _ if name.contains(&0) => bail!("{:?} has a zero byte in it", shown()),
                _ if name.len() > MAX_NAME => {
                    bail!("a name of {} bytes (at most {MAX_NAME})", name.len())
                }
                _ => names.push(name.to_vec()),
            }
        }
        Ok(Place(names))
    }

    /// The path as an archive has it, without a `/` in front.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.join(&b'/')
    }

    /// The root itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    fn parents(&self) -> impl Iterator<Item = Place> + '_ {
        (1..self.0.len()).map(|end| Place(self.0[..end].to_vec()))
    }

    fn holds(&self, other: &Place) -> bool {
        other.0.len() > self.0.len() && other.0.starts_with(&self.0)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", String::from_utf8_lossy(&self.bytes()))
    }
}

impl Meta {
    /// What a folder has that nobody described.
    pub const PLAIN: Meta = Meta {
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: 0,
    };
}

impl Tree {
    /// What is added from here on lies above all there is.
    pub fn next_layer(&mut self) {
        self.layer += 1;
    }

    /// All paths, a folder before what is in it.
    pub fn nodes(&self) -> impl Iterator<Item = (&Place, &Node)> {
        self.nodes.iter()
    }

    /// What is at a path.
    pub fn get(&self, place: &Place) -> Option<&Node> {
        self.nodes.get(place)
    }

    /// Adds an entry in the current layer; whiteouts are done, not added.
    pub fn add(&mut self, place: Place, meta: Meta, kind: Kind) -> Result<()> {
        if self.whiteout(&place)? {
            return Ok(());
        }
        ensure!(
            meta.uid < UIDS && meta.gid < UIDS,
            "{place} belongs to {}:{}, a room has {UIDS} uids; next: give it an owner below that",
            meta.uid,
            meta.gid
        );
        self.put(place, meta, kind)
    }

    /// Adds another name of a file.
    pub fn add_hard_link(&mut self, place: Place, to: &Place) -> Result<()> {
        let Some(Node { meta, kind, .. }) = self.nodes.get(to).cloned() else {
            bail!("{place} is a hard link to {to}, which is not in the image");
        };
        ensure!(
            kind != Kind::Folder,
            "{place} is a hard link to {to}, which is a folder"
        );
        self.add(place, meta, kind)
    }

    /// A folder, unless something is there.
    pub fn add_missing_folder(&mut self, place: Place, mode: u32) -> Result<()> {
        let meta = Meta {
            mode,
            ..Meta::PLAIN
        };
        match self.nodes.contains_key(&place) {
            true => Ok(()),
            false => self.put(place, meta, Kind::Folder),
        }
    }

    /// Removes a path and all below it.
    pub fn remove(&mut self, place: &Place) {
        self.remove_below(place);
        self.nodes.remove(place);
    }

    /// No time is later than `newest`.
    pub fn clamp(&mut self, newest: u32) {
        for node in self.nodes.values_mut() {
            node.meta.mtime = node.meta.mtime.min(newest);
        }
    }

    fn put(&mut self, place: Place, meta: Meta, kind: Kind) -> Result<()> {
        ensure!(
            !place.is_root() || kind == Kind::Folder,
            "the root is not a folder"
        );
        for parent in place.parents() {
            if self.blocked(&place, &parent)? {
                let folder = self.node(Meta::PLAIN, Kind::Folder);
                self.nodes.insert(parent, folder);
            }
        }
        if kind != Kind::Folder {
            self.remove_below(&place);
        }
        let node = self.node(meta, kind);
        self.nodes.insert(place, node);
        ensure!(self.nodes.len() <= MAX_PATHS, "more than {MAX_PATHS} paths");
        Ok(())
    }

    fn node(&self, meta: Meta, kind: Kind) -> Node {
        let layer = self.layer;
        Node { meta, kind, layer }
    }

    /// True when `parent` is missing; an error when it is no folder. A link there is not followed: not here, and not on the host.
    fn blocked(&self, place: &Place, parent: &Place) -> Result<bool> {
        let what = match self.nodes.get(parent).map(|node| &node.kind) {
            None => return Ok(true),
            Some(Kind::Folder) => return Ok(false),
            Some(Kind::Link(_)) => "a link",
            Some(_) => "a file",
        };
        bail!("{place} goes through {parent}, which is {what}")
    }

    /// Does what the last name says, if it is a whiteout; only what lower layers brought can go.
    fn whiteout(&mut self, place: &Place) -> Result<bool> {
        let Some((last, before)) = place.0.split_last() else {
            return Ok(false);
        };
        if let Some(name) = before.iter().find(|name| name.starts_with(WHITEOUT)) {
            bail!(
                "{place} is in a whiteout, {:?}",
                String::from_utf8_lossy(name)
            );
        }
        let Some(name) = last.strip_prefix(WHITEOUT) else {
            return Ok(false);
        };
        for parent in place.parents() {
            self.blocked(place, &parent)?;
        }
        let mut target = Place(before.to_vec());
        if last == OPAQUE {
            self.hide(&target, false);
        } else if !last.starts_with(BOOKKEEPING) {
            ensure!(
                !matches!(name, b"" | b"." | b".."),
                "{place} is a whiteout of nothing"
            );
            target.0.push(name.to_vec());
            self.hide(&target, true);
        }
        Ok(true)
    }

    /// Takes away what lower layers have below `place`, and there; a folder stays as long as this layer has something in it.
    fn hide(&mut self, place: &Place, itself: bool) {
        let mut all: Vec<Place> = self.below(place);
        if itself {
            all.insert(0, place.clone());
        }
        let mut kept: Option<Place> = None;
        for at in all.into_iter().rev() {
            let own = self.nodes.get(&at).is_none_or(|n| n.layer == self.layer);
            if own || kept.as_ref().is_some_and(|kept| at.holds(kept)) {
                kept = Some(at);
            } else {
                self.nodes.remove(&at);
            }
        }
    }

    fn below(&self, place: &Place) -> Vec<Place> {
        let after = self.nodes.range((Excluded(place.clone()), Unbounded));
        let inside = after.map(|(at, _)| at).take_while(|at| place.holds(at));
        inside.cloned().collect()
    }

    fn remove_below(&mut self, place: &Place) {
        for at in self.below(place) {
            self.nodes.remove(&at);
        }
    }
}

#[cfg(test)]
mod tests;
