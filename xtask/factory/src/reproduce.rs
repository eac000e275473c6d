//! `cargo xtask reproduce`: the Spine and the small disk of rooms built a second time, in another folder, with another umask, locale, time zone and time, must be
//! the same bytes (H01). The second build starts from the sources and the fetched inputs alone.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::fetch::fresh_dir;
use crate::host;
use crate::layout::{Layout, Spine};
use crate::lock::Lock;
use crate::roomdisk::{self, Set};
use crate::soil::Soil;
use crate::{pins, room, soil, spine, stage, stamp};

/// Set for the second build; none of it may show.
const OTHER: [(&str, &str); 4] = [
    ("TZ", "Pacific/Kiritimati"),
    ("LC_ALL", "tr_TR.UTF-8"),
    ("LANG", "tr_TR.UTF-8"),
    ("COLUMNS", "40"),
];

/// Builds twice and compares; 0 when all files are the same. Without `kernel` that of the first build is an input of the second: compiling
/// it again takes minutes.
pub fn command(layout: &Layout, kernel: bool) -> Result<u8> {
    pins::lock();
    host::need(&[host::TOOL_GIT])?;
    let rooms = Set::parse(roomdisk::SMALL)?.with_ways();
    let here = spine::build(layout, Soil::default(), false, &rooms)?;
    // Another depth as well as another name: a path's length must not show either.
    let other = Layout {
        root: fresh_dir(&layout.build().join("reproduce/some where/deeper"))?,
    };
    copy_sources(layout, &other)?;
    copy_inputs(layout, &other)?;
    if !kernel {
        let lock = Lock::read(&layout.lock())?;
        let soil = soil::prepare(layout, &lock, Soil::default())?;
        let name = soil.file_name().context("the soil's folder")?;
        stage::copy_tree(&soil, &other.cache().join(name))?;
    }
    build_there(&other)?;
    let there = other.spine(Soil::default(), false);
    let mut differences = compare(&here, &there)?;
    differences.extend(different(&layout.rooms_disk(), &other.rooms_disk())?);
    differences.extend(different(
        &layout.policy_db(false),
        &other.policy_db(false),
    )?);
    for difference in &differences {
        println!("reproduce: FAIL: {difference}");
    }
    if differences.is_empty() {
        fs::remove_dir_all(layout.build().join("reproduce")).context("remove the second build")?;
        println!(
            "reproduce: vmlinuz{}, spine.img, spine.cmdline, policy.db and rooms.img ({rooms}) are the same from two folders",
            if kernel { " (compiled twice)" } else { "" }
        );
    }
    Ok(u8::from(!differences.is_empty()))
}

/// What differs, each with both hashes and both places.
pub fn compare(here: &Spine, there: &Spine) -> Result<Vec<String>> {
    let mut differences = Vec::new();
    for (a, b) in here.files().iter().zip(there.files()) {
        differences.extend(different(a, &b)?);
    }
    Ok(differences)
}

fn different(a: &Path, b: &Path) -> Result<Option<String>> {
    let (first, second) = (stamp::sha256_file(a)?, stamp::sha256_file(b)?);
    let shown = || format!("{first} {}, {second} {}", a.display(), b.display());
    Ok((first != second).then(shown))
}

/// Everything git has or would take.
fn copy_sources(from: &Layout, to: &Layout) -> Result<()> {
    let output = host::command("git")?
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(&from.root)
        .output()
        .context("run git ls-files")?;
    if !output.status.success() {
        bail!("reproduce: {} is no git tree", from.root.display());
    }
    let names = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    for name in names.split_terminator('\0') {
        let source = from.root.join(name);
        // Listed and deleted since: not part of the tree any more.
        if source.is_file() {
            copy(&source, &to.root.join(name))?;
        }
    }
    Ok(())
}

/// The fetched packages, not what was unpacked from them.
fn copy_inputs(from: &Layout, to: &Layout) -> Result<()> {
    let lock = Lock::read(&from.lock())?;
    let mut names = vec![lock.debian.file_name(), lock.source.file_name()];
    names.retain(|name| from.cache().join(name).exists());
    let packages = room::packages(from, roomdisk::SMALL)?;
    names.extend(packages.iter().map(|name| format!("rooms/{name}")));
    let tools = crate::tools::packages(from)?;
    names.extend(tools.iter().map(|name| format!("tools/{name}")));
    for name in names {
        copy(&from.cache().join(&name), &to.cache().join(&name))?;
    }
    // Whose updates the Spine takes is an input like any other.
    if let Some(maker) = from.maker() {
        copy(&maker, &to.keys().join("db.cer"))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().unwrap_or(to))
        .and_then(|()| fs::copy(from, to))
        .with_context(|| format!("copy {}", from.display()))?;
    Ok(())
}

fn build_there(layout: &Layout) -> Result<()> {
    let own = std::env::current_exe().context("find this program")?;
    let status = Command::new("sh")
        .args([
            "-c",
            "umask 077 && exec \"$0\" spine --locked --rooms \"$1\"",
        ])
        .arg(own)
        .arg(roomdisk::SMALL)
        .current_dir(&layout.root)
        .env("CARGO_MANIFEST_DIR", layout.root.join("xtask"))
        .env_remove("CARGO_TARGET_DIR")
        .envs(OTHER)
        .status()
        .context("run the second build")?;
    if !status.success() {
        bail!(
            "reproduce: the second build in {}: {status}",
            layout.root.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h01_a_difference_of_one_byte_is_found_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let spine = |name: &str, byte: &str| {
            let spine = Spine {
                kernel: dir.path().join(format!("{name}-vmlinuz")),
                initrd: dir.path().join(format!("{name}-spine.img")),
            };
            fs::write(&spine.kernel, "kernel").unwrap();
            fs::write(&spine.initrd, byte).unwrap();
            fs::write(spine.cmdline(), "line").unwrap();
            spine
        };
        assert!(
            compare(&spine("a", "1"), &spine("b", "1"))
                .unwrap()
                .is_empty()
        );
        let found = compare(&spine("a", "1"), &spine("b", "2")).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains("a-spine.img") && found[0].contains("b-spine.img"),
            "{found:?}"
        );
    }
}
