//! `build/rooms.img`: the disk of room images, which a machine gets read-only beside `/persist`. GPT, one partition for each image, named
//! like it: the SquashFS filled up to whole blocks, then its hash tree without a superblock. The same images make the same bytes.
//!
//! Which images is a person's choice, and `build/rooms.set` remembers it: no command makes a disk without one of them. What a command
//! needs besides (the tests' image) comes with them, and a disk that has enough stays as it is, so that `qemu` and `qemu --smoke` by
//! turns redo nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use gpt::partition::Partition;
use gpt::{GptConfig, partition_types};
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use crate::layout::Layout;
use crate::room::{self, Checked, Source};
use crate::stamp::{self, Inputs};
use crate::turn;
use crate::verity::{self, Tree};

/// What everything boots with at first: small, and made without privilege.
pub const SMALL: &str = "busybox";
/// What the VM scenarios boot with.
pub const TESTED: &str = "busybox,hostile";
/// What every other room's ways to the network and to the outside are made of: no disk is without them.
pub const WAYS: [&str; 3] = ["net", "outside", "stick"];
/// The large one for a person, fetched and put together when it is asked for: no first boot waits for it.
pub const WORKSHOP: &str = "dev";
/// The one with the browser, whose room may have the most memory.
pub const BROWSER: &str = "web";
/// No image at all.
pub const NONE: &str = "none";
/// What places in a partition table count in.
pub const SECTOR: u64 = 512;
/// Where partitions begin, and what is left behind the last one for the second table.
pub const ALIGNED: u64 = 1 << 20;

/// Names of images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set(BTreeSet<String>);

/// One image of the disk, as the running system has to know it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Image {
    /// Its name, and its partition's.
    pub name: String,
    /// Blocks of data; the hash tree begins behind them.
    pub data_blocks: u64,
    /// In lower-case hex.
    pub roothash: String,
    /// In lower-case hex.
    pub salt: String,
}

impl Set {
    /// `busybox,dev`, or `none`.
    pub fn parse(text: &str) -> Result<Set> {
        if text == NONE {
            return Ok(Set::default());
        }
        let names = text.split(',').map(|name| {
            room::check_name(name)?;
            ensure!(name != NONE, "{NONE} stands alone");
            Ok(name.to_owned())
        });
        names.collect::<Result<_>>().map(Set)
    }

    /// With [`WAYS`], unless it is empty.
    pub fn with_ways(mut self) -> Set {
        if !self.0.is_empty() {
            self.0.extend(WAYS.map(str::to_owned));
        }
        self
    }

    /// In order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// True if all of these are in it.
    pub fn has(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.0.contains(*name))
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.names().collect();
        f.write_str(if names.is_empty() { NONE } else { "" })?;
        f.write_str(&names.join(","))
    }
}

/// What a command takes that says which images of rooms there are.
#[derive(Clone, Debug, clap::Args)]
pub struct Rooms {
    /// Images of rooms: a list like busybox,dev or none, remembered in build/rooms.set [default: those of that set, at first busybox]
    #[arg(long, value_name = "LIST", value_parser = Set::parse)]
    pub rooms: Option<Set>,
}

impl Rooms {
    /// [`choose`] for these.
    ///
    /// # Errors
    /// As [`choose`].
    pub fn choose(&self, layout: &Layout, least: &str) -> Result<Set> {
        choose(layout, self.rooms.as_ref(), least)
    }
}

/// The images of a command: those asked for, which are the set from then on; else those of the set and `least`, with what the disk that is
/// there has besides.
///
/// # Errors
/// An image of the set is not among those asked for.
pub fn choose(layout: &Layout, asked: Option<&Set>, least: &str) -> Result<Set> {
    if let Some(asked) = asked.cloned().map(Set::with_ways) {
        let set = set(layout)?;
        let dropped = Set(&set.0 - &asked.0);
        ensure!(
            dropped.0.is_empty(),
            "--rooms {asked} would drop {dropped}, which the machines of this clone have; next: --rooms {}, or take it out of {} first",
            Set(&set.0 | &asked.0),
            layout.rooms_set().display()
        );
        remember(layout, &asked)?;
        return Ok(asked);
    }
    let least = wanted(layout, least)?;
    let there = last(layout).filter(|last| last.0.is_superset(&least.0));
    Ok(there.unwrap_or(least))
}

/// The images that a machine gets at least: those of the set, and `least`.
pub fn wanted(layout: &Layout, least: &str) -> Result<Set> {
    Ok(Set(&set(layout)?.0 | &Set::parse(least)?.0).with_ways())
}

/// The set: the images that were asked for, none at first.
pub fn set(layout: &Layout) -> Result<Set> {
    let path = layout.rooms_set();
    match fs::read_to_string(&path) {
        Ok(text) => Set::parse(text.trim()).with_context(|| format!("read {}", path.display())),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(Set::default()),
        Err(why) => Err(why).with_context(|| format!("read {}", path.display())),
    }
}

/// Has machines get this image too.
pub fn add(layout: &Layout, name: &str) -> Result<()> {
    let mut set = set(layout)?;
    set.0.extend([SMALL.to_owned(), name.to_owned()]);
    remember(layout, &set)
}

/// Makes these the set.
fn remember(layout: &Layout, set: &Set) -> Result<()> {
    let path = layout.rooms_set();
    fs::create_dir_all(layout.build())
        .and_then(|()| fs::write(&path, format!("{set}\n")))
        .with_context(|| format!("write {}", path.display()))
}

/// The images that the disk was last made of.
pub fn last(layout: &Layout) -> Option<Set> {
    let text = fs::read_to_string(layout.rooms_disk().with_extension("stamp")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("rooms="))?;
    Set::parse(line).ok()
}

/// Brings the disk up to date: makes the images that are missing, then writes it. `none` leaves no disk.
pub fn make(layout: &Layout, set: &Set) -> Result<Vec<Image>> {
    let _turn = turn::take(layout)?;
    let disk = layout.rooms_disk();
    let (table, stamp) = (disk.with_extension("list"), disk.with_extension("stamp"));
    let outputs = match set.0.is_empty() {
        true => vec![table.clone()],
        false => vec![table.clone(), disk.clone()],
    };
    let listed = room::sources(layout, set.names(), Checked::Listed)?;
    if inputs(set, &listed).up_to_date(&stamp, &outputs) {
        return read(&table);
    }
    let sources = room::sources(layout, set.names(), Checked::Hashed)?;
    let images = match set.0.is_empty() {
        true => remove(&disk).map(|()| Vec::new())?,
        false => {
            eprintln!("rooms: writing {} with {set}", disk.display());
            write(&sources, &disk)?
        }
    };
    let lines = images.iter().map(|image| format!("{image}\n"));
    fs::write(&table, lines.collect::<String>())
        .with_context(|| format!("write {}", table.display()))?;
    inputs(set, &sources).write(&stamp, &outputs)?;
    Ok(images)
}

fn inputs(set: &Set, sources: &[Source]) -> Inputs {
    let code = concat!(include_str!("roomdisk.rs"), include_str!("verity.rs"));
    let inputs = Inputs::default()
        .add("rooms", &set.to_string())
        .add("code", &stamp::sha256(code.as_bytes()));
    sources.iter().fold(inputs, |inputs, source| {
        inputs.add(&source.name, &source.sha256)
    })
}

fn remove(disk: &Path) -> Result<()> {
    match fs::remove_file(disk) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("remove {}", disk.display()))
        }
        _ => Ok(()),
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Image {
            name,
            data_blocks,
            roothash,
            salt,
        } = self;
        write!(f, "{name} {data_blocks} {roothash} {salt}")
    }
}

fn read(table: &Path) -> Result<Vec<Image>> {
    let text = fs::read_to_string(table).with_context(|| format!("read {}", table.display()))?;
    let images = text.lines().map(|line| {
        let words: Vec<_> = line.split(' ').collect();
        let [name, data_blocks, roothash, salt] = words[..] else {
            bail!("{}: {line:?} is no line of it", table.display());
        };
        Ok(Image {
            name: name.to_owned(),
            data_blocks: data_blocks.parse()?,
            roothash: roothash.to_owned(),
            salt: salt.to_owned(),
        })
    });
    images.collect()
}

/// Writes the disk beside its place and gives it its name when it is whole: a machine that has the old one keeps that.
pub fn write(sources: &[Source], to: &Path) -> Result<Vec<Image>> {
    let dir = to.parent().unwrap_or(Path::new("."));
    let part = tempfile::NamedTempFile::new_in(dir)
        .with_context(|| format!("write into {}", dir.display()))?;
    let mut disk = part.as_file();
    let (mut images, mut partitions, mut at) = (Vec::new(), BTreeMap::new(), ALIGNED);
    for (number, source) in (1..).zip(sources) {
        let (image, bytes) = copy(source, &mut disk, at)
            .with_context(|| format!("put the image {} on the disk", source.name))?;
        let own = guid("partition", &format!("{} {}", source.name, source.sha256));
        partitions.insert(number, partition(&source.name, own, at, bytes));
        images.push(image);
        at = (at + bytes).next_multiple_of(ALIGNED);
    }
    let bytes = at + ALIGNED;
    disk.set_len(bytes).context("size the disk of rooms")?;
    let names: Vec<_> = partitions
        .values()
        .map(|p: &Partition| p.part_guid.to_string())
        .collect();
    tables(disk, bytes, guid("disk", &names.join(" ")), partitions)
        .context("write the partition table")?;
    disk.set_permissions(fs::Permissions::from_mode(0o644))?;
    part.persist(to)
        .with_context(|| format!("name {}", to.display()))?;
    Ok(images)
}

/// One image and its tree at a byte of the disk; what is known of it then, and how many bytes it takes.
fn copy(source: &Source, disk: &mut &File, at: u64) -> Result<(Image, u64)> {
    let open =
        || File::open(&source.file).with_context(|| format!("open {}", source.file.display()));
    let salt = digest("salt", &source.sha256);
    let tree = Tree::of(BufReader::with_capacity(1 << 20, open()?), &salt)?;
    disk.seek(SeekFrom::Start(at))?;
    io::copy(&mut open()?, disk)?;
    let data = tree.data_blocks * verity::BLOCK as u64;
    // What the last block lacks is a hole: zeros.
    disk.seek(SeekFrom::Start(at + data))?;
    disk.write_all(&tree.blocks)?;
    let image = Image {
        name: source.name.clone(),
        data_blocks: tree.data_blocks,
        roothash: stamp::hex(&tree.roothash),
        salt: stamp::hex(&salt),
    };
    Ok((image, data + tree.blocks.len() as u64))
}

/// So many bytes from `at` on, which are whole sectors.
pub fn partition(name: &str, guid: Uuid, at: u64, bytes: u64) -> Partition {
    Partition {
        part_type_guid: partition_types::LINUX_FS,
        part_guid: guid,
        first_lba: at / SECTOR,
        last_lba: (at + bytes) / SECTOR - 1,
        flags: 0,
        name: name.to_owned(),
    }
}

/// Writes both tables of a disk that is already as long as this, with a GUID of our own.
pub fn tables(
    mut disk: &File,
    bytes: u64,
    guid: Uuid,
    partitions: BTreeMap<u32, Partition>,
) -> Result<()> {
    let sectors = u32::try_from(bytes / SECTOR - 1).unwrap_or(u32::MAX);
    ProtectiveMBR::with_lb_size(sectors).overwrite_lba0(&mut disk)?;
    let config = GptConfig::new()
        .writable(true)
        .logical_block_size(LogicalBlockSize::Lb512);
    let mut table = config.create_from_device(disk, Some(guid))?;
    table.update_partitions(partitions)?;
    table.write()?;
    Ok(())
}

/// Thirty-two bytes that depend on nothing but these words.
fn digest(what: &str, of: &str) -> [u8; 32] {
    Sha256::digest(format!("bay0 rooms {what} {of}")).into()
}

/// A GUID that depends on nothing but these words.
pub fn guid(what: &str, of: &str) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest(what, of)[..16]);
    Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests;
