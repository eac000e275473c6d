//! A file system that can be read: its folders and files.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use crate::disk::{Kind, find};
use crate::exfat::Exfat;
use crate::fat::Fat;
use crate::name::shown;
use crate::trouble::Trouble;

/// Most entries of a folder (FAT: 65536 of 32 bytes).
pub const MOST: usize = 65_536;

/// What is in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As it is on the stick.
    pub name: String,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Bytes of a file.
    pub size: u64,
}

/// A folder.
#[derive(Debug, Default)]
pub struct Listing {
    /// What is in it.
    pub entries: Vec<Entry>,
    /// How many more there are that make no sense.
    pub damaged: usize,
}

/// Takes the next bytes of a file; false: no more are wanted.
pub type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<bool, Trouble>;

/// The file system of a stick.
pub enum Volume {
    /// FAT12, FAT16 or FAT32.
    Fat(Fat),
    /// exFAT, which is read alone.
    Exfat(Exfat),
}

/// Where something is, from the root on.
pub struct Path(Vec<String>);

impl Path {
    /// From what was typed; `/` or nothing is the root.
    ///
    /// # Errors
    /// It can be no name.
    pub fn typed(text: &str) -> Result<Self, Trouble> {
        let name = crate::name::typed(text);
        let name = name.ok_or_else(|| Trouble::Missing(shown(text)))?;
        let parts = name.split('/').filter(|it| !it.is_empty());
        Ok(Self(parts.map(str::to_owned).collect()))
    }

    /// The names, one in another.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// The folder, and the name in it; none of the root.
    pub fn split(&self) -> Option<(&[String], &str)> {
        let (last, folder) = self.0.split_last()?;
        Some((folder, last))
    }
}

impl Volume {
    /// The file system of a stick.
    ///
    /// # Errors
    /// There is none.
    pub fn open(stick: OwnedFd) -> Result<Self, Trouble> {
        let stick = Rc::new(File::from(stick));
        Ok(match find(Rc::clone(&stick))? {
            (Kind::Fat, region) => Self::Fat(Fat::open(region, stick)?),
            (Kind::Exfat, region) => Self::Exfat(Exfat::open(region)?),
        })
    }

    /// What is in a folder.
    ///
    /// # Errors
    /// There is none, or it makes no sense.
    pub fn list(&mut self, path: &Path) -> Result<Listing, Trouble> {
        match self {
            Self::Fat(fat) => fat.list(path.names()),
            Self::Exfat(exfat) => exfat.list(path.names()),
        }
    }

    /// A file's size.
    ///
    /// # Errors
    /// There is none, or it is a folder.
    pub fn size(&mut self, path: &Path) -> Result<u64, Trouble> {
        let (folder, name) = path.split().ok_or_else(folder)?;
        let entries = match self {
            Self::Fat(fat) => fat.list(folder)?.entries,
            Self::Exfat(exfat) => exfat.list(folder)?.entries,
        };
        let entry = only(entries, name, |it| &it.name)?;
        match entry.is_folder {
            true => Err(Trouble::Kind(shown(name), "a folder")),
            false => Ok(entry.size),
        }
    }

    /// Passes a file on, all of it or until no more is wanted.
    ///
    /// # Errors
    /// It cannot be read to its end.
    pub fn read(&mut self, path: &Path, sink: Sink<'_>) -> Result<(), Trouble> {
        let (parent, name) = path.split().ok_or_else(folder)?;
        match self {
            Self::Fat(fat) => fat.read(parent, name, sink),
            Self::Exfat(exfat) => exfat.read(parent, name, sink),
        }
    }
}

fn folder() -> Trouble {
    Trouble::Kind("/".to_owned(), "a folder")
}

/// The only one that is called so: as it is typed, or but for the case of its letters.
///
/// # Errors
/// There is none, or two.
pub fn only<T>(all: Vec<T>, name: &str, called: impl Fn(&T) -> &str) -> Result<T, Trouble> {
    let mut named: Vec<T> = Vec::new();
    for it in all {
        if called(&it).eq_ignore_ascii_case(name) {
            named.push(it);
        }
    }
    if named.len() > 1 {
        named.retain(|it| called(it) == name);
    }
    let two = named.len() > 1;
    match named.pop() {
        Some(one) if !two => Ok(one),
        Some(_) => Err(Trouble::Two(shown(name))),
        None => Err(Trouble::Missing(shown(name))),
    }
}
