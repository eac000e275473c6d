//! Which disk is which (decision 21): by identity, never by the order in which disks appear.
//!
//! | the firmware names the partition it booted | partitions of the wanted name | what is found |
//! | --- | --- | --- |
//! | on one disk | one on that disk | that |
//! | on one disk | none, or two, on that disk | an error |
//! | on two disks, as byte copies have it | | an error that names both |
//! | on none | | an error |
//! | no: no firmware | one on all disks | that |
//! | no | two | an error that names both |
//! | no | none | nothing; whether a disk without partitions will do, decides who asks |
//!
//! The stub in front of the kernel leaves the partition's GUID in a variable of the firmware (`systemd-stub(7)`). Disks are read by
//! children, one each, so that one that hangs holds up nobody; this module is for children of PID 1, never for PID 1.

mod about;
mod survey;

use std::fmt;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;

use crate::gpt::{self, Guid, Part};
pub use about::{About, about};
use survey::{BLOCK, entries, fact, hardware, idle, is_pending, sector, survey};
pub use survey::{Content, Disk};

/// Longest that a disk may take to appear: one on USB is there seconds after the kernel.
pub const APPEARS: Duration = Duration::from_secs(5);
/// Partitions of a disk with slots that have images of rooms.
const ROOMS: [&str; 2] = ["rooms-a", "rooms-b"];
/// How often it is looked for what has appeared.
const LOOK: Duration = Duration::from_millis(20);
/// How long nothing may appear where there is a USB controller or a slot for a card, before all is taken to be there.
const QUIET: Duration = Duration::from_secs(1);
/// Where the firmware's variables are.
pub const VARS: &str = "/sys/firmware/efi/efivars";
/// The variable of the stub's, and whose it is.
const BOOTED: &str = "LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// `BLKPG` and `BLKPG_ADD_PARTITION` (`linux/blkpg.h`).
const BLKPG: libc::c_ulong = 0x1269;
const ADD: u64 = 1;
/// Words of a `struct blkpg_partition`: three numbers, and two names of 64 bytes, which stay empty.
const PLACE: usize = 19;
/// Of two partitions when a disk and its copy are attached.
const COPIES: &str = "the GUID of the partition that was booted, as a disk and its copy have";
/// `EFI_VARIABLE_NON_VOLATILE`.
const NON_VOLATILE: u32 = 1;

/// Why nothing was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// No disk at all; the controllers that have no driver.
    NoDisk(String),
    /// The name, and what there is.
    NoPart(String, String),
    /// A disk that does not show its table.
    Silent(String),
    /// A disk whose table cannot be read.
    Broken(String),
    /// The name, and two that have it.
    Two(String, String, String),
    /// Two disks or partitions, and what both have, which only one can have.
    Both(String, String, &'static str),
    /// The partition that was booted is on none of these.
    NotBooted(String),
    /// No firmware has named what it booted.
    Unnamed,
    /// The partition, and why it has no device.
    NoDevice(String, Errno),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lost::NoDisk(idle) => write!(f, "there is no disk{idle}"),
            Lost::NoPart(name, seen) => write!(f, "no partition is called {name}: {seen}"),
            Lost::Silent(disk) => write!(f, "{disk} does not answer"),
            Lost::Broken(disk) => {
                write!(
                    f,
                    "both copies of the partition table of {disk} are damaged"
                )
            }
            Lost::Two(name, a, b) => write!(f, "{a} and {b} are both called {name}"),
            Lost::Both(a, b, what) => write!(f, "{a} and {b} both have {what}"),
            Lost::NotBooted(seen) => {
                write!(f, "the partition that was booted is on no disk: {seen}")
            }
            Lost::Unnamed => f.write_str("no firmware has named the partition that it booted"),
            Lost::NoDevice(part, errno) => write!(f, "{part}: {errno:?} from the kernel"),
        }
    }
}

impl Lost {
    /// What is to be done about it.
    pub fn next(&self) -> &'static str {
        match self {
            Lost::NoDisk(_) | Lost::NotBooted(_) | Lost::NoPart(..) => "attach the disk and reboot",
            Lost::Silent(_) => "check the disk, then reboot",
            Lost::Broken(_) => "restore its table with sgdisk on another machine, on a copy",
            Lost::Two(..) | Lost::Both(..) => "detach one of them, then reboot",
            Lost::Unnamed => "boot a disk with slots by firmware",
            Lost::NoDevice(..) => "report this text",
        }
    }
}

/// The GUID of the partition that the firmware has started; none if the firmware has not named one.
pub fn booted() -> Option<Guid> {
    named_in(Path::new(VARS))
}

fn named_in(vars: &Path) -> Option<Guid> {
    let value = fs::read(vars.join(BOOTED)).ok()?;
    // Attributes come before the text, which is UTF-16 and ends with a zero. The stub sets none where there is one already; its own is
    // gone with the power, so a variable that survives it is of another boot.
    let (attributes, text) = value.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*attributes) & NON_VOLATILE != 0 {
        return None;
    }
    let units: Vec<_> = gpt::utf16(text).collect();
    gpt::guid(&String::from_utf16(&units).ok()?)
}

/// The disk that was booted.
#[derive(Debug)]
pub struct Booted {
    disks: Vec<Disk>,
    disk: String,
    /// The partition that was booted.
    pub part: Part,
    /// Bytes of a sector of this disk.
    pub sector: u64,
}

impl Booted {
    /// # Errors
    /// It is not found, or found twice.
    pub fn find() -> Result<Self, Lost> {
        let booted = booted().ok_or(Lost::Unnamed)?;
        let disks = survey(&hardware());
        let (disk, part) = started(&disks, booted)?;
        let (disk, part) = (disk.to_owned(), part.clone());
        let sector = sector(&disk);
        Ok(Self {
            disks,
            disk,
            part,
            sector,
        })
    }

    /// The disk itself, as the kernel calls it.
    pub fn disk(&self) -> &str {
        &self.disk
    }

    /// All disks.
    pub fn disks(&self) -> &[Disk] {
        &self.disks
    }

    /// Its only partition of this name.
    ///
    /// # Errors
    /// There is no such partition, or more than one.
    pub fn part(&self, name: &str) -> Result<Part, Lost> {
        choose(&self.disks, Some(self.part.guid), name).map(|(_, part)| part)
    }

    /// The devices with its Spines' images; none where the disk has none.
    fn rooms(&self) -> Vec<String> {
        let parts = ROOMS.iter().filter_map(|it| self.part(it).ok());
        parts.filter_map(|it| self.device(&it).ok()).collect()
    }

    /// The device of one of its partitions.
    ///
    /// # Errors
    /// The kernel has another partition there.
    pub fn device(&self, part: &Part) -> Result<String, Lost> {
        device(&self.disk, part)
    }
}

/// All disks there are.
pub fn all() -> Vec<Disk> {
    survey(&hardware())
}

/// One disk, as it is now.
pub fn one(name: &str) -> Option<Disk> {
    survey(&[name.to_owned()]).pop()
}

/// Waits until a partition of this name has appeared, and all else that may be it; its device, or why there is none, and all disks.
pub fn find(name: &str) -> (Result<String, Lost>, Vec<Disk>) {
    let (since, booted) = (Instant::now(), booted());
    let (mut disks, mut seen, mut moved) = (Vec::<Disk>::new(), [0; 2], since);
    loop {
        let mut names = hardware();
        disks.retain(|disk| names.contains(&disk.name));
        names.retain(|name| disks.iter().all(|disk| disk.name != *name));
        if !names.is_empty() {
            disks.extend(survey(&names));
            disks.sort_by(|a, b| a.name.cmp(&b.name));
        }
        // What brings a disk at a moment of its own.
        let count = ["/sys/bus/usb/devices", "/sys/class/mmc_host"].map(|it| entries(it).len());
        let late = since.elapsed() > APPEARS;
        if !names.is_empty() || seen != count {
            (seen, moved) = (count, Instant::now());
        }
        let settled = (count == [0; 2] || moved.elapsed() > QUIET) && !is_pending();
        let chosen = choose(&disks, booted, name);
        let absent = matches!(chosen, Err(Lost::NoDisk(_) | Lost::NotBooted(_)));
        if late || settled && !absent {
            let found = chosen.and_then(|(disk, part)| device(&disk, &part));
            return (found, disks);
        }
        sleep(LOOK);
    }
}

/// Where an image may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The device of a partition.
    pub device: String,
    /// First byte and bytes of it that are the image's; none: all are.
    pub within: Option<(u64, u64)>,
}

/// Where there are images of this name: in partitions with images beside a Spine, then in partitions that are called so. The hash tells
/// which it is. Only where the kernel knows of none are tables read for it.
///
/// # Errors
/// There is none.
pub fn images(name: &str) -> Result<Vec<Place>, Lost> {
    let mut beside: Vec<_> = ROOMS.into_iter().flat_map(known).collect();
    let lone = known(name);
    if beside.is_empty() && lone.is_empty() && booted().is_some() {
        beside = Booted::find().map(|it| it.rooms()).unwrap_or_default();
    }
    let inside = |device: &String| {
        let inner = survey(&[device.trim_start_matches("/dev/").to_owned()]);
        let places = named(&inner, name).into_iter();
        let place = |(_, part): (String, Part)| Place {
            device: device.clone(),
            within: Some((part.start, part.bytes)),
        };
        places.map(place).collect::<Vec<_>>()
    };
    let whole = |device| Place {
        device,
        within: None,
    };
    let mut found: Vec<_> = beside.iter().flat_map(inside).collect();
    found.extend(lone.into_iter().map(whole));
    if found.is_empty() {
        found.extend(all_named(name)?.into_iter().map(whole));
    }
    Ok(found)
}

/// The devices of the partitions that the kernel knows by this name.
fn known(name: &str) -> Vec<String> {
    let wanted = format!("PARTNAME={name}");
    let has = |it: &String| {
        let text = fact(&Path::new(BLOCK).join(it), "uevent");
        text.lines().any(|line| line == wanted)
    };
    let known = entries(BLOCK).into_iter().filter(has);
    known.map(|it| format!("/dev/{it}")).collect()
}

/// The devices of all partitions of this name, as the kernel has them; of a disk whose table it does not take, as we do.
///
/// # Errors
/// There is none.
pub fn all_named(name: &str) -> Result<Vec<String>, Lost> {
    let known = known(name);
    if !known.is_empty() {
        return Ok(known);
    }
    let disks = survey(&hardware());
    let found = named(&disks, name);
    let devices = found.iter().flat_map(|(disk, part)| device(disk, part));
    let devices: Vec<_> = devices.collect();
    if devices.is_empty() {
        return Err(absent(&disks, name));
    }
    Ok(devices)
}

/// The only disk without partitions, if it is a virtio disk, where there is no partition of the wanted name; else why not.
///
/// # Errors
/// There is none, or it may be another one.
pub fn whole(disks: &[Disk], lost: Lost) -> Result<String, Lost> {
    let mut bare = disks.iter().filter(|disk| disk.content == Content::Whole);
    match (bare.next(), bare.next()) {
        (Some(a), Some(b)) => Err(Lost::Both(a.path(), b.path(), "no partitions")),
        (Some(one), None) if one.name.starts_with("vd") => Ok(one.path()),
        _ => Err(lost),
    }
}

/// The one partition of this name.
///
/// # Errors
/// There is none, or more than one.
pub fn only(name: &str) -> Result<String, Lost> {
    match all_named(name)?.as_slice() {
        [a, b, ..] => Err(Lost::Two(name.to_owned(), a.clone(), b.clone())),
        [one] => Ok(one.clone()),
        [] => Err(Lost::NoDisk(String::new())),
    }
}

/// The table above.
fn choose(disks: &[Disk], booted: Option<Guid>, name: &str) -> Result<(String, Part), Lost> {
    let mut candidates = named(disks, name);
    if let Some(booted) = booted {
        let (disk, _) = started(disks, booted)?;
        candidates.retain(|(other, _)| other == disk);
    }
    match candidates.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(absent(disks, name)),
        [(a, one), (b, two), ..] => {
            let (a, b) = (node(a, one.number), node(b, two.number));
            Err(Lost::Two(name.to_owned(), a, b))
        }
    }
}

/// The partition that was booted, and its disk.
fn started(disks: &[Disk], booted: Guid) -> Result<(&str, &Part), Lost> {
    let mut started = parts(disks).filter(|(_, part)| part.guid == booted);
    let seen = || Lost::NotBooted(seen(disks));
    let (disk, part) = started.next().ok_or_else(seen)?;
    match started.next() {
        None => Ok((disk, part)),
        Some((other, same)) => {
            let (one, other) = (node(disk, part.number), node(other, same.number));
            Err(Lost::Both(one, other, COPIES))
        }
    }
}

fn absent(disks: &[Disk], name: &str) -> Lost {
    let first = |content| disks.iter().find(|disk| disk.content == content);
    match (first(Content::Silent), first(Content::Broken)) {
        (Some(disk), _) => Lost::Silent(disk.path()),
        (_, Some(disk)) => Lost::Broken(disk.path()),
        _ if disks.is_empty() => Lost::NoDisk(idle()),
        _ => Lost::NoPart(name.to_owned(), seen(disks)),
    }
}

fn parts(disks: &[Disk]) -> impl Iterator<Item = (&str, &Part)> {
    disks.iter().flat_map(|disk| {
        let parts = disk.parts().iter();
        parts.map(|part| (disk.name.as_str(), part))
    })
}

fn named(disks: &[Disk], name: &str) -> Vec<(String, Part)> {
    let found = parts(disks).filter(|(_, part)| part.name == name);
    found
        .map(|(disk, part)| (disk.to_owned(), part.clone()))
        .collect()
}

/// What disks there are, for a message.
fn seen(disks: &[Disk]) -> String {
    let each = disks.iter().map(|disk| {
        let what = match &disk.content {
            Content::Whole => "without partitions".to_owned(),
            Content::Broken => "both copies of its partition table are damaged".to_owned(),
            Content::Silent => "does not answer".to_owned(),
            Content::Parts(parts) => format!("{} partitions", parts.len()),
        };
        format!("/dev/{} {what}", disk.name)
    });
    each.collect::<Vec<_>>().join(", ") + &idle()
}

/// What the kernel calls a partition.
fn node(disk: &str, number: u32) -> String {
    let numbered = disk.ends_with(|it: char| it.is_ascii_digit());
    let infix = if numbered { "p" } else { "" };
    format!("/dev/{disk}{infix}{number}")
}

/// The device of a partition. Where the first copy of the table is damaged the kernel does not know the partition: it is added then.
fn device(disk: &str, part: &Part) -> Result<String, Lost> {
    let node = node(disk, part.number);
    let known = Path::new(BLOCK).join(node.trim_start_matches("/dev/"));
    let lost = |errno| Lost::NoDevice(node.clone(), errno);
    if !known.exists() {
        add(disk, part).map_err(lost)?;
    }
    // The kernel counts in half KiB, whatever the disk's sectors are.
    let place = [("start", part.start), ("size", part.bytes)];
    let is = |(name, bytes): (&str, u64)| fact(&known, name) == (bytes >> 9).to_string();
    let same = place.into_iter().all(is);
    same.then_some(node.clone()).ok_or(lost(Errno::ESTALE))
}

/// `struct blkpg_ioctl_arg` (order and flags, bytes, where) and `struct blkpg_partition` (start, bytes, number, names), as words.
fn add(disk: &str, part: &Part) -> nix::Result<()> {
    let mut place = vec![part.start, part.bytes, part.number.into()];
    place.resize(PLACE, 0);
    let bytes = size_of_val(place.as_slice()) as u64;
    let order = [ADD, bytes, place.as_ptr().expose_provenance() as u64];
    let disk = File::open(format!("/dev/{disk}")).map_err(|_| Errno::ENXIO)?;
    // SAFETY: the kernel reads the order and the place that it points to, as many bytes as it says; this frame owns both.
    let done = unsafe { libc::ioctl(disk.as_raw_fd(), BLKPG, &raw const order) };
    Errno::result(done).map(drop)
}

#[cfg(test)]
mod tests;
