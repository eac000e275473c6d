//! A call that a profile of rooms allows is one that the kernel has: what the configuration leaves out answers ENOSYS whatever a list
//! says, and a list that allows it promises what is not there.

use super::Tree;

const FOLDER: &str = "bay0-persona/policies/seccomp/";
const PROFILES: [&str; 3] = ["strict.toml", "standard.toml", "workshop.toml"];
const KERNEL: [&str; 2] = ["xtask/kernel/spine.config", "xtask/kernel/hardening.config"];
/// What the configuration of the kernel brings, by beginnings of names; the kernel's `sys_ni.c` and `init/Kconfig`.
const CONFIGURED: &[(&str, &[&str])] = &[
    (
        "AIO",
        &[
            "io_setup",
            "io_destroy",
            "io_submit",
            "io_cancel",
            "io_getevents",
            "io_pgetevents",
        ],
    ),
    ("IO_URING", &["io_uring_"]),
    ("USERFAULTFD", &["userfaultfd"]),
    ("BPF_SYSCALL", &["bpf"]),
    ("KCMP", &["kcmp"]),
    ("CACHESTAT_SYSCALL", &["cachestat"]),
    ("FANOTIFY", &["fanotify_"]),
    ("SWAP", &["swapon", "swapoff"]),
    ("MODULES", &["init_module", "finit_module", "delete_module"]),
    ("KEXEC", &["kexec_load"]),
    ("KEXEC_FILE", &["kexec_file_load"]),
    ("MODIFY_LDT_SYSCALL", &["modify_ldt"]),
    ("X86_IOPL_IOPERM", &["iopl", "ioperm"]),
    ("USELIB", &["uselib"]),
    ("SYSFS_SYSCALL", &["sysfs"]),
    ("ACCOUNTING", &["acct"]),
    ("KEYS", &["add_key", "request_key", "keyctl"]),
    ("INOTIFY_USER", &["inotify_"]),
    ("FUTEX", &["futex"]),
    ("EPOLL", &["epoll_"]),
    ("EVENTFD", &["eventfd"]),
    ("SIGNALFD", &["signalfd"]),
    ("TIMERFD", &["timerfd_"]),
    ("POSIX_TIMERS", &["timer_"]),
    ("FHANDLE", &["name_to_handle_at", "open_by_handle_at"]),
    ("FILE_LOCKING", &["flock"]),
    (
        "ADVISE_SYSCALLS",
        &["madvise", "fadvise64", "process_madvise"],
    ),
    ("MEMBARRIER", &["membarrier"]),
    ("RSEQ", &["rseq"]),
    (
        "SYSVIPC",
        &[
            "shmat",
            "shmctl",
            "shmdt",
            "shmget",
            "semctl",
            "semget",
            "semop",
            "semtimedop",
            "msg",
        ],
    ),
    ("POSIX_MQUEUE", &["mq_"]),
    ("CROSS_MEMORY_ATTACH", &["process_vm_"]),
    ("SECURITY_LANDLOCK", &["landlock_"]),
    ("SECCOMP", &["seccomp"]),
    ("X86_INTEL_MEMORY_PROTECTION_KEYS", &["pkey_"]),
    ("X86_USER_SHADOW_STACK", &["map_shadow_stack"]),
    ("PERF_EVENTS", &["perf_event_open"]),
];

/// Every call that a profile allows and the kernel does not have.
pub fn configured(tree: &Tree) -> Vec<String> {
    let on = |symbol: &str| {
        let wanted = format!("CONFIG_{symbol}=y");
        let texts = KERNEL.iter().filter_map(|path| tree.0.get(*path));
        texts
            .flat_map(|text| text.lines())
            .any(|line| line == wanted)
    };
    let mut found = Vec::new();
    for file in PROFILES {
        let path = format!("{FOLDER}{file}");
        let text = tree.0.get(&path).map_or("", String::as_str);
        for call in text
            .lines()
            .filter_map(|line| Some(line.split_once(" = \"")?.0))
        {
            let brings = |(_, calls): &&(_, &[&str])| calls.iter().any(|it| named(call, it));
            if let Some((symbol, _)) = CONFIGURED.iter().find(brings)
                && !on(symbol)
            {
                found.push(format!(
                    "{path}: allows {call}, which the kernel has with CONFIG_{symbol}=y only; next: turn that on in {}, or take the call out",
                    KERNEL[0]
                ));
            }
        }
    }
    found
}

/// A name of the table means itself, or with `_` at its end whatever begins so; `eventfd2` and `msgget` are of their kind as well.
fn named(call: &str, name: &str) -> bool {
    match name {
        "msg" | "futex" | "eventfd" | "signalfd" => call.starts_with(name),
        _ if name.ends_with('_') => call.starts_with(name),
        _ => call == name,
    }
}
