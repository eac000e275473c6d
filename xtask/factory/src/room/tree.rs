//! A root file system as a table in memory: layer upon layer, with whiteouts. Nothing of an archive is ever unpacked on the host, so no
//! path and no link of it can lead anywhere: a path is a key, a link is a text.

use std::collections::{BTreeMap, BTreeSet};
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
/// In this folder it has files with several names, for hard links to lead to; the folder itself is not the image's.
const LINKED: &[u8] = b".wh..wh.plnk";
/// Links that lead to one place at most, as the kernel follows them (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

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
    /// What is only there to be linked to, in the current layer.
    linked: BTreeMap<Place, Node>,
    /// Where something was left out, in the current layer.
    left_out: BTreeSet<Place>,
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
        self.linked.clear();
        self.left_out.clear();
    }

    /// All paths, a folder before what is in it.
    pub fn nodes(&self) -> impl Iterator<Item = (&Place, &Node)> {
        self.nodes.iter()
    }

    /// What is at a path.
    pub fn get(&self, place: &Place) -> Option<&Node> {
        self.nodes.get(place)
    }

    /// Whether there is something at a path, its folders' links followed.
    pub fn leads(&self, place: &Place) -> bool {
        self.resolved(place)
            .is_ok_and(|at| self.nodes.contains_key(&at))
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
        if place.0.first().is_some_and(|name| name == LINKED) {
            let node = self.node(meta, kind);
            self.linked.insert(place, node);
            return Ok(());
        }
        self.put(place, meta, kind)
    }

    /// Adds another name of a file.
    pub fn add_hard_link(&mut self, place: Place, to: &Place) -> Result<()> {
        let found = self.linked.get(to).cloned();
        let found = match found {
            Some(node) => Some(node),
            None => self.nodes.get(&self.resolved(to)?).cloned(),
        };
        let Some(Node { meta, kind, .. }) = found else {
            bail!("{place} is a hard link to {to}, which is not in the image");
        };
        ensure!(
            kind != Kind::Folder,
            "{place} is a hard link to {to}, which is a folder"
        );
        self.add(place, meta, kind)
    }

    /// Something was at this place that the image does not get; nor does it have what lower layers brought there.
    pub fn leave_out(&mut self, place: &Place) -> Result<()> {
        let place = self.resolved(place)?;
        self.remove(&place);
        self.left_out.insert(place);
        Ok(())
    }

    /// Whether the current layer had something at this place that was left out.
    pub fn is_left_out(&self, place: &Place) -> Result<bool> {
        Ok(self.left_out.contains(&self.resolved(place)?))
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
        let place = self.resolved(&place)?;
        for parent in place.parents() {
            if !self.nodes.contains_key(&parent) {
                let folder = self.node(Meta::PLAIN, Kind::Folder);
                self.nodes.insert(parent, folder);
            }
        }
        if kind != Kind::Folder {
            self.remove_below(&place);
        }
        let node = self.node(meta, kind);
        self.left_out.remove(&place);
        self.nodes.insert(place, node);
        ensure!(self.nodes.len() <= MAX_PATHS, "more than {MAX_PATHS} paths");
        Ok(())
    }

    /// Where a path leads: links before its last name are followed in this tree, from its root and never above it, as a program
    /// inside the image would (`path_resolution(7)`). On the host nothing is followed.
    fn resolved(&self, place: &Place) -> Result<Place> {
        let Some((last, before)) = place.0.split_last() else {
            return Ok(Place::default());
        };
        let mut todo: Vec<Vec<u8>> = before.iter().rev().cloned().collect();
        let (mut at, mut links) = (Place::default(), 0);
        while let Some(name) = todo.pop() {
            match name.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    at.0.pop();
                    continue;
                }
                _ => at.0.push(name),
            }
            match self.nodes.get(&at).map(|node| &node.kind) {
                None | Some(Kind::Folder) => {}
                Some(Kind::Link(target)) => {
                    links += 1;
                    ensure!(links <= MAX_LINKS, "{place} goes through too many links");
                    at.0.pop();
                    if target.starts_with(b"/") {
                        at.0.clear();
                    }
                    todo.extend(target.split(|b| *b == b'/').rev().map(<[u8]>::to_vec));
                }
                Some(_) => bail!("{place} goes through {at}, which is a file"),
            }
        }
        at.0.push(last.clone());
        let bytes = at.bytes().len();
        ensure!(
            bytes <= MAX_PATH,
            "{place} leads to a path of {bytes} bytes (at most {MAX_PATH})"
        );
        Ok(at)
    }

    fn node(&self, meta: Meta, kind: Kind) -> Node {
        let layer = self.layer;
        Node { meta, kind, layer }
    }

    /// Does what the last name says, if it is a whiteout; only what lower layers brought can go. True if the entry is no part of
    /// the image.
    ///
    /// # Errors
    /// It is in a whiteout, or one of nothing.
    pub fn whiteout(&mut self, place: &Place) -> Result<bool> {
        let Some((last, before)) = place.0.split_last() else {
            return Ok(false);
        };
        if place.0.first().is_some_and(|name| name == LINKED) {
            return Ok(before.is_empty());
        }
        if let Some(name) = before.iter().find(|name| name.starts_with(WHITEOUT)) {
            bail!(
                "{place} is in a whiteout, {:?}",
                String::from_utf8_lossy(name)
            );
        }
        let Some(name) = last.strip_prefix(WHITEOUT) else {
            return Ok(false);
        };
        let mut target = self.resolved(place)?;
        target.0.pop();
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
