//! `cargo xtask persist`: the sparse ext4 image behind `/persist` (H05). The only place that formats anything.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use uuid::Uuid;

use crate::host;

/// File system label.
const LABEL: &str = "persist";
/// Below this ext4 leaves no room for its journal and the state.
const MIN_BYTES: u64 = 16 << 20;
/// The file is all holes already.
const NODISCARD: &str = "nodiscard";

/// Makes a sparse ext4 image; an existing one is kept unless `force`.
pub fn make(path: &Path, size: u64, force: bool) -> Result<()> {
    if path.exists() && !force {
        bail!(
            "make {}: it exists, with everything a machine kept there; next: --force replaces it",
            path.display()
        );
    }
    if size < MIN_BYTES {
        bail!(
            "make {}: {size} bytes are too few for ext4 and its journal; next: --size 16M or more",
            path.display()
        );
    }
    host::need(&[host::TOOL_MKE2FS])?;
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    }
    // Made beside and renamed: a half-made disk never has the name of a whole one.
    let part = path.with_extension("part");
    blank(&part, size)?;
    mke2fs(&part, NODISCARD, |command| {
        command.arg(&part);
    })?;
    fs::rename(&part, path).with_context(|| format!("move into place {}", path.display()))
}

/// A sparse file of zeros, open.
pub fn blank(path: &Path, size: u64) -> Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(true);
    let made = options.open(path).and_then(|file| {
        file.set_len(size)?;
        Ok(file)
    });
    made.with_context(|| format!("create {}", path.display()))
}

/// Makes an ext4 in the middle of a file, whose bytes depend on nothing but these arguments and the version of mke2fs.
pub fn format(disk: &Path, at: u64, bytes: u64, id: Uuid, epoch: u32) -> Result<()> {
    if bytes < MIN_BYTES {
        bail!(
            "make {}: {bytes} bytes of persist are too few for ext4 and its journal; next: --size 16M or more",
            disk.display()
        );
    }
    host::need(&[host::TOOL_MKE2FS])?;
    let options = format!("{NODISCARD},offset={at},hash_seed={id},root_owner=0:0");
    mke2fs(disk, &options, |command| {
        command.args(["-U", &id.to_string(), "-b", "4096"]);
        command.arg(disk).arg(format!("{}k", bytes >> 10));
        command.env("E2FSPROGS_FAKE_TIME", epoch.to_string());
    })
}

/// `more` ends the command with the file and what of it is formatted.
fn mke2fs(disk: &Path, options: &str, more: impl FnOnce(&mut Command)) -> Result<()> {
    // -F: never wait at a prompt.
    let mut mke2fs = host::command("mke2fs")?;
    mke2fs.args([
        "-q", "-F", "-t", "ext4", "-L", LABEL, "-m", "0", "-E", options,
    ]);
    more(&mut mke2fs);
    let made = host::run(&mut mke2fs).map(drop);
    made.with_context(|| format!("make {}", disk.display()))
}

/// Makes the image only where there is none.
pub fn ensure(path: &Path, size: u64) -> Result<()> {
    if path.exists() {
        Ok(())
    } else {
        make(path, size, false)
    }
}

/// `10G`, `512M`, `64K` or bytes.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'G') => (&text[..text.len() - 1], 30),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'K') => (&text[..text.len() - 1], 10),
        _ => (text, 0),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("{text:?} is not a size like 10G, 512M or 64K"))?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("{text} is over 16 EiB"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(parse_size("10G"), Ok(10 << 30));
        assert_eq!(parse_size("64M"), Ok(64 << 20));
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(
            parse_size("tenG"),
            Err("\"tenG\" is not a size like 10G, 512M or 64K".into())
        );
        assert_eq!(
            parse_size("99999999999G"),
            Err("99999999999G is over 16 EiB".into())
        );
    }

    #[test]
    fn h05_the_disk_is_sparse_ext4_and_is_not_overwritten_without_force() {
        if host::find("mke2fs").is_none() {
            println!("skipped: no mke2fs");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("persist.img");
        make(&path, 10 << 30, false).unwrap();
        let meta = path.metadata().unwrap();
        assert_eq!(meta.len(), 10 << 30);
        assert!(
            meta.blocks() * 512 < 100 << 20,
            "{} bytes are really there",
            meta.blocks() * 512
        );
        let mut magic = [0u8; 2];
        std::os::unix::fs::FileExt::read_exact_at(&File::open(&path).unwrap(), &mut magic, 0x438)
            .unwrap();
        assert_eq!(magic, [0x53, 0xef], "ext4's magic");
        assert_eq!(
            make(&path, 64 << 20, false).unwrap_err().to_string(),
            format!(
                "make {}: it exists, with everything a machine kept there; next: --force replaces it",
                path.display()
            )
        );
        make(&path, 64 << 20, true).unwrap();
        assert_eq!(path.metadata().unwrap().len(), 64 << 20);
    }
}
