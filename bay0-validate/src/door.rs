//! What is felt through the umbilical: the umbilical itself, and what only bay0 can try.
//!
//! bay0 answers `validate` with a finding for each component, one a line.

use std::path::Path;
use std::time::Duration;

use bay0_umbilical::call;

use crate::{finding, parts};

/// How long `hello` may take.
const HELLO_LIMIT: Duration = Duration::from_millis(300);
/// How long `validate` may take: longer than PID 1 waits for its keeper (2 s), whose own words are better than our silence.
const VALIDATE_LIMIT: Duration = Duration::from_secs(3);
/// What bay0 must report, whatever else it does.
const EXPECTED: [&str; 2] = ["persist", "log"];

/// Feels the umbilical, then asks bay0 for the rest. Nothing known is as bad as knowing the worst.
pub(crate) fn feel(socket: &Path, server_uid: u32) -> Vec<String> {
    let ask = |verb, limit| call(socket, server_uid, verb, limit);
    let hello = ask("hello", HELLO_LIMIT).map(|hello| hello.trim_end().to_owned());
    let body = hello.clone().and_then(|_| ask("validate", VALIDATE_LIMIT));
    let rest = body.and_then(|body| believed(&body));
    let rest = rest.unwrap_or_else(|why| EXPECTED.map(|it| finding(it, Err(why.clone()))).into());
    [vec![finding("umbilical", hello)], rest].concat()
}

/// The lines, if every one is a finding and what is expected is there once.
fn believed(body: &str) -> Result<Vec<String>, String> {
    let refuse = |what: String| {
        let next = "use bay0 and its validator from one build";
        format!("bay0 reported {what}; nothing of it is believed; next: {next}")
    };
    let read = |line| parts(line).ok_or_else(|| refuse(format!("{line:?}")));
    let found: Vec<_> = body.lines().map(read).collect::<Result<_, _>>()?;
    for name in EXPECTED {
        let count = found.iter().filter(|[_, it, ..]| *it == name).count();
        if count != 1 {
            return Err(refuse(format!("{name} {count} times")));
        }
    }
    Ok(body.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests;
