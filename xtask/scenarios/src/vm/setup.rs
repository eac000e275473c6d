//! A stick, and the disk that it installs itself on (U07); the images of rooms that are on it, and an update of them (T06).

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use uuid::Uuid;

use super::bus::{Bus, plug};
use super::lab::{Build, DISK_MIB, Guest, Lab, PATIENCE};
use super::updates::{
    EPOCH, NEWEST, content_with, contents, mended, proves_itself, settled, takes,
};
use super::vault;
use crate::machine::{Firmware, MachineConfig};
use crate::uefi::{disk, firmware, update};

/// Bytes for either Spine's images on the disks of these scenarios: as many of these as the images of this clone take.
const STEP: u64 = 64 << 20;
/// Bytes of a disk that is installed on, beside those.
const TARGET: u64 = 272 << 20;
/// What `install` asks first, and the second time of a disk with anything on it.
const NUMBER: &str = "^type its serial number to install on it, anything else to leave it> ";
const ERASE: &str = "^type ERASE to lose all of it, anything else to leave it> ";
const KEEP: &str = "^type KEEP to replace its Spines and leave what it keeps, ERASE to lose all of it, anything else to leave it> ";
/// What it ends with.
pub(super) const DONE: &str = "install: [a-z0-9]+ has this Spine in both slots; ";
/// A firmware that has found nothing to start.
const NOTHING: &str = r#"starting Boot.... "EFI Internal Shell" "#;

/// A machine with firmware, and a stick with images on it.
pub(super) struct Bare<'a> {
    lab: &'a Lab,
    pub(super) stick: PathBuf,
    vars: PathBuf,
}

impl<'a> Bare<'a> {
    pub(super) fn new(lab: &'a Lab) -> Result<Self> {
        let (stick, vars) = (lab.path("stick.img"), lab.path("vars.fd"));
        let layout = make(lab, &stick, rooms(lab)?)?;
        firmware::write_vars(&vars, &layout, None)?;
        Ok(Self { lab, stick, vars })
    }

    /// The machine with these disks, each under its bus's name.
    fn start(&self, disks: &[(Bus, &Path)]) -> Result<Guest> {
        self.lab.start(&self.machine(disks))
    }

    pub(super) fn machine(&self, disks: &[(Bus, &Path)]) -> MachineConfig {
        let mut config = self.lab.config(Build::Fault);
        config.rooms = None;
        config.firmware = Some(Firmware {
            code: firmware::code(false).to_owned(),
            vars: self.vars.clone(),
            secure: false,
        });
        for (bus, path) in disks {
            let id = format!("{bus:?}").to_lowercase();
            plug(&mut config, *bus, &id, path);
        }
        config
    }

    /// A blank disk.
    pub(super) fn blank(&self, name: &str) -> Result<PathBuf> {
        let path = self.lab.path(name);
        File::create(&path)?.set_len(target(self.lab)?)?;
        Ok(path)
    }
}

fn rooms(lab: &Lab) -> Result<&Path> {
    lab.bench.rooms.as_deref().context("no images")
}

fn room_for(rooms: &Path) -> Result<u64> {
    Ok(fs::metadata(rooms)?.len().next_multiple_of(STEP))
}

/// Bytes of a disk that is installed on.
pub(super) fn target(lab: &Lab) -> Result<u64> {
    Ok(TARGET + 2 * room_for(rooms(lab)?)?)
}

/// What `disks` says of one that is blank.
pub(super) fn empty(lab: &Lab) -> Result<String> {
    let mib = target(lab)? >> 20;
    Ok(format!(
        "disks: nvme0n1, {mib} MiB, NVMe, QEMU NVMe Ctrl, serial nvme: nothing$"
    ))
}

/// A disk of the factory's with these images, and a `/persist` in clear.
fn make(lab: &Lab, to: &Path, rooms: &Path) -> Result<disk::Layout> {
    let slot = content_with(lab, &lab.bench.fault, EPOCH, Some(rooms))?;
    let contents = disk::Contents {
        rooms: Some((rooms, room_for(rooms)?)),
        ..contents(&slot, Some(EPOCH))
    };
    disk::make(to, Uuid::new_v4(), &contents)
}

/// Types the disk's number, and whatever the second question is to be answered with.
pub(super) fn confirm(
    guest: &mut Guest,
    disk: &str,
    number: &str,
    second: Option<(&str, &str)>,
) -> Result<()> {
    guest.machine.send_line(&format!("install {disk}"))?;
    guest.expect(NUMBER)?;
    guest.machine.send_line(number)?;
    if let Some((question, word)) = second {
        guest.expect(question)?;
        guest.machine.send_line(word)?;
    }
    Ok(())
}

/// A room of the images that are on the disk itself works.
fn has_rooms(guest: &mut Guest) -> Result<()> {
    let said = guest.start_and_run_in("p://near", "echo at home")?;
    ensure!(said.trim() == "at home", "{said}");
    Ok(())
}

pub fn u07_a_stick_installs_its_spine_on_a_disk_which_starts_without_it(lab: &Lab) -> Result<()> {
    let bare = Bare::new(lab)?;
    let target = bare.blank("nvme.img")?;
    let mut guest = bare.start(&[(Bus::Usb, &bare.stick), (Bus::Nvme, &target)])?;
    settled(&mut guest, "A")?;
    guest.machine.send_line("disks")?;
    guest.expect(&empty(lab)?)?;
    guest.expect("disks: sda: was booted; sda, |disks: sda, [0-9]+ MiB, USB, .*: was booted; slot-a 40 MiB, slot-b 40 MiB, persist 64 MiB, rooms-a 64 MiB, rooms-b 64 MiB$")?;
    confirm(&mut guest, "nvme0n1", "nvme", None)?;
    guest.expect("^install: 10 %$")?;
    guest.expect("^install: 100 %$")?;
    guest.expect("install: boot entries: .*; writes: 5$")?;
    guest.expect(&format!(
        "{DONE}its first start asks for FORMAT, then for a passphrase; next: poweroff, detach the disk that was booted, start$"
    ))?;
    guest.power_off()?;
    // With the stick in place, the firmware prefers what was installed; without it there is nothing else.
    for (boots, disks) in [
        &[
            (Bus::Usb, bare.stick.as_path()),
            (Bus::Nvme, target.as_path()),
        ][..],
        &[(Bus::Nvme, target.as_path())],
    ]
    .into_iter()
    .enumerate()
    {
        let mut guest = bare.start(disks)?;
        guest.expect(r#"starting Boot.... "Spine A" from HD\(1,GPT,"#)?;
        match boots {
            0 => vault::confirm(&mut guest)?,
            _ => vault::unlock(&mut guest)?,
        }
        guest.expect(r"slots: slot A \(")?;
        guest.verdict("GREEN")?;
        mended(&mut guest)?;
        guest.never("^bay0 .* FAIL: ")?;
        has_rooms(&mut guest)?;
        guest.power_off()?;
    }
    Ok(())
}

pub fn u07_an_installed_disk_starts_on_a_machine_that_has_never_seen_it(lab: &Lab) -> Result<()> {
    let mut bare = Bare::new(lab)?;
    let target = bare.blank("sata.img")?;
    // Somebody's, with a file system from end to end.
    crate::persist::format(&target, 0, self::target(lab)?, Uuid::new_v4(), EPOCH)?;
    let mut guest = bare.start(&[(Bus::Usb, &bare.stick), (Bus::Sata, &target)])?;
    settled(&mut guest, "A")?;
    guest.machine.send_line("disks")?;
    let mib = self::target(lab)? >> 20;
    let line = format!("disks: sd[ab], {mib} MiB, SATA, QEMU HARDDISK, serial [^ ]+: ext4$");
    let line = guest.expect(&line)?;
    let name = line
        .split("disks: ")
        .nth(1)
        .and_then(|it| it.split(',').next());
    let number = line
        .split("serial ")
        .nth(1)
        .and_then(|it| it.split(':').next());
    let (name, number) = name.zip(number).context(line.clone())?;
    confirm(&mut guest, name, number, Some((ERASE, "ERASE")))?;
    guest.expect(DONE)?;
    guest.power_off()?;
    bare.vars = lab.path("other.fd");
    let other = disk::Layout::new(Uuid::new_v4(), 0, 64 << 20);
    firmware::write_vars(&bare.vars, &other, None)?;
    let mut guest = bare.start(&[(Bus::Virtio, &target)])?;
    vault::confirm(&mut guest)?;
    guest.expect(r"slots: slot A, started by no boot entry of its own \(")?;
    guest.verdict("GREEN")?;
    guest.expect("slots: slot B is whole, and second from now on: ")?;
    has_rooms(&mut guest)?;
    guest.power_off()
}

pub fn u07_what_a_disk_keeps_stays_if_somebody_says_so_and_no_other_word_does_anything(
    lab: &Lab,
) -> Result<()> {
    let bare = Bare::new(lab)?;
    let target = lab.path("nvme.img");
    make(lab, &target, rooms(lab)?)?;
    // It has a life of its own.
    let mut other = Bare::new(lab)?;
    other.vars = lab.path("nvme.fd");
    firmware::write_vars(
        &other.vars,
        &disk::Layout::of(&target)?.context("it")?,
        None,
    )?;
    let mut guest = other.start(&[(Bus::Nvme, &target)])?;
    settled(&mut guest, "A")?;
    guest.power_off()?;
    let untouched = fs::read(&target)?;
    let disks = [
        (Bus::Usb, bare.stick.as_path()),
        (Bus::Nvme, target.as_path()),
    ];
    let mut guest = bare.start(&disks)?;
    settled(&mut guest, "A")?;
    let refused = |guest: &mut Guest, why: &str| {
        guest.expect(&format!(
            "install: FAIL: {why}; nothing is written; next: type disks$"
        ))
    };
    guest.machine.send_line("install sda")?;
    refused(&mut guest, "sda is the disk that was booted")?;
    guest.machine.send_line("install sdz")?;
    guest.expect("install: FAIL: there is no disk sdz; next: type disks$")?;
    for (number, second) in [
        ("nvme0n1", None),
        ("NVME", None),
        ("nvme", Some((KEEP, "keep"))),
        ("nvme", Some((KEEP, "yes"))),
    ] {
        confirm(&mut guest, "nvme0n1", number, second)?;
        refused(&mut guest, "not confirmed")?;
    }
    guest.power_off()?;
    ensure!(fs::read(&target)? == untouched, "it was written to");
    // Its Spines are damaged, and what it keeps is not.
    let file = File::options().write(true).open(&target)?;
    file.write_all_at(&[0; 4096], 2 << 20)?;
    let mut guest = bare.start(&disks)?;
    settled(&mut guest, "A")?;
    confirm(&mut guest, "nvme0n1", "nvme", Some((KEEP, "KEEP")))?;
    guest.expect(&format!("{DONE}what it kept is as it was; next: "))?;
    guest.power_off()?;
    let mut guest = other.start(&disks[1..])?;
    settled(&mut guest, "A")?;
    guest.said("previous: ended clean power off")?;
    guest.never("^bay0 .* FAIL: ")?;
    has_rooms(&mut guest)?;
    guest.power_off()
}

pub fn u07_a_power_cut_during_an_installation_leaves_a_whole_spine_or_none(
    lab: &Lab,
) -> Result<()> {
    let bare = Bare::new(lab)?;
    let target = bare.blank("nvme.img")?;
    let disks = [
        (Bus::Usb, bare.stick.as_path()),
        (Bus::Nvme, target.as_path()),
    ];
    // First on a blank disk, then on the same again, which has half of everything.
    for percent in ["20", "90"] {
        let mut guest = bare.start(&disks)?;
        settled(&mut guest, "A")?;
        confirm(
            &mut guest,
            "nvme0n1",
            "nvme",
            (percent == "90").then_some((ERASE, "ERASE")),
        )?;
        guest.expect(&format!("^install: {percent} %$"))?;
        guest.machine.kill()?;
        let mut guest = bare.start(&disks[1..])?;
        guest.expect(NOTHING)?;
        guest.machine.kill()?;
    }
    let mut guest = bare.start(&disks)?;
    settled(&mut guest, "A")?;
    confirm(&mut guest, "nvme0n1", "nvme", Some((ERASE, "ERASE")))?;
    guest.expect(DONE)?;
    guest.power_off()?;
    // The same again, but what it keeps stays: one of its slots is whole at any moment. The firmware of its machine knows it.
    let alone = Bare {
        vars: lab.path("alone.fd"),
        stick: bare.stick.clone(),
        lab,
    };
    fs::copy(&bare.vars, &alone.vars)?;
    let layout = disk::Layout::of(&bare.stick)?.context("the stick")?;
    for percent in ["20", "90"] {
        let mut guest = stick_first(&bare, &disks)?;
        confirm(&mut guest, "nvme0n1", "nvme", Some((KEEP, "KEEP")))?;
        guest.expect(&format!("^install: {percent} %$"))?;
        guest.machine.kill()?;
        // What is being written is nothing that a firmware takes for a file system.
        let starts = |slot: usize| -> Result<bool> {
            let mut first = [0; 512];
            File::open(&target)?.read_exact_at(&mut first, layout.partitions[slot].at)?;
            Ok(first != [0; 512])
        };
        let whole = [starts(disk::SLOT_A)?, starts(disk::SLOT_B)?];
        ensure!(whole == [percent == "20", percent == "90"], "{whole:?}");
        let mut guest = alone.start(&disks[1..])?;
        guest.expect(r#"starting Boot.... "Spine [AB]" from HD\([12],GPT,"#)?;
        guest.expect("(vault: .* is empty, |^passphrase> )")?;
        guest.machine.kill()?;
    }
    Ok(())
}

/// The machine with both, started from the stick, which the firmware finds by itself once it knows nothing else.
fn stick_first(bare: &Bare<'_>, disks: &[(Bus, &Path)]) -> Result<Guest> {
    let layout = disk::Layout::of(&bare.stick)?.context("the stick")?;
    firmware::write_vars(&bare.vars, &layout, None)?;
    let mut guest = bare.start(disks)?;
    settled(&mut guest, "A")?;
    Ok(guest)
}

pub fn u07_a_stick_that_is_larger_than_its_image_has_its_table_put_right_once(
    lab: &Lab,
) -> Result<()> {
    let bare = Bare::new(lab)?;
    // As `dd` leaves it.
    let bytes = fs::metadata(&bare.stick)?.len() + (100 << 20) + 512;
    let file = File::options().read(true).write(true).open(&bare.stick)?;
    file.set_len(bytes)?;
    let table = || gpt::GptConfig::new().open(&bare.stick);
    let (before, last) = (table()?, bytes / 512 - 1);
    ensure!(before.backup_header().is_err(), "there is one at its end");
    let done =
        "slots: the second copy of the partition table is at the end of the disk from now on, ";
    let mut guest = bare.start(&[(Bus::Usb, &bare.stick)])?;
    settled(&mut guest, "A")?;
    guest.expect(done)?;
    guest.power_off()?;
    let after = table()?;
    let places = [after.primary_header()?, after.backup_header()?]
        .map(|it| [it.current_lba, it.backup_lba, it.last_usable]);
    ensure!(
        places == [[1, last, last - 33], [last, 1, last - 33]],
        "{places:?}"
    );
    ensure!(after.partitions() == before.partitions());
    let ends = || -> Result<[Vec<u8>; 2]> {
        let mut ends = [vec![0; 34 * 512], vec![0; 33 * 512]];
        file.read_exact_at(&mut ends[0], 0)?;
        file.read_exact_at(&mut ends[1], bytes - 33 * 512)?;
        Ok(ends)
    };
    let once = ends()?;
    let mut guest = bare.start(&[(Bus::Usb, &bare.stick)])?;
    settled(&mut guest, "A")?;
    guest.never(done)?;
    guest.never("^bay0 .* FAIL: ")?;
    guest.power_off()?;
    ensure!(ends()? == once, "a boot that was well wrote");
    Ok(())
}

pub fn u08_a_disk_of_4096_byte_sectors_is_installed_on_and_starts(lab: &Lab) -> Result<()> {
    let bare = Bare::new(lab)?;
    let target = bare.blank("nvme.img")?;
    let large = |config: &mut MachineConfig| {
        for arg in &mut config.extra_args {
            if arg.starts_with("nvme,") {
                arg.push_str(",logical_block_size=4096,physical_block_size=4096");
            }
        }
    };
    let mut config = bare.machine(&[(Bus::Usb, &bare.stick), (Bus::Nvme, &target)]);
    large(&mut config);
    let mut guest = lab.start(&config)?;
    settled(&mut guest, "A")?;
    confirm(&mut guest, "nvme0n1", "nvme", None)?;
    guest.expect(DONE)?;
    guest.power_off()?;
    let mut config = bare.machine(&[(Bus::Nvme, &target)]);
    large(&mut config);
    let mut guest = lab.start(&config)?;
    vault::confirm(&mut guest)?;
    guest.expect(r"slots: slot A \(")?;
    guest.verdict("GREEN")?;
    mended(&mut guest)?;
    has_rooms(&mut guest)?;
    guest.power_off()
}

pub fn t06_images_that_are_not_what_they_were_are_replaced_by_the_other_slots(
    lab: &Lab,
) -> Result<()> {
    let bare = Bare::new(lab)?;
    let layout = disk::Layout::of(&bare.stick)?.context("the disk")?;
    let damage = |rooms: usize| {
        let file = File::options().write(true).open(&bare.stick)?;
        file.write_all_at(&[0x5a; 4096], layout.partitions[rooms].at + (1 << 20))
    };
    let images = |rooms: usize| -> Result<Vec<u8>> {
        let file = File::open(&bare.stick)?;
        let mut bytes = vec![0; usize::try_from(fs::metadata(self::rooms(lab)?)?.len())?];
        file.read_exact_at(&mut bytes, layout.partitions[rooms].at)?;
        Ok(bytes)
    };
    let good = images(disk::ROOMS_A)?;
    damage(disk::ROOMS_A + 1)?;
    let mut guest = bare.start(&[(Bus::Virtio, &bare.stick)])?;
    ensure!(settled(&mut guest, "A")?.starts_with("slot B is made a copy: "));
    guest.power_off()?;
    ensure!(images(disk::ROOMS_A + 1)? == good, "not replaced");
    damage(disk::ROOMS_A)?;
    let mut guest = bare.start(&[(Bus::Virtio, &bare.stick)])?;
    // The other slot's are used meanwhile.
    guest.verdict("GREEN")?;
    guest.expect("slots: slot B is whole: [0-9a-f]{64}; the images of this slot were not what they should be, and are made a copy of the other's; next: reboot$")?;
    has_rooms(&mut guest)?;
    guest.power_off()?;
    ensure!(images(disk::ROOMS_A)? == good, "not replaced");
    let mut guest = bare.start(&[(Bus::Virtio, &bare.stick)])?;
    ensure!(settled(&mut guest, "A")?.starts_with("slot B is whole: "));
    guest.never("^bay0 .* FAIL: ")?;
    guest.power_off()
}

pub fn u07_an_update_brings_its_images_and_is_refused_without_them(lab: &Lab) -> Result<()> {
    let bare = Bare::new(lab)?;
    let layout = disk::Layout::of(&bare.stick)?.context("the disk")?;
    // The same images, and a MiB behind them that nobody reads.
    let more = lab.path("more.img");
    fs::copy(rooms(lab)?, &more)?;
    let end = fs::metadata(&more)?.len();
    let mut bytes = fs::read(&more)?;
    bytes.resize(bytes.len() + (1 << 20), 0x5a);
    fs::write(&more, &bytes)?;
    let mut slot = content_with(lab, &lab.bench.fault, NEWEST, Some(&more))?;
    update::sign(&mut slot, &lab.bench.keys.pair("db"))?;
    let (good, changed, without) = (
        lab.path("good.img"),
        lab.path("changed.img"),
        lab.path("without.img"),
    );
    update::disk(&good, &slot, Some(&more))?;
    bytes[usize::try_from(end)? + 5] = 0;
    fs::write(&more, &bytes)?;
    update::disk(&changed, &slot, Some(&more))?;
    update::disk(&without, &slot, None)?;
    for (update, why) in [
        (
            &changed,
            "its images do not match its head; next: get another",
        ),
        (
            &without,
            "no partition is called rooms, and its head speaks of images; next: get another",
        ),
    ] {
        let mut guest = bare.start(&[(Bus::Virtio, &bare.stick), (Bus::Usb, update)])?;
        settled(&mut guest, "A")?;
        guest.machine.send_line("update")?;
        guest.expect(&format!("update: FAIL: {why}$"))?;
        guest.power_off()?;
    }
    let mut guest = bare.start(&[(Bus::Virtio, &bare.stick), (Bus::Usb, &good)])?;
    settled(&mut guest, "A")?;
    takes(&mut guest)?;
    proves_itself(&mut guest, "B")?;
    mended(&mut guest)?;
    has_rooms(&mut guest)?;
    guest.power_off()?;
    let (mut mark, file) = ([0; 4096], File::open(&bare.stick)?);
    file.read_exact_at(&mut mark, layout.partitions[disk::ROOMS_A + 1].at + end)?;
    ensure!(mark == [0x5a; 4096], "its images are not on the disk");
    file.read_exact_at(&mut mark, layout.partitions[disk::ROOMS_A].at + end)?;
    ensure!(mark != [0x5a; 4096], "those of the other slot were changed");
    Ok(())
}

pub fn c07_a_reset_destroys_the_keys_and_the_next_boot_makes_a_vault_anew(lab: &Lab) -> Result<()> {
    let blank = super::disk::Disk::blank(lab.path("blank.img"), DISK_MIB)?;
    let mut guest = lab.start(&lab.config_with(Build::Release, &blank))?;
    vault::confirm(&mut guest)?;
    guest.verdict("GREEN")?;
    for word in ["reset", "yes"] {
        guest.machine.send_line("reset")?;
        guest.expect("^type RESET to destroy the keys, anything else to keep them> ")?;
        guest.machine.send_line(word)?;
        guest.expect("reset: FAIL: reset /dev/vda: not confirmed; the keys may be there still; next: see docs/VAULT.md$")?;
    }
    guest.machine.send_line("reboot")?;
    vault::unlock(&mut guest)?;
    guest.verdict("GREEN")?;
    guest.machine.send_line("reset")?;
    guest.expect("^type RESET to destroy the keys, anything else to keep them> ")?;
    guest.machine.send_line("RESET")?;
    guest.expect(
        "reset: the keys of /dev/vda are destroyed; the machine reboots, to make it anew$",
    )?;
    guest.expect("shutdown: reboot requested by reset$")?;
    // Nothing of what opened it is asked for any more, and nothing of what it kept is known.
    vault::confirm(&mut guest)?;
    guest.expect("previous: ended none: no boot before this one is recorded$")?;
    guest
        .machine
        .expect(&regex::Regex::new("validate: GREEN")?, PATIENCE)?;
    guest.power_off()
}
