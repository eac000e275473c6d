//! `cargo xtask repin alpine SOURCE`: both files of one netboot folder, from the release server or from a local folder. They are
//! unpacked as a build would before anything is pinned, so that neither an error page nor a kernel without our modules is.
//!
//! The hashes are those of what came; whether that is what Alpine released is for the person to compare with the release's own
//! checksum file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use regex::Regex;

use super::{Values, quoted, write};
use crate::fetch::{self, fresh_dir};
use crate::layout::Layout;
use crate::lock::Lock;
use crate::{soil, stamp};

/// Where a release's folder is; `netboot/` beside it moves.
const SERVER: &str = "https://dl-cdn.alpinelinux.org/alpine";

/// Fetches or copies both files, tries them, and pins them.
pub fn pin(layout: &Layout, source: &str, version: Option<&str>) -> Result<()> {
    let lock = Lock::read(&layout.lock())?.alpine;
    let source = source.trim_end_matches('/');
    let remote = source.contains("://");
    let version = release(source, version.filter(|_| !remote))?;
    let base_url = match remote {
        true => source.to_owned(),
        false => folder(&version),
    };
    let part = fresh_dir(&layout.cache().join("part"))?;
    let names = [&lock.vmlinuz.name, &lock.modloop.name];
    for name in names {
        bring(source, remote, name, &part)?;
    }
    try_out(layout, names.map(|name| part.join(name)))
        .with_context(|| format!("repin alpine: {source} is no soil; nothing was pinned"))?;
    let cache = fetch::netboot(&layout.cache(), &version);
    fs::create_dir_all(&cache).with_context(|| format!("create {}", cache.display()))?;
    let vmlinuz = keep(&part, &cache, names[0])?;
    let modloop = keep(&part, &cache, names[1])?;
    let values = [
        ("version", quoted(&version)),
        ("base_url", quoted(&base_url)),
    ];
    let tables: [(&str, &Values); 3] = [
        ("alpine", &values),
        ("alpine.vmlinuz", &vmlinuz),
        ("alpine.modloop", &modloop),
    ];
    write(layout, &tables)?;
    println!(
        "repin: alpine {version}: compare with the checksums of the release, these are of what came from {source}"
    );
    Ok(())
}

/// The release: the one given, or what the folder is called.
fn release(source: &str, given: Option<&str>) -> Result<String> {
    let name = source.rsplit('/').next().unwrap_or(source);
    let Some(version) = given.or_else(|| name.strip_prefix("netboot-")) else {
        bail!(
            "repin alpine: {source} is not called netboot-VERSION; next: name the versioned folder (netboot/ itself moves), or add \
             --version for local files"
        );
    };
    if !Regex::new(r"^\d+\.\d+\.\d+(_\w+)?$")?.is_match(version) {
        bail!("repin alpine: {version:?} is no release; next: write it as 3.24.2");
    }
    Ok(version.to_owned())
}

/// The folder of a release on Alpine's server.
fn folder(version: &str) -> String {
    let branch = version
        .rsplit_once('.')
        .map_or(version, |(branch, _)| branch);
    format!("{SERVER}/v{branch}/releases/x86_64/netboot-{version}")
}

fn bring(source: &str, remote: bool, name: &str, part: &Path) -> Result<()> {
    if !remote {
        let file = Path::new(source).join(name);
        fs::copy(&file, part.join(name)).with_context(|| format!("copy {}", file.display()))?;
    } else if !fetch::curl(&format!("{source}/{name}"), name, part, 0)? {
        bail!(
            "fetch {source}/{name}: failed; next: check the address and the network, or name a local folder with both files"
        );
    }
    Ok(())
}

/// What a build does with them.
fn try_out(layout: &Layout, [kernel, modloop]: [PathBuf; 2]) -> Result<()> {
    let work = fresh_dir(&layout.cache().join("work-repin"))?;
    let made = fresh_dir(&layout.cache().join("made-repin"))?;
    let modules = soil::unpack_modloop(&modloop, &work)?;
    soil::write_soil(&kernel, &modules, &made)?;
    for dir in [&work, &made] {
        fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))?;
    }
    Ok(())
}

/// Moves a file into the cache; hash and size for the lock.
fn keep(part: &Path, cache: &Path, name: &str) -> Result<[(&'static str, String); 2]> {
    let path = cache.join(name);
    fs::rename(part.join(name), &path).with_context(|| format!("move {name} into the cache"))?;
    let sha256 = stamp::sha256_file(&path)?;
    let bytes = path
        .metadata()
        .with_context(|| format!("stat {}", path.display()))?
        .len();
    println!("repin: {name} sha256 {sha256} ({bytes} bytes)");
    Ok([("sha256", quoted(&sha256)), ("bytes", bytes.to_string())])
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;
    use crate::soil::tests::upstream;

    #[test]
    fn h01_a_local_folder_becomes_the_pin_with_version_sizes_and_hashes() {
        let dir = tempfile::tempdir().unwrap();
        let layout = tree(dir.path());
        let before = fs::read_to_string(layout.lock()).unwrap();
        let source = dir.path().join("netboot-9.8.7");
        fs::create_dir(&source).unwrap();
        let made = upstream(&source);
        pin(&layout, &format!("{}/", source.display()), None).unwrap();
        let lock = Lock::read(&layout.lock()).unwrap();
        assert_eq!(lock.alpine.version, "9.8.7");
        assert_eq!(
            lock.alpine.base_url,
            format!("{SERVER}/v9.8/releases/x86_64/netboot-9.8.7")
        );
        for (pin, made) in [
            (&lock.alpine.vmlinuz, &made.vmlinuz),
            (&lock.alpine.modloop, &made.modloop),
        ] {
            assert_eq!(pin.sha256, made.sha256);
            assert_eq!(pin.bytes, source.join(&made.name).metadata().unwrap().len());
        }
        // In the cache already: the build after it needs no network.
        fs::remove_dir_all(&source).unwrap();
        fetch::alpine(&lock.alpine, &layout.cache()).unwrap();
        let after = fs::read_to_string(layout.lock()).unwrap();
        let changed = before.lines().zip(after.lines()).filter(|(a, b)| a != b);
        assert_eq!(changed.count(), 6);
        assert_eq!(before.lines().count(), after.lines().count());
    }

    #[test]
    fn h01_the_folder_on_a_server_is_its_own_address() {
        if crate::host::find("curl").is_none() {
            println!("skipped: no curl");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let layout = tree(dir.path());
        let source = dir.path().join("netboot-9.8.7");
        fs::create_dir(&source).unwrap();
        let made = upstream(&source);
        let url = format!("file://{}", source.display());
        pin(&layout, &url, Some("1.1.1")).unwrap();
        let lock = Lock::read(&layout.lock()).unwrap().alpine;
        assert_eq!((lock.base_url, lock.version.as_str()), (url, "9.8.7"));
        assert_eq!(lock.modloop.sha256, made.modloop.sha256);
        let error = pin(&layout, "file:///nowhere/netboot-9.8.6", None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "fetch file:///nowhere/netboot-9.8.6/vmlinuz-virt: failed; next: check the address and the network, or name a local \
             folder with both files"
        );
    }

    #[test]
    fn h01_what_no_build_could_use_is_not_pinned() {
        let dir = tempfile::tempdir().unwrap();
        let layout = tree(dir.path());
        let before = fs::read(layout.lock()).unwrap();
        let source = dir.path().join("files");
        fs::create_dir(&source).unwrap();
        let path = source.display().to_string();
        for file in ["modloop-virt", "vmlinuz-virt"] {
            upstream(&source);
            fs::write(source.join(file), "<html>not found</html>").unwrap();
            let error = pin(&layout, &path, Some("9.8.7")).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("repin alpine: {path} is no soil; nothing was pinned")
            );
            assert_eq!(fs::read(layout.lock()).unwrap(), before);
        }
    }

    #[test]
    fn h01_a_folder_that_moves_is_no_pin() {
        let error = |source: &str, given| release(source, given).unwrap_err().to_string();
        assert_eq!(
            error("https://server/netboot", None),
            "repin alpine: https://server/netboot is not called netboot-VERSION; next: name the versioned folder (netboot/ itself \
             moves), or add --version for local files"
        );
        assert_eq!(
            error("files", Some("latest")),
            "repin alpine: \"latest\" is no release; next: write it as 3.24.2"
        );
        assert_eq!(release("files", Some("3.24.2")).unwrap(), "3.24.2");
    }
}
