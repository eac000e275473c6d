use super::*;
use proptest::prelude::*;

const LINE: &str = "p://desk/mail\tdev\t/bin/sh\n-c\ntrue\tHOME=/root\nA=b c\tp://web p://dev/x\t\t1\t2\t3\t4\t5\t6\t2\t8\t1\t0\t1\t0\t3\t500\t7\t8\t9\t1\t10\t11\t12\t13\t5\t1\t2\t14\t15\t16";

fn columns(line: &str) -> Vec<&str> {
    line.split('\t').collect()
}

#[test]
fn a06_a_compiled_policy_is_read_column_by_column() {
    let policy = Policy::parse(&columns(LINE)).unwrap();
    assert_eq!(policy.name.to_string(), "p://desk/mail");
    assert_eq!(policy.image, "dev");
    assert_eq!(
        policy.command,
        [c"/bin/sh", c"-c", c"true"].map(CString::from)
    );
    assert_eq!(
        policy.environment,
        [c"HOME=/root", c"A=b c"].map(CString::from)
    );
    assert_eq!(policy.get(Grant::CpuQuota), 1);
    assert_eq!(policy.get(Grant::Tmpfs), 6);
    assert_eq!(policy.get(Grant::DelayMs), 500);
    assert_eq!(policy.get(Grant::PersistBytes), 7);
    assert_eq!(policy.get(Grant::PersistRecords), 8);
    assert_eq!(policy.get(Grant::PersistRate), 9);
    assert!(policy.may(Grant::Background));
    assert_eq!(policy.get(Grant::NetRate), 10);
    assert_eq!(policy.get(Grant::NetConnections), 11);
    assert_eq!(policy.get(Grant::DiskRate), 12);
    assert_eq!(policy.get(Grant::CourierBytes), 13);
    assert_eq!(policy.get(Grant::CourierTypes), 5);
    assert!(policy.may(Grant::CourierSilent));
    assert_eq!(policy.get(Grant::Trust), 2);
    assert_eq!(policy.get(Grant::AiRate), 14);
    assert_eq!(policy.get(Grant::AiMax), 15);
    assert_eq!(policy.get(Grant::AiContext), 16);
    let to = ["p://web", "p://dev/x"].map(|name| PersonaName::parse(name).unwrap());
    assert!(policy.may(Grant::Terminal) && !policy.may(Grant::Autostart));
    assert_eq!((policy.to, policy.from), (to.to_vec(), vec![]));
}

#[test]
fn a06_a_policy_that_is_not_whole_is_none() {
    let whole = columns(LINE);
    for length in 0..whole.len() {
        assert_eq!(Policy::parse(&whole[..length]), None);
    }
    assert_eq!(Policy::parse(&[whole.as_slice(), &["1"]].concat()), None);
    assert_eq!(
        Policy::parse(&columns(&LINE.replace("p://desk", "P://desk"))),
        None
    );
    assert_eq!(Policy::parse(&columns(&LINE.replace("500", "-5"))), None);
    for rooms in ["web", "p://web ", " p://web", "p://web  p://dev", " "] {
        let line = LINE.replace("p://web p://dev/x", rooms);
        assert_eq!(Policy::parse(&columns(&line)), None, "{rooms:?}");
    }
}

#[test]
fn a05_each_field_that_a_child_has_beyond_its_parent_is_named() {
    let parent = [
        100, 100, 64, 8, 16, 32, 1, 0b0110, 1, 0b11, 1, 1, 3, 500, 9, 9, 9, 1, 7, 7, 7, 5, 1, 1, 2,
        9, 9, 9,
    ];
    assert_eq!(beyond_numbers(&parent, &parent), [""; 0]);
    for (at, (field, _)) in GRANTS.iter().enumerate() {
        let mut child = parent;
        // More of what is counted, another bit of what is a set, sooner of what is a delay.
        child[at] = match *field {
            "restart.delay_ms" => 499,
            "capabilities" => 0b1000,
            "network" | "terminal" | "autostart" | "background" | "courier.types"
            | "courier.ask" => 2,
            "devices" => 0b100,
            _ => child[at] + 1,
        };
        assert_eq!(beyond_numbers(&child, &parent), [*field]);
    }
    // A child that is never started again may say any delay.
    let mut never = parent;
    never[12] = 0;
    never[13] = 0;
    assert_eq!(beyond_numbers(&never, &parent), [""; 0]);
}

#[test]
fn a05_a_child_gives_files_to_and_takes_them_from_a_part_of_its_parents_rooms() {
    let policy = |to: &str, from: &str| {
        let line = LINE.replace("p://web p://dev/x\t", &format!("{to}\t{from}"));
        Policy::parse(&columns(&line)).unwrap()
    };
    let parent = policy("p://web p://dev", "p://work");
    for (to, from, expected) in [
        ("p://web p://dev", "p://work", &[][..]),
        ("p://dev", "", &[]),
        ("p://dev p://work", "p://work", &["courier.to"]),
        ("p://web/x", "p://work", &["courier.to"]),
        ("p://work", "p://web", &["courier.to", "courier.from"]),
    ] {
        assert_eq!(beyond(&policy(to, from), &parent), expected, "{to} {from}");
    }
    let mut more = parent.clone();
    more.grants[Grant::Trust as usize] = 3;
    more.to.push(more.name.clone());
    assert_eq!(beyond(&more, &parent), ["trust", "courier.to"]);
}

proptest! {
    #[test]
    fn a05_within_is_an_order(a: Numbers, b: Numbers, c: Numbers) {
        prop_assert!(beyond_numbers(&a, &a).is_empty());
        // What is within a room is within that room's parent.
        let [ab, bc] = [within(&a, &b), within(&b, &c)];
        prop_assert!(beyond_numbers(&ab, &b).is_empty() && beyond_numbers(&bc, &c).is_empty());
        let inner = within(&a, &bc);
        prop_assert!(beyond_numbers(&inner, &bc).is_empty() && beyond_numbers(&inner, &c).is_empty());
    }

    #[test]
    fn a16_no_columns_make_it_panic(columns: Vec<String>) {
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let _ = Policy::parse(&columns);
    }
}

/// The most that `a` may have inside `b`.
fn within(a: &Numbers, b: &Numbers) -> Numbers {
    let mut most = *a;
    for ((number, parent), (_, within)) in most.iter_mut().zip(b).zip(GRANTS) {
        *number = match within {
            NotGreater => (*number).min(*parent),
            NotLess => (*number).max(*parent),
            PartOf => *number & *parent,
        };
    }
    most
}
