use super::*;

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

/// A tree in which every check is satisfied.
fn good() -> Facts {
    let mut facts = Facts {
        top_level: set(&TOP_LEVEL),
        ..Facts::default()
    };
    let edges: [(&str, &[&str]); 8] = [
        ("bay0-persona", &["nix", "cgroups-rs"]),
        ("bay0-state", &["bay0-persona", "rusqlite"]),
        ("bay0-reconcile", &["bay0-persona", "bay0-state"]),
        ("bay0-umbilical", &["bay0-persona"]),
        ("bay0-validate", &["bay0-umbilical"]),
        ("bay0", &["anyhow", "bay0-validate", "bay0-reconcile"]),
        ("rusqlite", &["libsqlite3-sys"]),
        ("xtask", &["anyhow", "clap"]),
    ];
    for (name, named) in edges {
        facts.edges.insert(name.into(), set(named));
        if floor(name).is_some() {
            facts.crates.insert(
                name.into(),
                Crate {
                    lines: 100,
                    budget: Some(200),
                    declared: set(named),
                },
            );
        }
    }
    facts
}

/// The findings of that tree where a crate depends on one more, as it declares.
fn with(name: &str, dependency: &str) -> Vec<String> {
    let mut facts = good();
    let krate = facts.crates.get_mut(name).unwrap();
    krate.declared.insert(dependency.into());
    facts.edges.get_mut(name).unwrap().insert(dependency.into());
    check(&facts)
}

#[test]
fn k04_a_tree_as_designed_has_no_finding() {
    assert_eq!(check(&good()), Vec::<String>::new());
}

#[test]
fn k04_a_crate_over_its_budget_is_named() {
    let mut facts = good();
    facts.crates.get_mut("bay0-state").unwrap().lines = 201;
    assert_eq!(check(&facts), ["bay0-state: 201 code lines, budget 200"]);
    facts.crates.get_mut("bay0-state").unwrap().budget = None;
    assert_eq!(
        check(&facts),
        ["bay0-state: no package.metadata.budget in its Cargo.toml"]
    );
}

#[test]
fn k04_a_ceiling_holds_what_is_there_and_may_only_fall() {
    let with = |lines, ceiling| over("x", lines, 200, Some(ceiling));
    assert_eq!(with(250, 250), None);
    assert_eq!(
        with(251, 250).unwrap(),
        "x: 251 code lines, ceiling 250 on the way to 200"
    );
    assert_eq!(
        with(240, 250).unwrap(),
        "x: 240 code lines under a ceiling of 250; lower the ceiling"
    );
    assert_eq!(
        with(200, 200).unwrap(),
        "x: 200 code lines are within the budget 200; remove the ceiling"
    );
}

#[test]
fn k02_a_dependency_outside_the_six_is_named_even_when_the_crate_lists_it() {
    let mut facts = good();
    facts.edges.get_mut("bay0").unwrap().insert("tokio".into());
    assert_eq!(
        check(&facts),
        [
            "bay0: depends on tokio, which its package.metadata.budget does not list",
            "bay0: depends on tokio, which is none of anyhow caps cgroups-rs nix rusqlite seccompiler"
        ]
    );
    assert_eq!(with("bay0", "tokio").len(), 1);
}

#[test]
fn k03_a_dependency_against_the_direction_is_named() {
    for (name, other) in [
        ("bay0-persona", "bay0-state"),
        ("bay0-umbilical", "bay0-reconcile"),
    ] {
        let why = format!("{name}: depends on {other}, against the direction of the design");
        assert_eq!(with(name, other), [why]);
    }
}

#[test]
fn k03_only_the_owner_reaches_sqlite_cgroups_and_seccomp() {
    for (owned, owner) in OWNED {
        let why = format!("bay0-validate: reaches {owned}, which belongs to {owner} alone");
        assert_eq!(with("bay0-validate", owned), [why]);
    }
    // Through a crate of others as well.
    let mut facts = good();
    facts.edges.insert("anyhow".into(), set(&["rusqlite"]));
    assert_eq!(
        check(&facts),
        ["anyhow: reaches rusqlite, which belongs to bay0-state alone"]
    );
}

#[test]
fn k02_the_whole_tree_is_capped() {
    let mut facts = good();
    let many: BTreeSet<String> = (0..TREE_CRATES).map(|n| format!("dep{n}")).collect();
    facts.edges.insert("libsqlite3-sys".into(), many);
    let findings = check(&facts);
    assert_eq!(
        findings,
        [format!(
            "whole tree: {} crates of others, cap 39",
            TREE_CRATES + 5
        )]
    );
}

#[test]
fn k01_the_top_level_is_exactly_the_designs() {
    let mut facts = good();
    facts.top_level.insert("kernel".into());
    facts.top_level.remove("LICENSE");
    facts.top_level.insert(".ci".into());
    // May be there, and must not.
    facts.top_level.insert("findings".into());
    assert_eq!(
        check(&facts),
        [
            "top level: kernel is not part of the design (K01)",
            "top level: LICENSE is missing (K01)"
        ]
    );
}

#[test]
fn k03_a_seventh_runtime_crate_and_a_missing_one_are_named() {
    let mut facts = good();
    facts.crates.insert(
        "bay0-extra".into(),
        Crate {
            lines: 1,
            budget: Some(1),
            ..Crate::default()
        },
    );
    facts.crates.remove("bay0-umbilical");
    assert_eq!(
        check(&facts),
        [
            "bay0-extra: a runtime crate that the design does not know",
            "bay0-umbilical: not in the workspace"
        ]
    );
}

#[test]
fn k04_the_table_shows_lines_budget_and_both_dependency_counts() {
    let table = table(&good());
    assert!(
        table.contains("bay0-state          100     200       1      4  rusqlite\n"),
        "{table}"
    );
    assert!(
        table.contains("together            600                      5  tree cap 39\n"),
        "{table}"
    );
}

#[test]
fn k02_the_real_graph_reaches_the_c_library_of_sqlite_and_its_build() {
    let metadata = metadata(&Layout::find()).unwrap();
    let facts = Facts {
        edges: edges(&metadata),
        ..Facts::default()
    };
    let tree = reach(&facts, "bay0");
    for name in ["nix", "libc", "rusqlite", "libsqlite3-sys", "cc"] {
        assert!(tree.contains(name), "{name} is not in {tree:?}");
    }
    assert!(!tree.contains("windows-sys"), "{tree:?}");
}
