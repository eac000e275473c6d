//! What an archive's lists of packages have: each version with its hash, and what it says of others.

use std::collections::BTreeMap;

use super::depends::Relations;
use super::version;
use crate::arch::Arch;
use crate::room::Package;

/// One version of a package that the archive has.
#[derive(Clone, Debug)]
pub struct Offer {
    /// What it is.
    pub package: Package,
    /// The list that names it was signed by the archive, and the signature was checked.
    pub signed: bool,
    /// What it needs and what it stands in for.
    pub relations: Relations,
}

/// What the lists of one release have.
#[derive(Debug, Default)]
pub struct Archive {
    /// How many lists were read.
    lists: usize,
    /// By the package's name.
    offers: BTreeMap<String, Vec<Offer>>,
    /// Whose packages count, beside those for all.
    arch: Arch,
}

impl Archive {
    /// An empty one of packages for this kind of processor.
    pub fn of_arch(arch: Arch) -> Archive {
        Archive {
            arch,
            ..Archive::default()
        }
    }

    /// Adds a list's paragraphs of these names; one that ends in `*` is a beginning.
    pub fn read(&mut self, text: &str, signed: bool, names: &[String]) {
        self.lists += 1;
        for paragraph in text.split("\n\n") {
            let Some(name) = field(paragraph, "Package") else {
                continue;
            };
            let wanted = |it: &String| match it.strip_suffix('*') {
                Some(beginning) => name.starts_with(beginning),
                None => it == name,
            };
            if names.iter().any(wanted)
                && let Some(offer) = offer(name, paragraph, signed, self.arch)
            {
                self.offers.entry(name.to_owned()).or_default().push(offer);
            }
        }
    }

    /// True where the client has no list of that release: it cannot be said then that something is gone.
    pub fn is_unknown(&self) -> bool {
        self.lists == 0
    }

    /// The pinned version, if it is there.
    pub fn of(&self, pinned: &Package) -> Option<&Offer> {
        let same = |offer: &&Offer| {
            (&offer.package.version, &offer.package.arch) == (&pinned.version, &pinned.arch)
        };
        let offers = self.offers.get(&pinned.name)?;
        // Two archives may both have that version: the file is the pinned one or it is not.
        let exact = offers.iter().filter(same).find(|o| o.package == *pinned);
        exact.or_else(|| offers.iter().find(same))
    }

    /// The newest signed version of that name.
    pub fn current(&self, name: &str) -> Option<&Offer> {
        let offers = self.offers.get(name)?.iter().filter(|offer| offer.signed);
        offers.max_by(|a, b| version::compare(&a.package.version, &b.package.version))
    }

    /// All names that are there.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.offers.keys().map(String::as_str)
    }
}

fn offer(name: &str, paragraph: &str, signed: bool, of: Arch) -> Option<Offer> {
    let arch = field(paragraph, "Architecture")?;
    [of.facts().debian, "all"].contains(&arch).then_some(())?;
    Some(Offer {
        package: Package {
            name: name.to_owned(),
            version: field(paragraph, "Version")?.to_owned(),
            arch: arch.to_owned(),
            bytes: field(paragraph, "Size")?.parse().ok()?,
            sha256: field(paragraph, "SHA256")?.to_owned(),
        },
        signed,
        relations: Relations::of(paragraph),
    })
}

/// A field of one line.
pub fn field<'a>(paragraph: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = paragraph.lines();
    lines.find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u01_the_current_version_is_the_newest_that_is_signed() {
        let paragraph = |version: &str| {
            format!(
                "Package: a\nVersion: {version}\nArchitecture: amd64\nSize: 3\nSHA256: {}\n",
                "0".repeat(64)
            )
        };
        let mut archive = Archive::default();
        let names = ["a".to_owned()];
        let text = [paragraph("1.9"), paragraph("1.10")].join("\n");
        archive.read(&text, true, &names);
        archive.read(&paragraph("9"), false, &names);
        let current = archive.current("a").unwrap();
        assert_eq!(current.package.version, "1.10");
        assert!(archive.current("b").is_none());
        let pinned = |version: &str| Package {
            version: version.into(),
            ..current.package.clone()
        };
        // A hash decides, so that it may come from anywhere.
        assert!(archive.of(&pinned("9")).is_some());
        assert!(archive.of(&pinned("8")).is_none());
    }
}
