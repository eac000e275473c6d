//! bay0 as a program on a plain host: the health check and the check of a log. Compiled with the feature `host`, which no Spine
//! is built with: nothing there starts a program.

use std::fs;
use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{anyhow, bail, ensure};
use bay0_state::verify_log;
use bay0_validate::Report;

mod health;
mod json;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const USAGE: &str = "\
bay0: PID 1 of the Spine. Run by hand it is:

  bay0 --validate [--json]    check this machine's health: GREEN 0, YELLOW 1, RED 2
  bay0 verify-log FILE        check a genesis log's hash chain; 1 and the line if it breaks
  bay0 --version

Examples:
  bay0 --validate --json
  bay0 verify-log genesis.log";

/// What was asked for on the command line.
///
/// # Errors
/// In the house form.
pub fn run() -> anyhow::Result<ExitCode> {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let args: Vec<&str> = args.iter().map(|arg| arg.to_str().unwrap_or("?")).collect();
    command(&args)
}

fn command(args: &[&str]) -> anyhow::Result<ExitCode> {
    let validate = |render: fn(&Report) -> String| {
        let begun = Instant::now();
        let findings = health::findings();
        let (ms, code) = (begun.elapsed().as_millis(), health::exit_code(&findings));
        let ms = u64::try_from(ms).unwrap_or(u64::MAX);
        (render(&Report { ms, findings }), code)
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
    Ok(ExitCode::from(code))
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
