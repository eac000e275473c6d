//! The device of the room in front (T05): lent, taken back, and refused; and the one that a room has alone.

use anyhow::{Result, ensure};

use super::inside::Inside;
use super::lab::{Build, Guest, Lab};
use super::rooms::stands;
use super::screen::{DISPLAY, words};

/// What stands in for hardware, as QEMU calls it.
const KEYBOARD: [&str; 2] = ["-device", "virtio-keyboard-pci"];
/// Types, codes and values of what one tap of a key makes: pressed, told, let go, told.
fn tap(code: &str) -> [String; 4] {
    let told = "0000000000000000".to_owned();
    let [down, up] = ["01", "00"].map(|value| format!("0100{code}00{value}000000"));
    [down, told.clone(), up, told]
}

fn with_keyboard(lab: &Lab) -> Result<Guest> {
    let mut config = lab.config_with(Build::Fault, &lab.disk()?);
    config.extra_args = KEYBOARD.map(str::to_owned).to_vec();
    let mut guest = lab.start(&config)?;
    guest.verdict("GREEN")?;
    Ok(guest)
}

/// Asks for the device, and goes on when it is there; what it says is kept in a file. Not by a child of the shell: without echo
/// that takes the end of one for the end of its input.
fn hold(room: &mut Inside<'_>) -> Result<()> {
    room.run("rm -f /keys; (bay0 device standin >/keys 2>/end & echo $! >/pid); pid=$(cat /pid)")?;
    // Until it is there, or the client has ended without it.
    let held = "ls -l /proc/$pid/fd | grep -q input";
    room.run(&format!(
        "until {held} || ! kill -0 $pid; do :; done; {held} || ! cat /end"
    ))
    .map(drop)
}

/// What the device has said since it was asked for, once it has said all of a tap.
fn heard(room: &mut Inside<'_>, taps: usize) -> Result<Vec<String>> {
    let all = taps * 96;
    room.run(&format!(
        "until [ $(wc -c </keys) -ge {all} ]; do sleep 1; done"
    ))?;
    let said = room.run("hexdump -v -e '24/1 \"%02x\" \"\\n\"' /keys")?;
    let words = said.split_whitespace().filter_map(|line| line.get(32..));
    Ok(words.map(str::to_owned).collect())
}

/// A room asks for the device, and hears the key that is typed then and nothing else.
fn reads(guest: &mut Guest, name: &str, key: &str, code: &str) -> Result<()> {
    let mut room = guest.enter(name)?;
    hold(&mut room)?;
    room.guest.press(&[key])?;
    let said = heard(&mut room, 1)?;
    ensure!(said == tap(code), "{said:?}");
    room.leave()
}

/// Fails unless whoever held the device in this room has read an error.
fn lost(room: &mut Inside<'_>) -> Result<()> {
    let (said, code) =
        room.try_run("while kill -0 $pid; do :; done 2>/dev/null; cat /end; test ! -s /end")?;
    ensure!(
        code == 1 && said.contains("bay0: device: No such device (os error 19)"),
        "{code} {said}"
    );
    Ok(())
}

pub fn t05_the_device_goes_with_the_focus_and_with_the_end(lab: &Lab) -> Result<()> {
    let mut guest = with_keyboard(lab)?;
    let mut a = guest.start_and_enter("p://a")?;
    hold(&mut a)?;
    // Not the power button, whatever is typed.
    a.guest.press(&["power"])?;
    a.guest.press(&["a"])?;
    let said = heard(&mut a, 2)?;
    ensure!(said == [tap("74"), tap("1e")].concat(), "{said:?}");
    let (said, code) = a.try_run(
        "for f in /proc/$pid/fd/*; do case $(readlink -n $f) in *input*) head -c 1 <$f;; esac; done",
    )?;
    ensure!(
        code != 0 && said.contains("Permission denied"),
        "opened anew, it could not be taken back: {code} {said}"
    );
    a.leave()?;

    guest.start_room("p://b")?;
    reads(&mut guest, "p://b", "b", "30")?;

    let mut a = guest.enter("p://a")?;
    lost(&mut a)?;
    let said = heard(&mut a, 2)?;
    ensure!(said.len() == 8, "it went on reading: {said:?}");
    a.leave()?;

    // One inside the room in front may have it, and takes it from that one; when it has ended, the device is free.
    guest.start_room("p://a/kid")?;
    let mut a = guest.enter("p://a")?;
    hold(&mut a)?;
    a.leave()?;
    let mut kid = guest.enter("p://a/kid")?;
    hold(&mut kid)?;
    kid.leave()?;
    guest.stop_room("p://a/kid")?;
    let mut a = guest.enter("p://a")?;
    lost(&mut a)?;
    a.leave()?;
    reads(&mut guest, "p://a", "c", "2e")?;
    guest.stop_room("p://a")?;

    let mut b = guest.enter("p://b")?;
    lost(&mut b)?;
    b.leave()?;
    reads(&mut guest, "p://b", "d", "20")?;
    guest.never("FAIL")?;
    guest.power_off()
}

/// Fails unless the room is refused with this; that its start has used up its share of the processor may be said in between.
fn refused(guest: &mut Guest, name: &str, why: &str) -> Result<()> {
    let mut room = guest.enter(name)?;
    let (said, code) = room.try_run("bay0 device standin")?;
    let line = format!("bay0: {why}");
    ensure!(
        code == 1 && said.lines().any(|said| said == line),
        "{name}: {code} {said}"
    );
    room.leave()
}

pub fn t05_a_room_is_refused_what_it_may_not_have(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    for name in ["p://tiny", "p://a", "sys://serves"] {
        guest.start_room(name)?;
    }
    let why = "this machine has no such device; next: attach one";
    refused(&mut guest, "p://a", why)?;
    let why = "this room is not in front; next: ask when it is";
    refused(&mut guest, "sys://serves", why)?;
    let why = "not in this room's policy; next: write it there";
    refused(&mut guest, "p://tiny", why)?;
    let mut room = guest.enter("p://a")?;
    let (said, code) = room.try_run("bay0 device gpu")?;
    let why = "bay0: unknown verb \"device gpu\"; next: type help";
    ensure!(code == 1 && said.trim() == why, "{code} {said}");
    room.leave()?;
    let said = guest.ask("device standin")?;
    ensure!(
        said.contains("only a room has one; next: enter one"),
        "{said}"
    );
    guest.power_off()
}

pub fn t05_a_device_that_cannot_be_taken_back_costs_its_room(lab: &Lab) -> Result<()> {
    let mut guest = with_keyboard(lab)?;
    guest.start_room("p://b")?;
    let mut a = guest.start_and_enter("p://a")?;
    hold(&mut a)?;
    a.leave()?;
    let said = guest.ask("fault stuck-device")?;
    ensure!(said.contains("/dev/null"), "{said}");
    refused(
        &mut guest,
        "p://a",
        "who has it keeps it; next: stop this room",
    )?;
    guest.machine.send_line("focus p://b")?;
    guest.says("room: FAIL: focus p://b: the room in front kept its device: ENOTTY; that room is stopped; next: try again")?;
    guest.says("room: p://a stopped (N ms)")?;
    stands(&mut guest, "p://a stopped")?;
    stands(&mut guest, "p://b running frozen")?;
    let mut b = guest.enter("p://b")?;
    hold(&mut b)?;
    b.guest.press(&["b"])?;
    let said = heard(&mut b, 1)?;
    ensure!(said == tap("30"), "{said:?}");
    b.leave()?;
    guest.power_off()
}

pub fn t05_a_render_node_is_one_rooms_alone_until_that_has_ended(lab: &Lab) -> Result<()> {
    let mut config = lab.config_with(Build::Fault, &lab.disk()?);
    config.extra_args.extend(words(DISPLAY));
    let mut guest = lab.start(&config)?;
    guest.verdict("GREEN")?;
    // It computes, and the screen is not to be had by it.
    let has = "hostile render";
    let node = "render renderD128: virtio_gpu, master EACCES";
    let said = guest.start_and_run_in("p://draws", has)?;
    ensure!(said.trim() == node, "{said}");
    let refused = "room: FAIL: start p://paints: p://draws has the render node, which is one room's alone; next: stop p://draws";
    guest.machine.send_line("start p://paints")?;
    guest.says(refused)?;
    // It does not go with the focus.
    let said = guest.start_and_run_in("p://a", "ls /dev; ! ls /dev/dri 2>&1")?;
    ensure!(!said.contains("render"), "{said}");
    stands(&mut guest, "p://draws running frozen")?;
    guest.machine.send_line("start p://paints")?;
    guest.says(refused)?;
    let said = guest.run_in("p://draws", has)?;
    ensure!(said.trim() == node, "{said}");
    guest.stop_room("p://draws")?;
    let said = guest.start_and_run_in("p://paints", has)?;
    ensure!(said.trim() == node, "{said}");
    guest.never("has no render node")?;
    guest.power_off()
}

pub fn t05_a_machine_without_a_render_node_starts_the_room_and_says_so(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.machine.send_line("start p://draws")?;
    guest.says("room: p://draws has no render node: this machine has none")?;
    guest.says("room: p://draws started (N ms)")?;
    let said = guest.run_in("p://draws", "! ls /dev/dri 2>&1")?;
    ensure!(said.contains("No such file"), "{said}");
    guest.never("FAIL")?;
    guest.power_off()
}
