//! How large the kernel may be (T10): its file, its configuration, and the system calls that it offers at all.

use anyhow::{Result, bail, ensure};

use super::Target;
use crate::arch::Arch;

/// What the kernel of a target, and its Spine, may be.
struct Limits {
    /// Most bytes of `vmlinuz`.
    bytes: u64,
    /// Most symbols that are on or have a value.
    symbols: u64,
    /// Most system calls.
    calls: u64,
    /// System calls of [`NEVER`] that it has all the same, since something that it needs brings them.
    brought: &'static [&'static str],
    /// Most bytes of `vmlinuz` and `spine.img` together (T10: 40 MB).
    together: u64,
}

const VM: Limits = Limits {
    bytes: 6_000_000,
    symbols: 1_000,
    calls: 348,
    brought: &[],
    together: 14_000_000,
};
const PC: Limits = Limits {
    bytes: 7_000_000,
    symbols: 1_090,
    calls: 349,
    brought: &["kcmp"],
    together: 24_000_000,
};
const AARCH64: Limits = Limits {
    bytes: 14_000_000,
    symbols: 950,
    calls: 320,
    brought: &[],
    together: 24_000_000,
};
/// What stands in for all calls that are left out.
const NONE: &str = "ni_syscall";
/// System calls that no configuration of ours may bring back: each loads, replaces or traces code, or is a large interface that
/// nothing here needs.
const NEVER: [&str; 21] = [
    "acct",
    "bpf",
    "cachestat",
    "delete_module",
    "fanotify_init",
    "finit_module",
    "init_module",
    "io_setup",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "modify_ldt",
    "quotactl",
    "swapoff",
    "swapon",
    "sysfs",
    "uselib",
    "userfaultfd",
];

/// The system calls that this kernel has, sorted, by `System.map`: one that was left out is a weak symbol there.
pub fn syscalls(map: &str, arch: Arch) -> Result<Vec<String>> {
    let prefix = arch.facts().calls;
    let mut calls: Vec<String> = map
        .lines()
        .filter_map(|line| line.split_once(" T ")?.1.strip_prefix(prefix))
        .filter(|name| *name != NONE)
        .map(str::to_owned)
        .collect();
    calls.sort();
    ensure!(
        calls.iter().any(|name| name == "read"),
        "measure the kernel: no {prefix}read in System.map; next: see how this series names system calls"
    );
    Ok(calls)
}

fn limits(target: Target) -> &'static Limits {
    match target {
        Target::Vm => &VM,
        Target::Pc => &PC,
        Target::Aarch64 => &AARCH64,
    }
}

/// Fails with everything that is over its limit, and with system calls that must not be there.
pub fn check(target: Target, bytes: u64, symbols: usize, calls: &str) -> Result<()> {
    let limits = limits(target);
    let count = calls.lines().count();
    let mut over = Vec::new();
    for (what, is, most) in [
        ("bytes of vmlinuz", bytes, limits.bytes),
        ("symbols", symbols as u64, limits.symbols),
        ("system calls", count as u64, limits.calls),
    ] {
        if is > most {
            over.push(format!("{is} {what}, at most {most}"));
        }
    }
    let never = NEVER.iter().filter(|it| !limits.brought.contains(it));
    let found = never.filter(|name| calls.lines().any(|call| call == **name));
    over.extend(found.map(|name| format!("the system call {name}, which is never to be there")));
    refuse(&over)
}

/// Fails where a kernel and its Spine are larger than the target's budget.
pub fn together(target: Target, kernel: u64, initrd: u64) -> Result<()> {
    let (is, most) = (kernel + initrd, limits(target).together);
    let over = format!("{is} bytes with spine.img, at most {most} for {target}");
    refuse(if is > most {
        std::slice::from_ref(&over)
    } else {
        &[]
    })
}

fn refuse(over: &[String]) -> Result<()> {
    if !over.is_empty() {
        bail!(
            "kernel: {}; next: take out of xtask/kernel what brought it, or raise the limit with a reason in \
             docs/ATTACK-SURFACE-BUDGET.md",
            over.join("; ")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;

    const MAP: &str = "ffffffff81000000 T _text\nffffffff81000010 T __x64_sys_write\nffffffff81000020 T __x64_sys_read\n\
                       ffffffff81000030 W __x64_sys_bpf\nffffffff81000040 T __x64_sys_ni_syscall\n";

    #[test]
    fn t08_the_calls_of_a_kernel_are_those_that_are_not_left_out() {
        assert_eq!(syscalls(MAP, Arch::X86_64).unwrap(), ["read", "write"]);
        assert_eq!(
            syscalls("", Arch::X86_64).unwrap_err().to_string(),
            "measure the kernel: no __x64_sys_read in System.map; next: see how this series names system calls"
        );
    }

    #[test]
    fn t10_a_kernel_over_its_budget_is_refused_with_every_figure() {
        let (bytes, symbols) = (VM.bytes, usize::try_from(VM.symbols).unwrap());
        check(Target::Vm, bytes, symbols, "read\n").unwrap();
        let error = check(Target::Vm, bytes + 1, symbols + 1, "bpf\nread\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "kernel: {} bytes of vmlinuz, at most {bytes}; {} symbols, at most {symbols}; the system call bpf, which is \
                 never to be there; next: take out of xtask/kernel what brought it, or raise the limit with a reason in \
                 docs/ATTACK-SURFACE-BUDGET.md",
                bytes + 1,
                symbols + 1
            )
        );
        let many: String = (0..=VM.calls).map(|nth| format!("call{nth}\n")).collect();
        let error = check(Target::Vm, 1, 1, &many).unwrap_err().to_string();
        assert!(error.contains(&format!(
            "{} system calls, at most {}",
            VM.calls + 1,
            VM.calls
        )));
    }

    #[test]
    fn t10_a_call_that_a_pcs_display_brings_is_nothing_for_a_virtual_machine() {
        check(Target::Pc, 1, 1, "kcmp\nread\n").unwrap();
        assert!(check(Target::Vm, 1, 1, "kcmp\nread\n").is_err());
        assert!(check(Target::Pc, 1, 1, "bpf\nread\n").is_err());
    }

    #[test]
    fn t10_kernel_and_spine_together_have_a_limit_for_each_target() {
        for (target, most) in [
            (Target::Vm, 14_000_000),
            (Target::Pc, 24_000_000),
            (Target::Aarch64, 24_000_000),
        ] {
            together(target, most - 1, 1).unwrap();
            let said = together(target, most, 1).unwrap_err().to_string();
            let start = format!(
                "kernel: {} bytes with spine.img, at most {most} for {target}; next: ",
                most + 1
            );
            assert!(said.starts_with(&start), "{said}");
        }
    }

    #[test]
    fn t10_the_document_has_the_limits_that_are_checked() {
        let path = Layout::find().root.join("docs/ATTACK-SURFACE-BUDGET.md");
        let text = std::fs::read_to_string(path).unwrap();
        for (what, vm, pc, other) in [
            ("bytes of `vmlinuz`", VM.bytes, PC.bytes, AARCH64.bytes),
            (
                "symbols that are on or have a value",
                VM.symbols,
                PC.symbols,
                AARCH64.symbols,
            ),
            ("system calls", VM.calls, PC.calls, AARCH64.calls),
            (
                "bytes of `vmlinuz` and `spine.img`",
                VM.together,
                PC.together,
                AARCH64.together,
            ),
        ] {
            let start = format!("| {what} | {} | ", grouped(vm));
            let row = text.lines().find(|line| line.starts_with(&start));
            let row = row.unwrap_or_else(|| panic!("no row {start}"));
            let cell = |at| row.split(" | ").nth(at);
            assert_eq!(cell(3), Some(grouped(pc).as_str()), "{row}");
            assert_eq!(cell(5), Some(grouped(other).as_str()), "{row}");
        }
        for name in NEVER {
            assert!(text.contains(&format!("`{name}`")), "no {name}");
        }
    }

    /// `6000000` → `6,000,000`.
    fn grouped(number: u64) -> String {
        let digits = number.to_string();
        let parts = digits.as_bytes().rchunks(3).rev();
        let parts: Vec<_> = parts.map(|part| String::from_utf8_lossy(part)).collect();
        parts.join(",")
    }
}
