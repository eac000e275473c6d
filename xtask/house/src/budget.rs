//! `cargo xtask budget`: the sizes and the dependencies the design allows, against what is there (K01, K02, K04, A09, decision 2).
//!
//! What is bounded is each kind of process (decision 19, [`processes`]). One that has not reached its bound yet declares a `ceiling`
//! beside it: what it has now, so that it can only fall; a ceiling that could be lower fails.
//!
//! The checks are pure over [`Facts`] and over sources; tests feed them made ones, so each is known to be able to fail.

mod figures;
mod graph;
mod processes;
pub mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

use self::graph::Graph;
use self::sources::Source;
use crate::layout::Layout;

/// Crates of others in what ships, everything they pull in included (decision 2).
const TREE_CRATES: usize = 39;
/// The only crates of others that what ships may name (K02).
const ALLOWED: [&str; 6] = [
    "anyhow",
    "caps",
    "cgroups-rs",
    "nix",
    "rusqlite",
    "seccompiler",
];
/// The runtime crates with their floor: a crate may depend only on lower floors (K03).
const FLOORS: [(&str, u8); 6] = [
    ("bay0-persona", 0),
    ("bay0-state", 1),
    ("bay0-reconcile", 2),
    ("bay0-umbilical", 2),
    ("bay0-validate", 3),
    ("bay0", 4),
];
/// Crates with exactly one owner: nothing else may name them.
const OWNED: [(&str, &str); 3] = [
    ("rusqlite", "bay0-state"),
    ("cgroups-rs", "bay0-persona"),
    ("seccompiler", "bay0-persona"),
];
/// Dependencies are counted as they are for what ships.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";
/// The top level of the repository, besides dot-files (K01).
const TOP_LEVEL: [&str; 13] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "bay0",
    "bay0-persona",
    "bay0-reconcile",
    "bay0-state",
    "bay0-umbilical",
    "bay0-validate",
    "docs",
    "scripts",
    "xtask",
];
/// What may stand there and ships nothing: scripts about tools of others. Neither built nor run by anything.
const OPTIONAL: &str = "findings";

/// One runtime crate as declared and as found.
#[derive(Clone, Debug, Default)]
pub struct Crate {
    /// Code lines found.
    pub lines: usize,
    /// `package.metadata.budget.lines`; none when the crate declares no budget.
    pub budget: Option<usize>,
    /// `package.metadata.budget.dependencies`.
    pub declared: BTreeSet<String>,
}

/// What the checks look at.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The runtime crates by name.
    pub crates: BTreeMap<String, Crate>,
    /// What each package names (normal and build dependencies), for every package of the graph.
    pub edges: BTreeMap<String, BTreeSet<String>>,
    /// Names at the top of the repository that are not ignored by git.
    pub top_level: BTreeSet<String>,
}

/// Prints the tables and the findings; 0 when there are none. With `items`, what there is of one process, or in none.
pub fn command(layout: &Layout, items: Option<&str>) -> Result<u8> {
    let metadata = metadata(layout)?;
    let text = |path: &str| std::fs::read_to_string(layout.root.join(path)).ok();
    let sources = FLOORS
        .iter()
        .map(|(name, _)| sources::read(&text, name, &sources::HOST_ONLY))
        .collect::<Result<Vec<_>>>()?
        .concat();
    let facts = gather(layout, &metadata, &sources)?;
    let graph = Graph::new(&sources);
    let declared = processes::declared(&metadata.workspace_metadata)?;
    let count = processes::count(&graph, &declared);
    if let Some(name) = items {
        print!("{}", processes::items(&graph, &declared, &count, name));
        return Ok(0);
    }
    let figures = figures::figures(&sources, &graph);
    print!("{}", table(&facts));
    print!("\n{}", processes::table(&count, &declared));
    print!("\n{}", figures::text(&figures));
    let circles = figures::check(&figures, declared.whole.files_in_circles_ceiling);
    let findings = [
        check(&facts),
        processes::check(&count, &declared),
        circles.into_iter().collect(),
    ]
    .concat();
    for finding in &findings {
        println!("budget: FAIL: {finding}");
    }
    Ok(u8::from(!findings.is_empty()))
}

/// Everything that is not as it must be, one sentence each.
pub fn check(facts: &Facts) -> Vec<String> {
    [
        lines(facts),
        dependencies(facts),
        floors(facts),
        owners(facts),
        tree(facts),
        top_level(facts),
    ]
    .concat()
}

fn lines(facts: &Facts) -> Vec<String> {
    let wrong = |(name, krate): (&String, &Crate)| match krate.budget {
        Some(budget) => over(name, krate.lines, budget, None),
        None => Some(format!(
            "{name}: no package.metadata.budget in its Cargo.toml"
        )),
    };
    facts.crates.iter().filter_map(wrong).collect()
}

/// What is wrong with a size: over its budget, or over the ceiling that holds until the budget is reached, or under a
/// ceiling that nobody has lowered.
fn over(name: &str, lines: usize, budget: usize, ceiling: Option<usize>) -> Option<String> {
    match ceiling {
        None if lines > budget => Some(format!("{name}: {lines} code lines, budget {budget}")),
        Some(ceiling) if lines > ceiling => Some(format!(
            "{name}: {lines} code lines, ceiling {ceiling} on the way to {budget}"
        )),
        Some(ceiling) if ceiling > lines.max(budget) => Some(format!(
            "{name}: {lines} code lines under a ceiling of {ceiling}; lower the ceiling"
        )),
        Some(_) if lines <= budget => Some(format!(
            "{name}: {lines} code lines are within the budget {budget}; remove the ceiling"
        )),
        _ => None,
    }
}

fn total(facts: &Facts) -> usize {
    facts.crates.values().map(|c| c.lines).sum()
}

fn dependencies(facts: &Facts) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, krate) in &facts.crates {
        for dependency in facts.edges.get(name).into_iter().flatten() {
            if !krate.declared.contains(dependency) {
                findings.push(format!("{name}: depends on {dependency}, which its package.metadata.budget does not list"));
            }
            if floor(dependency).is_none() && !ALLOWED.contains(&dependency.as_str()) {
                findings.push(format!(
                    "{name}: depends on {dependency}, which is none of {}",
                    ALLOWED.join(" ")
                ));
            }
        }
    }
    findings
}

fn floors(facts: &Facts) -> Vec<String> {
    let mut findings = Vec::new();
    for name in facts.crates.keys() {
        let Some(own) = floor(name) else {
            findings.push(format!(
                "{name}: a runtime crate that the design does not know"
            ));
            continue;
        };
        for dependency in facts.edges.get(name).into_iter().flatten() {
            if floor(dependency).is_some_and(|other| other >= own) {
                findings.push(format!(
                    "{name}: depends on {dependency}, against the direction of the design"
                ));
            }
        }
    }
    let missing = FLOORS
        .iter()
        .filter(|(name, _)| !facts.crates.contains_key(*name));
    findings.extend(missing.map(|(name, _)| format!("{name}: not in the workspace")));
    findings
}

fn owners(facts: &Facts) -> Vec<String> {
    let shipped = reach(facts, "bay0");
    let mut findings = Vec::new();
    for (owned, owner) in OWNED {
        for (name, _) in facts
            .edges
            .iter()
            .filter(|(n, edges)| edges.contains(owned) && n.as_str() != owner)
        {
            if shipped.contains(name) || facts.crates.contains_key(name) {
                findings.push(format!(
                    "{name}: reaches {owned}, which belongs to {owner} alone"
                ));
            }
        }
    }
    findings
}

fn tree(facts: &Facts) -> Vec<String> {
    let count = others(facts, "bay0");
    if count > TREE_CRATES {
        vec![format!(
            "whole tree: {count} crates of others, cap {TREE_CRATES}"
        )]
    } else {
        Vec::new()
    }
}

fn top_level(facts: &Facts) -> Vec<String> {
    let allowed = |n: &str| n.starts_with('.') || n == OPTIONAL || TOP_LEVEL.contains(&n);
    let there = facts.top_level.iter().filter(|n| !allowed(n));
    let mut findings: Vec<String> = there
        .map(|n| format!("top level: {n} is not part of the design (K01)"))
        .collect();
    let missing = TOP_LEVEL.iter().filter(|n| !facts.top_level.contains(**n));
    findings.extend(missing.map(|n| format!("top level: {n} is missing (K01)")));
    findings
}

fn floor(name: &str) -> Option<u8> {
    FLOORS
        .iter()
        .find(|(n, _)| *n == name)
        .map(|(_, floor)| *floor)
}

/// Every package that `from` pulls in, itself included.
fn reach(facts: &Facts, from: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(name) = open.pop() {
        if seen.insert(name.clone()) {
            open.extend(facts.edges.get(&name).into_iter().flatten().cloned());
        }
    }
    seen
}

fn others(facts: &Facts, from: &str) -> usize {
    reach(facts, from)
        .iter()
        .filter(|n| floor(n).is_none())
        .count()
}

fn table(facts: &Facts) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:<16} {:>6} {:>7} {:>7} {:>6}  direct dependencies of others",
        "crate", "lines", "budget", "direct", "tree"
    );
    for (name, krate) in &facts.crates {
        let direct: Vec<&str> = facts
            .edges
            .get(name)
            .into_iter()
            .flatten()
            .map(String::as_str)
            .filter(|d| floor(d).is_none())
            .collect();
        let budget = krate.budget.map_or("none".into(), |b| b.to_string());
        let _ = writeln!(
            text,
            "{name:<16} {:>6} {budget:>7} {:>7} {:>6}  {}",
            krate.lines,
            direct.len(),
            others(facts, name),
            direct.join(" ")
        );
    }
    let (total, shipped) = (total(facts), others(facts, "bay0"));
    let _ = writeln!(
        text,
        "{:<16} {total:>6} {:>7} {:>7} {shipped:>6}  tree cap {TREE_CRATES}",
        "together", "", ""
    );
    text
}

/// Asks cargo, git and the sources.
fn gather(layout: &Layout, metadata: &Metadata, sources: &[Source]) -> Result<Facts> {
    let mut facts = Facts {
        edges: edges(metadata),
        top_level: tracked(layout)?,
        ..Facts::default()
    };
    for package in metadata.workspace_packages() {
        let name = package.name.to_string();
        // The host's side lives in one folder; everything else is taken for a runtime crate.
        if package.manifest_path.starts_with(layout.root.join("xtask")) {
            continue;
        }
        let budget = &package.metadata["budget"];
        let declared = budget["dependencies"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|d| d.as_str());
        let own = sources
            .iter()
            .filter(|it| it.path.starts_with(&format!("{name}/")));
        let krate = Crate {
            lines: own.map(|it| sources::lines(&it.file).len()).sum(),
            budget: number(&budget["lines"]),
            declared: declared.map(str::to_owned).collect(),
        };
        facts.crates.insert(name, krate);
    }
    Ok(facts)
}

fn number(value: &serde_json::Value) -> Option<usize> {
    value.as_u64().and_then(|n| usize::try_from(n).ok())
}

fn edges(metadata: &Metadata) -> BTreeMap<String, BTreeSet<String>> {
    let names: BTreeMap<_, String> = metadata
        .packages
        .iter()
        .map(|p| (&p.id, p.name.to_string()))
        .collect();
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in metadata.resolve.iter().flat_map(|r| &r.nodes) {
        let Some(name) = names.get(&node.id) else {
            continue;
        };
        // Two versions of one crate fall together here; each still counts what it names.
        let named = edges.entry(name.clone()).or_default();
        for dependency in &node.deps {
            // What other platforms need is already left out, see `metadata`.
            let mut kinds = dependency.dep_kinds.iter();
            let ships = kinds.any(|k| k.kind != DependencyKind::Development);
            if ships {
                named.extend(names.get(&dependency.pkg).cloned());
            }
        }
    }
    edges
}

fn metadata(layout: &Layout) -> Result<Metadata> {
    MetadataCommand::new()
        .manifest_path(layout.root.join("Cargo.toml"))
        .other_options(["--filter-platform".to_owned(), PLATFORM.to_owned()])
        .exec()
        .context("run cargo metadata")
}

fn tracked(layout: &Layout) -> Result<BTreeSet<String>> {
    let git = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(&layout.root)
        .output();
    let listed = match git {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
        // A tarball of the tree: everything cargo and xtask make stands in .gitignore by these names.
        _ => std::fs::read_dir(&layout.root)?
            .flatten()
            .map(|e| format!("{}\n", e.file_name().display()))
            .collect(),
    };
    let made = ["target", "build", "vmlinuz"];
    let names = listed
        .lines()
        .filter_map(|l| l.split('/').next())
        .filter(|n| !made.contains(n));
    Ok(names.map(str::to_owned).collect())
}

#[cfg(test)]
#[path = "budget/tests.rs"]
mod tests;
