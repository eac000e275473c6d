//! What is measured of the store, the gate and the courier, on the host: `peers/store.rs`, `gate.rs` and `send.rs` do it, with bay0's
//! own code. It needs neither a machine nor privilege, but for the store a directory whose disk keeps what it is asked to.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};

use super::report::Figure;
use super::rooms::{STANDARD, furnish};
use super::{BenchArgs, HOST_SAMPLES, optional, peers, rows};
use crate::host;
use crate::layout::Layout;

/// ramfs has no name in nix.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);
/// Smallest store whose opening is timed: some segments.
const SMALLEST: u64 = 16 << 20;

/// Appends, writers, objects and opening, in `--dir`.
pub fn store(layout: &Layout, args: &BenchArgs) -> Result<Vec<Figure>> {
    ensure!(
        args.size >= SMALLEST,
        "--size {}: too small to be timed; next: at least 16M",
        args.size
    );
    let dir = args.dir(layout);
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let kind = statfs(&dir).with_context(|| format!("statfs {}", dir.display()))?;
    lasts(&dir, kind.filesystem_type())?;
    let (runs, many) = (
        args.runs.to_string(),
        (args.runs * HOST_SAMPLES).to_string(),
    );
    let size = args.size.to_string();
    let mut text = String::new();
    for (task, numbers) in [
        ("records", [runs.as_str()].as_slice()),
        ("writers", &[&many]),
        ("objects", &[&runs]),
        ("open", &[&many, &size]),
    ] {
        eprintln!("bench: store, {task}");
        let dir = tempfile::tempdir_in(&dir)?;
        text += &peers(layout, task, dir.path(), numbers)?;
    }
    Ok(rows("store").map(|row| row.figure(&text)).collect())
}

/// A file from room to room. Files of rooms are in memory, and so are these; 4 GiB of it must be free. And a small one that nobody is
/// asked about, which takes root.
pub fn courier(layout: &Layout, args: &BenchArgs) -> Result<Vec<Figure>> {
    let text = {
        let dir = tempfile::tempdir_in("/dev/shm").context("make a folder in /dev/shm")?;
        peers(layout, "send", dir.path(), &[&args.runs.to_string()])?
    };
    let small = if nix::unistd::geteuid().is_root() {
        for tool in [host::TOOL_BUSYBOX, host::TOOL_PODMAN, host::TOOL_RUNC] {
            optional(host::need(&[tool]));
        }
        optional(first(layout, args)).unwrap_or_default()
    } else {
        eprintln!("bench: not measured, needs root: a small file");
        String::new()
    };
    let figures = rows("send").map(|row| row.figure(&text));
    let small = rows("first").map(|row| row.figure(&small));
    Ok(figures.chain(small).collect())
}

fn first(layout: &Layout, args: &BenchArgs) -> Result<String> {
    let dir = args.dir(layout);
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let dir = tempfile::tempdir_in(&dir)?;
    furnish(dir.path(), STANDARD)?;
    let samples = (args.runs * HOST_SAMPLES).to_string();
    peers(layout, "first", dir.path(), &[&samples])
}

/// What is in memory alone is flushed at once and lost all the same: every figure would be of nothing.
fn lasts(dir: &Path, kind: FsType) -> Result<()> {
    ensure!(
        kind != TMPFS_MAGIC && kind != RAMFS_MAGIC,
        "{} is in memory, where nothing is durable; next: --dir with a directory on a disk",
        dir.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::statfs::EXT4_SUPER_MAGIC;

    #[test]
    fn h20_what_is_in_memory_is_not_measured_as_if_it_lasted() {
        let dir = Path::new("/dev/shm");
        for kind in [TMPFS_MAGIC, RAMFS_MAGIC] {
            assert_eq!(
                lasts(dir, kind).unwrap_err().to_string(),
                "/dev/shm is in memory, where nothing is durable; next: --dir with a directory on a disk"
            );
        }
        assert!(lasts(dir, EXT4_SUPER_MAGIC).is_ok());
    }

    #[test]
    fn h20_each_row_has_its_own_samples_in_its_own_unit() {
        let text = "single 90000 60000\nsingle-sqlite 90000 180000\nwriters-1 100000 80000\n\
             writers-16 10000 100000\nsave 500000000 400000000\n";
        let of = |key: &str| {
            let figure = rows("store")
                .find(|row| row.key == key)
                .unwrap()
                .figure(text);
            (figure.ours, figure.peer, figure.unit)
        };
        assert_eq!(of("single"), (vec![90.0], vec![60.0], "us"));
        assert_eq!(of("single-sqlite"), (vec![90.0], vec![180.0], "us"));
        assert_eq!(of("writers-16"), (vec![100_000.0], vec![10_000.0], "/s"));
        assert_eq!(of("save"), (vec![500.0], vec![400.0], "ms"));
        assert_eq!(of("open"), (vec![], vec![], "ms"));
    }
}
