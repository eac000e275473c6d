//! Recipes of room images: `xtask/rooms/NAME.toml`, which a person writes, and `NAME.lock` beside it, which `room repin` writes: each
//! package with its version, size and SHA-256 (H01).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::arch::Arch;
use crate::lock::Pin;

/// How an image is made of its packages.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The one static program of the package, and a link for each of its applets.
    Busybox,
    /// A Debian system, put together by mmdebstrap.
    Debian,
}

/// A recipe.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// One line for people.
    pub about: String,
    /// How it is made.
    pub kind: Kind,
    /// Code name of the Debian release.
    pub release: String,
    /// Packages asked for; what they depend on comes with them, what they recommend does not.
    pub packages: Vec<String>,
    /// Programs of this workspace, compiled as bay0 is, at `/usr/bin`.
    #[serde(default)]
    pub programs: Vec<String>,
    /// The model that the image has unless a person chooses another one: the programs are the organ's then.
    pub model: Option<String>,
    /// Files and folders of the packages, with all below them, that the image goes without.
    #[serde(default)]
    pub without: Vec<String>,
    /// Folders beside those of the packages.
    #[serde(default)]
    pub folders: Vec<String>,
    /// Files beside those of the packages, or in their place.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

/// One package of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `amd64`, `arm64` or `all`.
    pub arch: String,
    /// Size of the file.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: String,
}

/// Recipe names, in order.
pub fn names(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".toml").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

impl Recipe {
    /// Reads the recipe of this name.
    pub fn read(dir: &Path, name: &str) -> Result<Recipe> {
        let all = names(dir)?;
        ensure!(
            all.iter().any(|known| known == name),
            "no recipe {name:?}; next: one of {}",
            all.join(", ")
        );
        let path = dir.join(format!("{name}.toml"));
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("parse {}", path.display()))
    }
}

/// The lock of a recipe.
pub fn lock_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{}.lock", Arch::chosen().lock(name)))
}

/// The files of a recipe: itself and its lock.
pub fn paths(dir: &Path, name: &str) -> [PathBuf; 2] {
    [dir.join(format!("{name}.toml")), lock_path(dir, name)]
}

/// Reads a lock.
pub fn read_lock(dir: &Path, name: &str) -> Result<Vec<Package>> {
    let path = dir.join(format!("{name}.lock"));
    let text = fs::read_to_string(&path)
        .with_context(|| format!("read {}; next: {}", path.display(), repin_command(name)))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            Package::parse(line)
                .with_context(|| format!("{}: {line:?} is no package", path.display()))
        })
        .collect()
}

/// The packages of [`lock_lines`].
pub fn parse_lock(text: &str) -> Option<Vec<Package>> {
    text.lines().map(Package::parse).collect()
}

/// The text of a lock.
pub fn lock_text(name: &str, packages: &[Package]) -> String {
    format!(
        "# Written by `{}`: package=version architecture bytes sha256\n",
        repin_command(name)
    ) + &lock_lines(packages)
}

/// Its lines, one for each package.
pub fn lock_lines(packages: &[Package]) -> String {
    let line = |p: &Package| {
        format!(
            "{}={} {} {} {}\n",
            p.name, p.version, p.arch, p.bytes, p.sha256
        )
    };
    packages.iter().map(line).collect()
}

/// What a person types when a pin does not hold any more.
pub fn repin_command(name: &str) -> String {
    // Not of a room, but pinned in the same way.
    let (name, arch) = name.split_once('.').unwrap_or((name, ""));
    let room = match name {
        crate::tools::LOCK | crate::cross::LOCK | "source" | "debian" => "",
        _ => "room ",
    };
    let arch = match arch {
        "" => String::new(),
        _ => format!(" --arch {arch}"),
    };
    format!("cargo xtask {room}repin {name}{arch}")
}

impl Package {
    fn parse(line: &str) -> Option<Package> {
        let words: Vec<&str> = line.split(' ').collect();
        let [wanted, arch, bytes, sha256] = words[..] else {
            return None;
        };
        let (name, version) = wanted.split_once('=')?;
        Some(Package {
            name: name.to_owned(),
            version: version.to_owned(),
            arch: arch.to_owned(),
            bytes: bytes.parse().ok()?,
            sha256: sha256.to_owned(),
        })
    }

    /// What apt calls it.
    pub fn wanted(&self) -> String {
        format!("{}={}", self.name, self.version)
    }

    /// The file and what it must be.
    pub fn pin(&self) -> Pin {
        let version = self.version.replace(':', "%3a");
        Pin {
            name: format!("{}_{version}_{}.deb", self.name, self.arch),
            sha256: self.sha256.clone(),
            bytes: self.bytes,
        }
    }

    /// From a line of `apt-get --print-uris`: `'address' file size SHA256:hash`.
    pub fn from_uri(line: &str) -> Option<Package> {
        let mut words = line.split(' ').skip(1);
        let (file, bytes, hash) = (words.next()?, words.next()?, words.next()?);
        let mut parts = file.strip_suffix(".deb")?.split('_');
        Some(Package {
            name: parts.next()?.to_owned(),
            version: parts.next()?.replace("%3a", ":"),
            arch: parts.next()?.to_owned(),
            bytes: bytes.parse().ok()?,
            sha256: hash.strip_prefix("SHA256:")?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests;
