#![allow(clippy::arithmetic_side_effects)]

use super::*;
use crate::spawn;
use nix::sched::CloneFlags;

const LIMIT: Duration = Duration::from_secs(5);

/// A made directory that looks like a group: enough for what is only read and written.
fn made(events: &str) -> (tempfile::TempDir, Group) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("cgroup.events"), events).unwrap();
    fs::write(dir.path().join("cgroup.freeze"), "0").unwrap();
    fs::write(
        dir.path().join("cpu.stat"),
        "usage_usec 1234\nuser_usec 1\n",
    )
    .unwrap();
    let group = Group::open(dir.path().to_owned()).unwrap();
    (dir, group)
}

fn used_us(group: &Group) -> u64 {
    group.figure("cpu.stat", "usage_usec ").unwrap()
}

#[test]
fn c05_cpu_time_is_read_from_cpu_stat() {
    let (_dir, group) = made("populated 1\nfrozen 0\n");
    assert_eq!(used_us(&group), 1234);
}

#[test]
fn c12_a_freeze_that_does_not_finish_is_taken_back_and_named() {
    let (dir, group) = made("populated 1\nfrozen 0\n");
    let error = group.freeze(Duration::from_millis(5)).unwrap_err();
    assert_eq!(error.to_string(), "freeze cgroup: ETIMEDOUT");
    assert_eq!(
        fs::read_to_string(dir.path().join("cgroup.freeze")).unwrap(),
        "0"
    );
}

fn policy(disk_rate: u64) -> Policy {
    let line = "p://a\tdev\t/bin/sh\tA=b\t\t\t1\t2\t3\t4\t5\t6\t2\t8\t1\t0\t1\t0\t3\t500\t0\t0\t0\t0\t0\t0";
    let line = format!("{line}\t{disk_rate}\t0\t0\t0\t0\t0\t0\t0");
    let columns: Vec<&str> = line.split('\t').collect();
    Policy::parse(&columns).unwrap()
}

#[test]
fn u03_reads_of_the_disk_behind_an_image_are_limited_where_the_policy_says_so() {
    let (dir, group) = made("");
    let knob = dir.path().join("io.max");
    let refused = group.limit_disk(&policy(4096), dir.path()).unwrap_err();
    assert_eq!(refused.to_string(), "limit cgroup: ENOENT");
    fs::write(&knob, "").unwrap();
    group.limit_disk(&policy(UNLIMITED), dir.path()).unwrap();
    assert_eq!(fs::read_to_string(&knob).unwrap(), "");
    group.limit_disk(&policy(4096), dir.path()).unwrap();
    let device = fs::metadata(dir.path()).unwrap().dev();
    let device = format!("{}:{}", libc::major(device), libc::minor(device));
    let line = fs::read_to_string(&knob).unwrap();
    assert_eq!(line, format!("{device} rbps=4096"));
}

#[test]
fn c05_swap_is_limited_to_none_where_the_kernel_has_any() {
    let policy = policy(UNLIMITED);
    let (dir, group) = made("");
    fs::write(dir.path().join("cpu.max"), "max 100000\n").unwrap();
    let swap = dir.path().join("memory.swap.max");
    group.limit(&policy).unwrap();
    assert!(!swap.exists(), "a kernel without swap has no such file");
    fs::write(&swap, "max").unwrap();
    group.limit(&policy).unwrap();
    assert!(fs::read_to_string(&swap).unwrap().starts_with('0'));
}

#[test]
fn h19_a_group_that_fails_says_in_which_operation_and_why() {
    let error = Group::open(PathBuf::from("/nonexistent/room")).unwrap_err();
    assert_eq!(error.to_string(), "open cgroup: ENOENT");
    let (_dir, group) = made("populated 1\nfrozen 0\n");
    let error = group.kill(LIMIT).unwrap_err();
    assert_eq!(error.to_string(), "kill cgroup: ENOENT");
}

#[test]
#[ignore = "needs root"]
fn t04_a_frozen_group_uses_no_cpu_and_a_frozen_tree_can_be_killed() {
    let root = cgroup2_root().unwrap();
    let group = Group::create(&root, &format!("bay0-test-{}", std::process::id())).unwrap();
    let nested = Group::create(&group.path, "nested").unwrap();
    let burner = spawn(Some(&nested.dir), CloneFlags::empty(), &[], || {
        // Ends by itself, whatever becomes of the test.
        let begun = Instant::now();
        while begun.elapsed() < LIMIT + LIMIT {
            std::hint::spin_loop();
        }
        0
    })
    .unwrap();
    let begun = Instant::now();
    while used_us(&group) < 1000 {
        assert!(begun.elapsed() < LIMIT, "no CPU burn");
        std::hint::spin_loop();
    }
    group.freeze(LIMIT).unwrap();
    let before = used_us(&group);
    assert!(!burner.wait_exit(Duration::from_millis(50)));
    assert_eq!(used_us(&group), before);
    group.kill(LIMIT).unwrap();
    assert!(burner.wait_exit(LIMIT));
    assert_eq!(burner.reap(), Some(128 + 9));
    let path = group.path.clone();
    group.remove(LIMIT).unwrap();
    assert!(!path.exists());
}
