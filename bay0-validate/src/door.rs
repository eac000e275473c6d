//! What is felt through the umbilical: the umbilical itself, and what only bay0 can try.
//!
//! bay0 answers `validate` with a finding for each component, one a line.

use std::path::Path;
use std::time::Duration;

use bay0_umbilical::call;

use crate::finding::{Component, Finding, decode};

/// How long bay0 may take: longer than two requests of its keeper may be late (2 s each), whose own words are better than our silence.
const LIMIT: Duration = Duration::from_secs(5);
const GARBLED: &str = "what bay0 answers is no finding; next: reboot";

/// Asks bay0, and answers with what it says of the rest. If it cannot be asked, there is no rest, and that is as bad as knowing the worst
/// of it.
pub(crate) fn feel(socket: &Path, server_uid: u32) -> (Finding, Vec<Finding>) {
    let answer = call(socket, server_uid, "validate", LIMIT).map_err(|why| why.to_string());
    let found = answer.and_then(|(text, _)| decode(&text).ok_or(GARBLED.to_owned()));
    let rest = found.as_ref().map_or_else(|_| Vec::new(), Vec::clone);
    let answers = found.map(|_| "bay0 answers".to_owned());
    (Finding::new(Component::Umbilical, answers), rest)
}

#[cfg(test)]
mod tests;
