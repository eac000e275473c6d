//! The vault behind `/persist` (C07), made by a Spine: booted once with an empty disk, and answered as its operator would.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use regex::Regex;

use crate::machine::{Machine, MachineConfig, virtio_drive};
use crate::{persist, smoke};

/// Where the inside of the vault begins, in bytes: behind both copies of the header, as `cryptsetup` has it by itself.
pub const HEADER: u64 = 16 << 20;
/// Fewest characters of a passphrase, as on the machine.
const CHARACTERS: usize = 8;
/// Longest wait for a question or a verdict: longer than the Spine lets `mke2fs` take.
const PATIENCE: Duration = Duration::from_secs(400);

/// Fails where a vault of `size` bytes cannot be made: one that exists is kept unless `force`.
pub fn check(path: &Path, size: u64, force: bool) -> Result<()> {
    ensure!(
        force || !path.exists(),
        "make {}: it exists, with everything a machine kept there; next: --force replaces it",
        path.display()
    );
    ensure!(
        size >= 2 * HEADER,
        "make {}: {size} bytes are too few for a vault's header and ext4; next: --size 32M or more",
        path.display()
    );
    Ok(())
}

/// Makes a vault of `size` bytes with the Spine of this machine, whose only disk it is.
pub fn make(config: &MachineConfig, path: &Path, size: u64, passphrase: &[u8]) -> Result<()> {
    let part = path.with_extension("part");
    persist::blank(&part, size)?;
    let mut config = config.clone();
    config.drives = vec![virtio_drive(&part, "persist", "")];
    let mut machine = Machine::boot(&config)?;
    let answers: [(&str, &[u8]); 4] = [
        ("^type FORMAT to make it anew", b"FORMAT"),
        ("^new passphrase, ", passphrase),
        ("^the same once more> ", passphrase),
        (smoke::SUMMARY, b"poweroff"),
    ];
    for (question, answer) in answers {
        machine.expect(&Regex::new(question)?, PATIENCE)?;
        machine.send(&[answer, b"\r"].concat())?;
    }
    let status = machine.wait_exit(PATIENCE)?;
    let made = machine.text().contains("is a new one");
    ensure!(
        made && status.success(),
        "make {}: see {}",
        path.display(),
        config.log.display()
    );
    fs::rename(&part, path).with_context(|| format!("move into place {}", path.display()))
}

/// The passphrase in a file, up to its first line end.
pub fn passphrase(file: &Path) -> Result<Vec<u8>> {
    let text = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let count = line.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
    ensure!(
        count >= CHARACTERS,
        "the passphrase has {count} characters; next: {CHARACTERS} or more"
    );
    Ok(line.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c07_a_passphrase_of_a_file_ends_with_its_line_and_is_long_enough() {
        let dir = tempfile::tempdir().unwrap();
        let file = |text: &str| {
            let path = dir.path().join("words");
            fs::write(&path, text).unwrap();
            passphrase(&path)
        };
        assert_eq!(file("correct horse\nbattery").unwrap(), b"correct horse");
        assert_eq!(file("straße12").unwrap(), "straße12".as_bytes());
        let error = file("seven77\n").unwrap_err().to_string();
        assert_eq!(error, "the passphrase has 7 characters; next: 8 or more");
    }

    #[test]
    fn c07_a_vault_is_not_overwritten_without_force_and_has_room_for_its_header() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refused = |path: &Path, size: u64| check(path, size, false).unwrap_err().to_string();
        let error = refused(Path::new("vault.img"), 16 << 20);
        assert!(error.ends_with("next: --size 32M or more"), "{error}");
        let error = refused(file.path(), 64 << 20);
        assert!(error.ends_with("next: --force replaces it"), "{error}");
        check(file.path(), 64 << 20, true).unwrap();
    }
}
