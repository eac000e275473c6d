//! The hardware of an ordinary PC (U08): a disk as `cargo xtask disk` makes it, carried from machine to machine. What the kernel of
//! virtual machines does not drive is in scenarios of the target `pc` alone.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use uuid::Uuid;

use super::bus::{Bus, plug};
use super::disk::Disk;
use super::lab::{Build, DISK_MIB, Guest, Lab};
use super::updates::{self, EPOCH, content, settled};
use super::vault;
use crate::layout::Spine;
use crate::machine::{Firmware, MachineConfig};
use crate::rootimg::command_line;
use crate::uefi::{disk, firmware, slot};

/// A disk of this size fits on a card, whose size is a power of two.
const DISK_BYTES: u64 = 256 << 20;
/// What the kernel says of a device that it drives is shown from here on.
pub(super) const TALKATIVE: &str = "loglevel=7";

/// A disk with the Spine that ships, and the memory of the firmware that boots it.
pub(super) struct Stick<'a> {
    lab: &'a Lab,
    image: PathBuf,
    vars: PathBuf,
}

/// All of a disk with this in both slots.
fn contents(slot: &[u8]) -> disk::Contents<'_> {
    disk::Contents {
        persist: DISK_BYTES - disk::Layout::new(Uuid::new_v4(), 0, 0).bytes,
        ..updates::contents(slot, Some(EPOCH))
    }
}

impl<'a> Stick<'a> {
    /// With `words` behind the command line of the Spine in both slots.
    pub(super) fn new(lab: &'a Lab, words: &str) -> Result<Stick<'a>> {
        Self::of(lab, &lab.bench.release, words)
    }

    /// The same with another Spine.
    pub(super) fn of(lab: &'a Lab, ships: &Spine, words: &str) -> Result<Stick<'a>> {
        let initrd = lab.path("stick-spine.img");
        fs::copy(&ships.initrd, &initrd).context("copy the Spine")?;
        let line = format!("{} {words}", command_line(&ships.initrd));
        fs::write(initrd.with_extension("cmdline"), line.trim_end())?;
        let kernel = ships.kernel.clone();
        let slot = content(lab, &Spine { kernel, initrd }, EPOCH)?;
        let (image, vars) = (lab.path("stick.img"), lab.path("stick.fd"));
        let layout = disk::make(&image, Uuid::new_v4(), &contents(&slot))?;
        firmware::write_vars(&vars, &layout, None)?;
        Ok(Stick { lab, image, vars })
    }

    /// A machine that boots by firmware, with no disk yet, and without a display unless one is added.
    fn machine(&self) -> MachineConfig {
        let mut config = self.lab.config(Build::Release);
        config.firmware = Some(Firmware {
            code: firmware::code(false).to_owned(),
            vars: self.vars.clone(),
            secure: false,
        });
        config
    }

    /// The same with this disk.
    pub(super) fn on(&self, bus: Bus) -> MachineConfig {
        let mut config = self.machine();
        plug(&mut config, bus, "stick", &self.image);
        config
    }
}

/// GREEN from slot A, with the state of every boot before it: so many.
fn knows(guest: &mut Guest, boots: usize) -> Result<()> {
    settled(guest, "A")?;
    let before = guest.count("previous: ended clean power off")?;
    let wanted = usize::from(boots > 0);
    ensure!(before == wanted, "after {boots} boots it knows {before}");
    guest.never("^bay0 .* FAIL: ")?;
    guest.power_off()
}

/// One disk, plugged in here at one boot and there at the next.
fn carried(lab: &Lab, buses: &[Bus]) -> Result<()> {
    let stick = Stick::new(lab, "")?;
    for (boots, bus) in buses.iter().enumerate() {
        let mut guest = lab.start(&stick.on(*bus))?;
        knows(&mut guest, boots).with_context(|| format!("on {bus:?}"))?;
    }
    Ok(())
}

pub fn u08_one_disk_boots_from_nvme_sata_usb_and_virtio(lab: &Lab) -> Result<()> {
    carried(lab, &[Bus::Nvme, Bus::Sata, Bus::Usb, Bus::Virtio])
}

pub fn u08_one_disk_boots_from_a_scsi_host_and_from_older_usb(lab: &Lab) -> Result<()> {
    carried(lab, &[Bus::Scsi, Bus::Ehci])
}

/// No firmware that QEMU has reads these, so the kernel is started directly.
pub fn u08_state_is_kept_on_a_card_and_on_a_stick_that_speaks_uas(lab: &Lab) -> Result<()> {
    let stick = Stick::new(lab, "")?;
    for (boots, bus) in [Bus::Card, Bus::Uas, Bus::Card].into_iter().enumerate() {
        let mut config = stick.on(bus);
        config.firmware = None;
        let mut guest = lab.start(&config)?;
        guest.verdict("GREEN")?;
        let before = guest.count("previous: ended clean power off")?;
        let wanted = usize::from(boots > 0);
        ensure!(
            before == wanted,
            "on {bus:?}, after {boots} boots it knows {before}"
        );
        guest.power_off()?;
    }
    Ok(())
}

/// Ours and a stranger's disk of slots on each pair of buses, in both orders; state goes to ours.
fn beside(lab: &Lab, pairs: &[[Bus; 2]]) -> Result<()> {
    let stick = Stick::new(lab, "")?;
    let stranger = lab.path("stranger.img");
    let empty = vec![0; usize::try_from(slot::BYTES)?];
    disk::make(&stranger, Uuid::new_v4(), &contents(&empty))?;
    let untouched = fs::read(&stranger)?;
    let orders = pairs.iter().flat_map(|pair| [(pair, true), (pair, false)]);
    for (boots, (pair, first)) in orders.enumerate() {
        let ours = (pair[0], "stick", &stick.image);
        let other = (pair[1], "other", &stranger);
        let order = if first { [ours, other] } else { [other, ours] };
        let mut config = stick.machine();
        for (bus, id, image) in order {
            plug(&mut config, bus, id, image);
        }
        let mut guest = lab.start(&config)?;
        knows(&mut guest, boots).with_context(|| format!("{order:?}"))?;
        let same = fs::read(&stranger)? == untouched;
        ensure!(same, "{order:?}: the other disk was written to");
    }
    Ok(())
}

pub fn u08_of_two_disks_in_both_orders_the_booted_one_is_used(lab: &Lab) -> Result<()> {
    beside(lab, &[[Bus::Nvme, Bus::Sata], [Bus::Sata, Bus::Usb]])
}

pub fn u08_of_two_disks_on_a_pcs_other_buses_the_booted_one_is_used(lab: &Lab) -> Result<()> {
    beside(lab, &[[Bus::Scsi, Bus::Nvme], [Bus::Nvme, Bus::Card]])
}

pub fn u08_a_vault_is_sealed_to_a_tpm_by_either_interface(lab: &Lab) -> Result<()> {
    for device in ["tpm-tis", "tpm-crb"] {
        let disk = Disk::blank(lab.path(&format!("{device}.img")), DISK_MIB)?;
        let mut config = lab.config_with(Build::Release, &disk);
        (config.tpm, config.tpm_device) = (Some(lab.path(device)), device);
        let mut guest = lab.start(&config)?;
        vault::seal(&mut guest).with_context(|| device.to_owned())?;
        guest.expect(r"validate: GREEN \(.* vault GREEN$")?;
        guest.power_off()?;
        let mut guest = lab.start(&config)?;
        vault::unlock(&mut guest)?;
        guest.expect(r"validate: GREEN \(.* vault GREEN$")?;
        guest.power_off()?;
    }
    Ok(())
}

pub fn u08_one_processor_and_eight_one_gigabyte_and_eight(lab: &Lab) -> Result<()> {
    // In KiB the kernel counts what the firmware has left of it.
    let machines = [
        (1, 1, "1 CPU$", r"/10\d{5}K"),
        (8, 8, "8 CPUs$", r"/83\d{5}K"),
    ];
    for (processors, gigabytes, counted, memory) in machines {
        let mut config = lab.config_with(Build::Release, &lab.disk()?);
        config.append_extra = TALKATIVE.to_owned();
        config.mem_mb = gigabytes << 10;
        let smp = ["-smp".to_owned(), processors.to_string()];
        config.extra_args.extend(smp);
        let mut guest = lab.start(&config)?;
        guest.expect(&format!("smp: Brought up 1 node, {counted}"))?;
        guest.expect(&format!("Memory: .*{memory} available"))?;
        guest.verdict("GREEN")?;
        guest.power_off()?;
    }
    Ok(())
}
