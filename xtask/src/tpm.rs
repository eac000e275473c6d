//! An emulated TPM for a machine (A02): `swtpm`, which keeps what a TPM keeps in a folder and ends with the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::host;

/// Longest that the one before is waited for: it ends when its machine has, and holds the folder until then.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is tried meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// Where it listens for its machine.
pub fn socket(dir: &Path) -> PathBuf {
    dir.join("socket")
}

/// Starts the one whose folder this is, made where it is missing; once this returns, a machine can be.
pub fn start(dir: &Path) -> Result<()> {
    host::need(&[host::TOOL_SWTPM])?;
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let begun = Instant::now();
    loop {
        let output = host::command("swtpm")?
            .args(["socket", "--tpm2", "--daemon", "--terminate", "--tpmstate"])
            .arg(format!("dir={}", dir.display()))
            .arg("--ctrl")
            .arg(format!("type=unixio,path={}", socket(dir).display()))
            .stdin(Stdio::null())
            .output()
            .context("run swtpm")?;
        if output.status.success() {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            let told = String::from_utf8_lossy(&output.stderr);
            bail!(
                "start swtpm in {}: {}; next: end the machine that uses it, or remove the folder (a vault sealed to it then \
                 needs its recovery key)",
                dir.display(),
                told.trim_end()
            );
        }
        sleep(LOOK);
    }
}
