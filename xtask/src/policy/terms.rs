//! The words a policy file may use, with their bits, and the bounds of its numbers.

use std::ops::RangeInclusive;

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

/// A word of a policy file: its bit (for a profile its place), and what it means to a person.
pub type Term = (&'static str, u32, &'static str);

/// The seccomp profiles from strict to wide; each allows all that the one before it allows.
pub const SECCOMP: [Term; 3] = [
    (
        "strict",
        0,
        "only what a program needs that computes and answers",
    ),
    ("standard", 1, "what ordinary programs need"),
    (
        "workshop",
        2,
        "what ordinary programs need, and tools that examine other programs",
    ),
];
/// No way out at all.
pub const NO_NETWORK: &str = "none";
/// The room that the word `via` names.
pub const GATE: &str = "sys://net";
/// The bit of the card itself.
pub const NIC: u64 = 1 << 1;
/// The bit of the way through [`GATE`].
pub const VIA: u64 = 1 << 0;
/// The ways out, of which a room has one or none.
pub const NETWORK: [Term; 2] = [
    ("via sys://net", 0, "through the room sys://net"),
    ("nic", 1, "the network card itself"),
];
/// Kinds of devices.
pub const DEVICES: [Term; 6] = [
    ("gpu", 0, "the graphics processor"),
    ("npu", 1, "the processor for neural networks"),
    ("sound", 2, "sound and microphone"),
    ("camera", 3, "the camera"),
    (
        "standin",
        4,
        "the device that stands in for hardware in tests",
    ),
    ("slot", 5, "the slot that does not run, for a signed update"),
];
/// The capabilities that a policy can keep, at the kernel's numbers. Those that reach beyond a room (modules, raw devices, the clock,
/// mounts) are not here: no policy can name them.
pub const CAPABILITIES: [Term; 15] = [
    ("CAP_CHOWN", 0, "change who owns a file"),
    ("CAP_DAC_OVERRIDE", 1, "read and write files of others"),
    ("CAP_FOWNER", 3, "change the permissions of files of others"),
    (
        "CAP_FSETID",
        4,
        "keep a file's set-id marks when it changes",
    ),
    ("CAP_KILL", 5, "end programs of others"),
    ("CAP_SETGID", 6, "change group"),
    ("CAP_SETUID", 7, "become another user"),
    ("CAP_SETPCAP", 8, "give up or pass on these rights"),
    (
        "CAP_NET_BIND_SERVICE",
        10,
        "serve on a network port below 1024",
    ),
    ("CAP_NET_ADMIN", 12, "set up its own network"),
    ("CAP_NET_RAW", 13, "send hand-made network packets"),
    ("CAP_SYS_CHROOT", 18, "change a program's root folder"),
    ("CAP_SYS_PTRACE", 19, "examine and change running programs"),
    ("CAP_AUDIT_WRITE", 29, "write audit records"),
    ("CAP_SETFCAP", 31, "give rights to a program's file"),
];

/// The bit of a word, if it is one of `terms`.
pub fn number(terms: &[Term], word: &str) -> Option<u32> {
    terms.iter().find(|term| term.0 == word).map(|term| term.1)
}

/// All words of `terms`, as an error lists them.
pub fn words(terms: &[Term]) -> String {
    let words: Vec<_> = terms.iter().map(|term| term.0).collect();
    words.join(", ")
}
