//! bay0: PID 1 of the Spine. It boots the machine and serves events until the end.
//!
//! In a room it is the client that asks it. On a plain host it is `--validate` and `verify-log` as well (feature `host`).

mod boot;
mod care;
mod doors;
// The test build's damage: no part of what ships, so it neither lies in src nor counts as code of the Spine.
#[cfg(feature = "fault")]
#[path = "../testing/fault.rs"]
mod fault;
// A program for plain hosts: nothing in a Spine starts a program, so it is in none, like the damage.
#[cfg(feature = "host")]
#[path = "../host/mod.rs"]
mod host;
mod log;
mod pid1;
mod rooms;
mod root;
mod shutdown;
mod slots;
mod tend;
mod terminal;
mod update;
mod watchdog;

use std::fs::File;
use std::io::{Write, stderr};
use std::os::fd::FromRawFd;
use std::os::unix::net::UnixDatagram;
use std::panic::PanicHookInfo;
use std::path::Path;
use std::process::ExitCode;
#[cfg(not(feature = "host"))]
use std::{
    io::{Read, copy, stdin, stdout},
    net::Shutdown,
    os::{fd::AsFd, unix::net::UnixStream},
};

#[cfg(not(feature = "host"))]
use anyhow::Context;
use nix::libc;
use nix::unistd::getpid;

use boot::{CONSOLE, open_device};
use log::boot_ms;
use pid1::Bay0;

fn main() -> ExitCode {
    let done = match getpid().as_raw() {
        // If this returns, that is a reboot (C03).
        1 => init(),
        #[cfg(feature = "host")]
        _ => host::run(),
        #[cfg(not(feature = "host"))]
        _ => ask(),
    };
    done.unwrap_or_else(|error| {
        // In one write, or a line of PID 1's could come between on the same terminal.
        let _ = stderr().write_all(format!("bay0: {error:#}\n").as_bytes());
        ExitCode::FAILURE
    })
}

/// Boots, serves, ends; returns only if it could not even begin. A machine without a console is served all the same.
fn init() -> anyhow::Result<ExitCode> {
    if Path::new(root::PACKED).exists() {
        let Err(error) = root::enter();
        anyhow::bail!("FAIL: root: {error:#}; the machine reboots");
    }
    let mut bay = Bay0::default();
    let words = std::env::args_os().skip(1);
    let mut told = words.filter_map(|word| word.to_str()?.parse::<u32>().ok());
    bay.exec_ms = told.next().map_or_else(boot_ms, u64::from);
    // SAFETY: the bay0 of the initramfs has left this descriptor to this one, which holds none of its own yet.
    let left = |fd: u32| unsafe { File::from_raw_fd(fd.cast_signed()) };
    bay.left = told.next().map(left);
    bay.facts = boot::told("/etc/spine");
    bay.install(None);
    // By this name PID 1 is known to the kernel's own lines and to bay0 --validate.
    let _ = nix::sys::prctl::set_name(c"bay0");
    // The image has these two devices before anything is mounted.
    bay.log.console = open_device(CONSOLE).ok();
    bay.log.kmsg = File::options().write(true).open("/dev/kmsg").ok();
    let (version, name) = (env!("CARGO_PKG_VERSION"), nix::sys::utsname::uname()?);
    let kernel = name.release().display();
    let text = format!("bay0: version {version} is PID 1 (kernel {kernel})");
    bay.log.say(text);
    let Err(errno) = bay.run();
    anyhow::bail!("FAIL: start: {errno}; the machine reboots")
}

/// In a room it is the client: says one request to PID 1 and prints the answer, what a device tells until that is taken back, and
/// what becomes of an update, which it sends. Uid 0 of the Spine is nobody's there, which the kernel shows as this one
/// (`user_namespaces(7)`).
#[cfg(not(feature = "host"))]
fn ask() -> anyhow::Result<ExitCode> {
    const OUTSIDE: u32 = 65_534;
    const UNHEARD: &str = "no answer; next: ask the operator";
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let line = words.join(" ".as_ref());
    let next =
        "next: bay0 hello, bay0 status, bay0 rooms, bay0 device standin or bay0 update <FILE";
    anyhow::ensure!(!line.is_empty(), next);
    let path = Path::new("/run/umbilical");
    let answer = bay0_umbilical::call(path, OUTSIDE, &line.to_string_lossy(), boot::PATIENCE);
    let (text, given) = answer.map_err(anyhow::Error::msg)?;
    // Not through the buffer of stdout, which would keep what the device says until a line of it is full.
    let mut out = File::from(stdout().as_fd().try_clone_to_owned()?);
    out.write_all(text.as_bytes())?;
    match given {
        Some(stream) if line == "update" => {
            let stream = UnixStream::from(stream);
            // Who refuses it says why, and listens no more.
            let _ = copy(&mut stdin(), &mut &stream);
            stream.shutdown(Shutdown::Write)?;
            // An error ends an answer to what was not read to its end.
            let mut told = Vec::new();
            let _ = (&stream).read_to_end(&mut told);
            let text = str::from_utf8(&told)?.trim_end();
            let text = if text.is_empty() { UNHEARD } else { text };
            anyhow::ensure!(text.contains(" is tried "), "{text}");
            out.write_all(&told)?;
        }
        Some(device) => drop(copy(&mut File::from(device), &mut out).context("device")?),
        None => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// The panic hook: says where on the console and, through the keeper, in the genesis log; then ends PID 1, so that the
/// kernel panics and reboots (C03).
fn last_words(info: &PanicHookInfo<'_>, keeper: Option<&UnixDatagram>) {
    let place = info.location().map(ToString::to_string);
    let text = format!("bay0 panic at {}", place.unwrap_or_default());
    let _ = writeln!(stderr(), "bay0: FAIL: {text}; the machine reboots");
    // A child has inherited the hook, but not the socket.
    if let Some(keeper) = keeper.filter(|_| getpid().as_raw() == 1) {
        bay0_state::last_words(keeper, &text);
    }
    // SAFETY: ends the process without unwinding; nothing of it may run on after a panic.
    unsafe { libc::_exit(101) }
}
