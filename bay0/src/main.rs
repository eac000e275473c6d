//! bay0: PID 1 of the Spine. It boots the machine and serves events until the end.
//!
//! In a room it is the client that asks it. On a plain host it is `--validate` and `verify-log` as well (feature `host`).

mod advice;
#[cfg(any(test, not(feature = "host")))]
mod ask;
// A plain host has another program, and the tests of this one.
#[cfg(any(test, not(feature = "host")))]
#[cfg_attr(feature = "host", expect(dead_code, reason = "tested alone"))]
mod client;
// A program for plain hosts: nothing in a Spine starts it, so it is in none, like the damage.
mod courier;
#[cfg(feature = "host")]
#[path = "../host/mod.rs"]
mod host;
mod pid1;
mod screen;
mod slot;
mod stage1;
mod stick;
mod sys;

use anyhow::anyhow;
use bay0_persona::disks::VARS;
use nix::sys::signal::SigSet;
use nix::unistd::getpid;
use std::fs::File;
use std::io::{Write, stderr};
use std::os::fd::FromRawFd;
use std::path::Path;
use std::process::ExitCode;

use pid1::Bay0;
#[cfg(feature = "fault")]
use pid1::fault;
use pid1::poll::Poll;
use pid1::say::Log;
use slot::starts;
use sys::{CONSOLE, boot_ms, open_device};

fn main() -> ExitCode {
    let done = match getpid().as_raw() {
        // If this returns, that is a reboot (C03).
        1 => init(),
        #[cfg(feature = "host")]
        _ => host::run(),
        #[cfg(not(feature = "host"))]
        _ => client::run(),
    };
    done.unwrap_or_else(|error| {
        // In one write, or a line of PID 1's could come between on the same terminal.
        let _ = stderr().write_all(format!("bay0: {error:#}\n").as_bytes());
        ExitCode::FAILURE
    })
}

/// Boots, serves, ends; returns only if it could not even begin. A machine without a console is served all the same.
fn init() -> anyhow::Result<ExitCode> {
    if Path::new(stage1::PACKED).exists() {
        let Err(error) = stage1::enter();
        let _ = starts::fail(Path::new(VARS));
        anyhow::bail!("FAIL: root: {error:#}; the machine reboots");
    }
    // Every signal is blocked: none can interrupt, and those that mean something arrive as events.
    SigSet::all().thread_block()?;
    let poll = Poll::new().map_err(|errno| anyhow!("FAIL: start: {errno}; the machine reboots"))?;
    let words = std::env::args_os().skip(1);
    let mut numbers = words.filter_map(|word| word.to_str()?.parse::<u32>().ok());
    let exec_ms = numbers.next().map_or_else(boot_ms, u64::from);
    // SAFETY: the bay0 of the initramfs has left this descriptor to this one, which holds none of its own yet.
    let left = |fd: u32| unsafe { File::from_raw_fd(fd.cast_signed()) };
    let dog = numbers.next().map(left);
    // By this name PID 1 is known to the kernel's own lines and to bay0 --validate.
    let _ = nix::sys::prctl::set_name(c"bay0");
    // The image has these two devices before anything is mounted.
    let kmsg = File::options().write(true).open("/dev/kmsg").ok();
    let mut log = Log::new(open_device(CONSOLE).ok(), kmsg);
    let (version, name) = (env!("CARGO_PKG_VERSION"), nix::sys::utsname::uname()?);
    let kernel = name.release().display();
    let text = format!("bay0: version {version} is PID 1 (kernel {kernel})");
    log.say(text);
    Bay0::new(poll, log, exec_ms).run(dog)
}
