//! What a room is made from, and how a stage of that is named.

use std::borrow::Cow;
use std::ffi::CStr;
use std::fmt;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::prctl::set_name;
use seccompiler::BpfProgram;

use crate::errno_of;
use crate::policy::Policy;

/// Longest report of a room's start, in bytes.
pub(crate) const MAX_REPORT: usize = 128;
/// Uids of one room (decision 10).
pub const UIDS: u32 = 65_536;

/// What a room is started from.
#[derive(Debug)]
pub struct Plan<'a> {
    /// What it may.
    pub policy: &'a Policy,
    /// The first of its uids outside.
    pub uid: u32,
    /// Where its image is mounted.
    pub image: &'a Path,
    /// Its umbilical.
    pub umbilical: &'a Path,
    /// The program that speaks to it.
    pub client: &'a Path,
    /// Its seccomp filters, in the order in which they are installed.
    pub filters: &'a [BpfProgram],
}

/// Names the stage that begins, as the kernel's name of this process: PID 1 reads it of a start that takes too long.
pub(crate) fn stage(name: &CStr) {
    let _ = set_name(name);
}

/// A stage of a room's start failed; the room's set-up sends it to PID 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageError {
    /// The stage, and what of it if there is more than one thing.
    pub stage: Cow<'static, str>,
    /// Why.
    pub errno: Errno,
}

impl fmt::Display for StageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.stage, self.errno)
    }
}

impl std::error::Error for StageError {}

impl StageError {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let errno = (self.errno as i32).to_ne_bytes();
        [&errno, self.stage.as_bytes()].concat()
    }

    pub(crate) fn decode(report: &[u8]) -> Self {
        let (errno, stage) = report.split_first_chunk().unwrap_or((&[0; 4], report));
        StageError {
            stage: String::from_utf8_lossy(stage).into_owned().into(),
            errno: Errno::from_raw(i32::from_ne_bytes(*errno)),
        }
    }
}

/// The failure of a stage, for `map_err`.
pub(crate) fn at<E: Into<io::Error>>(stage: &'static str) -> impl Fn(E) -> StageError {
    move |error| StageError {
        stage: stage.into(),
        errno: errno_of(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c06_a_stage_that_failed_crosses_the_process_as_what_it_is() {
        let failed: StageError = at("place: /etc/hosts")(Errno::ENOSPC);
        let sent = failed.encode();
        let received = StageError::decode(&sent);
        assert_eq!(received.to_string(), "place: /etc/hosts: ENOSPC");
        assert_eq!(received, failed);
        assert!(sent.len() < MAX_REPORT);
    }
}
