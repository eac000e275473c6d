//! An emulated TPM for a machine (A02): `swtpm`, which keeps what a TPM keeps in a folder and ends with the machine.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

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
    let control = format!("type=unixio,path={}", socket(dir).display());
    daemon(dir, &["--ctrl", &control])
}

/// As some are delivered: of its banks of registers SHA-1 alone is on. `TPM2_PCR_Allocate` (TPM 2.0 Library, Part 3), with the platform's
/// empty authorisation.
pub fn only_sha1(dir: &Path) -> Result<()> {
    /// A session, the length of the command, its code, the platform, nine bytes of authorisation, and four banks with their registers.
    const ALLOCATE: [u8; 55] = [
        0x80, 2, 0, 0, 0, 55, 0, 0, 1, 0x2b, 0x40, 0, 0, 0x0c, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0,
        0, 0, 0, 0, 0, 4, 0, 4, 3, 255, 255, 255, 0, 0x0b, 3, 0, 0, 0, 0, 0x0c, 3, 0, 0, 0, 0,
        0x0d, 3, 0, 0, 0,
    ];
    let at = dir.join("commands");
    let server = format!("type=unixio,path={}", at.display());
    let begin = "not-need-init,startup-clear";
    daemon(dir, &["--server", &server, "--flags", begin])?;
    let mut stream = UnixStream::connect(&at).context("connect to swtpm")?;
    stream.write_all(&ALLOCATE)?;
    let mut answer = [0; 10];
    stream.read_exact(&mut answer)?;
    ensure!(answer[6..] == [0; 4], "swtpm answered {answer:02x?}");
    Ok(())
}

fn daemon(dir: &Path, interface: &[&str]) -> Result<()> {
    host::need(&[host::TOOL_SWTPM])?;
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let begun = Instant::now();
    loop {
        let output = host::command("swtpm")?
            .args(["socket", "--tpm2", "--daemon", "--terminate", "--tpmstate"])
            .arg(format!("dir={}", dir.display()))
            .args(interface)
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
