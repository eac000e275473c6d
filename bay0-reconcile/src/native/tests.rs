use super::*;
use bay0_persona::{PersonaName, cgroup2_root, spawn};
use std::fs;

/// A made tree of the shape the kernel shows.
fn tree() -> (tempfile::TempDir, Native) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("rooms");
    for (room, populated) in [("p__work", 1), ("p__work__mail", 0), ("Scratch", 1)] {
        fs::create_dir_all(root.join(room)).unwrap();
        let events = format!("populated {populated}\nfrozen 0\n");
        fs::write(root.join(room).join("cgroup.events"), events).unwrap();
    }
    fs::write(root.join("cgroup.procs"), "").unwrap();
    (dir, Native(root))
}

#[test]
fn h12_a_room_is_a_group_and_runs_if_it_has_processes() {
    let (_dir, native) = tree();
    let mut found = native.list().unwrap();
    found.sort();
    let shown: Vec<_> = found
        .iter()
        .map(|thing| {
            (
                thing.id.as_str(),
                thing.name.as_ref().map(PersonaName::to_string),
                thing.running,
            )
        })
        .collect();
    let expected = [
        ("Scratch", None, true),
        ("p__work", Some("p://work".to_owned()), true),
        ("p__work__mail", Some("p://work/mail".to_owned()), false),
    ];
    assert_eq!(shown, expected);
}

#[test]
fn h13_no_rooms_group_is_a_fact_and_not_an_error() {
    let (dir, _) = tree();
    let native = Native(dir.path().join("nowhere"));
    assert_eq!(native.list().unwrap(), []);
}

#[test]
fn h12_a_group_that_cannot_be_read_spoils_the_list() {
    let (_dir, native) = tree();
    fs::remove_file(native.0.join("p__work/cgroup.events")).unwrap();
    let err = native.list().unwrap_err();
    assert_eq!(err.to_string(), "read cgroup: ENOENT");
}

#[test]
fn c12_nothing_but_a_direct_child_is_ever_removed() {
    let (dir, native) = tree();
    for id in [
        "",
        ".",
        "..",
        "../rooms",
        "p__work/..",
        "/tmp",
        "p__work/",
        "a/b",
    ] {
        let err = native.remove(id).unwrap_err();
        assert_eq!(err.to_string(), "not a direct child", "{id}");
    }
    assert!(dir.path().join("rooms/p__work").is_dir());
}

#[test]
#[ignore = "needs root"]
fn h12_rooms_running_frozen_nested_and_empty_are_found_and_removed() {
    let parent = cgroup2_root().unwrap();
    let root = Group::create(&parent, &format!("reconcile-{}", std::process::id())).unwrap();
    let native = Native(root.path.clone());
    let limit = Duration::from_secs(5);
    let running = Group::create(&native.0, "p__running").unwrap();
    let frozen = Group::create(&native.0, "p__frozen").unwrap();
    let nested = Group::create(&frozen.path, "inner").unwrap();
    Group::create(&native.0, "p__empty").unwrap();
    let sleep = |group: &Group| {
        let child = spawn(Some(&group.dir), None, |_| {
            loop {
                nix::unistd::pause();
            }
        });
        child.unwrap()
    };
    let children = [sleep(&running), sleep(&nested)];
    frozen.freeze(limit).unwrap();

    let mut found = native.list().unwrap();
    found.sort();
    let shown: Vec<_> = found
        .iter()
        .map(|thing| (thing.id.as_str(), thing.running))
        .collect();
    assert_eq!(
        shown,
        [
            ("p__empty", false),
            ("p__frozen", true),
            ("p__running", true)
        ]
    );
    for thing in &found {
        native.remove(&thing.id).unwrap();
    }
    assert_eq!(native.list().unwrap(), []);
    for child in children {
        assert!(child.wait_exit(limit));
    }
    root.remove(limit).unwrap();
    assert_eq!(native.list().unwrap(), []);
}
