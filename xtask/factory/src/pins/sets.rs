//! The sets there are: the packages of a soil, of the vault's tools, of each recipe.

use anyhow::{Context, Result};

use super::{Set, Successor};
use crate::arch::{self, Arch};
use crate::cross;
use crate::layout::Layout;
use crate::lock::{Debian, Lock};
use crate::room::{self, Package, Recipe};
use crate::soil::Soil;
use crate::tools;

/// The packages that a soil is made of; `None` where it is made of none.
pub fn soil(layout: &Layout, lock: &Lock, soil: Soil) -> Option<Set> {
    let (name, pinned) = match soil {
        Soil::Debian => {
            let arch = Arch::chosen();
            (arch.lock("debian"), lock.kernel(arch))
        }
        Soil::Hardened | Soil::HardenedPc => ("source".to_owned(), &lock.source),
        Soil::Alpine => return None,
    };
    Some(Set {
        lock: "xtask/soil.lock".to_owned(),
        packages: vec![package(pinned)],
        release: pinned.release.clone(),
        cache: layout.cache(),
        repin: room::repin_command(&name),
        name,
        successor: match soil {
            Soil::Debian => Successor::Series("linux-image-6.12", arch::facts().kernels),
            _ => Successor::Name,
        },
    })
}

fn package(pinned: &Debian) -> Package {
    Package {
        name: pinned.package.clone(),
        version: pinned.version.clone(),
        arch: pinned.arch().to_owned(),
        bytes: pinned.bytes,
        sha256: pinned.sha256.clone(),
    }
}

/// The packages of the vault's tools.
pub fn tools(layout: &Layout) -> Result<Set> {
    let name = Arch::chosen().lock(tools::LOCK);
    Ok(Set {
        lock: format!("xtask/{name}.lock"),
        packages: room::read_lock(&layout.tools_lock(), &name)?,
        name,
        release: tools::RELEASE.to_owned(),
        cache: layout.cache().join(tools::LOCK),
        repin: room::repin_command(&Arch::chosen().lock(tools::LOCK)),
        successor: Successor::Name,
    })
}

/// The packages of a recipe.
pub fn room(recipes: &std::path::Path, cache: &std::path::Path, name: &str) -> Result<Set> {
    let recipe = Recipe::read(recipes, name)?;
    let lock = Arch::chosen().lock(name);
    Ok(Set {
        lock: format!("xtask/rooms/{lock}.lock"),
        packages: room::read_lock(recipes, &lock)?,
        release: recipe.release.clone(),
        cache: cache.to_owned(),
        repin: room::repin_command(&lock),
        name: lock,
        successor: Successor::Recipe {
            essential: recipe.kind == room::RecipeKind::Debian,
            asked: recipe.packages,
        },
    })
}

/// Every set of this tree.
pub fn all(layout: &Layout) -> Result<Vec<Set>> {
    let lock = Lock::read(&layout.lock())?;
    let mut sets: Vec<Set> = [Soil::Hardened, Soil::Debian]
        .into_iter()
        .filter_map(|it| soil(layout, &lock, it))
        .collect();
    sets.push(tools(layout)?);
    let arch = Arch::chosen();
    for (of, set) in cross::sets(layout, Arch::Aarch64)? {
        sets.extend((of == arch).then_some(set));
    }
    for name in room::recipe_names(layout)? {
        if !room::lock_path(&layout.recipes(), &name).exists() {
            continue;
        }
        let set = room(&layout.recipes(), &layout.cache().join("rooms"), &name);
        sets.push(set.with_context(|| format!("room {name}"))?);
    }
    Ok(sets)
}
