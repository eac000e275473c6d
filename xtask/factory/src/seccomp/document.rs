//! `docs/SYSCALL-JUSTIFICATIONS.md`, made of the lists; a test compares the two.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;

use super::data::{But, Lists, Reasons, When};
use super::{INSTRUCTION, compiled, number, programs};
use crate::arch::Arch;

const HEAD: &str = "# System calls

What a room may ask of the kernel, and why. **Written by `cargo xtask policy syscalls` from the lists in
[`bay0-persona/policies/seccomp`](../bay0-persona/policies/seccomp); correct those, not this file.** A policy names one of the profiles,
see [POLICIES.md](POLICIES.md); each allows all that the one before it allows.

A call that stands in no list answers ENOSYS, as if the kernel were older: programs then take their other way. What is refused answers
EPERM, or EAFNOSUPPORT for families of sockets. Numbers of another kind of machine (i386, x32) end the program. The filters are one fence
of several: what is refused here, namespaces and missing rights refuse once more.
";

/// The document.
pub fn text() -> Result<String> {
    let lists = Lists::read()?;
    let mut text = HEAD.to_owned();
    figures(&mut text, &lists)?;
    allowed(&mut text, &lists);
    let rest = lists.rest();
    let _ = writeln!(
        text,
        "\n## Refused\n\n| call | in | why |\n| --- | --- | --- |"
    );
    for (call, why) in &rest.refused {
        let _ = writeln!(text, "| `{call}` | {} | {why} |", refused_in(&lists, call));
    }
    let _ = writeln!(
        text,
        "\n## Refused by argument\n\nArguments are counted from 0 and compared in the 32 bits that the kernel looks at.\n\n\
         | call | when | answers | why |\n| --- | --- | --- | --- |"
    );
    for but in lists.but() {
        let (call, errno) = (&but.call, but.errno.name());
        let _ = writeln!(
            text,
            "| `{call}` | {} | {errno} | {} |",
            conditions(but),
            but.why
        );
    }
    table(&mut text, "Not there, on purpose", &rest.missing);
    Ok(text)
}

fn figures(text: &mut String, lists: &Lists) -> Result<()> {
    let (here, there) = (programs()?, compiled(lists, Arch::Aarch64)?);
    let sizes = |programs: &[Vec<u8>]| {
        let sizes = programs.iter().map(|p| (p.len() / INSTRUCTION).to_string());
        sizes.collect::<Vec<_>>().join(" + ")
    };
    let _ = writeln!(
        text,
        "\n| profile | is | calls | instructions, x86-64 | aarch64 |\n| --- | --- | --- | --- | --- |"
    );
    let rows = lists.profiles().zip(here.iter().zip(&there));
    for (at, ((name, profile), (here, there))) in rows.enumerate() {
        let _ = writeln!(
            text,
            "| `{name}` | {} | {} | {} | {} |",
            profile.about,
            lists.allowed(at).count(),
            sizes(here),
            sizes(there)
        );
    }
    Ok(())
}

fn allowed(text: &mut String, lists: &Lists) {
    let mut rows = BTreeMap::new();
    for (name, profile) in lists.profiles() {
        rows.extend(profile.allow.iter().map(|(call, why)| (call, (name, why))));
    }
    let _ = writeln!(
        text,
        "\n## Allowed\n\nA call with an asterisk is not there on aarch64.\n\n| call | from | why |\n| --- | --- | --- |"
    );
    for (call, (name, why)) in rows {
        let mark = number(Arch::Aarch64, call).map_or("*", |_| "");
        let _ = writeln!(text, "| `{call}`{mark} | `{name}` | {why} |");
    }
}

fn refused_in(lists: &Lists, call: &str) -> String {
    let names = lists.profiles().enumerate();
    let names: Vec<_> = names
        .filter(|(at, _)| lists.refused(*at).any(|refused| refused == call))
        .map(|(_, (name, _))| format!("`{name}`"))
        .collect();
    match names.len() {
        3 => "all".to_owned(),
        _ => names.join(", "),
    }
}

fn conditions(but: &But) -> String {
    let said: Vec<_> = but.when.iter().map(condition).collect();
    said.join(" and ")
}

fn condition(when: &When) -> String {
    let argument = when.argument;
    match (when.bits, when.is) {
        (Some(bits), _) => format!("{argument} has `{bits:#x}`"),
        (_, Some(value)) => {
            let of = when.of.map(|of| format!(" in the bits `{of:#x}`"));
            format!("{argument} is `{value:#x}`{}", of.unwrap_or_default())
        }
        _ => {
            let values: Vec<_> = when.none.iter().map(|v| format!("`{v:#x}`")).collect();
            format!("{argument} is none of {}", values.join(" "))
        }
    }
}

fn table(text: &mut String, heading: &str, reasons: &Reasons) {
    let _ = writeln!(text, "\n## {heading}\n\n| call | why |\n| --- | --- |");
    for (call, why) in reasons {
        let _ = writeln!(text, "| `{call}` | {why} |");
    }
}
