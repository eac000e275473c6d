use super::*;
use bay0_persona::CloneFlags;
use bay0_persona::{cgroup2_root, spawn};
use std::fs;
use std::path::PathBuf;

/// A made tree of the shape the kernel shows. Of `p://work` only the rooms inside are left.
fn tree() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("rooms");
    let groups = [
        ("p__play", 1),
        ("p__play/self", 1),
        ("p__work", 1),
        ("p__work/p__work__mail", 1),
        ("p__work/p__work__mail/self", 1),
        ("p__work/self", 0),
        ("Scratch", 1),
    ];
    for (group, populated) in groups {
        fs::create_dir_all(root.join(group)).unwrap();
        let events = format!("populated {populated}\nfrozen 0\n");
        fs::write(root.join(group).join("cgroup.events"), events).unwrap();
    }
    fs::write(root.join("cgroup.procs"), "").unwrap();
    (dir, root)
}

fn shown(rooms: &Path) -> Vec<(String, Option<String>, bool)> {
    let mut found = list(rooms).unwrap();
    found.sort();
    let show = |it: Found| (it.id, it.name.map(|it| it.to_string()), it.running);
    found.into_iter().map(show).collect()
}

fn room(id: &str, name: &str, running: bool) -> (String, Option<String>, bool) {
    let name = (!name.is_empty()).then(|| name.to_owned());
    (id.to_owned(), name, running)
}

#[test]
fn h12_a_room_is_a_group_and_runs_if_it_has_processes_of_its_own() {
    let (_dir, rooms) = tree();
    let expected = [
        room("Scratch", "", false),
        room("p__play", "p://play", true),
        room("p__work", "p://work", false),
        room("p__work/p__work__mail", "p://work/mail", true),
    ];
    assert_eq!(shown(&rooms), expected);
}

#[test]
fn h13_no_rooms_group_is_a_fact_and_not_an_error() {
    let (dir, _) = tree();
    let rooms = dir.path().join("nowhere");
    assert_eq!(list(&rooms).unwrap(), []);
}

#[test]
fn h12_a_group_that_cannot_be_read_spoils_the_list() {
    let (_dir, rooms) = tree();
    fs::remove_file(rooms.join("p__work/self/cgroup.events")).unwrap();
    let err = list(&rooms).unwrap_err();
    assert_eq!(err.to_string(), "measure cgroup: ENOENT");
}

#[test]
#[ignore = "needs root"]
fn h12_rooms_running_frozen_nested_and_empty_are_found_and_removed() {
    let parent = cgroup2_root().unwrap();
    let root = Group::create(&parent, &format!("reconcile-{}", std::process::id())).unwrap();
    let rooms = root.path.clone();
    let limit = Duration::from_secs(5);
    let leaf = |group: &Group| Group::create(&group.path, OWN).unwrap();
    let running = Group::create(&rooms, "p__running").unwrap();
    let frozen = Group::create(&rooms, "p__frozen").unwrap();
    let nested = Group::create(&frozen.path, "p__frozen__in").unwrap();
    Group::create(&rooms, "p__empty").unwrap();
    let sleep = |group: &Group| {
        let child = spawn(Some(&group.dir), CloneFlags::empty(), &[], || {
            loop {
                nix::unistd::pause();
            }
        });
        child.unwrap()
    };
    let children = [sleep(&leaf(&running)), sleep(&leaf(&nested))];
    frozen.freeze(limit).unwrap();

    let expected = [
        room("p__empty", "p://empty", false),
        room("p__frozen", "p://frozen", false),
        room("p__frozen/p__frozen__in", "p://frozen/in", true),
        room("p__running", "p://running", true),
    ];
    assert_eq!(shown(&rooms), expected);
    // Removing the room around it ends the one inside.
    for id in ["p__empty", "p__frozen", "p__running"] {
        remove(&rooms, id).unwrap();
    }
    assert_eq!(list(&rooms).unwrap(), []);
    for child in children {
        assert!(child.wait_exit(limit));
    }
    root.remove(limit).unwrap();
    assert_eq!(list(&rooms).unwrap(), []);
}
