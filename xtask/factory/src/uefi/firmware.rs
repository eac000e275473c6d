//! OVMF with our boot entries and, for Secure Boot, our keys and no others (C09).

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

use super::disk::{Layout as Partitions, SLOT_A, SLOT_B};
use super::keys::Keys;
use super::slot;
use super::store::{self, Variable, wide};
use crate::arch::{self, Arch};
use crate::host;
use crate::roomdisk::SECTOR;

/// The partition of each boot entry and whether it starts the Spine, in the order the firmware tries them: the last two are the end of the law
/// A, B, power off, and two because a wrecked slot has no program that powers off either.
const ENTRIES: [(&str, usize, bool); 4] = [
    ("Spine A", SLOT_A, true),
    ("Spine B", SLOT_B, true),
    ("Off A", SLOT_A, false),
    ("Off B", SLOT_B, false),
];
/// `LOAD_OPTION_ACTIVE`.
const ACTIVE: u32 = 1;
/// Device path nodes: media, and of these a partition and a file; the end of a path.
const PARTITION: [u8; 4] = [4, 1, 42, 0];
const FILE: [u8; 2] = [4, 4];
const END: [u8; 4] = [0x7f, 0xff, 4, 0];
/// What a partition's node ends with: its table is a GPT, its signature a GUID.
const GPT_GUID: [u8; 2] = [2, 2];

/// The firmware's program.
pub fn code(secure: bool) -> &'static Path {
    let [plain, secured, _] = &arch::facts().firmware;
    Path::new(if secure { secured } else { plain }.program)
}

/// Writes the store of variables of a machine that has not booted yet; with keys it has Secure Boot on.
pub fn write_vars(to: &Path, disk: &Partitions, keys: Option<&Keys>) -> Result<()> {
    let arch = Arch::chosen();
    let [.., package] = arch.facts().firmware;
    host::need(&[package])?;
    let from = package.program;
    let empty = fs::read(from).with_context(|| format!("read {from}"))?;
    let empty = match arch {
        Arch::X86_64 => empty,
        // What the distribution brings for this one has variables, or no store at all.
        Arch::Aarch64 => store::erased(empty).with_context(|| format!("empty {from}"))?,
    };
    let mut variables = entries(disk);
    if let Some(keys) = keys {
        variables.extend(enrolled(keys)?);
    }
    let vars = store::write(&empty, &variables).with_context(|| format!("fill {from}"))?;
    // Most of a flash may never have been written to, and is a hole in the file.
    let written = vars
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1);
    let file = File::create(to).and_then(|mut file| {
        file.write_all(&vars[..written])?;
        file.set_len(vars.len() as u64)
    });
    file.with_context(|| format!("write {}", to.display()))
}

/// The boot entries and their order.
pub fn entries(disk: &Partitions) -> Vec<Variable> {
    let global = |name: String, data| Variable {
        vendor: store::GLOBAL,
        name,
        attributes: store::PLAIN,
        data,
    };
    let numbered = (1u16..).zip(ENTRIES);
    let mut variables: Vec<_> = numbered
        .clone()
        .map(|(n, (text, partition, spine))| {
            let file = if spine {
                slot::spine()
            } else {
                slot::OFF.to_owned()
            };
            global(format!("Boot{n:04X}"), entry(text, disk, partition, &file))
        })
        .collect();
    let order = numbered.flat_map(|(n, _)| n.to_le_bytes()).collect();
    variables.push(global("BootOrder".into(), order));
    variables
}

/// The partition is named by its GUID: a path without it would mean whichever of both slots the firmware finds first.
fn entry(text: &str, disk: &Partitions, partition: usize, file: &str) -> Vec<u8> {
    let place = &disk.partitions[partition];
    let mut path = PARTITION.to_vec();
    path.extend((partition as u32 + 1).to_le_bytes());
    path.extend((place.at / SECTOR).to_le_bytes());
    path.extend((place.bytes / SECTOR).to_le_bytes());
    path.extend(place.guid.to_bytes_le());
    path.extend(GPT_GUID);
    let file = wide(&file.replace('/', "\\"));
    path.extend(FILE);
    path.extend((file.len() as u16 + 4).to_le_bytes());
    path.extend(file);
    path.extend(END);
    let mut option = ACTIVE.to_le_bytes().to_vec();
    option.extend((path.len() as u16).to_le_bytes());
    option.extend(wide(text));
    option.extend(path);
    option
}

fn enrolled(keys: &Keys) -> Result<Vec<Variable>> {
    let named = |name: &str, vendor| -> Result<Variable> {
        let file = keys.der(name);
        let der = fs::read(&file)
            .with_context(|| format!("read {}; next: cargo xtask keys", file.display()))?;
        Ok(Variable {
            vendor,
            name: name.to_owned(),
            attributes: store::AUTHENTICATED,
            data: store::signature_list(&der),
        })
    };
    Ok(vec![
        named("PK", store::GLOBAL)?,
        named("KEK", store::GLOBAL)?,
        named("db", store::SECURITY)?,
        Variable {
            vendor: store::SECURE_BOOT_ENABLE,
            name: "SecureBootEnable".into(),
            attributes: store::OWN,
            data: vec![1],
        },
    ])
}
