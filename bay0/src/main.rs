//! bay0: PID 1 of the Spine, and the small programs that speak to it.
//!
//! As PID 1 it boots the machine and serves events until the end. Started by anybody else it is `--validate` or
//! `verify-log`.

mod boot;
mod care;
mod doors;
// The test build's damage: no part of what ships, so it neither lies in src nor counts as code of the Spine.
#[cfg(feature = "fault")]
#[path = "../testing/fault.rs"]
mod fault;
mod log;
mod pid1;
mod shutdown;
mod watchdog;

use std::fs::{self, File};
use std::io::{Write, stderr, stdout};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::PanicHookInfo;
use std::process::ExitCode;

use anyhow::{anyhow, bail, ensure};
use bay0_state::verify_log;
use bay0_validate::{Report, json};
use nix::libc;
use nix::unistd::getpid;

use boot::{CONSOLE, open_device};
use log::boot_ms;
use pid1::Bay0;

/// What this is.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
const USAGE: &str = "\
bay0: PID 1 of the Spine. Run by hand it is:

  bay0 --validate [--json]    check this machine's health: GREEN 0, YELLOW 1, RED 2
  bay0 verify-log FILE        check a genesis log's hash chain; 1 and the line if it breaks
  bay0 --version

Examples:
  bay0 --validate --json
  bay0 verify-log genesis.log";

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let args: Vec<&str> = args.iter().map(|arg| arg.to_str().unwrap_or("?")).collect();
    let is_init = getpid().as_raw() == 1;
    // If PID 1 returns, that is a reboot (C03).
    let done = if is_init { init() } else { command(&args) };
    done.unwrap_or_else(|error| {
        let _ = writeln!(stderr(), "bay0: {error:#}");
        ExitCode::FAILURE
    })
}

/// Boots, serves, ends; returns only if it could not even begin. A machine without a console is served all the same.
fn init() -> anyhow::Result<ExitCode> {
    let mut bay = Bay0::default();
    bay.exec_ms = boot_ms();
    bay.install(None);
    // The validator tells the Spine from a plain host by this name.
    let _ = nix::sys::prctl::set_name(c"bay0");
    // The image has these two devices before anything is mounted.
    bay.log.console = open_device(CONSOLE).ok();
    bay.log.kmsg = File::options().write(true).open("/dev/kmsg").ok();
    let kernel = nix::sys::utsname::uname()?;
    let kernel = kernel.release().display();
    bay.log.say(format!(
        "bay0: version {VERSION} is PID 1 (kernel {kernel})"
    ));
    let Err(errno) = bay.run();
    bail!("FAIL: start: {errno}; the machine reboots")
}

/// The panic hook: says where on the console and, through the keeper, in the genesis log; then ends PID 1, so that the
/// kernel panics and reboots (C03).
fn last_words(info: &PanicHookInfo<'_>, keeper: Option<&OwnedFd>) {
    let place = info.location().map(ToString::to_string);
    let text = format!("bay0 panic at {}", place.unwrap_or_default());
    let _ = writeln!(stderr(), "bay0: FAIL: {text}; the machine reboots");
    // A child has inherited the hook, but not the socket.
    if let Some(keeper) = keeper.filter(|_| getpid().as_raw() == 1) {
        bay0_state::last_words(keeper.as_fd(), &text);
    }
    // SAFETY: ends the process without unwinding; nothing of it may run on after a panic.
    unsafe { libc::_exit(101) }
}

fn command(args: &[&str]) -> anyhow::Result<ExitCode> {
    let validate = |render: fn(&Report) -> String| {
        let report = bay0_validate::run();
        (render(&report), report.exit_code())
    };
    let (text, code) = match args {
        ["--validate"] => validate(Report::to_string),
        ["--validate", "--json"] => validate(json::render),
        ["verify-log", file] => {
            let bytes = fs::read(file);
            let bytes = bytes.map_err(|err| anyhow!("read {file}: {err}; next: name a log"))?;
            let found = verify_log(&bytes);
            let found = found.map_err(|broken| anyhow!("{file}: {broken}; next: keep the file"))?;
            ensure!(found.last > 0, "{file}: no records; next: name a log");
            let records = format!("records {} to {}", found.first, found.last);
            let rest = format!("chain intact, {} torn bytes", found.torn_bytes);
            (format!("{file}: {records}, {rest}"), 0)
        }
        ["--version"] => (format!("bay0 {VERSION}"), 0),
        ["--help" | "-h"] => (USAGE.to_owned(), 0),
        _ => bail!("no such command: {args:?}; next: bay0 --help"),
    };
    writeln!(stdout(), "{text}")?;
    Ok(ExitCode::from(u8::try_from(code)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h15_help_names_every_command_and_unknown_ones_point_to_it() {
        assert!(USAGE.contains("--validate") && USAGE.contains("verify-log"));
        assert!(command(&["--help"]).is_ok());
        let error = command(&["sh"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no such command: [\"sh\"]; next: bay0 --help"
        );
    }
}
