//! Disks that firmware boots: A, then B, then power off, with and without Secure Boot (A01, C09).
//!
//! Each scenario has keys, disk and variables of its own. Which slot was started is what the firmware says on the console.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use uuid::Uuid;

use super::bus::{Bus, plug};
use super::lab::{Build, Guest, Lab, PATIENCE, drive};
use super::updates::{contents, mended};
use super::{setup, vault};
use crate::machine::{Firmware, MachineConfig};
use crate::uefi::keys::Keys;
use crate::uefi::{Programs, disk, firmware, off, slot};

/// The time of the files in a slot; any will do.
const EPOCH: u32 = 1_700_000_000;
/// GREEN, and the TPM had its part in it.
const SEALED: &str = r"validate: GREEN \(.* vault GREEN$";
const STARTS_A: &str = r#"BdsDxe: starting Boot0001 "Spine A" from HD\(1,GPT,"#;
const STARTS_B: &str = r#"BdsDxe: starting Boot0002 "Spine B" from HD\(2,GPT,"#;
const REFUSES_A: &str = r#"BdsDxe: failed to load Boot0001 "Spine A" from .*: Access Denied"#;
const REFUSES_B: &str = r#"BdsDxe: failed to load Boot0002 "Spine B" from .*: Access Denied"#;
const FINDS_NO_A: &str = r#"BdsDxe: failed to load Boot0001 "Spine A" from .*: Not Found"#;
const STARTS_OFF_A: &str = r#"BdsDxe: starting Boot0003 "Off A" from HD\(1,GPT,"#;
const STARTS_OFF_B: &str = r#"BdsDxe: starting Boot0004 "Off B" from HD\(2,GPT,"#;
/// The kernel's own word for it.
const SECURE: &str = r"^EFI stub: UEFI Secure Boot is enabled\.";

/// A machine's disk before its first boot.
struct Rig<'a> {
    lab: &'a Lab,
    keys: Keys,
    /// As they are to be, in both slots.
    good: Programs,
}

/// What is in a slot.
enum Content<'a> {
    Programs(&'a Programs),
    Zeros,
}

impl<'a> Rig<'a> {
    fn new(lab: &'a Lab) -> Result<Rig<'a>> {
        let keys = Keys::in_dir(&lab.path("keys"));
        keys.make(false)?;
        let good = Programs::of(&lab.bench.release)?.signed(&keys.pair("db"))?;
        Ok(Rig { lab, keys, good })
    }

    /// The good slot with another Spine in it.
    fn with(&self, spine: Vec<u8>) -> Programs {
        let off = self.good.off.clone();
        Programs { spine, off }
    }

    /// One bit in the middle of the signed Spine is another.
    fn tampered(&self) -> Programs {
        let mut spine = self.good.spine.clone();
        let middle = spine.len() / 2;
        spine[middle] ^= 1;
        self.with(spine)
    }

    /// Starts the machine with these slots.
    fn start(&self, secure: bool, a: &Content<'_>, b: &Content<'_>) -> Result<Guest> {
        self.lab.start(&self.machine(secure, a, b)?)
    }

    fn machine(&self, secure: bool, a: &Content<'_>, b: &Content<'_>) -> Result<MachineConfig> {
        self.machine_with(secure, a, b, Some(EPOCH))
    }

    /// The same with a persist that has nothing in it, not even ext4, where no time is given.
    fn machine_with(
        &self,
        secure: bool,
        a: &Content<'_>,
        b: &Content<'_>,
        ext4: Option<u32>,
    ) -> Result<MachineConfig> {
        let (image, vars) = (self.lab.path("disk.img"), self.lab.path("vars.fd"));
        let (a, b) = (self.slot(a)?, self.slot(b)?);
        let layout = disk::make(&image, Uuid::new_v4(), &contents(&b, ext4))?;
        let file = File::options().write(true).open(&image)?;
        file.write_all_at(&a, layout.partitions[disk::SLOT_A].at)?;
        firmware::write_vars(&vars, &layout, secure.then_some(&self.keys))?;
        let mut config = self.lab.config(Build::Release);
        config.drives.push(drive(&image, ""));
        config.firmware = Some(Firmware {
            code: firmware::code(secure).to_owned(),
            vars,
            secure,
        });
        Ok(config)
    }

    fn slot(&self, content: &Content<'_>) -> Result<Vec<u8>> {
        let Content::Programs(programs) = content else {
            return Ok(vec![0; usize::try_from(slot::BYTES)?]);
        };
        let file = self.lab.path("slot.img");
        slot::write(&file, programs, EPOCH, None)?;
        fs::read(&file).context("read the slot")
    }
}

/// The machine is off by its own doing, and said why.
pub(super) fn is_off(guest: &mut Guest) -> Result<()> {
    guest.expect(off::SAYS)?;
    let event = guest.machine.qmp_event("SHUTDOWN", PATIENCE)?;
    let reason = event.pointer("/data/reason").and_then(Value::as_str);
    ensure!(
        reason == Some("guest-shutdown"),
        "the machine is off for another reason: {event}"
    );
    let status = guest.ended()?;
    ensure!(status.success(), "qemu ended with {status}");
    Ok(())
}

pub fn a01_the_signed_disk_boots_under_secure_boot(lab: &Lab) -> Result<()> {
    let rig = Rig::new(lab)?;
    let good = Content::Programs(&rig.good);
    let mut guest = rig.start(true, &good, &good)?;
    guest.expect_all(&[STARTS_A, SECURE, " root: verified, "])?;
    guest.verdict("GREEN")?;
    guest.never("BdsDxe: failed")?;
    guest.power_off()
}

pub fn c07_a_disk_of_slots_without_a_vault_is_given_one_and_asks_from_then_on(
    lab: &Lab,
) -> Result<()> {
    let rig = Rig::new(lab)?;
    let good = Content::Programs(&rig.good);
    let config = rig.machine_with(true, &good, &good, None)?;
    let mut guest = lab.start(&config)?;
    guest.expect_all(&[STARTS_A, SECURE, "^vault: /dev/vda3 is empty, 64 MiB$"])?;
    vault::confirm(&mut guest)?;
    guest.says("vault: /dev/vda3 is a new one")?;
    guest.expect(r"slots: slot A \(")?;
    guest.verdict("GREEN")?;
    guest.power_off()?;
    let mut guest = lab.start(&config)?;
    guest.expect(STARTS_A)?;
    vault::unlock(&mut guest)?;
    guest.says("vault: /dev/vda3 unlocked, N wrong passphrases before")?;
    guest.expect("previous: ended clean power off")?;
    guest.expect(r"slots: slot A \(")?;
    guest.verdict("GREEN")?;
    guest.power_off()
}

pub fn c07_the_release_profile_takes_a_vault_and_nothing_else(lab: &Lab) -> Result<()> {
    let keys = Keys::in_dir(&lab.path("keys"));
    keys.make(false)?;
    let good = Programs::of(&lab.bench.strict)?.signed(&keys.pair("db"))?;
    let rig = Rig { lab, keys, good };
    let good = Content::Programs(&rig.good);
    let config = rig.machine(true, &good, &good)?;
    let before = fs::read(lab.path("disk.img"))?;
    let mut guest = lab.start(&config)?;
    guest.says("keeper: FAIL: /persist is no vault; booting dirty; next: attach one, or an empty disk (N ms)")?;
    guest.verdict("RED")?;
    guest.machine.kill()?;
    let same = fs::read(lab.path("disk.img"))? == before;
    ensure!(same, "a plain disk was written to");
    let config = rig.machine_with(true, &good, &good, None)?;
    let mut guest = lab.start(&config)?;
    guest.expect("^vault: /dev/vda3 is empty, 64 MiB$")?;
    vault::confirm(&mut guest)?;
    guest.expect("keeper: /persist open: ")?;
    guest.verdict("GREEN")?;
    guest.never("(protection=plain|keeper: FAIL)")?;
    guest
        .machine
        .qmp("system_powerdown", serde_json::json!({}))?;
    guest.says("shutdown: power off")?;
    guest.ended()?;
    let mut guest = lab.start(&config)?;
    vault::unlock(&mut guest)?;
    guest.says("vault: /dev/vda3 unlocked, N wrong passphrases before")?;
    guest.verdict("GREEN")?;
    guest.machine.kill()
}

pub fn u07_a_stick_of_the_release_profile_is_installed_from_and_serves_no_other_verb(
    lab: &Lab,
) -> Result<()> {
    let keys = Keys::in_dir(&lab.path("keys"));
    keys.make(false)?;
    let good = Programs::of(&lab.bench.strict)?.signed(&keys.pair("db"))?;
    let rig = Rig { lab, keys, good };
    let good = Content::Programs(&rig.good);
    let mut config = rig.machine_with(true, &good, &good, None)?;
    let target = lab.path("target.img");
    File::create(&target)?.set_len(setup::target(lab)?)?;
    config.drives.clear();
    let installed = config.clone();
    plug(&mut config, Bus::Usb, "stick", &lab.path("disk.img"));
    plug(&mut config, Bus::Nvme, "nvme", &target);
    let mut guest = lab.start(&config)?;
    guest.expect("^vault: /dev/sda3 is empty, 64 MiB$")?;
    vault::confirm(&mut guest)?;
    guest.expect("operator: ready, ")?;
    guest.verdict("GREEN")?;
    for line in ["start p://dev", "enter p://dev", "reset"] {
        let said = guest.ask(line)?;
        ensure!(
            said.contains("not on a stick of the release profile; next: disks, "),
            "{line}: {said:?}"
        );
    }
    mended(&mut guest)?;
    setup::confirm(&mut guest, "nvme0n1", "nvme", None)?;
    guest.expect(setup::DONE)?;
    guest.power_off()?;
    // What was installed has no such line, with the stick beside it or without.
    let mut config = installed;
    plug(&mut config, Bus::Nvme, "nvme", &target);
    let mut guest = lab.start(&config)?;
    guest.expect("^vault: /dev/nvme0n1p3 is empty, ")?;
    vault::confirm(&mut guest)?;
    guest.says("operator: none in the release profile (N ms)")?;
    guest.verdict("GREEN")?;
    let event = serde_json::json!({});
    guest.machine.qmp("system_powerdown", event)?;
    guest.says("shutdown: power off")?;
    guest.ended().map(drop)
}

pub fn a02_the_register_that_moved_is_told_and_the_vault_sealed_again(lab: &Lab) -> Result<()> {
    let rig = Rig::new(lab)?;
    let good = Content::Programs(&rig.good);
    let mut config = rig.machine_with(true, &good, &good, None)?;
    config.tpm = Some(lab.path("tpm"));
    let mut guest = lab.start(&config)?;
    guest.expect(STARTS_A)?;
    let key = vault::seal(&mut guest)?;
    guest.expect(SEALED)?;
    guest.power_off()?;
    // As an update would: the same disk with another Spine, signed with the same key.
    let other = Programs::of(&lab.bench.fault)?.signed(&rig.keys.pair("db"))?;
    let slot = rig.slot(&Content::Programs(&other))?;
    disk::rewrite(&lab.path("disk.img"), &slot, None)?;
    let mut guest = lab.start(&config)?;
    guest.expect(r"^vault: TPM: register 11 \(the Spine\) is not what it was$")?;
    vault::recover(&mut guest, &key)?;
    vault::reseal(&mut guest, "RESEAL")?;
    guest.expect(SEALED)?;
    guest.power_off()?;
    let mut guest = lab.start(&config)?;
    vault::unlock(&mut guest)?;
    guest.expect(SEALED)?;
    guest.power_off()?;
    // Firmware that would start anything.
    let layout = disk::Layout::of(&lab.path("disk.img"))?.context("the disk")?;
    let vars = lab.path("vars.fd");
    firmware::write_vars(&vars, &layout, None)?;
    config.firmware = Some(Firmware {
        code: firmware::code(false).to_owned(),
        vars,
        secure: false,
    });
    let mut guest = lab.start(&config)?;
    guest.expect(r"^vault: TPM: register 7 \(Secure Boot and its keys\) is not what it was$")?;
    vault::recover(&mut guest, &key)?;
    vault::reseal(&mut guest, "no")?;
    guest.expect(r"validate: YELLOW \(.* vault YELLOW$")?;
    guest.power_off()
}

pub fn a01_the_disk_boots_without_secure_boot_and_unsigned(lab: &Lab) -> Result<()> {
    let rig = Rig::new(lab)?;
    let unsigned = Programs::of(&lab.bench.release)?;
    let unsigned = Content::Programs(&unsigned);
    let mut guest = rig.start(false, &unsigned, &unsigned)?;
    guest.expect_all(&[STARTS_A])?;
    guest.verdict("GREEN")?;
    guest.never(SECURE)?;
    guest.power_off()
}

pub fn a01_a_stick_boots_and_has_its_persist(lab: &Lab) -> Result<()> {
    let rig = Rig::new(lab)?;
    let good = Content::Programs(&rig.good);
    let mut config = rig.machine(true, &good, &good)?;
    // The same disk on USB: the entries name its partitions and not where it is plugged in.
    let disk = lab.path("disk.img");
    config.drives = vec![format!(
        "file={},format=raw,if=none,id=stick",
        disk.display()
    )];
    let stick = ["qemu-xhci", "usb-storage,drive=stick"];
    let stick = stick.iter().flat_map(|it| ["-device", it]);
    config.extra_args.extend(stick.map(String::from));
    for round in 0..2 {
        let mut guest = lab.start(&config)?;
        guest.expect_all(&[STARTS_A, SECURE])?;
        if lab.hardened() {
            guest.expect(r"slots: slot A \(")?;
            guest.verdict("GREEN")?;
            let kept = guest.count("previous: ended clean power off")?;
            ensure!(kept == round, "boot {round} finds {kept} before it");
        } else {
            // That kernel has no driver for USB: no /persist, and so no word of what has failed before.
            guest.expect("slots: FAIL: no database; no update is taken; next: ")?;
            guest.verdict("RED")?;
        }
        guest.power_off()?;
    }
    Ok(())
}

pub fn a01_an_unsigned_uki_is_refused_under_secure_boot(lab: &Lab) -> Result<()> {
    let rig = Rig::new(lab)?;
    let unsigned = rig.with(Programs::of(&lab.bench.release)?.spine);
    let unsigned = Content::Programs(&unsigned);
    let mut guest = rig.start(true, &unsigned, &unsigned)?;
    guest.expect_all(&[REFUSES_A, REFUSES_B, STARTS_OFF_A])?;
    is_off(&mut guest)?;
    guest.never(" bay0: version ")
}

pub fn c09_a_tampered_uki_in_a_falls_to_b(lab: &Lab) -> Result<()> {
    let rig = Rig::new(lab)?;
    let (bad, good) = (rig.tampered(), Content::Programs(&rig.good));
    let mut guest = rig.start(true, &Content::Programs(&bad), &good)?;
    guest.expect_all(&[REFUSES_A, STARTS_B, SECURE])?;
    guest.verdict("GREEN")?;
    guest.power_off()
}

pub fn c09_with_both_tampered_the_machine_powers_off(lab: &Lab) -> Result<()> {
    let rig = Rig::new(lab)?;
    let bad = rig.tampered();
    let bad = Content::Programs(&bad);
    let mut guest = rig.start(true, &bad, &bad)?;
    guest.expect_all(&[REFUSES_A, REFUSES_B, STARTS_OFF_A])?;
    is_off(&mut guest)?;
    guest.never(" bay0: version ")
}

pub fn c09_only_our_keys_are_enrolled(lab: &Lab) -> Result<()> {
    let rig = Rig::new(lab)?;
    let others = Keys::in_dir(&lab.path("other-keys"));
    others.make(false)?;
    // Not even by what is above the key that signs, in the machine's own firmware.
    let unsigned = Programs::of(&lab.bench.release)?;
    let foreign = rig.with(unsigned.signed(&others.pair("db"))?.spine);
    let owner = rig.with(unsigned.signed(&rig.keys.pair("PK"))?.spine);
    let mut guest = rig.start(
        true,
        &Content::Programs(&foreign),
        &Content::Programs(&owner),
    )?;
    guest.expect_all(&[REFUSES_A, REFUSES_B, STARTS_OFF_A])?;
    is_off(&mut guest)
}

pub fn c09_a_slot_of_zeros_falls_to_b(lab: &Lab) -> Result<()> {
    let rig = Rig::new(lab)?;
    let good = Content::Programs(&rig.good);
    for secure in [true, false] {
        let mut guest = rig.start(secure, &Content::Zeros, &good)?;
        guest.expect_all(&[FINDS_NO_A, STARTS_B])?;
        guest.verdict("GREEN")?;
        guest.power_off()?;
    }
    Ok(())
}

pub fn c09_a_wrecked_slot_and_a_refused_one_power_off(lab: &Lab) -> Result<()> {
    let rig = Rig::new(lab)?;
    let bad = rig.tampered();
    let mut guest = rig.start(true, &Content::Zeros, &Content::Programs(&bad))?;
    guest.expect_all(&[FINDS_NO_A, REFUSES_B, STARTS_OFF_B])?;
    is_off(&mut guest)
}

/// Without Secure Boot the firmware verifies nothing, and still goes on from what is no program any more.
pub fn c09_a_truncated_uki_falls_to_b_without_secure_boot(lab: &Lab) -> Result<()> {
    let rig = Rig::new(lab)?;
    let half = rig.with(rig.good.spine[..rig.good.spine.len() / 2].to_vec());
    let good = Content::Programs(&rig.good);
    let mut guest = rig.start(false, &Content::Programs(&half), &good)?;
    guest.expect_all(&[
        r#"BdsDxe: failed to load Boot0001 "Spine A" from .*: Unsupported"#,
        STARTS_B,
    ])?;
    guest.verdict("GREEN")?;
    guest.power_off()
}
