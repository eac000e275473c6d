//! What is felt through the umbilical: the umbilical itself, and what only bay0 can try.
//!
//! bay0 answers `validate` with a row ([`Finding`]) for each component.

use std::path::Path;
use std::time::Duration;

use bay0_umbilical::call;

use crate::{Finding, Level};

/// How long `hello` may take.
const HELLO_LIMIT: Duration = Duration::from_millis(300);
/// How long `validate` may take: longer than PID 1 waits for its keeper (2 s), whose own words are better than our silence.
const VALIDATE_LIMIT: Duration = Duration::from_secs(3);
/// What bay0 must report, whatever else it does.
const EXPECTED: [&str; 2] = ["persist", "log"];
/// The components that nothing is known of without the umbilical.
pub(crate) const COMPONENTS: [&str; 3] = ["umbilical", "persist", "log"];

/// Feels the umbilical, then asks bay0 for the rest. Nothing known is as bad as knowing the worst.
pub(crate) fn feel(socket: &Path, server_uid: u32) -> Vec<Finding> {
    let ask = |verb, limit| call(socket, server_uid, verb, limit);
    let hello = match ask("hello", HELLO_LIMIT) {
        Ok(hello) => Finding::new("umbilical", Level::Green, hello.trim_end(), ""),
        Err(why) => return unknown(&COMPONENTS, &why, Level::Red),
    };
    let rest = ask("validate", VALIDATE_LIMIT).and_then(|body| parse(&body));
    let rest = rest.unwrap_or_else(|why| unknown(&EXPECTED, &why, Level::Red));
    [vec![hello], rest].concat()
}

/// The same of each.
pub(crate) fn unknown(components: &[&str], why: &str, level: Level) -> Vec<Finding> {
    let each = components.iter();
    each.map(|name| Finding::told(name, Err(why.to_owned()), level))
        .collect()
}

/// The findings, if every line is a row and what is expected is there once.
fn parse(body: &str) -> Result<Vec<Finding>, String> {
    let refuse = |what: String| {
        let next = "use bay0 and its validator from one build";
        format!("bay0 reported {what}; nothing of it is believed; next: {next}")
    };
    let finding = |line| Finding::parse(line).ok_or_else(|| refuse(format!("{line:?}")));
    let findings: Vec<Finding> = body.lines().map(finding).collect::<Result<_, _>>()?;
    for name in EXPECTED {
        let count = findings.iter().filter(|f| f.component == name).count();
        if count != 1 {
            return Err(refuse(format!("{name} {count} times")));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests;
