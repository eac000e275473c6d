//! `portd`: the program of `sys://outside`, see [`portd`].

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use outside::ask;
use portd::port::Port;
use portd::session::serve;

fn main() -> ExitCode {
    let Err(why) = run();
    let _ = writeln!(io::stderr(), "portd: {why}");
    ExitCode::FAILURE
}

/// Serves the host. The port is opened anew where it sends what nobody takes: what is left of that the kernel throws away then.
fn run() -> Result<std::convert::Infallible, String> {
    loop {
        let port = Port::new(ask("device port").map_err(|why| why.0)?);
        let mut port = port.map_err(|error| format!("use the port: {error}; next: report it"))?;
        let mut served: io::Result<()> = Ok(());
        while !served.is_err_and(|error| error.kind() == ErrorKind::InvalidData) {
            port.connected()
                .map_err(|error| format!("wait for the host: {error}; next: report it"))?;
            served = serve(&mut port, &ask);
        }
    }
}
