//! Which disk is which (U04, decision 21): by what it is, never by the order in which it appears.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use uuid::Uuid;

use super::bus::{Bus, plug};
use super::disk::Disk;
use super::lab::{Build, DISK_MIB, Guest, Lab};
use super::updates::{EPOCH, Farm, contents, settled, takes};
use crate::arch::Arch;
use crate::persist;
use crate::roomdisk::{self, ALIGNED};
use crate::soil::Target;
use crate::uefi::{disk as slots, slot};

/// A disk with one partition, an ext4 that is called `persist`.
fn disk(lab: &Lab, name: &str) -> Result<PathBuf> {
    let path = lab.path(name);
    let bytes = (DISK_MIB << 20) + 2 * ALIGNED;
    let file = persist::blank(&path, bytes)?;
    let part = roomdisk::partition("persist", Uuid::new_v4(), ALIGNED, DISK_MIB << 20);
    roomdisk::tables(&file, bytes, Uuid::new_v4(), BTreeMap::from([(1, part)]))?;
    persist::format(&path, ALIGNED, DISK_MIB << 20, Uuid::new_v4(), EPOCH)?;
    Ok(path)
}

/// RED because of `cause`, and switched off.
fn refused(guest: &mut Guest, cause: &str) -> Result<()> {
    guest.expect(&format!(
        "keeper: FAIL: find persist: {cause}; booting dirty; next: "
    ))?;
    guest.verdict("RED")?;
    guest.machine.send_line("poweroff")?;
    guest.expect("shutdown: power off$")?;
    guest.ended().map(drop)
}

pub fn u04_two_disks_that_may_be_persist_are_refused_by_name_in_both_orders(
    lab: &Lab,
) -> Result<()> {
    let (one, two) = (disk(lab, "one.img")?, disk(lab, "two.img")?);
    let before = (fs::read(&one)?, fs::read(&two)?);
    // QEMU's virt has no SATA.
    let other = match Arch::chosen() {
        Arch::X86_64 => Bus::Sata,
        Arch::Aarch64 => Bus::Usb,
    };
    let pairs: &[(Bus, Bus, &str)] = match lab.hardened() {
        true => &[
            (Bus::Virtio, Bus::Virtio, "/dev/vda1 and /dev/vdb1"),
            (Bus::Virtio, Bus::Usb, "/dev/sda1 and /dev/vda1"),
            (other, Bus::Nvme, "/dev/nvme0n1p1 and /dev/sda1"),
        ],
        // That kernel drives virtio alone.
        false => &[(Bus::Virtio, Bus::Virtio, "/dev/vda1 and /dev/vdb1")],
    };
    for (a, b, both) in pairs {
        for order in [[&one, &two], [&two, &one]] {
            let mut config = lab.config(Build::Release);
            plug(&mut config, *a, "a", order[0]);
            plug(&mut config, *b, "b", order[1]);
            let mut guest = lab.start(&config)?;
            refused(&mut guest, &format!("{both} are both called persist"))
                .with_context(|| format!("{a:?} and {b:?}"))?;
        }
    }
    let bare = [lab.path("bare-a.img"), lab.path("bare-b.img")];
    let mut config = lab.config(Build::Release);
    for (path, id) in bare.iter().zip(["a", "b"]) {
        Disk::ext4(path.clone(), DISK_MIB)?;
        plug(&mut config, Bus::Virtio, id, path);
    }
    let untouched = (fs::read(&bare[0])?, fs::read(&bare[1])?);
    let mut guest = lab.start(&config)?;
    refused(&mut guest, "/dev/vda and /dev/vdb both have no partitions")?;
    let after = (fs::read(&bare[0])?, fs::read(&bare[1])?);
    ensure!(
        after == untouched,
        "a disk without partitions was written to"
    );
    let after = (fs::read(&one)?, fs::read(&two)?);
    ensure!(after == before, "a disk called persist was written to");
    Ok(())
}

/// QEMU's arguments for a disk that appears before those of `-drive if=virtio`.
fn before(id: &str, path: &Path) -> [String; 4] {
    let none = format!("file={},format=raw,if=none,id={id}", path.display());
    let device = format!("virtio-blk-pci,drive={id}");
    ["-drive".to_owned(), none, "-device".to_owned(), device]
}

pub fn u04_the_booted_disks_own_persist_is_taken_whatever_else_is_attached(
    lab: &Lab,
) -> Result<()> {
    let mut farm = Farm::new(lab)?;
    let other = lab.path("stranger.img");
    let slot = vec![0; usize::try_from(slot::BYTES)?];
    slots::make(&other, Uuid::new_v4(), &contents(&slot, Some(EPOCH)))?;
    let untouched = fs::read(&other)?;
    let first = before("other", &other);
    let first = first.each_ref().map(String::as_str);
    let usb = format!("usb-storage,drive={}", "other");
    let late = ["-drive", first[1], "-device", "qemu-xhci", "-device", &usb];
    for boot in 0..2 {
        let mut guest = if boot == 0 {
            farm.start_with(None, first)?
        } else {
            farm.start_with(None, late)?
        };
        settled(&mut guest, "A")?;
        let known = guest.count("previous: ended clean power off")?;
        ensure!(known == boot, "boot {boot} knows {known} before it");
        guest.power_off()?;
    }
    let update = farm.update("other=1")?;
    let mut guest = farm.start_with(Some(&update), first)?;
    settled(&mut guest, "A")?;
    takes(&mut guest)?;
    settled(&mut guest, "B")?;
    guest.power_off()?;
    let after = fs::read(&other)?;
    let at = after.iter().zip(&untouched).position(|(a, b)| a != b);
    ensure!(
        after == untouched,
        "the other disk was written to, at byte {at:?}"
    );
    Ok(())
}

pub fn u04_a_byte_copy_of_the_booted_disk_is_refused_and_neither_is_written(
    lab: &Lab,
) -> Result<()> {
    let mut farm = Farm::new(lab)?;
    // So that the kernel says when it has seen a disk.
    let slot = farm.other("loglevel=6", EPOCH)?;
    slots::rewrite(&farm.disk, &slot, None)?;
    let copy = lab.path("copy.img");
    fs::copy(&farm.disk, &copy)?;
    let untouched = fs::read(&copy)?;
    let both = "both have the GUID of the partition that was booted, as a disk and its copy have";
    for order in [true, false] {
        let more = before("copy", &copy);
        let late = [
            "-device",
            "qemu-xhci",
            "-drive",
            &more[1],
            "-device",
            "usb-storage,drive=copy",
        ];
        let mut guest = match order {
            true => farm.start_with(None, more.each_ref().map(String::as_str))?,
            false => farm.start_with(None, late)?,
        };
        refused(
            &mut guest,
            &format!("/dev/(vda|sda)1 and /dev/(vda|vdb)1 {both}"),
        )?;
        ensure!(fs::read(&copy)? == untouched, "the copy was written to");
        ensure!(
            fs::read(&farm.disk)? == untouched,
            "the booted disk was written to"
        );
    }
    let update = farm.update("other=1")?;
    let mut guest = farm.start_with(Some(&update), ["-device", "qemu-xhci"])?;
    settled(&mut guest, "A")?;
    let file = json!({ "driver": "file", "filename": copy.display().to_string() });
    let node = json!({ "driver": "raw", "node-name": "copy", "file": file });
    guest.machine.qmp("blockdev-add", node)?;
    let stick = json!({ "driver": "usb-storage", "id": "stick", "drive": "copy" });
    guest.machine.qmp("device_add", stick)?;
    guest.expect(r"\[sda\] Attached SCSI")?;
    guest.machine.send_line("update")?;
    guest.expect(&format!(
        "update: FAIL: /dev/sda1 and /dev/vda1 {both}; nothing is written; next: detach one of them, then reboot$"
    ))?;
    guest.power_off()?;
    ensure!(fs::read(&copy)? == untouched, "the copy was written to");
    Ok(())
}

/// Another bit in this place of a file.
fn flip(path: &Path, at: u64) -> Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 4], at)?;
    Ok(())
}

pub fn u04_a_damaged_partition_table_is_named_and_its_other_copy_used(lab: &Lab) -> Result<()> {
    let whole = lab.bench.rooms.as_ref().context("no disk of rooms")?;
    let end = fs::metadata(whole)?.len();
    let first = "the first copy of its partition table, sectors 1 to 33, is damaged; the second, at its end, is used";
    let second =
        "the second copy of its partition table, at its end, is damaged; the first is used";
    for (places, damage) in [
        (vec![512 + 20], Some(first)),
        (vec![1024 + 60], Some(first)),
        (
            vec![511],
            Some("sector 0, which protects its partition table, is damaged"),
        ),
        (vec![end - 500], Some(second)),
        (vec![1024 + 60, end - 500], None),
    ] {
        let rooms = lab.path("rooms.img");
        fs::copy(whole, &rooms)?;
        for at in places {
            flip(&rooms, at)?;
        }
        let mut config = lab.config_with(Build::Fault, &lab.disk()?);
        config.rooms = Some(rooms);
        let mut guest = lab.start(&config)?;
        let Some(damage) = damage else {
            // Who knows what is on it: it may be the one with `persist`.
            refused(
                &mut guest,
                "both copies of the partition table of /dev/vdb are damaged",
            )?;
            continue;
        };
        guest.says(&format!(
            "disk: FAIL: /dev/vdb: {damage}; next: see docs/FAILURE-MODES.md"
        ))?;
        guest.verdict("YELLOW")?;
        guest.start_room("p://a")?;
        guest.power_off()?;
    }
    Ok(())
}

pub fn u04_errors_that_ext4_has_noted_are_yellow_with_count_function_and_time(
    lab: &Lab,
) -> Result<()> {
    let disk = lab.disk()?;
    lab.boot(Build::Release, &disk)?.power_off()?;
    for set in [
        "state 2",
        "error_count 7",
        "first_error_func ext4_lookup",
        "first_error_time 20261101000000",
    ] {
        super::disk::run(
            Command::new("debugfs")
                .args(["-w", "-R", &format!("ssv {set}")])
                .arg(&disk.path),
        )?;
    }
    let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
    let text = "7 errors of ext4, the first at Unix second N in ext4_lookup(); next: copy the disk, then run e2fsck on another machine";
    guest.says(&format!("disk: FAIL: {text}"))?;
    guest.says(&format!("validate: YELLOW disk: {text}"))?;
    guest.verdict("YELLOW")?;
    guest.power_off()
}

pub fn u04_a_disk_that_no_driver_serves_is_named(lab: &Lab) -> Result<()> {
    let disk = lab.disk()?;
    let drive = format!("file={},format=raw,if=none,id=d", disk.path.display());
    let scsi = ["-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=d"];
    let legacy = [
        "-device",
        "virtio-blk-pci,drive=d,disable-modern=on,disable-legacy=off",
    ];
    let card = ["-device", "sdhci-pci"];
    let rows = [
        (&legacy[..], "pci 0000:00:[0-9a-f.]+ .0x1af4 0x1001."),
        (&scsi[..], "virtio virtio[0-9]+ .0x1af4 0x0008."),
        (&card[..], "pci 0000:00:[0-9a-f.]+ .0x1b36 0x0007."),
    ];
    // The kernel of a PC drives all but the first.
    let undriven = match lab.bench.soil.target() {
        Some(Target::Pc) => 1,
        _ => rows.len(),
    };
    for (device, named) in &rows[..undriven] {
        let mut config = lab.config(Build::Release);
        config
            .extra_args
            .extend(["-drive".to_owned(), drive.clone()]);
        config
            .extra_args
            .extend(device.iter().map(|it| (*it).to_owned()));
        let mut guest = lab.start(&config)?;
        refused(
            &mut guest,
            &format!("there is no disk.*; no driver for {named}.*"),
        )?;
    }
    Ok(())
}

pub fn u04_a_table_for_other_sectors_is_named_and_used(lab: &Lab) -> Result<()> {
    let persist = disk(lab, "large.img")?;
    let drive = format!("file={},format=raw,if=none,id=d", persist.display());
    let device = "virtio-blk-pci,drive=d,logical_block_size=4096,physical_block_size=4096";
    for known in 0..2 {
        let mut config = lab.config(Build::Release);
        config
            .extra_args
            .extend(["-drive", &drive, "-device", device].map(String::from));
        let mut guest = lab.start(&config)?;
        guest.says("disk: FAIL: /dev/vda: its partition table is made for sectors of 512 bytes, which are not its own; next: see docs/FAILURE-MODES.md")?;
        guest.verdict("YELLOW")?;
        let before = guest.count("previous: ended clean power off")?;
        ensure!(before == known, "boot {known} knows {before} before it");
        guest.power_off()?;
    }
    let small =
        persist::blank(&lab.path("small.img"), DISK_MIB << 20).map(|_| lab.path("small.img"))?;
    let mut mke2fs = Command::new("mke2fs");
    super::disk::run(
        mke2fs
            .args(["-q", "-F", "-t", "ext4", "-b", "1024"])
            .arg(&small),
    )?;
    let drive = format!("file={},format=raw,if=none,id=d", small.display());
    let mut config = lab.config(Build::Release);
    config
        .extra_args
        .extend(["-drive", &drive, "-device", device].map(String::from));
    let mut guest = lab.start(&config)?;
    guest.expect("keeper: FAIL: look at /dev/vda: not empty: ext4 with blocks of 1024 bytes, which sectors of 4096 bytes do not take, at byte 0; left as it is; booting dirty; next: ")?;
    guest.never("FORMAT")?;
    guest.machine.kill()
}
