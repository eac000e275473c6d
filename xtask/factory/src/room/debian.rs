//! What a recipe's packages become: fetched by version and checked, a busybox root or a Debian one. The putting together has no network:
//! mmdebstrap sees an archive of exactly the pinned files.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::layer::{self, LeftOut};
use super::recipe::{Package, Recipe};
use super::spool::{Spool, unpacked};
use super::tree::{Kind, Meta, Place, Tree};
use crate::arch::{self, Arch};
use crate::host;

/// What mmdebstrap copies from the host, or writes for its own use.
const OF_THE_HOST: [&str; 5] = [
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/resolv.conf",
    "etc/hostname",
    "etc/apt/sources.list",
    "etc/apt/sources.list.d/0000deb.list",
];
/// Lines of a failed mmdebstrap that are shown.
const LAST_LINES: usize = 8;

/// One program and links to it by the names that it lists itself.
pub fn busybox(package: &Package, cache: &Path, tree: &mut Tree, spool: &mut Spool) -> Result<()> {
    let deb = cache.join(package.pin().name);
    let mut inside = Tree::default();
    member(&deb, "data.tar", |data| {
        layer::read(data, &mut inside, spool, &mut LeftOut::default())
    })?;
    let at = Place::parse(b"bin/busybox")?;
    let Some(Kind::File(content)) = inside.get(&at).map(|node| node.kind.clone()) else {
        bail!("{}: no /bin/busybox inside", deb.display());
    };
    let mut program = tempfile::NamedTempFile::new_in(cache).context("make a temporary file")?;
    std::io::copy(&mut spool.read(&content)?, &mut program).context("unpack busybox")?;
    fs::set_permissions(program.path(), fs::Permissions::from_mode(0o755))?;
    // Closed, or the kernel says "text file busy".
    let program = program.into_temp_path();
    let mut listed = match Arch::chosen() {
        // It goes by its name.
        Arch::X86_64 => {
            let mut command = Command::new(&program);
            command.arg0("busybox");
            command
        }
        Arch::Aarch64 => {
            host::need(arch::facts().compilers)?;
            let mut command = host::command("qemu-aarch64-static")?;
            command.args(["-0", "busybox"]).arg(&program);
            command
        }
    };
    let output = listed
        .arg("--list-full")
        .output()
        .context("run busybox --list-full")?;
    ensure!(
        output.status.success(),
        "busybox --list-full: {}",
        output.status
    );
    tree.add(at, Meta::PLAIN, Kind::File(content))?;
    let list = String::from_utf8(output.stdout).context("the list of applets")?;
    for applet in list.lines().filter(|applet| *applet != "bin/busybox") {
        let link = Kind::Link(b"/bin/busybox".to_vec());
        tree.add(Place::parse(applet.as_bytes())?, Meta::PLAIN, link)?;
    }
    Ok(())
}

/// A Debian root of exactly these packages.
pub fn debian(
    recipe: &Recipe,
    packages: &[Package],
    cache: &Path,
    epoch: u32,
    tree: &mut Tree,
    spool: &mut Spool,
) -> Result<LeftOut> {
    host::need(&[host::TOOL_MMDEBSTRAP])?;
    let archive = archive(packages, cache)?;
    let mut root = tempfile::tempfile_in(cache).context("make a temporary file")?;
    eprintln!("room: mmdebstrap puts {} packages together", packages.len());
    let names: Vec<&str> = packages.iter().map(|p| p.name.as_str()).collect();
    let output = host::command("mmdebstrap")?
        .args(["--variant=custom", "--format=tar"])
        // Its own user could not read our folder; what it reads is checked.
        .arg("--aptopt=APT::Sandbox::User \"root\"")
        .arg(format!("--include={}", names.join(",")))
        .args([&recipe.release, "-"])
        .arg(format!(
            "deb [trusted=yes] copy:{} ./",
            archive.path().display()
        ))
        .env("SOURCE_DATE_EPOCH", epoch.to_string())
        .envs([("TZ", "UTC"), ("LC_ALL", "C.UTF-8")])
        .stdin(Stdio::null())
        .stdout(root.try_clone()?)
        .output()
        .context("run mmdebstrap")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let from = said.lines().count().saturating_sub(LAST_LINES);
        let last: Vec<&str> = said.lines().skip(from).collect();
        bail!(
            "mmdebstrap: {}: {}; next: as root, or as a user with ranges in /etc/subuid and /etc/subgid",
            output.status,
            last.join("\n")
        );
    }
    root.rewind()?;
    let mut left_out = LeftOut::default();
    layer::read(root, tree, spool, &mut left_out).context("read mmdebstrap's root")?;
    own(tree)?;
    for path in OF_THE_HOST {
        tree.remove(&Place::parse(path.as_bytes())?);
    }
    Ok(left_out)
}

/// The image's root belongs to root. mmdebstrap archives a folder of its own, which belongs to whoever ran it.
fn own(tree: &mut Tree) -> Result<()> {
    let root = Place::parse(b"/")?;
    let meta = tree.get(&root).map_or(Meta::PLAIN, |node| Meta {
        uid: 0,
        gid: 0,
        mode: Meta::PLAIN.mode,
        ..node.meta
    });
    tree.add(root, meta, Kind::Folder)
}

/// A folder that apt takes for an archive: the pinned files and their index.
fn archive(packages: &[Package], cache: &Path) -> Result<tempfile::TempDir> {
    let dir = tempfile::Builder::new()
        .prefix("archive-")
        .tempdir_in(cache);
    let dir = dir.with_context(|| format!("make a folder in {}", cache.display()))?;
    ensure!(
        !dir.path()
            .display()
            .to_string()
            .contains(char::is_whitespace),
        "{}: apt takes no archive in a folder with a space; next: build in another one",
        cache.display()
    );
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    let mut index = File::create(dir.path().join("Packages")).context("write Packages")?;
    for package in packages {
        let pin = package.pin();
        let deb = cache.join(&pin.name);
        fs::hard_link(&deb, dir.path().join(&pin.name))
            .with_context(|| format!("link {}", pin.name))?;
        let control = control(&deb)?;
        writeln!(
            index,
            "{}\nFilename: ./{}\nSize: {}\nSHA256: {}\n",
            control.trim_end(),
            pin.name,
            package.bytes,
            pin.sha256
        )?;
    }
    Ok(dir)
}

/// What a package says of itself.
pub fn control(deb: &Path) -> Result<String> {
    let mut text = String::new();
    member(deb, "control.tar", |control| {
        for entry in tar::Archive::new(control).entries()? {
            let mut entry = entry?;
            if entry.path()?.ends_with("control") {
                entry.read_to_string(&mut text)?;
            }
        }
        Ok(())
    })?;
    ensure!(!text.is_empty(), "{}: no control file", deb.display());
    Ok(text)
}

/// Reads one part of a package, whatever it is compressed with.
pub fn member(
    deb: &Path,
    name: &str,
    read: impl FnOnce(Box<dyn Read + '_>) -> Result<()>,
) -> Result<()> {
    let shown = deb.display();
    let mut archive = ar::Archive::new(File::open(deb).with_context(|| format!("open {shown}"))?);
    while let Some(entry) = archive.next_entry() {
        let entry = entry.with_context(|| format!("{shown}: read as an ar archive"))?;
        if entry.header().identifier().starts_with(name.as_bytes()) {
            return read(unpacked(entry)?).with_context(|| format!("{shown}: {name}"));
        }
    }
    bail!("{shown}: no {name} inside")
}

#[cfg(test)]
mod tests;
