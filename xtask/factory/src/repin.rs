//! `cargo xtask repin`: another input becomes the pin, with its version, size and SHA-256 worked out and written into
//! `xtask/soil.lock`. A person runs this and commits what it changed; no build ever does.

mod alpine;
mod builder;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::arch::{self, Arch};
use crate::cross;
use crate::fetch::fresh_dir;
use crate::layout::Layout;
use crate::lock::{Debian, Lock};
use crate::pins::Apt;
use crate::stamp;
use crate::tools;
use crate::turn;

/// The series of the release kernel as well; another one is a decision, not a re-pin.
const SERIES: &str = "6.12";

/// What to pin anew.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Which {
    /// The newest kernel package of the pinned series in this host's archive
    Debian,
    /// The source package of the pinned series, in the version that this host's archive has
    Source,
    /// The packages of the vault's tools, in the versions that this host's archive has; rewrites xtask/tools.lock
    Tools,
    /// The compiler and the stub for another kind of processor, in the versions that this host's archive has; rewrites xtask/cross*.lock
    Cross,
    /// vmlinuz-virt and modloop-virt of one netboot folder
    Alpine {
        /// Address of a versioned folder (…/netboot-3.24.2), or a local folder with both files
        source: String,
        /// The release that local files are of, where their folder is not called netboot-VERSION
        #[arg(long)]
        version: Option<String>,
    },
    /// The container image of scripts/mkspine.sh
    Builder {
        /// The linux/amd64 digest (sha256:…), or a file with the image's index or manifest as the registry has it
        source: String,
        /// The image's version, for people: the digest decides
        #[arg(long)]
        version: String,
        /// Another image than the one pinned so far
        #[arg(long)]
        image: Option<String>,
    },
}

/// Pins one input anew; the rest of the lock, comments included, stays as it is.
pub fn command(layout: &Layout, which: &Which) -> Result<()> {
    let _turn = turn::take(layout)?;
    match which {
        Which::Debian => debian(layout)?,
        Which::Source => source(layout)?,
        Which::Tools => tools::repin(layout)?,
        Which::Cross => cross::repin(layout)?,
        Which::Alpine { source, version } => alpine::pin(layout, source, version.as_deref())?,
        Which::Builder {
            source,
            version,
            image,
        } => builder::pin(layout, source, version, image.as_deref())?,
    }
    println!("repin: next: cargo xtask test, then commit the lock");
    Ok(())
}

/// Finds, fetches and pins the newest kernel.
fn debian(layout: &Layout) -> Result<()> {
    let (arch, end) = (Arch::chosen(), arch::facts().kernels);
    let apt = Apt::of(layout, arch)?;
    apt.update().context("repin")?;
    let names = apt_cache(&apt, &["pkgnames", &format!("linux-image-{SERIES}")])?;
    let Some(package) = newest(&names, end) else {
        bail!(
            "repin debian: no linux-image-{SERIES}…{end} in this host's archive; next: repin on Debian bookworm"
        );
    };
    let table = match arch {
        Arch::X86_64 => "debian",
        Arch::Aarch64 => "debian-aarch64",
    };
    pin(layout, &apt, table, package)
}

/// Fetches and pins the source of the series.
fn source(layout: &Layout) -> Result<()> {
    let apt = Apt::default();
    apt.update().context("repin")?;
    pin(layout, &apt, "source", format!("linux-source-{SERIES}"))
}

/// Fetches a package in the version that apt would install, and writes it into a table of the lock.
fn pin(layout: &Layout, apt: &Apt, table: &str, package: String) -> Result<()> {
    let version = candidate(&apt_cache(apt, &["policy", &package])?)
        .with_context(|| format!("repin {table}: apt knows no version of {package}"))?;
    let part = fresh_dir(&layout.cache().join("part"))?;
    let wanted = [format!("{package}={version}")];
    apt.download(&wanted, &wanted[0], 0, &part)
        .with_context(|| {
            format!(
                "repin {table}: fetch {}; next: check the network",
                wanted[0]
            )
        })?;
    let pin = keep(layout, &part, package, version)?;
    let values = [
        ("package", quoted(&pin.package)),
        ("version", quoted(&pin.version)),
        ("sha256", quoted(&pin.sha256)),
        ("bytes", pin.bytes.to_string()),
    ];
    write(layout, &[(table, &values)])?;
    println!(
        "repin: {} {} sha256 {} ({} bytes)",
        pin.package, pin.version, pin.sha256, pin.bytes
    );
    Ok(())
}

/// Moves the fetched package into the cache; what the lock says of it.
fn keep(layout: &Layout, part: &Path, package: String, version: String) -> Result<Debian> {
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
    Ok(pin)
}

/// New values, as TOML, of keys of one table.
type Values<'a> = [(&'a str, String)];

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Writes new values of some tables into the lock, if what comes out still is one.
fn write(layout: &Layout, tables: &[(&str, &Values)]) -> Result<()> {
    let path = layout.lock();
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let text = tables
        .iter()
        .fold(text, |text, (table, values)| rewrite(&text, table, values));
    toml::from_str::<Lock>(&text)
        .context("repin: the rewritten lock does not parse; it is left as it was")?;
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}

fn apt_cache(apt: &Apt, args: &[&str]) -> Result<String> {
    let output = apt
        .command("apt-cache")?
        .args(args)
        .output()
        .context("run apt-cache")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Compares versions by their numbers: 6.12.117 is after 6.12.99.
fn newest(names: &str, end: &str) -> Option<String> {
    let numbered = names.lines().filter_map(|name| {
        let abi = name.strip_prefix("linux-image-")?.strip_suffix(end)?;
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

/// Replaces values of one table and nothing else.
fn rewrite(lock: &str, table: &str, values: &Values) -> String {
    let mut inside = false;
    let mut out = String::new();
    for line in lock.lines() {
        if line.starts_with('[') {
            inside = line == format!("[{table}]");
        }
        let key = line.split_once(" = ").map(|(key, _)| key);
        let value = values
            .iter()
            .find(|(name, _)| inside && Some(*name) == key)
            .map(|(name, value)| format!("{name} = {value}"));
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
            newest(names, "-cloud-amd64").as_deref(),
            Some("linux-image-6.12.117+deb12-cloud-amd64")
        );
        assert_eq!(
            newest("linux-image-6.12-cloud-amd64\n", "-cloud-amd64"),
            None
        );
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
    fn h01_only_the_named_table_is_rewritten() {
        let lock = "# Kept.\n[debian]\nrelease = \"bookworm\"\nsha256 = \"x\"\nbytes = 1\n\n\
                    [debian.more]\nversion = \"3\"\nsha256 = \"y\"\n";
        let new = "# Kept.\n[debian]\nrelease = \"bookworm\"\nsha256 = \"z\"\nbytes = 9\n\n\
                   [debian.more]\nversion = \"3\"\nsha256 = \"y\"\n";
        let values = [("sha256", quoted("z")), ("bytes", "9".to_owned())];
        assert_eq!(rewrite(lock, "debian", &values), new);
    }

    /// A tree of its own with a copy of the lock.
    pub fn tree(root: &std::path::Path) -> Layout {
        let layout = Layout {
            root: root.to_owned(),
        };
        fs::create_dir_all(layout.lock().parent().unwrap()).unwrap();
        fs::copy(Layout::find().lock(), layout.lock()).unwrap();
        layout
    }

    #[test]
    fn h01_a_lock_that_would_not_parse_is_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let layout = tree(dir.path());
        let before = fs::read_to_string(layout.lock()).unwrap();
        let values = [("bytes", "many".to_owned())];
        let error = write(&layout, &[("debian", &values)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "repin: the rewritten lock does not parse; it is left as it was"
        );
        assert_eq!(fs::read_to_string(layout.lock()).unwrap(), before);
    }
}
