//! The disk a person copies to a stick: slots A and B, the images of rooms that each one's Spine has baked in (U07), and `/persist`, nothing
//! else (A01, C09). Places and names are fixed; `/persist` is last, so that a larger disk has a larger one. GUIDs are each disk's own,
//! made of the one of the disk, which is random: boot entries name partitions by them, and so does the running Spine (decision
//! 21). A disk that is to have the same bytes each time has fixed ones, and two such disks cannot be told apart.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use gpt::partition_types::{self, OperatingSystem};
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
/// The images of rooms that slot A's Spine has baked in, where there are any; behind it those of slot B's.
pub const ROOMS_A: usize = 3;
/// Names of the partitions, and the GUIDs of those on a disk with the fixed one.
const PARTITIONS: [(&str, Uuid); 5] = [
    ("slot-a", uuid!("5350494e-4500-4001-a001-736c6f742d61")),
    ("slot-b", uuid!("5350494e-4500-4002-a001-736c6f742d62")),
    ("persist", uuid!("5350494e-4500-4003-a001-706572736973")),
    ("rooms-a", uuid!("5350494e-4500-4007-a001-726f6f6d2d61")),
    ("rooms-b", uuid!("5350494e-4500-4008-a001-726f6f6d2d62")),
];
/// The order in which they lie on the disk.
const PLACED: [usize; 5] = [SLOT_A, SLOT_B, ROOMS_A, ROOMS_A + 1, PERSIST];
/// Types of our own, so that no other system takes what we keep for its own: of `/persist`, and of the images of rooms.
const KEPT: Uuid = uuid!("5350494E-4500-4009-A001-747970657273");
const IMAGES: Uuid = uuid!("5350494E-4500-400A-A001-74797065726D");
/// The GUID of a disk whose bytes are the same each time.
pub const FIXED: Uuid = uuid!("5350494e-4500-4000-a001-6469736b2d31");
/// Where a disk's own GUID is, in its first header; and first and last sector of the fourth partition, in the entries behind that.
const GUID_AT: u64 = SECTOR + 56;
const ROOMS_AT: u64 = 2 * SECTOR + ROOMS_A as u64 * 128 + 32;

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
    /// A disk of this GUID with so many bytes for either Spine's images, which may be none, and for `/persist`: whole MiB.
    pub fn new(disk: Uuid, rooms: u64, persist: u64) -> Layout {
        let sizes = [slot::BYTES, slot::BYTES, persist, rooms, rooms];
        let (mut at, mut partitions) = (ALIGNED, Vec::new());
        for number in PLACED {
            let ((name, fixed), bytes) = (PARTITIONS[number], sizes[number]);
            let of = || roomdisk::guid("slots", &format!("{disk} {name}"));
            let place = Place {
                at,
                bytes,
                guid: if disk == FIXED { fixed } else { of() },
                name,
            };
            partitions.push((number, place));
            at += bytes;
        }
        partitions.sort_by_key(|(number, _)| *number);
        let partitions = partitions.into_iter().map(|(_, place)| place);
        let partitions = partitions
            .take(if rooms == 0 { ROOMS_A } else { 5 })
            .collect();
        Layout {
            partitions,
            bytes: at + ALIGNED,
            guid: disk,
        }
    }

    /// Where the images of each Spine are; none on a disk that has none.
    pub fn rooms(&self) -> &[Place] {
        self.partitions.get(ROOMS_A..).unwrap_or_default()
    }

    /// The layout of a disk that this program has made; none of any other.
    pub fn of(disk: &Path) -> Result<Option<Layout>> {
        let file = File::open(disk).with_context(|| format!("open {}", disk.display()))?;
        ours(&file)
    }
}

/// What a new disk has in it.
#[derive(Clone, Copy)]
pub struct Contents<'a> {
    /// What both slots hold.
    pub slot: &'a [u8],
    /// What both partitions of images hold, if there are any, and how many bytes each has.
    pub rooms: Option<(&'a Path, u64)>,
    /// Bytes of `/persist`.
    pub persist: u64,
    /// The time of the empty ext4 in it; none leaves nothing at all there, which the machine offers to make a vault.
    pub ext4: Option<u32>,
}

/// Makes a disk with the same Spine and images twice.
pub fn make(to: &Path, guid: Uuid, content: &Contents<'_>) -> Result<Layout> {
    let Contents { slot, persist, .. } = *content;
    let rooms = content.rooms.map_or(0, |(_, bytes)| bytes);
    ensure!(
        persist.is_multiple_of(ALIGNED) && rooms.is_multiple_of(ALIGNED),
        "make {}: {persist} bytes of persist, or {rooms} of images, are no whole MiB; next: --size 1G",
        to.display()
    );
    let layout = Layout::new(guid, rooms, persist);
    let dir = to.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    // Made beside and renamed: a half-made disk never has the name of a whole one.
    let part = to.with_extension("part");
    let file = persist::blank(&part, layout.bytes)?;
    tables(&file, &layout).context("write the partition table")?;
    let place = &layout.partitions[PERSIST];
    if let Some(epoch) = content.ext4 {
        persist::format(&part, place.at, place.bytes, place.guid, epoch)?;
    }
    put(&file, &layout, slot, content.rooms.map(|it| it.0))?;
    fs::rename(&part, to).with_context(|| format!("move into place {}", to.display()))?;
    Ok(layout)
}

/// Writes both slots of a disk that is there, and both partitions of images if it has any, and nothing else: `/persist` stays.
pub fn rewrite(disk: &Path, slot: &[u8], rooms: Option<&Path>) -> Result<()> {
    let file = File::options().read(true).write(true).open(disk);
    let file = file.with_context(|| format!("open {}", disk.display()))?;
    let layout = ours(&file)?.with_context(|| {
        format!(
            "write the slots of {}: it has other partitions than this program makes; next: --force makes it anew, with an empty persist",
            disk.display()
        )
    })?;
    put(&file, &layout, slot, rooms)
}

/// The layout of a disk, if its table is to the bit what would be written for it.
fn ours(disk: &File) -> Result<Option<Layout>> {
    let (mut guid, mut sectors) = ([0; 16], [0; 16]);
    disk.read_exact_at(&mut guid, GUID_AT)?;
    disk.read_exact_at(&mut sectors, ROOMS_AT)?;
    let [first, last] = [0, 8].map(|at| {
        let bytes = sectors[at..].first_chunk();
        bytes.map_or(0, |it| u64::from_le_bytes(*it))
    });
    let sectors = last.checked_sub(first).filter(|_| first > 0);
    let rooms = sectors.map_or(0, |it| (it + 1).saturating_mul(SECTOR));
    let others = rooms
        .saturating_mul(2)
        .saturating_add(Layout::new(FIXED, 0, 0).bytes);
    let Some(persist) = disk.metadata()?.len().checked_sub(others) else {
        return Ok(None);
    };
    let layout = Layout::new(Uuid::from_bytes_le(guid), rooms, persist);
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

fn put(mut disk: &File, layout: &Layout, slot: &[u8], rooms: Option<&Path>) -> Result<()> {
    ensure!(
        slot.len() as u64 == slot::BYTES,
        "a slot has {} bytes",
        slot::BYTES
    );
    for place in &layout.partitions[..PERSIST] {
        disk.write_all_at(slot, place.at)
            .with_context(|| format!("write {}", place.name))?;
    }
    for place in layout.rooms() {
        let rooms =
            rooms.context("this disk has room for images; next: say which, as --rooms busybox")?;
        let mut images = File::open(rooms).with_context(|| format!("open {}", rooms.display()))?;
        let bytes = images.metadata()?.len();
        ensure!(
            bytes <= place.bytes,
            "{} has {bytes} bytes, {} has room for {}; next: --force makes the disk anew, with an empty persist",
            rooms.display(),
            place.name,
            place.bytes
        );
        disk.seek(SeekFrom::Start(place.at))?;
        io::copy(&mut images, &mut disk).with_context(|| format!("write {}", place.name))?;
    }
    disk.sync_all().context("write the disk")
}

fn tables(disk: &File, layout: &Layout) -> Result<()> {
    let own = |guid| partition_types::Type {
        guid,
        os: OperatingSystem::None,
    };
    let table = |(number, place): (usize, &Place)| {
        let mut part = roomdisk::partition(place.name, place.guid, place.at, place.bytes);
        part.part_type_guid = match number {
            SLOT_A | SLOT_B => partition_types::EFI,
            PERSIST if !layout.rooms().is_empty() => own(KEPT),
            // As it was before there were images on these disks, which keep what they have.
            PERSIST => partition_types::LINUX_FS,
            _ => own(IMAGES),
        };
        part
    };
    let places = layout.partitions.iter().enumerate();
    let partitions: BTreeMap<_, _> = (1..).zip(places.map(table)).collect();
    roomdisk::tables(disk, layout.bytes, layout.guid, partitions)
}
