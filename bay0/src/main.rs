//! bay0: PID 1 of the Spine, and the small programs that speak to it.
//!
//! As PID 1 it boots the machine and serves events until the end. Started by anybody else it is `--validate` or
//! `verify-log`.

mod boot;
mod care;
mod doors;
#[cfg(feature = "fault")]
mod fault;
mod log;
mod pid1;
mod shutdown;
mod validator;
mod watchdog;

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{Write, stderr, stdout};
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::PanicHookInfo;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anyhow::{Context, anyhow, bail};
use bay0_state::verify_log;
use bay0_validate::{Paths, json};
use nix::libc;

const USAGE: &str = "\
bay0: PID 1 of the Spine. Run by hand it is:

  bay0 --validate [--json]    check this machine's health: GREEN 0, YELLOW 1, RED 2
  bay0 verify-log FILE        check a genesis log's hash chain; 1 and the line if it breaks
  bay0 --version

Examples:
  bay0 --validate --json
  bay0 verify-log genesis.log";

fn main() -> ExitCode {
    if nix::unistd::getpid().as_raw() == 1 {
        // PID 1 never returns: whatever happens here ends in a reboot (C03).
        let Err(error) = init();
        let _ = writeln!(stderr(), "bay0: FAIL: start: {error}; the machine reboots");
        return ExitCode::FAILURE;
    }
    let args = std::env::args_os().skip(1);
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    command(&args).unwrap_or_else(|error| {
        let _ = writeln!(stderr(), "bay0: {error:#}");
        ExitCode::FAILURE
    })
}

/// Boots, serves, ends; returns only if it could not even begin: without a console nothing else is trusted.
fn init() -> anyhow::Result<Infallible> {
    let exec_ms = log::boot_ms();
    std::panic::set_hook(Box::new(last_words));
    // The validator tells the Spine from a plain host by this name.
    let _ = nix::sys::prctl::set_name(c"bay0");
    // Descriptor 2 is the console that the kernel opened.
    let console = stderr().as_fd().try_clone_to_owned()?;
    let mut log = log::Log::new(File::from(console));
    let (version, name) = (env!("CARGO_PKG_VERSION"), nix::sys::utsname::uname()?);
    let kernel = name.release().to_string_lossy();
    log.say(format!(
        "bay0: version {version} is PID 1 (kernel {kernel})"
    ));
    let (bay, end) = pid1::Bay0::new(log, exec_ms)?.run();
    shutdown::run(bay, end)
}

/// The panic hook: says where on the console and, through the keeper, in the genesis log; then ends PID 1, so that the
/// kernel panics and reboots (C03).
fn last_words(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string);
    let text = format!("bay0 panic at {}", place.unwrap_or_default());
    let _ = writeln!(stderr(), "bay0: FAIL: {text}; the machine reboots");
    let keeper = care::KEEPER_FD.load(Ordering::Relaxed);
    if nix::unistd::getpid().as_raw() == 1 && keeper >= 0 {
        // SAFETY: one thread, which is here; Bay0::install stores -1 before the descriptor is closed.
        let keeper = unsafe { BorrowedFd::borrow_raw(keeper) };
        bay0_state::last_words(keeper, &text);
    }
    // SAFETY: ends the process without unwinding; nothing of it may run on after a panic.
    unsafe { libc::_exit(101) }
}

fn command(args: &[&str]) -> anyhow::Result<ExitCode> {
    let (text, code) = match args {
        ["--validate"] => {
            let report = bay0_validate::run(&Paths::default());
            (report.to_string(), report.exit_code())
        }
        ["--validate", "--json"] => {
            let report = bay0_validate::run(&Paths::default());
            (json::render(&report), report.exit_code())
        }
        ["verify-log", file] => {
            let found = verify_log(&fs::read(file).with_context(|| format!("read {file}"))?);
            let found = found.map_err(|broken| anyhow!("{file}: {broken}; next: keep the file"))?;
            let (first, last, torn) = (found.first, found.last, found.torn_bytes);
            (
                format!("{file}: records {first} to {last}, chain intact, {torn} torn bytes"),
                0,
            )
        }
        ["--version"] => (concat!("bay0 ", env!("CARGO_PKG_VERSION")).to_owned(), 0),
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
