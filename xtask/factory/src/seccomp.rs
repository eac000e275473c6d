//! Which system calls a room may make: the lists in `bay0-persona/policies/seccomp`, as the programs that the kernel runs before each call.
//!
//! | place | program | answers |
//! | --- | --- | --- |
//! | 0 | the profile's own list | ENOSYS for what is not in it; another machine's numbers (i386, x32) end the program |
//! | 1 | what is refused, by name or by argument | EPERM |
//! | 2 | families of sockets | EAFNOSUPPORT |
//!
//! One program can answer with one error only. Of several errors the kernel takes that of the program installed last, so a call that is
//! in no list and refused as well answers EPERM. All depends on the order: the list is installed first.

mod data;
mod document;

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

use crate::arch::Arch;
use data::{But, Errno, Lists};
pub use document::text as document;

/// What the kernel takes in one program.
const MAX_INSTRUCTIONS: usize = 4_096;
/// Bytes of one program: in hexadecimal it is a line of the policy database, which holds less than 60,000.
const MAX_BYTES: usize = 28_000;
/// Bytes of one instruction.
const INSTRUCTION: usize = 8;
/// From here on x86-64 numbers belong to x32.
const X32: u32 = 0x4000_0000;
/// No call at all: what a tracer writes to skip one, and a usual way to ask whether a filter answers.
const NO_CALL: u32 = u32::MAX;

/// For each profile its programs in the order in which they are installed; instructions are `struct sock_filter`, little-endian.
pub fn programs() -> Result<[Vec<Vec<u8>>; 3]> {
    compiled(&Lists::read()?, Arch::chosen())
}

fn compiled(lists: &Lists, machine: Arch) -> Result<[Vec<Vec<u8>>; 3]> {
    let of = |profile| {
        let programs = filters(lists, machine, profile)?;
        programs
            .iter()
            .map(|program| bytes(program))
            .collect::<Result<Vec<_>>>()
    };
    Ok([of(0)?, of(1)?, of(2)?])
}

fn filters(lists: &Lists, machine: Arch, profile: usize) -> Result<Vec<BpfProgram>> {
    let errno = |errno: Errno| SeccompAction::Errno(errno.number());
    let missing = SeccompAction::Errno(nix::libc::ENOSYS.cast_unsigned());
    let allowed = lists.allowed(profile);
    let list = rules(machine, allowed.map(|call| (call, vec![])))?;
    let mut first = own_numbers(machine);
    first.extend(program(machine, list, missing, SeccompAction::Allow)?);
    let mut all = vec![first];
    for answer in [Errno::Eperm, Errno::Eafnosupport] {
        let rules = rules(machine, refused(lists, profile, answer)?)?;
        all.push(program(
            machine,
            rules,
            SeccompAction::Allow,
            errno(answer),
        )?);
    }
    Ok(all)
}

/// What answers `errno`: always (no rules), or where one of the rules holds.
fn refused(
    lists: &Lists,
    profile: usize,
    errno: Errno,
) -> Result<BTreeMap<&str, Vec<SeccompRule>>> {
    let always = lists.refused(profile).filter(|_| errno == Errno::Eperm);
    let mut rules: BTreeMap<&str, Vec<SeccompRule>> = always.map(|call| (call, vec![])).collect();
    for but in lists.but().filter(|but| but.errno == errno) {
        let rule = rule(but).with_context(|| but.why.clone())?;
        rules.entry(&but.call).or_default().push(rule);
    }
    Ok(rules)
}

/// All conditions of one entry. `Dword`: the kernel looks at 32 bits of each of these arguments, and so must we.
fn rule(but: &But) -> Result<SeccompRule> {
    let mut conditions = Vec::new();
    for when in &but.when {
        let mut add = |op, value: u32| -> Result<()> {
            let size = SeccompCmpArgLen::Dword;
            conditions.push(SeccompCondition::new(
                when.argument,
                size,
                op,
                value.into(),
            )?);
            Ok(())
        };
        if let Some(bits) = when.bits {
            add(SeccompCmpOp::MaskedEq(bits.into()), bits)?;
        }
        if let Some(value) = when.is {
            let op = when
                .of
                .map_or(SeccompCmpOp::Eq, |of| SeccompCmpOp::MaskedEq(of.into()));
            add(op, value)?;
        }
        for value in &when.none {
            add(SeccompCmpOp::Ne, *value)?;
        }
    }
    Ok(SeccompRule::new(conditions)?)
}

/// By number; what this machine does not have is left out.
fn rules<'a>(
    machine: Arch,
    calls: impl IntoIterator<Item = (&'a str, Vec<SeccompRule>)>,
) -> Result<BTreeMap<i64, Vec<SeccompRule>>> {
    let numbered = calls
        .into_iter()
        .filter_map(|(call, rules)| Some((number(machine, call)?, rules)));
    Ok(numbered.collect())
}

/// `here` for what the rules hold of, or for each call without any; `otherwise` for the rest.
///
/// A call is found by halving, because the kernel asks a filter about every number when it is installed: along a chain of all
/// calls that was half of a room's start. Only a call with rules goes on to the chain that `seccompiler` makes.
fn program(
    machine: Arch,
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    here: SeccompAction,
) -> Result<BpfProgram> {
    use nix::libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
    let (arch, mark) = match machine {
        Arch::X86_64 => (TargetArch::x86_64, 0xC000_003E),
        Arch::Aarch64 => (TargetArch::aarch64, 0xC000_00B7),
    };
    let mut edges: Vec<(i64, Option<u32>)> = Vec::new();
    for call in 0..=rules.keys().max().map_or(0, |last| last + 1) {
        let answer = match rules.get(&call).map(Vec::is_empty) {
            None => Some(otherwise.clone().into()),
            Some(true) => Some(here.clone().into()),
            Some(false) => None,
        };
        if edges.last().is_none_or(|(_, last)| *last != answer) {
            edges.push((call, answer));
        }
    }
    let load = |at| step(BPF_LD | BPF_W | BPF_ABS, 0, 0, at);
    let mut all = vec![
        load(4),
        step(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, mark),
        step(BPF_RET | BPF_K, 0, 0, SeccompAction::KillProcess.into()),
        load(0),
    ];
    all.extend(halved(&edges, 0)?);
    let with: BTreeMap<_, _> = rules.into_iter().filter(|(_, r)| !r.is_empty()).collect();
    if !with.is_empty() {
        let chain: BpfProgram = SeccompFilter::new(with, otherwise, here, arch)?.try_into()?;
        all.extend(chain);
    }
    Ok(all)
}

/// Finds the last edge that is not beyond the call, and answers as it says or goes on behind the tree, `after` steps further.
fn halved(edges: &[(i64, Option<u32>)], after: usize) -> Result<BpfProgram> {
    use nix::libc::{BPF_JA, BPF_JGE, BPF_JMP, BPF_K, BPF_RET};
    if let [(_, answer)] = edges {
        let on = || Ok::<_, anyhow::Error>(step(BPF_JMP | BPF_JA, 0, 0, u32::try_from(after)?));
        let leaf = answer.map(|answer| Ok(step(BPF_RET | BPF_K, 0, 0, answer)));
        return Ok(vec![leaf.unwrap_or_else(on)?]);
    }
    let (low, high) = edges.split_at(edges.len() / 2);
    let first = u32::try_from(high[0].0)?;
    let high = halved(high, after)?;
    let low = halved(low, after + high.len())?;
    let over = u8::try_from(low.len()).context("the list has too many gaps")?;
    let mut all = vec![step(BPF_JMP | BPF_JGE | BPF_K, over, 0, first)];
    all.extend(low.into_iter().chain(high));
    Ok(all)
}

/// One instruction.
fn step(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    let code = u16::try_from(code).unwrap_or_default();
    sock_filter { code, jt, jf, k }
}

/// The number of a call, if this machine has it.
fn number(machine: Arch, call: &str) -> Option<i64> {
    let number = match machine {
        Arch::X86_64 => syscalls::x86_64::Sysno::from_str(call).ok()?.id(),
        // The crate calls it otherwise there than the kernel does (findings/syscalls-crate-names-no-newfstatat.sh).
        Arch::Aarch64 if call == "newfstatat" => syscalls::aarch64::Sysno::fstatat.id(),
        Arch::Aarch64 => syscalls::aarch64::Sysno::from_str(call).ok()?.id(),
    };
    Some(number.into())
}

/// x32 shares the architecture's mark with x86-64 and has numbers of its own, which the crate does not know: four instructions.
fn own_numbers(machine: Arch) -> BpfProgram {
    use nix::libc::{BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
    match machine {
        Arch::Aarch64 => Vec::new(),
        Arch::X86_64 => vec![
            step(BPF_LD | BPF_W | BPF_ABS, 0, 0, 0),
            step(BPF_JMP | BPF_JGE | BPF_K, 0, 2, X32),
            step(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, NO_CALL),
            step(BPF_RET | BPF_K, 0, 0, SeccompAction::KillProcess.into()),
        ],
    }
}

fn bytes(program: &[sock_filter]) -> Result<Vec<u8>> {
    let length = program.len();
    ensure!(
        length < MAX_INSTRUCTIONS && length * INSTRUCTION < MAX_BYTES,
        "a filter of {length} instructions is too long; next: shorten the lists in bay0-persona/policies/seccomp"
    );
    let bytes = program.iter().flat_map(|step| {
        let [c0, c1] = step.code.to_le_bytes();
        let [k0, k1, k2, k3] = step.k.to_le_bytes();
        [c0, c1, step.jt, step.jf, k0, k1, k2, k3]
    });
    Ok(bytes.collect())
}

#[cfg(test)]
mod tests;
