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
use std::path::Path;

use bay0_persona::PersonaName;
use nix::sys::statvfs::statvfs;
use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, Params, params};

use crate::disk;
use crate::error::{Fault, at};
use crate::wire::{Persona, State, Wire};

/// The database's file name.
pub(crate) const DB_NAME: &str = "state.db";
/// The schema version this Spine knows: the number of steps.
pub(crate) const SCHEMA: u32 = MIGRATIONS.len() as u32;
/// Most personas, and most NACKs, that are recorded.
const MAX_ROWS: u32 = 256;
/// The time-out, in milliseconds, is for a keeper that was killed and has not let go yet: well below that of an open.
const FOR_READING: &str =
    "PRAGMA busy_timeout = 100; PRAGMA locking_mode = EXCLUSIVE; PRAGMA trusted_schema = OFF";
const FOR_WRITING: &str =
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON";
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
    "CREATE TABLE machine (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        floor INTEGER NOT NULL CHECK (floor BETWEEN 0 AND 4294967295),
        seed BLOB CHECK (length(seed) = 32)
    ) STRICT;
    CREATE TRIGGER floor_only_rises BEFORE UPDATE ON machine WHEN new.floor < old.floor
    BEGIN SELECT RAISE(ABORT, 'the clock floor only rises'); END;
    INSERT INTO machine VALUES (1, 0, NULL)",
];

const SET_STATE: &str = "INSERT OR REPLACE INTO persona (name, state)
    SELECT ?1, ?2 WHERE (SELECT count(*) FROM persona WHERE name <> ?1) < ?3";
const ADD_NACK: &str = "INSERT OR REPLACE INTO nack (hash, reason)
    SELECT ?1, ?2 WHERE (SELECT count(*) FROM nack WHERE hash <> ?1) < ?3";

/// The open database.
pub(crate) struct Db {
    conn: Connection,
    wal: File,
}

impl Db {
    /// Opens and migrates the database in `dir`. A damaged one is set aside and a fresh one made; `trouble` then says so. A
    /// newer schema is refused.
    pub fn open(dir: &Path, trouble: &mut Vec<String>) -> Result<Self, Fault> {
        let conn = connect(dir).map_err(at(OPEN))?;
        if let Some(damage) = damage(&conn).map_err(at(OPEN))? {
            drop(conn);
            trouble.push(disk::set_aside(dir, DB_NAME, "corrupt", &damage)?);
            return Self::open(dir, trouble);
        }
        let version = conn.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0));
        let version = version.map_err(at(OPEN))?;
        if version > SCHEMA {
            let cause = format!("schema {version} is newer than {SCHEMA}, the newest known");
            let rest = "left untouched; next: boot the newer Spine";
            return Err(format!("{OPEN}: {cause}; {rest}"));
        }
        if version < SCHEMA {
            need_space(dir)?;
        }
        conn.execute_batch(FOR_WRITING).map_err(at(OPEN))?;
        for (step, number) in MIGRATIONS.into_iter().zip(1..).skip(version as usize) {
            migrate(&conn, step, number).map_err(at(MIGRATE))?;
        }
        let wal = File::open(dir.join(format!("{DB_NAME}-wal"))).map_err(at(OPEN))?;
        let synced = wal.sync_data().and_then(|()| disk::sync_dir(dir));
        synced.map_err(at(OPEN)).map(|()| Self { conn, wal })
    }

    pub fn personas(&self) -> Result<Vec<Persona>, Fault> {
        let what = "read personas";
        let foreign = "not a row of ours; no persona starts; next: check the disk, then reboot";
        let sql = "SELECT name, state FROM persona ORDER BY name";
        let mut query = self.conn.prepare(sql).map_err(at(what))?;
        let rows = query.query_map([], |row| row.try_into());
        let personas = rows.map_err(at(what))?.map(|row| {
            let (name, state): (String, String) = row.map_err(at(what))?;
            let persona = Persona::take(&mut [name.as_str(), &state].into_iter());
            persona.map_err(|_| format!("{what}: {foreign}"))
        });
        personas.collect()
    }

    pub fn set_state(&self, name: &PersonaName, state: State) -> Result<(), Fault> {
        let (what, name) = (format!("record {name}"), name.to_string());
        self.write(&what, SET_STATE, params![name, state.tag(), MAX_ROWS])
    }

    pub fn nack_add(&self, hash: &str, reason: &str) -> Result<(), Fault> {
        let what = format!("record NACK {hash}");
        self.write(&what, ADD_NACK, params![hash, reason, MAX_ROWS])
    }

    /// The recorded reason, or nothing.
    pub fn nack_get(&self, hash: &str) -> Result<Vec<String>, Fault> {
        let sql = "SELECT reason FROM nack WHERE hash = ?1";
        let reason = self.conn.query_row(sql, [hash], |row| row.get(0));
        let reason = reason.optional().map_err(at("read NACK"));
        reason.map(Vec::from_iter)
    }

    pub fn floor(&self) -> Result<u64, Fault> {
        let sql = "SELECT floor FROM machine";
        let floor = self.conn.query_row(sql, [], |row| row.get::<_, u32>(0));
        floor.map(u64::from).map_err(at("read clock floor"))
    }

    /// Raises the last-known-good time to `now` UNIX seconds; an earlier one changes nothing.
    pub fn raise_floor(&self, now: u64) -> Result<(), Fault> {
        let sql = "UPDATE machine SET floor = max(floor, ?1)";
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        self.write("raise clock floor", sql, [now])
    }

    pub fn seed(&self) -> Result<Option<[u8; 32]>, Fault> {
        let sql = "SELECT seed FROM machine";
        let seed = self.conn.query_row(sql, [], |row| row.get(0));
        seed.map_err(at("read entropy seed"))
    }

    pub fn set_seed(&self, seed: [u8; 32]) -> Result<(), Fault> {
        self.write("write entropy seed", "UPDATE machine SET seed = ?1", [seed])
    }

    /// Folds the WAL into the database and closes it.
    pub fn close(self) -> Result<(), Fault> {
        let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
        let folded = self.conn.query_row(sql, [], |_| Ok(()));
        folded.map_err(at("close state.db"))
    }

    /// One statement, durable when this returns. It changes a row, or there are [`MAX_ROWS`] already.
    fn write(&self, what: &str, sql: &str, values: impl Params) -> Result<(), Fault> {
        let rows = self.conn.execute(sql, values).map_err(at(what))?;
        self.wal.sync_data().map_err(at(what))?;
        if rows > 0 {
            return Ok(());
        }
        let rest = "not recorded; next: reuse one of them";
        Err(format!("{what}: {MAX_ROWS} others are recorded; {rest}"))
    }
}

/// A connection that has read nothing yet, and writes nothing when dropped: until the version is known, not even the WAL
/// may be folded in.
fn connect(dir: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open(dir.join(DB_NAME))?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.execute_batch(FOR_READING)?;
    Ok(conn)
}

/// What is wrong with the file, if it is damaged.
fn damage(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let verdict = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
    let verdict: String = verdict.or_else(|error| match error.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase) => Ok(error.to_string()),
        _ => Err(error),
    })?;
    // A finding stands on the last line, for SQLite heads it with the database's name.
    let finding = verdict.lines().last().filter(|line| *line != "ok");
    Ok(finding.map(str::to_owned))
}

/// A step and its version number in one transaction: a power cut leaves one version or the other.
fn migrate(conn: &Connection, step: &str, number: u32) -> rusqlite::Result<()> {
    let version = format!("PRAGMA user_version = {number}");
    conn.execute_batch(&["BEGIN", step, &version, "COMMIT"].join("; "))
}

/// A migration may rewrite everything once, in the WAL and then in the file.
fn need_space(dir: &Path) -> Result<(), Fault> {
    let size = fs::metadata(dir.join(DB_NAME)).map_err(at(MIGRATE))?.len();
    let need = size.saturating_mul(2).saturating_add(1024 * 1024);
    let disk = statvfs(dir).map_err(at(MIGRATE))?;
    let free = disk.blocks_available().saturating_mul(disk.fragment_size());
    if free >= need {
        return Ok(());
    }
    let cause = format!("{free} bytes free, {need} needed");
    let rest = "left untouched; next: free space on /persist";
    Err(format!("{MIGRATE}: {cause}; {rest}"))
}

#[cfg(test)]
mod tests;
