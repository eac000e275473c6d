//! What names stand for today, in the archive, with all they depend on: apt's own answer.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::Apt;
use crate::room::Package;

/// The packages of these names and all that they need, as if nothing were installed; with a system's essential ones if asked for.
pub fn resolve(
    apt: &Apt,
    release: &str,
    asked: &[String],
    essential: bool,
) -> Result<Vec<Package>> {
    let host = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let line = format!("VERSION_CODENAME={release}");
    ensure!(
        host.lines().any(|it| it.replace('"', "") == line),
        "this host is not Debian {release}; next: on a host that is"
    );
    let work = tempfile::tempdir().context("make a folder")?;
    let status = work.path().join("status");
    fs::write(&status, "").context("write an empty list of packages")?;
    let mut command = apt.command("apt-get")?;
    command
        .arg("-o")
        .arg(format!("Dir::State::status={}", status.display()))
        .args(["-o", "APT::Install-Recommends=false"])
        .args(["-o", "Acquire::ForceHash=SHA256"])
        .args(["-qq", "--print-uris", "-y", "install"]);
    if essential {
        command.arg("?essential");
    }
    let output = command.args(asked).output().context("run apt-get")?;
    ensure!(
        output.status.success(),
        "apt-get cannot resolve {asked:?}: {}; next: correct the recipe",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let mut packages = text
        .lines()
        .map(|line| {
            Package::from_uri(line).with_context(|| format!("apt-get printed {line:?}, unknown"))
        })
        .collect::<Result<Vec<_>>>()?;
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(packages)
}
