//! What tidy reads out of texts: links, words that must not be there, requirements and the tests that show them, sizes.

use std::collections::BTreeSet;

use anyhow::Result;
use regex::Regex;

use super::{RUNTIME, Tree, shown};
use crate::budget::sources::{self, HOST_ONLY, beside};

/// Requirements that must have a test by now: letter, first and last number.
const STEP: [(char, u32, u32); 6] = [
    ('k', 1, 7),
    ('h', 1, 20),
    ('t', 7, 7),
    ('a', 9, 12),
    ('c', 2, 3),
    ('s', 4, 4),
];
/// The document with the table of sizes, and by how many percent a size may have moved since.
const SIZES: (&str, usize) = ("README.md", 5);

/// Relative links that lead to no file, and anchors that are no heading.
pub fn links(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in tree.ending(".md") {
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() {
                path.to_owned()
            } else {
                beside(path, file)
            };
            let folder = format!("{}/", file.trim_end_matches('/'));
            match tree.0.get(&file) {
                Some(text)
                    if anchor.is_empty() || text.lines().any(|line| slug(line) == anchor) => {}
                None if anchor.is_empty()
                    && tree.0.keys().any(|known| known.starts_with(&folder)) => {}
                _ => found.push(format!(
                    "{path}: link to {target} leads nowhere; next: correct or remove it"
                )),
            }
        }
    }
    found
}

/// The anchor a heading gets on the usual forges; of another line, something no link asks for.
fn slug(line: &str) -> String {
    let Some((marks, title)) = line
        .split_once(' ')
        .filter(|(marks, _)| !marks.is_empty() && marks.chars().all(|c| c == '#'))
    else {
        return " ".to_owned();
    };
    let _ = marks;
    let kept = title
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .collect::<String>();
    kept.replace(' ', "-")
}

/// Where the user of a room with a screen is at home: no path of the machine that builds.
const USERS: &str = concat!("/ho", "me/user");

/// What would name one machine, or a host that a client and not a person fetches from.
pub fn words(tree: &Tree) -> Vec<String> {
    // In pieces, or this file would be the first one found.
    let patterns = [
        concat!(r"(^|[^\w/.:$}-])/ro", "ot/"),
        concat!(r"(^|[^\w/.:$}-])/wo", "rk/"),
        concat!(r"(^|[^\w/.:$}-])/ho", r"me/\w"),
        concat!("deb.deb", r"ian\.org"),
        concat!("(static|index)", r"\.crates", r"\.io"),
        concat!("proxy", r"\.golang", r"\.org"),
    ];
    let mut found = Vec::new();
    for pattern in patterns.map(constant) {
        for (path, text) in &tree.0 {
            let mut lines = text.lines().map(|line| line.replace(USERS, ""));
            if let Some(line) = lines.position(|line| pattern.is_match(&line)) {
                found.push(format!(
                    "{path}:{}: has {pattern}; next: say it without this machine",
                    line + 1
                ));
            }
        }
    }
    found
}

/// Requirements that no test's name begins with, and tests that a document names and nobody wrote.
pub fn ids(tree: &Tree) -> Vec<String> {
    let (names, unread) = shown::names(tree);
    let begins = constant(r"^((?:[khtcas]\d\d_)+)");
    let ids = names
        .iter()
        .filter_map(|name| begins.captures(name)?.get(1))
        .flat_map(|ids| ids.as_str().split('_'))
        .collect();
    [unread, untested(&ids), unwritten(tree, &names)].concat()
}

fn untested(shown: &BTreeSet<&str>) -> Vec<String> {
    let range = |(letter, first, last): &(char, u32, u32)| {
        let letter = *letter;
        (*first..=*last).map(move |number| format!("{letter}{number:02}"))
    };
    let missing = STEP
        .iter()
        .flat_map(range)
        .filter(|id| !shown.contains(id.as_str()));
    missing
        .map(|id| {
            format!(
                "{}: no test's name begins with {id}_; next: write one",
                id.to_uppercase()
            )
        })
        .collect()
}

fn unwritten(tree: &Tree, tests: &BTreeSet<String>) -> Vec<String> {
    let cited = constant(r"`([khtcas]\d\d_\w+)`");
    let mut found = Vec::new();
    for (path, text) in tree.ending(".md") {
        let names = cited
            .captures_iter(text)
            .filter_map(|hit| hit.get(1))
            .map(|name| name.as_str());
        let unknown = names.filter(|name| !tests.contains(*name));
        found.extend(
            unknown.map(|name| {
                format!("{path}: there is no test {name}; next: name the one there is")
            }),
        );
    }
    found
}

fn constant(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap_or_else(|e| unreachable!("a constant pattern: {e}"))
}

/// The rows `| `crate` | … | LINES |` and `| together | … | LINES |` against the lines there are, counted as the budget counts.
pub fn sizes(tree: &Tree) -> Result<Vec<String>> {
    let mut rows = Vec::new();
    for name in RUNTIME {
        let sources = sources::read(&|path| tree.0.get(path).cloned(), name, &HOST_ONLY)?;
        let lines = sources.iter().map(|it| sources::lines(&it.file).len());
        rows.push((format!("`{name}`"), lines.sum()));
    }
    rows.push((
        "together".to_owned(),
        rows.iter().map(|(_, lines)| lines).sum(),
    ));
    let (path, percent) = SIZES;
    let table = tree.0.get(path).map_or("", String::as_str);
    let mut found = Vec::new();
    for (name, lines) in rows {
        let row = table
            .lines()
            .find(|line| line.starts_with(&format!("| {name} |")));
        let said = row.and_then(|row| {
            row.trim_end_matches(" |")
                .rsplit("| ")
                .next()?
                .parse::<usize>()
                .ok()
        });
        if said.is_none_or(|said| said.abs_diff(lines) * 100 > lines * percent) {
            let said = said.map_or("nothing".to_owned(), |said| said.to_string());
            found.push(format!(
                "{path}: says {said} of the size of {name}, {lines} code lines; next: correct it"
            ));
        }
    }
    Ok(found)
}
