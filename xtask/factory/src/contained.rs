//! `cargo xtask contained`: `scripts/mkspine.sh` run for real, without a registry. The image is made here, a root file system of empty
//! folders: the assembly brings all it needs. The two files must be the bytes of `cargo xtask spine` (H01).

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::fetch::fresh_dir;
use crate::host;
use crate::layout::{Layout, Spine};
use crate::pins;
use crate::reproduce;
use crate::roomdisk::{self, Set};
use crate::soil::Soil;
use crate::spine;

/// What a container needs to find in its root: places to mount on.
const FOLDERS: [&str; 7] = ["dev", "etc", "in", "out", "proc", "sys", "tmp"];
/// Never in a registry.
const IMAGE: &str = "localhost/bay0-contained:made-here";
/// Replaces podman's own options below.
const FLAGS: &str = "PODMAN_FLAGS";
/// Replaces the options of its `run` below.
const RUN_FLAGS: &str = "PODMAN_RUN_FLAGS";
/// Limits a process in a container may set itself where the host's are lower than podman's defaults.
const RUN_DEFAULT: &str = "--ulimit=nofile=1024:1024 --ulimit=nproc=1000:1000";

/// Builds outside and inside and compares; 0 when both files are the same. Without a podman that works this is an error: nothing
/// was shown.
pub fn command(layout: &Layout) -> Result<u8> {
    pins::lock();
    host::need(&[host::TOOL_PODMAN, host::TOOL_RUNC])?;
    let rooms = roomdisk::choose(layout, None, roomdisk::SMALL)?;
    let product = spine::build(layout, Soil::default(), false, &rooms)?;
    let aside = fresh_dir(&layout.build().join("outside"))?;
    let outside = Spine {
        kernel: aside.join("vmlinuz"),
        initrd: aside.join("spine.img"),
    };
    // Moved away, so that what is in its place afterwards was made inside.
    rename(&product, &outside)?;
    if let Err(error) = inside(layout, &rooms) {
        rename(&outside, &product)?;
        return Err(error);
    }
    let differences = reproduce::compare(&outside, &product)?;
    for difference in &differences {
        println!("contained: FAIL: {difference}");
    }
    if differences.is_empty() {
        fs::remove_dir_all(&aside).with_context(|| format!("remove {}", aside.display()))?;
        println!("contained: vmlinuz and spine.img are the same from inside a container");
    }
    Ok(u8::from(!differences.is_empty()))
}

fn rename(from: &Spine, to: &Spine) -> Result<()> {
    for (from, to) in from.files().iter().zip(to.files()) {
        fs::rename(from, to).with_context(|| format!("move {}", from.display()))?;
    }
    Ok(())
}

/// Image and assembly, with a storage that goes with them.
fn inside(layout: &Layout, rooms: &Set) -> Result<()> {
    let work = tempfile::Builder::new().prefix("bay0-").tempdir()?;
    let engine = engine(work.path(), std::env::var(FLAGS).ok())?;
    import(&engine, work.path())?;
    assemble(layout, &engine, rooms)
}

/// podman with its options, as words. Its storage is in `dir` and goes with it: plain folders, since overlay leaves a mount behind that
/// keeps it. The rest is what it needs on a host without systemd
/// or with hybrid cgroups, and does no harm on another.
fn engine(dir: &Path, flags: Option<String>) -> Result<String> {
    let dir = dir.display().to_string();
    ensure!(
        !dir.contains(char::is_whitespace),
        "contained: {dir:?} has a space in it; next: TMPDIR=/tmp cargo xtask contained"
    );
    let runc = host::find("runc").context("runc: not installed")?;
    let flags =
        flags.unwrap_or_else(|| format!("--runtime={} --cgroup-manager=cgroupfs", runc.display()));
    Ok(format!(
        "podman --root={dir}/store --runroot={dir}/run --storage-driver=vfs {flags}"
    ))
}

/// Gives podman the image.
fn import(engine: &str, dir: &Path) -> Result<()> {
    let archive = dir.join("root.tar");
    fs::write(&archive, root()?).context("write root.tar")?;
    let output = Command::new("sh")
        .args([
            "-c",
            &format!("exec {engine} import --quiet \"$0\" {IMAGE}"),
        ])
        .arg(&archive)
        .stdin(Stdio::null())
        .output()
        .context("run podman")?;
    if !output.status.success() {
        bail!(
            "contained: podman cannot import an image ({}): {}; next: {FLAGS}=… with the options it needs here, instead of {engine}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// A root file system as a tar archive: empty folders.
fn root() -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for folder in FOLDERS {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        archive
            .append_data(&mut header, format!("{folder}/"), std::io::empty())
            .with_context(|| format!("archive {folder}"))?;
    }
    archive.into_inner().context("end root.tar")
}

/// The script, as a person would run it with a local image.
fn assemble(layout: &Layout, engine: &str, rooms: &Set) -> Result<()> {
    let run = std::env::var(RUN_FLAGS).unwrap_or_else(|_| RUN_DEFAULT.to_owned());
    let status = Command::new(layout.root.join("scripts/mkspine.sh"))
        .args(["--locked", "--rooms", &rooms.to_string()])
        .env("ENGINE", engine)
        .env("IMAGE", IMAGE)
        .env("RUN_ARGS", &run)
        .stdin(Stdio::null())
        .status()
        .context("run scripts/mkspine.sh")?;
    if !status.success() {
        bail!(
            "contained: scripts/mkspine.sh: {status}; nothing was compared; next: if podman cannot run here, {FLAGS}=… and \
             {RUN_FLAGS}=… with the options it needs, instead of {engine} and {run}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h01_the_containers_root_has_nothing_the_assembly_could_use() {
        let root = root().unwrap();
        let mut archive = tar::Archive::new(&root[..]);
        let entries = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            assert!(entry.header().entry_type().is_dir());
            entry.path().unwrap().display().to_string()
        });
        assert_eq!(
            entries.collect::<Vec<_>>(),
            ["dev/", "etc/", "in/", "out/", "proc/", "sys/", "tmp/"]
        );
    }

    #[test]
    fn h01_a_podman_that_cannot_work_is_an_error_and_says_which_options_it_got() {
        let dir = tempfile::tempdir().unwrap();
        let engine = "false --some-flag";
        let error = import(engine, dir.path()).unwrap_err().to_string();
        assert_eq!(
            error,
            "contained: podman cannot import an image (exit status: 1): ; next: PODMAN_FLAGS=… with the options it needs here, \
             instead of false --some-flag"
        );
    }
}
