//! How fast a stick installs itself (U07): from the last confirmation to the word of success, beside busybox's `dd` with `fsync`, which
//! is the only program of a machine with the same kernel, memory, stick and disk and writes the same: a slot and its images, twice.
//!
//! Neither reads the stick while the clock runs: `install` has hashed all of it before it asks, the peer has read it once, and there is
//! memory for it, which the kernel gives up only when nobody has the stick open any more. The clock is the host's. QEMU counts what its
//! disk reads and writes. `install` reads its target only to compare what it has written: that takes from the last byte written to the
//! last one read. The peer does the same as a second task: `sha256sum` of what the disk has, once the kernel has forgotten it.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use regex::Regex;
use serde_json::{Value, json};
use uuid::Uuid;

use super::guests::{Guests, PROGRAM, program};
use super::report::{Figure, Target};
use crate::machine::{Firmware, Machine, MachineConfig};
use crate::uefi::{Programs, disk, firmware, slot};
use crate::{host, smoke};

const MIB: u64 = 1 << 20;
/// All images, padded with random bytes; a slot; all that is written.
const IMAGES_MIB: u64 = 300;
const SLOT_MIB: u64 = slot::BYTES / MIB;
const WRITTEN: u64 = 2 * (SLOT_MIB + IMAGES_MIB) * MIB;
const TARGET: u64 = 1 << 30;
/// Room for all that the stick has, and for what waits to be written.
const MEMORY_MIB: u32 = 1536;
/// Emulated, on a busy host, hashing both slots and their images takes minutes, and busybox's sums several.
const PATIENCE: Duration = Duration::from_secs(900);
/// How often QEMU is asked.
const LOOK: Duration = Duration::from_millis(50);
const EPOCH: u32 = 1_700_000_000;
/// The peer's only program.
const SCRIPT: &str = "#!/bin/busybox sh
busybox() { /bin/busybox \"$@\"; }
busybox mount -t devtmpfs dev /dev
busybox mount -t proc proc /proc
until [ -b /dev/sda4 ] && [ -b /dev/nvme0n1 ]; do busybox sleep 1; done
read_in() { busybox dd if=$1 bs=1M count=$2 of=/dev/null; }
copy() { busybox dd if=$1 bs=1M count=$2 of=/dev/nvme0n1 seek=$3 conv=fsync; }
back() { busybox dd if=/dev/nvme0n1 bs=1M count=$1 skip=$2 | busybox sha256sum; }
exec 3</dev/sda1 4</dev/sda4
read_in /dev/sda1 SLOT; read_in /dev/sda4 IMAGES
printf 'copy> '; read -r _
copy /dev/sda4 IMAGES 1; copy /dev/sda1 SLOT 401
copy /dev/sda4 IMAGES 501; copy /dev/sda1 SLOT 901
echo copied,
echo 1 >/proc/sys/vm/drop_caches
printf 'back> '; read -r _
back IMAGES 1; back SLOT 401; back IMAGES 501; back SLOT 901
echo compared,
busybox poweroff -f
";

/// What one of them took, in seconds, and of that while the disk was read.
#[derive(Clone, Copy)]
struct Took {
    all: f64,
    reading: f64,
}

/// By turns.
pub fn install(guests: &Guests, runs: usize) -> Result<Vec<Figure>> {
    host::need(&[host::TOOL_BUSYBOX])?;
    let stick = stick(guests)?;
    let script = SCRIPT
        .replace("SLOT", &SLOT_MIB.to_string())
        .replace("IMAGES", &IMAGES_MIB.to_string());
    let busybox = program("busybox")?;
    let folders = ["bin", "dev", "proc"].map(|name| (name, 0, [].as_slice()));
    let programs = [
        ("bin/busybox", PROGRAM, busybox.as_slice()),
        ("copy", PROGRAM, script.as_bytes()),
    ];
    guests.image("copy", &[folders.as_slice(), &programs].concat())?;
    let (mut ours, mut copied, mut compared) = (Vec::new(), Vec::new(), Vec::new());
    for run in 1..=runs {
        eprintln!("bench: install {run} of {runs}");
        ours.push(installed(guests, &stick)?);
        let (copy, back) = peer(guests, &stick)?;
        eprintln!(
            "bench: install {:.1} s, reading back {:.1} s of it; dd {:.1} s, sha256sum {:.1} s",
            ours[run - 1].all,
            ours[run - 1].reading,
            copy.all,
            back.all
        );
        copied.push(copy.all);
        compared.push(copy.all + back.all);
    }
    let of = |pick: fn(&Took) -> f64| ours.iter().map(pick).collect::<Vec<_>>();
    let speeds = |seconds: &[f64]| seconds.iter().map(|it| WRITTEN as f64 / 1e6 / it).collect();
    let figure = |name, unit, ours, beside, peer, target| Figure {
        name,
        unit,
        ours,
        beside,
        peer,
        target,
    };
    let (all, writing) = (of(|it| it.all), of(|it| it.all - it.reading));
    let (alone, with) = ("dd with fsync", "dd with fsync, then sha256sum");
    let least = Target::AtLeast(0.8);
    Ok(vec![
        figure(
            "install of 2 x 340 MiB",
            "s",
            all.clone(),
            alone,
            copied.clone(),
            Target::None,
        ),
        figure(
            "of that, reading back",
            "s",
            of(|it| it.reading),
            "nothing",
            Vec::new(),
            Target::None,
        ),
        figure(
            "install",
            "MB/s",
            speeds(&all),
            alone,
            speeds(&copied),
            least,
        ),
        figure(
            "the same without reading back",
            "MB/s",
            speeds(&writing),
            alone,
            speeds(&copied),
            Target::None,
        ),
        figure(
            "install",
            "MB/s",
            speeds(&all),
            with,
            speeds(&compared),
            Target::None,
        ),
    ])
}

/// A disk of the factory's; behind its images come random bytes, which belong to them.
fn stick(guests: &Guests) -> Result<PathBuf> {
    let images = guests.dir.join("install-rooms.img");
    fs::copy(guests.layout.rooms_disk(), &images).context("copy the images")?;
    let mut file = File::options().write(true).open(&images)?;
    let has = file.seek(SeekFrom::End(0))?;
    let more = (IMAGES_MIB * MIB).checked_sub(has);
    let more = more.context("the images are larger than what is measured")?;
    io::copy(&mut File::open("/dev/urandom")?.take(more), &mut file)?;
    let (to, written) = (guests.dir.join("stick.img"), guests.dir.join("slot.img"));
    slot::write(
        &written,
        &Programs::of(&guests.spine)?,
        EPOCH,
        Some(&images),
    )?;
    let contents = disk::Contents {
        slot: &fs::read(&written)?,
        rooms: Some((&images, IMAGES_MIB * MIB)),
        persist: 64 * MIB,
        ext4: Some(EPOCH),
    };
    disk::make(&to, Uuid::new_v4(), &contents)?;
    Ok(to)
}

/// The stick and a new disk, whose flushes reach the host's.
fn plug(guests: &Guests, config: &mut MachineConfig, stick: &Path) -> Result<()> {
    let target = guests.dir.join("target.img");
    crate::persist::blank(&target, TARGET)?;
    let drive = |id: &str, path: &Path| {
        let file = path.display().to_string().replace(',', ",,");
        format!("file={file},format=raw,if=none,id={id},cache=writeback")
    };
    let (stick, target) = (drive("stick", stick), drive("target", &target));
    let devices = [
        ("-drive", stick.as_str()),
        ("-drive", target.as_str()),
        ("-device", "qemu-xhci,id=usb"),
        ("-device", "usb-storage,drive=stick,bus=usb.0"),
        ("-device", "nvme,drive=target,serial=target"),
    ];
    let words = devices.iter().flat_map(|(key, value)| [*key, *value]);
    config.extra_args.extend(words.map(str::to_owned));
    (config.mem_mb, config.accel, config.qmp) = (MEMORY_MIB, guests.accel, true);
    Ok(())
}

/// What `install` takes.
fn installed(guests: &Guests, stick: &Path) -> Result<Took> {
    let (log, vars) = (guests.dir.join("install.log"), guests.dir.join("stick.fd"));
    let layout = disk::Layout::of(stick)?.context("the stick has other partitions")?;
    firmware::write_vars(&vars, &layout, None)?;
    let mut config = MachineConfig::new(&guests.spine.kernel, &guests.spine.initrd, &log);
    config.firmware = Some(Firmware {
        code: firmware::code(false).to_owned(),
        vars,
        secure: false,
    });
    plug(guests, &mut config, stick)?;
    let mut machine = Machine::boot(&config)?;
    machine.expect(&smoke::summary_line(), PATIENCE)?;
    machine.expect(
        &Regex::new("slots: slot [AB] is (whole|made a copy)")?,
        PATIENCE,
    )?;
    machine.send_line("install nvme0n1")?;
    machine.expect(&Regex::new("^type its serial number .*> ")?, PATIENCE)?;
    let took = timed(
        &mut machine,
        "target",
        "has this Spine in both slots|install: FAIL",
    )?;
    ensure!(
        !machine.text().contains("install: FAIL"),
        "it was not installed: see {}",
        log.display()
    );
    machine.send_line("poweroff")?;
    machine.wait_exit(PATIENCE)?;
    Ok(took)
}

/// What the peer takes to write, and then to read.
fn peer(guests: &Guests, stick: &Path) -> Result<(Took, Took)> {
    let mut config = guests.config("copy", "/copy", MEMORY_MIB, "");
    config.drives.clear();
    plug(guests, &mut config, stick)?;
    let mut machine = Machine::boot(&config)?;
    machine.expect(&Regex::new("copy> $")?, PATIENCE)?;
    let copied = timed(&mut machine, "", "^copied,")?;
    machine.expect(&Regex::new("back> $")?, PATIENCE)?;
    let compared = timed(&mut machine, "", "^compared,")?;
    machine.wait_exit(PATIENCE)?;
    Ok((copied, compared))
}

/// From this answer to a line with this in it.
fn timed(machine: &mut Machine, answer: &str, end: &str) -> Result<Took> {
    let end = Regex::new(&format!("(?m){end}"))?;
    let said = machine.text().len();
    let (begun, mut reading, mut since) = (Instant::now(), Duration::ZERO, Duration::ZERO);
    let (mut before, mut had) = (begun, moved(machine)?);
    machine.send_line(answer)?;
    loop {
        machine.wait_for_more(LOOK);
        let (now, has) = (Instant::now(), moved(machine)?);
        since += now - before;
        // What was read is looked at before more is read: that belongs to it. Before something is written it does not.
        if has[0] > had[0] {
            reading += since;
        }
        if has != had {
            since = Duration::ZERO;
        }
        (before, had) = (now, has);
        if end.is_match(machine.text().get(said..).unwrap_or_default()) {
            let (all, reading) = ((now - begun).as_secs_f64(), reading.as_secs_f64());
            return Ok(Took { all, reading });
        }
        ensure!(now - begun < PATIENCE, "no end within {PATIENCE:?}");
    }
}

/// How many bytes of the target the machine has read, and how many it has written.
fn moved(machine: &mut Machine) -> Result<[u64; 2]> {
    let all = machine.qmp("query-blockstats", json!({}))?;
    let mut disks = all.as_array().into_iter().flatten();
    let target = disks.find(|it| it.get("device").and_then(Value::as_str) == Some("target"));
    let target = target.context("QEMU does not know the target")?;
    let bytes = |key: &str| target.pointer(key).and_then(Value::as_u64);
    let read = bytes("/stats/rd_bytes").zip(bytes("/stats/wr_bytes"));
    let (read, written) = read.context("QEMU does not count its bytes")?;
    Ok([read, written])
}
