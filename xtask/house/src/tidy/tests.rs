use super::text::{ids, links, sizes, words};
use super::*;

const GOOD: &str = "//! Good.\n";

fn tree(files: &[(&str, &str)]) -> Tree {
    Tree(
        files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
            .collect(),
    )
}

/// What `check` says of one runtime file beside one document.
fn with(code: &str, doc: (&str, &str)) -> (Tree, Vec<Crate>) {
    let tree = tree(&[("bay0/src/main.rs", code), doc]);
    let crates = vec![code::read(&tree, "bay0").unwrap()];
    (tree, crates)
}

fn messages_of(code: &str, doc: &str) -> Vec<String> {
    let (tree, crates) = with(code, (FAILURES, doc));
    messages(&tree, &crates.iter().collect::<Vec<_>>())
}

#[test]
fn h19_the_repository_is_tidy() {
    let found = problems(&Tree::read(&Layout::find().root).unwrap()).unwrap();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn h19_a_message_without_a_row_is_found_wherever_its_string_stands() {
    let say =
        r#"fn f(n: u8) -> String { log.fail("x", &format!("open {n}: too bad; next: give up")) }"#;
    assert_eq!(
        messages_of(say, "| x | something else |"),
        [
            "bay0/src/main.rs: docs/FAILURE-MODES.md has no row with \"open {n}: too bad; next: give up\"; next: say there what it means"
        ]
    );
    assert!(messages_of(say, "| x | `open N: too bad; next: give up` |").is_empty());
    for code in [
        r#"const A: &str = "too bad";"#,
        r#"fn f() { match x { _ => ("too bad", 1) } }"#,
        r#"records! { /// Not said.
            A("too bad"), }"#,
        r#"impl fmt::Display for E { fn fmt(&self) { write!(f, "too bad") } }"#,
    ] {
        assert_eq!(messages_of(code, "").len(), 1, "{code}");
    }
}

#[test]
fn h19_a_number_in_a_message_is_the_constants() {
    let code = r#"const MAX: u32 = 2 * 8; const REST: &str = "next: give up";
        fn f() { format!("over {MAX} things; {REST}") }"#;
    assert_eq!(
        messages_of(code, "`over 16 things; next: give up`"),
        [""; 0]
    );
    assert_eq!(
        messages_of(code, "`over 15 things; next: give up`").len(),
        1
    );
    assert_eq!(messages_of(code, "`over 16 things; next: go on`").len(), 2);
}

#[test]
fn h19_a_message_with_a_next_action_must_stand_among_the_failures() {
    let code = r#"fn f() { "too bad; next: give up" }"#;
    assert_eq!(
        messages_of(code, "\n## Ordinary lines\n`too bad; next: give up`").len(),
        1
    );
    assert!(messages_of(code, "`too bad; next: give up`\n## Ordinary lines\n").is_empty());
}

#[test]
fn h19_the_parts_of_a_message_must_stand_in_one_line_and_in_order() {
    let code = r#"fn f() { "load {path}: after {ms} milliseconds" }"#;
    assert!(messages_of(code, "load FILE: after 3 milliseconds").is_empty());
    assert_eq!(
        messages_of(code, "load FILE:\nafter 3 milliseconds").len(),
        1
    );
    assert_eq!(messages_of(code, "after load FILE: milliseconds").len(), 1);
    assert!(messages_of(r#"fn f() { "a | pipe" }"#, r"a \| pipe").is_empty());
}

#[test]
fn what_is_no_sentence_or_is_only_in_tests_is_not_asked_for() {
    for code in [
        "/// A comment of words.\nfn f() {}",
        r#"fn f() { ("oneword", "{a} {b} ({ms} ms)", "SELECT floor FROM clock") }"#,
        "#[cfg(test)] mod tests { const A: &str = \"not said\"; }",
        "#[cfg(feature = \"fault\")] fn f() { \"not said\" }",
        "fn f() { match x { #[cfg(feature = \"fault\")] _ => \"not said\", } }",
    ] {
        assert!(messages_of(code, "").is_empty(), "{code}");
    }
}

#[test]
fn what_lies_beside_the_sources_is_read_where_its_path_leads() {
    let tree = Tree(BTreeMap::from([
        (
            "bay0/src/main.rs".to_owned(),
            "#[path = \"../host/x.rs\"] mod host;".to_owned(),
        ),
        (
            "bay0/host/x.rs".to_owned(),
            "fn f() { \"not said\" }".to_owned(),
        ),
    ]));
    let read = code::read(&tree, "bay0").unwrap();
    let paths: Vec<_> = read.modules.iter().map(|m| m.path.as_str()).collect();
    assert_eq!(paths, ["bay0/host/x.rs", "bay0/src/main.rs"]);
    assert_eq!(messages(&tree, &[&read]).len(), 1);
}

#[test]
fn a_number_that_differs_from_its_constant_is_found() {
    let code = "const A: u32 = 20; const B: Duration = Duration::from_millis(200); const C: usize = 64 * 1024; \
                const D: &str = \"/run/x\"; const E: [u8; 2] = [1, 2]; const F: usize = E.len(); const G: usize = 1 << F;";
    let said = |doc: &str| {
        let (tree, crates) = with(code, ("docs/A.md", doc));
        numbers(&tree, &crates).unwrap()
    };
    for right in [
        "`20` s (`bay0::A`)",
        "`200` ms (`bay0::B`)",
        "`64` KiB (`bay0::C`)",
        "`65,536` bytes (`bay0::C`)",
        "`/run/x` (`bay0::D`)",
        "`2` (`bay0::F`)",
        "`4` (`bay0::G`)",
    ] {
        assert_eq!(said(right), [""; 0], "{right}");
    }
    assert_eq!(
        said("`21` s (`bay0::A`)"),
        ["docs/A.md: `21` s is not bay0::A, Number(20); next: correct it"]
    );
    assert_eq!(
        said("`200` s (`bay0::B`)"),
        ["docs/A.md: `200` s is not bay0::B, Micros(200000); next: correct it"]
    );
    assert_eq!(
        said("(`bay0::A`)"),
        ["docs/A.md: no value before (bay0::A); next: write `VALUE` UNIT (`bay0::A`)"]
    );
    assert_eq!(
        said("`1` (`bay0::Z`)"),
        ["docs/A.md: bay0::Z is no constant that can be read; next: name the one that holds"]
    );
}

#[test]
fn a_link_to_nothing_is_found() {
    let texts = |readme| {
        tree(&[
            ("README.md", readme),
            ("docs/A.md", "# One two\n[up](../README.md) [b](./B.md#x)"),
            ("docs/B.md", "## X"),
        ])
    };
    assert!(
        links(&texts(
            "[a](docs/A.md) [h](docs/A.md#one-two) [d](docs) [w](https://example.org/) "
        ))
        .is_empty()
    );
    assert_eq!(
        links(&texts("[a](docs/C.md) [h](docs/A.md#three)")),
        [
            "README.md: link to docs/C.md leads nowhere; next: correct or remove it",
            "README.md: link to docs/A.md#three leads nowhere; next: correct or remove it"
        ]
    );
}

#[test]
fn a_module_without_a_word_of_explanation_is_found() {
    let tree = tree(&[
        (
            "bay0/src/main.rs",
            "//! Main.\nmod a;\nmod b;\n#[cfg(test)]\nmod tests;",
        ),
        ("bay0/src/a.rs", "//!\nfn f() {}"),
        ("bay0/src/b/mod.rs", GOOD),
    ]);
    let krate = code::read(&tree, "bay0").unwrap();
    assert_eq!(
        module_docs(&[&krate]),
        ["bay0/src/a.rs: no //! at the top; next: say what it is for"]
    );
}

#[test]
fn a_path_of_a_developers_machine_is_found_and_a_persona_is_not_one() {
    let said = |text: &str| words(&tree(&[("a.rs", text)])).len();
    for bad in [
        concat!("see /ro", "ot/x"),
        concat!("(/wo", "rk/y)"),
        concat!("\"/ho", "me/me"),
        concat!("http://deb.deb", "ian.org"),
    ] {
        assert_eq!(said(bad), 1, "{bad}");
    }
    for good in [
        "p://work/mail",
        "{tmp}/root/x",
        "rooms/work/x",
        "$HOME/x",
        "p__work__mail",
    ] {
        assert_eq!(said(good), 0, "{good}");
    }
}

fn lacks(tree: &Tree, id: &str) -> bool {
    let id = id.to_uppercase();
    ids(tree).contains(&format!(
        "{id}: no test's name begins with {}_; next: write one",
        id.to_lowercase()
    ))
}

#[test]
fn a_requirement_without_a_test_and_a_test_that_is_only_claimed_are_found() {
    let tests = tree(&[(
        "a.rs",
        "#[test] fn h14_names() {} mod m { #[test] #[ignore] fn k01_k02_both() {} } #[test] fn not_h13_this() {}",
    )]);
    assert!(!lacks(&tests, "h14") && !lacks(&tests, "k01") && !lacks(&tests, "k02"));
    assert!(lacks(&tests, "h13") && lacks(&tests, "c03") && lacks(&tests, "t07"));
    let claimed = tree(&[
        ("a.rs", "#[test] fn h14_names() {}"),
        ("README.md", "`h14_names` and `h14_lies`"),
    ]);
    assert!(
        ids(&claimed).contains(
            &"README.md: there is no test h14_lies; next: name the one there is".to_owned()
        )
    );
}

#[test]
fn a_name_shows_a_requirement_only_where_something_runs() {
    let names = |path: &str, code: &str| !lacks(&tree(&[(path, code)]), "h14");
    let table = "scenarios! { boots::h14_row: \"a promise\", }";
    assert!(names("xtask/scenarios/src/vm/mod.rs", table));
    let with_image = "scenarios! { boots::h14_row [\"dev\"]: \"a promise\", }";
    assert!(names("xtask/scenarios/src/vm/mod.rs", with_image));
    assert!(names(
        "a.rs",
        "proptest! { #![cases(9)] /// Says.\n #[test]\n fn h14_any(x in 0..9) {} }"
    ));
    for (path, code) in [
        ("a.rs", "fn h14_unmarked() {}"),
        ("a.rs", "const A: &str = \"#[test] fn h14_string() {}\";"),
        ("a.rs", "// #[test] fn h14_comment() {}"),
        ("a.rs", "m! { #[test] fn h14_of_another_macro() {} }"),
        ("a.rs", "proptest! { fn h14_unmarked(x in 0..9) {} }"),
        ("a.rs", table),
        (
            "xtask/scenarios/src/vm/mod.rs",
            "// boots::h14_row: \"a promise\",",
        ),
    ] {
        assert!(!names(path, code), "{path}: {code}");
    }
    let broken = ids(&tree(&[("a.rs", "fn f( {")])).concat();
    assert!(
        broken.contains("a.rs: ") && broken.contains("; next: make it compile"),
        "{broken}"
    );
}

#[test]
fn c02_only_one_file_makes_processes_or_namespaces() {
    let (_, crates) = with(
        "fn f() { std::process::Command::new(\"sh\"); m!(unshare()); }",
        ("README.md", ""),
    );
    assert_eq!(
        absences(&crates.iter().collect::<Vec<_>>()),
        [
            "bay0/src/main.rs: uses Command; next: leave that to its own file",
            "bay0/src/main.rs: uses unshare; next: leave that to its own file"
        ]
    );
}

#[test]
fn a11_t07_no_thread_is_built_and_no_internet_socket_opened() {
    for (code, name) in [
        ("thread::Builder::new().spawn(f)", "Builder"),
        ("std::thread::scope(|s| f(s))", "scope"),
        ("libc::pthread_create(a, b, c, d)", "pthread_create"),
        ("socket(AddressFamily::Inet, t, f, None)", "Inet"),
        ("socket(AddressFamily::Inet6, t, f, None)", "Inet6"),
        ("socket(AddressFamily::Packet, t, f, None)", "Packet"),
        ("libc::socket(libc::AF_INET, t, 0)", "AF_INET"),
        ("libc::socket(libc::AF_INET6, t, 0)", "AF_INET6"),
        ("libc::socket(libc::AF_PACKET, t, 0)", "AF_PACKET"),
    ] {
        let (_, crates) = with(&format!("fn f() {{ {code}; }}"), ("README.md", ""));
        assert_eq!(
            absences(&crates.iter().collect::<Vec<_>>()),
            [format!(
                "bay0/src/main.rs: uses {name}; next: leave that to its own file"
            )]
        );
    }
}

#[test]
fn k04_a_size_that_is_no_longer_true_is_found() {
    let code = "fn a() {}\n".repeat(100);
    let said = |lines: usize| {
        let row = format!("| `bay0` | the loop | {lines} |\n");
        let tree = tree(&[
            ("bay0/src/main.rs", code.as_str()),
            ("README.md", row.as_str()),
        ]);
        sizes(&tree)
            .unwrap()
            .into_iter()
            .find(|problem| problem.contains(" of `bay0`,"))
    };
    assert_eq!(said(96), None);
    assert_eq!(
        said(90).unwrap(),
        "README.md: says 90 of the size of `bay0`, 100 code lines; next: correct it"
    );
}

#[test]
fn a10_a_crate_that_steps_out_of_the_lints_is_found() {
    let deny = |lints: &[String]| {
        lints
            .iter()
            .map(|lint| format!("\n{lint} = \"deny\""))
            .collect::<String>()
    };
    let of = |root: &str, code: &str| {
        let mut files = vec![
            ("Cargo.toml".to_owned(), root.to_owned()),
            ("bay0/src/main.rs".to_owned(), code.to_owned()),
        ];
        files.extend(RUNTIME.map(|name| {
            (
                format!("{name}/Cargo.toml"),
                "[lints]\nworkspace = true".to_owned(),
            )
        }));
        lints(&Tree(files.into_iter().collect()))
    };
    assert_eq!(
        of(
            &deny(&RULES.lints),
            "#[cfg(test)]\n#[allow(clippy::panic)]\nmod tests;"
        ),
        [""; 0]
    );
    assert_eq!(
        of(&deny(&RULES.lints[1..]), ""),
        ["Cargo.toml: unwrap_used is not denied; next: deny it"]
    );
    assert_eq!(
        of(&deny(&RULES.lints), "#[allow(clippy::panic)]\nfn f() {}"),
        ["bay0/src/main.rs: allows what is denied; next: write it without"]
    );
    assert_eq!(lints(&tree(&[])).len(), RULES.lints.len() + RUNTIME.len());
}

#[test]
fn h19_a_row_whose_message_or_action_is_gone_is_found() {
    let said = |doc: &str| {
        let code = r#"fn f() { log.fail(&format!("open {n}: too bad; next: give up")); refuse("open for ever", "a pity", "reboot"); "away: build --with {n}; next: build --with {n}" }"#;
        let (tree, crates) = with(code, (FAILURES, doc));
        stale(&tree, &crates.iter().collect::<Vec<_>>())
    };
    assert_eq!(
        said("| `open N: too bad; next: give up` | cause | x |"),
        [""; 0]
    );
    assert_eq!(
        said("| `open for ever; a pity; next: reboot` | `any word` | `of others` |"),
        [""; 0]
    );
    assert_eq!(
        said("| `away: build --with N; next: build --with N` | its end varies | x |"),
        [""; 0]
    );
    assert_eq!(
        said("| `close N: fine; next: give up` | | |"),
        [
            "docs/FAILURE-MODES.md: nothing in the code says \"close N: fine; next: give up\" any more; next: correct or remove it"
        ]
    );
    assert_eq!(said("| `open N: too bad; next: persist` | | |").len(), 1);
    assert_eq!(
        said("| `open N: too bad; all is lost; next: give up` | | |").len(),
        1
    );
}

#[test]
fn t08_a_call_that_a_profile_allows_is_in_the_kernel() {
    let list =
        "about = \"x\"\n[allow]\nio_setup = \"databases\"\nread = \"all\"\nmq_open = \"queues\"\n";
    let profile = ("bay0-persona/policies/seccomp/standard.toml", list);
    let path = "xtask/kernel/spine.config";
    let off = (path, "CONFIG_AIO=n\nCONFIG_POSIX_MQUEUE=y\n");
    let said = calls::configured(&tree(&[profile, off]));
    assert_eq!(
        said,
        [
            "bay0-persona/policies/seccomp/standard.toml: allows io_setup, which the kernel has with CONFIG_AIO=y only; next: turn that on in xtask/kernel/spine.config, or take the call out"
        ]
    );
    let on = (path, "CONFIG_AIO=y\nCONFIG_POSIX_MQUEUE=y\n");
    assert!(calls::configured(&tree(&[profile, on])).is_empty());
}
