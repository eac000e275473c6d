#![allow(clippy::arithmetic_side_effects)]

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    "[^\0]{0,40}"
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    vec(text(), 0..9)
}

fn room() -> impl Strategy<Value = PersonaName> {
    "p://[a-z][a-z0-9]{0,9}".prop_map(|name| PersonaName::parse(&name).unwrap())
}

fn gate() -> impl Strategy<Value = Request> {
    (room(), text(), any::<[u64; 5]>()).prop_map(
        |(room, wish, [bytes, records, rate, read, together])| {
            let limits = Limits {
                bytes,
                records,
                rate,
                read,
                together,
            };
            Request::Gate { room, wish, limits }
        },
    )
}

fn request() -> impl Strategy<Value = Request> {
    let states = [State::Stopped, State::Starting, State::Running];
    prop_oneof![
        text().prop_map(Request::Unlock),
        (text(), text()).prop_map(|(boot_id, disk)| Request::Open { boot_id, disk }),
        texts().prop_map(Request::Append),
        Just(Request::Probe),
        (text(), any::<u64>()).prop_map(|(how, now)| Request::Close(how, now)),
        Just(Request::Personas),
        (room(), 0..states.len()).prop_map(move |(name, at)| {
            let state = states[at];
            Request::SetState(Persona { name, state })
        }),
        (text(), text()).prop_map(|(hash, reason)| Request::AddNack { hash, reason }),
        Just(Request::Nacks),
        any::<u64>().prop_map(Request::Clock),
        Just(Request::Baked),
        gate(),
    ]
}

fn unlocked() -> impl Strategy<Value = Reply> {
    (0..Access::ALL.len(), any::<[u8; 3]>(), texts()).prop_map(|(at, [a, b, c], notes)| {
        Reply::Unlocked(Unlocked {
            access: Access::ALL[at],
            mounted: a.to_string(),
            device: b.to_string(),
            line: c.to_string(),
            notes,
        })
    })
}

fn opened() -> impl Strategy<Value = Reply> {
    (any::<[u64; 2]>(), text(), texts()).prop_map(|([floor, log_seq], text, trouble)| {
        Reply::Opened(Opened {
            floor,
            log_seq,
            note: text.clone(),
            previous: text.clone() + "x",
            worn: text + "y",
            trouble,
        })
    })
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        Just(Reply::Done),
        any::<u64>().prop_map(Reply::Recorded),
        texts().prop_map(Reply::Lines),
        unlocked(),
        opened(),
        text().prop_map(Reply::Unlogged),
        text().prop_map(Reply::Refused),
    ]
}

/// What is decoded is a message in its own right: encoding makes the same packet of it.
fn is_exact(packet: &[u8]) -> bool {
    let (request, reply) = (Request::decode(packet), Reply::decode(packet));
    request.is_none_or(|it| it.encode() == packet) && reply.is_none_or(|it| it.encode() == packet)
}

proptest! {
    #[test]
    fn h10_every_request_survives_the_wire(request in request()) {
        prop_assert_eq!(Request::decode(&request.encode()), Some(request));
    }

    #[test]
    fn h10_every_reply_survives_the_wire(reply in reply()) {
        prop_assert_eq!(Reply::decode(&reply.encode()), Some(reply));
    }

    #[test]
    fn a16_no_bytes_make_decoding_panic(packet in any::<Vec<u8>>()) {
        prop_assert!(is_exact(&packet));
    }

    #[test]
    fn a16_a_damaged_or_truncated_message_is_an_error_or_another_message(
        request in request(), reply in reply(), at in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        for mut bytes in [request.encode(), reply.encode()] {
            let at = at.index(bytes.len());
            prop_assert!(is_exact(&bytes[..at]));
            bytes[at] = byte;
            prop_assert!(is_exact(&bytes));
        }
    }
}

#[test]
fn h10_the_format_is_fields_joined_by_nul() {
    let name = PersonaName::parse("p://work/mail").unwrap();
    let state = State::Running;
    let request = Request::SetState(Persona { name, state });
    assert_eq!(request.encode(), b"set-state\0p://work/mail\0running");
    assert_eq!(request.to_string(), "set-state p://work/mail running");
    assert_eq!(Request::Probe.encode(), b"probe");
    assert_eq!(Reply::Recorded(7).encode(), b"recorded\x007");
}

#[test]
fn h06_each_request_has_its_word_and_its_deadline() {
    let ms = |request: Request| (request.word(), request.deadline().as_millis());
    assert_eq!(ms(Request::Personas), ("personas", 200));
    assert_eq!(ms(Request::Baked), ("baked", 8000));
    let (boot_id, disk) = (String::new(), String::new());
    assert_eq!(ms(Request::Open { boot_id, disk }), ("open", 8000));
    assert_eq!(ms(Request::Append(vec![])), ("append", 2000));
}

#[test]
fn h10_256_personas_with_the_longest_names_fit() {
    let deep = vec!["x".repeat(32); 5].join("/");
    let name = format!("sys://{deep}");
    assert!(Persona::new(&name, "starting").is_some());
    let reply = Reply::Lines(vec![format!("{name} starting"); 256]);
    assert!(reply.encode().len() <= MAX_MESSAGE);
}

#[test]
fn h10_what_is_not_a_request_is_refused() {
    for packet in [
        &b""[..],
        b"format-disk",
        b"probe\0",
        b"probe\0now",
        b"open\0boot",
        b"clock\0+1",
        b"clock\x0001",
        b"clock",
        b"set-state\0p://Work\0running",
        b"set-state\0p://work\0paused",
        b"nack-add\0hash",
        b"nack-add\0\xff\0why",
        b"gate\0p://work\0list\x001\x002\x003\x004",
        b"gate\0p://work\0list\x001\x002\x003\x004\x005\x006",
    ] {
        assert_eq!(Request::decode(packet), None, "{packet:?}");
    }
}

#[test]
fn h10_what_is_not_a_reply_is_refused() {
    for packet in [
        &b""[..],
        b"yes",
        b"refused",
        b"refused\0a\0b",
        b"lines\0\xff",
        b"recorded",
        b"recorded\0+1",
        b"recorded\x001\x002",
        b"unlocked\0Plain\0a\0b",
        b"unlocked\0plain\0a\0b\0c",
        b"opened\x001\0x\0a\0b\0c",
        b"opened\x001\x002\0a\0b",
    ] {
        assert_eq!(Reply::decode(packet), None, "{packet:?}");
    }
}

#[test]
fn h10_a_row_is_a_name_and_a_state_of_ours() {
    for state in [State::Stopped, State::Starting, State::Running] {
        let name = PersonaName::parse("p://work").unwrap();
        let persona = Persona::new("p://work", state.tag());
        assert_eq!(persona, Some(Persona { name, state }));
    }
    for (name, tag) in [("p://Work", "running"), ("p://work", "paused"), ("", "")] {
        assert_eq!(Persona::new(name, tag), None, "{name:?} {tag:?}");
    }
}

#[test]
fn c07_what_protects_the_disk_has_one_word() {
    let words = Access::ALL.map(|it| (it.protection(), it.is_vault()));
    let sealed = ("passphrase+tpm", true);
    let expected = [
        ("plain", false),
        ("passphrase", true),
        sealed,
        sealed,
        ("none", false),
        ("none", false),
    ];
    assert_eq!(words, expected);
}
