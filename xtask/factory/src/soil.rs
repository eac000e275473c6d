//! Soils (decision 13): where the kernel and its modules come from. Each is unpacked once into the same shape, so that one
//! assembly serves all: a folder with `vmlinuz`, `modules/<name>.ko` uncompressed, and one list file per [`WANTED`] list.

use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use crate::arch::Arch;
use crate::fetch::{self, fresh_dir};
use crate::host;
use crate::kernel;
pub use crate::kernel::Target;
use crate::layout::Layout;
use crate::lock::{Debian, Lock};
use crate::modules::{Tree, WANTED, name_of};
use crate::pins::{self, Apt};
use crate::room::Package;
use crate::stamp;
use crate::turn;

/// Changes when the code below makes something else from the same input, so that an old cache is not used.
const SHAPE: &str = "1";

/// A source of kernels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Soil {
    /// A pinned Debian kernel package; needs the apt client of that release.
    Debian,
    /// The netboot files of a pinned Alpine release.
    Alpine,
    /// Built here from pinned source with `xtask/kernel`: monolithic and hardened; needs a compiler and minutes.
    #[default]
    Hardened,
    /// The same for an ordinary PC: what `--target pc` stands for.
    #[value(hide = true)]
    HardenedPc,
}

impl Soil {
    /// What the hardened kernel is for; another one is for nothing in particular.
    pub fn target(self) -> Option<Target> {
        match self {
            Soil::Debian | Soil::Alpine => None,
            Soil::Hardened => Some(hardened()),
            Soil::HardenedPc => Some(Target::Pc),
        }
    }
}

/// Which kernel: the options of every command that builds or boots a Spine.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Which {
    /// Where the kernel comes from
    #[arg(long, value_enum, default_value_t)]
    soil: Soil,
    /// What the hardened kernel is made for
    #[arg(long, value_enum, default_value_t, conflicts_with = "soil")]
    target: Target,
}

impl Which {
    /// The soil that both options name.
    pub fn soil(self) -> Soil {
        match self.target {
            Target::Vm | Target::Aarch64 => self.soil,
            Target::Pc => Soil::HardenedPc,
        }
    }
}

impl fmt::Display for Soil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Soil::Debian => "debian",
            Soil::Alpine => "alpine",
            Soil::Hardened => "hardened",
            Soil::HardenedPc => "hardened-pc",
        })
    }
}

/// What the hardened kernel is made for, unless told.
fn hardened() -> Target {
    match Arch::chosen() {
        Arch::X86_64 => Target::Vm,
        Arch::Aarch64 => Target::Aarch64,
    }
}

/// Programs of the host that it is made with.
pub fn tools(soil: Soil) -> Vec<host::Tool> {
    match soil {
        Soil::Debian => vec![host::TOOL_DEPMOD],
        Soil::Alpine => vec![host::TOOL_CURL],
        Soil::Hardened | Soil::HardenedPc => kernel::tools(),
    }
}

/// Fetches, checks and unpacks or builds a soil unless that was done before; returns its folder.
pub fn prepare(layout: &Layout, lock: &Lock, soil: Soil) -> Result<PathBuf> {
    let arch = Arch::chosen();
    ensure!(
        arch == Arch::default() || matches!(soil, Soil::Debian | Soil::Hardened),
        "soil {soil}: there is none for {arch}; next: --soil hardened or --soil debian"
    );
    let _turn = turn::take(layout)?;
    let set = pins::soil(layout, lock, soil);
    let known = set.as_ref().map(|set| pins::known(set, pins::locked()));
    let mut dir = place(layout, &with(lock, soil, known.transpose()?), soil)?;
    if !dir.exists() {
        fs::create_dir_all(layout.cache())
            .with_context(|| format!("create {}", layout.cache().display()))?;
        let apt = Apt::of(layout, Arch::chosen())?;
        let taken = set.map(|set| pins::take(&set, &apt, pins::locked()));
        let lock = with(lock, soil, taken.transpose()?);
        dir = place(layout, &lock, soil)?;
        if !dir.exists() {
            put(layout, &lock, soil, &dir)?;
        }
    }
    if let Some(target) = soil.target() {
        // What is expected of it may have changed since it was built.
        kernel::check(&dir, target)?;
    }
    Ok(dir)
}

/// The lock with the packages that are taken in the place of those it names.
fn with(lock: &Lock, soil: Soil, taken: Option<Vec<Package>>) -> Lock {
    let mut lock = lock.clone();
    if let Some([package]) = taken.as_deref() {
        let pinned = match soil {
            Soil::Debian if Arch::chosen() == Arch::Aarch64 => &mut lock.debian_aarch64,
            Soil::Debian => &mut lock.debian,
            _ => &mut lock.source,
        };
        pinned.package.clone_from(&package.name);
        pinned.version.clone_from(&package.version);
        pinned.sha256.clone_from(&package.sha256);
        pinned.bytes = package.bytes;
    }
    lock
}

/// Where a soil of these inputs is kept.
fn place(layout: &Layout, lock: &Lock, soil: Soil) -> Result<PathBuf> {
    let pins = match soil {
        Soil::Debian => format!("{:?}", [&lock.kernel(Arch::chosen()).sha256]),
        Soil::Alpine => format!(
            "{:?}",
            [&lock.alpine.vmlinuz.sha256, &lock.alpine.modloop.sha256]
        ),
        Soil::Hardened => kernel::inputs(lock, hardened())?,
        Soil::HardenedPc => kernel::inputs(lock, Target::Pc)?,
    };
    let key = stamp::sha256(format!("{SHAPE} {WANTED:?} {pins}").as_bytes());
    let name = Arch::chosen().lock(&format!("soil-{soil}"));
    Ok(layout.cache().join(format!("{name}-{}", &key[..16])))
}

/// Makes a soil in its place, from inputs that are there.
fn put(layout: &Layout, lock: &Lock, soil: Soil, dir: &Path) -> Result<()> {
    let work = fresh_dir(&layout.cache().join(format!("work-{soil}")))?;
    let made = fresh_dir(&layout.cache().join(format!("made-{soil}")))?;
    make(layout, lock, soil, &work, &made)?;
    // Renamed when complete: a folder of this name is always whole.
    fs::rename(&made, dir).with_context(|| format!("move into place {}", dir.display()))?;
    fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))
}

/// Writes a soil into `made`; `work` goes when that is done.
fn make(layout: &Layout, lock: &Lock, soil: Soil, work: &Path, made: &Path) -> Result<()> {
    match soil {
        Soil::Debian => {
            host::need(&[host::TOOL_DEPMOD])?;
            let pinned = lock.kernel(Arch::chosen());
            let package = layout.cache().join(pinned.file_name());
            eprintln!("soil: unpacking {}", pinned.file_name());
            let (kernel, modules) = unpack_deb(&package, pinned, work)?;
            write_soil(&kernel, &modules, made)
        }
        Soil::Alpine => {
            let (kernel, modloop) = fetch::alpine(&lock.alpine, &layout.cache())?;
            eprintln!("soil: unpacking {}", lock.alpine.modloop.name);
            write_soil(&kernel, &unpack_modloop(&modloop, work)?, made)
        }
        Soil::Hardened => monolith(layout, lock, hardened(), work, made),
        Soil::HardenedPc => monolith(layout, lock, Target::Pc, work, made),
    }
}

/// Builds the kernel of a target, and writes the soil of it.
fn monolith(layout: &Layout, lock: &Lock, target: Target, work: &Path, made: &Path) -> Result<()> {
    let built = kernel::build(layout, lock, target, work, made)?;
    write_monolith(&built, made)
}

/// The SquashFS of modules, as Alpine's netboot has it (`modules/<release>/…`); returns the release's folder.
pub fn unpack_modloop(modloop: &Path, work: &Path) -> Result<PathBuf> {
    let name = modloop.display().to_string();
    let file =
        std::io::BufReader::new(fs::File::open(modloop).with_context(|| format!("open {name}"))?);
    let image = backhand::FilesystemReader::from_reader(file)
        .with_context(|| format!("read {name} as SquashFS"))?;
    for node in image.files() {
        let Ok(relative) = node.fullpath.strip_prefix("/modules") else {
            continue;
        };
        let backhand::InnerNode::File(entry) = &node.inner else {
            continue;
        };
        let to = work.join(relative);
        fs::create_dir_all(to.parent().unwrap_or(work))
            .with_context(|| format!("create the folder of {}", to.display()))?;
        let mut bytes = Vec::new();
        image
            .file(entry)
            .reader()
            .read_to_end(&mut bytes)
            .with_context(|| format!("unpack {}", relative.display()))?;
        fs::write(&to, bytes).with_context(|| format!("write {}", to.display()))?;
    }
    let mut releases = fs::read_dir(work)?
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.join("modules.dep").is_file());
    match (releases.next(), releases.next()) {
        (Some(release), None) => Ok(release),
        (None, _) => {
            bail!("{name}: no modules/<release>/modules.dep inside; next: is it a modloop?")
        }
        (Some(_), Some(_)) => bail!("{name}: more than one kernel release inside"),
    }
}

/// Writes a soil folder from a kernel that has all built in: its lists are empty, and there is no module.
pub fn write_monolith(kernel: &Path, to: &Path) -> Result<()> {
    write_kernel(kernel, to)?;
    for wanted in WANTED {
        fs::write(to.join(wanted.list), "")?;
    }
    Ok(())
}

fn write_kernel(kernel: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(kernel).with_context(|| format!("read {}", kernel.display()))?;
    crate::image::check_kernel(&bytes, Arch::chosen())
        .with_context(|| kernel.display().to_string())?;
    fs::write(to.join("vmlinuz"), bytes)?;
    fs::create_dir(to.join("modules"))?;
    Ok(())
}

/// Writes a soil folder from a kernel and a modules folder.
pub fn write_soil(kernel: &Path, modules: &Path, to: &Path) -> Result<()> {
    write_kernel(kernel, to)?;
    let tree = Tree::read(modules)?;
    for wanted in WANTED {
        let files = tree.closure(&wanted)?;
        let mut list = String::new();
        for file in &files {
            let name = format!("{}.ko", name_of(file));
            list.push_str(&format!("/lib/modules/{name}\n"));
            fs::write(to.join("modules").join(name), tree.unpack(file)?)?;
        }
        fs::write(to.join(wanted.list), list)?;
    }
    Ok(())
}

/// A Debian kernel package: an `ar` archive with a compressed tar; it brings no `modules.dep`, so depmod writes one.
fn unpack_deb(package: &Path, lock: &Debian, work: &Path) -> Result<(PathBuf, PathBuf)> {
    let mut archive = ar::Archive::new(
        fs::File::open(package).with_context(|| format!("open {}", package.display()))?,
    );
    let mut found = false;
    while let Some(entry) = archive.next_entry() {
        let entry = entry.context("read the package as an ar archive")?;
        if entry.header().identifier() == b"data.tar.xz" {
            unpack_data(liblzma::read::XzDecoder::new(entry), work)?;
            found = true;
        }
    }
    let release = lock.kernel_release();
    if !found {
        bail!("{}: no data.tar.xz inside", package.display());
    }
    // Some distributions build depmod to look below usr/lib.
    std::os::unix::fs::symlink(".", work.join("usr")).context("link usr")?;
    let depmod = host::command("depmod")?
        .arg("-b")
        .arg(work)
        .arg(release)
        .status()
        .context("run depmod")?;
    if !depmod.success() {
        bail!("depmod -b {} {release}: {depmod}", work.display());
    }
    Ok((
        work.join(format!("boot/vmlinuz-{release}")),
        work.join("lib/modules").join(release),
    ))
}

fn unpack_data(data: impl Read, work: &Path) -> Result<()> {
    for entry in tar::Archive::new(data).entries().context("read data.tar")? {
        let mut entry = entry.context("read data.tar")?;
        let path = entry.path().context("a name in data.tar")?.into_owned();
        let path = path.strip_prefix("./").unwrap_or(&path);
        let path = path.strip_prefix("usr").unwrap_or(path);
        let wanted = path.starts_with("boot") || path.starts_with("lib/modules");
        // Only plain files with plain names: nothing in the package can write elsewhere.
        let plain = path
            .components()
            .all(|c| matches!(c, std::path::Component::Normal(_)));
        if wanted && plain && entry.header().entry_type().is_file() {
            let to = work.join(path);
            fs::create_dir_all(to.parent().unwrap_or(work))?;
            entry
                .unpack(&to)
                .with_context(|| format!("unpack {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
pub mod tests;
