//! The program of `sys://net`, the one room with the machine's network cards: a DHCPv4 client for each card ([`dhcp`]) and a DNS relay
//! for the rooms ([`dns`]). It sets nothing: it reports by the umbilical what it has found ([`report`]), and PID 1's helper checks
//! and sets it. One process without a thread or a capability, one loop over `poll(2)` ([`run`]); everything that comes from a network has a bound.
//!
//! The relay has no cache: an answer's age is its server's matter, and no room sees from an answer's speed what another has asked.

use std::io::{self, Write};

pub mod command;
pub mod dhcp;
pub mod dns;
pub mod links;
pub mod report;
pub mod rooms;
pub mod run;
pub mod servers;

/// Writes one line to stderr, which may be full or closed.
pub(crate) fn log(line: &str) {
    let _ = writeln!(io::stderr(), "netd: {line}");
}

/// Good random bits, of the kernel.
pub(crate) fn random() -> u32 {
    // The call fails on kernels without it; all that is asked of is then the time.
    getrandom::u32().unwrap_or_else(|_| std::process::id())
}
