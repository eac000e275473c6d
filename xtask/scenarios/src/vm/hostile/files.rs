//! Files of the kernel that reach the whole machine.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc;

use crate::calls::{self, call, text};
use crate::told::{Told, Ways};

/// What the whole machine shares below `/proc/sys`.
const SHARED: [&str; 13] = [
    "kernel/modprobe",
    "kernel/panic",
    "kernel/hotplug",
    "kernel/randomize_va_space",
    "kernel/dmesg_restrict",
    "kernel/kptr_restrict",
    "kernel/pid_max",
    "kernel/core_uses_pid",
    "fs/suid_dumpable",
    "fs/protected_symlinks",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "fs/file-max",
];

/// A program that the kernel would start as the machine's root when anything crashes.
pub fn core_pattern() -> Told {
    let mut ways = Ways::default();
    let path = "/proc/sys/kernel/core_pattern";
    ways.add(path, calls::write(path, b"|/tmp/hostile %p"));
    ways.told()
}

/// Out of reach of what ends a program when memory runs out: nobody in a room is, or can be.
pub fn memory_killer() -> Told {
    let mut ways = Ways::default();
    for pid in ["1", "self"] {
        let path = format!("/proc/{pid}/oom_score_adj");
        let own = fs::read_to_string(&path).unwrap_or_default();
        match own.trim().parse() {
            Ok(0..=1000) => ways.refused(pid, own.trim()),
            _ => ways.worked(pid, own.trim()),
        }
        for value in ["-1", "-1000"] {
            let set = calls::write(&path, value.as_bytes());
            ways.add(&format!("{pid}:{value}"), set);
        }
    }
    ways.told()
}

/// Keys that the kernel obeys. The letter is the one that only prints help.
pub fn sysrq() -> Told {
    let mut ways = Ways::default();
    for (path, bytes) in [
        ("/proc/sysrq-trigger", b"h"),
        ("/proc/sys/kernel/sysrq", b"1"),
    ] {
        ways.add(path, calls::write(path, bytes));
    }
    ways.told()
}

/// Memory as files.
pub fn kcore() -> Told {
    let mut ways = Ways::default();
    for path in [
        "/proc/kcore",
        "/dev/mem",
        "/dev/kmem",
        "/dev/port",
        "/proc/kpagecount",
        "/proc/vmcore",
    ] {
        ways.add(path, calls::read(path));
    }
    ways.told()
}

/// What the kernel says to the operator, and bay0 with it.
pub fn kmsg() -> Told {
    let mut ways = Ways::default();
    for path in ["/dev/kmsg", "/proc/kmsg"] {
        ways.add(path, calls::read(path));
    }
    let forged = calls::write("/dev/kmsg", b"<4>hostile: a forged line\n");
    ways.add("write:/dev/kmsg", forged);
    let mut buffer = [0u8; 256];
    let address = buffer.as_mut_ptr().expose_provenance() as libc::c_long;
    ways.add("syslog-read", call(libc::SYS_syslog, &[3, address, 256]));
    ways.add("syslog-quiet", call(libc::SYS_syslog, &[8, 0, 8]));
    ways.told()
}

/// The value that is there, written once more: what can be written can be changed.
pub fn proc_sys() -> Told {
    let mut ways = Ways::default();
    for name in SHARED {
        let path = format!("/proc/sys/{name}");
        let same = fs::read(&path).and_then(|value| calls::write(&path, &value));
        ways.add(name, same);
    }
    for (name, bytes) in [
        ("/proc/sys/vm/drop_caches", &b"1"[..]),
        ("/proc/sys/vm/compact_memory", b"1"),
        (
            "/proc/sys/fs/binfmt_misc/register",
            b":hostile:M::HOST::/x:",
        ),
        ("/proc/irq/default_smp_affinity", b"1"),
        ("/proc/timer_list", b""),
        ("/proc/acpi/wakeup", b"PWRB"),
    ] {
        ways.add(name, calls::write(name, bytes));
    }
    ways.told()
}

/// Devices and the kernel's own knobs. Of `/sys` a room has its own group, to read.
pub fn sysfs() -> Told {
    let mut ways = Ways::default();
    for (folder, holds) in [("/sys", "fs"), ("/sys/fs", "cgroup")] {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        match names.as_slice() {
            [name] if *name == *holds => ways.refused(folder, holds),
            _ => ways.worked(folder, &format!("{names:?}").replace(' ', "")),
        }
    }
    let group = Path::new("/sys/fs/cgroup");
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        let path = entry.path().display().to_string();
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => ways.worked("group", &path),
            false => ways.add(&path, calls::write(&path, b"1")),
        }
    }
    ways.add("mkdir", fs::create_dir(group.join("hostile")));
    for path in ["/sys/kernel/uevent_helper", "/sys/power/state"] {
        ways.add(path, calls::write(path, b""));
    }
    ways.told()
}

/// bay0's own file, which the machine's root runs, by each of its names.
pub fn programs() -> Told {
    let mut ways = Ways::default();
    for path in ["/proc/1/exe", "/usr/bin/bay0"] {
        ways.add(path, open(path, 0));
        ways.add(&format!("cut:{path}"), open(path, libc::O_TRUNC));
        let mode = call(
            libc::SYS_fchmodat,
            &[libc::AT_FDCWD.into(), text(path), 0o777],
        );
        ways.add(&format!("chmod:{path}"), mode);
        ways.add(
            &format!("truncate:{path}"),
            call(libc::SYS_truncate, &[text(path), 0]),
        );
    }
    // Its own file is the room's, but not while it runs.
    ways.add("/proc/self/exe", open("/proc/self/exe", 0));
    ways.told()
}

fn open(path: &str, flags: i32) -> io::Result<fs::File> {
    OpenOptions::new()
        .write(true)
        .custom_flags(flags)
        .open(path)
}
