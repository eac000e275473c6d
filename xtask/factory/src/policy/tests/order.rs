//! The rule is an order, and no text makes the reader fail.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::policy::ai::Ai;
use crate::policy::courier::Courier;
use crate::policy::file::parse;
use crate::policy::reach::{Egress, Port};
use crate::policy::rule::{Grant, Persist, Restart, Traffic, beyond};
use crate::policy::words;
use bay0_persona::PersonaName;

const FIELDS: [&str; 24] = [
    "cpu.quota",
    "cpu.weight",
    "memory.max",
    "pids",
    "open_files",
    "tmpfs",
    "seccomp",
    "capabilities",
    "network",
    "devices",
    "terminal",
    "autostart",
    "restart",
    "persist",
    "background",
    "traffic",
    "disk.read",
    "courier",
    "trust",
    "ai",
    "publish",
    "egress",
    "courier.to",
    "courier.from",
];

/// Few values, so that two of them are often the same.
pub fn grant() -> impl Strategy<Value = Grant> {
    let few = || 1..4u64;
    let restart = prop::option::of((1..4u64, 100..103u64));
    let persist = prop::option::of((few(), few(), few()));
    let flags = (0..3u8, any::<bool>(), any::<bool>());
    let numbers = (few(), few(), few(), few(), few());
    let sets = (0..3u64, 0..8u64, 0..3u64, 0..8u64);
    let net = (few(), few(), few(), publish(), egress());
    let moves = (few(), courier(), ai());
    (numbers, sets, flags, restart, persist, net, moves).prop_map(
        |(n, s, flags, restart, persist, net, (trust, courier, ai))| Grant {
            cpu_quota: n.0,
            cpu_weight: n.1,
            memory_max: n.2 + 4,
            pids: n.3,
            open_files: n.4,
            tmpfs: n.0,
            seccomp: s.0,
            capabilities: s.1,
            network: s.2,
            devices: s.3,
            terminal: flags.0 > 0,
            again: flags.0 > 1,
            autostart: flags.1,
            background: flags.2,
            restart: restart.map(|(tries, delay_ms)| Restart { tries, delay_ms }),
            persist: persist.map(|(bytes, records, rate)| Persist {
                bytes,
                records,
                rate,
            }),
            traffic: Traffic {
                rate: net.0,
                connections: net.1,
            },
            disk_read: net.2,
            publish: net.3,
            egress: net.4,
            trust,
            courier,
            ai,
        },
    )
}

/// An answer is a part of its context.
fn ai() -> impl Strategy<Value = Option<Ai>> {
    let ai = (1..4u64, 1..4u64, 0..4u64).prop_map(|(tokens_per_minute, max_tokens, prompt)| Ai {
        tokens_per_minute,
        max_tokens,
        context: max_tokens + prompt,
    });
    prop::option::of(ai)
}

/// Nothing where no room is named.
fn courier() -> impl Strategy<Value = Courier> {
    let names = ["p://a", "p://a/b", "p://c"].map(|name| PersonaName::parse(name).unwrap());
    let rooms = || prop::sample::subsequence(names.to_vec(), 0..=3);
    let files = (1..4u64, 1..8u64, any::<bool>());
    (rooms(), rooms(), files).prop_map(|(to, from, (bytes, types, silent))| {
        if to.is_empty() && from.is_empty() {
            return Courier::default();
        }
        Courier {
            to: to.into_iter().collect(),
            from: from.into_iter().collect(),
            bytes,
            types,
            silent,
        }
    })
}

fn publish() -> impl Strategy<Value = BTreeSet<Port>> {
    let ports = ["443/tcp", "80/tcp", "8080:80/tcp", "443/udp"];
    let ports = prop::sample::subsequence(ports.to_vec(), 0..=4);
    ports.prop_map(|ports| {
        ports
            .iter()
            .map(|port| Port::parse(port).unwrap())
            .collect()
    })
}

/// Words that hold others, halves that are a whole, and nothing.
pub fn egress() -> impl Strategy<Value = Egress> {
    let nets = [
        "internet",
        "10.0.0.0/9",
        "10.128.0.0/9",
        "10.0.0.0/8",
        "192.0.2.0/24",
        "fd00::/8",
        "2001:db8::/32",
    ];
    let nets = prop::sample::subsequence(nets.to_vec(), 0..=7);
    prop_oneof![Just(vec!["anywhere"]), nets].prop_map(|words| Egress::parse(&words).unwrap())
}

/// `grant` with one field taken from `other`.
fn with(field: &str, grant: &Grant, other: &Grant) -> Grant {
    let mut new = grant.clone();
    match field {
        "cpu.quota" => new.cpu_quota = other.cpu_quota,
        "cpu.weight" => new.cpu_weight = other.cpu_weight,
        "memory.max" => new.memory_max = other.memory_max,
        "pids" => new.pids = other.pids,
        "open_files" => new.open_files = other.open_files,
        "tmpfs" => new.tmpfs = other.tmpfs,
        "seccomp" => new.seccomp = other.seccomp,
        "capabilities" => new.capabilities = other.capabilities,
        "network" => new.network = other.network,
        "devices" => new.devices = other.devices,
        "terminal" => (new.terminal, new.again) = (other.terminal, other.again),
        "autostart" => new.autostart = other.autostart,
        "restart" => new.restart = other.restart,
        "background" => new.background = other.background,
        "traffic" => new.traffic = other.traffic,
        "disk.read" => new.disk_read = other.disk_read,
        "publish" => new.publish = other.publish.clone(),
        "egress" => new.egress = other.egress.clone(),
        "trust" => new.trust = other.trust,
        "ai" => new.ai = other.ai,
        "courier.to" => new.courier.to = other.courier.to.clone(),
        "courier.from" => new.courier.from = other.courier.from.clone(),
        "courier" => {
            let (to, from) = (new.courier.to, new.courier.from);
            new.courier = Courier {
                to,
                from,
                ..other.courier.clone()
            };
        }
        _ => new.persist = other.persist,
    }
    new
}

fn within(field: &str, child: &Grant, parent: &Grant) -> bool {
    !beyond(child, parent).contains(&field)
}

proptest! {
    #[test]
    fn a16_no_text_makes_the_reader_fail_and_what_it_takes_is_within_its_bounds(
        lines in vec(prop_oneof![
            prop::sample::select(super::LEAST.lines().collect::<Vec<_>>()).prop_map(str::to_owned),
            ("[a-z_.]{1,8}", "(-?[0-9]{1,20}|\"[a-zA-Z0-9 ]{0,9}\"|\\[[0-9, ]{0,5}\\]|true)").prop_map(|(k, v)| format!("{k} = {v}")),
            "(cpu|memory|restart|persist|courier|ai|environment)\\.[a-z]{1,4} = [0-9\"]{1,3}",
            "\\PC{0,30}",
        ], 0..16)
    ) {
        match parse("f", &lines.join("\n")) {
            Ok(policy) => prop_assert!(policy.grant.tmpfs < policy.grant.memory_max && policy.grant.pids > 0),
            Err(findings) => prop_assert!(!findings.is_empty()),
        }
    }

    #[test]
    fn a05_whatever_a_room_may_it_may_inside_itself(a in grant()) {
        prop_assert_eq!(beyond(&a, &a), [""; 0]);
    }

    #[test]
    fn a05_what_is_within_its_parent_is_within_its_parents_parent(a in grant(), b in grant(), c in grant()) {
        for field in FIELDS {
            let premise = within(field, &a, &b) && within(field, &b, &c);
            prop_assert!(!premise || within(field, &a, &c), "{}", field);
        }
    }

    #[test]
    fn a05_two_that_are_within_each_other_are_the_same(a in grant(), b in grant()) {
        for field in FIELDS {
            let both = within(field, &a, &b) && within(field, &b, &a);
            prop_assert_eq!(both, with(field, &a, &b) == a, "{}", field);
        }
        prop_assert_eq!(beyond(&a, &b).is_empty() && beyond(&b, &a).is_empty(), a == b);
    }

    #[test]
    fn a05_each_field_is_decided_by_itself(a in grant(), b in grant()) {
        for field in FIELDS {
            let told = beyond(&with(field, &b, &a), &b);
            let expected: Vec<_> = beyond(&a, &b).into_iter().filter(|f| *f == field).collect();
            prop_assert_eq!(told, expected);
        }
    }
}

#[test]
fn a05_the_order_of_each_field_is_the_one_of_its_table() {
    let low = Grant {
        cpu_quota: 1,
        cpu_weight: 1,
        memory_max: 1,
        pids: 1,
        open_files: 1,
        tmpfs: 1,
        capabilities: 0b01,
        devices: 0b01,
        ..Grant::default()
    };
    let high = Grant {
        cpu_quota: 2,
        cpu_weight: 2,
        memory_max: 2,
        pids: 2,
        open_files: 2,
        tmpfs: 2,
        seccomp: 1,
        capabilities: 0b11,
        network: 0b01,
        devices: 0b11,
        terminal: true,
        again: true,
        autostart: true,
        restart: Some(Restart {
            tries: 1,
            delay_ms: 100,
        }),
        persist: Some(Persist {
            bytes: 1,
            records: 1,
            rate: 1,
        }),
        background: true,
        traffic: Traffic {
            rate: 1,
            connections: 1,
        },
        disk_read: 1,
        publish: [Port::parse("1/tcp").unwrap()].into(),
        egress: Egress::anywhere(),
        trust: 1,
        courier: Courier {
            to: [PersonaName::parse("p://a").unwrap()].into(),
            from: [PersonaName::parse("p://a").unwrap()].into(),
            bytes: 1,
            types: 1,
            silent: true,
        },
        ai: Some(Ai {
            tokens_per_minute: 1,
            max_tokens: 1,
            context: 1,
        }),
    };
    assert_eq!(beyond(&high, &low), FIELDS);
    assert_eq!(beyond(&low, &high), [""; 0]);
    for field in FIELDS {
        let row = format!("//! | `{field}` |");
        assert!(include_str!("../rule.rs").contains(&row), "{row}");
    }
}

#[test]
fn a05_two_ways_out_or_two_sets_are_each_more_than_the_other() {
    let base = parse("f", super::LEAST).unwrap().grant;
    let sets = |bits| Grant {
        capabilities: bits,
        network: bits,
        devices: bits,
        ..base.clone()
    };
    let apart = ["capabilities", "network", "devices"];
    assert_eq!(beyond(&sets(0b01), &sets(0b10)), apart);
    assert_eq!(beyond(&sets(0b10), &sets(0b01)), apart);
    let again = |tries, delay_ms| Grant {
        restart: Some(Restart { tries, delay_ms }),
        ..base.clone()
    };
    assert_eq!(beyond(&again(2, 200), &again(1, 100)), ["restart"]);
    assert_eq!(beyond(&again(1, 100), &again(2, 200)), ["restart"]);
    assert_eq!(beyond(&again(1, 200), &again(2, 100)), [""; 0]);
}

#[test]
fn t02_a_room_keeps_no_more_than_the_room_it_is_in_and_nothing_where_that_keeps_nothing() {
    let base = parse("f", super::LEAST).unwrap().grant;
    let keeps = |bytes, records, rate| Grant {
        persist: Some(Persist {
            bytes,
            records,
            rate,
        }),
        ..base.clone()
    };
    let parent = keeps(2, 2, 2);
    for more in [keeps(3, 2, 2), keeps(2, 3, 2), keeps(2, 2, 3)] {
        assert_eq!(beyond(&more, &parent), ["persist"]);
    }
    assert_eq!(beyond(&keeps(1, 2, 1), &parent), [""; 0]);
    assert_eq!(beyond(&base, &parent), [""; 0]);
    assert_eq!(beyond(&keeps(1, 1, 1), &base), ["persist"]);
}

#[test]
fn a05_a_room_asks_no_more_than_the_room_it_is_in_and_nothing_where_that_may_not_ask() {
    let base = parse("f", super::LEAST).unwrap().grant;
    let asks = |tokens_per_minute, max_tokens, context| Grant {
        ai: Some(Ai {
            tokens_per_minute,
            max_tokens,
            context,
        }),
        ..base.clone()
    };
    let parent = asks(2, 2, 2);
    for more in [asks(3, 2, 2), asks(2, 3, 2), asks(2, 2, 3)] {
        assert_eq!(beyond(&more, &parent), ["ai"]);
    }
    assert_eq!(beyond(&asks(1, 2, 1), &parent), [""; 0]);
    assert_eq!(beyond(&base, &parent), [""; 0]);
    assert_eq!(beyond(&asks(1, 1, 1), &base), ["ai"]);
}

#[test]
fn a05_the_courier_may_no_more_for_a_room_than_for_the_room_it_is_in() {
    let base = parse("f", super::LEAST).unwrap().grant;
    let moves = |bytes, types, silent| Grant {
        courier: Courier {
            bytes,
            types,
            silent,
            ..Courier::default()
        },
        ..base.clone()
    };
    let parent = moves(2, 0b011, false);
    for more in [
        moves(3, 0b001, false),
        moves(1, 0b100, false),
        moves(1, 0b001, true),
    ] {
        assert_eq!(beyond(&more, &parent), ["courier"]);
    }
    assert_eq!(beyond(&moves(2, 0b010, false), &parent), [""; 0]);
    assert_eq!(beyond(&parent, &moves(2, 0b011, true)), [""; 0]);
    assert_eq!(beyond(&parent, &base), ["courier"]);
}

#[test]
fn a03_a_difference_names_the_rooms_that_only_one_gives_files_to() {
    let named = |name: &str| PersonaName::parse(name).unwrap();
    let policy = |rooms: &str, rest: &str| {
        let line = format!("courier = {{ to = [{rooms}], bytes = \"1MiB\"{rest} }}\n");
        parse("f", &format!("{}{line}", super::LEAST)).unwrap()
    };
    let first = policy("\"p://x\", \"p://y\"", ", types = [\"pdf\", \"zip\"]");
    let second = policy("\"p://y\", \"p://z\"", ", types = [\"pdf\"], ask = false");
    assert_eq!(
        words::diff((&named("p://a"), &first), (&named("p://b"), &second)),
        "p://b may, and p://a may not:\n  \
           Gives files   to p://z, when a person says so\n  \
           Each file     at most 1 MiB, asked about unless it goes to less trust and both policies agree, one\n                \
           of: PDF documents (p://a: at most 1 MiB, asked about each time, one of: PDF\n                \
           documents; ZIP archives, and what is made of them: office documents, packages)\n\
         p://a may, and p://b may not:\n  \
           Gives files   to p://x, when a person says so\n  \
           Each file     at most 1 MiB, asked about each time, one of: PDF documents; ZIP archives, and what\n                \
           is made of them: office documents, packages (p://b: at most 1 MiB, asked about\n                \
           unless it goes to less trust and both policies agree, one of: PDF documents)\n"
    );
}

#[test]
fn a06_a_difference_names_both_directions_and_what_is_neither() {
    let (a, b) = (
        PersonaName::parse("p://a").unwrap(),
        PersonaName::parse("p://b").unwrap(),
    );
    let first = parse(
        "f",
        &format!("{}devices = [\"gpu\", \"npu\"]\n", super::LEAST),
    )
    .unwrap();
    let second = super::LEAST.replace("64", "65").replace("dev", "web") + "devices = [\"npu\"]\n";
    let second = parse("f", &second).unwrap();
    assert_eq!(
        words::diff((&a, &first), (&b, &second)),
        "p://b may, and p://a may not:\n  \
           Programs      at most 65 at once, threads counted (p://a: at most 64 at once, threads counted)\n  \
           Open files    at most 65 in each program (p://a: at most 64 in each program)\n\
         p://a may, and p://b may not:\n  \
           Devices       the graphics processor\n\
         neither more nor less, but not the same:\n  \
           Files         those of the image \"web\", never changed (p://a: those of the image \"dev\", never\n                \
           changed)\n"
    );
    let nothing = "p://a may, and p://b may not:\n  nothing\n";
    let both = words::diff((&b, &first), (&a, &first));
    assert_eq!(
        both,
        format!("{nothing}p://b may, and p://a may not:\n  nothing\n")
    );
}
