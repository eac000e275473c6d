//! What a slot holds: a FAT file system, written whole, with the signed Spine and the program that powers off. The Spine never mounts
//! it; the firmware reads it. The same two programs make the same bytes.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::Programs;
use super::update;
use crate::arch;
use crate::host::{self, run};

/// A slot's size: what T10 allows kernel and Spine (40 MB), the stub, the power-off program, and FAT's own tables.
pub const BYTES: u64 = 40 << 20;
/// What of it is the file system; its head is at the end of the rest.
const FAT_BYTES: u64 = BYTES - (1 << 20);
/// Where the firmware looks when nobody told it where: in a slot's boot entry it is named.
pub fn spine() -> String {
    format!("/EFI/BOOT/{}", arch::facts().boot)
}
/// Where the entries that power off point.
pub const OFF: &str = "/OFF.EFI";
/// FAT's volume id, "SPNE"; the disk is told by its partition's name.
const VOLUME: &str = "53504e45";
const SECTOR: u64 = 512;

/// Writes the image of a slot; its files' time is its version, and `rooms` are the images that go with it.
pub fn write(to: &Path, programs: &Programs, epoch: u32, rooms: Option<&Path>) -> Result<()> {
    host::need(&[host::TOOL_MTOOLS])?;
    let dir = tempfile::tempdir()?;
    let (uki, program) = (dir.path().join("spine.efi"), dir.path().join("off.efi"));
    fs::write(&uki, &programs.spine)?;
    fs::write(&program, &programs.off)?;
    let image = dir.path().join("slot.img");
    File::create(&image)?.set_len(FAT_BYTES)?;
    let sectors = (FAT_BYTES / SECTOR).to_string();
    let (uki, program) = (uki.display().to_string(), program.display().to_string());
    // A geometry of our own: mformat would ask the file.
    let format = [
        "-T", &sectors, "-h", "16", "-s", "63", "-d", "1", "-N", VOLUME, "::",
    ];
    let steps: [(&str, &[&str]); 4] = [
        ("mformat", &format),
        ("mmd", &["::/EFI", "::/EFI/BOOT"]),
        ("mcopy", &[&uki, &format!("::{}", spine())]),
        ("mcopy", &[&program, &format!("::{OFF}")]),
    ];
    for (tool, args) in steps {
        let mut command = host::command(tool)?;
        command.arg("-i").arg(&image).args(args);
        // Nothing of this host's: no time, no zone, no configuration.
        command.env("SOURCE_DATE_EPOCH", epoch.to_string());
        command.env("TZ", "UTC").env("MTOOLSRC", "/dev/null");
        run(&mut command).with_context(|| format!("make the slot {}", to.display()))?;
    }
    let bytes = fs::read(&image)?;
    ensure!(
        bytes.len() as u64 == FAT_BYTES,
        "a slot grew; next: report it"
    );
    let rooms = rooms.map(update::images).transpose()?;
    let headed = update::headed(bytes, epoch, rooms.as_deref());
    fs::write(to, headed).with_context(|| format!("write {}", to.display()))
}
