//! `docs/POLICIES.md` says what the code does.

use std::fs;

use bay0_persona::Kind;

use super::{findings, folder, said};
use crate::layout::Layout;
use crate::policy::{TERMS, checked, name, set, words};

fn document() -> String {
    fs::read_to_string(Layout::find().root.join("docs/POLICIES.md")).unwrap()
}

/// The cells of the table below a heading, without its head.
fn table(text: &str, heading: &str) -> Vec<String> {
    let after = text.split(&format!("\n## {heading}\n")).nth(1).unwrap();
    let section = after.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| "));
    rows.skip(2).map(str::to_owned).collect()
}

/// Each field of the document's table, and its row.
pub fn fields() -> Vec<(String, String)> {
    let field = |row: String| (row.split('`').nth(1).unwrap().to_owned(), row);
    table(&document(), "Fields")
        .into_iter()
        .map(field)
        .collect()
}

#[test]
fn a06_the_documents_table_of_fields_is_the_codes() {
    for (heading, terms) in [
        ("Capabilities", &TERMS.capabilities),
        ("Types of files", &TERMS.types),
    ] {
        let rows = terms
            .iter()
            .map(|it| format!("| `{}` | {} |", it.word, it.means));
        assert_eq!(table(&document(), heading), rows.collect::<Vec<_>>());
    }
    // What is read, as the reader itself lists it.
    let mut read = Vec::new();
    for (prefix, text) in [
        ("", "x=1"),
        ("cpu.", "cpu.x=1"),
        ("memory.", "memory.x=1"),
        ("restart.", "restart.x=1"),
        ("persist.", "persist.x=1"),
        ("traffic.", "traffic.x=1"),
        ("disk.", "disk.x=1"),
        ("courier.", "courier.x=1"),
        ("ai.", "ai.x=1"),
    ] {
        let refused = findings(text)
            .into_iter()
            .find(|line| line.contains("unknown field"))
            .unwrap();
        let list = refused
            .split("expected ")
            .nth(1)
            .unwrap()
            .split(';')
            .next()
            .unwrap()
            .to_owned();
        read.extend(
            list.split('`')
                .skip(1)
                .step_by(2)
                .map(|field| format!("{prefix}{field}")),
        );
    }
    read.retain(|field| {
        ![
            "cpu", "memory", "restart", "persist", "traffic", "disk", "courier", "ai",
        ]
        .contains(&field.as_str())
    });
    read.sort();
    let mut rows: Vec<_> = fields().into_iter().map(|row| row.0).collect();
    rows.sort();
    assert_eq!(read, rows);
}

#[test]
fn a06_the_documents_example_is_what_the_commands_really_say() {
    let text = document();
    let block = |begin: &str| {
        let from = text
            .find(begin)
            .unwrap_or_else(|| unreachable!("no block {begin}"));
        let body = text[from..].split_once("```").unwrap();
        body.1
            .split_once('\n')
            .unwrap()
            .1
            .split("```")
            .next()
            .unwrap()
            .to_owned()
    };
    let policies = Layout::find().policies();
    let work = fs::read_to_string(policies.join("p__work.toml")).unwrap();
    let (work, _) = work.split_once("courier =").unwrap();
    let loaded = folder(&[
        ("p__work.toml", work),
        ("p__work__mail.toml", &block("`d/p__work__mail.toml`")),
    ]);
    let check: Vec<_> = said(&loaded)
        .iter()
        .map(|line| format!("policy: {line}\n"))
        .collect();
    assert_eq!(
        block("policy check --dir d`"),
        format!("{}{}\n", check.concat(), checked(&loaded))
    );
    let all = set::load(&[(&policies, "")]).unwrap().policies;
    let (web, dev) = (name("p://web").unwrap(), name("p://dev").unwrap());
    assert_eq!(block("policy show p://web`"), words::show(&web, &all[&web]));
    assert_eq!(
        block("policy diff p://web p://dev`"),
        words::diff((&web, &all[&web]), (&dev, &all[&dev]))
    );
}

#[test]
fn a03_the_types_of_a_policy_are_those_that_the_courier_tells_apart() {
    let of_policies = TERMS.types.iter().map(|it| (it.word.as_str(), 1 << it.bit));
    let of_courier = Kind::ALL.into_iter().map(|it| (it.word(), it.bit()));
    assert!(of_policies.eq(of_courier));
}
