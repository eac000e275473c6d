//! The vault (C07, C09): asked for, opened, made, refused, and never on a disk that has anything on it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::slice;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::disk::Disk;
use super::lab::{Build, DISK_MIB, Guest, Lab, PATIENCE};
use super::rng::Rng;
use super::updates::cut;
use crate::stamp::{self, Inputs};
use crate::{tpm, vault};

/// The right one.
const WORDS: &str = "correct horse battery";
/// Two wrong ones, of which the second is the right one and more.
const WRONG: [&str; 2] = ["correct horse", "correct horse battery staple"];
const PASSPHRASE: &str = "^passphrase> ";
const RECOVERY: &str = "(^|the )recovery key> ";
const CONFIRM: &str = "^type FORMAT to make it anew, anything else to leave it> ";
const UNLOCKED: &str = "vault: /dev/vda unlocked, N wrong passphrases before";
const UNSEALABLE: &str = "reseal: FAIL: seal /dev/vda: made without a TPM, its passphrase alone opens it; not sealed to this Spine; next: see docs/VAULT.md";
/// What was typed and is no answer to anything.
const TYPED_BEFORE: &str = "correct horse battery\r";

/// A copy of the vault that this Spine made of an empty disk, which is done once in a run.
fn made(lab: &Lab) -> Result<Disk> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let path = lab.bench.logs.join("vault.img");
    let (stamp, spine) = (path.with_extension("stamp"), &lab.bench.release);
    let inputs = Inputs::default()
        .add("kernel", &stamp::sha256_file(&spine.kernel)?)
        .add("initrd", &stamp::sha256_file(&spine.initrd)?)
        .add("passphrase", WORDS);
    if !inputs.up_to_date(&stamp, slice::from_ref(&path)) {
        let config = lab.config(Build::Release);
        vault::make(&config, &path, DISK_MIB << 20, WORDS.as_bytes())?;
        inputs.write(&stamp, slice::from_ref(&path))?;
    }
    Disk { path }.copy_to(lab.path("vault.img"))
}

/// A machine with `disk`, at the question for the passphrase.
fn asked(lab: &Lab, build: Build, disk: &Disk) -> Result<Guest> {
    let mut guest = lab.start(&lab.config_with(build, disk))?;
    guest.expect(PASSPHRASE)?;
    Ok(guest)
}

/// Types an answer that is not shown.
fn answer(guest: &mut Guest, words: &str) -> Result<()> {
    guest.machine.send(format!("{words}\r").as_bytes())
}

/// `lock`: nobody uses the machine until the passphrase is typed, whatever is typed or sent meanwhile.
pub fn a14_a_locked_machine_answers_to_the_passphrase_alone(lab: &Lab) -> Result<()> {
    let mut config = lab.config_with(Build::Fault, &made(lab)?);
    config.append_extra = "fault=lock".to_owned();
    let mut guest = lab.start(&config)?;
    unlock(&mut guest)?;
    guest.verdict("GREEN")?;
    guest.start_room("p://a")?;
    guest.machine.send_line("lock")?;
    guest.expect("^locked; what opens the vault unlocks$")?;
    for wrong in [WRONG[0], "hello", "poweroff"] {
        guest.expect(PASSPHRASE)?;
        answer(&mut guest, wrong)?;
        guest.expect("^wrong$")?;
    }
    guest.expect(PASSPHRASE)?;
    // Its child is killed, and another one asks.
    guest.machine.qmp("system_powerdown", json!({}))?;
    guest.expect("^locked; what opens the vault unlocks$")?;
    guest.expect(PASSPHRASE)?;
    answer(&mut guest, WORDS)?;
    guest.says("lock: unlocked")?;
    ensure!(guest.ask("hello")?.contains("bay0 "), "no operator line");
    unseen(&mut guest)?;
    guest.power_off()
}

/// Has a blank disk made a vault.
pub fn confirm(guest: &mut Guest) -> Result<()> {
    guest.expect(CONFIRM)?;
    guest.machine.send_line("FORMAT")?;
    choose(guest)
}

/// Types a new passphrase.
fn choose(guest: &mut Guest) -> Result<()> {
    for question in ["new passphrase, 8 characters or more", "the same once more"] {
        guest.expect(&format!("^{question}> "))?;
        answer(guest, WORDS)?;
    }
    Ok(())
}

/// Has a blank disk made a vault that is sealed to the machine's TPM; its recovery key.
pub fn seal(guest: &mut Guest) -> Result<String> {
    confirm(guest)?;
    let line = guest.expect("it is shown once: ([0-9a-f]{8}-){3}[0-9a-f]{8}$")?;
    let key = line.rsplit(' ').next().unwrap_or_default().to_owned();
    guest.expect(RECOVERY)?;
    answer(guest, &key.replace('-', " "))?;
    guest.expect("^vault: not the same$")?;
    recover(guest, &key)?;
    // It does not stay on the display.
    guest.expect(r"\x1b\[2J")?;
    Ok(key)
}

/// Types the recovery key when it is asked for.
pub fn recover(guest: &mut Guest, key: &str) -> Result<()> {
    guest.expect(RECOVERY)?;
    answer(guest, key)
}

/// Has a vault that its recovery key has opened sealed to what runs now, or left as it is.
pub fn reseal(guest: &mut Guest, word: &str) -> Result<()> {
    guest.expect("^type RESEAL to seal it to this Spine, anything else to go on> ")?;
    guest.machine.send_line(word)?;
    match word {
        "RESEAL" => choose(guest),
        _ => Ok(()),
    }
}

/// Types the passphrase when it is asked for.
pub fn unlock(guest: &mut Guest) -> Result<()> {
    guest.expect(PASSPHRASE)?;
    answer(guest, WORDS)
}

/// A machine with an open vault, up to its verdict.
fn opened(lab: &Lab, build: Build, disk: &Disk) -> Result<Guest> {
    let mut guest = asked(lab, build, disk)?;
    answer(&mut guest, WORDS)?;
    guest.says_all(&[UNLOCKED])?;
    guest.verdict("GREEN")?;
    Ok(guest)
}

/// Neither the console nor the log in memory has the passphrase, whole or in part.
fn unseen(guest: &mut Guest) -> Result<()> {
    guest.never("(horse|battery|staple)")?;
    let log = guest.ask("log")?;
    ensure!(!log.contains("horse"), "the log has the passphrase:\n{log}");
    Ok(())
}

fn closed(guest: &mut Guest) -> Result<()> {
    guest.says("shutdown: power off")?;
    guest.never("FAIL: [^3]")?;
    ensure!(guest.ended()?.success(), "qemu did not end cleanly");
    Ok(())
}

pub fn c07_the_right_passphrase_opens_the_vault_and_what_is_kept_is_there_again(
    lab: &Lab,
) -> Result<()> {
    let disk = made(lab)?;
    let mut guest = opened(lab, Build::Fault, &disk)?;
    guest.never("protection=plain")?;
    // Only the keeper sees it.
    let mounts = guest.ask("fault walls")?;
    let line = mounts.lines().find(|line| line.contains("mount "));
    let line = line.with_context(|| format!("no /persist in {mounts}"))?;
    for flag in ["nodev", "nosuid", "noexec", "/dev/mapper/persist"] {
        ensure!(line.contains(flag), "no {flag} in {line}");
    }
    unseen(&mut guest)?;
    let first = guest.figure("log_seq")?;
    guest.power_off()?;
    let bytes = fs::read(&disk.path)?;
    for clear in [
        &b"genesis"[..],
        b"bay0 0.",
        b"SQLite format",
        WORDS.as_bytes(),
    ] {
        let found = bytes.windows(clear.len()).any(|part| part == clear);
        ensure!(
            !found,
            "{:?} is to be read on the disk",
            String::from_utf8_lossy(clear)
        );
    }
    let mut guest = asked(lab, Build::Release, &disk)?;
    answer(&mut guest, WORDS)?;
    guest.says_all(&[UNLOCKED, "previous: ended clean power off"])?;
    guest.verdict("GREEN")?;
    let second = guest.figure("log_seq")?;
    ensure!(second > first, "the log began anew: {second} after {first}");
    guest.power_off()
}

pub fn c09_three_wrong_passphrases_switch_the_machine_off(lab: &Lab) -> Result<()> {
    let disk = made(lab)?;
    let before = fs::read(&disk.path)?;
    let mut guest = asked(lab, Build::Release, &disk)?;
    // Enter alone is no try.
    for words in ["", WRONG[0], WRONG[1]] {
        answer(&mut guest, words)?;
        guest.expect(PASSPHRASE)?;
    }
    // Control-D is one.
    guest.machine.send(b"\x04")?;
    guest.says_all(&[
        "vault: FAIL: 3 wrong passphrases; the machine goes off; next: start it again",
        "shutdown: power off requested by the vault",
    ])?;
    closed(&mut guest)?;
    guest.never("(horse|staple|bay0> |operator: |validate: )")?;
    ensure!(
        guest.count("^vault: wrong passphrase$|> vault: wrong passphrase$")? == 3,
        "not three tries"
    );
    ensure!(
        fs::read(&disk.path)? == before,
        "a locked vault was written to"
    );
    Ok(())
}

pub fn c07_a_wrong_passphrase_is_followed_by_the_right_one(lab: &Lab) -> Result<()> {
    let disk = made(lab)?;
    let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
    // Typed before anybody has asked: it is no answer.
    guest.expect(" is PID 1 ")?;
    guest.machine.send(TYPED_BEFORE.as_bytes())?;
    guest.expect(PASSPHRASE)?;
    answer(&mut guest, WRONG[1])?;
    guest.expect("vault: wrong passphrase$")?;
    guest.expect(PASSPHRASE)?;
    answer(&mut guest, WORDS)?;
    guest.says("vault: /dev/vda unlocked, 1 wrong passphrases before")?;
    guest.verdict("GREEN")?;
    guest.power_off()
}

pub fn a12_pid_1_is_alive_while_it_waits_for_the_passphrase(lab: &Lab) -> Result<()> {
    /// Longer than the watchdog's time-out of 20 s and any tick.
    const WAITED: Duration = Duration::from_secs(25);
    let disk = made(lab)?;
    let mut guest = asked(lab, Build::Release, &disk)?;
    // If PID 1 stood still, the watchdog would reset the machine, which is an event.
    let reset = guest.machine.qmp_event("RESET", WAITED);
    ensure!(reset.is_err(), "the machine was reset while it waited");
    guest.never("(bay0> |operator: |validate: )")?;
    guest.machine.qmp("system_powerdown", json!({}))?;
    guest.says("shutdown: power off requested by power button")?;
    closed(&mut guest)?;
    if lab.hardened() {
        // That kernel takes no keys.
        return Ok(());
    }
    // Control-alt-delete as well, which asks for a reboot.
    let mut guest = asked(lab, Build::Release, &disk)?;
    guest.press(&["ctrl", "alt", "delete"])?;
    guest.says_all(&["shutdown: reboot requested by SIGINT", "shutdown: reboot"])?;
    guest.machine.qmp_event("RESET", PATIENCE)?;
    guest.expect(PASSPHRASE)?;
    answer(&mut guest, WORDS)?;
    guest.verdict("GREEN")?;
    guest.power_off()
}

pub fn c07_a_keeper_that_dies_finds_the_vault_open(lab: &Lab) -> Result<()> {
    let disk = made(lab)?;
    let mut guest = opened(lab, Build::Fault, &disk)?;
    guest.machine.send_line("fault kill-keeper")?;
    guest.says_all(&[
        "keeper: restart 1 of 3",
        "keeper: the one before has ended, another opens /persist",
    ])?;
    guest.expect("keeper: /persist open: ")?;
    guest.ask("validate")?;
    guest.verdict("GREEN")?;
    ensure!(
        guest.count(PASSPHRASE)? == 1,
        "the passphrase was asked for again"
    );
    unseen(&mut guest)?;
    guest.power_off()
}

pub fn c07_a_keeper_that_dies_while_it_asks_is_followed_by_one_that_asks_again(
    lab: &Lab,
) -> Result<()> {
    let mut config = lab.config_with(Build::Fault, &made(lab)?);
    config.append_extra = "fault=keeper".into();
    let mut guest = lab.start(&config)?;
    guest.expect(PASSPHRASE)?;
    // What it had of the answer dies with it.
    guest.machine.send(b"correct ho")?;
    guest.machine.qmp("system_powerdown", json!({}))?;
    guest.expect("keeper: FAIL: keeper unlock: the keeper died; ")?;
    guest.says("keeper: restart 1 of 3")?;
    unlock(&mut guest)?;
    guest.says(UNLOCKED)?;
    guest.verdict("GREEN")?;
    unseen(&mut guest)?;
    guest.power_off()
}

pub fn c07_a_blank_disk_becomes_a_vault_on_the_word_format_alone(lab: &Lab) -> Result<()> {
    let disk = Disk::blank(lab.path("blank.img"), DISK_MIB)?;
    let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
    guest.expect("^vault: /dev/vda is empty, 64 MiB$")?;
    guest.expect(CONFIRM)?;
    guest.machine.send_line("FORMAT")?;
    for (words, again) in [("seven77", "seven77"), (WORDS, WRONG[0]), (WORDS, WORDS)] {
        guest.expect("^new passphrase, 8 characters or more> ")?;
        answer(&mut guest, words)?;
        guest.expect("^the same once more> ")?;
        answer(&mut guest, again)?;
        if words != again || words == "seven77" {
            guest.expect("^vault: too short, or not the same$")?;
        }
    }
    guest.says("vault: /dev/vda is a new one")?;
    guest.verdict("GREEN")?;
    unseen(&mut guest)?;
    guest.power_off()?;
    opened(lab, Build::Release, &disk)?.power_off()
}

pub fn c07_a_blank_disk_is_left_as_it_is_on_any_other_word(lab: &Lab) -> Result<()> {
    for word in ["format", "FORMAT ", "yes"] {
        let disk = Disk::blank(lab.path("blank.img"), DISK_MIB)?;
        let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
        guest.expect(CONFIRM)?;
        guest.machine.send_line(word)?;
        super::disks::dirty_but_alive(
            &mut guest,
            "format /dev/vda: not confirmed; booting dirty; next: see docs/VAULT.md",
        )?;
        let untouched = fs::read(&disk.path)?.iter().all(|byte| *byte == 0);
        ensure!(untouched, "{word:?} wrote to the disk");
    }
    Ok(())
}

pub fn c07_a_disk_with_anything_on_it_is_never_formatted(lab: &Lab) -> Result<()> {
    // One byte, in the last MiB; a file system that has lost its partition table.
    for (at, bytes, what) in [
        (
            (DISK_MIB << 20) - 1,
            b"x".as_slice(),
            "data at byte 67108863",
        ),
        (
            (1 << 20) + 0x438,
            b"\x53\xef\x01\0\x01\0\0\0",
            "ext4 at byte 1048576",
        ),
        ((40 << 20) + 3, b"NTFS    ", "NTFS at byte 41943040"),
    ] {
        let disk = Disk::blank(lab.path("foreign.img"), DISK_MIB)?;
        let file = File::options().write(true).open(&disk.path)?;
        file.write_all_at(bytes, at)?;
        let before = fs::read(&disk.path)?;
        let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
        let cause = format!(
            "look at /dev/vda: not empty: {what}; left as it is; booting dirty; next: see docs/VAULT.md"
        );
        super::disks::dirty_but_alive(&mut guest, &cause)?;
        guest.never("FORMAT")?;
        ensure!(
            fs::read(&disk.path)? == before,
            "a foreign disk was written to"
        );
    }
    Ok(())
}

pub fn c07_a_vault_without_a_file_system_is_filled_on_the_word_format(lab: &Lab) -> Result<()> {
    let disk = made(lab)?;
    let file = File::options().write(true).open(&disk.path)?;
    file.set_len(vault::HEADER)?;
    file.set_len(DISK_MIB << 20)?;
    let mut guest = asked(lab, Build::Release, &disk)?;
    answer(&mut guest, WORDS)?;
    guest.expect("^vault: no ext4 in /dev/vda$")?;
    guest.expect(CONFIRM)?;
    guest.machine.send_line("no")?;
    guest.says("keeper: FAIL: format /dev/vda: not confirmed; booting dirty; next: see docs/VAULT.md (N ms)")?;
    guest.verdict("RED")?;
    guest.machine.send_line("poweroff")?;
    guest.ended()?;
    let mut guest = asked(lab, Build::Release, &disk)?;
    answer(&mut guest, WORDS)?;
    guest.expect(CONFIRM)?;
    guest.machine.send_line("FORMAT")?;
    guest.says(UNLOCKED)?;
    guest.verdict("GREEN")?;
    guest.power_off()
}

pub fn h06_a_vault_whose_disk_hangs_is_a_dirty_boot(lab: &Lab) -> Result<()> {
    let disk = made(lab)?;
    let mut guest = asked(lab, Build::Release, &disk)?;
    guest.throttle(1)?;
    answer(&mut guest, WORDS)?;
    let pattern = "keeper: FAIL: open /dev/vda persist: .*timed out.*; booting dirty; next: see docs/VAULT.md";
    guest.expect(pattern)?;
    guest.says("operator: ready, type help; Ctrl-] leaves a room (N ms)")?;
    guest.verdict("RED")?;
    guest.machine.send_line("poweroff")?;
    guest.says("shutdown: power off")?;
    guest.ended().map(drop)
}

/// A machine with a TPM and `disk`.
fn with_tpm(lab: &Lab, build: Build, disk: &Disk, tpm: &str) -> Result<Guest> {
    let mut config = lab.config_with(build, disk);
    config.tpm = Some(lab.path(tpm));
    lab.start(&config)
}

/// The vault's part of the verdict, after which the machine goes off.
fn judged(guest: &mut Guest, level: &str) -> Result<()> {
    guest.expect(
        "vault: /dev/vda unlocked, [0-9] wrong passphrases before(; by the recovery key: .*)?$",
    )?;
    if level == "YELLOW" {
        guest.says("validate: YELLOW vault: not sealed to this Spine; next: reseal")?;
    }
    guest.expect(&format!(r"validate: {level} \(.* vault {level}$"))?;
    guest.power_off()
}

pub fn a02_a_vault_sealed_to_a_tpm_needs_it_and_the_passphrase(lab: &Lab) -> Result<()> {
    let disk = Disk::blank(lab.path("blank.img"), DISK_MIB)?;
    let mut guest = with_tpm(lab, Build::Release, &disk, "tpm")?;
    let key = seal(&mut guest)?;
    guest.says("vault: /dev/vda is a new one")?;
    is_green(&mut guest, "passphrase+tpm")?;
    unseen(&mut guest)?;
    let log = guest.ask("log")?;
    ensure!(!log.contains(&key), "the log has the recovery key:\n{log}");
    guest.power_off()?;
    // The passphrase alone is worth nothing, and neither is the disk without this machine.
    let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
    guest.expect("^vault: TPM: No such file or directory")?;
    recover(&mut guest, WORDS)?;
    guest.expect("vault: wrong passphrase$")?;
    recover(&mut guest, &key)?;
    reseal(&mut guest, "reseal")?;
    judged(&mut guest, "YELLOW")?;
    // Both together.
    let mut guest = with_tpm(lab, Build::Release, &disk, "tpm")?;
    guest.expect(PASSPHRASE)?;
    answer(&mut guest, WRONG[1])?;
    guest.expect("vault: wrong passphrase$")?;
    unlock(&mut guest)?;
    judged(&mut guest, "GREEN")?;
    // A forgotten passphrase: the recovery key is good at that question too.
    let mut guest = with_tpm(lab, Build::Release, &disk, "tpm")?;
    guest.expect(PASSPHRASE)?;
    answer(&mut guest, &key)?;
    reseal(&mut guest, "no")?;
    judged(&mut guest, "YELLOW")
}

/// A machine with a vault that is sealed to its TPM, and the recovery key.
pub(super) fn sealed(lab: &Lab, build: Build) -> Result<(Guest, String)> {
    let disk = Disk::blank(lab.path("blank.img"), DISK_MIB)?;
    let mut guest = with_tpm(lab, build, &disk, "tpm")?;
    let key = seal(&mut guest)?;
    guest.verdict("GREEN")?;
    Ok((guest, key))
}

/// Seals it anew, at the operator line.
pub(super) fn seal_again(guest: &mut Guest, key: &str) -> Result<()> {
    guest.machine.send_line("reseal")?;
    recover(guest, key)?;
    choose(guest)?;
    guest
        .says("reseal: /dev/vda is sealed to this Spine")
        .map(drop)
}

pub fn a02_another_tpm_is_refused_until_reseal(lab: &Lab) -> Result<()> {
    let disk = Disk::blank(lab.path("blank.img"), DISK_MIB)?;
    let mut guest = with_tpm(lab, Build::Release, &disk, "one")?;
    let key = seal(&mut guest)?;
    guest.expect(r"validate: GREEN \(.* vault GREEN$")?;
    guest.power_off()?;
    let mut guest = with_tpm(lab, Build::Release, &disk, "other")?;
    guest.expect("^vault: TPM: command 0x157 was answered 0x1df$")?;
    recover(&mut guest, &key)?;
    reseal(&mut guest, "no")?;
    // The log has it as well.
    guest.expect("vault: /dev/vda unlocked, 0 wrong passphrases before; by the recovery key: command 0x157 was answered 0x1df$")?;
    guest.expect(r"validate: YELLOW \(.* vault YELLOW$")?;
    // Later, at the operator line: a key that is none changes nothing.
    let failed = "reseal: FAIL: seal /dev/vda: not its recovery key; not sealed to this Spine; next: see docs/VAULT.md";
    guest.machine.send_line("reseal")?;
    recover(&mut guest, WORDS)?;
    guest.says(failed)?;
    seal_again(&mut guest, &key)?;
    unseen(&mut guest)?;
    guest.power_off()?;
    let mut guest = with_tpm(lab, Build::Release, &disk, "other")?;
    unlock(&mut guest)?;
    judged(&mut guest, "GREEN")
}

pub fn a02_a_power_cut_while_it_is_sealed_again_leaves_the_recovery_key(lab: &Lab) -> Result<()> {
    /// As long as it takes: to ask the TPM, take a key away, put one there, and write the token.
    const SEALING_MS: u64 = 6000;
    let disk = Disk::blank(lab.path("blank.img"), DISK_MIB)?;
    let mut guest = with_tpm(lab, Build::Release, &disk, "first")?;
    let key = seal(&mut guest)?;
    guest.expect(r"vault GREEN$")?;
    guest.power_off()?;
    for nth in 0..3 {
        // A TPM that knows nothing of it.
        let tpm = format!("tpm-{nth}");
        let mut guest = with_tpm(lab, Build::Release, &disk, &tpm)?;
        recover(&mut guest, &key)?;
        reseal(&mut guest, "RESEAL")?;
        cut(guest, Rng::new(lab.bench.seed, nth).below(SEALING_MS))?;
        let mut guest = with_tpm(lab, Build::Release, &disk, &tpm)?;
        guest.expect("^(passphrase|recovery key)> ")?;
        answer(&mut guest, &key)?;
        reseal(&mut guest, "no")?;
        guest.expect(r"vault YELLOW$")?;
        guest.power_off()?;
    }
    Ok(())
}

/// A validation is GREEN and says how the disk is protected, as the operator's `status` does.
fn is_green(guest: &mut Guest, protection: &str) -> Result<()> {
    guest.verdict("GREEN")?;
    guest.says(&format!("validate: protection={protection}"))?;
    guest.shows(&[("protection", protection), ("verdict", "GREEN")])
}

pub fn a02_a_vault_that_was_made_without_a_tpm_says_so(lab: &Lab) -> Result<()> {
    let mut guest = lab.start(&lab.config_with(Build::Release, &lab.disk()?))?;
    is_green(&mut guest, "plain")?;
    guest.machine.send_line("reseal")?;
    guest.says("reseal: FAIL: /persist is no vault; next: see docs/VAULT.md")?;
    guest.power_off()?;
    let disk = made(lab)?;
    let mut guest = with_tpm(lab, Build::Release, &disk, "tpm")?;
    unlock(&mut guest)?;
    is_green(&mut guest, "passphrase")?;
    guest.machine.send_line("reseal")?;
    guest.says(UNSEALABLE)?;
    guest.never(RECOVERY)?;
    guest.power_off()
}

pub fn a02_a_tpm_without_a_sha_256_bank_is_refused_before_the_vault_is_made(
    lab: &Lab,
) -> Result<()> {
    let dir = lab.path("tpm");
    tpm::only_sha1(&dir)?;
    let disk = Disk::blank(lab.path("blank.img"), DISK_MIB)?;
    let mut guest = with_tpm(lab, Build::Release, &disk, "tpm")?;
    guest.expect("^vault: TPM: its SHA-256 bank is off in the firmware; the passphrase alone opens it; next: go on, or see docs/VAULT.md$")?;
    confirm(&mut guest)?;
    guest.says("vault: /dev/vda is a new one")?;
    is_green(&mut guest, "passphrase")?;
    guest.never("recovery key|FAIL")?;
    guest.power_off()?;
    // By the passphrase that was typed, with this TPM and without one.
    let mut guest = with_tpm(lab, Build::Release, &disk, "tpm")?;
    unlock(&mut guest)?;
    guest.says(UNLOCKED)?;
    is_green(&mut guest, "passphrase")?;
    guest.machine.send_line("reseal")?;
    guest.says(UNSEALABLE)?;
    guest.never(RECOVERY)?;
    guest.power_off()?;
    opened(lab, Build::Release, &disk)?.power_off()
}
