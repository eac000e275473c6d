//! What a room may do, as the factory compiled it (decision 12), and what a nested room may never have beyond its parent (A05).
//!
//! | number | a child stays within its parent when its value is |
//! | --- | --- |
//! | quota, weight, memory, pids, open files, tmpfs, tries, the three of what it keeps, traffic and its connections, reads of the disk, bytes of a file by the courier, trust, the three of what it asks `sys://ai` | not greater |
//! | seccomp | not higher: each profile allows all that the one below it allows |
//! | capabilities, network, devices, terminal, autostart, background, types of files, files without a question | a part of the parent's bits |
//! | delay | not less, where the child is started again at all |
//!
//! The rooms that a child gives files to, and those that it takes files from, are a part of its parent's.
//! Image, command and environment are free: whatever runs in a room is held by the numbers.

use std::ffi::CString;

use crate::PersonaName;

/// How a child's number is compared with its parent's.
#[derive(Clone, Copy)]
enum Within {
    NotGreater,
    NotLess,
    PartOf,
}
use Within::{NotGreater, NotLess, PartOf};

/// Each number of a policy, in the order in which it is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Processor time, in percent of one processor.
    CpuQuota,
    /// Share of the processors where rooms compete, 1 to 10,000.
    CpuWeight,
    /// Memory, in bytes.
    MemoryMax,
    /// Processes and threads at once.
    Pids,
    /// Open files of one process.
    OpenFiles,
    /// Files kept in memory, in bytes.
    Tmpfs,
    /// Which seccomp profile, from strict to wide.
    Seccomp,
    /// One bit for each capability, at the kernel's number.
    Capabilities,
    /// One bit for each way out: [`VIA_NET`], [`NIC`].
    Network,
    /// One bit for each kind of device, such as [`STANDIN`].
    Devices,
    /// Whether a person can enter it, and with [`AGAIN`] that its program is started again there when it ends.
    Terminal,
    /// Whether it is started with the machine.
    Autostart,
    /// How often it is started again after a failure.
    Tries,
    /// How long before the first time, in milliseconds.
    DelayMs,
    /// Bytes that it may keep on /persist; none is nothing.
    PersistBytes,
    /// Objects and records together that it may keep there.
    PersistRecords,
    /// Bytes a second that it may write there, with a second's worth at once.
    PersistRate,
    /// Whether it goes on while another room is in front.
    Background,
    /// Bytes a second through `sys://net` in each direction, or [`UNLIMITED`]; 0 without that way out.
    NetRate,
    /// Connections at once through `sys://net`; 0 without that way out.
    NetConnections,
    /// Bytes a second that it reads from the disk of its image, or [`UNLIMITED`].
    DiskRate,
    /// Bytes of one file that the courier moves from or to it; 0 is no courier.
    CourierBytes,
    /// One bit for each type of file that the courier moves from or to it.
    CourierTypes,
    /// Whether a file may be moved without a question, where the other policy says so too and it goes to less trust.
    CourierSilent,
    /// How far the room is trusted, 0 to 9.
    Trust,
    /// Tokens a minute that it may cost `sys://ai`, prompt and answer together; 0 may not ask.
    AiRate,
    /// Tokens of one answer.
    AiMax,
    /// Tokens of one question and its answer together.
    AiContext,
}

/// The number of a rate that is not held.
pub const UNLIMITED: u64 = 1 << 62;

/// [`Grant::Network`]: a link to `sys://net`.
pub const VIA_NET: u64 = 1;
/// [`Grant::Network`]: the network card itself.
pub const NIC: u64 = 2;

/// [`Grant::Terminal`], beside 1: whoever leaves the shell in it by `exit` finds another one in the same room.
pub const AGAIN: u64 = 2;

/// [`Grant::Devices`]: sound cards, whose streams nobody can take back.
pub const SOUND: u64 = 1 << 2;
/// [`Grant::Devices`]: the device that stands in for hardware.
pub const STANDIN: u64 = 1 << 4;
/// [`Grant::Devices`]: the slot that does not run, for an update.
pub const SLOT: u64 = 1 << 5;
/// [`Grant::Devices`]: the port to what is outside of the machine.
pub const PORT: u64 = 1 << 6;
/// [`Grant::Devices`]: the USB stick that is plugged in.
pub const STICK: u64 = 1 << 7;
/// [`Grant::Devices`]: no device, but the room whose program answers for `sys://ai`.
pub const ORGAN: u64 = 1 << 8;
/// [`Grant::Devices`]: the render node of a graphics processor, for as long as the room runs and for no other one meanwhile.
pub const RENDER: u64 = 1 << 9;
/// [`Grant::Devices`]: the displays.
pub const SCREEN: u64 = 1 << 10;
/// [`Grant::Devices`]: the keyboards.
pub const KEYBOARD: u64 = 1 << 11;
/// [`Grant::Devices`]: what points: mice, touchpads, screens to touch.
pub const POINTER: u64 = 1 << 12;

/// What each number is called in a policy file, and how a child's is held.
const GRANTS: [(&str, Within); 28] = [
    ("cpu.quota", NotGreater),
    ("cpu.weight", NotGreater),
    ("memory.max", NotGreater),
    ("pids", NotGreater),
    ("open_files", NotGreater),
    ("tmpfs", NotGreater),
    ("seccomp", NotGreater),
    ("capabilities", PartOf),
    ("network", PartOf),
    ("devices", PartOf),
    ("terminal", PartOf),
    ("autostart", PartOf),
    ("restart.tries", NotGreater),
    ("restart.delay_ms", NotLess),
    ("persist.bytes", NotGreater),
    ("persist.records", NotGreater),
    ("persist.rate", NotGreater),
    ("background", PartOf),
    ("traffic.rate", NotGreater),
    ("traffic.connections", NotGreater),
    ("disk.read", NotGreater),
    ("courier.bytes", NotGreater),
    ("courier.types", PartOf),
    ("courier.ask", PartOf),
    ("trust", NotGreater),
    ("ai.tokens_per_minute", NotGreater),
    ("ai.max_tokens", NotGreater),
    ("ai.context", NotGreater),
];

/// The numbers of a policy, in the order of [`Grant`].
pub type Numbers = [u64; GRANTS.len()];

/// One room's policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The room.
    pub name: PersonaName,
    /// The image its files come from.
    pub image: String,
    /// Program and arguments.
    pub command: Vec<CString>,
    /// The whole environment, `KEY=VALUE`.
    pub environment: Vec<CString>,
    /// The rooms that the courier may take its files to.
    pub to: Vec<PersonaName>,
    /// The rooms that the courier may bring it files from.
    pub from: Vec<PersonaName>,
    /// The numbers.
    pub grants: Numbers,
}

impl Policy {
    /// Reads the columns of a compiled policy: name, image, command and environment (a line each), the rooms of `to` and `from` (a
    /// space between any two), the numbers. None if one is missing or not what it must be.
    pub fn parse(columns: &[&str]) -> Option<Policy> {
        let [name, image, command, environment, to, from, numbers @ ..] = columns else {
            return None;
        };
        let lines = |text: &str| -> Option<Vec<CString>> {
            text.lines().map(|line| CString::new(line).ok()).collect()
        };
        let rooms = |text: &str| -> Option<Vec<PersonaName>> {
            let names = text.split(' ').filter(|_| !text.is_empty());
            names.map(|name| PersonaName::parse(name).ok()).collect()
        };
        let numbers: Option<Vec<u64>> = numbers.iter().map(|number| number.parse().ok()).collect();
        Some(Policy {
            name: PersonaName::parse(name).ok()?,
            image: (*image).to_owned(),
            command: lines(command)?,
            environment: lines(environment)?,
            to: rooms(to)?,
            from: rooms(from)?,
            grants: numbers?.try_into().ok()?,
        })
    }

    /// One of the numbers.
    pub fn get(&self, grant: Grant) -> u64 {
        self.grants.get(grant as usize).copied().unwrap_or(0)
    }

    /// Whether it grants something that is either granted or not.
    pub fn may(&self, grant: Grant) -> bool {
        self.get(grant) != 0
    }
}

/// The fields in which `child` is beyond `parent`, numbers first and in their order; none when it stays within it (A05). Whoever starts
/// a nested room asks this.
pub fn beyond(child: &Policy, parent: &Policy) -> Vec<&'static str> {
    let mut fields = beyond_numbers(&child.grants, &parent.grants);
    for (field, rooms, held) in [
        ("courier.to", &child.to, &parent.to),
        ("courier.from", &child.from, &parent.from),
    ] {
        if rooms.iter().any(|room| !held.contains(room)) {
            fields.push(field);
        }
    }
    fields
}

/// The same of the numbers alone: the build asks this, and compares the lists as it has them.
pub fn beyond_numbers(child: &Numbers, parent: &Numbers) -> Vec<&'static str> {
    let tries = child.get(Grant::Tries as usize).copied().unwrap_or(0);
    let pairs = child.iter().zip(parent).zip(GRANTS);
    let over = pairs.filter(|((child, parent), (_, within))| match within {
        NotGreater => child > parent,
        // How soon a room is started again means nothing where it never is.
        NotLess => tries > 0 && child < parent,
        PartOf => *child & !*parent != 0,
    });
    over.map(|(_, (field, _))| field).collect()
}

#[cfg(test)]
mod tests;
