//! The vault's tools (C07): `cryptsetup` and `mke2fs` out of pinned Debian packages, with the libraries they need and the loader that
//! starts them; nothing else of those packages. They are the same whatever the soil, and lie in one folder of the root, `/lib/vault`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use object::read::elf::{Dyn, ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, elf};

use crate::arch::{self, Arch};
use crate::cross;
use crate::fetch::fresh_dir;
use crate::layout::Layout;
use crate::pins::{self, Apt};
use crate::room::{self, Package};
use crate::stamp;
use crate::turn;

/// Changes when the code below makes something else from the same packages.
const SHAPE: &str = "1";
/// The name of their lock, `xtask/tools.lock`.
pub const LOCK: &str = "tools";
/// The Debian release they are of: that of the kernel.
pub const RELEASE: &str = "bookworm";
/// What has what is needed. Nothing is taken that no program below needs.
const PACKAGES: [&str; 17] = [
    "cryptsetup-bin",
    "e2fsprogs",
    "libargon2-1",
    "libblkid1",
    "libc6",
    "libcom-err2",
    "libcryptsetup12",
    "libdevmapper1.02.1",
    "libext2fs2",
    "libgcc-s1",
    "libjson-c5",
    "libpcre2-8-0",
    "libpopt0",
    "libselinux1",
    "libssl3",
    "libudev1",
    "libuuid1",
];
/// The programs, and the one library that is loaded by name: threads of Argon2 end with it.
const WANTED: [&str; 3] = ["cryptsetup", "mke2fs", "libgcc_s.so.1"];
/// The loader as it is named here.
const LOADER: &str = "ld.so";
/// Mode bits that would be set-uid, set-gid or sticky.
const SPECIAL: u32 = 0o7000;

/// What a package has under a name: bytes, or another name.
enum Found {
    File(Vec<u8>),
    Link(String),
}

/// The folder with the tools, made where it is missing.
pub fn prepare(layout: &Layout) -> Result<PathBuf> {
    let _turn = turn::take(layout)?;
    let set = pins::tools(layout)?;
    let dir = place(layout, &pins::known(&set, pins::locked())?);
    if dir.exists() {
        return Ok(dir);
    }
    let packages = pins::take(&set, &Apt::of(layout, Arch::chosen())?, pins::locked())?;
    let dir = place(layout, &packages);
    if !dir.exists() {
        let files = packages
            .iter()
            .map(|package| contents(&set.cache.join(package.pin().name)));
        let files = closure(&files.collect::<Result<Vec<_>>>()?)?;
        let made = fresh_dir(&layout.cache().join("made-tools"))?;
        for (name, bytes) in files {
            fs::write(made.join(&name), bytes).with_context(|| format!("write {name}"))?;
        }
        // Renamed when complete: a folder of this name is always whole.
        fs::rename(&made, &dir).with_context(|| format!("move into place {}", dir.display()))?;
    }
    Ok(dir)
}

fn place(layout: &Layout, packages: &[Package]) -> PathBuf {
    let key = stamp::sha256(format!("{SHAPE} {WANTED:?} {packages:?}").as_bytes());
    layout.cache().join(format!("tools-{}", &key[..16]))
}

/// Their files, by name.
pub fn files(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        files.insert(name.to_string_lossy().into_owned(), bytes);
    }
    Ok(files)
}

/// The file names of their packages in the cache.
pub fn packages(layout: &Layout) -> Result<Vec<String>> {
    let packages = room::read_lock(&layout.tools_lock(), &Arch::chosen().lock(LOCK))?;
    Ok(packages.iter().map(|package| package.pin().name).collect())
}

/// Pins the packages as they are in this host's archive.
pub fn repin(layout: &Layout) -> Result<()> {
    cross::pin(layout, Arch::chosen(), LOCK, RELEASE, &PACKAGES)
}

/// What a package has in its folders of programs and libraries, by the last part of its name.
fn contents(deb: &Path) -> Result<BTreeMap<String, Found>> {
    let mut found = BTreeMap::new();
    room::member(deb, "data.tar", |data| {
        for entry in tar::Archive::new(data).entries()? {
            let mut entry = entry?;
            let path = entry.path()?.into_owned();
            let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let [libraries, _] = arch::facts().libraries;
            let here = folder == "sbin" || folder == libraries;
            let header = entry.header();
            if here && header.entry_type().is_file() {
                let mode = header.mode()?;
                ensure!(
                    mode & SPECIAL == 0,
                    "{name}: mode {mode:o}; no set-id file comes into the Spine"
                );
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                found.insert(name, Found::File(bytes));
            } else if here && let Some(to) = entry.link_name()? {
                let to = to
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                found.insert(name, Found::Link(to));
            }
        }
        Ok(())
    })?;
    Ok(found)
}

/// What is wanted and all that it needs. A package of which nothing is needed is one too many, a library that is in none an error.
fn closure(packages: &[BTreeMap<String, Found>]) -> Result<BTreeMap<String, Vec<u8>>> {
    let (mut taken, mut used) = (BTreeMap::new(), BTreeSet::new());
    let mut wanted: Vec<String> = WANTED.map(str::to_owned).into();
    while let Some(name) = wanted.pop() {
        let [_, loader] = arch::facts().libraries;
        let place = if name == loader { LOADER } else { &name };
        if taken.contains_key(place) {
            continue;
        }
        let (at, bytes) = find(packages, &name).with_context(|| {
            format!(
                "tools: {name} is in no package; next: add the one that has it to {}",
                file!()
            )
        })?;
        wanted.extend(needed(bytes).with_context(|| format!("tools: read {name}"))?);
        used.insert(at);
        taken.insert(place.to_owned(), bytes.to_vec());
    }
    let idle: Vec<usize> = (0..packages.len())
        .filter(|at| !used.contains(at))
        .collect();
    let wanted = arch::facts().elf;
    for (name, bytes) in &taken {
        let file = ElfFile64::<Endianness>::parse(&bytes[..])?;
        let of = file.elf_header().e_machine(file.endian());
        ensure!(
            of == wanted,
            "tools: {name} is for another processor; next: cargo xtask repin tools"
        );
    }
    ensure!(
        idle.is_empty(),
        "tools: nothing is needed of the packages {idle:?}; next: cargo xtask repin tools without them"
    );
    Ok(taken)
}

/// The file of this name, whatever it is a link to, and the number of its package.
fn find<'a>(packages: &'a [BTreeMap<String, Found>], name: &str) -> Option<(usize, &'a [u8])> {
    let mut all = packages.iter().enumerate();
    let (at, package) = all.find(|(_, package)| package.contains_key(name))?;
    match package.get(name)? {
        Found::File(bytes) => Some((at, bytes)),
        Found::Link(to) => match package.get(to)? {
            Found::File(bytes) => Some((at, bytes)),
            Found::Link(_) => None,
        },
    }
}

/// The libraries that an ELF file asks for.
fn needed(bytes: &[u8]) -> Result<Vec<String>> {
    let file = ElfFile64::<Endianness>::parse(bytes)?;
    let endian = file.endian();
    let mut names = Vec::new();
    for segment in file.elf_program_headers() {
        let Ok(Some(entries)) = segment.dynamic(endian, bytes) else {
            continue;
        };
        let value = |tag| {
            entries
                .iter()
                .find(|d| d.tag(endian) == tag)
                .map(|d| d.val(endian))
        };
        // Libraries are loaded as they lie, from address 0: the table of names is where its address says.
        let (Some(at), Some(size)) = (value(elf::DT_STRTAB), value(elf::DT_STRSZ)) else {
            continue;
        };
        let table = file
            .elf_program_headers()
            .iter()
            .find_map(|it| it.data_range(endian, bytes, at, size).ok().flatten())
            .context("no table of names")?;
        for entry in entries.iter().filter(|d| d.tag(endian) == elf::DT_NEEDED) {
            let from = usize::try_from(entry.val(endian))?;
            let name = table
                .get(from..)
                .and_then(|rest| rest.split(|b| *b == 0).next());
            names.push(
                String::from_utf8_lossy(name.context("a name outside the table")?).into_owned(),
            );
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c07_a_program_tells_what_it_needs() {
        // The program running this test is an ordinary dynamic one.
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(needed(&own).unwrap().contains(&"libc.so.6".to_owned()));
        assert!(needed(b"#!/bin/sh\n").is_err());
    }

    #[test]
    fn c07_a_library_that_is_nowhere_is_an_error_by_name() {
        let error = closure(&[]).unwrap_err().to_string();
        assert!(
            error.starts_with("tools: libgcc_s.so.1 is in no package; next: "),
            "{error}"
        );
    }

    #[test]
    fn h01_the_lock_of_the_tools_pins_each_package_once_by_sha256() {
        for arch in [Arch::X86_64, Arch::Aarch64] {
            let lock = room::read_lock(&Layout::find().tools_lock(), &arch.lock(LOCK)).unwrap();
            let names: Vec<&str> = lock.iter().map(|package| package.name.as_str()).collect();
            assert_eq!(names, PACKAGES);
            let of = arch.facts().debian;
            assert!(lock.iter().all(|it| it.sha256.len() == 64 && it.arch == of));
        }
    }
}
