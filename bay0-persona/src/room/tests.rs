#![allow(clippy::arithmetic_side_effects)]

use super::*;
use crate::End;
use crate::{Group, cgroup2_root};
use nix::mount::{MsFlags, mount};
use std::fs::create_dir_all;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

const NONE: Option<&str> = None;
const LIMIT: Duration = Duration::from_secs(5);

fn policy(command: &str) -> Policy {
    let columns = [
        "p://work/mail",
        "busybox",
        command,
        "PATH=/bin:/usr/bin",
        "",
        "",
        "100",
        "100",
        "67108864",
        "64",
        "256",
        "1048576",
        "0",
        "128",
        "0",
        "0",
        "1",
        "0",
        "0",
        "0",
        "0",
        "0",
        "0",
        "0",
        "0",
        "0",
        "0",
        "0",
        "0",
        "0",
        "0",
        "0",
        "0",
        "0",
    ];
    Policy::parse(&columns).unwrap()
}

/// A folder as image: the host's own busybox where there is one, and everything a room needs to exist.
fn image() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["bin", "dev", "proc", "run", "usr/bin", "etc", "tmp"] {
        create_dir_all(dir.path().join(folder)).unwrap();
    }
    fs::copy("/bin/busybox", dir.path().join("bin/busybox")).unwrap();
    symlink("busybox", dir.path().join("bin/sh")).unwrap();
    dir
}

/// Starts a room, hands it and its group to `look` once it runs or has failed, and removes it.
fn with_room<T>(
    policy: &Policy,
    image: &Path,
    look: impl FnOnce(&Room, Result<(), String>) -> T,
) -> T {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let bound = image.to_str().unwrap();
    let socket = tempfile::NamedTempFile::new().unwrap();
    mount(Some(bound), bound, NONE, MsFlags::MS_BIND, NONE).unwrap();
    let name = format!(
        "bay0-room-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Relaxed)
    );
    let group = Group::create(&cgroup2_root().unwrap(), &name).unwrap();
    let plan = Plan {
        policy,
        uid: 655_360,
        image,
        umbilical: socket.path(),
        client: &std::env::current_exe().unwrap(),
        devices: &[],
        filters: &[],
    };
    let room = Room::prepare(&plan, &group.dir).unwrap();
    room.release().unwrap();
    let begun = Instant::now();
    let progress = loop {
        match room.progress() {
            None => assert!(begun.elapsed() < LIMIT),
            Some(progress) => break progress,
        }
    };
    let seen = look(&room, progress);
    group.remove(LIMIT).unwrap();
    umount2(bound, MntFlags::MNT_DETACH).unwrap();
    seen
}

/// What a room with this shell command writes to its terminal until it has ended.
fn shown(script: &str) -> String {
    shown_of(image().path(), script)
}

/// The same with an image of one's own.
fn shown_of(image: &Path, script: &str) -> String {
    let policy = policy(&format!("/bin/busybox\nsh\n-c\n{script}"));
    with_room(&policy, image, |room, progress| {
        assert_eq!(progress, Ok(()));
        assert!(room.child.wait_exit(LIMIT));
        // At the end of a terminal reads fail with EIO.
        let mut bytes = Vec::new();
        let _ = (&room.terminal).read_to_end(&mut bytes);
        String::from_utf8(bytes).unwrap()
    })
}

/// How a room's program ends.
fn end(room: &Room) -> End {
    assert!(room.child.wait_exit(LIMIT));
    let ended = ends::reap(Some(room.child.pidfd.as_fd()));
    ended.unwrap().unwrap().end.of_program()
}

/// At which stage a room failed, or how it ended.
fn started(policy: &Policy, image: &Path) -> String {
    with_room(policy, image, |room, progress| match progress {
        Err(stage) => stage,
        Ok(()) => end(room).to_string(),
    })
}

/// What a script prints, line by line, without the terminal's carriage returns.
fn lines(script: &str) -> Vec<String> {
    shown(script)
        .replace('\r', "")
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
#[ignore = "needs root"]
fn c04_a_room_has_names_processes_and_network_of_its_own() {
    let said = lines(
        "id -u;hostname;cat /proc/1/comm;set -- /proc/[0-9]*;echo $#;grep -c : /proc/net/dev;grep lo: /proc/net/dev|tr -s ' '|cut -d: -f1",
    );
    // Init, by what it is, and the shell, which lists them itself.
    assert_eq!(said, ["0", "mail", "bay0", "2", "1", " lo"]);
}

#[test]
#[ignore = "needs root"]
fn c04_its_root_is_a_uid_of_its_own_range() {
    assert_eq!(
        lines("cat /proc/self/uid_map|tr -s ' ';cat /proc/self/gid_map|tr -s ' '"),
        [" 0 655360 65536"; 2]
    );
}

#[test]
#[ignore = "needs root"]
fn c05_it_has_the_capabilities_and_descriptors_of_its_policy_and_can_gain_none() {
    let said = lines(
        "grep -E 'Cap(Eff|Bnd|Prm)' /proc/self/status|cut -f2;ulimit -n;ls /proc/self/fd|wc -l",
    );
    // CAP_SETUID; 0, 1, 2 and the listing's own.
    assert_eq!(
        said,
        [
            "0000000000000080",
            "0000000000000080",
            "0000000000000080",
            "256",
            "4"
        ]
    );
}

#[test]
#[ignore = "needs root"]
fn t09_it_can_write_everywhere_and_its_image_does_not_change() {
    assert_eq!(
        lines("echo x >/etc/x;rm /bin/sh;ls -1 /bin /etc"),
        ["/bin:", "busybox", "", "/etc:", "hosts", "x"]
    );
    assert_eq!(
        lines("ls -1 /bin /etc"),
        ["/bin:", "busybox", "sh", "", "/etc:", "hosts"]
    );
}

#[test]
#[ignore = "needs root"]
fn t03_what_tells_or_changes_the_machine_is_covered() {
    let said = lines(
        "cat /proc/kmsg /proc/keys /proc/timer_list /proc/interrupts /proc/diskstats;ls /proc/bus /proc/fs|wc -w;echo x >/proc/sys/kernel/core_pattern;echo $?;umount /proc/keys;mount -t tmpfs x /mnt 2>&1|grep -c denied",
    );
    let refused = "sh: can't create /proc/sys/kernel/core_pattern: Read-only file system";
    // The names of the two folders.
    assert_eq!(said[..3], ["2", refused, "1"]);
    assert!(
        said[3].contains("umount") && said[3].contains("ermi"),
        "{said:?}"
    );
}

#[test]
#[ignore = "needs root"]
fn c06_a_program_that_cannot_be_executed_is_named() {
    let (policy, image) = (policy("/bin/none"), image());
    assert_eq!(started(&policy, image.path()), "exec: ENOENT");
}

#[test]
#[ignore = "needs root"]
fn c06_its_program_begins_with_no_signal_blocked_and_ends_when_nobody_reads() {
    let said = lines("grep -E 'SigBlk|SigIgn' /proc/self/status|cut -f2");
    let numbers: Vec<_> = said
        .iter()
        .map(|mask| u64::from_str_radix(mask, 16).unwrap())
        .collect();
    let broken_pipe = 1 << (SIGPIPE as i32 - 1);
    // What else is ignored comes from whoever runs the test.
    assert!(
        matches!(*numbers, [0, ignored] if ignored & broken_pipe == 0),
        "{said:?}"
    );
}

#[test]
#[ignore = "needs root"]
fn c06_the_room_ends_with_its_program_and_says_how() {
    let (policy, image) = (policy("/bin/busybox\nsh\n-c\nsleep 1000 & exit 7"), image());
    assert_eq!(started(&policy, image.path()), "exit 7");
}

/// Puts something else in the place of a folder of the image.
fn instead(image: &Path, path: &str, put: impl Fn(&Path) -> std::io::Result<()>) {
    let path = image.join(path);
    fs::remove_dir(&path).unwrap();
    put(&path).unwrap();
}

#[test]
#[ignore = "needs root"]
fn c06_a_room_starts_whatever_its_image_has_in_bay0s_places() {
    let script = "echo x >/dev/null && test -S /run/umbilical -o -f /run/umbilical && test -x /usr/bin/bay0 \
         && test -r /proc/self/stat && test -r /sys/fs/cgroup/cgroup.procs && grep -c mail /etc/hosts";
    let link = |to: &'static str| move |path: &Path| symlink(to, path);
    for path in ["run", "dev", "proc", "usr/bin", "etc"] {
        for to in [
            "/tmp",
            "../tmp",
            "/nowhere/at/all",
            "/proc",
            "/dev",
            "run",
            ".",
        ] {
            let image = image();
            instead(image.path(), path, link(to));
            let said = shown_of(image.path(), script);
            assert_eq!(said, "2\r\n", "{path} -> {to}");
        }
        let image = image();
        instead(image.path(), path, |path| fs::write(path, "a file"));
        assert_eq!(shown_of(image.path(), script), "2\r\n", "{path}");
    }
}

#[test]
#[ignore = "needs root"]
fn c06_what_stands_in_the_place_of_a_file_of_bay0s_goes_and_a_folder_that_is_a_link_is_followed() {
    let image = image();
    create_dir_all(image.path().join("usr/bin/bay0/deep/er")).unwrap();
    symlink("/etc/passwd", image.path().join("run/umbilical")).unwrap();
    symlink("/hosts", image.path().join("etc/hosts")).unwrap();
    fs::write(image.path().join("hosts"), "10.0.0.1 far").unwrap();
    instead(image.path(), "tmp", |path| symlink("/run", path));
    let said = shown_of(
        image.path(),
        "test -f /usr/bin/bay0; echo $?; ls /tmp; ls -1 /etc; cat /etc/hosts",
    );
    let hosts = "10.0.0.1 far\n127.0.0.1 localhost\n127.0.0.1 mail\n::1 localhost\n::1 mail\n";
    assert_eq!(
        said.replace('\r', ""),
        format!("0\numbilical\nhosts\n{hosts}")
    );
}

#[test]
#[ignore = "needs root"]
fn c04_its_device_nodes_and_client_are_its_own_and_work() {
    let said = lines(
        "stat -c %d:%i:%u /dev/null; stat -c %d:%i /usr/bin/bay0; echo x >/dev/null; head -c 4 /dev/zero|wc -c; echo x 2>&1 >/dev/full|grep -c space; test -c /dev/tty; echo $?",
    );
    let identity = |path: &Path| {
        use std::os::unix::fs::MetadataExt;
        let about = fs::metadata(path).unwrap();
        format!("{}:{}", about.dev(), about.ino())
    };
    let null = format!("{}:0", identity(Path::new("/dev/null")));
    assert_ne!(said[0], null);
    assert!(said[0].ends_with(":0"), "{said:?}");
    assert_ne!(said[1], identity(&std::env::current_exe().unwrap()));
    assert_eq!(said[2..], ["4", "1", "0"]);
}

#[test]
#[ignore = "needs root"]
fn c05_it_reads_its_own_group_and_writes_nothing_there() {
    let said = lines(
        "grep ^0: /proc/self/cgroup; ls -d /sys/fs/cgroup/*/ 2>/dev/null; ls /sys /sys/fs; echo 1 >/sys/fs/cgroup/cgroup.freeze; echo $?; grep -c '^1$' /sys/fs/cgroup/cgroup.procs",
    );
    let refused = "sh: can't create /sys/fs/cgroup/cgroup.freeze: Read-only file system";
    assert_eq!(said[..5], ["0::/", "/sys:", "fs", "", "/sys/fs:"]);
    // Its init.
    assert_eq!(said[5..], ["cgroup", refused, "1", "1"]);
}

#[test]
#[ignore = "needs root"]
fn t07_its_loopback_is_up_and_everybody_may_ask_for_an_echo() {
    let said = lines(
        "cat /proc/sys/net/ipv4/ping_group_range|tr -s '\t' ' ';ip addr show lo|grep -o 'inet.* scope host'",
    );
    let own = ["inet 127.0.0.1/8 scope host", "inet6 ::1/128 scope host"];
    assert_eq!(said, ["0 65535", own[0], own[1]]);
}

/// Signals that end a program unless it says otherwise (`signal(7)`), and that it can be sent by its room's init.
fn deadly() -> impl Iterator<Item = i32> {
    use libc::{SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH};
    let mild = [
        SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH,
    ];
    // What is ignored here stays so in the program (`execve(2)`).
    [32, 33].into_iter().for_each(ends::tests::default);
    (1..=64).filter(move |number| !mild.contains(number))
}

#[test]
#[ignore = "needs root"]
fn c06_a_program_that_ends_by_any_signal_ends_its_room() {
    let image = image();
    for number in deadly() {
        // Not by a shell, which ignores some. The room's program is its second process.
        let policy = policy(&format!("/bin/busybox\nkill\n-{number}\n2"));
        let how = End::Signal(number).to_string();
        assert_eq!(started(&policy, image.path()), how, "{number}");
    }
}

#[test]
#[ignore = "needs root"]
fn c06_any_signal_to_a_rooms_init_is_passed_on_to_its_program() {
    let image = image();
    let policy = policy("/bin/busybox\nsleep\n1000");
    for number in deadly().filter(|number| *number != libc::SIGKILL) {
        let end = with_room(&policy, image.path(), |room, progress| {
            assert_eq!(progress, Ok(()));
            ends::pass(room.child.pid, number).unwrap();
            end(room)
        });
        assert_eq!(end, End::Signal(number));
    }
    // From inside; the kernel takes SIGKILL and SIGSTOP to an init without a word.
    let said = lines(
        "trap 'echo 37; exit' 37; for n in 9 17 19 28 37; do kill -$n 1; done; while :; do :; done",
    );
    assert_eq!(said, ["37"]);
}

#[test]
fn c05_a_filter_is_eight_bytes_an_instruction() {
    let program = bpf_program("0600000000 00ff7f".replace(' ', "").as_str()).unwrap();
    assert_eq!(
        (program[0].code, program[0].jt, program[0].jf, program[0].k),
        (6, 0, 0, 0x7fff_0000)
    );
    assert_eq!(bpf_program("06000000"), None);
    assert_eq!(bpf_program("06000000000fg00f"), None);
    assert_eq!(bpf_program("\u{20ac}0000000000000"), None);
}

#[test]
#[ignore = "needs root"]
fn c05_the_memory_killer_takes_it_before_anything_of_the_spine() {
    assert_eq!(lines("cat /proc/self/oom_score_adj"), ["500"]);
}
