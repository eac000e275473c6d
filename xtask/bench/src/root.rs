//! What the verified root costs: reading it, and the memory of a machine without rooms; and what the firmware adds to a boot.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use regex::Regex;

use super::guests::Guests;
use super::report::{Figure, Target};
use crate::machine::{Firmware, Machine, MachineConfig, virtio_drive};
use crate::roomdisk::{self, SMALL};
use crate::soil::Soil;
use crate::{persist, smoke, spine, uefi};

/// Longest wait for a verdict, and for an answer after it.
const PATIENCE: Duration = Duration::from_secs(120);
/// What a machine of the smallest kind has, in MiB.
const MEMORY_MIB: u32 = 256;
/// What the machine may use without a room, in kB.
const IDLE_KB: f64 = 48_000.0;

/// Reads the root with and without verification in a machine of the test build, which has the words for it.
pub fn root(guests: &Guests, runs: usize) -> Result<Vec<Figure>> {
    let rooms = roomdisk::choose(&guests.layout, None, SMALL)?;
    let spine = spine::build(&guests.layout, Soil::default(), true, &rooms)?;
    let log = guests.dir.join("root.log");
    let (mut verified, mut plain, mut used) = (Vec::new(), Vec::new(), Vec::new());
    let said = Regex::new(r"verified_us=\d+ .*used_kb=\d+")?;
    for run in 1..=runs {
        eprintln!("bench: root {run} of {runs}");
        let config = MachineConfig::new(&spine.kernel, &spine.initrd, &log);
        let mut machine = boots(guests, config)?;
        machine.send_line("fault figures")?;
        let line = machine.expect(&said, PATIENCE)?;
        let figure = |key: &str| -> Result<f64> {
            let rest = line.split_once(key).map(|(_, rest)| rest);
            let digits = rest.and_then(|rest| rest.split(' ').next());
            digits.and_then(|it| it.parse().ok()).context(line.clone())
        };
        verified.push(figure("verified_us=")? / 1000.0);
        plain.push(figure("plain_us=")? / 1000.0);
        used.push(figure("used_kb=")?);
    }
    Ok(vec![
        Figure {
            name: "the whole root, read verified",
            unit: "ms",
            ours: verified,
            beside: "the same without verification",
            peer: plain,
            target: Target::None,
        },
        Figure {
            name: "memory used without a room",
            unit: "kB",
            ours: used,
            beside: "nothing",
            peer: Vec::new(),
            target: Target::AtMost(IDLE_KB),
        },
    ])
}

/// From the start of QEMU to the verdict, by the firmware and directly, by turns.
pub fn uefi(guests: &Guests, runs: usize) -> Result<Vec<Figure>> {
    let (disk, vars) = uefi::set_up(&guests.layout, &guests.spine, false, true)?;
    let (mut firmware, mut direct) = (Vec::new(), Vec::new());
    for run in 1..=runs {
        eprintln!("bench: uefi {run} of {runs}");
        let log = guests.dir.join("uefi.log");
        let plain = MachineConfig::new(&guests.spine.kernel, &guests.spine.initrd, &log);
        let mut config = plain.clone();
        config.drives.push(virtio_drive(&disk, "disk", ""));
        config.firmware = Some(Firmware {
            code: uefi::firmware::code(false).to_owned(),
            vars: vars.clone(),
            secure: false,
        });
        firmware.push(boots(guests, config)?.age().as_secs_f64() * 1000.0);
        direct.push(boots(guests, plain)?.age().as_secs_f64() * 1000.0);
    }
    Ok(vec![Figure {
        name: "QEMU's start to the verdict, by UEFI",
        unit: "ms",
        ours: firmware,
        beside: "without firmware",
        peer: direct,
        target: Target::None,
    }])
}

/// A machine that has just been found GREEN.
fn boots(guests: &Guests, mut config: MachineConfig) -> Result<Machine> {
    (config.accel, config.mem_mb) = (guests.accel, MEMORY_MIB);
    if config.drives.is_empty() {
        let disk = guests.dir.join("root.img");
        persist::make(&disk, 64 << 20, true)?;
        config.drives.push(virtio_drive(&disk, "persist", ""));
    }
    let mut machine = Machine::boot(&config)?;
    let verdict = machine.expect(&smoke::summary_line(), PATIENCE)?;
    ensure!(
        verdict.contains("GREEN"),
        "what is not well is not measured: {verdict}"
    );
    Ok(machine)
}
