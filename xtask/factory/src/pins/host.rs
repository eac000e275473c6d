//! Whether this host's apt can have a release's packages at all: said before apt says "unable to locate".

use std::fs;

use anyhow::{Result, bail};

use super::{Apt, Set};
use crate::host;
use crate::room::Package;

/// Fails where this host is of another distribution or release, with the ways that are left.
pub fn check(set: &Set, apt: &Apt, missing: &[Package]) -> Result<()> {
    if !apt.is_the_hosts() {
        return Ok(());
    }
    let os_release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let has_apt = host::find("apt-get").is_some();
    match elsewhere(&os_release, has_apt, set, missing) {
        None => Ok(()),
        Some(text) => bail!(text),
    }
}

fn elsewhere(os_release: &str, has_apt: bool, set: &Set, missing: &[Package]) -> Option<String> {
    let field = |key: &str| {
        let line = os_release
            .lines()
            .find_map(|l| l.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or("unknown").trim_matches('"').to_owned()
    };
    let (id, codename) = (field("ID"), field("VERSION_CODENAME"));
    if has_apt && id == "debian" && codename == set.release {
        return None;
    }
    let archive = if has_apt {
        format!("{id} {codename}")
    } else {
        format!("{id} without apt-get")
    };
    let (release, cache) = (&set.release, set.cache.display());
    let wanted: Vec<String> = missing.iter().map(Package::wanted).collect();
    Some(format!(
        "fetch {}: this host is {archive}, and what {} pins is in Debian {release}'s archive; next: put the files into {cache}: on a \
         machine with Debian {release}, apt-get download {}; or by hand from Debian's page of each package, or, once the archive dropped \
         it, from Debian's snapshot archive",
        set.name,
        set.lock,
        wanted.join(" ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pins::Successor;

    fn set() -> Set {
        let package = Package {
            name: "linux-source-6.12".into(),
            version: "6.12.1-1".into(),
            arch: "all".into(),
            bytes: 7,
            sha256: String::new(),
        };
        Set {
            name: "source".into(),
            lock: "xtask/soil.lock".into(),
            packages: vec![package],
            release: "bookworm".into(),
            cache: "build/cache".into(),
            repin: "cargo xtask repin source".into(),
            successor: Successor::Name,
        }
    }

    #[test]
    fn h01_another_distribution_is_told_where_the_package_is() {
        let said = |os: &str, apt| elsewhere(os, apt, &set(), &set().packages);
        assert_eq!(
            said("ID=ubuntu\nVERSION_CODENAME=\"noble\"\n", true).unwrap(),
            "fetch source: this host is ubuntu noble, and what xtask/soil.lock pins is in Debian bookworm's archive; next: put the files \
             into build/cache: on a machine with Debian bookworm, apt-get download linux-source-6.12=6.12.1-1; or by hand from Debian's \
             page of each package, or, once the archive dropped it, from Debian's snapshot archive"
        );
        let fedora = said("ID=fedora\n", false).unwrap();
        assert!(
            fedora.contains("this host is fedora without apt-get, and"),
            "{fedora}"
        );
        assert_eq!(said("ID=debian\nVERSION_CODENAME=bookworm\n", true), None);
    }
}
