//! What must be true of all policies together.

use std::fs;

use bay0_persona::PersonaName;

use super::{LEAST, folder, said};
use crate::layout::Layout;
use crate::policy::set::{self, Loaded};
use crate::policy::terms::{self, TERMS};
use crate::roomdisk::{Set, TESTED};

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

/// A folder with these rooms, which have nothing but the least and a courier.
fn couriers(rooms: &[(&str, &str)]) -> Vec<String> {
    let line = |rest: &str| match rest {
        "" => LEAST.to_owned(),
        rest => format!("{LEAST}courier = {{ {rest}, bytes = \"1MiB\" }}\n"),
    };
    let files: Vec<_> = rooms
        .iter()
        .map(|(name, rest)| (*name, line(rest)))
        .collect();
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    said(&folder(&files))
}

#[test]
fn a03_the_courier_serves_what_both_ends_agree_on() {
    let (gives, takes) = ("to = [\"p://b\"]", "from = [\"p://a\"]");
    assert_eq!(
        couriers(&[("p__a.toml", gives), ("p__b.toml", takes)]),
        [""; 0]
    );
    let rest = "both ends must agree; next: write it there, or remove it here";
    assert_eq!(
        couriers(&[("p__a.toml", gives), ("p__b.toml", "to = [\"p://a\"]")]),
        [
            format!(
                "d/p__a.toml: courier.to has p://b, and courier.from of p://b has no p://a: {rest}"
            ),
            format!(
                "d/p__b.toml: courier.to has p://a, and courier.from of p://a has no p://b: {rest}"
            ),
        ]
    );
    assert_eq!(
        couriers(&[("p__a.toml", ""), ("p__b.toml", takes)]),
        [format!(
            "d/p__b.toml: courier.from has p://a, and courier.to of p://a has no p://b: {rest}"
        )]
    );
    // Without a question from one side alone, whatever their trust, is each room's own affair.
    let unasked = "to = [\"p://b\"], ask = false";
    assert_eq!(
        couriers(&[("p__a.toml", unasked), ("p__b.toml", takes)]),
        [""; 0]
    );
}

#[test]
fn a03_a_room_that_no_file_can_be_moved_from_or_to_is_a_finding() {
    assert_eq!(
        couriers(&[("p__a.toml", "to = [\"p://b\"]")]),
        [
            "d/p__a.toml: courier.to has p://b, which there is no policy of; next: write d/p__b.toml, or remove it"
        ]
    );
    // A policy that is there and cannot be read is no second thing to mend.
    let broken = ("p__b.toml", "to = 1");
    let said = couriers(&[("p__a.toml", "to = [\"p://b\"]"), broken]);
    assert!(
        said.iter().all(|line| line.starts_with("d/p__b.toml:")),
        "{said:?}"
    );
    let apart = "and one of the two rooms is inside the other, between which no file is moved; next: remove it";
    assert_eq!(
        couriers(&[
            ("p__a.toml", "to = [\"p://a\", \"p://a/k\"]"),
            ("p__a__k.toml", "from = [\"p://a\"]")
        ]),
        [
            "d/p__a.toml: courier.to has p://a, which is this room itself; next: remove it".to_owned(),
            format!("d/p__a.toml: courier.to has p://a/k, {apart}"),
            format!("d/p__a__k.toml: courier.from has p://a, {apart}"),
            "d/p__a__k.toml: courier.from: p://a/k has more than p://a, which it is in: from p://a, when a person says so; there: from no other room; next: take it from this room, or give it to that one too".to_owned(),
        ]
    );
    let never = "which is not the outside (devices has neither port nor stick): nobody can move a file from or to it; next: remove it";
    assert_eq!(
        couriers(&[
            ("p__a.toml", "to = [\"sys://b\"]"),
            ("sys__b.toml", "from = [\"p://a\"]")
        ]),
        [
            format!("d/p__a.toml: courier.to has sys://b, {never}"),
            format!("d/sys__b.toml: courier is in the policy of sys://b, {never}"),
        ]
    );
}

#[test]
fn u09_the_outside_is_a_room_of_the_system_and_no_other_has_its_port() {
    let said_of = |files: &[(&str, &str)]| {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in files {
            fs::write(folder.path().join(file), format!("{LEAST}{text}")).unwrap();
        }
        said(&set::load(&[(folder.path(), "d")]).unwrap())
    };
    let to = "courier = { to = [\"sys://b\"], bytes = \"1MiB\" }\n";
    let from = "courier = { from = [\"p://a\"], bytes = \"1MiB\" }\n";
    let past = "d/p__a.toml: devices has port or stick, which only a room of sys:// has: all others reach the outside by the courier; next: remove it";
    for device in ["port", "stick"] {
        let has = format!("devices = [\"{device}\"]\n");
        let outside = [&has, from].concat();
        let none: [&str; 0] = [];
        assert_eq!(
            said_of(&[("p__a.toml", to), ("sys__b.toml", &outside)]),
            none
        );
        assert_eq!(said_of(&[("p__a.toml", &has)]), [past]);
    }
}

#[test]
fn a06_a_room_that_answers_is_one_of_the_system_and_asks_nobody() {
    let has = format!("{LEAST}devices = [\"organ\"]\n");
    assert_eq!(said(&folder(&[("sys__b.toml", &has)])), [""; 0]);
    let ai = [&has, "ai.tokens_per_minute = 1\n"].concat();
    assert_eq!(
        said(&folder(&[("sys__b.toml", &ai), ("p__a.toml", &has)])),
        [
            "d/p__a.toml: devices has organ, which only a room of sys:// has: it reads what all others ask; next: remove it",
            "d/sys__b.toml: ai is in the policy of sys://b, which answers the others and asks nobody; next: remove it"
        ]
    );
}

#[test]
fn a06_a_screen_is_a_persons_rooms_and_keys_come_with_it() {
    let with = |words: &str| format!("{LEAST}devices = [{words}]\n");
    let all = with(r#""screen", "keyboard", "pointer""#);
    assert_eq!(said(&folder(&[("p__a.toml", &all)])), [""; 0]);
    let (system, keys) = (with(r#""screen""#), with(r#""keyboard""#));
    assert_eq!(
        said(&folder(&[("p__a.toml", &keys), ("sys__b.toml", &system)])),
        [
            "d/p__a.toml: devices has keyboard or pointer without screen, and they come with it; next: add screen, or remove them",
            "d/sys__b.toml: devices has screen, which goes with the focus, and no room of sys:// has that; next: remove it"
        ]
    );
}

#[test]
fn a06_sys_ai_asks_nobody_whatever_its_devices() {
    let asks = format!("{LEAST}ai.tokens_per_minute = 1\n");
    let files = ["sys__ai.toml", "sys__b.toml", "p__a.toml"].map(|file| (file, asks.as_str()));
    assert_eq!(
        said(&folder(&files)),
        [
            "d/sys__ai.toml: ai is in the policy of sys://ai, which answers the others and asks nobody; next: remove it"
        ]
    );
}

#[test]
fn a05_a_room_that_asks_more_than_the_room_it_is_in_is_a_finding() {
    let [parent, child] = [9, 10].map(|rate| format!("{LEAST}ai.tokens_per_minute = {rate}\n"));
    assert_eq!(
        said(&folder(&[("p__w.toml", &parent), ("p__w__m.toml", &child)])),
        [
            "d/p__w__m.toml: ai: p://w/m has more than p://w, which it is in: at most 10 tokens a minute; 4096 in a question with its answer, 512 in the answer; there: at most 9 tokens a minute; 4096 in a question with its answer, 512 in the answer; next: take it from this room, or give it to that one too"
        ]
    );
}

fn tree(tests: bool) -> Loaded {
    let layout = Layout::find();
    let (shipped, more) = (layout.policies(), layout.test_policies());
    let both = [(&*shipped, "policies"), (&*more, "tests")];
    let loaded = set::load(if tests { &both } else { &both[..1] }).unwrap();
    assert_eq!(said(&loaded), [""; 0]);
    loaded
}

fn names(loaded: &Loaded) -> Vec<String> {
    loaded.policies.keys().map(ToString::to_string).collect()
}

#[test]
fn a06_the_policies_of_the_tree_are_in_order() {
    let shipped = [
        "p://desk",
        "p://dev",
        "p://read",
        "p://web",
        "p://work",
        "sys://ai",
        "sys://net",
        "sys://outside",
        "sys://stick",
        "sys://update",
    ];
    assert_eq!(names(&tree(false)), shipped);
}

#[test]
fn a06_the_test_build_has_rooms_of_its_own_beside_the_shipped_ones() {
    let (shipped, all) = (tree(false), tree(true));
    let more = [
        "p://a",
        "p://a/kid",
        "p://abroad",
        "p://aside",
        "p://b",
        "p://behind",
        "p://blue",
        "p://bounded",
        "p://brief",
        "p://burn",
        "p://crowd",
        "p://draws",
        "p://fails",
        "p://far",
        "p://hostile",
        "p://hostile2",
        "p://lasts",
        "p://listed",
        "p://lost",
        "p://loud",
        "p://near",
        "p://paints",
        "p://reads",
        "p://red",
        "p://scout",
        "p://shows",
        "p://tiny",
        "p://tunes",
        "sys://brings",
        "sys://crams",
        "sys://port",
        "sys://serves",
        "sys://thinks",
        "sys://usb",
    ];
    let mut both = [names(&shipped), more.map(str::to_owned).to_vec()].concat();
    both.sort();
    let mut there = names(&all);
    there.sort();
    assert_eq!(there, both);
    let tested = Set::parse(TESTED).unwrap();
    for (name, policy) in &all.policies {
        if more.contains(&&name.to_string()[..]) {
            // One reads a disk, which takes a large image, and one plays: their scenarios are run where those are.
            let (image, program) = match name.to_string().as_str() {
                "p://reads" => (&["dev"][..], "/bin/bash"),
                "p://tunes" => (&["desk"][..], "/bin/sh"),
                "p://lost" => (&[][..], "/bin/lost"),
                // Its image is in every set.
                "sys://port" => (&["outside"][..], "/usr/bin/portd"),
                "sys://usb" => (&["stick"][..], "/usr/bin/stickd"),
                "sys://thinks" | "sys://crams" => (&[][..], "/usr/bin/organ-says"),
                _ => (&[][..], "/bin/sh"),
            };
            let is_there = image.contains(&&*policy.image) || tested.has(&[&policy.image]);
            assert!(is_there, "{name}: {}", policy.image);
            assert_eq!(policy.command[0], program, "{name}");
        } else {
            assert_eq!(shipped.policies[name], *policy, "{name}");
        }
    }
    let tiny = &all.policies[&PersonaName::parse("p://tiny").unwrap()].grant;
    let limits = (tiny.memory_max, tiny.pids, tiny.tmpfs);
    assert_eq!(limits, (16 << 20, 16, 1 << 20));
    // One way to less trust goes without a question, the others are asked about.
    let unasked = |from: &str, to: &str| {
        let [from, to] =
            [from, to].map(|name| &all.policies[&PersonaName::parse(name).unwrap()].grant);
        from.trust > to.trust && from.courier.silent && to.courier.silent
    };
    assert!(unasked("p://a", "p://b"));
    assert!(!unasked("p://b", "p://a") && !unasked("p://a", "p://tiny"));
    // The widest room that the attacks are tried in is as wide as the widest that ships.
    let rights = |name| {
        let grant = &all.policies[&PersonaName::parse(name).unwrap()].grant;
        (grant.capabilities, grant.seccomp)
    };
    assert_eq!(rights("p://hostile2"), rights("p://dev"));
}

#[test]
fn a06_every_policy_names_an_image_that_there_is_a_recipe_for() {
    for (name, policy) in &tree(true).policies {
        let recipe = format!("{}.toml", policy.image);
        assert!(Layout::find().recipes().join(recipe).is_file(), "{name}");
    }
}

#[test]
fn a06_of_two_folders_a_room_has_one_policy_and_a_finding_names_its_own() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(one.path().join("p__a.toml"), LEAST).unwrap();
    fs::write(two.path().join("p__a.toml"), LEAST).unwrap();
    fs::write(two.path().join("p__a__b.toml"), LEAST.replace("64", "65")).unwrap();
    fs::write(two.path().join("p__c__d.toml"), LEAST).unwrap();
    let loaded = set::load(&[(one.path(), "one"), (two.path(), "two")]).unwrap();
    let said = said(&loaded);
    assert_eq!(
        said[0],
        "two/p__a.toml: p://a has a policy in one too; next: remove one"
    );
    assert!(
        said[1].starts_with("two/p__a__b.toml: open_files: p://a/b has more than p://a"),
        "{said:?}"
    );
    assert_eq!(
        said[3],
        "two/p__c__d.toml: no policy of p://c, which p://c/d is in; next: write two/p__c.toml"
    );
    assert_eq!(said.len(), 4, "{said:?}");
}

#[test]
fn a06_the_lists_of_system_calls_stand_beside_the_policies_and_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let lists = dir.path().join("seccomp");
    fs::create_dir(&lists).unwrap();
    assert_eq!(said(&set::load(&[(dir.path(), "d")]).unwrap()), [""; 0]);
    fs::remove_dir(&lists).unwrap();
    fs::write(&lists, "").unwrap();
    assert_eq!(
        said(&set::load(&[(dir.path(), "d")]).unwrap()),
        [
            "d/seccomp: not a policy; next: call it as p__work__mail.toml for p://work/mail, or move it away"
        ]
    );
}

#[test]
fn t05_the_word_of_a_policy_is_the_bit_that_bay0_looks_at() {
    use bay0_persona::policy::{
        KEYBOARD, ORGAN, POINTER, PORT, RENDER, SCREEN, SOUND, STANDIN, STICK,
    };
    for (word, bit) in [
        ("sound", SOUND),
        ("standin", STANDIN),
        ("port", PORT),
        ("stick", STICK),
        ("organ", ORGAN),
        ("render", RENDER),
        ("screen", SCREEN),
        ("keyboard", KEYBOARD),
        ("pointer", POINTER),
    ] {
        let place = terms::number(&TERMS.devices, word);
        assert_eq!(place.map(|at| 1 << at), Some(bit), "{word}");
    }
}
