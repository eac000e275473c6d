//! The disk a person copies to a stick: slots A and B and `/persist`, nothing else (A01, C09). Places and names are fixed, so that boot
//! entries made once stay true, and the table's bytes are the same each time.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use gpt::partition::Partition;
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
/// Names and GUIDs of the partitions. Fixed: a machine has one such disk, and its boot entries name them.
const PARTITIONS: [(&str, Uuid); 3] = [
    ("slot-a", uuid!("5350494e-4500-4001-a001-736c6f742d61")),
    ("slot-b", uuid!("5350494e-4500-4002-a001-736c6f742d62")),
    ("persist", uuid!("5350494e-4500-4003-a001-706572736973")),
];
const DISK: Uuid = uuid!("5350494e-4500-4000-a001-6469736b2d31");

/// Where the partitions of a disk are.
#[derive(Debug)]
pub struct Layout {
    /// In the order of the table.
    pub partitions: Vec<Place>,
    /// All of the disk.
    pub bytes: u64,
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
    /// A disk whose `/persist` has this many bytes, which must be whole MiB.
    pub fn new(persist: u64) -> Layout {
        let (mut at, mut partitions) = (ALIGNED, Vec::new());
        for ((name, guid), bytes) in PARTITIONS
            .into_iter()
            .zip([slot::BYTES, slot::BYTES, persist])
        {
            partitions.push(Place {
                at,
                bytes,
                guid,
                name,
            });
            at += bytes;
        }
        Layout {
            partitions,
            bytes: at + ALIGNED,
        }
    }

    /// The disk that is this long.
    fn of_length(bytes: u64) -> Option<Layout> {
        let others = Layout::new(0).bytes;
        Some(Layout::new(bytes.checked_sub(others)?))
    }
}

/// Makes a disk with the same slot twice and an empty `/persist`: an ext4 that tells this time, or nothing at all, which the machine
/// offers to make a vault.
pub fn make(to: &Path, slot: &[u8], persist: u64, ext4: Option<u32>) -> Result<Layout> {
    ensure!(
        persist.is_multiple_of(ALIGNED),
        "make {}: {persist} bytes of persist are no whole MiB; next: --size 1G",
        to.display()
    );
    let layout = Layout::new(persist);
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
    let Some(layout) = Layout::of_length(disk.metadata()?.len()) else {
        return Ok(None);
    };
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
    let table = |place: &Place| Partition {
        part_type_guid: match place.name {
            "persist" => partition_types::LINUX_FS,
            _ => partition_types::EFI,
        },
        part_guid: place.guid,
        first_lba: place.at / SECTOR,
        last_lba: (place.at + place.bytes) / SECTOR - 1,
        flags: 0,
        name: place.name.to_owned(),
    };
    let partitions: BTreeMap<_, _> = (1..).zip(layout.partitions.iter().map(table)).collect();
    roomdisk::tables(disk, layout.bytes, DISK, partitions)
}
