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

use std::fs::{self, File};
use std::io::{Write, stderr, stdout};
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::PanicHookInfo;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anyhow::{Context, bail};
use bay0_state::{Summary, verify_log};
use bay0_validate::{Paths, json};
use nix::libc;

const USAGE: &str = "\
bay0: PID 1 of the Spine. Run by hand it is:

  bay0 --validate [--json]    check this machine's health: GREEN 0, YELLOW 1, RED 2
  bay0 verify-log FILE        check a genesis log's hash chain; 1 and the line if it breaks
  bay0 --version

Examples:
  bay0 --validate --json
  bay0 verify-log genesis.log
";

fn main() -> ExitCode {
    if nix::unistd::getpid().as_raw() == 1 {
        // PID 1 never returns: whatever happens here ends in a reboot (C03).
        let error = init();
        let _ = writeln!(stderr(), "bay0: FAIL: start: {error}; the machine reboots");
        return ExitCode::FAILURE;
    }
    let args = std::env::args_os().skip(1);
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (text, code) = command(&args).unwrap_or_else(|error| {
        let _ = writeln!(stderr(), "bay0: {error:#}");
        (String::new(), 1)
    });
    let _ = stdout().write_all(text.as_bytes());
    ExitCode::from(code)
}

/// Boots, serves, ends; returns only if it could not even begin.
fn init() -> std::io::Error {
    let exec_ms = log::boot_ms();
    std::panic::set_hook(Box::new(last_words));
    // The validator tells the Spine from a plain host by this name.
    let _ = nix::sys::prctl::set_name(c"bay0");
    // Descriptor 2 is the console that the kernel opened; without one the boot goes on unheard.
    let console = stderr().as_fd().try_clone_to_owned().map(File::from);
    let mut log = match console.or_else(|_| File::open("/")) {
        Ok(console) => log::Log::new(console),
        Err(error) => return error,
    };
    let kernel =
        nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    let (version, kernel) = (env!("CARGO_PKG_VERSION"), kernel.unwrap_or_default());
    log.say(format!(
        "bay0: version {version} is PID 1 (kernel {kernel})"
    ));
    match pid1::Bay0::new(log, exec_ms) {
        Ok(bay) => {
            let (bay, end) = bay.run();
            shutdown::run(bay, end)
        }
        Err(errno) => errno.into(),
    }
}

/// The panic hook: says where on the console and, through the keeper, in the genesis log; then ends PID 1, so that the
/// kernel panics and reboots (C03).
fn last_words(info: &PanicHookInfo<'_>) {
    let place = info
        .location()
        .map(|at| format!(" at {}:{}", at.file(), at.line()));
    let text = format!("bay0 panic{}", place.unwrap_or_default());
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

fn command(args: &[&str]) -> anyhow::Result<(String, u8)> {
    match args {
        ["--validate", rest @ ..] if matches!(rest, [] | ["--json"]) => {
            let report = bay0_validate::run(&Paths::default());
            let text = if rest.is_empty() {
                report.to_string()
            } else {
                json::render(&report)
            };
            Ok((text + "\n", u8::try_from(report.exit_code())?))
        }
        ["verify-log", file] => {
            let bytes = fs::read(file).with_context(|| format!("read {file}"))?;
            match verify_log(&bytes) {
                Ok(Summary {
                    first,
                    last,
                    torn_bytes,
                    ..
                }) => {
                    let text = format!("records {first} to {last}, chain intact");
                    Ok((
                        format!("{file}: {text}, {torn_bytes} torn bytes after it\n"),
                        0,
                    ))
                }
                Err(broken) => bail!("{file} {broken}; next: trust the records before it only"),
            }
        }
        ["--version"] => Ok((format!("bay0 {}\n", env!("CARGO_PKG_VERSION")), 0)),
        ["--help" | "-h"] => Ok((USAGE.to_owned(), 0)),
        _ => bail!("no such command: {args:?}; next: bay0 --help"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h15_help_names_every_command_and_unknown_ones_point_to_it() {
        let (text, code) = command(&["--help"]).unwrap();
        assert!(text.contains("--validate") && text.contains("verify-log") && code == 0);
        let error = command(&["sh"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no such command: [\"sh\"]; next: bay0 --help"
        );
    }
}
