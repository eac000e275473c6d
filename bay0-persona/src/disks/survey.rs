//! What disks there are, and what each has: read by a child for each, so that one that hangs holds up nobody.

use std::fs::{self, File};
use std::io::read_to_string;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::confine::{Rights, confine};
use crate::gpt::{self, Damage, Found, Part};
use crate::{Teller, reap, spawn_teller};

/// Longest that a disk may take to show its table.
const ANSWERS: Duration = Duration::from_secs(2);
/// Where the kernel lists disks and partitions.
pub(super) const BLOCK: &str = "/sys/class/block";
/// Disks that are no hardware.
const SOFT: [&str; 5] = ["dm-", "loop", "ram", "zram", "md"];

/// What a disk has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// No partition table.
    Whole,
    /// A partition table, both of whose copies are damaged.
    Broken,
    /// It did not answer in time, or cannot be read.
    Silent,
    /// Partitions.
    Parts(Vec<Part>),
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// As the kernel calls it: `vda`.
    pub name: String,
    /// What it has.
    pub content: Content,
    /// What the operator has to know of its table, if anything.
    pub damage: Option<String>,
}

pub(super) fn entries(dir: &str) -> Vec<String> {
    let all = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = all.filter_map(|it| it.file_name().into_string().ok());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// A file of the kernel in the folder of a device, without its line end; empty where there is none.
pub(super) fn fact(device: &Path, file: &str) -> String {
    let text = fs::read_to_string(device.join(file)).unwrap_or_default();
    text.trim_end().to_owned()
}

impl Disk {
    /// Its device.
    pub fn path(&self) -> String {
        format!("/dev/{}", self.name)
    }

    /// Its partitions; none where it has no table that can be read.
    pub fn parts(&self) -> &[Part] {
        match &self.content {
            Content::Parts(parts) => parts,
            _ => &[],
        }
    }
}

/// Disks that there are, with something in them.
pub(super) fn hardware() -> Vec<String> {
    let dir = |it: &String| Path::new(BLOCK).join(it);
    let is = |it: &String| fact(&dir(it), "size") != "0" && !dir(it).join("partition").exists();
    let named = entries(BLOCK).into_iter().filter(|it| is_disk(it));
    named.filter(is).collect()
}

/// Whether what is looked for may be there, by its name: not in the areas of an eMMC for its firmware (`mmcblk0boot0`, `mmcblk0boot1`).
pub(super) fn is_disk(name: &str) -> bool {
    !name.contains("boot") && !SOFT.iter().any(|it| name.starts_with(it))
}

/// Has a child for each read its table; all at once.
pub(super) fn survey(names: &[String]) -> Vec<Disk> {
    let begun = Instant::now();
    let asked: Vec<_> = names
        .iter()
        .map(|name| (name, spawn_teller(&[], || confined(name)).ok()))
        .collect();
    let answer = |(name, teller): (&String, Option<Teller>)| {
        let left = ANSWERS.saturating_sub(begun.elapsed());
        let ended = teller.filter(|it| it.child.wait_exit(left));
        let sent = ended.and_then(|it| {
            let _ = reap(Some(it.child.pidfd.as_fd()));
            read_to_string(&it.pipe).ok()
        });
        decode(name, &sent.unwrap_or_default())
    };
    asked.into_iter().map(answer).collect()
}

/// In the child, which reads what anybody may have written: it has no right but to files by then, or sends nothing.
fn confined(name: &str) -> String {
    confine(Rights::Look).map_or_else(|_| String::new(), |()| table(name))
}

/// Bytes of a disk's sector.
pub(super) fn sector(disk: &str) -> u64 {
    let bytes = fact(&Path::new(BLOCK).join(disk), "queue/logical_block_size");
    bytes.parse().unwrap_or(512)
}

/// In the child: a word, then what is damaged, then the partitions.
pub(super) fn table(name: &str) -> String {
    let read = |disk| gpt::read(&disk, sector(name));
    match File::open(format!("/dev/{name}")).and_then(read) {
        Err(_) => String::new(),
        Ok(Found::Nothing) => "whole".to_owned(),
        Ok(Found::Broken) => "broken".to_owned(),
        Ok(Found::Table(parts, damage)) => {
            let damage = damage.as_ref().map(Damage::to_string).unwrap_or_default();
            let lines = parts.iter().map(|part| format!("\n{part}"));
            format!("parts\n{damage}{}", lines.collect::<String>())
        }
    }
}

/// A disk from what its child has sent.
pub(super) fn decode(name: &str, sent: &str) -> Disk {
    let mut lines = sent.lines();
    let word = lines.next();
    let damage = lines.next().filter(|line| !line.is_empty());
    let content = match word {
        Some("whole") => Content::Whole,
        Some("broken") => Content::Broken,
        Some("parts") => Content::Parts(lines.filter_map(Part::parse).collect()),
        _ => Content::Silent,
    };
    Disk {
        name: name.to_owned(),
        content,
        damage: damage.map(str::to_owned),
    }
}

/// Devices of a kind (bus, file, and how the class in it begins) that have a driver, or have none.
fn devices(kind: [&'static str; 3], driven: bool) -> impl Iterator<Item = PathBuf> {
    let [bus, file, class] = kind;
    let dir = format!("/sys/bus/{bus}/devices");
    let all = entries(&dir).into_iter();
    let all = all.map(move |it| Path::new(&dir).join(it));
    let is = move |it: &PathBuf| fact(it, file).starts_with(class);
    all.filter(move |it| is(it) && it.join("driver").exists() == driven)
}

/// Whether something has a driver, brings a disk, and has not brought it yet: a USB interface for storage, an NVMe controller.
pub(super) fn is_pending() -> bool {
    let path = |it: PathBuf| fs::canonicalize(it).ok();
    let disks = entries(BLOCK).into_iter();
    let disks = disks.filter_map(|it| path(Path::new(BLOCK).join(it)));
    let disks: Vec<_> = disks.collect();
    let kinds = [["usb", "bInterfaceClass", "08"], ["pci", "class", "0x0108"]];
    let bringers = kinds.into_iter().flat_map(|kind| devices(kind, true));
    let mut bringers = bringers.filter_map(path);
    bringers.any(|it| !disks.iter().any(|disk| disk.starts_with(&it)))
}

/// Controllers of disks that this kernel has no driver for, for a message.
pub(super) fn idle() -> String {
    // PCI: mass storage, USB, slots of cards. Virtio: a block device, a SCSI host. USB: storage.
    let kinds = [
        ["pci", "class", "0x01"],
        ["pci", "class", "0x0c03"],
        ["pci", "class", "0x0805"],
        ["virtio", "device", "0x0002"],
        ["virtio", "device", "0x0008"],
        ["usb", "bInterfaceClass", "08"],
    ];
    let text = |bus: &str, it: PathBuf| {
        let (vendor, device) = (fact(&it, "vendor"), fact(&it, "device"));
        let name = it.file_name().unwrap_or_default().display();
        format!("; no driver for {bus} {name} ({vendor} {device})")
    };
    let idle = |kind| devices(kind, false).map(move |it| text(kind[0], it));
    kinds.into_iter().flat_map(idle).collect()
}
