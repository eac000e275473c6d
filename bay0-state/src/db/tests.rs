#![allow(clippy::arithmetic_side_effects, clippy::string_slice)]

use super::*;
use crate::entropy;
use bay0_persona::PersonaName;
use proptest::prelude::*;
use tempfile::{TempDir, tempdir};

fn open(dir: &TempDir) -> Db {
    let mut trouble = vec![];
    let db = Db::open(dir.path(), &mut trouble).unwrap();
    assert!(trouble.is_empty(), "{trouble:?}");
    db
}

type Rows = Result<Vec<String>, Error>;

impl Db {
    /// What a request would do whose fields no type has checked.
    fn raw(&self, request: &[&str], statement: &str) -> Rows {
        let values = params_from_iter(&request[1..]);
        self.run(request.join(" "), statement, values)
    }

    fn personas(&self) -> Rows {
        match self.answer(&Request::Personas)? {
            Reply::Lines(rows) => Ok(rows),
            other => panic!("{other:?}"),
        }
    }

    fn set_state(&self, name: &str, state: &str) -> Rows {
        self.raw(&["set-state", name, state], SET_STATE)
    }

    fn nack_add(&self, hash: &str, reason: &str) -> Rows {
        self.raw(&["nack-add", hash, reason], ADD_NACK)
    }

    fn nack_get(&self, hash: &str) -> Rows {
        let statement = "SELECT reason FROM nack WHERE hash = ?1";
        self.raw(&["nack-get", hash], statement)
    }

    fn raise_floor(&self, now: u64) -> Rows {
        self.answer(&Request::Clock(now)).map(|_| vec![])
    }

    fn seed(&self) -> Option<[u8; 32]> {
        let seed = "SELECT seed FROM machine";
        self.conn.query_row(seed, [], |row| row.get(0)).unwrap()
    }

    fn set_seed(&self, seed: [u8; 32]) -> Rows {
        self.run("seed", "UPDATE machine SET seed = ?1", [seed])
    }
}

/// A database as a Spine that knew only the first `version` steps left it.
fn of_version(dir: &TempDir, version: u32) -> Connection {
    let conn = Connection::open(dir.path().join(DB_NAME)).unwrap();
    conn.execute_batch("PRAGMA journal_mode = WAL").unwrap();
    for step in &MIGRATIONS[..version as usize] {
        conn.execute_batch(step).unwrap();
    }
    conn.pragma_update(None, "user_version", version).unwrap();
    conn
}

fn schema(db: &Db) -> Vec<String> {
    let mut query = db
        .conn
        .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
        .unwrap();
    let rows = query.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Every file that holds something.
fn files(dir: &TempDir) -> Vec<(String, Vec<u8>)> {
    let names = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<_> = names
        .map(|name| (name.clone(), fs::read(dir.path().join(name)).unwrap()))
        .collect();
    files.retain(|(_, bytes)| !bytes.is_empty());
    files.sort();
    files
}

/// The directory as a power cut leaves it: files as they are, nothing closed.
fn cut(dir: &TempDir) -> TempDir {
    let copy = tempdir().unwrap();
    for (name, bytes) in files(dir) {
        fs::write(copy.path().join(name), bytes).unwrap();
    }
    copy
}

#[test]
fn h11_the_database_runs_as_promised() {
    let dir = tempdir().unwrap();
    let db = open(&dir);
    let pragma = |name: &str| -> String {
        let sql = format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}");
        db.conn.query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(pragma("journal_mode"), "wal");
    assert_eq!(pragma("synchronous"), "1", "NORMAL");
    assert_eq!(pragma("foreign_keys"), "1");
    assert_eq!(pragma("trusted_schema"), "0");
    assert_eq!(pragma("locking_mode"), "exclusive");
    assert_eq!(pragma("user_version"), SCHEMA.to_string());
    let busy = db
        .conn
        .query_row("PRAGMA busy_timeout", [], |row| row.get(0));
    assert_eq!(
        busy,
        Ok(100),
        "milliseconds, well below the deadline of an open"
    );
    assert!(
        schema(&db)
            .iter()
            .filter(|sql| sql.contains("TABLE"))
            .all(|sql| sql.contains("STRICT"))
    );
}

#[test]
fn h11_every_older_version_becomes_the_newest_with_its_data() {
    let fresh = schema(&open(&tempdir().unwrap()));
    for version in 0..=SCHEMA {
        let dir = tempdir().unwrap();
        let conn = of_version(&dir, version);
        if version >= 1 {
            conn.execute_batch("INSERT INTO persona (name, state) VALUES ('p://work', 'running')")
                .unwrap();
        }
        drop(conn);
        let db = open(&dir);
        assert_eq!(schema(&db), fresh, "from {version}");
        assert_eq!(db.personas().unwrap().len(), usize::from(version >= 1));
        assert_eq!(db.floor(), Ok(0));
    }
}

#[test]
fn h11_a_migration_that_is_cut_off_happens_at_the_next_open() {
    for version in 0..SCHEMA {
        let dir = tempdir().unwrap();
        let conn = of_version(&dir, version);
        let step = MIGRATIONS[version as usize];
        conn.execute_batch(&format!(
            "PRAGMA cache_size = 1; BEGIN; {step}; PRAGMA user_version = {}",
            version + 1
        ))
        .unwrap();
        let after = cut(&dir);
        let seen = Connection::open(after.path().join(DB_NAME)).unwrap();
        assert_eq!(
            seen.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0)),
            Ok(version)
        );
        drop(seen);
        assert_eq!(schema(&open(&after)), schema(&open(&tempdir().unwrap())));
    }
}

#[test]
fn h11_a_step_that_fails_leaves_the_version_before() {
    let dir = tempdir().unwrap();
    let conn = of_version(&dir, 1);
    // In the way of the third step: the second one holds.
    conn.execute_batch("CREATE TABLE machine (a)").unwrap();
    drop(conn);
    let error = Db::open(dir.path(), &mut vec![]).err().unwrap().to_string();
    let text = "open state.db: table machine already exists";
    assert!(error.starts_with(text), "{error}");
    let conn = Connection::open(dir.path().join(DB_NAME)).unwrap();
    let version = conn.pragma_query_value(None, "user_version", |row| row.get(0));
    assert_eq!(version, Ok(2));
    assert_eq!(rows(&conn, "SELECT hash FROM nack", []), Ok(vec![]));
}

#[test]
fn h11_a_newer_schema_is_refused_and_not_one_byte_is_touched() {
    let dir = tempdir().unwrap();
    let conn = of_version(&dir, SCHEMA);
    conn.execute_batch("INSERT INTO persona (name, state) VALUES ('p://work', 'running'); PRAGMA user_version = 99").unwrap();
    let dir = cut(&dir);
    let before = files(&dir);
    assert!(
        before
            .iter()
            .any(|(name, bytes)| name == "state.db-wal" && !bytes.is_empty()),
        "a WAL to be tempted by"
    );
    let error = Db::open(dir.path(), &mut vec![]).err().unwrap().to_string();
    assert_eq!(
        error,
        "open state.db: schema 99 is newer than 3, the newest known; left untouched; next: boot the newer Spine"
    );
    assert!(files(&dir) == before);
}

#[test]
fn h11_a_corrupt_database_is_set_aside_whole_and_a_fresh_one_made() {
    let healthy = {
        let dir = tempdir().unwrap();
        let db = open(&dir);
        db.set_state("p://work", "running").unwrap();
        db.close().unwrap();
        fs::read(dir.path().join(DB_NAME)).unwrap()
    };
    let mut page_gone = healthy.clone();
    page_gone[4096..8192].fill(0xff);
    let cases = [
        (vec![b'x'; 8192], "file is not a database"),
        (
            healthy[..healthy.len() - 4096].to_vec(),
            "database disk image is malformed",
        ),
        (
            page_gone,
            "Tree 2 page 2: btreeInitPage() returns error code 11",
        ),
    ];
    for (bytes, cause) in cases {
        let dir = tempdir().unwrap();
        fs::write(dir.path().join(DB_NAME), &bytes).unwrap();
        let mut trouble = vec![];
        let db = Db::open(dir.path(), &mut trouble).unwrap();
        let [text] = trouble.try_into().unwrap();
        assert!(
            text.starts_with(&format!("open state.db: {cause}")),
            "{text}"
        );
        let aside = crate::disk::aside(dir.path(), "state.db.corrupt-").remove(0);
        let rest = format!("; begun afresh, the old one is {aside}; next: find out why");
        assert!(text.ends_with(&rest), "{text}");
        assert_eq!(fs::read(dir.path().join(aside)).unwrap(), bytes);
        assert_eq!(db.personas(), Ok(vec![]));
        db.close().unwrap();
        open(&dir);
    }
}

#[test]
fn h11_the_sixth_corrupt_database_stays_where_it_is() {
    let dir = tempdir().unwrap();
    for _ in 0..5 {
        fs::write(
            dir.path().join(DB_NAME),
            "not a database, as anyone can see",
        )
        .unwrap();
        let mut trouble = vec![];
        let db = Db::open(dir.path(), &mut trouble).unwrap();
        db.close().unwrap();
        assert_eq!(trouble.len(), 1);
    }
    fs::write(
        dir.path().join(DB_NAME),
        "not a database, as anyone can see",
    )
    .unwrap();
    let error = Db::open(dir.path(), &mut vec![]).err().unwrap().to_string();
    assert_eq!(
        error,
        "set aside state.db: 5 damaged ones are kept already; state cannot be kept; next: copy and remove them on another \
         machine"
    );
    assert_eq!(
        fs::read(dir.path().join(DB_NAME)).unwrap(),
        b"not a database, as anyone can see"
    );
}

#[test]
fn s04_what_was_acknowledged_is_in_the_files_without_a_close() {
    let dir = tempdir().unwrap();
    let db = open(&dir);
    db.set_state("p://work", "running").unwrap();
    db.raise_floor(77).unwrap();
    db.nack_add(&"ab".repeat(32), "hung").unwrap();
    db.set_seed([7; 32]).unwrap();
    let after = open(&cut(&dir));
    assert_eq!(after.personas(), Ok(vec!["p://work running".to_owned()]));
    assert_eq!(after.floor(), Ok(77));
    assert_eq!(
        after.nack_get(&"ab".repeat(32)),
        Ok(vec!["hung".to_owned()])
    );
    assert_eq!(after.seed(), Some([7; 32]));
}

#[test]
fn h08_a_close_folds_the_wal_into_the_database() {
    let dir = tempdir().unwrap();
    let db = open(&dir);
    db.set_state("p://work", "running").unwrap();
    db.close().unwrap();
    assert_eq!(files(&dir).len(), 1, "the database alone");
    assert_eq!(open(&dir).personas().unwrap().len(), 1);
}

#[test]
fn h10_personas_are_bounded_and_sorted() {
    let dir = tempdir().unwrap();
    let db = open(&dir);
    for number in (0..256).rev() {
        db.set_state(&format!("p://room{number:03}"), "stopped")
            .unwrap();
    }
    let error = db
        .set_state("p://toomany", "starting")
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "set-state p://toomany starting: 256 others are recorded; not recorded; next: reuse one of them"
    );
    db.set_state("p://room007", "running").unwrap();
    let personas = db.personas().unwrap();
    assert_eq!(personas.len(), 256);
    assert!(personas.is_sorted());
    assert_eq!(personas[7], "p://room007 running".to_owned());
}

#[test]
fn h16_the_floor_only_rises() {
    let dir = tempdir().unwrap();
    let db = open(&dir);
    for (now, floor) in [
        (100, 100),
        (99, 100),
        (100, 100),
        (u64::from(u32::MAX), u32::MAX.into()),
        (0, 4_294_967_295),
    ] {
        db.raise_floor(now).unwrap();
        assert_eq!(db.floor(), Ok(floor));
    }
    let sql = db
        .conn
        .execute("UPDATE machine SET floor = 5", [])
        .unwrap_err();
    assert_eq!(sql.to_string(), "the clock floor only rises");
}

#[test]
fn h16_a_wild_clock_does_not_pin_the_floor() {
    let dir = tempdir().unwrap();
    let db = open(&dir);
    for wild in [1 << 32, u64::MAX] {
        let error = db.raise_floor(wild).unwrap_err().to_string();
        let why = "CHECK constraint failed: floor BETWEEN 0 AND 4294967295";
        let text = format!("clock {wild}: {why}; nothing recorded; next: correct the value");
        assert_eq!(error, text);
    }
    assert_eq!(db.floor(), Ok(0));
}

#[test]
fn h17_a_nack_is_remembered_by_a_whole_hash_only() {
    let dir = tempdir().unwrap();
    let db = open(&dir);
    let hash = "0123456789abcdef".repeat(4);
    db.nack_add(&hash, "hung in validate").unwrap();
    db.nack_add(&hash, "hung again").unwrap();
    assert_eq!(db.nack_get(&hash), Ok(vec!["hung again".to_owned()]));
    assert_eq!(db.nack_get(&"f".repeat(64)), Ok(vec![]));
    for bad in [
        "",
        &hash[1..],
        &hash.to_uppercase(),
        &format!("{hash}0"),
        &format!("{}\0", &hash[1..]),
    ] {
        let error = db.nack_add(bad, "x").unwrap_err().to_string();
        assert!(
            error.contains("CHECK constraint failed"),
            "{bad:?}: {error}"
        );
    }
    assert!(db.nack_add(&hash, &"x".repeat(513)).is_err());
}

#[test]
fn h06_a_keeper_that_was_killed_and_still_holds_the_database_keeps_its_successor_out() {
    let dir = tempdir().unwrap();
    let first = open(&dir);
    let error = Db::open(dir.path(), &mut vec![]).err().unwrap().to_string();
    assert_eq!(
        error,
        "open state.db: database is locked; state is dirty; next: check the disk, then reboot"
    );
    drop(first);
    open(&dir);
}

fn sql_takes(db: &Db, text: &str) -> bool {
    let inserted = db.conn.execute(
        "INSERT INTO persona (name, state) VALUES (?1, 'stopped')",
        [text],
    );
    db.conn.execute("DELETE FROM persona", []).unwrap();
    inserted.is_ok()
}

#[test]
fn h14_sql_refuses_what_the_type_refuses_at_every_edge() {
    let db = open(&tempdir().unwrap());
    let (longest, deepest) = ("a".repeat(32), ["a"; 5].join("/"));
    for good in [
        "p://a",
        "sys://ai",
        &format!("p://{longest}"),
        &format!("sys://{deepest}"),
        "p://0/9/z",
    ] {
        assert!(
            sql_takes(&db, good) && PersonaName::parse(good).is_ok(),
            "{good}"
        );
    }
    let bad = [
        "",
        "p://",
        "sys://",
        "p:/a",
        "a",
        "P://a",
        "p://A",
        "p://a/",
        "p:///a",
        "p://a//b",
        "p://a b",
        "p://a_b",
        "q://a",
        "xp://a",
        "p://p://a",
        "p://é",
        "p://a\0",
        "p://a\0b",
        "\0p://a",
        "p://a\n",
        &format!("p://{longest}a"),
        &format!("p://a/{longest}a/b"),
        &format!("p://{deepest}/a"),
    ];
    for bad in bad {
        assert!(
            !sql_takes(&db, bad) && PersonaName::parse(bad).is_err(),
            "{bad:?}"
        );
    }
}

#[test]
fn h14_sql_refuses_a_state_or_row_of_another_kind() {
    let db = open(&tempdir().unwrap());
    for sql in [
        "INSERT INTO persona (name, state) VALUES ('p://a', 'paused')",
        "INSERT INTO persona (name, state) VALUES ('p://a', NULL)",
        "INSERT INTO persona (name, state) VALUES (7, 'stopped')",
        "INSERT INTO persona (name, state) VALUES (x'702f2f61', 'stopped')",
        "INSERT INTO machine VALUES (2, 0, NULL)",
        "UPDATE machine SET floor = 'soon'",
        "UPDATE machine SET seed = zeroblob(31)",
        "UPDATE machine SET seed = 'text of thirty-two bytes, exactly'",
    ] {
        assert!(db.conn.execute(sql, []).is_err(), "{sql}");
    }
}

proptest! {
    #[test]
    fn h14_sql_takes_exactly_the_names_the_type_takes(
        text in prop_oneof![
            "(p|sys|q)?:?//?[a-z0-9]{0,34}(/[a-zA-Z0-9_\0é]{0,34}){0,6}",
            "(p|sys)://[a-z0-9]{1,32}(/[a-z0-9]{1,33}){0,5}",
            any::<String>(),
        ]
    ) {
        thread_local!(static DB: (TempDir, Db) = { let dir = tempdir().unwrap(); let db = open(&dir); (dir, db) });
        DB.with(|(_, db)| {
            prop_assert_eq!(sql_takes(db, &text), PersonaName::parse(&text).is_ok(), "{:?}", text);
            Ok(())
        })?;
    }
}

fn by(device: &File) -> entropy::Crediter {
    entropy::Crediter::start(device.try_clone().unwrap(), false).unwrap()
}

#[test]
fn h16_a_seed_is_replaced_before_it_is_used_and_never_serves_twice() {
    let dir = tempdir().unwrap();
    let device = tempfile::tempfile().unwrap();
    let db = open(&dir);
    assert_eq!(
        entropy::restore(&db, by(&device)).unwrap(),
        "none",
        "the first boot has none"
    );
    let mut served = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let before = db.seed().unwrap();
        // It is no such device: even then the seed must be another one by now.
        let error = entropy::restore(&db, by(&device)).unwrap_err().to_string();
        assert_eq!(
            error,
            "credit entropy seed: ENOTTY; state cannot be kept; next: check the disk, then reboot"
        );
        assert_ne!(db.seed().unwrap(), before);
        assert!(served.insert(crate::hex(&before).to_uppercase()));
        assert!(served.insert(entropy::replace(&db).unwrap()));
    }
}

#[test]
fn h16_the_kernel_takes_the_seed_and_its_fingerprint_tells_which() {
    let dir = tempdir().unwrap();
    let db = open(&dir);
    db.set_seed([9; 32]).unwrap();
    let pool = File::options().write(true).open("/dev/random").unwrap();
    let fingerprint = entropy::restore(&db, by(&pool)).unwrap();
    let used = crate::sha256(&["09".repeat(32).as_bytes(), b"use"]);
    assert_eq!(fingerprint, crate::hex(&crate::sha256(&[&used]))[..16]);
    assert_ne!(entropy::restore(&db, by(&pool)).unwrap(), fingerprint);
}

#[test]
#[ignore = "needs root"]
fn h11_a_migration_without_space_is_refused_and_touches_nothing() {
    let dir = crate::client::tests::tmpfs("1024k");
    drop(of_version(&dir, 2));
    let before = files(&dir);
    let error = Db::open(dir.path(), &mut vec![]).err().unwrap().to_string();
    let free = statvfs(dir.path()).unwrap();
    let free = free.blocks_available() * free.fragment_size();
    let need = 2 * fs::metadata(dir.path().join(DB_NAME)).unwrap().len() + 1024 * 1024;
    assert_eq!(
        error,
        format!(
            "open state.db: {free} bytes free, {need} needed; left untouched; next: free space on /persist"
        )
    );
    assert!(files(&dir) == before);
}

#[test]
#[ignore = "needs root"]
fn h15_a_write_on_a_full_disk_says_so() {
    let dir = crate::client::tests::tmpfs("2m");
    let db = open(&dir);
    crate::client::tests::fill(&dir);
    let error = (0..256)
        .find_map(|number| db.set_state(&format!("p://room{number}"), "stopped").err())
        .unwrap();
    let text = error.to_string();
    assert!(
        text.ends_with(": ENOSPC; state cannot be kept; next: free space on /persist"),
        "{text}"
    );
}

#[test]
fn h10_what_no_type_has_checked_the_tables_refuse() {
    let db = open(&tempdir().unwrap());
    assert!(db.set_state("p://Work", "running").is_err());
    assert!(db.set_state("p://work", "paused").is_err());
    for now in ["-1", "soon", ""] {
        assert_eq!(db.raw(&["clock", now], RAISE_FLOOR), Ok(vec![]));
        assert_eq!(db.floor(), Ok(0));
    }
}

#[test]
fn t04_baked_policies_are_told_line_by_line_and_never_written() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("policy.db");
    let path = path.to_str().unwrap();
    let conn = Connection::open(path).unwrap();
    let view = "CREATE VIEW line(line) AS VALUES ('policy\tp://a'), ('image\tb')";
    conn.execute_batch(view).unwrap();
    drop(conn);
    let before = files(&dir);
    let lines = ["policy\tp://a", "image\tb"].map(str::to_owned);
    assert_eq!(baked(path), Ok(lines.to_vec()));
    assert!(files(&dir) == before);
    let gone = dir.path().join("gone").display().to_string();
    assert_eq!(
        baked(&gone).map_err(|error| error.to_string()),
        Err(format!(
            "read {gone}: unable to open database file: {gone}; no room starts; next: rebuild the Spine"
        ))
    );
}
