//! Where an image archive's members are: a folder, or one tar file that is read in place.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use tar::EntryType;

use super::spool::{Hashed, Passed, unpacked};
use super::tree::{MAX_PATHS, Place};
use crate::stamp;

/// Bytes of one JSON document.
const MAX_JSON: u64 = 4 << 20;

/// An archive, opened.
pub enum Source {
    /// An OCI layout as it is on disk.
    Folder(PathBuf),
    /// A tar file and where its members are in it.
    Tar {
        /// The file.
        file: File,
        /// Offset and size of each member.
        members: BTreeMap<Place, (u64, u64)>,
        /// Links between members, as old archives have them for layers that occur twice.
        links: BTreeMap<Place, Place>,
    },
}

impl Source {
    /// Opens a folder or a file; a compressed file is unpacked to a nameless one in `work` first.
    pub fn open(path: &Path, work: &Path) -> Result<Source> {
        let shown = path.display();
        if path.is_dir() {
            return Ok(Source::Folder(path.to_owned()));
        }
        let mut file = File::open(path).with_context(|| format!("open {shown}"))?;
        let mut magic = [0; 4];
        let n = file
            .read(&mut magic)
            .with_context(|| format!("read {shown}"))?;
        file.rewind()?;
        if magic[..n].starts_with(&[0x1f, 0x8b]) || magic == [0x28, 0xb5, 0x2f, 0xfd] {
            let mut plain = tempfile::tempfile_in(work).context("make a temporary file")?;
            let mut from = Hashed::new(unpacked(file)?, &Passed::default());
            io::copy(&mut from, &mut plain).with_context(|| format!("unpack {shown}"))?;
            file = plain;
        }
        Source::index(file).with_context(|| format!("{shown}: read as a tar archive"))
    }

    fn index(mut file: File) -> Result<Source> {
        file.rewind()?;
        let (mut members, mut links) = (BTreeMap::new(), BTreeMap::new());
        let mut archive = tar::Archive::new(&file);
        for entry in archive.entries_with_seek()?.raw(true) {
            let entry = entry?;
            let header = entry.header();
            let name = Place::parse(&header.path_bytes())?;
            match header.entry_type() {
                EntryType::Regular => {
                    let bytes = header.entry_size()?;
                    members.insert(name, (entry.raw_file_position(), bytes));
                }
                EntryType::Symlink | EntryType::Link => {
                    let target = header.link_name_bytes().unwrap_or_default();
                    if let Some(to) = beside(&name, &target) {
                        links.insert(name, to);
                    }
                }
                EntryType::Directory | EntryType::XGlobalHeader => {}
                other => bail!("{name} is of kind {:?}, unknown here", other.as_byte()),
            }
            ensure!(members.len() <= MAX_PATHS, "more than {MAX_PATHS} members");
        }
        Ok(Source::Tar {
            file,
            members,
            links,
        })
    }

    /// True if there is such a member.
    pub fn has(&self, name: &str) -> bool {
        self.size(name).is_ok()
    }

    /// Size of a member.
    pub fn size(&self, name: &str) -> Result<u64> {
        match self {
            Source::Folder(dir) => {
                let meta = dir.join(inside(name)?).metadata();
                let meta = meta.ok().filter(|meta| meta.is_file());
                meta.map(|meta| meta.len()).with_context(|| missing(name))
            }
            Source::Tar { .. } => Ok(self.member(name)?.1),
        }
    }

    /// A member's bytes.
    pub fn read(&self, name: &str) -> Result<Box<dyn Read + '_>> {
        let bytes = self.size(name)?;
        match self {
            Source::Folder(dir) => {
                let path = dir.join(inside(name)?);
                let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
                Ok(Box::new(file.take(bytes)))
            }
            Source::Tar { file, .. } => {
                let mut file = file;
                file.seek(SeekFrom::Start(self.member(name)?.0))?;
                Ok(Box::new(file.take(bytes)))
            }
        }
    }

    /// A whole JSON document, checked against its digest if there is one.
    pub fn json(&self, name: &str, digest: Option<&str>) -> Result<Vec<u8>> {
        let bytes = self.size(name)?;
        ensure!(
            bytes <= MAX_JSON,
            "{name}: {bytes} bytes of JSON (at most {MAX_JSON})"
        );
        let mut text = Vec::new();
        self.read(name)?
            .read_to_end(&mut text)
            .with_context(|| format!("read {name}"))?;
        if let Some(digest) = digest {
            let found = format!("sha256:{}", stamp::hex(&Sha256::digest(&text)));
            ensure!(
                found == digest,
                "check {name} (found {found}): mismatch; not used"
            );
        }
        Ok(text)
    }

    fn member(&self, name: &str) -> Result<(u64, u64)> {
        let Source::Tar { members, links, .. } = self else {
            bail!("{}", missing(name));
        };
        let place = Place::parse(name.as_bytes())?;
        let place = links.get(&place).unwrap_or(&place);
        members.get(place).copied().with_context(|| missing(name))
    }
}

/// A member's name as a path below the archive's folder, checked like any other.
fn inside(name: &str) -> Result<PathBuf> {
    let place = Place::parse(name.as_bytes())?;
    Ok(PathBuf::from(String::from_utf8(place.bytes())?))
}

fn missing(name: &str) -> String {
    format!("{name} is not in the archive; next: export the whole image again")
}

/// The member that a link in the archive means: `../` steps are taken inside the archive, and one too many means nothing.
fn beside(link: &Place, target: &[u8]) -> Option<Place> {
    let from = link.bytes();
    let mut names: Vec<&[u8]> = from.split(|b| *b == b'/').collect();
    names.pop();
    for name in target.split(|b| *b == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                names.pop()?;
            }
            name => names.push(name),
        }
    }
    Place::parse(&names.join(&b'/')).ok()
}
