//! Code lines by process (decision 19): each kind of process is declared in the workspace's metadata, with where it begins, its bound
//! and its rights. What it runs is found by following what is mentioned from there ([`super::graph`]); code that two share counts for both.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::graph::{Graph, Line, Start};
use super::over;

/// Code lines with full rights, all processes together: what a reviewer reads in an hour (T10).
pub const FULL: usize = 4000;
/// The same for all six crates.
pub const TOTAL: usize = 6000;

/// One kind of process, as declared.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Process {
    /// Items that it begins with.
    #[serde(default)]
    pub roots: Vec<String>,
    /// Functions that start it: it begins with the work that they hand over.
    #[serde(default)]
    pub started_by: Vec<String>,
    /// Roots of other processes that it mentions and never runs.
    #[serde(default)]
    pub without: Vec<String>,
    /// Whether it has the rights of PID 1.
    pub full_rights: bool,
    /// Most lines.
    pub bound: usize,
    /// What there is, until the bound is reached.
    pub ceiling: Option<usize>,
}

/// What there is of all processes together, until the bounds are reached.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Whole {
    /// Until [`FULL`] is.
    pub full_rights_ceiling: Option<usize>,
    /// Until [`TOTAL`] is.
    pub ceiling: Option<usize>,
    /// Files that import each other, until there is none.
    pub files_in_circles_ceiling: Option<usize>,
}

/// Everything that was declared.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// By name.
    pub processes: BTreeMap<String, Process>,
    /// All together.
    pub whole: Whole,
}

/// What was found.
#[derive(Default)]
pub struct Count {
    /// Lines by process.
    pub processes: BTreeMap<String, usize>,
    /// Distinct lines of all processes with full rights.
    pub full: usize,
    /// All lines.
    pub total: usize,
    /// Lines in no process, by item or file.
    pub nowhere: BTreeMap<String, usize>,
    /// What cannot be counted.
    pub findings: Vec<String>,
}

/// Counts.
pub fn count(graph: &Graph, declared: &Declared) -> Count {
    let mut count = Count {
        total: graph.all.len(),
        ..Count::default()
    };
    let (mut full, mut somewhere) = (BTreeSet::new(), BTreeSet::new());
    count.findings = undeclared(graph, declared);
    for (name, process) in &declared.processes {
        let mut missing = Vec::new();
        let start = start(graph, declared, name, process, &mut missing);
        let reached = graph.reach(&start);
        if missing.is_empty() && reached.lines.is_empty() {
            missing.push(format!(
                "{name}: begins nowhere; next: give it roots or started-by"
            ));
        }
        count.findings.extend(missing);
        count.processes.insert(name.clone(), reached.lines.len());
        if process.full_rights {
            full.extend(reached.lines.iter().copied());
        }
        somewhere.extend(reached.lines);
    }
    count.full = full.len();
    count.nowhere = nowhere(graph, &somewhere);
    count
}

/// What one process consists of, or without such a process what is in none; the largest first.
pub fn items(graph: &Graph, declared: &Declared, count: &Count, name: &str) -> String {
    let mut all: Vec<(usize, String)> = match declared.processes.get(name) {
        Some(process) => {
            let reached = graph.reach(&start(graph, declared, name, process, &mut Vec::new()));
            let line = |(at, from): (&usize, &usize)| {
                let (node, from) = (&graph.nodes[*at], &graph.nodes[*from]);
                (node.lines.len(), format!("{} < {}", node.name, from.name))
            };
            reached.items.iter().map(line).collect()
        }
        None => count
            .nowhere
            .iter()
            .map(|(name, lines)| (*lines, name.clone()))
            .collect(),
    };
    all.sort_unstable_by(|one, other| other.cmp(one));
    let line = |(lines, name)| format!("{lines:>6} {name}\n");
    all.into_iter().map(line).collect()
}

/// Reads `[workspace.metadata]`.
pub fn declared(metadata: &serde_json::Value) -> Result<Declared> {
    let all = metadata["processes"].clone();
    let whole: Whole = serde_json::from_value(metadata["budget"].clone())
        .context("[workspace.metadata.budget] in Cargo.toml")?;
    Ok(Declared {
        processes: serde_json::from_value(all)
            .context("[workspace.metadata.processes] in Cargo.toml")?,
        whole,
    })
}

fn start(
    graph: &Graph,
    declared: &Declared,
    name: &str,
    process: &Process,
    findings: &mut Vec<String>,
) -> Start {
    let mut found = Start::default();
    let mut find = |key: &str, item: &String| {
        let at = graph.find(item);
        if at.is_none() {
            findings.push(format!("{name}: {key} {item}: no such item; next: correct [workspace.metadata.processes.{name}]"));
        }
        at
    };
    found.roots = process
        .roots
        .iter()
        .filter_map(|it| find("roots", it))
        .collect();
    found.without = process
        .without
        .iter()
        .filter_map(|it| find("without", it))
        .collect();
    let starters: Vec<_> = process
        .started_by
        .iter()
        .filter_map(|it| find("started-by", it))
        .collect();
    for at in starters {
        let node = &graph.nodes[at];
        if node.sites.iter().all(|it| it.passes_on.is_some()) {
            findings.push(format!(
                "{name}: started-by {}: it starts no process; next: name the function that does",
                node.name
            ));
        }
        found.works.extend(
            node.sites
                .iter()
                .filter(|it| it.passes_on.is_none())
                .cloned(),
        );
    }
    for item in &process.without {
        let mut others = declared
            .processes
            .iter()
            .filter(|(other, _)| *other != name);
        if !others.any(|(_, it)| it.roots.contains(item)) {
            findings.push(format!("{name}: without {item}: no other process begins there, so nobody would count it; next: leave it in"));
        }
    }
    found
}

/// Places where a process is made and none is declared.
fn undeclared(graph: &Graph, declared: &Declared) -> Vec<String> {
    let known: BTreeSet<_> = declared
        .processes
        .values()
        .flat_map(|it| &it.started_by)
        .collect();
    let mut findings = Vec::new();
    for node in &graph.nodes {
        if node.sites.iter().any(|it| it.unclear) {
            findings.push(format!("{}: starts a process whose work is not said there; next: hand over a closure, a function or a parameter", node.name));
        }
        if node.sites.iter().any(|it| it.passes_on.is_none()) && !known.contains(&node.name) {
            findings.push(format!("{}: starts a process that is not declared; next: name it in started-by of one in [workspace.metadata.processes]", node.name));
        }
    }
    findings
}

/// Lines that no process has, by the item they stand in, or else the file.
fn nowhere(graph: &Graph, somewhere: &BTreeSet<Line>) -> BTreeMap<String, usize> {
    let mut left: BTreeSet<Line> = graph.all.difference(somewhere).copied().collect();
    let mut found = BTreeMap::new();
    for node in &graph.nodes {
        let own: Vec<Line> = node.lines.intersection(&left).copied().collect();
        if !own.is_empty() {
            *found.entry(node.name.clone()).or_default() += own.len();
            left.retain(|it| !own.contains(it));
        }
    }
    for (file, _) in left {
        *found.entry(graph.files[file].clone()).or_default() += 1;
    }
    found
}

/// Everything that is over what it may be.
pub fn check(count: &Count, declared: &Declared) -> Vec<String> {
    let mut findings = count.findings.clone();
    for (name, process) in &declared.processes {
        let lines = count.processes.get(name).copied().unwrap_or_default();
        findings.extend(over(name, lines, process.bound, process.ceiling));
    }
    findings.extend(over(
        "all with full rights",
        count.full,
        FULL,
        declared.whole.full_rights_ceiling,
    ));
    findings.extend(over(
        "all six crates",
        count.total,
        TOTAL,
        declared.whole.ceiling,
    ));
    findings
}

/// The table that a person reads.
pub fn table(count: &Count, declared: &Declared) -> String {
    let mut text = format!(
        "{:<22} {:>6} {:>6} {:>6}\n",
        "process", "rights", "lines", "bound"
    );
    for (name, process) in &declared.processes {
        let rights = if process.full_rights { "full" } else { "few" };
        let lines = count.processes.get(name).copied().unwrap_or_default();
        let _ = writeln!(
            text,
            "{name:<22} {rights:>6} {lines:>6} {:>6}",
            process.bound
        );
    }
    let nowhere: usize = count.nowhere.values().sum();
    let _ = writeln!(
        text,
        "{:<22} {:>6} {:>6} {FULL:>6}",
        "distinct, full rights", "full", count.full
    );
    let _ = writeln!(
        text,
        "{:<22} {:>6} {:>6} {TOTAL:>6}",
        "all six crates", "", count.total
    );
    let _ = writeln!(text, "{:<22} {:>6} {nowhere:>6}", "in no process", "");
    text
}

#[cfg(test)]
mod tests;
