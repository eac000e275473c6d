//! `xtask/soil.lock`: what the Spine is made from, each input pinned by version, size and SHA-256 (H01).

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::arch::Arch;
use crate::stamp;

/// The whole lock file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// The time of every file in the image, in UNIX seconds.
    pub source_date_epoch: u32,
    /// The Debian kernel package.
    pub debian: Debian,
    /// The same for aarch64.
    #[serde(rename = "debian-aarch64")]
    pub debian_aarch64: Debian,
    /// The Debian package with the kernel's source.
    pub source: Debian,
    /// Alpine's netboot files.
    pub alpine: Alpine,
    /// The container image for the assembly.
    pub builder: Builder,
}

/// One Debian package: a kernel, or a kernel's source.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Debian {
    /// Code name of the release whose archive holds it.
    pub release: String,
    /// Package name; a kernel's with its ABI.
    pub package: String,
    /// Package version.
    pub version: String,
    /// SHA-256 of the `.deb`.
    pub sha256: String,
    /// Size of the `.deb`.
    pub bytes: u64,
}

impl Debian {
    /// `6.12.117+deb12-cloud-amd64`, the name of its modules folder.
    pub fn kernel_release(&self) -> &str {
        self.package
            .strip_prefix("linux-image-")
            .unwrap_or(&self.package)
    }

    /// The file `apt-get download` writes: an epoch's colon is escaped, a tilde is not.
    pub fn file_name(&self) -> String {
        format!(
            "{}_{}_{}.deb",
            self.package,
            self.version.replace(':', "%3a"),
            self.arch()
        )
    }

    /// Source is for every machine, and a kernel's name says for which it is.
    pub fn arch(&self) -> &'static str {
        let all = [Arch::X86_64, Arch::Aarch64].map(|arch| arch.facts().debian);
        let named = all.into_iter().find(|it| self.package.ends_with(it));
        if self.is_source() {
            "all"
        } else {
            named.unwrap_or("all")
        }
    }

    fn is_source(&self) -> bool {
        self.package.starts_with("linux-source-")
    }
}

/// Alpine's versioned netboot folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alpine {
    /// Alpine release.
    pub version: String,
    /// Folder both files are in.
    pub base_url: String,
    /// The kernel.
    pub vmlinuz: Pin,
    /// Its modules, a SquashFS.
    pub modloop: Pin,
}

/// One file with what must be true of it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// File name upstream and in the cache.
    pub name: String,
    /// SHA-256 in lower-case hex.
    pub sha256: String,
    /// Size; 0 where none is recorded.
    pub bytes: u64,
}

impl Pin {
    /// Compares a file with its pin; the error names both and the next step.
    pub fn check(&self, path: &Path, next: &str) -> Result<()> {
        let found = stamp::sha256_file(path)?;
        if found != self.sha256 {
            bail!(
                "check {} (pinned sha256 {}, found {found}): mismatch; not used; next: {next}",
                self.name,
                self.sha256
            );
        }
        let bytes = path
            .metadata()
            .with_context(|| format!("stat {}", path.display()))?
            .len();
        if self.bytes != 0 && self.bytes != bytes {
            bail!(
                "check {} (pinned {} bytes, found {bytes}): mismatch; not used; next: {next}",
                self.name,
                self.bytes
            );
        }
        Ok(())
    }
}

/// The container image.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Builder {
    /// Short name.
    pub image: String,
    /// Its version, for people: the digest decides.
    pub version: String,
    /// linux/amd64 manifest digest.
    pub digest: String,
}

impl Lock {
    /// The kernel package for a kind of processor.
    pub fn kernel(&self, arch: Arch) -> &Debian {
        match arch {
            Arch::X86_64 => &self.debian,
            Arch::Aarch64 => &self.debian_aarch64,
        }
    }

    /// Reads the lock file; an unknown or missing field is an error.
    pub fn read(path: &Path) -> Result<Lock> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("parse {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;

    #[test]
    fn h01_the_lock_in_the_tree_pins_every_input_by_sha256() {
        let lock = Lock::read(&Layout::find().lock()).unwrap();
        let hashes = [
            &lock.debian.sha256,
            &lock.debian_aarch64.sha256,
            &lock.source.sha256,
            &lock.alpine.vmlinuz.sha256,
            &lock.alpine.modloop.sha256,
        ];
        let digest = lock.builder.digest.strip_prefix("sha256:").unwrap();
        for hash in hashes.into_iter().map(String::as_str).chain([digest]) {
            assert_eq!(hash.len(), 64, "{hash}");
            assert!(
                hash.bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)),
                "{hash}"
            );
        }
        assert!(
            lock.alpine
                .base_url
                .ends_with(&format!("netboot-{}", lock.alpine.version)),
            "a moving folder"
        );
    }

    #[test]
    fn h01_a_mismatch_is_named_with_both_hashes_and_the_next_step() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vmlinuz-virt");
        std::fs::write(&path, "abc").unwrap();
        let pin = Pin {
            name: "vmlinuz-virt".into(),
            sha256: "00ff".into(),
            bytes: 3,
        };
        assert_eq!(
            pin.check(&path, "do this").unwrap_err().to_string(),
            "check vmlinuz-virt (pinned sha256 00ff, found ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad): \
             mismatch; not used; next: do this"
        );
        let pin = Pin {
            name: "vmlinuz-virt".into(),
            sha256: stamp::sha256(b"abc"),
            bytes: 4,
        };
        assert_eq!(
            pin.check(&path, "do this").unwrap_err().to_string(),
            "check vmlinuz-virt (pinned 4 bytes, found 3): mismatch; not used; next: do this"
        );
    }

    #[test]
    fn an_unknown_field_in_the_lock_is_refused() {
        assert!(toml::from_str::<Pin>("name = 'a'\nsha256 = 'b'\nbytes = 1\nurl = 'c'").is_err());
    }
}
