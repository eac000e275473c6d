//! What is felt through the umbilical: the umbilical itself, and what only bay0 can try.
//!
//! bay0 answers `validate` with one line per component, four fields separated by tabs: level, component, reason, next. A
//! GREEN line's reason is what was measured, and its next is empty.

use std::path::Path;
use std::time::Duration;

use bay0_umbilical::{Refusal, call};

use crate::{Finding, Level};

/// How long `hello` may take.
const HELLO_LIMIT: Duration = Duration::from_millis(300);
/// How long `validate` may take: longer than PID 1 waits for its keeper (2 s), whose own words are better than our silence.
const VALIDATE_LIMIT: Duration = Duration::from_secs(3);
/// What bay0 must report, whatever else it does.
const EXPECTED: [&str; 2] = ["persist", "log"];
/// The components that nothing is known of without the umbilical.
pub(crate) const COMPONENTS: [&str; 3] = ["umbilical", "persist", "log"];

/// Feels the umbilical, then asks bay0 for the rest.
pub(crate) fn feel(socket: &Path, server_uid: u32) -> Vec<Finding> {
    let red = |name, why: &Refusal| Finding::new(name, Level::Red, &why.reason, &why.next);
    let ask = |verb, limit| call(socket, server_uid, verb, limit);
    // Nothing known is as bad as knowing the worst.
    let hello = match ask("hello", HELLO_LIMIT) {
        Ok(hello) => Finding::new("umbilical", Level::Green, hello.trim_end(), ""),
        Err(why) => return COMPONENTS.map(|name| red(name, &why)).to_vec(),
    };
    let rest = ask("validate", VALIDATE_LIMIT).and_then(|body| parse(&body));
    let rest = rest.unwrap_or_else(|why| EXPECTED.map(|name| red(name, &why)).to_vec());
    [vec![hello], rest].concat()
}

/// The findings, if every line obeys the format and what is expected is there once.
fn parse(body: &str) -> Result<Vec<Finding>, Refusal> {
    let refuse = |what: String| {
        let reason = format!("bay0 reported {what}; nothing of it is believed");
        Refusal::new(reason, "use bay0 and its validator from one build")
    };
    let finding = |line| parse_line(line).ok_or_else(|| refuse(format!("{line:?}")));
    let findings: Vec<Finding> = body.lines().map(finding).collect::<Result<_, _>>()?;
    for name in EXPECTED {
        let count = findings.iter().filter(|f| f.component == name).count();
        if count != 1 {
            return Err(refuse(format!("{name} {count} times")));
        }
    }
    Ok(findings)
}

fn parse_line(line: &str) -> Option<Finding> {
    let fields: Vec<&str> = line.split('\t').collect();
    let &[level, component, reason, next] = fields.as_slice() else {
        return None;
    };
    let levels = [Level::Green, Level::Yellow, Level::Red];
    let level = levels.into_iter().find(|it| it.word() == level)?;
    let named = !component.is_empty() && component.bytes().all(|b| b.is_ascii_lowercase());
    // Whatever is not GREEN says why and what next, and GREEN has nothing to be done.
    let explained = (level == Level::Green) == next.is_empty() && !reason.is_empty();
    (named && explained).then(|| Finding::new(component, level, reason, next))
}

#[cfg(test)]
mod tests;
