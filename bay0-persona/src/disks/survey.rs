//! What disks there are, and what each has: read by a child for each, so that one that hangs holds up nobody.

use std::fs::{self, File};
use std::io::{self, read_to_string};
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
    /// What is to be said of it.
    pub damage: Option<String>,
}

pub(super) fn entries(dir: &str) -> Vec<String> {
    let all = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<_> = all
        .filter_map(|it| it.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

impl Disk {
    /// Its device.
    pub fn path(&self) -> String {
        format!("/dev/{}", self.name)
    }
}

/// Disks that there are, with something in them.
pub(super) fn hardware() -> Vec<String> {
    let is = |name: &String| {
        let dir = Path::new(BLOCK).join(name);
        let empty = fs::read_to_string(dir.join("size")).is_ok_and(|size| size == "0\n");
        !empty && !dir.join("partition").exists() && !SOFT.iter().any(|it| name.starts_with(it))
    };
    entries(BLOCK).into_iter().filter(is).collect()
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
        let told = teller.filter(|it| it.child.wait_exit(left));
        if let Some(it) = &told {
            let _ = reap(Some(it.child.pidfd.as_fd()));
        }
        let told = told
            .and_then(|it| read_to_string(&it.pipe).ok())
            .unwrap_or_default();
        understood(name, &told)
    };
    asked.into_iter().map(answer).collect()
}

/// In the child, which reads what anybody may have written: it has no right but to files by then, or says nothing.
fn confined(name: &str) -> String {
    confine(Rights::Look).map_or_else(|_| String::new(), |()| tell(name))
}

/// In the child: a word, then what is damaged, then the partitions.
pub(super) fn tell(name: &str) -> String {
    let sector = Path::new(BLOCK).join(name).join("queue/logical_block_size");
    let sector = fs::read_to_string(sector).unwrap_or_default();
    let sector = sector.trim_end().parse().unwrap_or(512);
    let read = || -> io::Result<Found> { gpt::read(&File::open(format!("/dev/{name}"))?, sector) };
    match read() {
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

/// What a child has told of a disk.
pub(super) fn understood(name: &str, told: &str) -> Disk {
    let mut lines = told.lines();
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

/// What brings a disk, and has not brought it yet: a USB interface for storage with a driver, an NVMe controller with one.
pub(super) fn pending() -> Vec<PathBuf> {
    let disks: Vec<_> = entries(BLOCK)
        .iter()
        .filter_map(|it| fs::canonicalize(Path::new(BLOCK).join(it)).ok())
        .collect();
    let brings = |(bus, file, class): (&str, &str, &str)| {
        let dir = format!("/sys/bus/{bus}/devices");
        let is = |path: &PathBuf| {
            let text = fs::read_to_string(path.join(file)).unwrap_or_default();
            text.starts_with(class)
                && path.join("driver").exists()
                && !disks.iter().any(|disk| disk.starts_with(path))
        };
        let all = entries(&dir)
            .into_iter()
            .filter_map(move |it| fs::canonicalize(format!("{dir}/{it}")).ok());
        all.filter(is).collect::<Vec<_>>()
    };
    [("usb", "bInterfaceClass", "08"), ("pci", "class", "0x0108")]
        .into_iter()
        .flat_map(brings)
        .collect()
}

/// Controllers of disks that this kernel has no driver for, for a message.
pub(super) fn idle() -> String {
    let told = |path: &str, file: &str| {
        let text = fs::read_to_string(format!("{path}/{file}")).unwrap_or_default();
        text.trim_end().to_owned()
    };
    let mut idle = String::new();
    // PCI: mass storage, USB. Virtio: a block device, a SCSI host. USB: storage.
    let kinds = [
        ("pci", "class", "0x01"),
        ("pci", "class", "0x0c03"),
        ("virtio", "device", "0x0002"),
        ("virtio", "device", "0x0008"),
        ("usb", "bInterfaceClass", "08"),
    ];
    for (bus, file, class) in kinds {
        let dir = format!("/sys/bus/{bus}/devices");
        for name in entries(&dir) {
            let path = format!("{dir}/{name}");
            if told(&path, file).starts_with(class) && !Path::new(&path).join("driver").exists() {
                let (vendor, device) = (told(&path, "vendor"), told(&path, "device"));
                idle += &format!("; no driver for {bus} {name} ({vendor} {device})");
            }
        }
    }
    idle
}
