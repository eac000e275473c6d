//! The words a policy file may use, with their bits, and the bounds of its numbers.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use serde::Deserialize;

/// Percent of one processor: up to 64 of them.
pub const CPU_QUOTA: RangeInclusive<u64> = 1..=6_400;
/// What the kernel takes as `cpu.weight`.
pub const CPU_WEIGHT: RangeInclusive<u64> = 1..=10_000;
/// The weight that the kernel gives where none is named.
pub const ORDINARY_WEIGHT: u64 = 100;
/// Bytes of memory, 1 MiB to 1 TiB.
pub const MEMORY: RangeInclusive<u64> = 1 << 20..=1 << 40;
/// Bytes of files in memory, 4 KiB to 1 TiB.
pub const TMPFS: RangeInclusive<u64> = 1 << 12..=1 << 40;
/// Processes and threads: up to what the kernel numbers by default.
pub const PIDS: RangeInclusive<u64> = 1..=32_768;
/// Open files of one process: up to what the kernel allows by default.
pub const OPEN_FILES: RangeInclusive<u64> = 16..=1_048_576;
/// How often a room is started again.
pub const TRIES: RangeInclusive<u64> = 1..=10;
/// How long before the first time, in milliseconds.
pub const DELAY_MS: RangeInclusive<u64> = 100..=60_000;
/// The delay doubles up to this many seconds.
pub const DELAY_CAP_S: u64 = 60;
/// Bytes that a room keeps on /persist, 64 KiB to 1 TiB.
pub const PERSIST_BYTES: RangeInclusive<u64> = 1 << 16..=1 << 40;
/// Objects and records together that it keeps there.
pub const PERSIST_RECORDS: RangeInclusive<u64> = 1..=1_000_000;
/// Bytes a second that it writes there, 64 KiB to 1 GiB.
pub const PERSIST_RATE: RangeInclusive<u64> = 1 << 16..=1 << 30;
/// Bytes a second through sys://net in each direction, 16 KiB to 4 GiB.
pub const TRAFFIC_RATE: RangeInclusive<u64> = 1 << 14..=1 << 32;
/// Connections at once through sys://net.
pub const CONNECTIONS: RangeInclusive<u64> = 1..=65_536;
/// The connections of a room whose policy names no number.
pub const ORDINARY_CONNECTIONS: u64 = 4_096;
/// Bytes a second that a room reads from the disk of its image, 64 KiB to 16 GiB.
pub const DISK_READ: RangeInclusive<u64> = 1 << 16..=1 << 34;
/// How far a room is trusted; a room whose policy says nothing is not trusted.
pub const TRUST: RangeInclusive<u64> = 0..=9;
/// Bytes of one file that the courier moves, 1 KiB to 16 GiB.
pub const COURIER_BYTES: RangeInclusive<u64> = 1 << 10..=1 << 34;
/// Tokens a minute that a room may cost the organ `sys://ai`.
pub const AI_RATE: RangeInclusive<u64> = 1..=1_000_000;
/// Tokens of one question and its answer together: the longest that a model of today takes.
pub const AI_CONTEXT: RangeInclusive<u64> = 1..=131_072;
/// The same of a room whose policy names no number.
pub const ORDINARY_AI_CONTEXT: u64 = 4_096;
/// Tokens of one answer, which is a part of that.
pub const AI_MAX: RangeInclusive<u64> = AI_CONTEXT;
/// The same of a room whose policy names no number, where its context has as many.
pub const ORDINARY_AI_MAX: u64 = 512;
/// Rooms that a room gives files to, and rooms that it takes files from.
pub const MAX_ROOMS: usize = 32;
/// The number of a rate that is not held.
pub const UNLIMITED: u64 = bay0_persona::policy::UNLIMITED;
/// Ports that a room publishes, and networks that it reaches.
pub const MAX_PORTS: usize = 32;
pub const MAX_NETS: usize = 32;
/// Program and arguments.
pub const MAX_ARGUMENTS: usize = 64;
/// Variables of the environment.
pub const MAX_VARIABLES: usize = 64;
/// Bytes of one argument or one variable's value.
pub const MAX_TEXT: usize = 1_024;
/// Bytes of command and environment together, with one between any two: their policy is handed on as one line.
pub const MAX_TEXTS: usize = 32_768;
/// Bytes of an image's name.
pub const MAX_IMAGE: usize = 32;
/// Bytes of one policy file.
pub const MAX_FILE: usize = 65_536;

/// A word of a policy file.
#[derive(Debug, Deserialize)]
pub struct Term {
    /// As it is written.
    pub word: String,
    /// Its bit; for a profile its place.
    pub bit: u32,
    /// What it means to a person.
    pub means: String,
}

/// All of them, by what they are said of.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    pub seccomp: [Term; PROFILES],
    pub network: Vec<Term>,
    pub devices: Vec<Term>,
    pub types: Vec<Term>,
    pub capabilities: Vec<Term>,
}

/// What stands in `terms.toml`.
pub static TERMS: LazyLock<Terms> = LazyLock::new(|| {
    toml::from_str(include_str!("terms.toml")).unwrap_or_else(|e| unreachable!("terms.toml: {e}"))
});

/// How many seccomp profiles there are.
pub const PROFILES: usize = 3;
/// No way out at all.
pub const NO_NETWORK: &str = "none";
/// The room that the word `via` names.
pub const GATE: &str = "sys://net";
/// The room that `ai` is about.
pub const ORGAN: &str = "sys://ai";
/// The bit of the card itself.
pub const NIC: u64 = 1 << 1;
/// The bit of the way through [`GATE`].
pub const VIA: u64 = 1 << 0;
/// The bit of a word, if it is one of `terms`.
pub fn number(terms: &[Term], word: &str) -> Option<u32> {
    let term = terms.iter().find(|term| term.word == word);
    term.map(|term| term.bit)
}

/// The bits of all `terms`.
pub fn bits(terms: &[Term]) -> u64 {
    terms.iter().fold(0, |bits, term| bits | 1 << term.bit)
}

/// All words of `terms`.
pub fn words(terms: &[Term]) -> Vec<&str> {
    terms.iter().map(|term| term.word.as_str()).collect()
}
