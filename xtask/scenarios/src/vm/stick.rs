//! A USB stick (U09): its files by the program of a room, through the same courier.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use super::bus::{Bus, plug};
use super::hardware::Stick;
use super::lab::{Build, Guest, LOOK, Lab, PATIENCE};
use crate::host;

/// The room with the stick.
const ROOM: &str = "sys://usb";

/// Runs a program of the host that must succeed.
fn tool(program: &str, args: &[&str]) -> Result<()> {
    let path = host::find(program).with_context(|| format!("no {program}"))?;
    let done = Command::new(path).args(args).output();
    let done = done.with_context(|| format!("run {program}"))?;
    let why = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{program} {args:?}: {why}");
    Ok(())
}

/// A FAT32 stick with a file in a folder, as mtools make it.
fn fat(lab: &Lab, name: &str, file: &[u8]) -> Result<PathBuf> {
    let image = lab.path(name);
    fs::File::create(&image)?.set_len(300 << 20)?;
    let (note, text) = (lab.path("note"), image.display().to_string());
    fs::write(&note, file)?;
    tool(
        "mformat",
        &["-F", "-T", "614400", "-c", "8", "-i", &text, "::"],
    )?;
    tool("mmd", &["-i", &text, "::papers"])?;
    let note = note.display().to_string();
    tool("mcopy", &["-i", &text, &note, "::papers/a note.bin"])?;
    Ok(image)
}

impl Guest {
    /// Types a command there, and waits for this.
    fn types(&mut self, command: &str, expected: &str) -> Result<()> {
        self.machine.send_line(command)?;
        self.expect(expected)
            .with_context(|| format!("{command:?}"))
            .map(drop)
    }
}

/// A machine with a port for sticks. They come once it runs: where the state is a whole disk, one that is there before may be it.
fn boot(lab: &Lab) -> Result<Guest> {
    let mut config = lab.config_with(Build::Fault, &lab.disk()?);
    let port = ["-device", "qemu-xhci,id=usb"].map(str::to_owned);
    config.extra_args.extend(port);
    let mut guest = lab.start(&config)?;
    guest.verdict("GREEN")?;
    guest.start_room(ROOM)?;
    Ok(guest)
}

/// Plugs a stick in.
fn insert(guest: &mut Guest, id: &str, image: &Path) -> Result<()> {
    insert_as(guest, id, image, false)
}

/// The same of one that may be protected from being written.
fn insert_as(guest: &mut Guest, id: &str, image: &Path, is_protected: bool) -> Result<()> {
    let file = json!({ "driver": "file", "filename": image.display().to_string() });
    let node = json!({ "driver": "raw", "node-name": id, "file": file, "read-only": is_protected });
    guest.machine.qmp("blockdev-add", node)?;
    let stick = json!({ "driver": "usb-storage", "id": id, "drive": id, "removable": true });
    guest.machine.qmp("device_add", stick)?;
    Ok(())
}

pub fn u09_a_file_gets_from_a_stick_and_onto_it_when_a_person_says_so(lab: &Lab) -> Result<()> {
    let file: Vec<u8> = (0..50_000_u32).flat_map(u32::to_le_bytes).collect();
    let image = fat(lab, "stick.img", &file)?;
    let mut guest = boot(lab)?;
    insert(&mut guest, "stick", &image)?;
    guest.receives("p://a")?;
    let mut mark = guest.go_inside(ROOM)?;
    until(&mut guest, &mut mark, "list", r"folder  papers/\r?$")?;
    guest.types("list papers", r"200000  a\\x20note.bin\r?$")?;
    // A name that no file passes under, and one that is not there.
    guest.types(
        "give papers/.x p://a",
        r"no: \.x is no name that a file passes under",
    )?;
    guest.types(
        "give nothing p://a",
        "no: nothing is not on the stick; next: type list",
    )?;
    guest.types(
        "give papers/a\\x20note.bin p://a",
        r"a\\x20note.bin: all 200000 bytes are read; a person is asked",
    )?;
    guest.go_outside(ROOM, &mark)?;
    let letters = guest.letters()?;
    guest.machine.send_line(&letters)?;
    guest.says("courier: 1 delivered (N ms)")?;
    guest.run_in(
        "p://a",
        "mv '/a note.bin' /back.bin; [ $(wc -c </back.bin) = 200000 ]",
    )?;
    // And back, by another name; then nothing of it is open any more.
    let mark = guest.go_inside(ROOM)?;
    guest.types("take", "waits for a file; Enter ends that")?;
    guest.go_outside(ROOM, &mark)?;
    guest.gives("p://a", "sys://usb", "back.bin")?;
    let letters = guest.letters()?;
    guest.machine.send_line(&letters)?;
    guest.says("courier: 2 delivered (N ms)")?;
    // What is there already stays.
    let mark = guest.go_inside(ROOM)?;
    guest.types(
        "take back.bin",
        "no: back.bin is on the stick already; next: take NAME, another one",
    )?;
    guest.types("end", "nothing of the stick is open: it may be pulled")?;
    guest.go_outside(ROOM, &mark)?;
    guest.never("FAIL")?;
    guest.power_off()?;
    let (back, text) = (lab.path("back"), image.display().to_string());
    tool(
        "mcopy",
        &["-n", "-i", &text, "::back.bin", &back.display().to_string()],
    )?;
    ensure!(fs::read(back)? == file, "another file");
    tool("fsck.fat", &["-n", &text])
}

pub fn u09_without_a_stick_and_with_two_the_person_is_told_and_no_other_room_gets_one(
    lab: &Lab,
) -> Result<()> {
    let (one, two) = (fat(lab, "one.img", b"one")?, fat(lab, "two.img", b"two")?);
    let mut guest = boot(lab)?;
    guest.start_room("p://a")?;
    let said = guest.run_in("p://a", "! bay0 device stick 2>&1")?;
    let refused = "not in this room's policy; next: write it there";
    ensure!(said.contains(refused), "{said}");
    let mut mark = guest.go_inside(ROOM)?;
    guest.types("list", "no: no stick is there; next: plug one in")?;
    for (id, image) in [("one", &one), ("two", &two)] {
        insert(&mut guest, id, image)?;
        let seen = if id == "one" {
            r"folder  papers/\r?$"
        } else {
            "no: sd. and sd. are both sticks; next: unplug one"
        };
        until(&mut guest, &mut mark, "list", seen)?;
    }
    // Pulled: the other one is the stick, and a file that is half read comes to nothing.
    guest.machine.qmp("device_del", json!({ "id": "one" }))?;
    until(&mut guest, &mut mark, "list", r"folder  papers/\r?$")?;
    guest.machine.qmp("device_del", json!({ "id": "two" }))?;
    until(
        &mut guest,
        &mut mark,
        "list",
        "no: no stick is there; next: plug one in",
    )?;
    guest.go_outside(ROOM, &mark)?;
    guest.never("FAIL")?;
    guest.power_off()
}

/// Types a command in the room again until this is answered, and allows it the stick where somebody is asked.
fn until(guest: &mut Guest, mark: &mut String, command: &str, expected: &str) -> Result<()> {
    const ANSWER: &str = r"(folder  |no: |nothing|more).*$";
    for _ in 0..20 {
        guest.machine.send_line(command)?;
        let mut said = guest.expect(&format!("(a person is asked|{ANSWER})"))?;
        if said.contains("a person is asked") {
            let letters = asked(guest, mark)?;
            guest.machine.send_line(&letters)?;
            guest.says("question: allowed, typed")?;
            *mark = guest.go_inside(ROOM)?;
            said = guest.expect(ANSWER)?;
        }
        if regex::Regex::new(expected)?.is_match(&said) {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
    bail!("{command}: never {expected}")
}

/// Leaves the room, whose stick somebody is asked about: the letters.
fn asked(guest: &mut Guest, mark: &str) -> Result<String> {
    guest.go_outside(ROOM, mark)?;
    guest.expect(&format!(
        "{ROOM} asks for the stick sd. with all that is on it: 300 MiB$"
    ))?;
    guest.letters()
}

pub fn a04_a_stick_is_given_when_a_person_says_so_and_another_one_is_asked_about_again(
    lab: &Lab,
) -> Result<()> {
    let image = fat(lab, "stick.img", b"one")?;
    let mut guest = boot(lab)?;
    insert(&mut guest, "one", &image)?;
    let mut mark = guest.go_inside(ROOM)?;
    until(&mut guest, &mut mark, "list", r"folder  papers/\r?$")?;
    // The same stick for the same room is asked about once.
    guest.types("list papers", r"3  a\\x20note.bin\r?$")?;
    guest.machine.qmp("device_del", json!({ "id": "one" }))?;
    guest.machine.qmp_event("DEVICE_DELETED", PATIENCE)?;
    guest.types("list", "no: no stick is there; next: plug one in")?;
    insert(&mut guest, "again", &image)?;
    until(&mut guest, &mut mark, "list", r"folder  papers/\r?$")?;
    ensure!(
        guest.count("question: allowed, typed")? == 2,
        "not asked again"
    );
    // A room that ends takes with it what it was allowed.
    guest.go_outside(ROOM, &mark)?;
    guest.stop_room(ROOM)?;
    guest.start_room(ROOM)?;
    mark = guest.go_inside(ROOM)?;
    until_asked(&mut guest)?;
    asked(&mut guest, &mark)?;
    guest.machine.send_line("")?;
    guest.says("question: not allowed: the answer was no; next: none")?;
    mark = guest.go_inside(ROOM)?;
    guest.types(
        "list",
        "no: not now: the last answer was no, [0-9]+ s left; next: wait",
    )?;
    guest.go_outside(ROOM, &mark)?;
    guest.never("FAIL")?;
    guest.power_off()
}

/// Types `list` until a person is asked.
fn until_asked(guest: &mut Guest) -> Result<()> {
    for _ in 0..20 {
        guest.machine.send_line("list")?;
        let said = guest.expect("(a person is asked at the operator line|no: no stick).*$")?;
        if said.contains("a person") {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
    bail!("nobody was asked")
}

pub fn u09_a_stick_that_is_pulled_in_the_middle_costs_its_file_and_nothing_else(
    lab: &Lab,
) -> Result<()> {
    let image = fat(lab, "stick.img", b"one")?;
    let mut guest = boot(lab)?;
    insert(&mut guest, "stick", &image)?;
    guest.start_room("p://a")?;
    guest.run_in("p://a", "head -c 1000000 /dev/zero >/file")?;
    let mut mark = guest.go_inside(ROOM)?;
    until(&mut guest, &mut mark, "list", r"folder  papers/\r?$")?;
    // It is open while a file is waited for.
    guest.types("take", "waits for a file; Enter ends that")?;
    guest.machine.qmp("device_del", json!({ "id": "stick" }))?;
    guest.machine.qmp_event("DEVICE_DELETED", PATIENCE)?;
    guest.go_outside(ROOM, &mark)?;
    guest.gives("p://a", "sys://usb", "file")?;
    let letters = guest.letters()?;
    guest.machine.send_line(&letters)?;
    guest.expect("courier: FAIL: 1 not delivered: the other room has not taken all of it; next: send it again")?;
    let mark = guest.go_inside(ROOM)?;
    guest.types("list", "no: no stick is there; next: plug one in")?;
    guest.go_outside(ROOM, &mark)?;
    guest.power_off()
}

pub fn u09_a_stick_that_is_protected_from_being_written_is_read_and_takes_nothing(
    lab: &Lab,
) -> Result<()> {
    let file: Vec<u8> = (0..5_000_u32).flat_map(u32::to_le_bytes).collect();
    let image = fat(lab, "stick.img", &file)?;
    let untouched = fs::read(&image)?;
    let mut guest = boot(lab)?;
    insert_as(&mut guest, "stick", &image, true)?;
    guest.receives("p://a")?;
    let mut mark = guest.go_inside(ROOM)?;
    until(&mut guest, &mut mark, "list", r"folder  papers/\r?$")?;
    for line in ["take", "take back.bin"] {
        let refused = "no: nothing can be put on this stick: it is protected from being written; next: take another one";
        until(&mut guest, &mut mark, line, refused)?;
    }
    guest.types(
        "give papers/a\\x20note.bin p://a note.bin",
        "note.bin: all 20000 bytes are read; a person is asked",
    )?;
    guest.go_outside(ROOM, &mark)?;
    let letters = guest.letters()?;
    guest.machine.send_line(&letters)?;
    guest.says("courier: 1 delivered (N ms)")?;
    let sum = guest.run_in("p://a", "sha256sum </note.bin")?;
    guest.said(&format!(
        "courier: 1 note.bin: 20000 bytes, other, sha256 {}",
        sum.split(' ').next().unwrap_or_default()
    ))?;
    guest.never("FAIL|sd[a-z]: .*error")?;
    guest.power_off()?;
    let same = fs::read(&image)? == untouched;
    ensure!(same, "it was written to");
    Ok(())
}

pub fn u09_what_the_machine_was_started_from_is_no_stick(lab: &Lab) -> Result<()> {
    let stick = Stick::new(lab, "")?;
    let mut config = stick.on(Bus::Usb);
    let rooms = lab.bench.rooms.as_ref().context("no disk of rooms")?;
    let copy = lab.path("rooms.img");
    fs::copy(rooms, &copy)?;
    plug(&mut config, Bus::Virtio, "rooms", &copy);
    let mut guest = lab.start(&config)?;
    guest.verdict("GREEN")?;
    guest.start_room("sys://stick")?;
    let mark = guest.go_inside("sys://stick")?;
    guest.types("list", "no: no stick is there; next: plug one in")?;
    guest.go_outside("sys://stick", &mark)?;
    guest.power_off()
}
