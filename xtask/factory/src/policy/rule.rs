//! What a room may never have beyond the room it is nested in (A05), in the words of a policy file. What decides stands in
//! `bay0_persona::policy`: the build asks it here, and the start of a room asks it again.
//!
//! | field | a child stays within its parent when its value is |
//! | --- | --- |
//! | `cpu.quota` | not greater |
//! | `cpu.weight` | not greater |
//! | `memory.max` | not greater |
//! | `pids` | not greater |
//! | `open_files` | not greater |
//! | `tmpfs` | not greater |
//! | `seccomp` | not higher: each profile allows all that the one below it allows |
//! | `capabilities` | a part of the parent's |
//! | `network` | `none`, or the same: each way out is another power, none of them holds another |
//! | `devices` | a part of the parent's |
//! | `terminal` | false, or both true; and `exit` is `again` only below `again` |
//! | `autostart` | false, or both true |
//! | `restart` | `never`, or not more `tries` and not less `delay_ms` than a parent that restarts |
//! | `persist` | nothing, or not more `bytes`, `records` and `rate` than a parent that keeps something |
//! | `background` | `freeze`, or both `run` |
//! | `traffic` | neither `rate` nor `connections` greater |
//! | `disk.read` | not greater |
//! | `courier` | neither `bytes` greater nor other `types`; `ask` is false only below false |
//! | `trust` | not greater |
//! | `ai` | nothing, or not more `tokens_per_minute`, `max_tokens` and `context` than a parent that may ask |
//! | `publish` | a part of the parent's; and since no two rooms publish one port, nothing |
//! | `egress` | no address that the parent does not reach |
//! | `courier.to` | a part of the parent's |
//! | `courier.from` | a part of the parent's |
//!
//! Image, command and environment are not here: whatever runs in a room is held by these fields. Nor is swap: no room has any.
//! How deep rooms nest is the name's business (`bay0_persona::name::MAX_DEPTH`).

use std::collections::BTreeSet;

use bay0_persona::policy;

use super::ai::Ai;
use super::courier::Courier;
use super::db::numbers;
use super::reach::{Egress, Port};

/// What a room may do, as far as more or less can be said of it; by default nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Processor time, in percent of one processor.
    pub cpu_quota: u64,
    /// Share of the processors where rooms compete.
    pub cpu_weight: u64,
    /// Memory, in bytes.
    pub memory_max: u64,
    /// Processes and threads at once.
    pub pids: u64,
    /// Open files of one process.
    pub open_files: u64,
    /// Files kept in memory, in bytes.
    pub tmpfs: u64,
    /// Which profile, by its place in the row from strict to wide.
    pub seccomp: u64,
    /// One bit for each capability, at the kernel's number.
    pub capabilities: u64,
    /// One bit for each way out.
    pub network: u64,
    /// One bit for each kind of device.
    pub devices: u64,
    /// Whether a person can enter it.
    pub terminal: bool,
    /// Whether its program is started again in the same room when it ends; only with a terminal.
    pub again: bool,
    /// Whether it is started with the machine.
    pub autostart: bool,
    /// Whether it is started again after a failure.
    pub restart: Option<Restart>,
    /// What it may keep on /persist, if anything.
    pub persist: Option<Persist>,
    /// Whether it goes on while another room is in front.
    pub background: bool,
    /// How much goes through sys://net; nothing in a room without that way out.
    pub traffic: Traffic,
    /// Bytes a second that it reads from the disk of its image.
    pub disk_read: u64,
    /// Ports of the machine that are its own.
    pub publish: BTreeSet<Port>,
    /// What it reaches through sys://net; nothing in a room without that way out.
    pub egress: Egress,
    /// How far it is trusted.
    pub trust: u64,
    /// What the courier may move from and to it.
    pub courier: Courier,
    /// What it may ask `sys://ai`, if anything.
    pub ai: Option<Ai>,
}

/// How much a room may send and receive through sys://net.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes a second in each direction.
    pub rate: u64,
    /// Connections at once.
    pub connections: u64,
}

/// How a room that failed is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// How often at most.
    pub tries: u64,
    /// How long before the first time, in milliseconds.
    pub delay_ms: u64,
}

/// What a room may keep on /persist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Persist {
    /// Bytes.
    pub bytes: u64,
    /// Objects and records together.
    pub records: u64,
    /// Bytes a second that it may write, with a second's worth at once.
    pub rate: u64,
}

/// What a field of the compiled policy is to people.
pub fn shown(field: &'static str) -> &'static str {
    match field.split_once('.') {
        Some(("restart", _)) => "restart",
        Some(("persist", _)) => "persist",
        Some(("traffic", _)) => "traffic",
        Some(("courier", "bytes" | "types" | "ask")) => "courier",
        Some(("ai", _)) => "ai",
        _ => field,
    }
}

/// The fields in which `child` may more than `parent`, in the order of the table; none when it stays within it. What decides of
/// numbers is the function that the start of a room asks as well; tries and delay are one field to people, and so are what a room keeps,
/// its traffic, what it asks and what is asked of each file that is moved. The rule set of sys://net holds `publish` and `egress`, whatever runs.
pub fn beyond(child: &Grant, parent: &Grant) -> Vec<&'static str> {
    let fields = policy::beyond_numbers(&numbers(child), &numbers(parent));
    let mut fields: Vec<_> = fields.into_iter().map(shown).collect();
    fields.dedup();
    if !child.publish.is_subset(&parent.publish) {
        fields.push("publish");
    }
    if !child.egress.within(&parent.egress) {
        fields.push("egress");
    }
    let (mine, theirs) = (&child.courier, &parent.courier);
    if !mine.to.is_subset(&theirs.to) {
        fields.push("courier.to");
    }
    if !mine.from.is_subset(&theirs.from) {
        fields.push("courier.from");
    }
    fields
}
