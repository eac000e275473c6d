//! The unified kernel image: the distribution's stub with command line, initramfs and kernel behind it, one file for the firmware to
//! verify and start (A01). The same inputs make the same bytes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::pe;
use crate::cross;
use crate::layout::{Layout, Spine};
use crate::rootimg::command_line;

/// Kernel and Spine together, in bytes (T10).
pub const LIMIT: u64 = 40_000_000;
/// What the stub wants its sections at.
const PAGE: usize = 4096;

/// What goes behind the stub.
struct Parts {
    /// Who this is, in the format of `/etc/os-release`.
    release: String,
    command_line: String,
    initrd: Vec<u8>,
    kernel: Vec<u8>,
}

/// The image of a Spine, without a signature.
pub fn make(spine: &Spine) -> Result<Vec<u8>> {
    let read = |file: &Path| fs::read(file).with_context(|| format!("read {}", file.display()));
    let parts = Parts {
        release: format!(
            "ID=alpine-spine\nNAME=Alpine-Spine\nVERSION_ID={}\n",
            env!("CARGO_PKG_VERSION")
        ),
        command_line: command_line(&spine.initrd),
        initrd: read(&spine.initrd)?,
        kernel: read(&spine.kernel)?,
    };
    let bytes = (parts.initrd.len() + parts.kernel.len()) as u64;
    ensure!(
        bytes <= LIMIT,
        "{} and {} are {bytes} bytes together, the limit is {LIMIT} (T10); next: leave out what is not needed",
        spine.kernel.display(),
        spine.initrd.display()
    );
    let stub = cross::stub(&Layout::find())?;
    let whole = join(&read(&stub)?, &parts);
    whole.with_context(|| format!("put a Spine behind {}", stub.display()))
}

/// The kernel is the last, since newer stubs unpack it where it lies.
fn join(stub: &[u8], parts: &Parts) -> Result<Vec<u8>> {
    let added: [(&[u8; 8], &[u8]); 4] = [
        (b".osrel\0\0", parts.release.as_bytes()),
        (b".cmdline", parts.command_line.as_bytes()),
        (b".initrd\0", &parts.initrd),
        (b".linux\0\0", &parts.kernel),
    ];
    pe::with_sections(stub, &added, PAGE)
}
