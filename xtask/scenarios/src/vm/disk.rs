//! Persist images on the host: made with `mke2fs`, looked into and written to with `debugfs` while no machine runs.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::persist;

/// Exit codes of `e2fsck(8)`: nothing wrong, or errors that were corrected.
const FSCK_CLEAN: i32 = 0;
const FSCK_CORRECTED: i32 = 1;
/// Block size in bytes: `mke2fs` would give a small disk small blocks, unlike the real one.
const BLOCK: &str = "4096";

/// One disk image. The file belongs to whoever owns its directory.
#[derive(Clone, Debug)]
pub struct Disk {
    /// The raw image.
    pub path: PathBuf,
}

impl Disk {
    /// A sparse image of `mib` MiB of zeros: a disk nobody formatted.
    pub fn blank(path: PathBuf, mib: u64) -> Result<Disk> {
        persist::blank(&path, mib * 1024 * 1024)?;
        Ok(Disk { path })
    }

    /// A sparse image with an empty ext4.
    pub fn ext4(path: PathBuf, mib: u64) -> Result<Disk> {
        let disk = Disk::blank(path, mib)?;
        // -F: never a question. The root belongs to uid 0 whoever runs the tests.
        let options = [
            "-q",
            "-F",
            "-t",
            "ext4",
            "-b",
            BLOCK,
            "-E",
            "root_owner=0:0",
        ];
        run(Command::new("mke2fs").args(options).arg(&disk.path))?;
        Ok(disk)
    }

    /// A copy, as sparse as the original.
    pub fn copy_to(&self, path: PathBuf) -> Result<Disk> {
        run(Command::new("cp")
            .arg("--sparse=always")
            .arg(&self.path)
            .arg(&path))?;
        Ok(Disk { path })
    }

    /// Replays the journal and checks the whole file system; after an unclean end anything but a replay is an error.
    pub fn settle(&self) -> Result<()> {
        // The first run replays; only the second, which may change nothing, tells whether that was all.
        let replay = Command::new("e2fsck")
            .args(["-p", "-f"])
            .arg(&self.path)
            .output()
            .context("start e2fsck")?;
        let code = replay.status.code();
        let said = String::from_utf8_lossy(&replay.stdout).into_owned();
        ensure!(
            matches!(code, Some(FSCK_CLEAN | FSCK_CORRECTED)),
            "e2fsck -p {}: exit {code:?}: {said}",
            self.path.display()
        );
        run(Command::new("e2fsck").args(["-n", "-f"]).arg(&self.path))
    }

    /// Whether nothing is left to be replayed: it was unmounted.
    pub fn unmounted(&self) -> Result<bool> {
        let features = self.debugfs(&["-R", "features"])?;
        Ok(features.contains("has_journal") && !features.contains("needs_recovery"))
    }

    /// Names in the image's root directory, without `.`, `..` and `lost+found`.
    pub fn names(&self) -> Result<Vec<String>> {
        let listing = self.debugfs(&["-R", "ls -p /"])?;
        // /inode/mode/uid/gid/name/size/
        let names = listing.lines().filter_map(|line| line.split('/').nth(5));
        Ok(names
            .filter(|n| !matches!(*n, "" | "." | ".." | "lost+found"))
            .map(str::to_owned)
            .collect())
    }

    /// The contents of one file in the root directory.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let out = self.path.with_extension(format!("out-{name}"));
        self.debugfs(&["-R", &format!("dump /{name} {}", out.display())])?;
        let bytes = fs::read(&out)
            .with_context(|| format!("read {name} out of {}", self.path.display()))?;
        fs::remove_file(&out).with_context(|| format!("remove {}", out.display()))?;
        Ok(bytes)
    }

    /// The block of the disk that holds a block of a file in the root directory.
    pub fn place(&self, name: &str, block: usize) -> Result<u64> {
        let said = self.debugfs(&["-R", &format!("bmap /{name} {block}")])?;
        let place = said
            .trim()
            .parse()
            .with_context(|| format!("bmap: {said}"))?;
        ensure!(place > 0, "block {block} of {name} is a hole");
        Ok(place)
    }

    /// Puts `bytes` into the root directory as `name`, replacing what is there.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let input = self.path.with_extension(format!("in-{name}"));
        fs::write(&input, bytes).with_context(|| format!("write {}", input.display()))?;
        self.remove(name)?;
        self.debugfs(&["-w", "-R", &format!("write {} {name}", input.display())])?;
        fs::remove_file(&input).with_context(|| format!("remove {}", input.display()))?;
        // debugfs reports failures in words only.
        ensure!(
            self.read(name)? == bytes,
            "debugfs did not write {name} into {}",
            self.path.display()
        );
        Ok(())
    }

    /// Takes every free block away, with one large file.
    pub fn fill(&self) -> Result<()> {
        let free = self.free_blocks()?;
        let input = self.path.with_extension("ballast");
        // Not zeros: debugfs would leave holes. More than fits: what stops it is the last block.
        let block: usize = BLOCK.parse()?;
        fs::write(&input, vec![0x5a; (free + 1) * block])
            .with_context(|| format!("write {}", input.display()))?;
        self.debugfs(&["-w", "-R", &format!("write {} ballast", input.display())])?;
        fs::remove_file(&input).with_context(|| format!("remove {}", input.display()))?;
        let left = self.free_blocks()?;
        ensure!(
            left == 0,
            "{} still has {left} free blocks",
            self.path.display()
        );
        Ok(())
    }

    /// Takes every free block away but `blocks`.
    pub fn fill_but(&self, blocks: usize) -> Result<()> {
        let block: usize = BLOCK.parse()?;
        self.write("spare", &vec![0x5a; blocks * block])?;
        self.fill()?;
        self.remove("spare")?;
        let left = self.free_blocks()?;
        ensure!(
            left == blocks,
            "{} has {left} free blocks, not {blocks}",
            self.path.display()
        );
        Ok(())
    }

    /// Removes a file from the root directory.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.debugfs(&["-w", "-R", &format!("rm /{name}")])
            .map(drop)
    }

    fn free_blocks(&self) -> Result<usize> {
        let stats = self.debugfs(&["-R", "stats -h"])?;
        let line = stats
            .lines()
            .find_map(|l| l.strip_prefix("Free blocks:"))
            .context("no free block count")?;
        line.trim()
            .parse()
            .with_context(|| format!("free blocks {line:?}"))
    }

    fn debugfs(&self, args: &[&str]) -> Result<String> {
        let output = Command::new("debugfs")
            .args(args)
            .arg(&self.path)
            .output()
            .context("start debugfs")?;
        ensure!(
            output.status.success(),
            "debugfs {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Runs a tool to its end; its words are the error.
pub fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        bail!("{command:?}: {}: {out}{err}", output.status);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h05_what_is_put_into_an_image_comes_out_again_and_the_image_stays_sound() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::ext4(dir.path().join("disk.img"), 16).unwrap();
        disk.write("a", b"one").unwrap();
        disk.write("b", &[0, 1, 2]).unwrap();
        disk.write("a", b"two").unwrap();
        assert_eq!(disk.names().unwrap(), ["a", "b"]);
        assert_eq!(disk.read("a").unwrap(), b"two");
        assert_eq!(disk.read("b").unwrap(), [0, 1, 2]);
        disk.settle().unwrap();
    }

    #[test]
    fn h15_a_filled_disk_has_no_block_left_and_stays_sound() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::ext4(dir.path().join("disk.img"), 16).unwrap();
        disk.fill().unwrap();
        assert_eq!(disk.free_blocks().unwrap(), 0);
        disk.settle().unwrap();
    }

    #[test]
    fn h15_a_nearly_filled_disk_has_the_blocks_left_that_were_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::ext4(dir.path().join("disk.img"), 16).unwrap();
        disk.fill_but(3).unwrap();
        disk.settle().unwrap();
        disk.remove("ballast").unwrap();
        assert!(disk.free_blocks().unwrap() > 1000);
        assert_eq!(disk.names().unwrap(), [] as [&str; 0]);
    }

    #[test]
    fn h05_a_damaged_file_system_is_not_called_sound() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::blank(dir.path().join("disk.img"), 16).unwrap();
        assert!(disk.settle().unwrap_err().to_string().contains("e2fsck"));
    }
}
