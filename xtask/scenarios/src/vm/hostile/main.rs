//! `hostile NAME` tries one attack from inside a room, as its root, and says in one line what came of it:
//!
//! | line | exit code |
//! | --- | --- |
//! | `hostile NAME: REFUSED what=ERRNO …` | 0: nothing worked, and why |
//! | `hostile NAME: BOUNDED figures` | 0: an attack on resources met its limit |
//! | `hostile NAME: SUCCEEDED what=…` | 1: something worked |
//!
//! `hostile list` prints the names, `hostile all` runs all but those on resources; ten other words are in [`shared`], [`wire`], [`names`] and [`render`]. **Not for a machine that somebody needs**: outside a
//! room some of these do what they try.
#![allow(
    clippy::print_stdout,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    reason = "a tool for the machines of scenarios"
)]

mod bombs;
mod calls;
mod files;
mod kernel;
mod mounts;
mod names;
mod others;
mod render;
mod room;
mod shared;
mod told;
mod wire;

use std::fmt::Write as _;
use std::process::ExitCode;

use told::Told;

/// A wrong name; 1 means that an attack succeeded.
const WRONG: u8 = 2;

/// What an attack is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    /// Something outside the room, or the kernel.
    Walls,
    /// What the room may use up; some of it stays in use.
    Resources,
}

/// One attack.
struct Attack {
    name: &'static str,
    on: On,
    run: fn() -> Told,
}

const fn walls(name: &'static str, run: fn() -> Told) -> Attack {
    let on = On::Walls;
    Attack { name, on, run }
}

const fn resources(name: &'static str, run: fn() -> Told) -> Attack {
    let on = On::Resources;
    Attack { name, on, run }
}

/// Every attack, in the order of `all`.
const ATTACKS: [Attack; 44] = [
    resources("fork-bomb", bombs::forks),
    resources("mem-bomb", bombs::memory),
    resources("tmpfs-fill", bombs::tmpfs),
    resources("fd-exhaust", bombs::descriptors),
    resources("request-flood", bombs::requests),
    resources("connect-flood", bombs::connections),
    resources("unkillable", bombs::unkillable),
    resources("fork-faster-than-kill", bombs::storm),
    walls("ptrace-others", others::ptrace),
    walls("core-pattern", files::core_pattern),
    walls("release-agent", mounts::release_agent),
    walls("sysrq", files::sysrq),
    walls("kcore", files::kcore),
    walls("kmsg", files::kmsg),
    walls("proc-sys-writes", files::proc_sys),
    walls("sysfs", files::sysfs),
    walls("proc-1-mem", others::insides_of_init),
    walls("mount-tricks", mounts::tricks),
    walls("mknod", mounts::devices),
    walls("setns", room::setns),
    walls("userns", room::user_namespaces),
    walls("signal-init", others::signals),
    walls("modules", kernel::modules),
    walls("bpf", kernel::bpf),
    walls("io-uring", kernel::io_uring),
    walls("keyring", kernel::keyring),
    walls("abstract-sockets", others::abstract_sockets),
    walls("sysv-ipc", others::sysv_ipc),
    walls("inherited-fds", room::inherited),
    walls("self-exe-overwrite", files::programs),
    walls("symlink-bind-targets", mounts::bind_targets),
    walls("sockets", kernel::sockets),
    walls("oom-score", files::memory_killer),
    walls("linger", kernel::linger),
    walls("time", kernel::time),
    walls("reboot", kernel::reboot),
    walls("swapon", kernel::swap),
    walls("chroot-escape", room::chroot),
    walls("tiocsti", kernel::terminal),
    walls("userfaultfd", kernel::faults),
    walls("perf", kernel::perf),
    walls("open-by-handle", kernel::handles),
    walls("pidfd", others::pidfd),
    walls("caps", room::rights),
];

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let names: Vec<_> = arguments.iter().map(|name| name.to_str()).collect();
    ExitCode::from(match names.as_slice() {
        [Some("list")] => {
            print!("{}", list());
            0
        }
        [Some("all")] => all(),
        [Some("inodes")] => shared::inodes(),
        [Some("hold")] => shared::hold(),
        [Some("locks")] => shared::locks(),
        [Some("echo")] => shared::echo(),
        [Some("scan"), Some(address)] => wire::scan(address),
        [Some("asks"), Some(address)] => names::asks(address),
        [Some("names")] => names::names(),
        [Some("names-hold")] => names::hold(),
        [Some("render")] => render::render(),
        [Some("datagrams"), Some(port)] => names::datagrams(port),
        [Some(name)] => match ATTACKS.iter().find(|attack| attack.name == *name) {
            Some(attack) => one(attack),
            None => wrong(),
        },
        _ => wrong(),
    })
}

fn wrong() -> u8 {
    println!("hostile: one of list, all, or a name of the list");
    WRONG
}

/// Names, one a line, with what each is on.
fn list() -> String {
    let mut text = String::new();
    for attack in &ATTACKS {
        let on = match attack.on {
            On::Walls => "walls",
            On::Resources => "resources",
        };
        let _ = writeln!(text, "{} {on}", attack.name);
    }
    text
}

fn one(attack: &Attack) -> u8 {
    let told = (attack.run)();
    println!("{}", told.line(attack.name));
    told.code()
}

/// Each in a process of its own: one that is killed for what it tried is no reason to skip the rest.
fn all() -> u8 {
    let mut worst = 0;
    for attack in ATTACKS.iter().filter(|attack| attack.on == On::Walls) {
        let code = match calls::in_child(|| one(attack).into()) {
            Ok(calls::End::Code(code)) => u8::try_from(code).unwrap_or(WRONG),
            Ok(calls::End::Signal(signal)) => {
                println!("hostile {}: REFUSED signal={signal}", attack.name);
                0
            }
            Err(error) => {
                println!("hostile {}: SUCCEEDED not tried: {error}", attack.name);
                1
            }
        };
        worst = worst.max(code);
    }
    worst
}

#[cfg(test)]
mod tests;
