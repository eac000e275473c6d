//! All policies, what is known of the images, the seccomp profiles and the rule set of `sys://net` as one read-only database, `/lib/bay0/policy.db` of the Spine:
//! what the running system looks into instead of parsing text (decision 12). It reads the view `line` and nothing else.
//!
//! The same input makes the same bytes: one connection, rows in the order of their names, no journal left behind, a fixed page
//! size. The version of SQLite is in the header, so another SQLite makes another file.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Error, Result, anyhow, ensure};
use bay0_persona::PersonaName;
use bay0_persona::policy::AGAIN;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, Row, params, params_from_iter};

use super::ai::Ai;
use super::courier::Courier;
use super::file::Policy;
use super::reach::{Egress, Port, joined};
use super::rule::{Grant, Persist, Restart, Traffic};
use super::set::Policies;
use super::terms::PROFILES;
use crate::roomdisk::Image;
use crate::rules;

/// `PRAGMA user_version` of the file: a reader that knows another one refuses it.
pub const VERSION: i64 = 6;
/// `PRAGMA application_id`: "bay0" in ASCII.
const APPLICATION: i64 = 0x6261_7930;
/// All lines, which the keeper hands to PID 1 in one packet, have to fit it: the kernel lets one have some 200 KiB.
pub const MAX_LINES: usize = 150_000;
/// Bits stand at the kernel's numbers (capabilities) or at those of `terms.rs`; a room without restart has 0 tries, one that keeps
/// nothing 0 bytes, and so has one without a courier; one that may not ask has 0 tokens.
const SCHEMA: &str = "
    CREATE TABLE policy (
        name TEXT PRIMARY KEY CHECK (name GLOB 'sys://*' OR name GLOB 'p://*'),
        image TEXT NOT NULL,
        command TEXT NOT NULL CHECK (instr(command, char(9)) = 0),
        environment TEXT NOT NULL CHECK (instr(environment, char(9)) = 0),
        courier_to TEXT NOT NULL CHECK (courier_to NOT GLOB '*[^a-z0-9:/ ]*'),
        courier_from TEXT NOT NULL CHECK (courier_from NOT GLOB '*[^a-z0-9:/ ]*'),
        cpu_quota_percent INTEGER NOT NULL CHECK (cpu_quota_percent > 0),
        cpu_weight INTEGER NOT NULL CHECK (cpu_weight BETWEEN 1 AND 10000),
        memory_max_bytes INTEGER NOT NULL CHECK (memory_max_bytes > 0),
        pids INTEGER NOT NULL CHECK (pids > 0),
        open_files INTEGER NOT NULL CHECK (open_files > 0),
        tmpfs_bytes INTEGER NOT NULL CHECK (tmpfs_bytes BETWEEN 1 AND memory_max_bytes),
        seccomp INTEGER NOT NULL CHECK (seccomp BETWEEN 0 AND 2),
        capabilities INTEGER NOT NULL CHECK (capabilities BETWEEN 0 AND 4294967295),
        network INTEGER NOT NULL CHECK (network IN (0, 1, 2)),
        devices INTEGER NOT NULL CHECK (devices BETWEEN 0 AND 8191),
        terminal INTEGER NOT NULL CHECK (terminal IN (0, 1, 3)),
        autostart INTEGER NOT NULL CHECK (autostart IN (0, 1)),
        restart_tries INTEGER NOT NULL CHECK (restart_tries BETWEEN 0 AND 10),
        restart_delay_ms INTEGER NOT NULL CHECK ((restart_tries = 0) = (restart_delay_ms = 0)),
        persist_bytes INTEGER NOT NULL CHECK (persist_bytes >= 0),
        persist_records INTEGER NOT NULL
            CHECK (persist_records BETWEEN 0 AND 1000000 AND (persist_bytes = 0) = (persist_records = 0)),
        persist_rate INTEGER NOT NULL CHECK (persist_rate >= 0 AND (persist_bytes = 0) = (persist_rate = 0)),
        background INTEGER NOT NULL CHECK (background IN (0, 1)),
        traffic_rate INTEGER NOT NULL CHECK (traffic_rate >= 0),
        traffic_connections INTEGER NOT NULL CHECK (traffic_connections BETWEEN 0 AND 65536),
        disk_read INTEGER NOT NULL CHECK (disk_read >= 0),
        courier_bytes INTEGER NOT NULL
            CHECK (courier_bytes >= 0 AND (courier_bytes = 0) = (courier_to = '' AND courier_from = '')),
        courier_types INTEGER NOT NULL
            CHECK (courier_types BETWEEN 0 AND 511 AND (courier_bytes = 0) = (courier_types = 0)),
        courier_silent INTEGER NOT NULL CHECK (courier_silent IN (0, 1) AND courier_silent <= courier_bytes),
        trust INTEGER NOT NULL CHECK (trust BETWEEN 0 AND 9),
        ai_tokens_per_minute INTEGER NOT NULL CHECK (ai_tokens_per_minute BETWEEN 0 AND 1000000),
        ai_max_tokens INTEGER NOT NULL
            CHECK (ai_max_tokens BETWEEN 0 AND ai_context AND (ai_tokens_per_minute = 0) = (ai_max_tokens = 0)),
        ai_context INTEGER NOT NULL
            CHECK (ai_context BETWEEN 0 AND 131072 AND (ai_tokens_per_minute = 0) = (ai_context = 0)),
        publish TEXT NOT NULL,
        egress TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE image (
        name TEXT PRIMARY KEY CHECK (name <> '' AND name NOT GLOB '*[^a-z0-9]*'),
        data_blocks INTEGER NOT NULL CHECK (data_blocks > 0),
        roothash TEXT NOT NULL CHECK (length(roothash) = 64 AND roothash NOT GLOB '*[^0-9a-f]*'),
        salt TEXT NOT NULL CHECK (length(salt) = 64 AND salt NOT GLOB '*[^0-9a-f]*')
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE filter (
        profile INTEGER NOT NULL CHECK (profile BETWEEN 0 AND 2),
        place INTEGER NOT NULL CHECK (place >= 0),
        program BLOB NOT NULL CHECK (length(program) > 0 AND length(program) % 8 = 0),
        PRIMARY KEY (profile, place)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE rules (batch BLOB PRIMARY KEY CHECK (length(batch) > 0 AND length(batch) % 4 = 0)) STRICT, WITHOUT ROWID;";
/// All that the running system reads: one text for each row of each table, columns joined by tabs, in an order that does not depend
/// on how the rows are kept.
const VIEW: &str = "
    CREATE VIEW line(line) AS SELECT line FROM (
        SELECT 0 AS kind, name AS major, 0 AS minor, POLICY AS line FROM policy
        UNION ALL SELECT 1, name, 0, IMAGE FROM image
        UNION ALL SELECT 2, profile, place, FILTER FROM filter
        UNION ALL SELECT 3, 0, 0, RULES FROM rules
    ) ORDER BY kind, major, minor;";
/// The columns before the numbers.
const TEXTS: [&str; 6] = [
    "name",
    "image",
    "command",
    "environment",
    "courier_to",
    "courier_from",
];
/// The columns of [`numbers`], in its order.
const NUMBERS: [&str; 28] = [
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
    "persist_bytes",
    "persist_records",
    "persist_rate",
    "background",
    "traffic_rate",
    "traffic_connections",
    "disk_read",
    "courier_bytes",
    "courier_types",
    "courier_silent",
    "trust",
    "ai_tokens_per_minute",
    "ai_max_tokens",
    "ai_context",
];
/// Columns that the view has not: the rule set holds them.
const REACH: &str = "publish, egress";

/// Everything that is compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baked {
    /// What each room may.
    pub policies: Policies,
    /// The images that a room can be started from, by name.
    pub images: Vec<Image>,
    /// Per profile its programs, in the order in which they are installed.
    pub filters: [Vec<Vec<u8>>; PROFILES],
}

/// Writes everything to `path` and reads it back before the file gets its name.
pub fn compile(baked: &Baked, path: &Path) -> Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let dir = dir.unwrap_or(Path::new("."));
    fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    let half = tempfile::NamedTempFile::new_in(dir)
        .with_context(|| format!("write into {}", dir.display()))?;
    write(baked, half.path()).with_context(|| format!("compile {}", path.display()))?;
    let back = read(half.path())?;
    ensure!(
        back == *baked,
        "compile {}: what was written reads back differently; next: report it",
        path.display()
    );
    half.as_file()
        .set_permissions(fs::Permissions::from_mode(0o444))?;
    half.persist(path)
        .with_context(|| format!("name {}", path.display()))?;
    Ok(())
}

fn write(baked: &Baked, path: &Path) -> Result<()> {
    let mut db = Connection::open(path)?;
    db.execute_batch(
        "PRAGMA page_size = 4096; PRAGMA journal_mode = OFF; PRAGMA secure_delete = ON;",
    )?;
    db.pragma_update(None, "application_id", APPLICATION)?;
    db.pragma_update(None, "user_version", VERSION)?;
    let all = db.transaction()?;
    all.execute_batch(SCHEMA)?;
    all.execute_batch(&view())?;
    for (name, policy) in &baked.policies {
        insert(&all, &name.to_string(), policy)?;
    }
    for image in &baked.images {
        let blocks = i64::try_from(image.data_blocks)?;
        all.execute(
            "INSERT INTO image VALUES (?1, ?2, ?3, ?4)",
            params![image.name, blocks, image.roothash, image.salt],
        )?;
    }
    for (profile, programs) in (0i64..).zip(&baked.filters) {
        for (place, program) in (0i64..).zip(programs) {
            all.execute(
                "INSERT INTO filter VALUES (?1, ?2, ?3)",
                params![profile, place, program],
            )?;
        }
    }
    let batch = rules::batch(&baked.policies);
    all.execute("INSERT INTO rules VALUES (?1)", params![batch])?;
    short(&all)?;
    all.commit()?;
    db.execute_batch("VACUUM")?;
    db.close().map_err(|(_, error)| error)?;
    Ok(())
}

fn view() -> String {
    let joined = |columns: &[&str]| columns.join(" || char(9) || ");
    let image = ["'image'", "name", "data_blocks", "roothash", "salt"];
    let filter = ["'filter'", "profile", "place", "lower(hex(program))"];
    VIEW.replace(
        "POLICY",
        &joined(&[&["'policy'"], &TEXTS[..], &NUMBERS].concat()),
    )
    .replace("IMAGE", &joined(&image))
    .replace("FILTER", &joined(&filter))
    .replace("RULES", &joined(&["'rules'", "lower(hex(batch))"]))
}

/// The bounds of a policy's texts keep its line short; a program of a filter may be too long by itself.
fn short(db: &Connection) -> Result<()> {
    let mut all = 0;
    let mut lines = db.prepare("SELECT line FROM line")?;
    for line in lines.query_map((), |row| row.get::<_, String>(0))? {
        let line = line?;
        let what: Vec<_> = line.split('\t').take(3).collect();
        all += line.len() + 1;
        ensure!(
            all < MAX_LINES,
            "with the line of {} there are {all} bytes; next: fewer than {MAX_LINES}",
            what.join(" "),
        );
    }
    Ok(())
}

fn insert(db: &Connection, name: &str, policy: &Policy) -> Result<()> {
    let variables = policy.environment.iter();
    let variables: Vec<_> = variables
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let texts = [
        name.to_owned(),
        policy.image.clone(),
        policy.command.join("\n"),
        variables.join("\n"),
        rooms(&policy.grant.courier.to),
        rooms(&policy.grant.courier.from),
    ];
    let mut row = texts.map(Value::Text).to_vec();
    for number in numbers(&policy.grant) {
        row.push(Value::Integer(i64::try_from(number)?));
    }
    row.push(Value::Text(joined(&policy.grant.publish)));
    row.push(Value::Text(policy.grant.egress.words().join(" ")));
    let places = vec!["?"; row.len()].join(", ");
    let insert = format!("INSERT INTO policy ({}) VALUES ({places})", columns());
    db.execute(&insert, params_from_iter(row))?;
    Ok(())
}

/// All columns of a policy, in the order in which they are written and read.
fn columns() -> String {
    [&TEXTS.join(", "), &NUMBERS.join(", "), REACH].join(", ")
}

/// Names with a space between any two.
fn rooms(names: &BTreeSet<PersonaName>) -> String {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    names.join(" ")
}

/// The reverse of [`rooms`].
fn named(text: &str) -> Result<BTreeSet<PersonaName>> {
    let name = |text| PersonaName::parse(text).map_err(|err| anyhow!("{text}: {err}"));
    text.split_terminator(' ').map(name).collect()
}

/// A room without restart has 0 tries, one that keeps nothing 0 bytes, one that may not ask 0 tokens.
pub fn numbers(grant: &Grant) -> [u64; NUMBERS.len()] {
    let restart = grant.restart.unwrap_or(Restart {
        tries: 0,
        delay_ms: 0,
    });
    let persist = grant.persist.unwrap_or(Persist {
        bytes: 0,
        records: 0,
        rate: 0,
    });
    let ai = grant.ai.unwrap_or(Ai {
        tokens_per_minute: 0,
        max_tokens: 0,
        context: 0,
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
        u64::from(grant.terminal) | (u64::from(grant.again) * AGAIN),
        u64::from(grant.autostart),
        restart.tries,
        restart.delay_ms,
        persist.bytes,
        persist.records,
        persist.rate,
        u64::from(grant.background),
        grant.traffic.rate,
        grant.traffic.connections,
        grant.disk_read,
        grant.courier.bytes,
        grant.courier.types,
        u64::from(grant.courier.silent),
        grant.trust,
        ai.tokens_per_minute,
        ai.max_tokens,
        ai.context,
    ]
}

/// The reverse of [`numbers`]; what is no number is left as it is without.
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
        bytes,
        records,
        persist_rate,
        background,
        traffic_rate,
        connections,
        disk_read,
        courier_bytes,
        types,
        silent,
        trust,
        tokens_per_minute,
        max_tokens,
        context,
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
        terminal: terminal & 1 != 0,
        again: terminal & AGAIN != 0,
        autostart: autostart == 1,
        restart: (tries > 0).then_some(Restart { tries, delay_ms }),
        persist: (bytes > 0).then_some(Persist {
            bytes,
            records,
            rate: persist_rate,
        }),
        background: background == 1,
        traffic: Traffic {
            rate: traffic_rate,
            connections,
        },
        disk_read,
        courier: Courier {
            bytes: courier_bytes,
            types,
            silent: silent == 1,
            ..Courier::default()
        },
        trust,
        ai: (tokens_per_minute > 0).then_some(Ai {
            tokens_per_minute,
            max_tokens,
            context,
        }),
        ..Grant::default()
    }
}

/// Reads a compiled file, which is not written to by that, not even beside it.
pub fn read(path: &Path) -> Result<Baked> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || format!("open {}", path.display());
    let db = Connection::open_with_flags(path, flags).with_context(open)?;
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    ensure!(
        version == VERSION,
        "{}: version {version}, not {VERSION}; next: compile it again",
        open()
    );
    let select = format!("SELECT {} FROM policy", columns());
    let mut rows = db.prepare(&select)?;
    let mut rows = rows.query(())?;
    let mut policies = Policies::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let policy = policy(row).with_context(|| format!("read {name}"))?;
        policies.insert(
            PersonaName::parse(&name).map_err(|err| anyhow!("{name}: {err}"))?,
            policy,
        );
    }
    let batch: Vec<u8> = db.query_row("SELECT batch FROM rules", (), |row| row.get(0))?;
    ensure!(
        batch == rules::batch(&policies),
        "{}: its rule set is not that of its policies; next: compile it again",
        open()
    );
    Ok(Baked {
        policies,
        images: images(&db)?,
        filters: filters(&db)?,
    })
}

fn policy(row: &Row<'_>) -> Result<Policy> {
    let mut found = [0; NUMBERS.len()];
    for (column, number) in (TEXTS.len()..).zip(&mut found) {
        *number = u64::try_from(row.get::<usize, i64>(column)?)?;
    }
    let (command, environment): (String, String) = (row.get(2)?, row.get(3)?);
    let variables = environment.split_terminator('\n').map(|variable| {
        let (name, value) = variable.split_once('=').context("a variable without =")?;
        Ok((name.to_owned(), value.to_owned()))
    });
    let (to, from): (String, String) = (row.get("courier_to")?, row.get("courier_from")?);
    let (publish, egress): (String, String) = (row.get("publish")?, row.get("egress")?);
    let ports = publish.split_terminator(' ').map(Port::parse);
    let egress: Vec<_> = egress.split(' ').collect();
    let grant = grant(found);
    let grant = Grant {
        courier: Courier {
            to: named(&to)?,
            from: named(&from)?,
            ..grant.courier
        },
        publish: ports.collect::<Result<_, _>>().map_err(Error::msg)?,
        egress: Egress::parse(&egress).map_err(|(_, why)| Error::msg(why))?,
        ..grant
    };
    Ok(Policy {
        image: row.get(1)?,
        command: command.split('\n').map(str::to_owned).collect(),
        environment: variables.collect::<Result<_>>()?,
        grant,
    })
}

fn images(db: &Connection) -> Result<Vec<Image>> {
    let mut rows =
        db.prepare("SELECT name, data_blocks, roothash, salt FROM image ORDER BY name")?;
    let images = rows.query_map((), |row| {
        Ok(Image {
            name: row.get(0)?,
            data_blocks: row.get::<_, i64>(1)?.unsigned_abs(),
            roothash: row.get(2)?,
            salt: row.get(3)?,
        })
    })?;
    Ok(images.collect::<Result<_, _>>()?)
}

fn filters(db: &Connection) -> Result<[Vec<Vec<u8>>; PROFILES]> {
    let mut rows = db.prepare("SELECT profile, program FROM filter ORDER BY profile, place")?;
    let mut filters: [Vec<Vec<u8>>; PROFILES] = Default::default();
    let mut rows = rows.query(())?;
    while let Some(row) = rows.next()? {
        let profile = usize::from(row.get::<_, u8>(0)?);
        let programs = filters.get_mut(profile).context("an unknown profile")?;
        programs.push(row.get(1)?);
    }
    Ok(filters)
}
