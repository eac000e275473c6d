//! How large the kernel may be (T10): its file, its configuration, and the system calls that it offers at all.

use anyhow::{Result, bail, ensure};

/// Most bytes of `vmlinuz`.
const MOST_BYTES: u64 = 6_000_000;
/// Most symbols that are on or have a value.
const MOST_SYMBOLS: usize = 1_000;
/// Most system calls.
const MOST_CALLS: usize = 348;
/// What a system call is called in the kernel's table of symbols.
const PREFIX: &str = "__x64_sys_";
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
pub fn syscalls(map: &str) -> Result<Vec<String>> {
    let mut calls: Vec<String> = map
        .lines()
        .filter_map(|line| line.split_once(" T ")?.1.strip_prefix(PREFIX))
        .filter(|name| *name != NONE)
        .map(str::to_owned)
        .collect();
    calls.sort();
    ensure!(
        calls.iter().any(|name| name == "read"),
        "measure the kernel: no {PREFIX}read in System.map; next: see how this series names system calls"
    );
    Ok(calls)
}

/// Fails with everything that is over its limit, and with system calls that must not be there.
pub fn check(bytes: u64, symbols: usize, calls: &str) -> Result<()> {
    let count = calls.lines().count();
    let mut over = Vec::new();
    for (what, is, most) in [
        ("bytes of vmlinuz", bytes, MOST_BYTES),
        ("symbols", symbols as u64, MOST_SYMBOLS as u64),
        ("system calls", count as u64, MOST_CALLS as u64),
    ] {
        if is > most {
            over.push(format!("{is} {what}, at most {most}"));
        }
    }
    let found = NEVER
        .iter()
        .filter(|name| calls.lines().any(|call| call == **name));
    over.extend(found.map(|name| format!("the system call {name}, which is never to be there")));
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
        assert_eq!(syscalls(MAP).unwrap(), ["read", "write"]);
        assert_eq!(
            syscalls("").unwrap_err().to_string(),
            "measure the kernel: no __x64_sys_read in System.map; next: see how this series names system calls"
        );
    }

    #[test]
    fn t10_a_kernel_over_its_budget_is_refused_with_every_figure() {
        check(MOST_BYTES, MOST_SYMBOLS, "read\n").unwrap();
        let error = check(MOST_BYTES + 1, MOST_SYMBOLS + 1, "bpf\nread\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "kernel: {} bytes of vmlinuz, at most {MOST_BYTES}; {} symbols, at most {MOST_SYMBOLS}; the system call bpf, which is \
                 never to be there; next: take out of xtask/kernel what brought it, or raise the limit with a reason in \
                 docs/ATTACK-SURFACE-BUDGET.md",
                MOST_BYTES + 1,
                MOST_SYMBOLS + 1
            )
        );
        let many: String = (0..=MOST_CALLS).map(|nth| format!("call{nth}\n")).collect();
        let error = check(1, 1, &many).unwrap_err().to_string();
        assert!(error.contains(&format!(
            "{} system calls, at most {MOST_CALLS}",
            MOST_CALLS + 1
        )));
    }

    #[test]
    fn t10_the_document_has_the_limits_that_are_checked() {
        let path = Layout::find().root.join("docs/ATTACK-SURFACE-BUDGET.md");
        let text = std::fs::read_to_string(path).unwrap();
        let limits = [MOST_BYTES, MOST_SYMBOLS as u64, MOST_CALLS as u64];
        for limit in limits.map(grouped) {
            assert!(text.contains(&format!("| {limit} |")), "no limit {limit}");
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
