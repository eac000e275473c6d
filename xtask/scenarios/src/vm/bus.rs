//! Where a disk is plugged in: QEMU's arguments for each bus that a PC has.

use std::path::Path;

use crate::machine::MachineConfig;

/// Where a disk is plugged in.
#[derive(Clone, Copy, Debug)]
pub enum Bus {
    /// A virtio block device.
    Virtio,
    /// A disk on a SCSI host of virtio.
    Scsi,
    /// AHCI.
    Sata,
    /// `NVMe`.
    Nvme,
    /// Mass storage behind xHCI.
    Usb,
    /// The same behind EHCI, as before USB 3.
    Ehci,
    /// A stick behind xHCI that speaks SCSI over USB (UAS) alone.
    Uas,
    /// A card in a slot of the SD standard. Its size must be a power of two.
    Card,
}

/// Adds a disk of this id on a bus, with whatever the bus hangs on. The host does not lose power, so its flushes are left out.
pub fn plug(config: &mut MachineConfig, bus: Bus, id: &str, path: &Path) {
    let file = path.display().to_string().replace(',', ",,");
    let none = format!("file={file},format=raw,if=none,id={id},cache=unsafe");
    let host = match bus {
        Bus::Virtio | Bus::Sata | Bus::Nvme => None,
        Bus::Scsi => Some("virtio-scsi-pci"),
        Bus::Usb | Bus::Uas => Some("qemu-xhci"),
        Bus::Ehci => Some("usb-ehci"),
        Bus::Card => Some("sdhci-pci"),
    };
    let on = format!("drive={id},bus={id}-host.0");
    let device = match bus {
        Bus::Virtio => format!("virtio-blk-pci,drive={id}"),
        Bus::Sata => format!("ide-hd,drive={id}"),
        Bus::Nvme => format!("nvme,drive={id},serial={id}"),
        Bus::Scsi => format!("scsi-hd,{on}"),
        Bus::Usb | Bus::Ehci => format!("usb-storage,{on}"),
        Bus::Uas => format!("scsi-hd,drive={id},bus={id}-uas.0"),
        Bus::Card => format!("sd-card,drive={id}"),
    };
    let uas = format!("usb-uas,id={id}-uas,bus={id}-host.0");
    let between = matches!(bus, Bus::Uas).then_some(uas);
    let host = host.map(|model| format!("{model},id={id}-host"));
    config.extra_args.extend(["-drive".to_owned(), none]);
    for device in host.into_iter().chain(between).chain([device]) {
        config.extra_args.extend(["-device".to_owned(), device]);
    }
}
