//! `/persist/state.db` (H11): WAL, `synchronous=NORMAL`, STRICT tables.
//!
//! With `synchronous=NORMAL` SQLite does not flush the WAL when it commits, so a power cut could take an acknowledged write
//! with it. The keeper therefore flushes `state.db-wal` itself after every write, before it replies; the WAL is replayed at
//! the next open. The keeper is the only reader and writer, hence exclusive locking: no shared-memory file, and a keeper
//! that hangs in the disk keeps its successor out.
//!
//! The CHECKs repeat what the types already promise, [`PersonaName`] above all, so that a tool or a bug that goes around them is
//! refused too (H14). SQLite's `GLOB` and `length` stop at a NUL, hence the comparison with the length in bytes.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bay0_persona::PersonaName;
use nix::sys::statvfs::statvfs;
use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, Params, params};

use crate::disk;
use crate::error::{At, Fault};
use crate::wire::{Persona, State};

/// The database's file name.
pub(crate) const DB_NAME: &str = "state.db";
/// The schema version this Spine knows: the number of steps.
pub(crate) const SCHEMA: u32 = MIGRATIONS.len() as u32;
/// Most personas, and most NACKs, that are recorded.
const MAX_ROWS: u32 = 256;
/// How long to wait for a keeper that was killed and has not let go yet: well below the deadline of an open.
const BUSY: Duration = Duration::from_millis(100);
const OPEN: &str = "open state.db";
const MIGRATE: &str = "migrate state.db";

/// Step *n* leads from schema version *n − 1* to *n*; a step that has shipped is never edited.
const MIGRATIONS: [&str; 3] = [
    "CREATE TABLE persona (
        name TEXT PRIMARY KEY CHECK (name GLOB 'sys://*' OR name GLOB 'p://*'),
        path TEXT AS ('/' || substr(name, instr(name, '://') + 3)),
        state TEXT NOT NULL CHECK (state IN ('stopped', 'starting', 'running')),
        CHECK (length(CAST(name AS BLOB)) = length(name)),
        CHECK (path NOT GLOB '*[^a-z0-9/]*' AND path NOT GLOB '*//*' AND path NOT GLOB '*/'),
        CHECK (length(path) - length(replace(path, '/', '')) <= 5),
        CHECK (path NOT GLOB '*' || replace(hex(zeroblob(33)), '00', '[^/]') || '*')
    ) STRICT, WITHOUT ROWID",
    "CREATE TABLE nack (
        hash TEXT PRIMARY KEY CHECK (hash NOT GLOB '*[^0-9a-f]*' AND length(hash) = 64),
        reason TEXT NOT NULL CHECK (length(reason) <= 512),
        CHECK (length(CAST(hash AS BLOB)) = 64)
    ) STRICT, WITHOUT ROWID",
    // The clock's upper end, year 2106, keeps a wild hardware clock from pinning the floor for ever.
    "CREATE TABLE clock (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        floor INTEGER NOT NULL CHECK (floor BETWEEN 0 AND 4294967295)
    ) STRICT;
    CREATE TRIGGER clock_only_rises BEFORE UPDATE ON clock WHEN new.floor < old.floor
    BEGIN SELECT RAISE(ABORT, 'the clock floor only rises'); END;
    INSERT INTO clock VALUES (1, 0);
    CREATE TABLE seed (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        value BLOB NOT NULL CHECK (length(value) = 32)
    ) STRICT",
];

const SET_STATE: &str = "INSERT INTO persona (name, state)
    SELECT ?1, ?2 WHERE (SELECT count(*) FROM persona WHERE name <> ?1) < ?3
    ON CONFLICT (name) DO UPDATE SET state = excluded.state";
const ADD_NACK: &str = "INSERT INTO nack (hash, reason)
    SELECT ?1, ?2 WHERE (SELECT count(*) FROM nack WHERE hash <> ?1) < ?3
    ON CONFLICT (hash) DO UPDATE SET reason = excluded.reason";
const SET_SEED: &str = "INSERT INTO seed VALUES (1, ?1)
    ON CONFLICT (one) DO UPDATE SET value = excluded.value";

/// The open database.
pub(crate) struct Db {
    conn: Connection,
    wal: PathBuf,
}

impl Db {
    /// Opens and migrates the database in `dir`. A damaged one is set aside and a fresh one made; then the text says so.
    pub fn open(dir: &Path) -> Result<(Self, Option<String>), Fault> {
        let mut conn = connect(dir).at(OPEN)?;
        let mut trouble = None;
        if let Some(damage) = damage(&conn).at(OPEN)? {
            drop(conn);
            let aside = disk::set_aside(dir, DB_NAME, "corrupt")?;
            let rest = format!("begun afresh, the old one is {aside}; next: find out why");
            trouble = Some(format!("{OPEN}: {damage}; {rest}"));
            conn = connect(dir).at(OPEN)?;
        }
        prepare(&mut conn, dir)?;
        let wal = dir.join(format!("{DB_NAME}-wal"));
        let db = Self { conn, wal };
        db.flush().and_then(|()| disk::sync_dir(dir)).at(OPEN)?;
        Ok((db, trouble))
    }

    pub fn personas(&self) -> Result<Vec<Persona>, Fault> {
        let what = "read personas";
        let sql = "SELECT name, state FROM persona ORDER BY name";
        let mut query = self.conn.prepare(sql).at(what)?;
        let rows = query.query_map([], |row| row.try_into()).at(what)?;
        let mut personas = Vec::new();
        for row in rows {
            let (name, state): (String, String) = row.at(what)?;
            let name = PersonaName::parse(&name).ok();
            let Some((name, state)) = name.zip(State::parse(&state)) else {
                let rest = "no persona starts; next: check the disk, then reboot";
                return Err(format!("{what}: not a row of ours; {rest}"));
            };
            personas.push(Persona { name, state });
        }
        Ok(personas)
    }

    pub fn set_state(&self, name: &PersonaName, state: State) -> Result<(), Fault> {
        let (name, state) = (name.to_string(), state.to_string());
        self.bounded(&format!("record {name}"), SET_STATE, &name, &state)
    }

    pub fn nack_add(&self, hash: &str, reason: &str) -> Result<(), Fault> {
        self.bounded(&format!("record NACK {hash}"), ADD_NACK, hash, reason)
    }

    /// The recorded reason, or nothing.
    pub fn nack_get(&self, hash: &str) -> Result<Vec<String>, Fault> {
        let sql = "SELECT reason FROM nack WHERE hash = ?1";
        let reason = self.conn.query_row(sql, [hash], |row| row.get(0));
        Ok(reason.optional().at("read NACK")?.into_iter().collect())
    }

    pub fn floor(&self) -> Result<u64, Fault> {
        let sql = "SELECT floor FROM clock";
        let floor = self.conn.query_row(sql, [], |row| row.get::<_, u32>(0));
        floor.map(u64::from).at("read clock floor")
    }

    /// Raises the last-known-good time to `now` UNIX seconds; an earlier one changes nothing.
    pub fn raise_floor(&self, now: u64) -> Result<(), Fault> {
        let sql = "UPDATE clock SET floor = ?1 WHERE floor < ?1";
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        self.write("raise clock floor", sql, [now]).map(drop)
    }

    pub fn seed(&self) -> Result<Option<[u8; 32]>, Fault> {
        let sql = "SELECT value FROM seed";
        let seed = self.conn.query_row(sql, [], |row| row.get(0));
        seed.optional().at("read entropy seed")
    }

    pub fn set_seed(&self, seed: [u8; 32]) -> Result<(), Fault> {
        self.write("write entropy seed", SET_SEED, [seed]).map(drop)
    }

    /// Folds the WAL into the database and closes it.
    pub fn close(self) -> Result<(), Fault> {
        let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
        let folded = self.conn.query_row(sql, [], |_| Ok(()));
        let closed = self.conn.close().map_err(|(_, error)| error);
        folded.and(closed).at("close state.db")
    }

    fn bounded(&self, what: &str, sql: &str, key: &str, value: &str) -> Result<(), Fault> {
        if self.write(what, sql, params![key, value, MAX_ROWS])? > 0 {
            return Ok(());
        }
        let cause = format!("{MAX_ROWS} others are recorded");
        Err(format!(
            "{what}: {cause}; not recorded; next: reuse one of them"
        ))
    }

    /// One statement, durable when this returns; the number of rows it changed.
    fn write(&self, what: &str, sql: &str, values: impl Params) -> Result<usize, Fault> {
        let rows = self.conn.execute(sql, values).at(what)?;
        self.flush().at(what)?;
        Ok(rows)
    }

    fn flush(&self) -> io::Result<()> {
        File::open(&self.wal)?.sync_data()
    }
}

/// A connection that has read nothing yet, and writes nothing when dropped: until the version is known, not even the WAL
/// may be folded in.
fn connect(dir: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open(dir.join(DB_NAME))?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.busy_timeout(BUSY)?;
    conn.execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA trusted_schema = OFF")?;
    Ok(conn)
}

/// What is wrong with the file, if it is damaged.
fn damage(conn: &Connection) -> rusqlite::Result<Option<String>> {
    match conn.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)) {
        Ok(verdict) => {
            // The finding stands on the last line, for SQLite heads it with the database's name.
            let finding = verdict.lines().last().filter(|line| *line != "ok");
            Ok(finding.map(str::to_owned))
        }
        Err(error) => match error.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => Ok(Some(error.to_string())),
            _ => Err(error),
        },
    }
}

/// Refuses a newer schema, migrates an older one, and makes the connection fit for writing.
fn prepare(conn: &mut Connection, dir: &Path) -> Result<(), Fault> {
    let version = conn.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0));
    let version = version.at(OPEN)?;
    if version > SCHEMA {
        let cause = format!("schema {version} is newer than {SCHEMA}, the newest known");
        let rest = "left untouched; next: boot the newer Spine";
        return Err(format!("{OPEN}: {cause}; {rest}"));
    }
    if version < SCHEMA {
        need_space(dir)?;
    }
    let wal = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON";
    conn.execute_batch(wal).at(OPEN)?;
    let folded = conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
    folded.at(OPEN)?;
    for (step, number) in MIGRATIONS.into_iter().zip(1..).skip(version as usize) {
        migrate(conn, step, number).at(MIGRATE)?;
    }
    Ok(())
}

/// A step and its version number in one transaction: a power cut leaves one version or the other.
fn migrate(conn: &mut Connection, step: &str, number: u32) -> rusqlite::Result<()> {
    let transaction = conn.transaction()?;
    transaction.execute_batch(step)?;
    transaction.pragma_update(None, "user_version", number)?;
    transaction.commit()
}

/// A migration may rewrite everything once, in the WAL and then in the file.
fn need_space(dir: &Path) -> Result<(), Fault> {
    let size = fs::metadata(dir.join(DB_NAME)).at(MIGRATE)?.len();
    let need = size.saturating_mul(2).saturating_add(1024 * 1024);
    let disk = statvfs(dir).map_err(io::Error::from).at(MIGRATE)?;
    let free = disk.blocks_available().saturating_mul(disk.fragment_size());
    if free < need {
        let rest = "left untouched; next: free space on /persist";
        return Err(format!(
            "{MIGRATE}: {free} bytes free, {need} needed; {rest}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
