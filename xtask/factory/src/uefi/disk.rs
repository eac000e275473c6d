//! The disk a person copies to a stick: slots A and B and `/persist`, nothing else (A01, C09). Places and names are fixed. GUIDs are each
//! disk's own, made of the one of the disk, which is random: boot entries name partitions by them, and so does the running Spine (decision
//! 21). A disk that is to have the same bytes each time has fixed ones, and two such disks cannot be told apart.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use gpt::partition_types;
use uuid::{Uuid, uuid};

use super::slot;
use crate::persist;
use crate::roomdisk::{self, ALIGNED, SECTOR};

/// Places in [`Layout::partitions`], and one less than the numbers in the table.
pub const SLOT_A: usize = 0;
/// The other one.
pub const SLOT_B: usize = 1;
/// What is kept.
pub const PERSIST: usize = 2;
/// Names of the partitions, and the GUIDs of those on a disk with the fixed one.
const PARTITIONS: [(&str, Uuid); 3] = [
    ("slot-a", uuid!("5350494e-4500-4001-a001-736c6f742d61")),
    ("slot-b", uuid!("5350494e-4500-4002-a001-736c6f742d62")),
    ("persist", uuid!("5350494e-4500-4003-a001-706572736973")),
];
/// The GUID of a disk whose bytes are the same each time.
pub const FIXED: Uuid = uuid!("5350494e-4500-4000-a001-6469736b2d31");
/// Where a disk's own GUID is, in its first header.
const GUID_AT: u64 = SECTOR + 56;

/// Where the partitions of a disk are.
#[derive(Debug)]
pub struct Layout {
    /// In the order of the table.
    pub partitions: Vec<Place>,
    /// All of the disk.
    pub bytes: u64,
    /// The disk's own, which those of the partitions are made of.
    pub guid: Uuid,
}

/// One partition.
#[derive(Debug)]
pub struct Place {
    /// First byte.
    pub at: u64,
    /// How many.
    pub bytes: u64,
    /// What boot entries call it.
    pub guid: Uuid,
    name: &'static str,
}

impl Layout {
    /// A disk of this GUID whose `/persist` has this many bytes, which must be whole MiB.
    pub fn new(disk: Uuid, persist: u64) -> Layout {
        let (mut at, mut partitions) = (ALIGNED, Vec::new());
        for ((name, fixed), bytes) in
            PARTITIONS
                .into_iter()
                .zip([slot::BYTES, slot::BYTES, persist])
        {
            let of = || roomdisk::guid("slots", &format!("{disk} {name}"));
            partitions.push(Place {
                at,
                bytes,
                guid: if disk == FIXED { fixed } else { of() },
                name,
            });
            at += bytes;
        }
        Layout {
            partitions,
            bytes: at + ALIGNED,
            guid: disk,
        }
    }

    /// The layout of a disk that this program has made; none of any other.
    pub fn of(disk: &Path) -> Result<Option<Layout>> {
        let file = File::open(disk).with_context(|| format!("open {}", disk.display()))?;
        ours(&file)
    }
}

/// Makes a disk with the same slot twice and an empty `/persist`: an ext4 that tells this time, or nothing at all, which the machine
/// offers to make a vault.
pub fn make(to: &Path, guid: Uuid, slot: &[u8], persist: u64, ext4: Option<u32>) -> Result<Layout> {
    ensure!(
        persist.is_multiple_of(ALIGNED),
        "make {}: {persist} bytes of persist are no whole MiB; next: --size 1G",
        to.display()
    );
    let layout = Layout::new(guid, persist);
    let dir = to.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    // Made beside and renamed: a half-made disk never has the name of a whole one.
    let part = to.with_extension("part");
    let file = persist::blank(&part, layout.bytes)?;
    tables(&file, &layout).context("write the partition table")?;
    let place = &layout.partitions[PERSIST];
    if let Some(epoch) = ext4 {
        persist::format(&part, place.at, place.bytes, place.guid, epoch)?;
    }
    put_slots(&file, &layout, slot)?;
    fs::rename(&part, to).with_context(|| format!("move into place {}", to.display()))?;
    Ok(layout)
}

/// Writes both slots of a disk that is there, and nothing else: `/persist` stays.
pub fn rewrite(disk: &Path, slot: &[u8]) -> Result<()> {
    let file = File::options().read(true).write(true).open(disk);
    let file = file.with_context(|| format!("open {}", disk.display()))?;
    let layout = ours(&file)?.with_context(|| {
        format!(
            "write the slots of {}: it has other partitions than this program makes; next: --force makes it anew, with an empty persist",
            disk.display()
        )
    })?;
    put_slots(&file, &layout, slot)
}

/// The layout of a disk, if its table is to the bit what would be written for it.
fn ours(disk: &File) -> Result<Option<Layout>> {
    let others = Layout::new(FIXED, 0).bytes;
    let Some(persist) = disk.metadata()?.len().checked_sub(others) else {
        return Ok(None);
    };
    let mut guid = [0; 16];
    disk.read_exact_at(&mut guid, GUID_AT)?;
    let layout = Layout::new(Uuid::from_bytes_le(guid), persist);
    let fresh = tempfile::tempfile()?;
    fresh.set_len(layout.bytes)?;
    tables(&fresh, &layout)?;
    let head = |file: &File| -> Result<Vec<u8>> {
        let mut bytes = vec![0; ALIGNED as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    };
    Ok((head(disk)? == head(&fresh)?).then_some(layout))
}

fn put_slots(disk: &File, layout: &Layout, slot: &[u8]) -> Result<()> {
    ensure!(
        slot.len() as u64 == slot::BYTES,
        "a slot has {} bytes",
        slot::BYTES
    );
    for place in &layout.partitions[..PERSIST] {
        disk.write_all_at(slot, place.at)
            .with_context(|| format!("write {}", place.name))?;
    }
    disk.sync_all().context("write the disk")
}

fn tables(disk: &File, layout: &Layout) -> Result<()> {
    let table = |place: &Place| {
        let mut part = roomdisk::partition(place.name, place.guid, place.at, place.bytes);
        if place.name != PARTITIONS[PERSIST].0 {
            part.part_type_guid = partition_types::EFI;
        }
        part
    };
    let partitions: BTreeMap<_, _> = (1..).zip(layout.partitions.iter().map(table)).collect();
    roomdisk::tables(disk, layout.bytes, layout.guid, partitions)
}
