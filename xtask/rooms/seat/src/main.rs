//! `seat COMPOSITOR WORD…`: starts a compositor once the room is in front and has a display, and stands between it and bay0, see [`seat`].
//! It ends when the compositor does, and with what that exits.

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use seat::run::{Config, Run};

/// Where a compositor finds its seat.
const SOCKET: &str = "/run/seat";

fn main() -> ExitCode {
    let command: Vec<_> = env::args_os().skip(1).collect();
    if command.is_empty() {
        let _ = writeln!(io::stderr(), "usage: seat COMPOSITOR WORD…");
        return ExitCode::from(2);
    }
    let config = Config {
        command,
        socket: PathBuf::from(SOCKET),
        root: PathBuf::from("/"),
        runtime: env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from),
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
