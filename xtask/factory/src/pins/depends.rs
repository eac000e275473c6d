//! Whether a set of packages has all that its members need (deb-control(5)). A set of pinned versions had; one in which some were replaced
//! may not.

use super::archive::field;
use super::version;
use crate::room::Package;

/// What a package needs, and the names that it stands in for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relations {
    /// One of each row.
    needs: Vec<Vec<Relation>>,
    provides: Vec<Relation>,
}

/// A name, and what its version must be, if anything.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Relation {
    name: String,
    version: Option<(String, String)>,
}

impl Relations {
    /// Of a paragraph, as a list or a package has it.
    pub fn of(paragraph: &str) -> Relations {
        let rows = |name: &str| -> Vec<Vec<Relation>> {
            let text = field(paragraph, name).unwrap_or_default();
            let rows = text.split(',').map(str::trim).filter(|row| !row.is_empty());
            rows.map(|row| row.split('|').filter_map(Relation::parse).collect())
                .collect()
        };
        Relations {
            needs: [rows("Pre-Depends"), rows("Depends")].concat(),
            provides: rows("Provides").concat(),
        }
    }
}

impl Relation {
    /// `libc6 (>= 2.36)`, `python3:any`.
    fn parse(text: &str) -> Option<Relation> {
        let (name, rest) = text.trim().split_once('(').unwrap_or((text.trim(), ""));
        let name = name.trim().split(':').next()?.to_owned();
        let version = rest.trim_end_matches(')').split_once(' ');
        Some(Relation {
            name,
            version: version
                .map(|(relation, version)| (relation.trim().to_owned(), version.trim().to_owned())),
        })
    }

    /// True for this version; `None` is a name that is stood in for without one, which no relation with a version takes.
    fn takes(&self, version: Option<&str>) -> bool {
        let Some((relation, wanted)) = &self.version else {
            return true;
        };
        let Some(version) = version else {
            return false;
        };
        version::holds(version, relation, wanted)
    }
}

/// The first need that no member meets, as `NAME needs NAME`; none when the set is whole.
pub fn lacks(set: &[(&Package, Relations)]) -> Option<String> {
    let met = |need: &Relation| {
        set.iter().any(|(package, relations)| {
            let own = package.name == need.name && need.takes(Some(&package.version));
            let stood_in = relations.provides.iter().any(|it| {
                let version = it.version.as_ref().map(|(_, version)| version.as_str());
                it.name == need.name && need.takes(version)
            });
            own || stood_in
        })
    };
    set.iter().find_map(|(package, relations)| {
        let row = relations.needs.iter().find(|row| !row.iter().any(met))?;
        let name = row.first().map_or("?", |need| need.name.as_str());
        Some(format!("{} needs {name}", package.name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> Package {
        Package {
            name: name.into(),
            version: version.into(),
            arch: "amd64".into(),
            bytes: 1,
            sha256: String::new(),
        }
    }

    fn lack(members: &[(&str, &str, &str)]) -> Option<String> {
        let packages: Vec<Package> = members.iter().map(|m| package(m.0, m.1)).collect();
        let set: Vec<_> = packages
            .iter()
            .zip(members.iter().map(|m| Relations::of(m.2)))
            .collect();
        lacks(&set)
    }

    #[test]
    fn u01_a_set_that_lacks_a_name_or_a_version_is_found() {
        let a = "Depends: b (>= 2), c | d (= 1-1), e:any\nProvides: f (= 3)";
        let good = [
            ("a", "1", a),
            ("b", "2.1", ""),
            ("d", "1-1", ""),
            ("e", "1", ""),
        ];
        assert_eq!(lack(&good), None);
        let mut older = good;
        older[1].1 = "1.9";
        assert_eq!(lack(&older).as_deref(), Some("a needs b"));
        assert_eq!(lack(&good[..3]).as_deref(), Some("a needs e"));
        let needs = |text| [("g", "1", text), ("a", "1", "Provides: f (= 3), h")];
        assert_eq!(lack(&needs("Pre-Depends: f (>= 3), h")), None);
        let text = "Pre-Depends: h (>= 1)";
        assert_eq!(lack(&needs(text)).as_deref(), Some("g needs h"));
    }
}
