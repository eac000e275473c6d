//! `netd [--dns ADDRESS]…`: the program of `sys://net`, see [`netd`]. `--dns` (at most 4): ask these name servers, whatever the networks name.
//! `--umbilical SOCKET`: another one than the room's own.

use std::ffi::OsString;
use std::process::ExitCode;

use netd::command::{Failure, Options, last_words};
use netd::run::Daemon;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let end = match Options::parse(&args) {
        Some(options) => Daemon::open(options).and_then(Daemon::run),
        None => Err(Failure::Usage),
    };
    let Err(failure) = end;
    last_words(&failure);
    ExitCode::FAILURE
}
