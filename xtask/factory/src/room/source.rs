//! Where an image archive's members are: a folder, or one tar file that is read in place.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::records::{Records, Streamed};
use super::spool::{Hashed, Packing, Passed, unpacked};
use super::tree::{MAX_PATHS, Place};

/// Bytes of one JSON document.
const MAX_JSON: u64 = 4 << 20;

/// Bytes of the first header of a tar archive.
const HEADER: u64 = 512;
/// Bytes that say how something is packed.
const MAGIC: u64 = 8;
const SPARSE: &str = "a member with holes (GNU sparse); next: make the archive without --sparse";
const NO_ARCHIVE: &str = "no image archive; next: a tar file that docker save, podman save, skopeo or umoci wrote, packed by gzip, zstd or xz or not at all, or the folder of an OCI layout";

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

/// Looks at the first bytes of a file: what can be no archive is said to be none before anything else is asked.
///
/// # Errors
/// It cannot be read, or is none.
pub fn look(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut first = Vec::new();
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let read = file.take(HEADER).read_to_end(&mut first);
    read.with_context(|| format!("read {}", path.display()))?;
    let packed = Packing::of(&first).is_ok_and(|packing| packing == Packing::Plain);
    let header = || Records::new(Streamed(&first[..])).next().is_ok();
    ensure!(
        !packed || (!first.is_empty() && header()),
        "{} is {}: {NO_ARCHIVE}",
        path.display(),
        found(&first)
    );
    Ok(())
}

/// What a file that is no archive begins like.
fn found(first: &[u8]) -> &'static str {
    let odd = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    match first {
        [] => "empty",
        [0x7f, b'E', b'L', b'F', ..] => "a program",
        [b'P', b'K', 3, 4, ..] => "a zip archive",
        [b'h' | b's', b's' | b'q', b'q' | b's', b's' | b'h', ..] => "a SquashFS",
        first if !first.iter().any(odd) => "a text",
        _ => "of a kind that is not known here",
    }
}

impl Source {
    /// Opens a folder or a file; a compressed file is unpacked to a nameless one in `work` first.
    pub fn open(path: &Path, work: &Path) -> Result<Source> {
        let shown = path.display();
        if path.is_dir() {
            return Ok(Source::Folder(path.to_owned()));
        }
        let mut file = File::open(path).with_context(|| format!("open {shown}"))?;
        let mut magic = Vec::new();
        (&file)
            .take(MAGIC)
            .read_to_end(&mut magic)
            .with_context(|| format!("read {shown}"))?;
        file.rewind()?;
        let packing = Packing::of(&magic).with_context(|| format!("read {shown}"))?;
        if packing != Packing::Plain {
            let mut plain = tempfile::tempfile_in(work).context("make a temporary file")?;
            let mut from = Hashed::new(unpacked(file)?, &Passed::like(""));
            io::copy(&mut from, &mut plain).with_context(|| format!("unpack {shown}"))?;
            file = plain;
        }
        Source::index(file).with_context(|| format!("{shown}: {NO_ARCHIVE}"))
    }

    fn index(mut file: File) -> Result<Source> {
        file.rewind()?;
        let length = file.metadata()?.len();
        let (mut members, mut links) = (BTreeMap::new(), BTreeMap::new());
        let mut records = Records::new(&file);
        while let Some(entry) = records.next()? {
            let name = Place::parse(&entry.path)?;
            match entry.kind {
                b'0' => {
                    ensure!(!entry.holes, "{name}: {SPARSE}");
                    let end = records.position().saturating_add(entry.bytes);
                    ensure!(end <= length, "ends inside {name}: it is cut short");
                    links.remove(&name);
                    members.insert(name, (records.position(), entry.bytes));
                }
                b'1' => drop(links.insert(name, Place::parse(&entry.link)?)),
                b'2' => {
                    if let Some(to) = beside(&name, &entry.link) {
                        links.insert(name, to);
                    }
                }
                // A label, a folder, a device: nothing of it is asked for.
                _ => {}
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
            let passed = Passed::like(digest);
            io::copy(&mut Hashed::new(&text[..], &passed), &mut io::sink())?;
            let found = passed.digest();
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
        let mut place = &place;
        // A link may lead to another one; one that leads round leads nowhere.
        for _ in 0..=links.len() {
            match links.get(place) {
                Some(to) => place = to,
                None => break,
            }
        }
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
