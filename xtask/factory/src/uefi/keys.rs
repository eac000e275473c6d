//! The keys of a machine's owner, for development: platform key, key exchange key and the one that signs what may start; and signing.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::pe;
use crate::host::{self, run};

/// From the one that owns the machine to the one that signs.
pub const NAMES: [&str; 3] = ["PK", "KEK", "db"];
/// Ten years.
const DAYS: &str = "3650";
const PRIVATE: u32 = 0o600;

/// A private key and its certificate, both PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The private key.
    pub key: PathBuf,
    /// What it signs is verified with.
    pub certificate: PathBuf,
}

/// A folder with three pairs.
#[derive(Clone, Debug)]
pub struct Keys {
    dir: PathBuf,
}

impl Keys {
    /// The keys in `dir`, which need not be there yet.
    pub fn in_dir(dir: &Path) -> Keys {
        Keys {
            dir: dir.to_owned(),
        }
    }

    /// One of [`NAMES`].
    pub fn pair(&self, name: &str) -> Pair {
        Pair {
            key: self.dir.join(format!("{name}.key")),
            certificate: self.dir.join(format!("{name}.crt")),
        }
    }

    /// Its certificate as firmware wants it: DER.
    pub fn der(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.cer"))
    }

    /// Makes all three. Keys that are there are left alone unless `force`: what they signed starts nowhere else.
    pub fn make(&self, force: bool) -> Result<()> {
        host::need(&[host::TOOL_OPENSSL])?;
        let there = NAMES.iter().map(|name| self.pair(name).key);
        if let Some(key) = there.filter(|_| !force).find(|key| key.exists()) {
            bail!(
                "make {}: it exists, and machines may know it; next: --force replaces all keys of {}",
                key.display(),
                self.dir.display()
            );
        }
        let mut dir = fs::DirBuilder::new();
        dir.recursive(true).mode(0o700).create(&self.dir)?;
        NAMES.iter().try_for_each(|name| self.make_one(name))
    }

    /// Makes them where there are none.
    pub fn ensure(&self) -> Result<()> {
        if NAMES.iter().all(|name| self.der(name).exists()) {
            return Ok(());
        }
        eprintln!("keys: making PK, KEK and db in {}", self.dir.display());
        self.make(false)
    }

    fn make_one(&self, name: &str) -> Result<()> {
        let (pair, der) = (self.pair(name), self.der(name));
        // Nobody else's from the first byte on, whatever the umask and openssl's version.
        let mut open = File::options();
        open.write(true).create(true).truncate(true).mode(PRIVATE);
        open.open(&pair.key)
            .and_then(|file| file.set_permissions(Permissions::from_mode(PRIVATE)))
            .with_context(|| format!("create {}", pair.key.display()))?;
        let subject = format!("/CN=Alpine-Spine development {name}/");
        let mut request = host::command("openssl")?;
        request
            .args(["req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes"])
            .args(["-sha256", "-days", DAYS, "-subj", &subject, "-keyout"])
            .arg(&pair.key)
            .arg("-out")
            .arg(&pair.certificate);
        run(&mut request)?;
        let mut convert = host::command("openssl")?;
        convert.args(["x509", "-outform", "DER", "-in"]);
        convert.arg(&pair.certificate).arg("-out").arg(&der);
        run(&mut convert).map(drop)
    }
}

/// Signs a program for the firmware. Only the signature is added; the time of signing is in it, so that its bytes differ each time.
pub fn sign(program: &[u8], pair: &Pair) -> Result<Vec<u8>> {
    host::need(&[host::TOOL_SBSIGN])?;
    let dir = tempfile::tempdir()?;
    let (plain, signed) = (dir.path().join("plain"), dir.path().join("signed"));
    fs::write(&plain, program)?;
    let mut sbsign = host::command("sbsign")?;
    sbsign.arg("--key").arg(&pair.key).arg("--cert");
    sbsign.arg(&pair.certificate).arg("--output").arg(&signed);
    run(sbsign.arg(&plain))?;
    let signed = fs::read(&signed).context("read what sbsign wrote")?;
    ensure!(
        pe::unsigned(&signed)? == pe::unsigned(program)?,
        "sign with {}: sbsign changed the program; next: report its version",
        pair.key.display()
    );
    Ok(signed)
}

/// Fails unless `signed` is `program` with a signature that `certificate` verifies.
pub fn verify(signed: &[u8], program: &[u8], certificate: &Path) -> Result<()> {
    host::need(&[host::TOOL_SBSIGN])?;
    ensure!(pe::is_signed(signed)?, "it has no signature");
    ensure!(
        pe::unsigned(signed)? == pe::unsigned(program)?,
        "it is not what was to be signed: other bits than this build"
    );
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), signed)?;
    let mut sbverify = host::command("sbverify")?;
    sbverify.arg("--cert").arg(certificate).arg(file.path());
    run(&mut sbverify)
        .map(drop)
        .with_context(|| format!("{} did not sign it", certificate.display()))
}
