//! Tidy as a test: what the documents say is true of the code, and nothing is in the tree that should not be.
//!
//! | check | rule |
//! | --- | --- |
//! | messages | every sentence in a string of the runtime crates stands in one line of `docs/FAILURE-MODES.md`; with a next action, above "Ordinary lines" |
//! | stale | what stands there as a failure is still in the code: some sentence of it, and its next action |
//! | numbers | `` `20` s (`bay0::watchdog::TIMEOUT_S`) `` in a document is the constant's value |
//! | links | relative links lead to a file, anchors to a heading |
//! | module docs | every file of the runtime crates begins with `//!` and a text |
//! | words | no path of a developer's machine, no host a registry is fetched from |
//! | ids | every requirement of this step has a test (`#[test]`) or a row in the table of scenarios whose name begins with it; tests named in documents exist |
//! | sizes | the README's lines per crate are within 5 % of what the budget counts |
//! | lints | what would panic, print or start a thread is denied (A10, A11), and no runtime crate steps out of it outside tests |
//! | absences | what only one file may do is done in no other (`tidy.toml`) |
//!
//! All checks are functions of a [`Tree`] in memory: neither git nor a commit is asked, and each check is tested on a tree that
//! breaks its rule.

mod calls;
mod code;
mod shown;
mod text;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use anyhow::{Context, Result};
use regex::Regex;
use serde::Deserialize;

use crate::budget::sources;
use crate::layout::Layout;
use code::Crate;

/// What ships: the crates whose code is read.
const RUNTIME: [&str; 6] = [
    "bay0",
    "bay0-persona",
    "bay0-state",
    "bay0-umbilical",
    "bay0-reconcile",
    "bay0-validate",
];
/// The folders of the host's side. Nothing of it ships; documents may name its constants.
pub(crate) const HOST_SIDE: [&str; 6] = [
    "xtask",
    "xtask/bench",
    "xtask/factory",
    "xtask/house",
    "xtask/machines",
    "xtask/scenarios",
];
const FAILURES: &str = "docs/FAILURE-MODES.md";
/// Fixed characters that make a string worth recognising.
const SENTENCE: usize = 12;
/// Ends the part of [`FAILURES`] in which messages with a next action must stand.
const ORDINARY: &str = "\n## Ordinary lines";
/// Made here and never committed.
const MADE: [&str; 4] = [".git", "target", "build", "vmlinuz"];
/// The rules that are lists.
static RULES: LazyLock<Rules> = LazyLock::new(|| {
    toml::from_str(include_str!("tidy.toml")).unwrap_or_else(|e| unreachable!("tidy.toml: {e}"))
});

/// What stands in `tidy.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    lints: Vec<String>,
    absences: BTreeMap<String, Vec<String>>,
    configured: BTreeMap<String, Vec<String>>,
}

/// Every text file of the repository, by its path from the root.
#[derive(Default)]
pub struct Tree(BTreeMap<String, String>);

impl Tree {
    /// Reads all that is not made here. What is not UTF-8 is not text.
    pub fn read(root: &Path) -> Result<Tree> {
        let mut tree = Tree::default();
        tree.read_folder(root, "")?;
        Ok(tree)
    }

    fn read_folder(&mut self, dir: &Path, prefix: &str) -> Result<()> {
        for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
            let entry = entry?;
            let (name, path) = (entry.file_name(), entry.path());
            let name = name.to_string_lossy().into_owned();
            let made = prefix.is_empty() && MADE.contains(&name.as_str()) || name == "target";
            if made || name.ends_with(".img") || path.is_symlink() {
                continue;
            }
            let relative = format!("{prefix}{name}");
            if path.is_dir() {
                self.read_folder(&path, &format!("{relative}/"))?;
            } else {
                // A picture is there, and says nothing.
                let text = String::from_utf8(fs::read(&path)?);
                self.0.insert(relative, text.unwrap_or_default());
            }
        }
        Ok(())
    }

    fn ending(&self, ext: &str) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .filter(move |(path, _)| path.ends_with(ext))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }
}

/// Says what is not in order; 0 if nothing is, else 1.
pub fn command(layout: &Layout) -> Result<u8> {
    let found = problems(&Tree::read(&layout.root)?)?;
    for problem in &found {
        eprintln!("tidy: {problem}");
    }
    println!("tidy: {} to mend", found.len());
    Ok(u8::from(!found.is_empty()))
}

/// Everything that is not in order, as `path: what; next: action`.
pub fn problems(tree: &Tree) -> Result<Vec<String>> {
    let crates = RUNTIME
        .iter()
        .chain(&HOST_SIDE)
        .map(|folder| code::read(tree, folder))
        .collect::<Result<Vec<_>>>()?;
    let runtime: Vec<&Crate> = crates
        .iter()
        .filter(|c| RUNTIME.contains(&c.name.as_str()))
        .collect();
    Ok([
        messages(tree, &runtime),
        stale(tree, &runtime),
        numbers(tree, &crates)?,
        text::links(tree),
        module_docs(&runtime),
        text::words(tree),
        text::ids(tree),
        text::sizes(tree)?,
        lints(tree),
        absences(&runtime),
        calls::configured(tree),
    ]
    .concat())
}

fn messages(tree: &Tree, runtime: &[&Crate]) -> Vec<String> {
    let text = tree
        .0
        .get(FAILURES)
        .map_or("", String::as_str)
        .replace("\\|", "|");
    let failures = text.split(ORDINARY).next().unwrap_or_default();
    let mut found = Vec::new();
    let files = runtime
        .iter()
        .flat_map(|package| package.modules.iter().map(move |module| (package, module)));
    for (package, module) in files {
        for literal in code::sentences(&module.file) {
            let literal = code::filled(package, &module.file, &literal);
            let fails = literal.contains("next: ");
            let lines = if fails { failures } else { &text };
            let fragments = code::fixed_parts(&literal);
            if !lines.lines().any(|line| in_order(line, &fragments)) {
                let what = if fails { "no row with" } else { "no line with" };
                found.push(format!(
                    "{}: {FAILURES} has {what} {literal:?}; next: say there what it means",
                    module.path
                ));
            }
        }
    }
    found
}

fn stale(tree: &Tree, runtime: &[&Crate]) -> Vec<String> {
    let files = runtime.iter().flat_map(|c| &c.modules);
    let strings = files.flat_map(|module| code::strings(&module.file));
    let parts: Vec<_> = strings.map(|text| code::fixed_parts(&text)).collect();
    let telling = |parts: &&Vec<String>| {
        parts.concat().len() >= SENTENCE && !parts.concat().ends_with("FAIL:")
    };
    let text = tree.0.get(FAILURES).map_or("", String::as_str);
    let failures = text.split(ORDINARY).next().unwrap_or_default();
    let cells = failures
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let mut found = Vec::new();
    // Every second piece between backticks is code.
    for said in cells.flat_map(|cell| cell.split('`').step_by(2)) {
        let Some((head, next)) = said.split_once("; next: ") else {
            continue;
        };
        let varies = |text: &str| text.chars().all(|c| c.is_ascii_uppercase());
        // What a text ends with may vary: `--rooms IMAGE`.
        let fixed = |text: &str| {
            text.trim_end_matches(|c: char| c.is_ascii_uppercase())
                .trim_end()
                .to_owned()
        };
        let has = |text: &str| {
            varies(text)
                || parts
                    .iter()
                    .flatten()
                    .any(|part| part.contains(&fixed(text)))
        };
        let whole = || parts.iter().filter(telling);
        // The clause before the action says what follows from the failure, and may be a string of its own.
        let clause = head.rsplit("; ").next().unwrap_or(head);
        let ends = |parts: &&Vec<String>| {
            parts.iter().any(|part| part.contains("; next:")) && in_order(said, parts)
        };
        let known = varies(head) || whole().any(|parts| in_order(said, parts));
        if !known
            || !has(next)
            || !(has(clause) || whole().any(|p| in_order(clause, p) || ends(&p)))
        {
            found.push(format!(
                "{FAILURES}: nothing in the code says {said:?} any more; next: correct or remove it"
            ));
        }
    }
    found
}

fn in_order(line: &str, fragments: &[String]) -> bool {
    let rest = fragments.iter().try_fold(line, |rest, part| {
        rest.split_once(part.as_str()).map(|(_, after)| after)
    });
    rest.is_some()
}

fn numbers(tree: &Tree, crates: &[Crate]) -> Result<Vec<String>> {
    let host_side = HOST_SIDE.map(sources::name).join("|");
    let cited = Regex::new(&format!(
        r"\(`((?:bay0\w*|{host_side})(?:::\w+)*::[A-Z][A-Z0-9_]*)`\)"
    ))?;
    let stated = Regex::new(r"`([^`]+)`(?: (\w+)[^`|]{0,40})? $")?;
    let mut found = Vec::new();
    for (path, text) in tree.ending(".md") {
        for hit in cited.captures_iter(text) {
            let (all, name) = (hit.get_match(), &hit[1]);
            let Some(said) = stated.captures(&text[..all.start()]) else {
                found.push(format!(
                    "{path}: no value before ({name}); next: write `VALUE` UNIT (`{name}`)"
                ));
                continue;
            };
            let unit = said.get(2).map_or("", |unit| unit.as_str());
            match code::constant(crates, name) {
                None => found.push(format!(
                    "{path}: {name} is no constant that can be read; next: name the one that holds"
                )),
                Some(value) if value.is(&said[1], unit) => {}
                Some(value) => found.push(format!(
                    "{path}: `{}` {unit} is not {name}, {value:?}; next: correct it",
                    &said[1]
                )),
            }
        }
    }
    Ok(found)
}

fn module_docs(runtime: &[&Crate]) -> Vec<String> {
    let bare = runtime
        .iter()
        .flat_map(|c| &c.modules)
        .filter(|module| !code::has_doc(&module.file));
    bare.map(|module| {
        format!(
            "{}: no //! at the top; next: say what it is for",
            module.path
        )
    })
    .collect()
}

fn lints(tree: &Tree) -> Vec<String> {
    let text = |path: &str| tree.0.get(path).map_or("", String::as_str);
    let denied = |lint: &&String| text("Cargo.toml").contains(&format!("\n{lint} = \"deny\""));
    let lax = RULES
        .lints
        .iter()
        .filter(|lint| !denied(lint))
        .map(|lint| format!("Cargo.toml: {lint} is not denied; next: deny it"));
    let free = RUNTIME
        .iter()
        .filter(|name| !text(&format!("{name}/Cargo.toml")).contains("[lints]\nworkspace = true"));
    let free = free.map(|name| {
        format!("{name}/Cargo.toml: does not take the workspace's lints; next: take them")
    });
    let runtime = tree.ending(".rs").filter(|(path, _)| {
        RUNTIME
            .iter()
            .any(|name| path.starts_with(&format!("{name}/src/")))
    });
    // What stands before the tests and is compiled into a release.
    let shipped =
        runtime.filter(|(path, _)| !path.ends_with("tests.rs") && !path.ends_with("/fault.rs"));
    let allowing = shipped.filter(|(_, text)| {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        RULES.lints.iter().any(|lint| {
            code.contains(&format!("(clippy::{lint}")) || code.contains(&format!(" clippy::{lint}"))
        })
    });
    let allowing =
        allowing.map(|(path, _)| format!("{path}: allows what is denied; next: write it without"));
    lax.chain(free).chain(allowing).collect()
}

fn absences(runtime: &[&Crate]) -> Vec<String> {
    let mut found = Vec::new();
    for module in runtime.iter().flat_map(|c| &c.modules) {
        let used = code::identifiers(&module.file);
        let absences = RULES.absences.iter();
        let wrong =
            absences.filter(|(name, files)| used.contains(*name) && !files.contains(&module.path));
        found.extend(wrong.map(|(name, _)| {
            format!(
                "{}: uses {name}; next: leave that to its own file",
                module.path
            )
        }));
    }
    found
}

#[cfg(test)]
mod tests;
