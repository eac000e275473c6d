//! The host's apt client: what its lists say, and files fetched through it. It checks signatures and hashes; no file is fetched around it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};

use super::archive::Archive;
use crate::arch::Arch;
use crate::fetch;
use crate::host::{self, Privilege};
use crate::layout::Layout;

/// Unpacks a list however apt keeps it.
const HELPER: &str = "/usr/lib/apt/apt-helper";
/// One list of packages per line: its file, its archive's name for the release, whose it is, whether its signature was good, and the
/// entry of the sources that it is of.
const FORMAT: &str = "$(FILENAME)|$(CODENAME)|$(ORIGIN)|$(TRUSTED)|$(SOURCESENTRY)";
/// The same with where the archive is, what it is called there, and which part of it, before that.
const SOURCES: &str =
    "$(REPO_URI)|$(RELEASE)|$(COMPONENT)||$(CODENAME)|$(ORIGIN)|$(TRUSTED)|$(SOURCESENTRY)";
/// The archive whose versions may stand in for pinned ones.
const ORIGIN: &str = "Debian";

/// Threads of this process take turns: two updates at once are one too many.
static ONE: Mutex<()> = Mutex::new(());

/// The client, as the host has it or with a configuration of its own.
#[derive(Clone, Debug, Default)]
pub struct Apt {
    config: Option<PathBuf>,
    /// Whose packages are asked for.
    arch: Arch,
}

/// One list of packages that the client has.
struct List {
    file: String,
    signed: bool,
}

impl Apt {
    /// With this configuration instead of the host's.
    #[cfg(test)]
    pub fn with(config: PathBuf) -> Apt {
        Apt {
            config: Some(config),
            arch: Arch::default(),
        }
    }

    /// For packages of another kind of processor: the host's sources and keys, with lists of their own in the cache, so that the host's
    /// own client is neither asked for them nor changed.
    pub fn of(layout: &Layout, arch: Arch) -> Result<Apt> {
        if arch == Arch::default() {
            return Ok(Apt::default());
        }
        let name = arch.facts().debian;
        let dir = layout.cache().join(format!("apt-{name}"));
        for folder in ["lists/partial", "archives/partial"] {
            fs::create_dir_all(dir.join(folder)).context("make folders for apt")?;
        }
        let status = dir.join("status");
        fs::write(&status, "").context("write an empty list of packages")?;
        let config = dir.join("apt.conf");
        let at = dir.display();
        let text = format!(
            "Dir::State::lists \"{at}/lists\";\nDir::State::status \"{at}/status\";\nDir::Cache \"{at}\";\n\
             APT::Architecture \"{name}\";\nAPT::Architectures {{ \"{name}\"; }};\nAPT::Sandbox::User \"root\";\n"
        );
        fs::write(&config, text).with_context(|| format!("write {}", config.display()))?;
        Ok(Apt {
            config: Some(config),
            arch,
        })
    }

    /// True with the host's sources.
    pub fn is_the_hosts(&self) -> bool {
        // One for another kind of processor has the host's too.
        self.config.is_none() || self.arch != Arch::default()
    }

    /// One of its programs.
    pub fn command(&self, program: &str) -> Result<Command> {
        let mut command = host::command(program)?;
        self.set(&mut command);
        Ok(command)
    }

    fn set(&self, command: &mut Command) {
        command.env("LC_ALL", "C").stdin(Stdio::null());
        if let Some(config) = &self.config {
            command.env("APT_CONFIG", config);
        }
    }

    /// Asks the archive for its lists; an error is why there are no new ones. A list whose signature is wrong is none.
    pub fn update(&self) -> Result<()> {
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut command = match (&self.config, host::privilege()) {
            (Some(_), _) | (_, Privilege::Root) => self.command("apt-get")?,
            (_, Privilege::Sudo) => {
                let mut sudo = Command::new("sudo");
                sudo.arg("apt-get");
                sudo
            }
            (_, Privilege::None) => bail!(
                "refresh the apt index: not root and sudo asks for a password; next: sudo apt-get update"
            ),
        };
        self.set(&mut command);
        eprintln!("fetch: apt-get update");
        let output = command
            .args(["-q", "update", "--error-on=any"])
            .output()
            .context("run apt-get update")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "apt-get update: {}", why(&said));
        Ok(())
    }

    /// What the archive's lists have of these names and of names with one of these beginnings; only lists of this release.
    pub fn archive(&self, release: &str, names: &[String]) -> Result<Archive> {
        let mut archive = Archive::of_arch(self.arch);
        for list in self.lists(release)? {
            let mut helper = Command::new(HELPER);
            self.set(&mut helper);
            let output = helper
                .args(["cat-file", &list.file])
                .output()
                .with_context(|| format!("run {HELPER}"))?;
            ensure!(output.status.success(), "read {}: damaged", list.file);
            archive.read(&String::from_utf8_lossy(&output.stdout), list.signed, names);
        }
        Ok(archive)
    }

    fn lists(&self, release: &str) -> Result<Vec<List>> {
        let text = self.targets(FORMAT)?;
        let lists = text.lines().filter_map(|line| list(line, release));
        Ok(lists.collect())
    }

    /// What apt says of each of its lists of packages, a line each (`apt-get(8)`, `indextargets`).
    fn targets(&self, format: &str) -> Result<String> {
        let output = self
            .command("apt-get")?
            .args(["indextargets", "--format", format, "Created-By: Packages"])
            .output()
            .context("run apt-get indextargets")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Lines of a `sources.list` (`sources.list(5)`) with the archives of this release that the host's apt knows. None of one that is
    /// believed unsigned, is not reached over a network, or has a password in its address: a room cannot use it, or must not know it.
    pub fn sources(&self, release: &str) -> Result<String> {
        let text = self.targets(SOURCES)?;
        let lines = text.lines().filter_map(|line| source(line, release));
        Ok(lines.collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// Fetches these, as apt names them, and leaves in `dir` what came. An error is why not all did.
    pub fn download(&self, wanted: &[String], what: &str, bytes: u64, dir: &Path) -> Result<()> {
        let log = dir.join("apt.log");
        let file = fs::File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let mut command = self.command("apt-get")?;
        command
            .args(["-q", "-o", "Acquire::Retries=2", "download"])
            .args(wanted)
            .current_dir(dir);
        if host::privilege() == Privilege::Root {
            // The sandbox user cannot write into our folder; apt would only warn about it.
            command.args(["-o", "APT::Sandbox::User=root"]);
        }
        command.stdout(Stdio::null()).stderr(file);
        let status = fetch::with_bar(&mut command, what, dir, bytes)?;
        let said = fs::read_to_string(&log).unwrap_or_default();
        ensure!(status.success(), "{}", why(&said));
        Ok(())
    }
}

/// A line of [`FORMAT`], where it is of this release's archive, its updates or its security archive, and not of backports.
fn list(line: &str, release: &str) -> Option<List> {
    let fields: Vec<&str> = line.split('|').collect();
    let [file, codename, origin, trusted, entry] = fields[..] else {
        return None;
    };
    let part = codename.strip_prefix(release)?;
    let ours = ["", "-updates", "-security"].contains(&part);
    ours.then(|| List {
        file: file.to_owned(),
        signed: origin == ORIGIN && trusted == "yes" && !believed(entry),
    })
}

/// A line of [`SOURCES`] as a line of a `sources.list`, if it is of this release's archive and a room may know it.
fn source(line: &str, release: &str) -> Option<String> {
    let (place, rest) = line.split_once("||")?;
    let known = list(&format!("|{rest}"), release)?;
    let fields: Vec<&str> = place.split('|').collect();
    let [uri, suite, component] = fields[..] else {
        return None;
    };
    let remote = ["http://", "https://"].iter().any(|it| uri.starts_with(it));
    let fits = known.signed && remote && !uri.contains('@');
    fits.then(|| format!("deb {uri} {suite} {component}\n"))
}

/// True where the host's sources tell apt to believe an archive without its signature.
fn believed(entry: &str) -> bool {
    let file = entry.rsplit_once(':').map_or(entry, |(file, _)| file);
    let Ok(text) = fs::read_to_string(file) else {
        return true;
    };
    let text = text.to_lowercase();
    let lines = text.lines().map(|line| line.replace([' ', '\t'], ""));
    let mut lines = lines.filter(|line| !line.starts_with('#'));
    lines.any(|line| {
        [
            "trusted=yes",
            "trusted:yes",
            "insecure=yes",
            "insecure:yes",
            "weak=yes",
            "weak:yes",
        ]
        .iter()
        .any(|word| line.contains(word))
    })
}

/// The first error of what apt said, else its first word of any kind.
fn why(said: &str) -> String {
    let mut lines = said.lines().filter_map(|line| line.strip_prefix("E: "));
    let first = lines.next().or_else(|| said.lines().next());
    first.unwrap_or("it failed and said nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u01_a_source_that_is_believed_unsigned_or_of_another_release_stands_in_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            format!("{}:1", path.display())
        };
        let plain = write("plain", "# trusted=yes\ndeb file:/a bookworm main\n");
        let believed = write(
            "believed",
            "deb [arch=amd64 trusted=yes] file:/a bookworm main\n",
        );
        let deb822 = write("deb822", "Types: deb\nTrusted: yes\n");
        let signed = |codename: &str, origin: &str, trusted: &str, entry: &str| {
            let line = format!("/l|{codename}|{origin}|{trusted}|{entry}");
            list(&line, "bookworm").map(|list| list.signed)
        };
        assert_eq!(signed("bookworm", "Debian", "yes", &plain), Some(true));
        let security = signed("bookworm-security", "Debian", "yes", &plain);
        assert_eq!(security, Some(true));
        assert_eq!(signed("bookworm", "Debian", "no", &plain), Some(false));
        assert_eq!(signed("bookworm", "Other", "yes", &plain), Some(false));
        assert_eq!(signed("bookworm", "Debian", "yes", &believed), Some(false));
        assert_eq!(signed("bookworm", "Debian", "yes", &deb822), Some(false));
        assert_eq!(
            signed("bookworm", "Debian", "yes", "/nowhere:1"),
            Some(false)
        );
        assert_eq!(signed("bookworm-backports", "Debian", "yes", &plain), None);
        assert_eq!(signed("trixie", "Debian", "yes", &plain), None);
    }

    #[test]
    fn u01_a_room_is_told_of_signed_archives_on_the_network_alone() {
        let dir = tempfile::tempdir().unwrap();
        let entry = dir.path().join("list");
        fs::write(&entry, "deb http://a.example/debian bookworm main\n").unwrap();
        let told = |uri: &str, codename: &str, trusted: &str| {
            let entry = entry.display();
            let line = format!("{uri}|{codename}|main||{codename}|Debian|{trusted}|{entry}:1");
            source(&line, "bookworm")
        };
        let http = "http://a.example/debian/";
        let line = |suite: &str| Some(format!("deb {http} {suite} main\n"));
        assert_eq!(told(http, "bookworm", "yes"), line("bookworm"));
        assert_eq!(
            told(http, "bookworm-security", "yes"),
            line("bookworm-security")
        );
        assert_eq!(told(http, "bookworm", "no"), None);
        assert_eq!(told(http, "trixie", "yes"), None);
        for uri in [
            "copy:/a",
            "file:/a",
            "cdrom:a",
            "https://me:word@a.example/debian/",
        ] {
            assert_eq!(told(uri, "bookworm", "yes"), None, "{uri}");
        }
    }

    #[test]
    fn u01_the_reason_is_apts_first_error() {
        assert_eq!(
            why("W: old\nE: Failed to fetch a\nE: more\n"),
            "Failed to fetch a"
        );
        assert_eq!(why(""), "it failed and said nothing");
    }
}
