//! What can be shown without a room: the list, the lines, and how what is read is judged.

use std::collections::BTreeSet;
use std::io;

use nix::libc;

use super::calls::{End, call, in_child};
use super::told::Ways;
use super::*;

/// What the issue of rooms asks for.
const PROMISED: [&str; 44] = [
    "fork-bomb",
    "mem-bomb",
    "tmpfs-fill",
    "fd-exhaust",
    "ptrace-others",
    "core-pattern",
    "release-agent",
    "sysrq",
    "kcore",
    "kmsg",
    "proc-sys-writes",
    "sysfs",
    "proc-1-mem",
    "mount-tricks",
    "mknod",
    "setns",
    "userns",
    "signal-init",
    "modules",
    "bpf",
    "io-uring",
    "keyring",
    "abstract-sockets",
    "sysv-ipc",
    "inherited-fds",
    "self-exe-overwrite",
    "symlink-bind-targets",
    "request-flood",
    "unkillable",
    "fork-faster-than-kill",
    "sockets",
    "linger",
    "oom-score",
    "time",
    "reboot",
    "swapon",
    "chroot-escape",
    "connect-flood",
    "tiocsti",
    "userfaultfd",
    "perf",
    "open-by-handle",
    "pidfd",
    "caps",
];

#[test]
fn c05_the_list_names_every_attack_that_is_promised_once() {
    let listed = list();
    let names: Vec<_> = listed
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .collect();
    let set: BTreeSet<_> = names.iter().map(|(name, _)| *name).collect();
    assert_eq!(set, BTreeSet::from(PROMISED));
    assert_eq!(names.len(), set.len());
    let resources: Vec<_> = names
        .iter()
        .filter(|(_, on)| *on == "resources")
        .map(|(name, _)| *name)
        .collect();
    assert_eq!(
        resources,
        [
            "fork-bomb",
            "mem-bomb",
            "tmpfs-fill",
            "fd-exhaust",
            "request-flood",
            "connect-flood",
            "unkillable",
            "fork-faster-than-kill"
        ]
    );
}

#[test]
fn c05_one_way_that_works_is_a_success_and_every_line_is_one_line() {
    let eperm = || io::Error::from_raw_os_error(libc::EPERM);
    let mut ways = Ways::default();
    ways.add::<()>("first", Err(eperm()));
    ways.add::<()>("second", Err(io::Error::other("covered")));
    ways.refused("third", "a\nb");
    let told = ways.told();
    assert_eq!(
        told.line("x"),
        "hostile x: REFUSED first=EPERM second=covered third=a?b"
    );
    assert_eq!(told.code(), 0);
    let mut ways = Ways::default();
    ways.add::<()>("first", Err(eperm()));
    ways.add("second", Ok(3));
    let told = ways.told();
    assert_eq!(told.line("x"), "hostile x: SUCCEEDED second=done");
    assert_eq!(told.code(), 1);
    assert_eq!(Told::Bounded("9 then EAGAIN".into()).code(), 0);
}

#[test]
fn c05_a_file_that_is_covered_gives_and_takes_nothing() {
    let write = calls::write("/dev/null", b"1").unwrap_err();
    assert_eq!(told::errno(&write), "covered");
    let read = calls::read("/dev/null").unwrap_err();
    assert_eq!(told::errno(&read), "empty");
    let missing = calls::read("/nonexistent").unwrap_err();
    assert_eq!(told::errno(&missing), "ENOENT");
    assert!(calls::read("/proc/self/status").is_ok());
}

#[test]
fn c05_descriptors_are_counted_until_they_are_refused() {
    let code = in_child(|| {
        let limit = libc::rlimit {
            rlim_cur: 64,
            rlim_max: 64,
        };
        let set = [libc::RLIMIT_NOFILE.into(), calls::at(&limit)];
        let Ok(_) = call(libc::SYS_setrlimit, &set) else {
            return 1;
        };
        match bombs::descriptors() {
            Told::Bounded(text) if text.ends_with("descriptors then EMFILE") => 0,
            _ => 2,
        }
    });
    assert_eq!(code.unwrap(), End::Code(0));
}

#[test]
fn c05_a_child_that_is_killed_is_told_from_one_that_ends() {
    assert_eq!(in_child(|| 7).unwrap(), End::Code(7));
    let killed = in_child(|| {
        let _ = call(libc::SYS_kill, &[std::process::id().into(), 9]);
        0
    });
    assert_eq!(killed.unwrap(), End::Signal(9));
}

#[test]
fn c05_abstract_names_are_told_from_paths_and_from_nameless_sockets() {
    let table = "Num       RefCount Protocol Flags    Type St Inode Path\n\
                 0000000000000000: 00000002 00000000 00010000 0001 01 26001 @/tmp/.X11\n\
                 0000000000000000: 00000002 00000000 00010000 0001 01 26002 /run/umbilical\n\
                 0000000000000000: 00000003 00000000 00000000 0001 03 26003\n";
    assert_eq!(others::abstract_names(table), ["/tmp/.X11"]);
    assert_eq!(others::abstract_names(""), [""; 0]);
}

#[test]
fn c05_a_process_without_a_uid_of_the_room_is_a_stranger() {
    assert!(!others::foreign("Name:\tsh\nUid:\t0\t0\t0\t0\n"));
    assert!(others::foreign("Name:\tsh\nUid:\t0\t65534\t0\t0\n"));
    assert!(
        others::foreign("Name:\tsh\n"),
        "what is not said is not own"
    );
}

/// The status of a room's root with these rights.
fn status(rights: &str, seccomp: u8) -> String {
    let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
    let sets: String = sets.map(|set| format!("{set}:\t{rights}\n")).concat();
    format!("Name:\thostile\n{sets}NoNewPrivs:\t1\nSeccomp:\t{seccomp}\n")
}

#[test]
fn c05_rights_beyond_those_a_policy_can_name_are_a_success() {
    let map = "         0      65536      65536\n";
    let workshop = "0000000080 0c05fb".replace(' ', "");
    let told = room::judged(&status(&workshop, 2), map, map);
    assert_eq!(
        told.line("caps"),
        "hostile caps: REFUSED CapInh=00000000800c05fb CapPrm=00000000800c05fb CapEff=00000000800c05fb \
         CapBnd=00000000800c05fb CapAmb=00000000800c05fb NoNewPrivs=1 Seccomp=2 uid_map=0:65536:65536 gid_map=0:65536:65536"
    );
    let admin = room::judged(&status("0000000000200000", 2), map, map);
    assert_eq!(admin.code(), 1, "CAP_SYS_ADMIN");
    let free = room::judged(&status("0", 0), map, map);
    assert_eq!(free, Told::Succeeded("Seccomp=0".into()));
    let whole = "         0          0 4294967295\n";
    let outside = room::judged(&status("0", 2), whole, map);
    assert_eq!(outside, Told::Succeeded("uid_map=0:0:4294967295".into()));
    assert_eq!(room::judged("", "", "").code(), 1, "nothing can be read");
}
