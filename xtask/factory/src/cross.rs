//! Programs for a kind of processor that is not this host's (A17, U10): Rust's compiler and standard library of pinned Debian packages,
//! where `rustup` has no target for it, and systemd's stub. The C compiler is the host's own cross compiler.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::arch::Arch;
use crate::fetch::fresh_dir;
use crate::host;
use crate::layout::Layout;
use crate::pins::{self, Apt, Set, Successor};
use crate::room::{self, Package};
use crate::stamp;
use crate::tools::RELEASE;
use crate::turn;

/// The compiler for this host, `xtask/cross.lock`; what it makes programs of, and the stub, are in the lock of the processor.
pub const LOCK: &str = "cross";
/// The compiler, what it is linked with, and what build scripts are made of.
const COMPILER: [&str; 17] = [
    "libbsd0",
    "libedit2",
    "libffi8",
    "libgcc-s1",
    "libicu72",
    "libllvm22",
    "liblzma5",
    "libmd0",
    "libstd-rust-web-1.96",
    "libstd-rust-web-dev",
    "libstdc++6",
    "libtinfo6",
    "libxml2",
    "libz3-4",
    "libzstd1",
    "rustc-web",
    "zlib1g",
];
/// What is for the other processor.
const OTHER: [&str; 2] = ["libstd-rust-web-dev", "systemd-boot-efi"];
/// The compiler as cargo calls it: with the libraries and the standard library that lie beside it.
const WRAPPER: &str = r#"#!/bin/sh
root="${0%/rustc}"
LD_LIBRARY_PATH="$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu" exec "$root/usr/bin/rustc" --sysroot "$root/usr" "$@"
"#;
/// Changes when the code below makes something else from the same packages.
const SHAPE: &str = "1";

/// What compiling for a target takes.
#[derive(Debug, Default)]
pub struct Compiler {
    /// Rust's name of the target.
    pub target: String,
    /// Variables for cargo.
    pub variables: Vec<(String, PathBuf)>,
}

/// The compiler for the chosen kind of processor: the host's own where that has its standard library, else the pinned one.
pub fn compiler(layout: &Layout) -> Result<Compiler> {
    let arch = Arch::chosen();
    let facts = arch.facts();
    host::need(facts.compilers)?;
    let [musl, gnu] = facts.targets;
    let here = [musl, gnu].into_iter().find(|it| installed(it));
    let target = here.unwrap_or(gnu).to_owned();
    let mut variables = Vec::new();
    if !facts.cross.is_empty() {
        let name = target.replace('-', "_");
        let cc = format!("{}gcc", facts.cross);
        let linker = format!("CARGO_TARGET_{}_LINKER", name.to_uppercase());
        variables.push((linker, cc.clone().into()));
        variables.push((format!("CC_{name}"), cc.into()));
        variables.push((format!("AR_{name}"), format!("{}ar", facts.cross).into()));
    }
    // Without the host's own library cargo says so.
    if here.is_none() && arch != Arch::default() {
        variables.push(("RUSTC".to_owned(), prepare(layout, arch)?.join("rustc")));
    }
    Ok(Compiler { target, variables })
}

/// True where the host's compiler has the standard library of a target.
fn installed(target: &str) -> bool {
    let mut rustc = Command::new("rustc");
    let output = rustc.args(["--print", "target-libdir", "--target", target]);
    let output = output.output().ok().filter(|it| it.status.success());
    let dir = output.and_then(|it| String::from_utf8(it.stdout).ok());
    dir.is_some_and(|dir| Path::new(dir.trim()).is_dir())
}

/// systemd's stub for the chosen kind of processor: the host's where it is the host's own, else of the pinned package.
pub fn stub(layout: &Layout) -> Result<PathBuf> {
    const FOLDER: &str = "usr/lib/systemd/boot/efi";
    let arch = Arch::chosen();
    let root = match arch {
        Arch::X86_64 => {
            host::need(&[host::TOOL_STUB])?;
            PathBuf::from("/")
        }
        Arch::Aarch64 => prepare(layout, arch)?,
    };
    Ok(root.join(FOLDER).join(arch.facts().stub))
}

/// The sets of packages for a kind of processor; none for the host's own.
pub fn sets(layout: &Layout, arch: Arch) -> Result<Vec<(Arch, Set)>> {
    if arch == Arch::default() {
        return Ok(Vec::new());
    }
    let set = |of: Arch| -> Result<(Arch, Set)> {
        let name = of.lock(LOCK);
        let set = Set {
            lock: format!("xtask/{name}.lock"),
            packages: room::read_lock(&layout.tools_lock(), &name)?,
            release: RELEASE.to_owned(),
            cache: layout.cache().join(LOCK),
            repin: room::repin_command(LOCK),
            successor: Successor::Name,
            name,
        };
        Ok((of, set))
    };
    Ok(vec![set(Arch::default())?, set(arch)?])
}

/// The folder with both, made where it is missing.
fn prepare(layout: &Layout, arch: Arch) -> Result<PathBuf> {
    let _turn = turn::take(layout)?;
    let sets = sets(layout, arch)?;
    // What is unpacked already is not read again.
    let known = sets.iter().map(|(_, set)| pins::known(set, pins::locked()));
    let dir = place(layout, arch, &known.collect::<Result<Vec<_>>>()?);
    if dir.exists() {
        return Ok(dir);
    }
    let taken = sets
        .iter()
        .map(|(of, set)| pins::take(set, &Apt::of(layout, *of)?, pins::locked()));
    let packages = taken.collect::<Result<Vec<_>>>()?;
    let dir = place(layout, arch, &packages);
    if dir.exists() {
        return Ok(dir);
    }
    let made = fresh_dir(&layout.cache().join("made-cross"))?;
    eprintln!("cross: unpacking the compiler for {arch}");
    for ((_, set), packages) in sets.iter().zip(&packages) {
        for package in packages {
            unpack(&set.cache.join(package.pin().name), &made)?;
        }
    }
    let wrapper = made.join("rustc");
    fs::write(&wrapper, WRAPPER).context("write the compiler's wrapper")?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
    // Renamed when complete: a folder of this name is always whole.
    fs::rename(&made, &dir).with_context(|| format!("move into place {}", dir.display()))?;
    Ok(dir)
}

fn place(layout: &Layout, arch: Arch, packages: &[Vec<Package>]) -> PathBuf {
    let key = stamp::sha256(format!("{SHAPE} {WRAPPER} {packages:?}").as_bytes());
    layout.cache().join(format!("cross-{arch}-{}", &key[..16]))
}

/// All of a package but its documents; nothing of it lands outside the folder.
fn unpack(deb: &Path, to: &Path) -> Result<()> {
    room::member(deb, "data.tar", |data| {
        for entry in tar::Archive::new(data).entries()? {
            let mut entry = entry?;
            let path = entry.path()?.into_owned();
            if !path.components().any(|it| it.as_os_str() == "share") {
                entry.unpack_in(to)?;
            }
        }
        Ok(())
    })
    .with_context(|| format!("unpack {}", deb.display()))
}

/// Pins both sets as they are in the archive.
pub fn repin(layout: &Layout) -> Result<()> {
    for (of, names) in [(Arch::X86_64, &COMPILER[..]), (Arch::Aarch64, &OTHER)] {
        pin(layout, of, LOCK, RELEASE, names)?;
    }
    Ok(())
}

/// Writes the lock of a kind of processor with these packages, and nothing that they need beside them, as they are in the archive.
pub fn pin(layout: &Layout, of: Arch, lock: &str, release: &str, names: &[&str]) -> Result<()> {
    let apt = Apt::of(layout, of)?;
    apt.update().with_context(|| format!("repin {lock}"))?;
    let asked: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let resolved = pins::resolve(&apt, release, &asked, false);
    let mut packages: Vec<Package> = resolved.with_context(|| format!("repin {lock}"))?;
    packages.retain(|package| names.contains(&package.name.as_str()));
    let name = of.lock(lock);
    let path = layout.tools_lock().join(format!("{name}.lock"));
    fs::write(&path, room::lock_text(&name, &packages))
        .with_context(|| format!("write {}", path.display()))?;
    println!("repin: {} packages in {}", packages.len(), path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h01_the_locks_of_the_cross_compiler_pin_each_package_once_by_sha256() {
        for (of, names) in [(Arch::X86_64, &COMPILER[..]), (Arch::Aarch64, &OTHER)] {
            let lock = room::read_lock(&Layout::find().tools_lock(), &of.lock(LOCK)).unwrap();
            let found: Vec<&str> = lock.iter().map(|package| package.name.as_str()).collect();
            assert_eq!(found, names);
            let arch = of.facts().debian;
            assert!(
                lock.iter()
                    .all(|it| it.sha256.len() == 64 && it.arch == arch)
            );
        }
    }

    #[test]
    fn a17_the_hosts_own_processor_needs_no_other_compiler() {
        let compiler = compiler(&Layout::find()).unwrap();
        assert!(compiler.target.starts_with("x86_64-"), "{compiler:?}");
        assert!(compiler.variables.is_empty(), "{compiler:?}");
        assert!(sets(&Layout::find(), Arch::X86_64).unwrap().is_empty());
    }
}
