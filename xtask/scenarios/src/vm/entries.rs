//! Boot entries (U05, C09): what bay0 makes of what the firmware has, has lost, or has changed.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};

use super::firmware::is_off;
use super::lab::{Guest, Lab};
use super::updates::{EPOCH, Farm, mended, proves_itself, settled, takes};
use crate::uefi::store::{self, Variable, wide};
use crate::uefi::{Programs, disk, firmware, slot};

/// What the factory makes.
const OURS: [&str; 5] = ["Boot0001", "Boot0002", "Boot0003", "Boot0004", "BootOrder"];
/// What they are called, in the order of the law.
const NAMES: [&str; 4] = ["Spine A", "Spine B", "Off A", "Off B"];
/// What a first boot writes, whatever numbers the firmware has left.
const MADE: &str = r"slots: boot entries: Boot(.{4}) is Spine A, Boot(.{4}) is Spine B, Boot(.{4}) is Off A, Boot(.{4}) is Off B, the order is .*; writes: 5$";
/// Anything that is written.
const WRITES: &str = "slots: boot entries: ";
/// An entry that a first boot would make, by its number: the firmware takes those before it for its own.
const HIDDEN: &str = "Boot0005";

fn variable(name: &str, data: Vec<u8>) -> Variable {
    Variable {
        vendor: store::GLOBAL,
        name: name.to_owned(),
        attributes: store::PLAIN,
        data,
    }
}

fn order(numbers: &[u16]) -> Variable {
    let data = numbers.iter().flat_map(|it| it.to_le_bytes());
    variable("BootOrder", data.collect())
}

/// The firmware of a machine that has never seen this disk.
fn forget_all(farm: &Farm<'_>) -> Result<()> {
    farm.firmware(|vars| OURS.iter().try_for_each(|it| store::forget(vars, it)))
}

/// The value of a variable, while the machine is off.
fn value(farm: &Farm<'_>, name: &str) -> Result<Option<Vec<u8>>> {
    let vars = std::fs::read(&farm.vars)?;
    Ok(store::value(&vars, name).map(<[u8]>::to_vec))
}

/// `BootOrder`, while the machine is off.
fn ordered(farm: &Farm<'_>) -> Result<Vec<u16>> {
    let value = value(farm, "BootOrder")?.context("no BootOrder")?;
    let numbers = value.as_chunks().0.iter();
    Ok(numbers.map(|it| u16::from_le_bytes(*it)).collect())
}

/// The numbers of the four that were made.
fn numbers(line: &str) -> Result<Vec<u16>> {
    let made = line.split(", the order").next().unwrap_or_default();
    let numbers = made.split("Boot").skip(1);
    let number = |it: &str| u16::from_str_radix(it.get(..4).unwrap_or_default(), 16);
    numbers.map(|it| Ok(number(it)?)).collect()
}

/// A boot in which all is well, from this slot by its entry, ends without a write.
fn is_well(guest: &mut Guest, slot: &str) -> Result<()> {
    settled(guest, slot)?;
    guest.never(WRITES)?;
    guest.never("by no boot entry of its own")
}

pub fn u05_a_stick_that_the_firmware_has_found_by_itself_has_its_entries_after_one_boot(
    lab: &Lab,
) -> Result<()> {
    let mut farm = Farm::new(lab)?;
    // Debian's kernel drives virtio alone.
    farm.stick = lab.hardened();
    forget_all(&farm)?;
    let mut guest = farm.start(None)?;
    guest.expect(r"slots: slot A, started by no boot entry of its own \(")?;
    guest.verdict("GREEN")?;
    let made = numbers(&guest.expect(MADE)?)?;
    guest.expect("slots: slot B is whole, and second from now on: ")?;
    guest.power_off()?;
    let order = ordered(&farm)?;
    ensure!(order.starts_with(&made) && order.len() > 4, "{order:?}");
    let update = farm.update("quiet")?;
    let mut guest = farm.start(Some(&update))?;
    is_well(&mut guest, "A")?;
    takes(&mut guest)?;
    guest.expect(r#"starting Boot.... "Spine B" from HD\(2,GPT,"#)?;
    proves_itself(&mut guest, "B")?;
    mended(&mut guest)?;
    guest.power_off()?;
    let mut guest = farm.start(None)?;
    is_well(&mut guest, "B")?;
    guest.power_off()?;
    farm.fill(disk::SLOT_A, &vec![0; usize::try_from(slot::BYTES)?])?;
    farm.fill(disk::SLOT_B, &wrecked(lab)?)?;
    let mut guest = farm.start(None)?;
    guest.expect_all(&[
        r#"failed to load Boot.... "Spine B" from "#,
        r#"failed to load Boot.... "Spine A" from "#,
        r#"starting Boot.... "Off B" from HD\(2,GPT,"#,
    ])?;
    is_off(&mut guest)
}

/// What a slot holds that has half a Spine, which no firmware starts.
fn wrecked(lab: &Lab) -> Result<Vec<u8>> {
    let mut programs = Programs::of(&lab.bench.fault)?;
    programs.spine.truncate(programs.spine.len() / 2);
    let to = lab.path("slot.img");
    slot::write(&to, &programs, EPOCH, None)?;
    std::fs::read(&to).context("read the slot")
}

pub fn u05_boot_entries_that_are_lost_doubled_or_out_of_order_are_put_right(
    lab: &Lab,
) -> Result<()> {
    let farm = Farm::new(lab)?;
    let mut guest = farm.start(None)?;
    is_well(&mut guest, "A")?;
    guest.power_off()?;
    let (before, layout) = (ordered(&farm)?, disk::Layout::of(&farm.disk)?);
    let ours = firmware::entries(&layout.context("the disk")?);
    // Another disk of ours, which is in a drawer; another system's; the same entry again, switched off and by another name.
    let other = disk::Layout::new(uuid::Uuid::new_v4(), 0, 64 << 20);
    let other = firmware::entries(&other).swap_remove(0).data;
    let mut foreign = ours[0].data.clone();
    foreign.splice(6..22, wide("Debian"));
    let at = foreign.len() - 8;
    foreign[at] = b'X';
    let mut twice = ours[1].data.clone();
    twice[0] = 0;
    let mut off = ours[3].data.clone();
    off.splice(6..18, wide("UEFI OS"));
    let changed = [
        variable("Boot0010", foreign),
        variable("Boot0011", other),
        variable("Boot0012", twice),
        variable("Boot0013", off),
    ];
    // The order as some firmware leaves it; what switches the machine off may stand before a slot.
    let rest: Vec<_> = before
        .iter()
        .copied()
        .filter(|it| !(1..5).contains(it))
        .collect();
    let shuffled = [&[0x10, 0x11, 0x12, 1, 3, 0x13, 2], rest.as_slice()].concat();
    farm.firmware(|vars| {
        store::forget(vars, "Boot0003")?;
        let all = changed.iter().chain([&ours[0]]);
        all.chain([&order(&shuffled)])
            .try_for_each(|it| store::put(vars, it))
    })?;
    let mut guest = farm.start(None)?;
    guest.verdict("GREEN")?;
    guest.expect(r"slots: boot entries: Boot0003 is Off A, the order is 0001 0002 0003 0013 0010 0011 .*, Boot0012 is removed, Boot0004 is removed; writes: 4$")?;
    mended(&mut guest)?;
    guest.power_off()?;
    let order = [&[1, 2, 3, 0x13, 0x10, 0x11], rest.as_slice()].concat();
    ensure!(
        ordered(&farm)? == order,
        "{:?}: not {order:?}",
        ordered(&farm)?
    );
    for it in &changed[..2] {
        let kept = value(&farm, &it.name)?;
        ensure!(kept.as_ref() == Some(&it.data), "{}: {kept:02x?}", it.name);
    }
    for name in ["Boot0012", "Boot0004"] {
        ensure!(value(&farm, name)?.is_none(), "{name} is there");
    }
    let mut guest = farm.start(None)?;
    is_well(&mut guest, "A")?;
    guest.power_off()?;
    ensure!(ordered(&farm)? == order, "a boot that was well wrote");
    Ok(())
}

pub fn u05_a_firmware_that_takes_no_boot_entry_is_said_and_yellow(lab: &Lab) -> Result<()> {
    let farm = Farm::new(lab)?;
    forget_all(&farm)?;
    // A system does not see it, and the firmware lets nobody else have its name.
    let hidden = Variable {
        attributes: store::OWN,
        ..variable(HIDDEN, vec![0])
    };
    farm.firmware(|vars| store::put(vars, &hidden))?;
    let mut guest = farm.start(None)?;
    guest.verdict("GREEN")?;
    let refused = format!(
        "write {HIDDEN}: .* .os error [0-9]+.; what starts when this slot fails is not certain; next: remove entries in the firmware's setup, then reboot$"
    );
    guest.expect(&format!("slots: FAIL: {refused}"))?;
    guest.expect(&format!("validate: YELLOW boot: {refused}"))?;
    guest.verdict("YELLOW")?;
    guest.machine.send_line("update")?;
    guest.expect("update: FAIL: no partition is called update: ")?;
    let said = guest.count("slots: FAIL: ")?;
    ensure!(said == 1, "{said} lines of it");
    guest.power_off()?;
    farm.firmware(|vars| store::forget(vars, HIDDEN))?;
    let mut guest = farm.start(None)?;
    guest.verdict("GREEN")?;
    guest.expect("slots: boot entries: Boot.* is Off B, the order is .*; writes: [45]$")?;
    guest.expect("slots: slot B is whole, and second from now on: ")?;
    guest.power_off()?;
    let mut guest = farm.start(None)?;
    is_well(&mut guest, "A")?;
    guest.power_off()
}

pub fn u05_a_boot_that_is_not_well_has_its_entries_too(lab: &Lab) -> Result<()> {
    let farm = Farm::new(lab)?;
    forget_all(&farm)?;
    farm.fill(disk::SLOT_A, &farm.other("fault=unwell", EPOCH)?)?;
    let mut guest = farm.start(None)?;
    guest.expect(MADE)?;
    // It is no pattern for the other slot, and not what is to be remembered as well.
    guest.ask("status")?;
    guest.never("slots: slot ([AB] is|B)")?;
    guest.power_off()
}

pub fn u05_a_power_cut_between_any_two_boot_entries_leaves_a_machine_that_boots(
    lab: &Lab,
) -> Result<()> {
    // Four entries and the order.
    for step in 1..=5 {
        let farm = Farm::new(lab)?;
        forget_all(&farm)?;
        let mut good = vec![0; usize::try_from(slot::BYTES)?];
        File::open(&farm.disk)?.read_exact_at(&mut good, farm.place(disk::SLOT_A))?;
        let fill = |content: &[u8]| {
            farm.fill(disk::SLOT_A, content)?;
            farm.fill(disk::SLOT_B, content)
        };
        fill(&farm.other(&format!("fault=stop-at {step}"), EPOCH)?)?;
        let mut guest = farm.start(None)?;
        guest.expect("fault: stopped at its step$")?;
        guest.machine.kill()?;
        fill(&good)?;
        let mut guest = farm.start(None)?;
        guest.verdict("GREEN")?;
        guest
            .expect("slots: slot B is whole, and second from now on: ")
            .with_context(|| format!("after step {step}"))?;
        guest.power_off()?;
        for (number, name) in ordered(&farm)?.iter().zip(NAMES) {
            let entry = value(&farm, &format!("Boot{number:04X}"))?;
            let named = entry.is_some_and(|it| it[6..].starts_with(&wide(name)));
            ensure!(named, "after step {step}, Boot{number:04X} is not {name}");
        }
    }
    Ok(())
}
