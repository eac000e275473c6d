//! `cargo xtask qemu`: from a fresh clone to the operator line, with everything between done by itself (K06).

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Result, anyhow};

use crate::accel::{self, Choice};
use crate::arch;
use crate::host;
use crate::layout::{Layout, Spine};
use crate::machine::{CARD, Firmware, MachineConfig, virtio_drive};
use crate::outside;
use crate::persist;
use crate::roomdisk::{BROWSER, SMALL, Set, WORKSHOP};
use crate::soil::{self, Soil};
use crate::spine;
use crate::tpm;
use crate::uefi;

/// Size of the persist disk that is made where there is none (H05).
pub const PERSIST_BYTES: u64 = 10 << 30;
/// Size of the empty disk that becomes a vault sealed to a TPM: the machine itself formats it, through its cipher.
pub const SEALED_BYTES: u64 = 1 << 30;
/// Memory of the machine that a person uses, in MiB: what the largest of its shipped rooms may have, and as much again. With less than
/// that a room is stopped by the machine's end of memory and not by its own limit, and everybody waits meanwhile.
const MEMORY_MIB: u32 = 2048;
/// The same with the browser.
const MEMORY_WITH_BROWSER_MIB: u32 = 4096;

/// Programs of the host that a machine with this soil and these images is made and run with.
pub fn tools(soil: Soil, rooms: &Set) -> Vec<host::Tool> {
    let mut tools = vec![arch::facts().qemu, host::TOOL_MKE2FS, host::TOOL_CC];
    tools.extend(soil::tools(soil));
    if rooms.names().next().is_some() {
        tools.push(host::TOOL_SQFSTAR);
    }
    if rooms.has(&[WORKSHOP]) {
        tools.push(host::TOOL_MMDEBSTRAP);
    }
    tools
}

/// How to get a room to work in, where there is none.
pub fn more(rooms: &Set) -> Option<String> {
    let line = format!(
        "qemu: with the images {rooms}; for a room to work in (p://{WORKSHOP}), once, some minutes: cargo xtask qemu --rooms {SMALL},{WORKSHOP}"
    );
    (!rooms.has(&[WORKSHOP])).then_some(line)
}

/// Does all set-up and returns the machine a user boots.
pub fn set_up(layout: &Layout, soil: Soil, choice: Choice, rooms: &Set) -> Result<MachineConfig> {
    host::need(&tools(soil, rooms))?;
    let spine = spine::build(layout, soil, false, rooms)?;
    persist::ensure(&layout.persist(), PERSIST_BYTES)?;
    let (accel, why) = accel::choose(layout, choice, &spine)?;
    eprintln!("qemu: accelerator {} ({why})", accel.as_str());
    let mut cfg = MachineConfig::new(
        &spine.kernel,
        &spine.initrd,
        &layout.build().join("smoke.log"),
    );
    cfg.accel = accel;
    cfg.mem_mb = match rooms.has(&[BROWSER]) {
        true => MEMORY_WITH_BROWSER_MIB,
        false => MEMORY_MIB,
    };
    cfg.drives
        .push(virtio_drive(&layout.persist(), "persist", ""));
    cfg.rooms = Some(layout.rooms_disk()).filter(|disk| disk.exists());
    // For sys://net; until somebody starts that, nobody uses it.
    cfg.extra_args.extend(CARD.map(String::from));
    match outside::port(&outside::socket(layout)) {
        Some(port) => cfg.extra_args.extend(port),
        None => eprintln!(
            "qemu: the path of this clone is too long for a port; `send` and `receive` are not there"
        ),
    }
    Ok(cfg)
}

/// Turns the machine into one that firmware boots from the disk with both slots, whose persist it has; `anew` writes both first.
pub fn with_firmware(
    layout: &Layout,
    cfg: &mut MachineConfig,
    secure: bool,
    anew: bool,
) -> Result<()> {
    let spine = Spine {
        kernel: cfg.kernel.clone(),
        initrd: cfg.initrd.clone(),
    };
    let (disk, vars) = uefi::set_up(layout, &spine, secure, anew)?;
    cfg.drives = vec![virtio_drive(&disk, "disk", "")];
    // Its Spines' images are on it, beside them; a disk of an older tree has none.
    let made = uefi::disk::Layout::of(&disk)?;
    if made.is_some_and(|it| !it.rooms().is_empty()) {
        cfg.rooms = None;
    }
    cfg.firmware = Some(Firmware {
        code: uefi::firmware::code(secure).to_owned(),
        vars,
        secure,
    });
    Ok(())
}

/// What a person sits at, as far as it is not a serial line. VNC serves the first port of ten that is free.
const SCREEN: [&str; 8] = [
    "-device",
    "virtio-gpu-pci",
    "-device",
    "qemu-xhci",
    "-device",
    "usb-tablet",
    "-vnc",
    "127.0.0.1:0,to=9",
];

/// Gives the machine a display and a pointer beside the keyboard that a PC has.
pub fn with_screen(cfg: &mut MachineConfig) {
    eprintln!(
        "qemu: the screen is at VNC's 127.0.0.1:5900, or the next port that is free; `info vnc` behind Ctrl-A C says which"
    );
    cfg.extra_args.extend(SCREEN.map(String::from));
}

/// Becomes QEMU with the serial console on this terminal; returns only when that fails.
pub fn interactive(cfg: &MachineConfig) -> Result<u8> {
    eprintln!(
        "qemu: Ctrl-A X leaves, `help` at the prompt lists the verbs, `poweroff` ends the machine"
    );
    if let Some(dir) = &cfg.tpm {
        tpm::start(dir)?;
    }
    let error = Command::new(arch::facts().qemu.program)
        .args(on_terminal(cfg))
        .exec();
    Err(anyhow!("start {}: {error}", arch::facts().qemu.program))
}

/// The machine with its serial console, and QEMU's monitor behind Ctrl-A, on this terminal.
fn on_terminal(cfg: &MachineConfig) -> Vec<String> {
    let mut args = cfg.qemu_args();
    args.extend(["-serial".into(), "mon:stdio".into()]);
    args
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn u01_a_boot_without_the_workshop_says_in_one_line_how_to_get_it() {
        let said = |rooms: &str| more(&Set::parse(rooms).unwrap());
        assert_eq!(
            said("busybox").as_deref(),
            Some(
                "qemu: with the images busybox; for a room to work in (p://dev), once, some minutes: cargo xtask qemu --rooms busybox,dev"
            )
        );
        assert_eq!(said("busybox,dev"), None);
    }

    #[test]
    fn k06_the_serial_console_is_on_the_terminal_and_a_reboot_reboots() {
        let cfg = MachineConfig::new(Path::new("k"), Path::new("i"), Path::new("l"));
        let line = on_terminal(&cfg).join(" ");
        assert!(line.ends_with("-serial mon:stdio"), "{line}");
        assert!(line.contains("console=ttyS0,115200"), "{line}");
        assert!(!line.contains("-no-reboot"), "{line}");
    }
}
