//! Pinned inputs from outside, into `build/cache`: fetched once, checked always, never used on a mismatch (H01).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::host;
use crate::lock::{Alpine, Pin};

/// How often a progress bar looks at the growing file.
const BAR_POLL: Duration = Duration::from_millis(100);

/// Alpine's kernel and modloop, from the cache or its release folder.
pub fn alpine(lock: &Alpine, cache: &Path) -> Result<(PathBuf, PathBuf)> {
    Ok((
        alpine_file(lock, &lock.vmlinuz, cache)?,
        alpine_file(lock, &lock.modloop, cache)?,
    ))
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

/// Whether a server has this file; none where it could not be asked.
pub fn there(url: &str) -> Result<Option<bool>> {
    host::need(&[host::TOOL_CURL])?;
    let status = host::command("curl")?
        .args(["-fsSLI", "--connect-timeout", "15", "-o", "/dev/null", url])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("run curl")?;
    Ok(match status.code() {
        Some(0) => Some(true),
        // It answered with an error.
        Some(22) => Some(false),
        _ => None,
    })
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

/// Runs a client that fetches into `dir`, with a bar that follows the sizes of the files there.
pub fn with_bar(command: &mut Command, what: &str, dir: &Path, bytes: u64) -> Result<ExitStatus> {
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
