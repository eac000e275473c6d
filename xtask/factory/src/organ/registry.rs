//! Pinned files of the Python registry, by its own client (H01). What a package would run when it is fetched is not run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::fetch::{self, fresh_dir};
use crate::host;
use crate::lock::Pin;

/// A file of a package.
#[derive(Clone, Copy, Debug)]
pub struct File {
    /// The package.
    pub package: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The file's name.
    pub name: &'static str,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: &'static str,
}

/// Of a source package the client asks the package's own program what it is called; this one answers in its place.
const ANSWER: &str = r#"
import os
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    name = "PACKAGE-VERSION.dist-info"
    os.mkdir(os.path.join(folder, name))
    with open(os.path.join(folder, name, "METADATA"), "w") as out:
        out.write("Metadata-Version: 2.1\nName: PACKAGE\nVersion: VERSION\n")
    return name
"#;
/// Who is asked, as the package says: a module in a package.
const ASKED: [&str; 2] = ["scikit_build_core", "build.py"];

impl File {
    fn pin(&self) -> Pin {
        Pin {
            name: self.name.to_owned(),
            sha256: self.sha256.to_owned(),
            bytes: self.bytes,
        }
    }

    /// The file in the cache, fetched if it is not there, checked always.
    pub fn get(&self, cache: &Path) -> Result<PathBuf> {
        let (pin, next) = (self.pin(), "report it: a pin of the organ does not hold");
        if let Some(path) = fetch::cached(&pin, cache, next)? {
            return Ok(path);
        }
        host::need(&[host::TOOL_PIP])?;
        let part = fresh_dir(&cache.join("part-organ"))?;
        let module = fresh_dir(&part.join("own").join(ASKED[0]))?;
        let answer = ANSWER
            .replace("PACKAGE", &self.package.replace('-', "_"))
            .replace("VERSION", self.version);
        fs::write(module.join("__init__.py"), "").context("write the answer")?;
        fs::write(module.join(ASKED[1]), answer).context("write the answer")?;
        let wanted = part.join("wanted.txt");
        let line = format!(
            "{}=={} --hash=sha256:{}\n",
            self.package, self.version, self.sha256
        );
        fs::write(&wanted, line).context("write what is wanted")?;
        let source = self.name.ends_with(".tar.gz");
        let kind = if source {
            "--no-binary"
        } else {
            "--only-binary"
        };
        let mut pip = host::command("pip3")?;
        pip.args(["download", "--quiet", "--disable-pip-version-check"])
            .args(["--no-deps", "--no-build-isolation", "--require-hashes"])
            .args([kind, ":all:", "--requirement"])
            .arg(&wanted)
            .arg("--dest")
            .arg(&part)
            .env("PYTHONPATH", part.join("own"));
        let status = fetch::with_bar(&mut pip, self.name, &part, self.bytes)?;
        if !status.success() {
            let at = cache.join(self.name);
            bail!(
                "fetch {}: {status}; next: check the network, or put the file at {}",
                self.name,
                at.display()
            );
        }
        let path = fetch::keep(&pin, &part, cache, next)?;
        fs::remove_dir_all(&part).context("remove what the client left")?;
        Ok(path)
    }
}
