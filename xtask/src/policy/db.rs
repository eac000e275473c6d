//! All policies as one read-only database: what the running system will look into instead of parsing text (decision 12).
//!
//! The same policies make the same bytes: one connection, rows in the order of their names, no journal left behind, a fixed page
//! size. The version of SQLite is in the header, so another SQLite makes another file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use bay0_persona::PersonaName;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, Row, params, params_from_iter};

use super::file::Policy;
use super::rule::{Grant, Restart};
use super::set::Policies;

/// `PRAGMA user_version` of the file: a reader that knows another one refuses it.
pub const VERSION: i64 = 1;
/// `PRAGMA application_id`: "bay0" in ASCII.
const APPLICATION: i64 = 0x6261_7930;
/// Bits stand at the kernel's numbers (capabilities) or at those of `terms.rs`; a room without restart has 0 tries.
const SCHEMA: &str = "
    CREATE TABLE policy (
        name TEXT PRIMARY KEY CHECK (name GLOB 'sys://*' OR name GLOB 'p://*'),
        image TEXT NOT NULL,
        cpu_quota_percent INTEGER NOT NULL CHECK (cpu_quota_percent > 0),
        cpu_weight INTEGER NOT NULL CHECK (cpu_weight BETWEEN 1 AND 10000),
        memory_max_bytes INTEGER NOT NULL CHECK (memory_max_bytes > 0),
        memory_swap_bytes INTEGER NOT NULL CHECK (memory_swap_bytes = 0),
        pids INTEGER NOT NULL CHECK (pids > 0),
        open_files INTEGER NOT NULL CHECK (open_files > 0),
        tmpfs_bytes INTEGER NOT NULL CHECK (tmpfs_bytes BETWEEN 1 AND memory_max_bytes),
        seccomp INTEGER NOT NULL CHECK (seccomp BETWEEN 0 AND 2),
        capabilities INTEGER NOT NULL CHECK (capabilities BETWEEN 0 AND 4294967295),
        network INTEGER NOT NULL CHECK (network IN (0, 1, 2)),
        devices INTEGER NOT NULL CHECK (devices BETWEEN 0 AND 31),
        terminal INTEGER NOT NULL CHECK (terminal IN (0, 1)),
        autostart INTEGER NOT NULL CHECK (autostart IN (0, 1)),
        restart_tries INTEGER NOT NULL CHECK (restart_tries BETWEEN 0 AND 10),
        restart_delay_ms INTEGER NOT NULL CHECK ((restart_tries = 0) = (restart_delay_ms = 0))
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE argument (
        name TEXT NOT NULL REFERENCES policy(name),
        place INTEGER NOT NULL CHECK (place >= 0),
        value TEXT NOT NULL,
        PRIMARY KEY (name, place)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE variable (
        name TEXT NOT NULL REFERENCES policy(name),
        variable TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (name, variable)
    ) STRICT, WITHOUT ROWID;";
/// The columns of [`numbers`], in its order.
const NUMBERS: [&str; 14] = [
    "cpu_quota_percent",
    "cpu_weight",
    "memory_max_bytes",
    "pids",
    "open_files",
    "tmpfs_bytes",
    "seccomp",
    "capabilities",
    "network",
    "devices",
    "terminal",
    "autostart",
    "restart_tries",
    "restart_delay_ms",
];

/// Writes `policies`, which are in order, to `path` and reads them back before the file gets its name.
pub fn compile(policies: &Policies, path: &Path) -> Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let dir = dir.unwrap_or(Path::new("."));
    fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    let half = tempfile::NamedTempFile::new_in(dir)
        .with_context(|| format!("write into {}", dir.display()))?;
    write(policies, half.path()).with_context(|| format!("compile {}", path.display()))?;
    let back = read(half.path())?;
    ensure!(
        back == *policies,
        "compile {}: what was written reads back differently; next: report it",
        path.display()
    );
    half.as_file()
        .set_permissions(fs::Permissions::from_mode(0o444))?;
    half.persist(path)
        .with_context(|| format!("name {}", path.display()))?;
    Ok(())
}

fn write(policies: &Policies, path: &Path) -> Result<()> {
    let mut db = Connection::open(path)?;
    db.execute_batch("PRAGMA page_size = 4096; PRAGMA journal_mode = OFF; PRAGMA secure_delete = ON; PRAGMA foreign_keys = ON;")?;
    db.pragma_update(None, "application_id", APPLICATION)?;
    db.pragma_update(None, "user_version", VERSION)?;
    let all = db.transaction()?;
    all.execute_batch(SCHEMA)?;
    for (name, policy) in policies {
        insert(&all, &name.to_string(), policy)?;
    }
    all.commit()?;
    db.execute_batch("VACUUM")?;
    db.close().map_err(|(_, error)| error)?;
    Ok(())
}

fn insert(db: &Connection, name: &str, policy: &Policy) -> Result<()> {
    let columns = NUMBERS.join(", ");
    let places: Vec<_> = (3..3 + NUMBERS.len()).map(|at| format!("?{at}")).collect();
    let places = places.join(", ");
    let mut row = vec![
        Value::Text(name.to_owned()),
        Value::Text(policy.image.clone()),
    ];
    for number in numbers(&policy.grant) {
        row.push(Value::Integer(i64::try_from(number)?));
    }
    let insert = format!(
        "INSERT INTO policy (name, image, memory_swap_bytes, {columns}) VALUES (?1, ?2, 0, {places})"
    );
    db.execute(&insert, params_from_iter(row))?;
    for (place, value) in (0i64..).zip(&policy.command) {
        db.execute(
            "INSERT INTO argument VALUES (?1, ?2, ?3)",
            params![name, place, value],
        )?;
    }
    for (variable, value) in &policy.environment {
        db.execute(
            "INSERT INTO variable VALUES (?1, ?2, ?3)",
            params![name, variable, value],
        )?;
    }
    Ok(())
}

/// A room without restart has 0 tries.
fn numbers(grant: &Grant) -> [u64; NUMBERS.len()] {
    let restart = grant.restart.unwrap_or(Restart {
        tries: 0,
        delay_ms: 0,
    });
    [
        grant.cpu_quota,
        grant.cpu_weight,
        grant.memory_max,
        grant.pids,
        grant.open_files,
        grant.tmpfs,
        grant.seccomp,
        grant.capabilities,
        grant.network,
        grant.devices,
        u64::from(grant.terminal),
        u64::from(grant.autostart),
        restart.tries,
        restart.delay_ms,
    ]
}

/// The reverse of [`numbers`].
fn grant(numbers: [u64; NUMBERS.len()]) -> Grant {
    let [
        cpu_quota,
        cpu_weight,
        memory_max,
        pids,
        open_files,
        tmpfs,
        rest @ ..,
    ] = numbers;
    let [
        seccomp,
        capabilities,
        network,
        devices,
        terminal,
        autostart,
        tries,
        delay_ms,
    ] = rest;
    Grant {
        cpu_quota,
        cpu_weight,
        memory_max,
        pids,
        open_files,
        tmpfs,
        seccomp,
        capabilities,
        network,
        devices,
        terminal: terminal == 1,
        autostart: autostart == 1,
        restart: (tries > 0).then_some(Restart { tries, delay_ms }),
    }
}

/// Reads a compiled file, which is not written to by that, not even beside it.
pub fn read(path: &Path) -> Result<Policies> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || format!("open {}", path.display());
    let db = Connection::open_with_flags(path, flags).with_context(open)?;
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    ensure!(
        version == VERSION,
        "{}: version {version}, not {VERSION}; next: compile it again",
        open()
    );
    let columns = NUMBERS.join(", ");
    let mut rows = db.prepare(&format!("SELECT name, image, {columns} FROM policy"))?;
    let mut rows = rows.query(())?;
    let mut policies = Policies::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let policy = policy(&db, &name, row).with_context(|| format!("read {name}"))?;
        policies.insert(
            PersonaName::parse(&name).map_err(|err| anyhow!("{name}: {err}"))?,
            policy,
        );
    }
    Ok(policies)
}

fn policy(db: &Connection, name: &str, row: &Row<'_>) -> Result<Policy> {
    let mut found = [0; NUMBERS.len()];
    for (column, number) in (2..).zip(&mut found) {
        *number = u64::try_from(row.get::<usize, i64>(column)?)?;
    }
    let arguments = "SELECT value FROM argument WHERE name = ?1 ORDER BY place";
    let variables = "SELECT variable, value FROM variable WHERE name = ?1";
    Ok(Policy {
        image: row.get(1)?,
        command: below(db, arguments, name, |row| row.get(0))?,
        environment: below(db, variables, name, |row| Ok((row.get(0)?, row.get(1)?)))?,
        grant: grant(found),
    })
}

fn below<T, C: FromIterator<T>>(
    db: &Connection,
    select: &str,
    name: &str,
    value: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<C> {
    let mut rows = db.prepare(select)?;
    rows.query_map([name], value)?.collect()
}
