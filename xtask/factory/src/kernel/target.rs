//! What the hardened kernel is for: a virtual machine, an ordinary PC, or machines with another processor. One configuration, with fragments
//! for each kind of processor and for each target (U08, U10).

use std::fmt;

use anyhow::Result;
use clap::ValueEnum;

use super::config::Config;
use crate::arch::Arch;

/// A machine that the hardened kernel is made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// A virtual machine, as QEMU's
    #[default]
    Vm,
    /// An ordinary PC: more disks, USB keyboards, a display
    Pc,
    /// A machine with that processor, as QEMU's virt: what `--arch aarch64` stands for
    #[value(skip)]
    Aarch64,
}

/// What every target has: the needs, then the measures, which no target changes.
const COMMON: [&str; 2] = [
    include_str!("../../../kernel/spine.config"),
    include_str!("../../../kernel/hardening.config"),
];
/// The same of a kind of processor.
const X86_64: [&str; 2] = [
    include_str!("../../../kernel/x86_64.config"),
    include_str!("../../../kernel/x86_64-hardening.config"),
];
const AARCH64: [&str; 2] = [
    include_str!("../../../kernel/aarch64.config"),
    include_str!("../../../kernel/aarch64-hardening.config"),
];

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Target::Vm => "vm",
            Target::Pc => "pc",
            Target::Aarch64 => "aarch64",
        })
    }
}

impl Target {
    /// All of them.
    pub const ALL: [Target; 3] = [Target::Vm, Target::Pc, Target::Aarch64];

    /// Its processor.
    pub fn arch(self) -> Arch {
        match self {
            Target::Vm | Target::Pc => Arch::X86_64,
            Target::Aarch64 => Arch::Aarch64,
        }
    }

    /// Needs and measures without what is this target's alone.
    fn shared(self) -> [&'static str; 4] {
        let [needs, measures] = COMMON;
        let [own_needs, own_measures] = match self.arch() {
            Arch::X86_64 => X86_64,
            Arch::Aarch64 => AARCH64,
        };
        [needs, own_needs, measures, own_measures]
    }

    /// What this target has beyond the others.
    fn own(self) -> &'static str {
        match self {
            Target::Aarch64 => "",
            Target::Vm => include_str!("../../../kernel/vm.config"),
            Target::Pc => include_str!("../../../kernel/pc.config"),
        }
    }

    /// What the kernel is made with, apart from Kconfig's own defaults. A fragment that asks for nothing is none: the kernel of a target
    /// is another one only if its configuration is.
    pub fn fragments(self) -> Vec<&'static str> {
        let asks = |text: &&str| text.lines().any(|line| line.starts_with("CONFIG_"));
        self.shared()
            .into_iter()
            .chain([self.own()])
            .filter(asks)
            .collect()
    }

    /// What is asked for, with the target's own lines in the place of the common ones.
    ///
    /// # Errors
    /// A line is none, stands there twice, or takes a measure back.
    pub fn asked(self) -> Result<Config> {
        let shared = self.shared();
        let [_, _, measures, own] = shared;
        let common = Config::fragments(&shared)?;
        common.with(self.own(), &Config::fragments(&[measures, own])?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u08_a_fragment_that_asks_for_nothing_changes_no_kernel() {
        let shared = Target::Vm.shared();
        for own in [Target::Vm, Target::Pc] {
            assert_eq!(own.fragments()[..4], shared);
            assert_eq!(own.fragments().len(), 5);
        }
        let other = Target::Aarch64.fragments();
        assert_eq!((other[0], other[2]), (shared[0], shared[2]));
        assert_ne!(other[1], shared[1]);
        assert_eq!(other.len(), 4, "nothing of its own");
    }

    #[test]
    fn u08_the_kernel_of_a_pc_drives_what_a_pc_has() {
        let (vm, pc) = (Target::Vm.asked().unwrap(), Target::Pc.asked().unwrap());
        let more = "MMC_SDHCI_PCI MMC_SDHCI_ACPI SCSI_VIRTIO USB_UAS USB_EHCI_HCD USB_HID DRM_SIMPLEDRM DRM_BOCHS DRM_VIRTIO_GPU WDAT_WDT IXGBE";
        for symbol in more.split(' ') {
            assert_eq!((vm.value(symbol), pc.value(symbol)), ("n", "y"), "{symbol}");
        }
        let both = "VIRTIO_BLK BLK_DEV_NVME SATA_AHCI USB_STORAGE E1000 E1000E IGB IGC R8169 TIGON3 TCG_TIS TCG_CRB ITCO_WDT SP5100_TCO \
                    I6300ESB_WDT KEYBOARD_ATKBD";
        for symbol in both.split_whitespace() {
            assert_eq!((vm.value(symbol), pc.value(symbol)), ("y", "y"), "{symbol}");
        }
    }
}
