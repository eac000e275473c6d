//! `portd`: the program of `sys://outside`, see [`portd`].

use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use bay0_umbilical::call;
use bay0_umbilical::client::OUTSIDE;
use portd::port::Port;
use portd::session::serve;

/// How long an answer of bay0 may take.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let Err(why) = run();
    let _ = writeln!(io::stderr(), "portd: {why}");
    ExitCode::FAILURE
}

/// Serves the host. The port is opened anew where it sends what nobody takes: what is left of that the kernel throws away then.
fn run() -> Result<std::convert::Infallible, String> {
    let umbilical = Path::new("/run/umbilical");
    let ask = |line: &str| {
        let answer = call(umbilical, OUTSIDE, line, PATIENCE).map_err(|why| why.to_string());
        answer?
            .1
            .ok_or_else(|| "bay0 has given nothing; next: report it".to_owned())
    };
    loop {
        let port = Port::new(ask("device port")?);
        let mut port = port.map_err(|error| format!("use the port: {error}; next: report it"))?;
        let mut served: io::Result<()> = Ok(());
        while !served.is_err_and(|error| error.kind() == ErrorKind::InvalidData) {
            port.connected()
                .map_err(|error| format!("wait for the host: {error}; next: report it"))?;
            served = serve(&mut port, &ask);
        }
    }
}
