//! `cargo xtask repin debian`: the newest kernel of the pinned series in the host's archive becomes the pin. A person runs this and
//! commits what it changed; no build ever does.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::fetch::{self, fresh_dir};
use crate::host;
use crate::layout::Layout;
use crate::lock::{Debian, Lock};
use crate::stamp;

/// The series of the release kernel as well; another one is a decision, not a re-pin.
const SERIES: &str = "6.12";

/// Finds, fetches and pins the newest package; the lock's comments stay.
pub fn debian(layout: &Layout) -> Result<()> {
    fetch::apt_update()?;
    let names = apt_cache(&["pkgnames", &format!("linux-image-{SERIES}")])?;
    let Some(package) = newest(&names) else {
        bail!(
            "repin debian: no linux-image-{SERIES}…-cloud-amd64 in this host's archive; next: repin on Debian bookworm"
        );
    };
    let version = candidate(&apt_cache(&["policy", &package])?)
        .with_context(|| format!("repin debian: apt knows no version of {package}"))?;
    let part = fresh_dir(&layout.cache().join("part"))?;
    if !fetch::apt_download(&format!("{package}={version}"), &part, 0)? {
        bail!("repin debian: apt-get download {package}={version} failed; next: check the network");
    }
    let mut pin = Debian {
        release: String::new(),
        package,
        version,
        sha256: String::new(),
        bytes: 0,
    };
    let file = part.join(pin.file_name());
    pin.sha256 = stamp::sha256_file(&file)?;
    pin.bytes = file
        .metadata()
        .with_context(|| format!("stat {}", file.display()))?
        .len();
    fs::rename(&file, layout.cache().join(pin.file_name()))
        .context("move the package into the cache")?;
    let text = fs::read_to_string(layout.lock()).context("read the lock")?;
    let text = rewrite(&text, &pin);
    toml::from_str::<Lock>(&text)
        .context("repin debian: the rewritten lock does not parse; it is left as it was")?;
    write(&layout.lock(), &text)?;
    println!(
        "repin: {} {} sha256 {} ({} bytes)",
        pin.package, pin.version, pin.sha256, pin.bytes
    );
    println!("repin: next: cargo xtask test, then commit xtask/soil.lock");
    Ok(())
}

fn write(lock: &Path, text: &str) -> Result<()> {
    fs::write(lock, text).with_context(|| format!("write {}", lock.display()))
}

fn apt_cache(args: &[&str]) -> Result<String> {
    let output = host::command("apt-cache")?
        .args(args)
        .env("LC_ALL", "C")
        .output()
        .context("run apt-cache")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Compares versions by their numbers: 6.12.117 is after 6.12.99.
fn newest(names: &str) -> Option<String> {
    let numbered = names.lines().filter_map(|name| {
        let abi = name
            .strip_prefix("linux-image-")?
            .strip_suffix("-cloud-amd64")?;
        let (version, _flavour) = abi.split_once('+')?;
        let numbers: Option<Vec<u32>> = version.split('.').map(|n| n.parse().ok()).collect();
        Some((numbers?, name.to_owned()))
    });
    numbered.max().map(|(_, name)| name)
}

fn candidate(policy: &str) -> Option<String> {
    let version = policy
        .lines()
        .find_map(|l| l.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then(|| version.to_owned())
}

/// Replaces the values of the `[debian]` table and nothing else.
fn rewrite(lock: &str, pin: &Debian) -> String {
    let mut inside = false;
    let mut out = String::new();
    for line in lock.lines() {
        if line.starts_with('[') {
            inside = line == "[debian]";
        }
        let value = match line
            .split_once(" = ")
            .map(|(key, _)| key)
            .filter(|_| inside)
        {
            Some("package") => Some(format!("package = \"{}\"", pin.package)),
            Some("version") => Some(format!("version = \"{}\"", pin.version)),
            Some("sha256") => Some(format!("sha256 = \"{}\"", pin.sha256)),
            Some("bytes") => Some(format!("bytes = {}", pin.bytes)),
            _ => None,
        };
        out.push_str(value.as_deref().unwrap_or(line));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_by_number_and_not_by_letter_and_never_the_meta_package() {
        let names = "linux-image-6.12-cloud-amd64\nlinux-image-6.12.99+deb12-cloud-amd64\n\
                     linux-image-6.12.117+deb12-cloud-amd64\nlinux-image-6.12.120+deb12-amd64\n\
                     linux-image-6.12.118+deb12-cloud-amd64-unsigned\n";
        assert_eq!(
            newest(names).as_deref(),
            Some("linux-image-6.12.117+deb12-cloud-amd64")
        );
        assert_eq!(newest("linux-image-6.12-cloud-amd64\n"), None);
    }

    #[test]
    fn the_candidate_is_read_from_apts_policy() {
        assert_eq!(
            candidate("p:\n  Installed: (none)\n  Candidate: 6.12.1-1\n").as_deref(),
            Some("6.12.1-1")
        );
        assert_eq!(candidate("p:\n  Candidate: (none)\n"), None);
    }

    #[test]
    fn h01_only_the_debian_table_is_rewritten() {
        let lock = "# Kept.\n[debian]\nrelease = \"bookworm\"\npackage = \"a\"\nversion = \"1\"\nsha256 = \"x\"\nbytes = 1\n\n\
                    [alpine]\nversion = \"3\"\nsha256 = \"y\"\n";
        let pin = Debian {
            release: String::new(),
            package: "b".into(),
            version: "2".into(),
            sha256: "z".into(),
            bytes: 9,
        };
        let new = "# Kept.\n[debian]\nrelease = \"bookworm\"\npackage = \"b\"\nversion = \"2\"\nsha256 = \"z\"\nbytes = 9\n\n\
                   [alpine]\nversion = \"3\"\nsha256 = \"y\"\n";
        assert_eq!(rewrite(lock, &pin), new);
    }
}
