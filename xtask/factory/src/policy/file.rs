//! One policy file: TOML in, a [`Policy`] or every finding out, each with line and column. An unknown field is a finding and never
//! passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;

use bay0_persona::policy::SOUND;
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, Deserializer};

use super::reach::{Egress, Port};
use super::rule::{Grant, Persist, Restart, Traffic};
use super::spelled::{Again, Flow, Keeps, Raw, cut};
use super::terms::{self, TERMS, Term};

/// What a file says of one room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The image its files come from.
    pub image: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The program's environment, the whole of it.
    pub environment: BTreeMap<String, String>,
    /// What it may.
    pub grant: Grant,
}

/// What is not in order, and where. They sort as a person reads files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// Line and column, from 1; none where it is about the whole.
    pub at: Option<(usize, usize)>,
    /// What is wrong, and the next action.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.at {
            Some((line, column)) => format!(":{line}:{column}"),
            None => String::new(),
        };
        let text = format!("{}{place}: {}", self.file, self.what);
        // A name or a word of the file may hold what a terminal would obey.
        text.chars().try_for_each(|c| match c.is_control() {
            true => write!(f, "{}", c.escape_default()),
            false => write!(f, "{c}"),
        })
    }
}

/// Reads `text`, the content of `file`.
pub fn parse(file: &str, text: &str) -> Result<Policy, Vec<Finding>> {
    let mut reader = Reader {
        file,
        text,
        cut: Vec::new(),
        findings: Vec::new(),
    };
    let policy = reader.raw().map(|raw| reader.policy(raw));
    reader.findings.sort();
    // The parser says the same of every bracket that is left open.
    reader.findings.dedup();
    match policy {
        Some(policy) if reader.findings.is_empty() => Ok(policy),
        _ => Err(reader.findings),
    }
}

/// What is known of a file while it is read.
pub struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    /// Fields that were refused already: they are not missing as well.
    cut: Vec<String>,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    /// One more finding, at a byte of the text.
    pub fn found(&mut self, at: Option<usize>, what: String) {
        let place = |at: usize| {
            let before = self.text.get(..at).unwrap_or(self.text);
            let line = before.rsplit('\n').next().unwrap_or_default();
            (before.matches('\n').count() + 1, line.chars().count() + 1)
        };
        self.findings.push(Finding {
            file: self.file.to_owned(),
            at: at.map(place),
            what,
        });
    }

    /// What serde refuses is taken out, and the rest is asked again: one run shows every finding.
    fn raw(&mut self) -> Option<Raw> {
        let (mut table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let at = error.span().map_or(0, |span| span.start);
            self.found(
                Some(at),
                format!("not TOML: {}; next: correct it", error.message()),
            );
        }
        if !errors.is_empty() {
            return None;
        }
        loop {
            let error = match Raw::deserialize(Deserializer::from(table.clone())) {
                Ok(raw) => return Some(raw),
                Err(error) => error,
            };
            let at = error.span().map_or(0, |span| span.start);
            let what = error
                .message()
                .replace("expected i64", "expected a whole number");
            self.found(Some(at), format!("{what}; next: correct or remove it"));
            let cut = cut(table.get_mut(), at)?;
            self.cut.push(cut);
        }
    }

    fn policy(&mut self, raw: Raw) -> Policy {
        let tmpfs_at = raw.tmpfs.as_ref().map(|tmpfs| tmpfs.span().start);
        let command_at = raw.command.as_ref().map(|command| command.span().start);
        let network = self.network(raw.network);
        let via = network == terms::VIA;
        let devices = self.set("devices", raw.devices, &TERMS.devices);
        let policy = Policy {
            image: self.image(raw.image),
            command: self.command(raw.command),
            environment: self.environment(raw.environment),
            grant: Grant {
                cpu_quota: self.number("cpu.quota", raw.cpu.quota, terms::CPU_QUOTA, None),
                cpu_weight: self.number(
                    "cpu.weight",
                    raw.cpu.weight,
                    terms::CPU_WEIGHT,
                    Some(terms::ORDINARY_WEIGHT),
                ),
                memory_max: self.size("memory.max", raw.memory.max, terms::MEMORY),
                pids: self.number("pids", raw.pids, terms::PIDS, None),
                open_files: self.number("open_files", raw.open_files, terms::OPEN_FILES, None),
                tmpfs: self.size("tmpfs", raw.tmpfs, terms::TMPFS),
                seccomp: self.seccomp(raw.seccomp),
                capabilities: self.set("capabilities", raw.capabilities, &TERMS.capabilities),
                network,
                devices,
                terminal: raw.terminal,
                again: self.exit(raw.exit, raw.terminal),
                autostart: raw.autostart,
                restart: self.restart(raw.restart),
                persist: self.persist(raw.persist),
                background: self.background(raw.background, devices),
                traffic: self.traffic(raw.traffic, via),
                disk_read: self.rate("disk.read", raw.disk.read, terms::DISK_READ),
                publish: self.publish(raw.publish, via),
                egress: self.egress(raw.egress, via),
                trust: self.number("trust", raw.trust, terms::TRUST, Some(0)),
                courier: self.courier(raw.courier),
                ai: self.ai(raw.ai),
            },
        };
        self.room_for_tmpfs(&policy.grant, tmpfs_at);
        self.short(&policy, command_at);
        policy
    }

    /// Whether the end of the program is not the end of the room.
    fn exit(&mut self, exit: Option<Spanned<String>>, terminal: bool) -> bool {
        let again = self.word("exit", exit.as_ref(), &["stop", "again"]) == Some(1);
        if let Some(exit) = exit.filter(|_| again && !terminal) {
            let what = "exit \"again\" has no use in a room that nobody can enter";
            self.wrong(&exit, &format!("{what}; next: set terminal, or remove it"));
        }
        again && terminal
    }

    fn room_for_tmpfs(&mut self, grant: &Grant, at: Option<usize>) {
        if grant.tmpfs >= grant.memory_max && grant.memory_max > 0 {
            let why = "files in memory count as memory: full, they must be \"disk full\" and not the end of a program";
            self.found(
                at,
                format!("tmpfs is not less than memory.max: {why}; next: lower tmpfs"),
            );
        }
    }

    /// One more finding, where this value stands.
    pub fn wrong<T>(&mut self, value: &Spanned<T>, what: &str) {
        self.found(Some(value.span().start), what.to_owned());
    }

    /// Which of these a word is.
    fn word(&mut self, field: &str, word: Option<&Spanned<String>>, all: &[&str]) -> Option<usize> {
        let word = word?;
        let place = all.iter().position(|known| known == word.get_ref());
        if place.is_none() {
            let (word_is, all) = (word.get_ref(), all.join(", "));
            self.wrong(
                word,
                &format!("{field} knows no {word_is:?}; next: one of {all}"),
            );
        }
        place
    }

    /// A field that has to be set and is not.
    pub fn missing(&mut self, field: &str, set: &str) {
        if !self.refused(field) {
            self.found(None, format!("{field} is missing; next: set {set}"));
        }
    }

    /// Whether a field was taken out, by itself or with its table.
    pub fn refused(&self, field: &str) -> bool {
        let refused = |cut: &String| field == cut || field.starts_with(&format!("{cut}."));
        self.cut.iter().any(refused)
    }

    /// Out of bounds or missing is a finding, and 0 stands for it.
    pub fn number(
        &mut self,
        field: &str,
        value: Option<Spanned<i64>>,
        bounds: RangeInclusive<u64>,
        default: Option<u64>,
    ) -> u64 {
        let (low, high) = (bounds.start(), bounds.end());
        match (value, default) {
            (None, Some(default)) => default,
            (None, None) => {
                self.missing(field, &format!("a number from {low} to {high}"));
                0
            }
            (Some(value), _) => {
                let held = u64::try_from(*value.get_ref()).ok();
                held.filter(|n| bounds.contains(n)).unwrap_or_else(|| {
                    let what = format!("{field} is {}", value.get_ref());
                    let next = format!("next: set a number from {low} to {high}");
                    self.wrong(&value, &format!("{what}; {next}"));
                    0
                })
            }
        }
    }

    /// Bytes with a unit; 0 stands for a finding.
    pub fn size(
        &mut self,
        field: &str,
        value: Option<Spanned<String>>,
        bounds: RangeInclusive<u64>,
    ) -> u64 {
        let next = format!(
            "a whole number with its unit from \"{}\" to \"{}\"",
            unit(*bounds.start()),
            unit(*bounds.end())
        );
        let Some(value) = value else {
            self.missing(field, &next);
            return 0;
        };
        bytes(value.get_ref())
            .filter(|n| bounds.contains(n))
            .unwrap_or_else(|| {
                let what = format!("{field} is {:?}", value.get_ref());
                self.wrong(&value, &format!("{what}; next: set {next}"));
                0
            })
    }

    /// The bit of a word, if it is one of `terms`.
    fn term(&mut self, field: &str, value: &Spanned<String>, terms: &[Term]) -> Option<u32> {
        self.word(field, Some(value), &terms::words(terms))?;
        terms::number(terms, value.get_ref())
    }

    /// The bits of these words, each of them once.
    pub fn set(&mut self, field: &str, values: Vec<Spanned<String>>, terms: &[Term]) -> u64 {
        let mut bits = 0;
        for value in values {
            let bit = self.term(field, &value, terms).map_or(0, |bit| 1 << bit);
            if bits & bit != 0 {
                let what = format!("{field} has {:?} twice; next: remove one", value.get_ref());
                self.wrong(&value, &what);
            }
            bits |= bit;
        }
        bits
    }

    fn seccomp(&mut self, value: Option<Spanned<String>>) -> u64 {
        let Some(value) = value else {
            let next = format!("one of {}", terms::words(&TERMS.seccomp).join(", "));
            self.missing("seccomp", &next);
            return 0;
        };
        let term = self.term("seccomp", &value, &TERMS.seccomp);
        u64::from(term.unwrap_or_default())
    }

    fn network(&mut self, value: Option<Spanned<String>>) -> u64 {
        let words = [vec![terms::NO_NETWORK], terms::words(&TERMS.network)].concat();
        match self.word("network", value.as_ref(), &words) {
            None | Some(0) => 0,
            Some(place) => 1 << TERMS.network[place - 1].bit,
        }
    }

    /// A rate that is not held where none is named.
    fn rate(
        &mut self,
        field: &str,
        value: Option<Spanned<String>>,
        most: RangeInclusive<u64>,
    ) -> u64 {
        match value {
            None => terms::UNLIMITED,
            value => self.size(field, value, most),
        }
    }

    /// A field of the way out, in a room without it.
    fn useless(&mut self, field: &str, at: usize) {
        let what = format!("{field} has no use in a room that does not go through sys://net");
        let next = "remove it, or set network to \"via sys://net\"";
        self.found(Some(at), format!("{what}; next: {next}"));
    }

    fn traffic(&mut self, raw: Flow, via: bool) -> Traffic {
        if via {
            let (bounds, default) = (terms::CONNECTIONS, terms::ORDINARY_CONNECTIONS);
            return Traffic {
                rate: self.rate("traffic.rate", raw.rate, terms::TRAFFIC_RATE),
                connections: self.number(
                    "traffic.connections",
                    raw.connections,
                    bounds,
                    Some(default),
                ),
            };
        }
        let rate = raw.rate.map(|rate| rate.span().start);
        let connections = raw.connections.map(|connections| connections.span().start);
        for (field, at) in [("traffic.rate", rate), ("traffic.connections", connections)] {
            at.into_iter().for_each(|at| self.useless(field, at));
        }
        Traffic::default()
    }

    fn publish(&mut self, values: Vec<Spanned<String>>, via: bool) -> BTreeSet<Port> {
        let mut ports = BTreeSet::new();
        if let Some(first) = values.first().filter(|_| !via) {
            self.useless("publish", first.span().start);
        }
        if let Some(last) = values.get(terms::MAX_PORTS) {
            self.wrong(
                last,
                &format!(
                    "publish has {} ports; next: at most {}",
                    values.len(),
                    terms::MAX_PORTS
                ),
            );
        }
        for value in &values {
            match Port::parse(value.get_ref()) {
                Ok(port)
                    if ports
                        .iter()
                        .any(|known: &Port| known.outside() == port.outside()) =>
                {
                    self.wrong(
                        value,
                        &format!("publish has {} twice; next: remove one", port.outside()),
                    );
                }
                Ok(port) => drop(ports.insert(port)),
                Err(what) => self.wrong(value, &what),
            }
        }
        ports
    }

    /// Everything where a room has the way out and no such field.
    fn egress(&mut self, value: Option<Spanned<Vec<Spanned<String>>>>, via: bool) -> Egress {
        let Some(value) = value else {
            return if via {
                Egress::anywhere()
            } else {
                Egress::default()
            };
        };
        if !via {
            self.useless("egress", value.span().start);
        }
        let words: Vec<_> = value
            .get_ref()
            .iter()
            .map(|word| word.get_ref().as_str())
            .collect();
        if words.is_empty() || words.len() > terms::MAX_NETS {
            let what = format!("egress has {} networks", words.len());
            let next = format!(
                "next: 1 to {}, or \"none\" as the only one",
                terms::MAX_NETS
            );
            self.wrong(&value, &format!("{what}; {next}"));
        }
        Egress::parse(&words).unwrap_or_else(|(at, what)| {
            let at = value.get_ref().get(at).map(|word| word.span().start);
            self.found(at, what);
            Egress::default()
        })
    }

    /// Whether it runs behind another one. Who has sound would be heard, and listen, there.
    fn background(&mut self, value: Option<Spanned<String>>, devices: u64) -> bool {
        let runs = self.word("background", value.as_ref(), &["freeze", "run"]) == Some(1);
        if let Some(value) = value.filter(|_| runs && devices & SOUND != 0) {
            let what = "background is \"run\", and devices has sound, which is for a room in front";
            self.wrong(&value, &format!("{what}; next: remove one of them"));
        }
        runs
    }

    fn restart(&mut self, raw: Again) -> Option<Restart> {
        let words = ["never", "on-failure"];
        match self.word("restart.when", raw.when.as_ref(), &words) {
            Some(1) => Some(Restart {
                tries: self.number("restart.tries", raw.tries, terms::TRIES, None),
                delay_ms: self.number("restart.delay_ms", raw.delay_ms, terms::DELAY_MS, None),
            }),
            None if raw.when.is_some() => None,
            _ => {
                for (field, value) in [("tries", raw.tries), ("delay_ms", raw.delay_ms)] {
                    let what = "has no use in a room that is not started again";
                    let next = "remove it, or set restart.when to \"on-failure\"";
                    if let Some(value) = value {
                        self.wrong(&value, &format!("restart.{field} {what}; next: {next}"));
                    }
                }
                None
            }
        }
    }

    /// Nothing without `bytes`, and then the other two say nothing.
    fn persist(&mut self, raw: Keeps) -> Option<Persist> {
        if raw.bytes.is_some() {
            return Some(Persist {
                bytes: self.size("persist.bytes", raw.bytes, terms::PERSIST_BYTES),
                records: self.number("persist.records", raw.records, terms::PERSIST_RECORDS, None),
                rate: self.size("persist.rate", raw.rate, terms::PERSIST_RATE),
            });
        }
        let records = raw.records.map(|records| records.span().start);
        let rate = raw.rate.map(|rate| rate.span().start);
        let known = !self.refused("persist.bytes");
        for (field, at) in [("records", records), ("rate", rate)] {
            if known && at.is_some() {
                let what = format!("persist.{field} has no use in a room that keeps nothing");
                self.found(at, format!("{what}; next: remove it, or set persist.bytes"));
            }
        }
        None
    }
}

/// `512MiB` as bytes.
fn bytes(text: &str) -> Option<u64> {
    let (digits, factor) = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)]
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)))?;
    let whole = digits.chars().all(|c| c.is_ascii_digit());
    let number: u64 = whole.then(|| digits.parse().ok())??;
    number.checked_mul(factor)
}

/// Bytes with the greatest unit that leaves a whole number.
pub fn unit(bytes: u64) -> String {
    match bytes {
        n if n.is_multiple_of(1 << 30) => format!("{}GiB", n >> 30),
        n if n.is_multiple_of(1 << 20) => format!("{}MiB", n >> 20),
        n => format!("{}KiB", n >> 10),
    }
}
