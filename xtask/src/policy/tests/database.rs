//! The database keeps what it was given, in the same bytes each time.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use bay0_persona::PersonaName;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use rusqlite::Connection;

use super::order::grant;
use super::{LEAST, run};
use crate::layout::Layout;
use crate::policy::Which;
use crate::policy::db;
use crate::policy::file::{Policy, parse};
use crate::policy::set::{self, Policies};

fn policies() -> impl Strategy<Value = Policies> {
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

proptest! {
    #[test]
    fn a06_every_policy_comes_back_from_the_database_as_it_went_in(policies in policies()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.db");
        db::compile(&policies, &path).unwrap();
        prop_assert_eq!(db::read(&path).unwrap(), policies);
    }
}

#[test]
fn h01_the_same_policies_make_the_same_bytes_and_others_make_others() {
    let all = set::load(&Layout::find().policies(), "").unwrap().policies;
    let made = |policies: &Policies| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.db");
        db::compile(policies, &path).unwrap();
        // Again over the first, which is read-only.
        db::compile(policies, &path).unwrap();
        let beside = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(beside, 1, "nothing is left beside it");
        std::fs::read(&path).unwrap()
    };
    let bytes = made(&all);
    assert_eq!(bytes, made(&all));
    // Read and write version of the header: 1 is no write-ahead log, which a reader would have to write beside it.
    assert_eq!(bytes[18..20], [1, 1]);
    let mut fewer = all.clone();
    fewer.pop_last();
    assert_ne!(bytes, made(&fewer));
}

#[test]
fn a06_the_database_holds_types_and_refuses_another_version() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.db");
    let policy = parse("f", LEAST).unwrap();
    let name = PersonaName::parse("p://x").unwrap();
    db::compile(&BTreeMap::from([(name, policy)]), &path).unwrap();
    let refused = |sql: &str| Connection::open(&path).unwrap().execute(sql, ()).is_err();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    for wrong in [
        "pids = 'many'",
        "memory_swap_bytes = 1",
        "network = 3",
        "restart_tries = 1",
        "image = NULL",
    ] {
        assert!(refused(&format!("UPDATE policy SET {wrong}")), "{wrong}");
    }
    assert!(!refused("PRAGMA user_version = 2"));
    let said = db::read(&path).unwrap_err().to_string();
    assert_eq!(
        said,
        format!(
            "open {}: version 2, not 1; next: compile it again",
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
        run(dir.path(), Which::Compile { out }).unwrap()
    };
    std::fs::write(dir.path().join("p__web.toml"), "x = 1").unwrap();
    assert_eq!((compile(), out.exists()), (1, false));
    std::fs::write(dir.path().join("p__web.toml"), LEAST).unwrap();
    assert_eq!((compile(), out.exists()), (0, true));
    let mode = std::fs::metadata(&out).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o444);
}
