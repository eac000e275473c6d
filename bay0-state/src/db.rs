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

use nix::{errno::Errno, sys::statvfs::statvfs};
use rusqlite::{Connection, ErrorCode, OpenFlags, Params};
use rusqlite::{config::DbConfig, params_from_iter};

use crate::disk;
use crate::error::{Error, Operation, at};
use crate::wire::{Reply, Request};

/// The database's file name.
pub(crate) const DB_NAME: &str = "state.db";
/// The schema version this Spine knows: the number of steps.
pub(crate) const SCHEMA: u32 = MIGRATIONS.len() as u32;
/// The time-out, in milliseconds, is for a keeper that was killed and has not let go yet: well below that of an open.
const FOR_READING: &str =
    "PRAGMA busy_timeout = 100; PRAGMA locking_mode = EXCLUSIVE; PRAGMA trusted_schema = OFF";
const FOR_WRITING: &str =
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON";
const OPEN: &str = "open state.db";

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

/// Neither of the two makes a 257th row.
const SET_STATE: &str = "INSERT OR REPLACE INTO persona (name, state)
    SELECT ?1, ?2 WHERE (SELECT count(*) FROM persona WHERE name <> ?1) < 256";
const RAISE_FLOOR: &str = "UPDATE machine SET floor = max(floor, CAST(?1 AS INTEGER))";
const ADD_NACK: &str = "INSERT OR REPLACE INTO nack (hash, reason)
    SELECT ?1, ?2 WHERE (SELECT count(*) FROM nack WHERE hash <> ?1) < 256";

/// The open database.
pub(crate) struct Db {
    conn: Connection,
    wal: File,
}

impl Db {
    /// Opens and migrates the database in `dir`. A damaged one is set aside and a fresh one made; `trouble` then says so. A
    /// newer schema is refused.
    pub fn open(dir: &Path, trouble: &mut Vec<String>) -> Result<Self, Error> {
        let path = dir.join(DB_NAME);
        let (conn, damage) = connect(&path).map_err(sqlite(OPEN))?;
        if let Some(damage) = damage {
            drop(conn);
            trouble.push(disk::set_aside(dir, DB_NAME, "corrupt", &damage)?);
            return Self::open(dir, trouble);
        }
        let version = conn.pragma_query_value(None, "user_version", |row| row.get(0));
        let version: u32 = version.map_err(sqlite(OPEN))?;
        if version > SCHEMA {
            return Err(Error::Newer {
                version,
                known: SCHEMA,
            });
        }
        if version < SCHEMA {
            need_space(dir)?;
        }
        conn.execute_batch(FOR_WRITING).map_err(sqlite(OPEN))?;
        for (step, number) in MIGRATIONS.into_iter().zip(1..).skip(version as usize) {
            // In one transaction: a power cut leaves one version or the other.
            let version = format!("PRAGMA user_version = {number}");
            let step = ["BEGIN", step, &version, "COMMIT"].join("; ");
            conn.execute_batch(&step).map_err(sqlite(OPEN))?;
        }
        let wal = File::open(path.with_extension("db-wal")).map_err(at(OPEN))?;
        let synced = wal.sync_data().and_then(|()| disk::sync_dir(dir));
        synced.map_err(at(OPEN)).map(|()| Self { conn, wal })
    }

    /// Does what a request asks of the database. What a row cannot hold is refused by its CHECKs.
    pub fn answer(&self, request: &Request) -> Result<Reply, Error> {
        let statement = match request {
            Request::Personas => "SELECT name || ' ' || state FROM persona ORDER BY name",
            Request::Nacks => "SELECT hash FROM nack",
            Request::Clock(_) => RAISE_FLOOR,
            Request::SetState(_) => SET_STATE,
            _ => ADD_NACK,
        };
        let values = params_from_iter(request.fields().1);
        let rows = self.run(request.to_string(), statement, values)?;
        Ok(match request {
            Request::Personas | Request::Nacks => Reply::Lines(rows),
            _ => Reply::Done,
        })
    }

    /// The last-known-good time.
    pub fn floor(&self) -> Result<u64, Error> {
        let floor = self.run("floor", "SELECT CAST(floor AS TEXT) FROM machine", [])?;
        Ok(floor.concat().parse().unwrap_or_default())
    }

    /// Runs one statement; the first column of each row. What it changed is durable when this returns; a write that changed no
    /// row found too many there.
    pub fn run(
        &self,
        what: impl Into<Operation>,
        sql: &str,
        values: impl Params,
    ) -> Result<Vec<String>, Error> {
        let what = what.into();
        let rows = rows(&self.conn, sql, values).map_err(sqlite(what.clone()))?;
        if !sql.starts_with("SELECT") {
            self.wal.sync_data().map_err(at(what.clone()))?;
            let recorded = (self.conn.changes() > 0).then_some(());
            recorded.ok_or(Error::Full(what))?;
        }
        Ok(rows)
    }

    /// Folds the WAL into the database and closes it.
    pub fn close(self) -> Result<(), Error> {
        let folded = self.conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
        folded.map_err(sqlite("close state.db"))
    }
}

/// The lines of the policies that were baked into the Spine, which the factory keeps few enough for one message.
pub(crate) fn baked(path: &str) -> Result<Vec<String>, Error> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let lines = conn.and_then(|conn| rows(&conn, "SELECT line FROM line", []));
    lines.map_err(|error| Error::Unbaked(path.to_owned(), error.to_string()))
}

/// Says of SQLite's error what was being done: for `map_err`.
fn sqlite(what: impl Into<Operation>) -> impl FnOnce(rusqlite::Error) -> Error {
    move |error| match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Error::Call(what.into(), Errno::ENOSPC),
        Some(ErrorCode::ReadOnly) => Error::Call(what.into(), Errno::EROFS),
        Some(ErrorCode::ConstraintViolation) => Error::Unfit(what.into(), error.to_string()),
        _ => Error::Damaged(what.into(), error.to_string()),
    }
}

/// The first column of each row.
fn rows(conn: &Connection, sql: &str, values: impl Params) -> rusqlite::Result<Vec<String>> {
    let mut query = conn.prepare(sql)?;
    query.query_map(values, |row| row.get(0))?.collect()
}

/// A connection, and what is wrong with the file if it is damaged. It writes nothing when dropped: until the version is known,
/// not even the WAL may be folded in.
fn connect(path: &Path) -> rusqlite::Result<(Connection, Option<String>)> {
    let conn = Connection::open(path)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.execute_batch(FOR_READING)?;
    let verdict = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
    let verdict: String = verdict.or_else(|error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Ok(error.to_string()),
        _ => Err(error),
    })?;
    // A finding stands on the last line, for SQLite heads it with the database's name.
    let finding = verdict.lines().last().filter(|line| *line != "ok");
    Ok((conn, finding.map(str::to_owned)))
}

/// A migration may rewrite everything once, in the WAL and then in the file.
fn need_space(dir: &Path) -> Result<(), Error> {
    let size = fs::metadata(dir.join(DB_NAME)).map_err(at(OPEN))?.len();
    let need = size.saturating_mul(2).saturating_add(1024 * 1024);
    let disk = statvfs(dir).map_err(at(OPEN))?;
    let free = disk.blocks_available().saturating_mul(disk.fragment_size());
    let enough = (free >= need).then_some(());
    enough.ok_or(Error::Short { free, need })
}

#[cfg(test)]
mod tests;
