//! `seat [--user UID] COMPOSITOR WORD…`: starts a compositor once the room is in front and has a display, and stands between it and bay0,
//! see [`seat`]. It ends when the compositor does, and with what that exits.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use seat::run::{Config, Run};

/// Where a compositor finds its seat.
const SOCKET: &str = "/run/seat";

/// What was typed, and the folders that the environment names.
fn config(mut command: Vec<OsString>) -> Option<Config> {
    let mut user = None;
    if command.first().is_some_and(|it| it == "--user") {
        let number = command.get(1)?.to_str()?;
        user = Some(number.parse().ok()?);
        command.drain(..2);
    }
    let folders = ["XDG_RUNTIME_DIR", "HOME"].into_iter();
    let folders = folders.filter_map(env::var_os).map(PathBuf::from).collect();
    (!command.is_empty()).then(|| Config {
        command,
        socket: PathBuf::from(SOCKET),
        root: PathBuf::from("/"),
        folders,
        user,
    })
}

fn main() -> ExitCode {
    let Some(config) = config(env::args_os().skip(1).collect()) else {
        let _ = writeln!(io::stderr(), "usage: seat [--user UID] COMPOSITOR WORD…");
        return ExitCode::from(2);
    };
    let done = match outside::ask("seat") {
        Ok(bay0) => Run::new(bay0, config)
            .and_then(|mut it| it.serve())
            .map_err(|why| why.to_string()),
        Err(why) => Err(why.0),
    };
    match done {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        Err(why) => {
            let _ = writeln!(io::stderr(), "seat: {why}");
            ExitCode::FAILURE
        }
    }
}
