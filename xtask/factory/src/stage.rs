//! The assembly apart from what feeds it, for `scripts/mkspine.sh`: `stage` gathers every input in one folder, with network and
//! compiler; `assemble` makes the Spine from that folder alone, inside the pinned container without network (H01).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;

use crate::assemble::{self, Parts};
use crate::fetch::fresh_dir;
use crate::layout::{Layout, Spine};
use crate::lock::Lock;
use crate::roomdisk::Set;
use crate::soil::Soil;
use crate::spine::{self, Profile};
use crate::turn;

/// Gathers the inputs of one release assembly in `build/stage` and returns the folder: the soil and its name, bay0, the policies, the
/// lock, and this program as a static file, because the container has no library that it could need.
pub fn stage(layout: &Layout, soil: Soil, rooms: &Set) -> Result<PathBuf> {
    let _turn = turn::take(layout)?;
    let lock = Lock::read(&layout.lock())?;
    let parts = spine::parts(layout, &lock, soil, false, rooms)?;
    let xtask = spine::compile(layout, &lock, "xtask", false)?;
    let stage = fresh_dir(&layout.build().join("stage"))?;
    copy_tree(&parts.soil_dir, &stage.join("soil"))?;
    copy_tree(&parts.tools, &stage.join("tools"))?;
    for (from, name) in [
        (&parts.bay0, "bay0"),
        (&parts.policy, "policy.db"),
        (&layout.lock(), "soil.lock"),
        (&xtask, "xtask"),
    ] {
        fs::copy(from, stage.join(name))
            .with_context(|| format!("copy {} into the stage", from.display()))?;
    }
    if let Some(maker) = &parts.maker {
        fs::copy(maker, stage.join("update.der")).context("copy the maker's certificate")?;
    }
    let drifted = parts.facts.iter().find(|(key, _)| *key == "drifted");
    let drifted = drifted.map_or(spine::NO_DRIFT, |(_, value)| value);
    // For the assembly: which soil, and what is not as pinned. For the script: the image to run, and where the two files belong; each soil has its own place.
    let place = layout.spine(soil, false);
    for (name, text) in [
        (
            "image",
            format!("{}@{}", lock.builder.image, lock.builder.digest),
        ),
        ("soil.name", soil.to_string()),
        ("drifted", drifted.to_owned()),
        ("kernel", place.kernel.display().to_string()),
        ("initrd", place.initrd.display().to_string()),
    ] {
        fs::write(stage.join(name), text + "\n").with_context(|| format!("write {name}"))?;
    }
    Ok(stage)
}

/// Makes `vmlinuz` and `spine.img` in `out` from a staged folder and nothing else.
pub fn assemble(stage: &Path, out: &Path) -> Result<Spine> {
    if !stage.join("soil").is_dir() {
        bail!(
            "assemble: {} is no stage (no soil inside); next: cargo xtask stage",
            stage.display()
        );
    }
    let lock = Lock::read(&stage.join("soil.lock"))?;
    let name = stage.join("soil.name");
    let name = fs::read_to_string(&name).with_context(|| format!("read {}", name.display()))?;
    let soil = Soil::from_str(name.trim(), false).map_err(|e| anyhow!("soil.name: {e}"))?;
    let drifted = fs::read_to_string(stage.join("drifted")).context("read drifted")?;
    let parts = Parts {
        soil_dir: stage.join("soil"),
        tools: stage.join("tools"),
        bay0: stage.join("bay0"),
        policy: stage.join("policy.db"),
        maker: Some(stage.join("update.der")).filter(|file| file.exists()),
        fault: false,
        facts: spine::facts(&lock, soil, Profile::Dev, drifted.trim()),
        epoch: lock.source_date_epoch,
    };
    let spine = Spine {
        kernel: out.join("vmlinuz"),
        initrd: out.join("spine.img"),
    };
    assemble::write(&parts, &spine)?;
    Ok(spine)
}

/// Copies a folder and all in it.
pub fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let (path, name) = entry.map(|e| (e.path(), e.file_name()))?;
        if path.is_dir() {
            copy_tree(&path, &to.join(name))?;
        } else {
            fs::copy(&path, to.join(name)).with_context(|| format!("copy {}", path.display()))?;
        }
    }
    Ok(())
}
