//! What it takes to open a vault: bay0, from the passphrase to the line that says so, beside `cryptsetup` started by a shell that is the
//! only program of its machine. The same kernel, tools, disk and passphrase; the host's clock, since Argon2 takes seconds.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use regex::Regex;

use super::guests::{Guests, PROGRAM, program};
use super::report::{Figure, Target};
use crate::host;
use crate::machine::{Machine, virtio_drive};
use crate::tools;

const PATIENCE: Duration = Duration::from_secs(120);
/// What Argon2 takes, and the machine.
const MEMORY_MIB: u32 = 256;
const BYTES: u64 = 64 << 20;
const WORDS: &str = "correct horse battery";
/// The peer's only program. The shell's own words, and what else is called by its name.
const SCRIPT: &[u8] = b"#!/bin/sh
busybox() { /bin/busybox \"$@\"; }
busybox mount -t devtmpfs dev /dev
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
printf 'passphrase> '
read -r words
printf %s \"$words\" | /lib/vault/ld.so --inhibit-cache --library-path /lib/vault /lib/vault/cryptsetup open \
--batch-mode --type=luks2 --disable-keyring --key-file=- /dev/vda persist && echo unlocked,
busybox poweroff -f
";

/// By turns.
pub fn vault(guests: &Guests, runs: usize) -> Result<Vec<Figure>> {
    host::need(&[host::TOOL_BUSYBOX])?;
    let disk = guests.dir.join("vault.img");
    let config = guests.config("bay0", "/sbin/init", MEMORY_MIB, "");
    machines::vault::make(&config, &disk, BYTES, WORDS.as_bytes())?;
    let busybox = program("busybox")?;
    let tools = tools::files(&tools::prepare(&guests.layout)?)?;
    let tools: Vec<_> = tools
        .iter()
        .map(|(name, bytes)| (format!("lib/vault/{name}"), bytes))
        .collect();
    let folders = ["bin", "dev", "proc", "sys", "run", "lib", "lib/vault"];
    let mut files: Vec<_> = folders.map(|name| (name, 0, [].as_slice())).into();
    files.push(("bin/busybox", PROGRAM, &busybox));
    files.push(("bin/sh", PROGRAM, &busybox));
    files.push(("unlock", PROGRAM, SCRIPT));
    files.extend(
        tools
            .iter()
            .map(|(name, bytes)| (name.as_str(), PROGRAM, bytes.as_slice())),
    );
    guests.image("unlock", &files)?;
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    let drive = virtio_drive(&disk, "persist", "");
    for run in 1..=runs {
        eprintln!("bench: vault {run} of {runs}");
        for (image, init, into) in [
            ("bay0", "/sbin/init", &mut ours),
            ("unlock", "/unlock", &mut peer),
        ] {
            let config = guests.config(image, init, MEMORY_MIB, &drive);
            into.push(unlocked(Machine::boot(&config)?)?);
        }
    }
    Ok(vec![Figure {
        name: "a vault, passphrase to open",
        unit: "ms",
        ours,
        beside: "cryptsetup alone",
        peer,
        target: Target::None,
    }])
}

/// Milliseconds from the passphrase to the word.
fn unlocked(mut machine: Machine) -> Result<f64> {
    machine.expect(&Regex::new("passphrase> $")?, PATIENCE)?;
    let begun = Instant::now();
    machine.send(format!("{WORDS}\r").as_bytes())?;
    let opened = machine.expect(&Regex::new("unlocked,")?, PATIENCE);
    opened.context("the vault was not opened")?;
    Ok(begun.elapsed().as_secs_f64() * 1000.0)
}
