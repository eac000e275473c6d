//! What a room with a screen costs: bay0 beside plain Debian with seatd, on one kernel, Debian's own for PCs (bay0's has no virtual terminal
//! to switch, and Debian's for virtual machines no display), in machines of one processor, and the same programs on both sides.
//!
//! * **Focus**: two programs that only show a picture they have, `paints`, in two rooms; or as two clients of one seatd, each on a virtual
//!   terminal. From the Enter after `focus ROOM`, or after the number of a terminal, until the other one's picture is flushed to QEMU's
//!   display. Both times are the host's.
//! * **Frames**: sway with foot, which fills the screen and shows what `yes` prints, out of the image `desk`, as the room `p://desk` and as a
//!   user of the plain machine. QEMU counts what is flushed to its display.
//! * **Keys**: from the time that the kernel gave a key until `paints` has read it. Both times are the guest's.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use regex::Regex;
use serde_json::json;

use super::guests::{Guests, PROGRAM, archive, program};
use super::report::{Figure, Target};
use crate::lan;
use crate::lock::Lock;
use crate::machine::{Machine, MachineConfig, PATIENCE, virtio_drive};
use crate::modules::{Tree, WANTED, Wanted, name_of};
use crate::soil::Soil;
use crate::{host, persist, roomdisk, smoke, spine};

/// The kernel of both, and what a machine with a desktop has besides the image `desk`.
const PACKAGES: &str = "linux-image-6.12-amd64,seatd,udev";
const IMAGES: &str = "busybox,desk,hostile";
const DISPLAY: Wanted = Wanted {
    list: "watchdog",
    needed: &["crc32c_generic", "virtio_gpu"],
    optional: &[],
};
/// A compositor and its terminal are there, and bay0.
const MEMORY_MIB: u32 = 1024;
const DEVICES: &str = "-device virtio-gpu-pci -msg timestamp=on -trace virtio_gpu_cmd_res_flush";
/// For so long nothing is said and nothing drawn by who has nothing left to do; a compositor that starts has longer pauses.
const QUIET: Duration = Duration::from_millis(1000);
const STARTED: Duration = Duration::from_secs(5);
/// Of each run: changes of focus, keys, and how often frames are counted for so many seconds.
const CHANGES: usize = 20;
const KEYS: usize = 20;
const WINDOWS: usize = 4;
const SECONDS: f64 = 5.0;
/// In a line of QEMU's: before it the time, after it the picture's number.
const FLUSH: &str = ":virtio_gpu_cmd_res_flush res ";
const FRONT: [&str; 2] = ["ff0000", "0000ff"];
/// The plain machine's first program, and what it goes on with in its root.
const INIT: &[u8] = b"#!/bin/sh
busybox() { /bin/busybox \"$@\"; }
busybox mount -t devtmpfs dev /dev
while read -r module; do busybox insmod \"$module\"; done </lib/modules/watchdog
busybox mount -t tmpfs top /top
busybox mkdir /top/upper /top/work
busybox mount -t squashfs -o ro /dev/vda /desk
busybox mount -t overlay -o lowerdir=/desk,upperdir=/top/upper,workdir=/top/work whole /whole
busybox cp -a /add/. /whole/
busybox mount -o bind /dev /whole/dev
busybox mkdir /dev/pts /dev/shm
busybox mount -t devpts pts /whole/dev/pts
busybox mount -t tmpfs shm /whole/dev/shm
busybox mount -t proc proc /whole/proc
busybox mount -t sysfs sys /whole/sys
busybox mount -t tmpfs run /whole/run
exec /bin/busybox setsid -c /bin/busybox chroot /whole /bin/bash /usr/bin/begin
";
const BEGIN: &[u8] = b"ln -s /usr/bin/udevadm /run/systemd-udevd
/run/systemd-udevd --daemon
udevadm trigger --settle
install -d -m 700 -o 1000 -g 1000 /run/user /home/user
mkfifo /run/ready
seatd -l error -u user -n 3 3>/run/ready &
read -r _ </run/ready
export SEATD_SOCK=/run/seatd.sock
PS1='plain> ' exec bash --norc -i
";
/// As `p://desk` starts it.
const SWAY: &str = "cd /home/user; HOME=/home/user LANG=C.UTF-8 WLR_RENDERER=pixman LIBSEAT_BACKEND=seatd XDG_RUNTIME_DIR=/run/user \
    setpriv --reuid 1000 --regid 1000 --clear-groups sway >/dev/null 2>&1 &";

/// What a machine was found to take.
#[derive(Default)]
struct Samples {
    focus_ms: Vec<f64>,
    frames: Vec<f64>,
    keys_us: Vec<f64>,
}

/// By turns.
pub fn desktop(guests: &Guests, runs: usize) -> Result<Vec<Figure>> {
    let [room, plain] = prepare(guests)?;
    let (mut ours, mut peer) = (Samples::default(), Samples::default());
    for run in 1..=runs {
        eprintln!("bench: desktop {run} of {runs}");
        in_rooms(Machine::boot(&room)?, &mut ours)?;
        on_terminals(Machine::boot(&plain)?, &mut peer)?;
    }
    let pairs = ours.keys_us.iter().zip(&peer.keys_us);
    let added = pairs.map(|(ours, peer)| (ours - peer) / 1000.0).collect();
    let figure = |name, unit, ours, beside, peer, target| Figure {
        name,
        unit,
        ours,
        beside,
        peer,
        target,
    };
    Ok(vec![
        figure(
            "focus, Enter to the other room's picture",
            "ms",
            ours.focus_ms,
            "seatd, to the other terminal's",
            peer.focus_ms,
            Target::Times(1.5),
        ),
        figure(
            "frames of sway and foot, full screen",
            "/s",
            ours.frames,
            "the same on plain Debian",
            peer.frames,
            Target::AtLeast(0.97),
        ),
        figure(
            "a key, kernel to program",
            "us",
            ours.keys_us,
            "seatd's client",
            peer.keys_us,
            Target::None,
        ),
        figure(
            "of that, added by the room",
            "ms",
            added,
            "nothing",
            Vec::new(),
            Target::AtMost(1.0),
        ),
    ])
}

/// Both machines.
fn prepare(guests: &Guests) -> Result<[MachineConfig; 2]> {
    host::need(&[host::TOOL_BUSYBOX, host::TOOL_DEPMOD, host::TOOL_MMDEBSTRAP])?;
    let layout = &guests.layout;
    let packages = lan::extract(layout, PACKAGES)?;
    let rooms = roomdisk::choose(layout, None, IMAGES)?;
    let spine = spine::build(layout, Soil::default(), true, &rooms)?;
    let modules = modules(&packages)?;
    let mut image = fs::read(&spine.initrd)?;
    image.resize(image.len().next_multiple_of(4), 0);
    image.extend(archive(&borrowed(&modules))?);
    fs::write(guests.dir.join("room.img"), image).context("write room.img")?;
    fs::copy(spine.cmdline(), guests.dir.join("room.cmdline")).context("copy spine.cmdline")?;
    let disk = guests.dir.join("desktop.img");
    persist::make(&disk, 64 << 20, true)?;
    let mut room = guests.config(
        "room",
        "/sbin/init",
        MEMORY_MIB,
        &virtio_drive(&disk, "persist", ""),
    );
    room.rooms = Some(layout.rooms_disk());
    plain_image(guests, &packages, modules)?;
    let disk = layout.rooms().join("desk.sqfs");
    let drive = virtio_drive(&disk, "desk", ",readonly=on");
    let mut plain = guests.config("plain", "/plain", MEMORY_MIB, &drive);
    // A cursor that blinks is drawn without end.
    plain.append_extra += " vt.global_cursor_default=0";
    for config in [&mut room, &mut plain] {
        let release = release(&packages)?;
        config.kernel = packages.join(format!("boot/vmlinuz-{release}"));
        config.qmp = true;
        config
            .extra_args
            .extend(DEVICES.split(' ').map(str::to_owned));
    }
    Ok([room, plain])
}

/// Files of an initramfs.
type Files = Vec<(String, u32, Vec<u8>)>;

fn borrowed(files: &Files) -> Vec<(&str, u32, &[u8])> {
    let files = files.iter();
    files
        .map(|(name, mode, bytes)| (name.as_str(), *mode, bytes.as_slice()))
        .collect()
}

/// What the kernel is called.
fn release(packages: &Path) -> Result<String> {
    let mut all = fs::read_dir(packages.join("lib/modules"))?;
    let release = all.next().context("no kernel among the packages")??;
    Ok(release.file_name().to_string_lossy().into_owned())
}

/// All modules that bay0 loads, and a display's, in the list that it loads first: that one is in the initramfs.
fn modules(packages: &Path) -> Result<Files> {
    let release = release(packages)?;
    host::run(
        host::command("depmod")?
            .arg("-b")
            .arg(packages)
            .arg(&release),
    )?;
    let tree = Tree::read(&packages.join("lib/modules").join(release))?;
    let (mut list, mut files) = (String::new(), Vec::new());
    for wanted in [DISPLAY].iter().chain(&WANTED) {
        for file in tree.closure(wanted)? {
            let name = format!("lib/modules/{}.ko", name_of(&file));
            let line = format!("/{name}\n");
            if !list.contains(&line) {
                list += &line;
                files.push((name, 0o644, tree.unpack(&file)?));
            }
        }
    }
    files.push(("lib/modules/watchdog".to_owned(), 0o644, list.into_bytes()));
    Ok(files)
}

/// The plain machine's initramfs: what it has over the image `desk`.
fn plain_image(guests: &Guests, packages: &Path, modules: Files) -> Result<()> {
    let lock = Lock::read(&guests.layout.lock())?;
    let paints = spine::compile(&guests.layout, &lock, "paints", false)?;
    let guest = guests.dir.join("guest");
    let rules = "lib/udev/rules.d/60-input-id.rules";
    let folders = [
        "add",
        "add/usr",
        "add/usr/bin",
        "add/usr/lib",
        "add/usr/lib/udev",
        "add/usr/lib/udev/rules.d",
        "bin",
        "desk",
        "dev",
        "lib",
        "lib/modules",
        "top",
        "whole",
    ];
    let mut files: Files = folders.map(|it| (it.to_owned(), 0, Vec::new())).into();
    files.extend(modules);
    let busybox = program("busybox")?;
    for (name, bytes) in [
        ("bin/busybox", busybox.clone()),
        ("bin/sh", busybox.clone()),
        ("plain", INIT.to_vec()),
        ("add/usr/bin/begin", BEGIN.to_vec()),
        ("add/usr/bin/busybox", busybox),
        ("add/usr/bin/guest", fs::read(guest)?),
        ("add/usr/bin/paints", fs::read(paints)?),
        (
            "add/usr/bin/seatd",
            fs::read(packages.join("usr/sbin/seatd"))?,
        ),
        (
            "add/usr/bin/udevadm",
            fs::read(packages.join("bin/udevadm"))?,
        ),
        (&format!("add/usr/{rules}"), fs::read(packages.join(rules))?),
    ] {
        files.push((name.to_owned(), PROGRAM, bytes));
    }
    guests.image("plain", &borrowed(&files))
}

/// A machine of bay0's.
fn in_rooms(mut machine: Machine, samples: &mut Samples) -> Result<()> {
    machine.expect(&smoke::summary_line(), PATIENCE)?;
    let rooms = ["p://red", "p://blue"];
    for (room, colour) in rooms.iter().zip(FRONT) {
        let started = format!("room: {room} started");
        says(&mut machine, &format!("start {room}"), &started)?;
        says(&mut machine, &format!("enter {room}"), "inside")?;
        machine.send_line(&format!("paints {colour} times >/told 2>&1 &"))?;
        drawn(&mut machine, QUIET)?;
        leave(&mut machine)?;
    }
    let rooms = rooms.map(|room| format!("focus {room}"));
    changes(&mut machine, &rooms, &mut samples.focus_ms)?;
    says(&mut machine, "enter p://blue", "inside")?;
    keys(&mut machine, "/told", &mut samples.keys_us)?;
    leave(&mut machine)?;
    for room in ["red", "blue"] {
        says(&mut machine, &format!("stop p://{room}"), "stopped")?;
    }
    says(&mut machine, "start p://desk", "room: p://desk started")?;
    frames(&mut machine, &mut samples.frames)?;
    machine.send_line("poweroff")?;
    machine.wait_exit(PATIENCE).map(drop)
}

/// A machine with seatd.
fn on_terminals(mut machine: Machine, samples: &mut Samples) -> Result<()> {
    expect(&mut machine, "plain> $")?;
    for (colour, next) in FRONT.iter().zip(["2", "1"]) {
        machine.send_line(&format!("paints {colour} times >/{colour} 2>&1 &"))?;
        drawn(&mut machine, QUIET)?;
        says(&mut machine, "guest switch", "terminal> $")?;
        machine.send_line(next)?;
        says(&mut machine, "0", "plain> $")?;
        settled(&mut machine, QUIET);
    }
    says(&mut machine, "guest switch", "terminal> $")?;
    let next = ["2", "1"].map(str::to_owned);
    changes(&mut machine, &next, &mut samples.focus_ms)?;
    says(&mut machine, "0", "plain> $")?;
    keys(
        &mut machine,
        &format!("/{}", FRONT[0]),
        &mut samples.keys_us,
    )?;
    machine.send(b"\x03")?;
    expect(&mut machine, "plain> $")?;
    says(&mut machine, "busybox killall paints", "plain> $")?;
    settled(&mut machine, QUIET);
    machine.send_line(SWAY)?;
    frames(&mut machine, &mut samples.frames)?;
    machine.kill()
}

fn expect(machine: &mut Machine, pattern: &str) -> Result<String> {
    machine.expect(&Regex::new(pattern)?, PATIENCE)
}

fn says(machine: &mut Machine, line: &str, pattern: &str) -> Result<()> {
    machine.send_line(line)?;
    expect(machine, pattern).map(drop)
}

/// Out of a room: what is typed before that is done is nobody's.
fn leave(machine: &mut Machine) -> Result<()> {
    machine.send(b"\x1d")?;
    expect(machine, "terminal: left")?;
    settled(machine, QUIET);
    Ok(())
}

/// Waits until nothing more is said or drawn.
fn settled(machine: &mut Machine, quiet: Duration) {
    let mut had = usize::MAX;
    while machine.text().len() != had {
        had = machine.text().len();
        machine.wait_for_more(quiet);
    }
}

/// Waits for something to be drawn, and until that is all.
fn drawn(machine: &mut Machine, quiet: Duration) -> Result<()> {
    machine.skip();
    expect(machine, FLUSH)?;
    settled(machine, quiet);
    Ok(())
}

/// Waits until what the console has said is enough.
fn until<T>(machine: &mut Machine, enough: impl Fn(&str) -> Option<T>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = enough(&machine.text()) {
            return Ok(found);
        }
        ensure!(Instant::now() < end, "not within {PATIENCE:?}");
        machine.wait_for_more(QUIET);
    }
}

/// What was flushed: when, in seconds since 1970, and which picture.
fn flushed(text: &str) -> Vec<(f64, &str)> {
    let lines = text.lines().filter_map(|line| line.split_once(FLUSH));
    let times = lines.filter_map(|(before, after)| {
        let (_, at) = before.rsplit_once('@')?;
        let (picture, _) = after.split_once(',')?;
        Some((at.parse().ok()?, picture))
    });
    times.collect()
}

/// Milliseconds from the end of each line to the picture that is there once all is quiet.
fn changes(machine: &mut Machine, lines: &[String; 2], samples: &mut Vec<f64>) -> Result<()> {
    for line in lines.iter().cycle().take(CHANGES) {
        let from = machine.text().len();
        machine.send(line.as_bytes())?;
        until(machine, |text| {
            let typed = text.get(from..).is_some_and(|it| it.ends_with(line));
            typed.then_some(())
        })?;
        let begun = UNIX_EPOCH.elapsed()?.as_secs_f64();
        machine.send(b"\r")?;
        drawn(machine, QUIET)?;
        let text = machine.text();
        let all = flushed(text.get(from..).unwrap_or_default());
        let (_, last) = all.last().context("nothing was drawn")?;
        let first = all.iter().find(|(_, picture)| picture == last);
        let (at, _) = first.context("nothing was drawn")?;
        ensure!(*at > begun, "it was drawn before it was asked for");
        samples.push((at - begun) * 1000.0);
    }
    Ok(())
}

/// Microseconds that a program says of keys, which writes there.
fn keys(machine: &mut Machine, told: &str, samples: &mut Vec<f64>) -> Result<()> {
    machine.send_line(&format!("tail -n +1 -f {told}"))?;
    let late = Regex::new("late ([0-9]+) us")?;
    for _ in 0..KEYS {
        settled(machine, QUIET);
        press(machine, &["a"])?;
        let line = machine.expect(&late, PATIENCE)?;
        let late = late.captures(&line).context("no number")?;
        samples.push(late[1].parse()?);
    }
    Ok(())
}

/// Frames a second, once sway and its terminal are there.
fn frames(machine: &mut Machine, samples: &mut Vec<f64>) -> Result<()> {
    drawn(machine, STARTED)?;
    press(machine, &["meta_l", "f11"])?;
    drawn(machine, STARTED)?;
    for key in ["y", "e", "s"] {
        press(machine, &[key])?;
        drawn(machine, QUIET)?;
    }
    press(machine, &["ret"])?;
    for _ in 0..WINDOWS {
        let from = machine.text().len();
        samples.push(until(machine, |text| {
            let all = flushed(text.get(from..)?);
            let took = all.last()?.0 - all.first()?.0;
            (took >= SECONDS).then(|| (all.len() - 1) as f64 / took)
        })?);
    }
    Ok(())
}

fn press(machine: &mut Machine, keys: &[&str]) -> Result<()> {
    let keys = keys
        .iter()
        .map(|key| json!({ "type": "qcode", "data": key }));
    let keys = json!({ "keys": keys.collect::<Vec<_>>() });
    machine.qmp("send-key", keys).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h20_a_picture_is_found_behind_whatever_else_the_line_has() {
        let text = "bay0> 7@1796097853.809425:virtio_gpu_cmd_res_flush res 0x2, w 1280, h 800, x 0, y 0\n\
            7@1796097853.809425:virtio_gpu_cmd_set_scanout id 0, res 0x3, w 1280\nfocus p://red\n\
            room7@1796097853.9:virtio_gpu_cmd_res_flush res 0x16, w 1280, h 800, x 0, y 0\n";
        let found = [(1_796_097_853.809_425, "0x2"), (1_796_097_853.9, "0x16")];
        assert_eq!(flushed(text), found);
    }
}
