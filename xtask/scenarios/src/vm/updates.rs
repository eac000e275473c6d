//! Updates (C10, C11, A13, T06): machines with two slots, started by the firmware, that are given another Spine.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use regex::Regex;
use uuid::Uuid;

use super::bus::{Bus, plug};
use super::images;
use super::lab::{Build, DISK_MIB, Guest, Lab, PATIENCE, drive};
use super::net::{HOST, serve};
use super::online::leased;
use super::rng::Rng;
use super::root;
use super::vault;
use crate::layout::Spine;
use crate::machine::{CARD, Firmware};
use crate::rootimg::command_line;
use crate::uefi::keys::{Keys, Pair};
use crate::uefi::store::Variable;
use crate::uefi::{Programs, disk, firmware, slot, store, update};

/// The time of the files in a slot; any will do.
pub(super) const EPOCH: u32 = 1_700_000_000;
/// A version that no Spine is newer than: the last time that FAT can write down is later.
pub(super) const NEWEST: u32 = i32::MAX as u32;
/// Longest that the power stays on once an update has begun: it takes about as long.
const CUT_MS: u64 = 6000;
const ROUNDS: u64 = 3;
/// Bytes a second of a slow disk: an update takes some seconds.
const SLOW: u64 = 1 << 20;

/// A machine's disk and its firmware's memory, over all its boots.
pub(super) struct Farm<'a> {
    lab: &'a Lab,
    pub(super) disk: PathBuf,
    pub(super) vars: PathBuf,
    rooms: Option<PathBuf>,
    /// It is a stick, on USB.
    pub(super) stick: bool,
    made: u32,
}

impl<'a> Farm<'a> {
    /// The test build in both slots: it can be told to fail; and a `/persist` in clear.
    pub(super) fn new(lab: &'a Lab) -> Result<Farm<'a>> {
        Farm::with(lab, Some(EPOCH))
    }

    /// The same with nothing in the partition for `/persist`, unless this is the time of its ext4.
    fn with(lab: &'a Lab, persist: Option<u32>) -> Result<Farm<'a>> {
        let (disk, vars) = (lab.path("disk.img"), lab.path("vars.fd"));
        let slot = content(lab, &lab.bench.fault, EPOCH)?;
        let layout = disk::make(&disk, Uuid::new_v4(), &contents(&slot, persist))?;
        firmware::write_vars(&vars, &layout, None)?;
        Ok(Farm {
            lab,
            disk,
            vars,
            rooms: lab.bench.rooms.clone(),
            stick: false,
            made: 0,
        })
    }

    /// A disk with an update of the test build whose command line ends in `words`.
    pub(super) fn update(&mut self, words: &str) -> Result<PathBuf> {
        let slot = self.other(words, NEWEST)?;
        self.pack(slot, &self.lab.bench.keys.pair("db"))
    }

    /// What a slot holds when the test build is in it with another command line.
    pub(super) fn other(&self, words: &str, version: u32) -> Result<Vec<u8>> {
        let initrd = self.lab.path("other.img");
        let kernel = self.lab.bench.fault.kernel.clone();
        fs::copy(&self.lab.bench.fault.initrd, &initrd).context("copy the test build")?;
        let line = command_line(&self.lab.bench.fault.initrd);
        fs::write(initrd.with_extension("cmdline"), format!("{line} {words}"))?;
        content(self.lab, &Spine { kernel, initrd }, version)
    }

    fn pack(&mut self, mut slot: Vec<u8>, pair: &Pair) -> Result<PathBuf> {
        self.made += 1;
        let to = self.lab.path(&format!("update-{}.img", self.made));
        update::sign(&mut slot, pair)?;
        update::disk(&to, &slot, None)?;
        Ok(to)
    }

    /// Starts the machine, with an update attached if there is one.
    pub(super) fn start(&self, update: Option<&Path>) -> Result<Guest> {
        self.start_with(update, [])
    }

    /// The same with more arguments for QEMU.
    pub(super) fn start_with<const N: usize>(
        &self,
        update: Option<&Path>,
        more: [&str; N],
    ) -> Result<Guest> {
        let mut config = self.lab.config(Build::Fault);
        config.extra_args.extend(more.map(String::from));
        if self.stick {
            plug(&mut config, Bus::Usb, "stick", &self.disk);
        } else {
            config.drives.push(drive(&self.disk, ""));
        }
        config.rooms.clone_from(&self.rooms);
        if let Some(update) = update {
            let update = crate::machine::virtio_drive(update, "update", ",readonly=on");
            config.drives.push(update);
        }
        config.firmware = Some(Firmware {
            code: firmware::code(false).to_owned(),
            vars: self.vars.clone(),
            secure: false,
        });
        self.lab.start(&config)
    }

    /// Changes the firmware's variables while the machine is off.
    pub(super) fn firmware(&self, change: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<()> {
        let mut vars = fs::read(&self.vars)?;
        change(&mut vars)?;
        fs::write(&self.vars, vars).context("write the firmware's variables")
    }

    /// Gives a slot this content alone.
    pub(super) fn fill(&self, slot: usize, content: &[u8]) -> Result<()> {
        let file = File::options().write(true).open(&self.disk)?;
        Ok(file.write_all_at(content, self.place(slot))?)
    }

    /// Where a slot begins on the disk.
    pub(super) fn place(&self, slot: usize) -> u64 {
        disk::Layout::new(disk::FIXED, 0, DISK_MIB << 20).partitions[slot].at
    }
}

/// A disk of a scenario with this in both slots, no images, and a small `/persist`.
pub(super) fn contents(slot: &[u8], ext4: Option<u32>) -> disk::Contents<'_> {
    disk::Contents {
        slot,
        rooms: None,
        persist: DISK_MIB << 20,
        ext4,
    }
}

/// What a slot holds with this Spine in it. Without Secure Boot no signature is asked for.
pub(super) fn content(lab: &Lab, spine: &Spine, version: u32) -> Result<Vec<u8>> {
    content_with(lab, spine, version, None)
}

/// The same with these images beside it.
pub(super) fn content_with(
    lab: &Lab,
    spine: &Spine,
    version: u32,
    rooms: Option<&Path>,
) -> Result<Vec<u8>> {
    let to = lab.path("slot.img");
    slot::write(&to, &Programs::of(spine)?, version, rooms)?;
    fs::read(&to).context("read the slot")
}

/// Waits until this slot runs, is GREEN and has looked after the other one; what it did with that.
pub(super) fn settled(guest: &mut Guest, slot: &str) -> Result<String> {
    guest.expect(&format!(r#"starting Boot000. "Spine {slot}" "#))?;
    guest.expect(&format!("slots: slot {slot}"))?;
    guest.verdict("GREEN")?;
    mended(guest)
}

pub(super) fn mended(guest: &mut Guest) -> Result<String> {
    let line = guest.expect("slots: slot [AB] is (whole|made a copy): [0-9a-f]{64}$")?;
    Ok(line.split("slots: ").nth(1).unwrap_or_default().to_owned())
}

/// Takes the update that is attached and boots it; its hash.
pub(super) fn takes(guest: &mut Guest) -> Result<String> {
    guest.machine.send_line("update")?;
    let line = guest.expect("update: [0-9a-f]{64} is tried at the next boot; next: reboot$")?;
    guest.machine.send_line("reboot")?;
    let hash = line.split(' ').find(|word| word.len() == 64);
    Ok(hash.context("no hash")?.to_owned())
}

/// The first boot of what was taken, which is kept: in this slot, or in one of these.
pub(super) fn proves_itself(guest: &mut Guest, slot: &str) -> Result<()> {
    guest.expect(&format!(r"slots: slot {slot}, on trial \("))?;
    guest.verdict("GREEN")?;
    let first = format!("slots: slot {slot} is the first from now on$");
    guest.expect(&first).map(drop)
}

pub fn a13_an_update_is_tried_once_and_then_first(lab: &Lab) -> Result<()> {
    updated(lab, &["B"])
}

pub fn a13_an_update_is_tried_once_and_then_first_five_times_over(lab: &Lab) -> Result<()> {
    updated(lab, &["B", "A", "B", "A", "B"])
}

/// Each of these slots in turn takes an update; the last one is booted once more.
fn updated(lab: &Lab, slots: &[&str]) -> Result<()> {
    let mut farm = Farm::new(lab)?;
    let updates = [farm.update("quiet")?, farm.update("quiet again")?];
    let mut before = String::new();
    for (round, new) in slots.iter().enumerate() {
        let mut guest = farm.start(Some(&updates[round % 2]))?;
        settled(&mut guest, if *new == "B" { "A" } else { "B" })?;
        let hash = takes(&mut guest)?;
        guest.expect(&format!(r#"starting Boot000. "Spine {new}" "#))?;
        proves_itself(&mut guest, new)?;
        let line = mended(&mut guest)?;
        ensure!(line.ends_with(&before), "{line}: not {before}");
        // The other slot has the only older Spine.
        guest.machine.send_line("update")?;
        guest.expect(&format!(
            "update: FAIL: {hash} runs already; next: get another$"
        ))?;
        ensure!(mended(&mut guest)? == line);
        guest.power_off()?;
        before = format!(" is whole: {hash}");
    }
    let mut guest = farm.start(None)?;
    settled(&mut guest, "B")?;
    guest.power_off()
}

pub fn h06_an_update_on_a_slow_disk_is_taken_and_loses_nothing(lab: &Lab) -> Result<()> {
    let mut farm = Farm::new(lab)?;
    let update = farm.update("quiet")?;
    let mut guest = farm.start(Some(&update))?;
    settled(&mut guest, "A")?;
    guest.throttle(SLOW)?;
    guest.machine.send_line("update")?;
    // Its megabytes go before what the keeper writes.
    guest.said("persist: YELLOW: keeper [a-z-]+ takes ")?;
    guest.said("update: [0-9a-f]{64} is tried at the next boot; next: reboot$")?;
    guest.never("keeper: FAIL")?;
    guest.throttle(0)?;
    guest.machine.send_line("reboot")?;
    proves_itself(&mut guest, "B")?;
    mended(&mut guest)?;
    guest.power_off()
}

pub fn c11_a_vault_without_a_tpm_is_no_fault_of_the_new_spine(lab: &Lab) -> Result<()> {
    let mut farm = Farm::with(lab, None)?;
    let update = farm.update("quiet")?;
    let mut guest = farm.start(Some(&update))?;
    vault::confirm(&mut guest)?;
    guest.expect(r"slots: slot A \(")?;
    guest.verdict("GREEN")?;
    mended(&mut guest)?;
    takes(&mut guest)?;
    vault::unlock(&mut guest)?;
    proves_itself(&mut guest, "B")?;
    guest.machine.send_line("reboot")?;
    vault::unlock(&mut guest)?;
    guest.expect(r"slots: slot B \(")?;
    guest.power_off()
}

/// The room that brings updates.
const BRINGS: &str = "sys://brings";

/// Has the room send an update, which a person allows: what it is told, and the exit code.
fn brings(guest: &mut Guest, command: &str) -> Result<(String, i32)> {
    guest.begin_in(BRINGS, command)?;
    guest.expect(&format!(
        "{BRINGS} asks to bring an update of this machine$"
    ))?;
    let letters = guest.letters()?;
    guest.machine.send_line(&letters)?;
    guest.says("question: allowed, typed")?;
    guest.end_in(BRINGS)
}

/// Has it send an update that is taken; what is then said of its slot.
fn takes_from(guest: &mut Guest, command: &str) -> Result<String> {
    let (said, code) = brings(guest, command)?;
    let hash = said.strip_suffix(" is tried at the next boot; next: reboot");
    ensure!(code == 0, "{code}: {said}");
    Ok(format!("slot B is whole: {}", hash.context(said.clone())?))
}

pub fn a13_a_room_sends_an_update_where_its_policy_says_so(lab: &Lab) -> Result<()> {
    let farm = Farm::new(lab)?;
    let mut slot = farm.other("quiet", NEWEST)?;
    update::sign(&mut slot, &lab.bench.keys.pair("db"))?;
    let whole = update::stream(&slot);
    let mut changed = whole.clone();
    changed[20 << 20] ^= 1;
    let short = whole[..30 << 20].to_vec();
    let gives = |bytes: Vec<u8>| serve(move |mut client| client.write_all(&bytes));
    let (whole, changed, short) = (gives(whole)?, gives(changed)?, gives(short)?);
    let mut guest = farm.start_with(None, CARD)?;
    let before = settled(&mut guest, "A")?;
    let again = before.replace("whole", "made a copy");
    guest.start_room("sys://net")?;
    let mut room = guest.start_and_enter("p://near")?;
    let (said, code) = room.try_run("bay0 update </dev/null")?;
    let why = "bay0: not in this room's policy; next: write it there";
    ensure!(code == 1 && said.trim() == why, "p://near: {code}: {said}");
    room.leave()?;
    guest.said(&leased(r"10\.0\.2\.15/24", r"10\.0\.2\.2"))?;
    guest.start_room(BRINGS)?;
    let sent = |port| format!("nc {HOST} {port} </dev/null | bay0 update");
    let garbage = "head -c 9000 /dev/zero | bay0 update".to_owned();
    let unsigned = r"E[A-Z]+: its signature is not that of this Spine's maker; next: get another";
    let taken = takes_from(&mut guest, &sent(whole))?;
    for (command, why, then) in [
        // What waits for its one try is no update that has failed.
        (&garbage, unsigned, &taken),
        (
            &sent(short),
            r"cut off at byte 31453184; next: try again",
            &again,
        ),
        (&garbage, unsigned, &before),
        (
            &sent(changed),
            "slot B reads back differently; next: get another, or replace the disk",
            &again,
        ),
    ] {
        let from = guest.machine.text().len();
        let (said, code) = brings(&mut guest, command)?;
        let why = Regex::new(&format!("^bay0: FAIL: {why}$"))?;
        ensure!(code == 1 && why.is_match(said.trim()), "{code}: {said}");
        // Its line may have come before the end of the command.
        if !guest.machine.text()[from..].contains(then.as_str()) {
            ensure!(mended(&mut guest)? == *then, "{command}: not {then}");
        }
    }
    ensure!(takes_from(&mut guest, &sent(whole))? == taken);
    // Enter alone is no: nothing of it is read, and the room hears why.
    guest.run_in(BRINGS, &format!("(({garbage}) >/said 2>&1 &)"))?;
    guest.letters()?;
    guest.machine.send_line("")?;
    guest.says("question: not allowed: the answer was no; next: none")?;
    let said = guest.run_in(
        BRINGS,
        "until [ -s /said ]; do sleep 0.1; done; cat /said; bay0 update </dev/null 2>&1; true",
    )?;
    ensure!(
        said.contains("bay0: the answer was no; next: none"),
        "{said}"
    );
    ensure!(
        said.contains("bay0: not now: the last answer was no, "),
        "{said}"
    );
    guest.never("is refused from now on")?;
    guest.machine.send_line("reboot")?;
    proves_itself(&mut guest, "B")?;
    guest.power_off()
}

pub fn c11_a_new_spine_that_fails_is_back_at_the_old_one_and_refused(lab: &Lab) -> Result<()> {
    failing(lab, &[("fault=panic", "bay0: FAIL: bay0 panic at ")])
}

pub fn c11_a_new_spine_that_hangs_or_is_not_well_is_back_at_the_old_one_too(
    lab: &Lab,
) -> Result<()> {
    let kinds = [
        ("fault=hang", r"slots: slot B, on trial \("),
        (
            "fault=unwell",
            "slots: FAIL: slot B is not well; next: see why above$",
        ),
    ];
    failing(lab, &kinds)
}

pub fn c01_a_spine_on_trial_is_read_whole_before_anything_of_it_runs(lab: &Lab) -> Result<()> {
    let mut farm = Farm::new(lab)?;
    let initrd = root::damaged(lab, &lab.bench.fault, "middle.img", |blocks| blocks / 2)?;
    let kernel = lab.bench.fault.kernel.clone();
    let slot = content(lab, &Spine { kernel, initrd }, NEWEST)?;
    let update = farm.pack(slot, &lab.bench.keys.pair("db"))?;
    let mut guest = farm.start(Some(&update))?;
    settled(&mut guest, "A")?;
    let hash = takes(&mut guest)?;
    guest.expect(r#"starting Boot0002 "Spine B" "#)?;
    guest.expect("bay0: FAIL: root: verify it: Input/output error ")?;
    guest.expect(r#"starting Boot0001 "Spine A" "#)?;
    guest.verdict("GREEN")?;
    guest.expect(&format!(
        "slots: FAIL: {hash} is refused from now on: it was tried and failed, "
    ))?;
    ensure!(
        guest.count(r" is PID 1 \(")? == 2,
        "a root that is not what it must be has run"
    );
    guest.power_off()
}

/// Updates with these words on their command line, and what each says when it fails.
fn failing(lab: &Lab, kinds: &[(&'static str, &str)]) -> Result<()> {
    for (words, said) in kinds.iter().copied() {
        let mut farm = Farm::new(lab)?;
        let update = farm.update(words)?;
        let mut guest = farm.start(Some(&update))?;
        let before = settled(&mut guest, "A").context(words)?;
        let hash = takes(&mut guest)?;
        guest.expect(r#"starting Boot0002 "Spine B" "#)?;
        guest.expect(said)?;
        if words == "fault=hang" {
            guest.machine.qmp_event("WATCHDOG", PATIENCE)?;
        }
        guest.expect(r#"starting Boot0001 "Spine A" "#)?;
        guest.verdict("GREEN")?;
        guest.expect(&format!(
            "slots: FAIL: {hash} is refused from now on: it was tried and failed, and the last boot on record ended .*; next: get another$"
        ))?;
        // What both held before: A's own hash.
        let after = mended(&mut guest)?;
        ensure!(
            after == before.replace("whole", "made a copy"),
            "{before}\n{after}"
        );
        guest.machine.send_line("update")?;
        guest.expect(&format!(
            "update: FAIL: {hash} has failed here before; next: get another$"
        ))?;
        guest.power_off()?;
    }
    Ok(())
}

pub fn u05_a_new_spine_that_never_starts_is_tried_three_times(lab: &Lab) -> Result<()> {
    let mut farm = Farm::new(lab)?;
    let update = farm.update("rdinit=/nowhere")?;
    let mut guest = farm.start(Some(&update))?;
    let before = settled(&mut guest, "A")?;
    let hash = takes(&mut guest)?;
    for tried in 1..=3 {
        guest.expect(r#"starting Boot0002 "Spine B" "#)?;
        guest.expect("Kernel panic - not syncing")?;
        guest.expect(r#"starting Boot0001 "Spine A" "#)?;
        guest.verdict("GREEN")?;
        if tried < 3 {
            guest.expect(&format!(
                "slots: slot B is not proven: {hash} is tried at the next boot; next: reboot$"
            ))?;
            guest.never("is refused from now on")?;
            guest.machine.send_line("reboot")?;
        }
    }
    guest.expect(&format!(
        "slots: FAIL: {hash} is refused from now on: of 3 trials 0 have started, none with a verdict, and the last boot on record ended clean reboot; next: get another$"
    ))?;
    ensure!(mended(&mut guest)? == before.replace("whole", "made a copy"));
    guest.power_off()
}

pub fn u05_a_power_cut_in_its_trial_burns_no_spine(lab: &Lab) -> Result<()> {
    let mut farm = Farm::new(lab)?;
    let update = farm.update("quiet")?;
    let mut guest = farm.start(Some(&update))?;
    settled(&mut guest, "A")?;
    let hash = takes(&mut guest)?;
    guest.expect(r#"starting Boot0002 "Spine B" "#)?;
    guest.expect("root: verified, ")?;
    guest.machine.kill()?;
    let mut guest = farm.start(None)?;
    settled_again(&mut guest, &hash)?;
    guest.machine.send_line("reboot")?;
    proves_itself(&mut guest, "B")?;
    guest.power_off()
}

/// The first slot is well, and has the update tried again.
fn settled_again(guest: &mut Guest, hash: &str) -> Result<()> {
    guest.expect(r#"starting Boot0001 "Spine A" "#)?;
    guest.verdict("GREEN")?;
    guest.expect(&format!(
        "slots: slot B is not proven: {hash} is tried at the next boot; next: reboot$"
    ))?;
    guest.never("is refused from now on")
}

pub fn u05_a_trial_is_recognised_whatever_the_order_is(lab: &Lab) -> Result<()> {
    let mut farm = Farm::new(lab)?;
    let update = farm.update("fault=unwell")?;
    let mut guest = farm.start(Some(&update))?;
    settled(&mut guest, "A")?;
    guest.machine.send_line("update")?;
    guest.expect("update: [0-9a-f]{64} is tried at the next boot; next: reboot$")?;
    guest.power_off()?;
    let order = Variable {
        vendor: store::GLOBAL,
        name: "BootOrder".to_owned(),
        attributes: store::PLAIN,
        data: (1..=4_u16).flat_map(u16::to_le_bytes).collect(),
    };
    farm.firmware(|vars| store::put(vars, &order))?;
    let mut guest = farm.start(None)?;
    guest.expect(r#"starting Boot0002 "Spine B" "#)?;
    guest.expect(r"slots: slot B, on trial \(")?;
    guest.expect("slots: FAIL: slot B is not well; next: see why above$")?;
    guest.expect(r#"starting Boot0001 "Spine A" "#)?;
    guest.verdict("GREEN")?;
    guest.expect("slots: FAIL: [0-9a-f]{64} is refused from now on: it was tried and failed, ")?;
    mended(&mut guest)?;
    guest.power_off()
}

pub fn c09_a_first_slot_that_comes_to_no_end_is_left_for_the_other_and_that_for_off(
    lab: &Lab,
) -> Result<()> {
    let farm = Farm::new(lab)?;
    let bad = farm.other("fault=panic", EPOCH)?;
    farm.fill(disk::SLOT_A, &bad)?;
    let mut guest = farm.start(None)?;
    for _ in 0..3 {
        guest.expect(r#"starting Boot0001 "Spine A" "#)?;
        guest.expect("bay0: FAIL: bay0 panic at ")?;
    }
    guest.expect(r#"starting Boot0002 "Spine B" "#)?;
    guest.expect(r"slots: slot B, because the first one came to no end three times \(")?;
    guest.verdict("GREEN")?;
    ensure!(mended(&mut guest)?.starts_with("slot A is whole: "));
    guest.never("is the first from now on")?;
    guest.power_off()?;
    farm.fill(disk::SLOT_B, &bad)?;
    let mut guest = farm.start(None)?;
    for slot in ["1 \"Spine A", "1 \"Spine A", "1 \"Spine A", "2 \"Spine B"] {
        guest.expect(&format!("starting Boot000{slot}\" "))?;
        guest.expect("bay0: FAIL: bay0 panic at ")?;
    }
    guest.expect(r#"starting Boot0003 "Off A" "#)?;
    guest.ended().map(drop)
}

pub fn c09_power_cuts_burn_no_slot(lab: &Lab) -> Result<()> {
    let farm = Farm::new(lab)?;
    for slot in ["A", "A", "A", "B"] {
        let mut guest = farm.start(None)?;
        guest.expect(&format!(r#"starting Boot000. "Spine {slot}" "#))?;
        if slot == "B" {
            guest.verdict("GREEN")?;
            mended(&mut guest)?;
            guest.machine.send_line("reboot")?;
            settled(&mut guest, "A")?;
            guest.never("(is the first from now on|is refused)")?;
            return guest.power_off();
        }
        guest.expect("root: verified, ")?;
        guest.machine.kill()?;
    }
    Ok(())
}

pub fn c09_load_options_in_a_boot_entry_cost_that_entry_and_no_more(lab: &Lab) -> Result<()> {
    let farm = Farm::new(lab)?;
    let layout = disk::Layout::of(&farm.disk)?.context("the disk")?;
    let mut first = firmware::entries(&layout).swap_remove(0);
    ensure!(first.name == "Boot0001");
    first.data.extend(store::wide("console=ttyS0,115200"));
    farm.firmware(|vars| store::put(vars, &first))?;
    let mut guest = farm.start(None)?;
    for _ in 0..3 {
        guest.expect(r#"starting Boot0001 "Spine A" "#)?;
        guest.expect("bay0: FAIL: root: none on the command line; ")?;
    }
    settled(&mut guest, "B")?;
    guest.said("slots: boot entries: Boot0001 is Spine A; writes: 1$")?;
    guest.power_off()?;
    // A was left, not given up: it is first, and starts again.
    let mut guest = farm.start(None)?;
    settled(&mut guest, "A")?;
    guest.never("slots: boot entries: ")?;
    guest.power_off()
}

pub fn c11_an_update_whose_images_are_not_on_the_disk_of_rooms_is_not_kept(
    lab: &Lab,
) -> Result<()> {
    let mut farm = Farm::new(lab)?;
    farm.rooms = Some(images::damaged_disk(lab, "rooms", |_| 0)?);
    let update = farm.update("quiet")?;
    let mut guest = farm.start(Some(&update))?;
    settled(&mut guest, "A")?;
    takes(&mut guest)?;
    guest.expect(r"slots: slot B, on trial \(")?;
    guest.expect(&format!("^bay0 [0-9.]+ room: FAIL: {}$", images::REFUSED))?;
    guest.verdict("RED")?;
    guest.expect("slots: FAIL: slot B is not well; next: see why above$")?;
    guest.expect(r#"starting Boot0001 "Spine A" "#)?;
    guest.verdict("GREEN")?;
    // Whoever attaches the right disk may try it again.
    guest.expect(
        "slots: slot B is not proven: [0-9a-f]{64} is tried at the next boot; next: reboot$",
    )?;
    guest.power_off()
}

pub fn u05_an_update_whose_boot_entry_is_gone_is_tried_all_the_same(lab: &Lab) -> Result<()> {
    let mut farm = Farm::new(lab)?;
    let update = farm.update("quiet")?;
    let forget = |name: &str| farm.firmware(|vars| store::forget(vars, name));
    let mut guest = farm.start(Some(&update))?;
    settled(&mut guest, "A")?;
    guest.machine.send_line("update")?;
    let line = guest.expect("update: [0-9a-f]{64} is tried at the next boot; next: reboot$")?;
    let hash = line.split(' ').find(|word| word.len() == 64);
    let hash = hash.context("no hash")?;
    guest.power_off()?;
    forget("Boot0002")?;
    let mut guest = farm.start(None)?;
    guest.verdict("GREEN")?;
    guest.expect("slots: boot entries: Boot.... is Spine B(, the order is .*)?; writes: [12]$")?;
    guest.expect(&format!(
        "slots: slot B is not proven: {hash} is tried at the next boot; next: reboot$"
    ))?;
    guest.never("is refused from now on")?;
    guest.machine.send_line("reboot")?;
    guest.expect(r#"BdsDxe: starting Boot.... "Spine B" from HD\(2,GPT,"#)?;
    proves_itself(&mut guest, "B")?;
    let line = mended(&mut guest)?;
    guest.power_off()?;
    // A proven Spine that is older is no update: its entry is made, and it stays behind.
    forget("Boot0001")?;
    let mut guest = farm.start(None)?;
    guest.verdict("GREEN")?;
    guest.expect("slots: boot entries: Boot.... is Spine A(, the order is .*)?; writes: [12]$")?;
    let again = line.replace(" is whole: ", " is whole, and second from now on: ");
    guest.expect(&format!("slots: {again}$"))?;
    guest.machine.send_line("reboot")?;
    ensure!(settled(&mut guest, "B")? == line);
    guest.power_off()
}

pub fn c10_what_is_no_good_update_is_refused_before_anything_is_written(lab: &Lab) -> Result<()> {
    let mut farm = Farm::new(lab)?;
    let (keys, others) = (lab.bench.keys.pair("db"), Keys::in_dir(&lab.path("others")));
    others.make(false)?;
    let slot = farm.other("quiet", NEWEST)?;
    let foreign = farm.pack(slot.clone(), &others.pair("db"))?;
    let changed = farm.pack(slot, &keys)?;
    let old = farm.other("quiet", EPOCH)?;
    let old = farm.pack(old, &keys)?;
    let file = File::options().write(true).open(&changed)?;
    // In the last MiB that counts, which is empty; the partition begins with the second of the disk.
    file.write_all_at(b"x", 39 << 20)?;
    let unsigned = "E[A-Z]+: its signature is not that of this Spine's maker; next: get another";
    for (update, why) in [
        (Some(&foreign), unsigned),
        (
            Some(&old),
            r"version 1700000000 is older than \d+, which runs; next: try again",
        ),
        (
            Some(&changed),
            "its content does not match its head; next: get another",
        ),
        (
            None,
            "no partition is called update: /dev/vda 3 partitions.*; nothing is written; next: attach the disk and reboot",
        ),
    ] {
        let mut guest = farm.start(update.map(PathBuf::as_path))?;
        settled(&mut guest, "A")?;
        guest.machine.send_line("update")?;
        guest.expect(&format!("update: FAIL: {why}$"))?;
        guest.machine.send_line("reboot")?;
        let line = settled(&mut guest, "A")?;
        ensure!(line.starts_with("slot B is whole: "), "{why}: {line}");
        guest.power_off()?;
    }
    let second = format!("file={},format=raw,if=none,id=second", changed.display());
    let more = ["-drive", &second, "-device", "virtio-blk-pci,drive=second"];
    let mut guest = farm.start_with(Some(&old), more)?;
    settled(&mut guest, "A")?;
    guest.machine.send_line("update")?;
    guest.expect("update: FAIL: /dev/vd[ac]1 and /dev/vd[bc]1 are both called update; nothing is written; next: detach one of them, then reboot$")?;
    guest.power_off()
}

pub fn c10_a_power_cut_during_an_update_leaves_a_machine_that_boots(lab: &Lab) -> Result<()> {
    power_cuts(lab, lab.bench.seed, ROUNDS, 0)
}

/// Rounds `from..from + n` of the run that `seed` names: the power goes while an update is taken, and again while the next boot mends
/// what that has left; after both the machine is as it must be. Then it takes the update.
pub fn power_cuts(lab: &Lab, seed: u64, n: u64, from: u64) -> Result<()> {
    let mut farm = Farm::new(lab)?;
    let updates = [farm.update("quiet")?, farm.update("quiet again")?];
    let last = farm.update("quiet at last")?;
    for nth in from..from + n {
        // What runs already is not taken again.
        let update = &updates[usize::from(nth % 2 == 1)];
        let mut rng = Rng::new(seed, nth);
        let mut guest = farm.start(Some(update))?;
        guest.verdict("GREEN")?;
        mended(&mut guest)?;
        guest.machine.send_line("update")?;
        cut(guest, rng.below(CUT_MS))?;
        let mut guest = farm.start(Some(update))?;
        well(&mut guest).with_context(|| format!("round {nth}"))?;
        cut(guest, rng.below(CUT_MS))?;
        let mut guest = farm.start(Some(update))?;
        well(&mut guest).with_context(|| format!("round {nth}"))?;
        mended(&mut guest)?;
        guest.never("is refused from now on")?;
        guest.power_off()?;
    }
    let mut guest = farm.start(Some(&last))?;
    guest.verdict("GREEN")?;
    mended(&mut guest)?;
    takes(&mut guest)?;
    proves_itself(&mut guest, "[AB]")?;
    guest.power_off()
}

/// A GREEN boot, of a Spine that is first by then.
fn well(guest: &mut Guest) -> Result<()> {
    guest.verdict("GREEN")?;
    // Not the last lines of the boot before, which are shown again.
    if guest.count(r"^bay0 [0-9.]+ slots: slot [AB], on trial \(")? > 0 {
        guest.expect("slots: slot [AB] is the first from now on$")?;
    }
    Ok(())
}

/// Takes the power away after so long.
pub(super) fn cut(mut guest: Guest, after_ms: u64) -> Result<()> {
    // The instant of the cut is the experiment.
    thread::sleep(Duration::from_millis(after_ms));
    guest.machine.kill()
}

pub fn c10_a_power_cut_at_each_step_of_an_update_leaves_a_machine_that_boots(
    lab: &Lab,
) -> Result<()> {
    let mut farm = Farm::new(lab)?;
    // Its head is erased, it is out of the order, it is to be tried once, it has its head.
    for (step, then) in [
        (1, "slots: slot B is made a copy: "),
        (2, "slots: slot B is made a copy: "),
        (3, "slots: slot B is the first from now on"),
        (4, "slots: slot A is the first from now on"),
    ] {
        let update = farm.update(&format!("quiet at={step}"))?;
        let mut guest = farm.start(Some(&update))?;
        guest.verdict("GREEN")?;
        mended(&mut guest)?;
        guest.ask(&format!("fault stop-at {step}"))?;
        guest.machine.send_line("update")?;
        guest.expect("fault: stopped at its step$")?;
        guest.machine.kill()?;
        let mut guest = farm.start(Some(&update))?;
        guest.verdict("GREEN")?;
        guest
            .expect(then)
            .with_context(|| format!("after step {step}"))?;
        guest.never("is refused from now on")?;
        guest.power_off()?;
    }
    Ok(())
}

pub fn t06_a_slot_that_is_not_what_it_was_is_replaced(lab: &Lab) -> Result<()> {
    let farm = Farm::new(lab)?;
    let mut guest = farm.start(None)?;
    let before = settled(&mut guest, "A")?;
    ensure!(before.starts_with("slot B is whole: "), "{before}");
    guest.power_off()?;
    let file = File::options().write(true).open(&farm.disk)?;
    file.write_all_at(b"rot", farm.place(disk::SLOT_B) + (5 << 20))?;
    let mut guest = farm.start(None)?;
    let after = settled(&mut guest, "A")?;
    ensure!(after == before.replace("whole", "made a copy"), "{after}");
    guest.machine.send_line("reboot")?;
    ensure!(settled(&mut guest, "A")? == before);
    guest.power_off()
}
