//! The database keeps what it was given, in the same bytes each time.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bay0_persona::{PersonaName, policy as runtime};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use rusqlite::Connection;

use super::order::grant;
use super::{LEAST, run};
use crate::layout::Layout;
use crate::policy::db::{self, Baked};
use crate::policy::file::{Policy, parse};
use crate::policy::rule::{self, Grant};
use crate::policy::set::{self, Policies};
use crate::policy::terms;
use crate::policy::{Which, bake};
use crate::roomdisk::Image;

pub fn policies() -> impl Strategy<Value = Policies> {
    let name = "(sys|p)://[a-z0-9]{1,8}(/[a-z0-9]{1,3}){0,4}"
        .prop_map(|name| PersonaName::parse(&name).unwrap());
    let texts = (
        vec("\\PC{0,20}", 1..5),
        btree_map("[A-Z_]{1,9}", "\\PC{0,20}", 0..4),
    );
    let policy =
        ("[a-z0-9-]{1,32}", texts, grant()).prop_map(|(image, (command, environment), grant)| {
            Policy {
                image,
                command,
                environment,
                grant,
            }
        });
    btree_map(name, policy, 0..6)
}

fn hash() -> impl Strategy<Value = String> {
    "[0-9a-f]{64}"
}

fn images() -> impl Strategy<Value = Vec<Image>> {
    let facts = (1..1u64 << 40, hash(), hash());
    btree_map("[a-z0-9]{1,32}", facts, 0..4).prop_map(|images| {
        let image = |(name, (data_blocks, roothash, salt))| Image {
            name,
            data_blocks,
            roothash,
            salt,
        };
        images.into_iter().map(image).collect()
    })
}

/// More than ten programs, so that an order by their texts would show.
fn filters() -> impl Strategy<Value = [Vec<Vec<u8>>; 3]> {
    let program = vec(any::<[u8; 8]>(), 1..4).prop_map(|program| program.concat());
    let programs = move || vec(program.clone(), 0..13);
    [programs(), programs(), programs()]
}

/// The lines of a database as the running system reads them, one by one.
fn lines(path: &Path) -> Vec<String> {
    let db = Connection::open(path).unwrap();
    let line = |n: i64| {
        let select = "SELECT line FROM line LIMIT 1 OFFSET ?1";
        db.query_row(select, [n], |row| row.get(0)).ok()
    };
    (0..).map_while(line).collect()
}

fn joined(rooms: &BTreeSet<PersonaName>) -> String {
    let names: Vec<_> = rooms.iter().map(ToString::to_string).collect();
    names.join(" ")
}

/// The lines as the contract with the running system has them, made without the database.
fn expected(baked: &Baked) -> Vec<String> {
    let mut policies: Vec<_> = baked.policies.iter().collect();
    policies.sort_by_key(|(name, _)| name.to_string());
    let mut lines = Vec::new();
    for (name, policy) in policies {
        let variables = policy.environment.iter().map(|(k, v)| format!("{k}={v}"));
        let texts = [
            "policy".to_owned(),
            name.to_string(),
            policy.image.clone(),
            policy.command.join("\n"),
            variables.collect::<Vec<_>>().join("\n"),
            joined(&policy.grant.courier.to),
            joined(&policy.grant.courier.from),
        ];
        let numbers = db::numbers(&policy.grant).map(|n| n.to_string());
        lines.push([&texts[..], &numbers].concat().join("\t"));
    }
    for image in &baked.images {
        lines.push(format!("image\t{}", image.to_string().replace(' ', "\t")));
    }
    for (profile, programs) in baked.filters.iter().enumerate() {
        for (place, program) in programs.iter().enumerate() {
            let hex = crate::stamp::hex(program);
            lines.push(format!("filter\t{profile}\t{place}\t{hex}"));
        }
    }
    let rules = crate::rules::batch(&baked.policies);
    lines.push(format!("rules\t{}", crate::stamp::hex(&rules)));
    lines
}

proptest! {
    #[test]
    fn a06_everything_comes_back_from_the_database_as_it_went_in(
        policies in policies(),
        images in images(),
        filters in filters(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.db");
        let baked = Baked { policies, images, filters };
        db::compile(&baked, &path).unwrap();
        prop_assert_eq!(lines(&path), expected(&baked));
        prop_assert_eq!(db::read(&path).unwrap(), baked);
    }
}

proptest! {
    /// What the rule set of sys://net holds has no column that the start of a room reads.
    #[test]
    fn a05_the_start_of_a_room_finds_what_the_build_finds(child in grant(), parent in grant()) {
        let (compiled, runs) = (|grant: &Grant| {
            let columns = [
                &["p://a", "i", "/x", ""].map(str::to_owned)[..],
                &[joined(&grant.courier.to), joined(&grant.courier.from)],
                &db::numbers(grant).map(|number| number.to_string()),
            ];
            let columns = columns.concat();
            let columns: Vec<_> = columns.iter().map(String::as_str).collect();
            runtime::Policy::parse(&columns).unwrap()
        }, |field: &&str| !matches!(*field, "publish" | "egress"));
        let mut started = runtime::beyond(&compiled(&child), &compiled(&parent));
        started.iter_mut().for_each(|field| *field = rule::shown(field));
        started.dedup();
        let built: Vec<_> = rule::beyond(&child, &parent).into_iter().filter(runs).collect();
        prop_assert_eq!(started, built);
    }
}

fn only(policies: Policies) -> Baked {
    Baked {
        policies,
        images: Vec::new(),
        filters: Default::default(),
    }
}

#[test]
fn a06_one_view_has_every_row_as_a_line_in_one_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.db");
    let text = LEAST.replace("[\"/bin/sh\"]", "[\"/bin/sh\", \"-c\", \"a b\"]");
    let text = format!("{text}environment = {{ B = \"2=3\", A = \"\" }}\ntrust = 9\n");
    let courier = "to = [\"p://e\", \"p://d\"], from = [\"p://f\"], bytes = \"16KiB\", types = [\"text\", \"pdf\"], ask = false";
    let text = format!("{text}courier = {{ {courier} }}\nai.tokens_per_minute = 2000\n");
    let policy = parse("f", &text).unwrap();
    let named = |name: &str| PersonaName::parse(name).unwrap();
    let policies = ["sys://a", "p://b/c", "p://b"].map(|name| (named(name), policy.clone()));
    let (roothash, salt) = ("0a".repeat(32), "ff".repeat(32));
    let image = Image {
        name: "dev".into(),
        data_blocks: 7,
        roothash: roothash.clone(),
        salt: salt.clone(),
    };
    let allow = vec![6, 0, 0, 0, 0, 0, 0xff, 0x7f];
    let baked = Baked {
        policies: Policies::from(policies),
        images: vec![image],
        filters: [vec![allow.clone(), allow.clone()], vec![], vec![allow]],
    };
    db::compile(&baked, &path).unwrap();
    let rest = "dev\t/bin/sh\n-c\na b\tA=\nB=2=3\tp://d p://e\tp://f\t50\t100\t16777216\t64\t64\t1048576\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t4611686018427387904\t16384\t3\t1\t9\t2000\t512\t4096";
    assert_eq!(
        lines(&path),
        [
            format!("policy\tp://b\t{rest}"),
            format!("policy\tp://b/c\t{rest}"),
            format!("policy\tsys://a\t{rest}"),
            format!("image\tdev\t7\t{roothash}\t{salt}"),
            "filter\t0\t0\t060000000000ff7f".into(),
            "filter\t0\t1\t060000000000ff7f".into(),
            "filter\t2\t0\t060000000000ff7f".into(),
            format!(
                "rules\t{}",
                crate::stamp::hex(&crate::rules::batch(&baked.policies))
            ),
        ]
    );
}

#[test]
fn a06_more_lines_than_a_packet_can_carry_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.db");
    let mut baked = only(Policies::new());
    baked.filters[1] = vec![vec![0; 40_000], vec![0; 40_000]];
    let error = db::compile(&baked, &path).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        format!(
            "compile {}: with the line of filter 1 1 there are 160024 bytes; next: fewer than 150000",
            path.display()
        )
    );
    assert!(!path.exists());
}

#[test]
fn a06_the_longest_texts_that_a_policy_can_have_fit_into_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.db");
    let long = |bytes: usize| {
        let texts = vec!["x".repeat(1000); bytes / 1000];
        let command = format!("{:?}", [&["/bin/sh".to_owned()], &texts[..]].concat());
        let text = LEAST.replace("[\"/bin/sh\"]", &command);
        parse(
            "f",
            &format!("{text}environment.A = {:?}\n", "x".repeat(bytes % 1000)),
        )
    };
    // "/bin/sh" and 32 texts, each with its joint; "A=", the variable's value, its joint: 32768 in all.
    let bytes = terms::MAX_TEXTS - 8 - 32 - 3;
    let policy = long(bytes).unwrap();
    let name = format!("p://{}", ["a"; 5].map(|a| a.repeat(32)).join("/"));
    let policies = [(PersonaName::parse(&name).unwrap(), policy)];
    db::compile(&only(Policies::from(policies)), &path).unwrap();
    let found = long(bytes + 1).unwrap_err();
    let found: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        ["f:2:11: command and environment have 32769 bytes together; next: at most 32768"]
    );
}

#[test]
fn h01_the_same_policies_make_the_same_bytes_and_others_make_others() {
    let dir = Layout::find().policies();
    let all = only(set::load(&[(&dir, "")]).unwrap().policies);
    let made = |baked: &Baked| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.db");
        db::compile(baked, &path).unwrap();
        // Again over the first, which is read-only.
        db::compile(baked, &path).unwrap();
        let beside = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(beside, 1, "nothing is left beside it");
        std::fs::read(&path).unwrap()
    };
    let bytes = made(&all);
    assert_eq!(bytes, made(&all));
    // Read and write version of the header: 1 is no write-ahead log, which a reader would have to write beside it.
    assert_eq!(bytes[18..20], [1, 1]);
    let mut fewer = all.clone();
    fewer.policies.pop_last();
    assert_ne!(bytes, made(&fewer));
}

#[test]
fn a06_the_database_holds_types_and_refuses_another_version() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.db");
    let policy = parse("f", LEAST).unwrap();
    let name = PersonaName::parse("p://x").unwrap();
    let mut baked = only(Policies::from([(name, policy)]));
    baked.filters[0] = vec![vec![0; 8]];
    db::compile(&baked, &path).unwrap();
    let refused = |sql: &str| Connection::open(&path).unwrap().execute(sql, ()).is_err();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let image = |hash: &str| {
        format!("image (name, data_blocks, roothash, salt) VALUES ('a', 1, '{hash}', '{hash}')")
    };
    for wrong in [
        "UPDATE policy SET pids = 'many'",
        "UPDATE policy SET command = char(9)",
        "UPDATE policy SET network = 3",
        "UPDATE policy SET devices = 8192",
        "UPDATE policy SET restart_tries = 1",
        "UPDATE policy SET persist_bytes = 1",
        "UPDATE policy SET persist_bytes = 1, persist_records = 1",
        "UPDATE policy SET persist_records = 1, persist_rate = 1",
        "UPDATE policy SET persist_bytes = 1, persist_records = 1, persist_rate = -1",
        "UPDATE policy SET courier_bytes = 1",
        "UPDATE policy SET courier_bytes = 1, courier_types = 1",
        "UPDATE policy SET courier_to = 'p://a'",
        "UPDATE policy SET courier_from = 'p://a', courier_bytes = 1",
        "UPDATE policy SET courier_from = 'p://a', courier_bytes = 1, courier_types = 512",
        "UPDATE policy SET courier_from = char(9), courier_bytes = 1, courier_types = 1",
        "UPDATE policy SET courier_silent = 1",
        "UPDATE policy SET trust = 10",
        "UPDATE policy SET ai_tokens_per_minute = 1",
        "UPDATE policy SET ai_tokens_per_minute = 1, ai_context = 1",
        "UPDATE policy SET ai_max_tokens = 1, ai_context = 1",
        "UPDATE policy SET ai_tokens_per_minute = 1, ai_max_tokens = 2, ai_context = 1",
        "UPDATE policy SET ai_tokens_per_minute = 1, ai_max_tokens = 1, ai_context = 131073",
        "UPDATE policy SET ai_tokens_per_minute = 1000001, ai_max_tokens = 1, ai_context = 1",
        "UPDATE policy SET image = NULL",
        "UPDATE filter SET program = x'00'",
        "UPDATE filter SET profile = 3",
        &format!("INSERT INTO {}", image(&"A".repeat(64))),
        &format!("INSERT INTO {}", image("a")),
    ] {
        assert!(refused(wrong), "{wrong}");
    }
    assert!(!refused(
        "UPDATE policy SET courier_from = 'p://a', courier_bytes = 1, courier_types = 511, courier_silent = 1"
    ));
    assert!(!refused("UPDATE policy SET devices = 8191"));
    assert!(!refused(
        "UPDATE policy SET ai_tokens_per_minute = 1000000, ai_max_tokens = 131072, ai_context = 131072"
    ));
    assert!(!refused(&format!("INSERT INTO {}", image(&"a".repeat(64)))));
    assert!(!refused("PRAGMA user_version = 5"));
    let said = db::read(&path).unwrap_err().to_string();
    assert_eq!(
        said,
        format!(
            "open {}: version 5, not 6; next: compile it again",
            path.display()
        )
    );
}

#[test]
fn a06_what_is_not_in_order_is_not_compiled_and_what_is_is_read_only() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let out = out.path().join("below/policy.db");
    let compile = || {
        let out = Some(out.clone());
        let rooms = None;
        run(dir.path(), Which::Compile { out, rooms }).unwrap()
    };
    std::fs::write(dir.path().join("p__web.toml"), "x = 1").unwrap();
    assert_eq!((compile(), out.exists()), (1, false));
    std::fs::write(dir.path().join("p__web.toml"), LEAST).unwrap();
    assert_eq!((compile(), out.exists()), (0, true));
    let mode = std::fs::metadata(&out).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o444);
}

#[test]
fn a06_a_release_has_the_shipped_policies_and_only_the_test_build_those_of_the_tests() {
    let (dir, tree) = (tempfile::tempdir().unwrap(), Layout::find());
    let root = dir.path().to_owned();
    let layout = Layout { root };
    for (from, to) in [
        (tree.policies(), layout.policies()),
        (tree.test_policies(), layout.test_policies()),
    ] {
        std::fs::create_dir_all(&to).unwrap();
        for file in std::fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            if file.path().is_file() {
                std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
            }
        }
    }
    let names = |fault| {
        let path = bake(&layout, fault, &[]).unwrap();
        assert_eq!(path, layout.policy_db(fault));
        let names = db::read(&path).unwrap().policies.into_keys();
        names.map(|name| name.to_string()).collect::<Vec<_>>()
    };
    let (release, test) = (names(false), names(true));
    assert!(release.contains(&"p://dev".to_owned()), "{release:?}");
    assert!(!release.contains(&"p://a".to_owned()), "{release:?}");
    assert!(release.iter().all(|name| test.contains(name)), "{test:?}");
    assert!(test.contains(&"p://a/kid".to_owned()), "{test:?}");

    std::fs::write(layout.test_policies().join("p__z.toml"), "x = 1").unwrap();
    assert_eq!(names(false), release);
    assert_eq!(
        bake(&layout, true, &[]).unwrap_err().to_string(),
        "policy: not all policies are in order; next: mend them, cargo xtask policy check"
    );
}
