//! What must be true of all policies together.

use std::fs;

use super::{LEAST, folder, said};
use crate::layout::Layout;
use crate::policy::set;

#[test]
fn a05_a_file_is_called_as_its_room_and_at_most_five_deep() {
    let next = "next: call it as p__work__mail.toml for p://work/mail";
    let files = [
        "web.toml",
        "p__a__b__c__d__e__f.toml",
        "p__Web.toml",
        "notes.txt",
    ]
    .map(|name| (name, LEAST));
    assert_eq!(
        said(&folder(&files)),
        [
            format!("d/notes.txt: not a policy; {next}, or move it away"),
            format!(
                "d/p__Web.toml: names no room: p://Web: upper-case 'W' at byte 4: write p://web; {next}"
            ),
            format!(
                "d/p__a__b__c__d__e__f.toml: names no room: p://a/b/c/d/e/f: segment at byte 14 is one too many: at most 5; {next}"
            ),
            format!("d/web.toml: names no room: web: a name begins with sys:// or p://; {next}"),
        ]
    );
}

#[test]
fn a05_a_nested_room_needs_the_policy_of_its_parent_even_a_broken_one() {
    let child = ("p__work__mail.toml", LEAST);
    let loaded = folder(&[child]);
    assert_eq!(
        said(&loaded),
        [
            "d/p__work__mail.toml: no policy of p://work, which p://work/mail is in; next: write d/p__work.toml"
        ]
    );
    let loaded = folder(&[child, ("p__work.toml", "x = 1")]);
    assert!(
        said(&loaded)
            .iter()
            .all(|line| line.starts_with("d/p__work.toml")),
        "{:?}",
        said(&loaded)
    );
    assert_eq!(said(&folder(&[child, ("p__work.toml", LEAST)])), [""; 0]);
}

#[test]
fn a05_every_field_in_which_a_child_exceeds_its_parent_is_a_finding_of_its_own() {
    let child = LEAST
        .replace("pids = 64", "pids = 65")
        .replace("16MiB", "1GiB")
        + "devices = [\"gpu\"]\n";
    let rest = "next: take it from this room, or give it to that one too";
    let begin = |field: &str| {
        format!("d/p__w__m.toml: {field}: p://w/m has more than p://w, which it is in")
    };
    assert_eq!(
        said(&folder(&[("p__w.toml", LEAST), ("p__w__m.toml", &child)])),
        [
            format!(
                "{}: the graphics processor; there: none; {rest}",
                begin("devices")
            ),
            format!(
                "{}: at most 1 GiB, none of it ever on a disk; there: at most 16 MiB, none of it ever on a disk; {rest}",
                begin("memory.max")
            ),
            format!(
                "{}: at most 65 at once, threads counted; there: at most 64 at once, threads counted; {rest}",
                begin("pids")
            ),
        ]
    );
}

#[test]
fn t07_the_way_to_the_network_is_one_card_in_one_room() {
    let (via, nic) = (
        format!("{LEAST}network = \"via sys://net\"\n"),
        format!("{LEAST}network = \"nic\"\n"),
    );
    let closed = "d/p__a.toml: network goes through sys://net, which has no card; next: give that room network = \"nic\", or this one none";
    assert_eq!(said(&folder(&[("p__a.toml", &via)])), [closed]);
    assert_eq!(
        said(&folder(&[("p__a.toml", &via), ("sys__net.toml", LEAST)])),
        [closed]
    );
    assert_eq!(
        said(&folder(&[("p__a.toml", &via), ("sys__net.toml", &nic)])),
        [""; 0]
    );
    assert_eq!(
        said(&folder(&[("p__a.toml", &nic), ("sys__net.toml", &nic)])),
        [
            "d/sys__net.toml: network is the card, which p://a has: a card is in one room; next: network = \"via sys://net\" or none"
        ]
    );
}

#[test]
fn a06_the_policies_of_the_tree_are_in_order() {
    let loaded = set::load(&Layout::find().policies(), "policies").unwrap();
    assert_eq!(said(&loaded), [""; 0]);
    let names: Vec<_> = loaded.policies.keys().map(ToString::to_string).collect();
    assert_eq!(
        names,
        ["p://dev", "p://web", "p://work", "sys://ai", "sys://net"]
    );
}

#[test]
fn a06_the_lists_of_system_calls_stand_beside_the_policies_and_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let lists = dir.path().join("seccomp");
    fs::create_dir(&lists).unwrap();
    assert_eq!(said(&set::load(dir.path(), "d").unwrap()), [""; 0]);
    fs::remove_dir(&lists).unwrap();
    fs::write(&lists, "").unwrap();
    assert_eq!(
        said(&set::load(dir.path(), "d").unwrap()),
        [
            "d/seccomp: not a policy; next: call it as p__work__mail.toml for p://work/mail, or move it away"
        ]
    );
}
