//! `stickd`: the program of `sys://stick`, see [`stickd`].

use std::io::{self, Write};
use std::process::ExitCode;

use outside::ask;
use stickd::session::{Person, serve, terminal};

fn main() -> ExitCode {
    let mut out = io::stdout();
    match terminal() {
        Ok(typed) => serve(Person::new(typed, &mut out), &ask),
        Err(error) => {
            let _ = writeln!(io::stderr(), "stickd: {error}");
        }
    }
    ExitCode::FAILURE
}
