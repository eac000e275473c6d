//! Pinned inputs from outside, into `build/cache`: fetched once, checked always, never used on a mismatch (H01).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::host::{self, Privilege};
use crate::lock::{Alpine, Debian, Pin};

/// How often a progress bar looks at the growing file.
const BAR_POLL: Duration = Duration::from_millis(100);

/// A Debian package, from the cache or through the apt client.
pub fn debian(lock: &Debian, cache: &Path) -> Result<PathBuf> {
    let pin = lock.pin();
    if let Some(path) = cached(&pin, cache, lock.repin())? {
        return Ok(path);
    }
    let host = fs::read_to_string("/etc/os-release").unwrap_or_default();
    check_archive(&host, host::find("apt-get").is_some(), lock)?;
    let part = fresh_dir(&cache.join("part"))?;
    let wanted = format!("{}={}", lock.package, lock.version);
    if !apt_download(&wanted, &part, pin.bytes)? {
        apt_update()?;
        if !apt_download(&wanted, &part, pin.bytes)? {
            bail!("{}", gone(lock, cache));
        }
    }
    keep(&pin, &part, cache, lock.repin())
}

/// Alpine's kernel and modloop, from the cache or its release folder.
pub fn alpine(lock: &Alpine, cache: &Path) -> Result<(PathBuf, PathBuf)> {
    Ok((
        alpine_file(lock, &lock.vmlinuz, cache)?,
        alpine_file(lock, &lock.modloop, cache)?,
    ))
}

/// Fetches the named version without a pin to compare with, for `repin`; true when apt had it.
pub fn apt_download(wanted: &str, dir: &Path, bytes: u64) -> Result<bool> {
    apt_download_all(&[wanted.to_owned()], wanted, dir, bytes)
}

/// The same for many at once, shown as `what`; true when apt had them all.
pub fn apt_download_all(wanted: &[String], what: &str, dir: &Path, bytes: u64) -> Result<bool> {
    let mut command = host::command("apt-get")?;
    command
        .args(["-q", "download"])
        .args(wanted)
        .current_dir(dir);
    if host::privilege() == Privilege::Root {
        // The sandbox user cannot write into our folder; apt would only warn about it.
        command.args(["-o", "APT::Sandbox::User=root"]);
    }
    Ok(with_bar(
        command.stdout(Stdio::null()).stderr(Stdio::null()),
        what,
        dir,
        bytes,
    )?
    .success())
}

/// Brings the apt index up to date, where this process may.
pub fn apt_update() -> Result<()> {
    let mut command = match host::privilege() {
        Privilege::Root => Command::new("apt-get"),
        Privilege::Sudo => {
            let mut sudo = Command::new("sudo");
            sudo.arg("apt-get");
            sudo
        }
        Privilege::None => bail!(
            "refresh the apt index: not root and sudo asks for a password; next: sudo apt-get update"
        ),
    };
    eprintln!("fetch: apt-get update");
    // An index that stays old shows in the next step, by name.
    command
        .args(["-q", "update"])
        .stdout(Stdio::null())
        .status()
        .context("run apt-get update")?;
    Ok(())
}

/// An empty folder of this name.
pub fn fresh_dir(dir: &Path) -> Result<PathBuf> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("empty {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(dir.to_owned())
}

/// The file of a pin, where it was fetched before, checked.
pub fn cached(pin: &Pin, cache: &Path, repin: &str) -> Result<Option<PathBuf>> {
    let path = cache.join(&pin.name);
    if !path.exists() {
        return Ok(None);
    }
    pin.check(
        &path,
        &format!("rm {} to fetch it again, or {repin}", path.display()),
    )?;
    Ok(Some(path))
}

/// Checks a fetched file and moves it into the cache.
pub fn keep(pin: &Pin, part: &Path, cache: &Path, repin: &str) -> Result<PathBuf> {
    let file = part.join(&pin.name);
    if !file.exists() {
        bail!(
            "fetch {}: the client reported success and wrote no such file",
            pin.name
        );
    }
    pin.check(&file, repin)?;
    let path = cache.join(&pin.name);
    fs::rename(&file, &path).with_context(|| format!("move {} into the cache", pin.name))?;
    Ok(path)
}

/// Where the files of an Alpine release are kept.
pub fn netboot(cache: &Path, version: &str) -> PathBuf {
    cache.join(format!("netboot-{version}"))
}

/// Fetches `url` into `dir` as `name`; true when the server had it.
pub fn curl(url: &str, name: &str, dir: &Path, bytes: u64) -> Result<bool> {
    host::need(&[host::TOOL_CURL])?;
    let retries = ["-fsSL", "--retry", "2", "--connect-timeout", "15"];
    let mut curl = host::command("curl")?;
    curl.args(retries).args(["-o", name, url]).current_dir(dir);
    Ok(with_bar(&mut curl, name, dir, bytes)?.success())
}

fn alpine_file(lock: &Alpine, pin: &Pin, cache: &Path) -> Result<PathBuf> {
    let repin = &format!("cargo xtask repin alpine {}", lock.base_url);
    let cache = netboot(cache, &lock.version);
    if let Some(path) = cached(pin, &cache, repin)? {
        return Ok(path);
    }
    let part = fresh_dir(&cache.join("part"))?;
    let url = format!("{}/{}", lock.base_url, pin.name);
    if !curl(&url, &pin.name, &part, pin.bytes)? {
        let at = cache.join(&pin.name);
        bail!(
            "fetch {url}: failed; next: check the network, or put the file at {}",
            at.display()
        );
    }
    keep(pin, &part, &cache, repin)
}

/// apt can only fetch a bookworm package from a bookworm archive: say so before it says "unable to locate".
fn check_archive(os_release: &str, has_apt: bool, lock: &Debian) -> Result<()> {
    let field = |key: &str| {
        let line = os_release
            .lines()
            .find_map(|l| l.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or("unknown").trim_matches('"').to_owned()
    };
    let (id, release) = (field("ID"), field("VERSION_CODENAME"));
    if has_apt && id == "debian" && release == lock.release {
        return Ok(());
    }
    let archive = if has_apt {
        format!("{id} {release}")
    } else {
        format!("{id} without apt-get")
    };
    bail!(
        "fetch {} (pinned in xtask/soil.lock): this host is {archive}, the package is in Debian {}'s archive; next: \
         cargo xtask qemu --soil alpine, or put {} into build/cache: {}",
        lock.package,
        lock.release,
        lock.file_name(),
        sources(lock)
    )
}

/// Where a person finds the package without this host's apt client.
fn sources(lock: &Debian) -> String {
    format!(
        "on a machine with Debian {release}, apt-get download {package}={}; or by hand from Debian's page of that package, or, \
         once the archive dropped it, from Debian's snapshot archive",
        lock.version,
        release = lock.release,
        package = lock.package
    )
}

fn gone(lock: &Debian, cache: &Path) -> String {
    let (package, version, repin) = (&lock.package, &lock.version, lock.repin());
    format!(
        "fetch {package}={version} (pinned in xtask/soil.lock): apt does not have it, even after apt-get update; the archive drops \
         old kernels; next: {repin}, or put the file at {}: it stays in Debian's snapshot archive",
        cache.join(lock.file_name()).display()
    )
}

fn with_bar(command: &mut Command, what: &str, dir: &Path, bytes: u64) -> Result<ExitStatus> {
    let bar = if bytes == 0 {
        ProgressBar::new_spinner()
    } else {
        ProgressBar::new(bytes)
    };
    bar.set_style(ProgressStyle::with_template(
        "fetch {msg} [{bar:30}] {bytes}/{total_bytes} {eta}",
    )?);
    bar.set_message(what.to_owned());
    let mut child = command
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("fetch {what}: start the client"))?;
    let status = loop {
        if let Some(status) = child.try_wait().with_context(|| format!("fetch {what}"))? {
            break status;
        }
        bar.set_position(size_below(dir));
        thread::sleep(BAR_POLL);
    };
    bar.finish_and_clear();
    Ok(status)
}

fn size_below(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files
        .filter_map(|f| f.metadata().ok())
        .map(|m| m.len())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp;

    fn lock() -> Debian {
        Debian {
            release: "bookworm".into(),
            package: "linux-image-6.12.1+deb12-cloud-amd64".into(),
            version: "6.12.1-1~deb12u1".into(),
            sha256: stamp::sha256(b"package"),
            bytes: 7,
        }
    }

    #[test]
    fn h01_another_distribution_is_told_where_the_package_is() {
        let os = "ID=ubuntu\nVERSION_CODENAME=\"noble\"\n";
        assert_eq!(
            check_archive(os, true, &lock()).unwrap_err().to_string(),
            "fetch linux-image-6.12.1+deb12-cloud-amd64 (pinned in xtask/soil.lock): this host is ubuntu noble, the package is in \
             Debian bookworm's archive; next: cargo xtask qemu --soil alpine, or put \
             linux-image-6.12.1+deb12-cloud-amd64_6.12.1-1~deb12u1_amd64.deb into build/cache: on a machine with Debian bookworm, \
             apt-get download linux-image-6.12.1+deb12-cloud-amd64=6.12.1-1~deb12u1; or by hand from Debian's page of that package, or, \
             once the archive dropped it, from Debian's snapshot archive"
        );
        let error = check_archive("ID=fedora\n", false, &lock())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(
                "this host is fedora without apt-get, the package is in Debian bookworm's archive"
            ),
            "{error}"
        );
        assert!(check_archive("ID=debian\nVERSION_CODENAME=bookworm\n", true, &lock()).is_ok());
    }

    #[test]
    fn h01_a_pin_the_archive_dropped_names_the_repin_command() {
        assert_eq!(
            gone(&lock(), Path::new("/c")),
            "fetch linux-image-6.12.1+deb12-cloud-amd64=6.12.1-1~deb12u1 (pinned in xtask/soil.lock): apt does not have it, even \
             after apt-get update; the archive drops old kernels; next: cargo xtask repin debian, or put the file at \
             /c/linux-image-6.12.1+deb12-cloud-amd64_6.12.1-1~deb12u1_amd64.deb: it stays in \
             Debian's snapshot archive"
        );
    }

    #[test]
    fn h01_a_cached_file_is_used_without_the_network_and_a_tampered_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(lock().file_name());
        fs::write(&path, "package").unwrap();
        assert_eq!(debian(&lock(), dir.path()).unwrap(), path);
        fs::write(&path, "packagE").unwrap();
        let error = debian(&lock(), dir.path()).unwrap_err().to_string();
        assert!(error.contains("mismatch; not used; next: rm "), "{error}");
        assert!(
            error.ends_with("to fetch it again, or cargo xtask repin debian"),
            "{error}"
        );
    }
}
