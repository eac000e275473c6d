//! What is felt through the umbilical: the umbilical itself, and what only bay0 can try.
//!
//! bay0 answers `validate` with a finding for each component, one a line. It is of the same build, and who it is has been
//! proven: what it answers is not looked into again.

use std::path::Path;
use std::time::Duration;

use bay0_umbilical::call;

use crate::finding;

/// How long bay0 may take: longer than two requests of its keeper may be late (2 s each), whose own words are better than our silence.
const LIMIT: Duration = Duration::from_secs(5);

/// Asks bay0. If it cannot be asked, that is the one finding, and as bad as knowing the worst of the rest.
pub(crate) fn feel(socket: &Path, server_uid: u32) -> Vec<String> {
    let lines = match call(socket, server_uid, "validate", LIMIT) {
        Ok((told, _)) => finding("umbilical", Ok("bay0 answers".to_owned())) + "\n" + &told,
        Err(why) => finding("umbilical", Err(why)),
    };
    lines.lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
