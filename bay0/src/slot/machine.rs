//! What differs from one kind of processor to the next (A17), for who writes boot entries.

/// What firmware starts where nobody told it what (UEFI 2.10, 3.5.1.1): the Spine stands there.
#[cfg(target_arch = "x86_64")]
pub const SPINE: &str = r"\EFI\BOOT\BOOTX64.EFI";
/// The same on 64-bit ARM.
#[cfg(target_arch = "aarch64")]
pub const SPINE: &str = r"\EFI\BOOT\BOOTAA64.EFI";
