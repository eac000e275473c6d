//! What a room is made from, and how a stage of that is named.

use std::ffi::CStr;
use std::path::Path;

use nix::sys::prctl::set_name;
use seccompiler::BpfProgram;

use crate::policy::Policy;

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
    /// Nodes of the machine's devices that it has in its own `/dev`, in a folder of the same name.
    pub devices: &'a [String],
    /// Its seccomp filters, in the order in which they are installed.
    pub filters: &'a [BpfProgram],
}

/// Names the stage that begins, as the kernel's name of this process: PID 1 reads it of a start that takes too long.
pub(crate) fn stage(name: &CStr) {
    let _ = set_name(name);
}
