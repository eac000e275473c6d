#![allow(clippy::arithmetic_side_effects)]

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    "[^\0]{0,40}"
}

fn answer() -> impl Strategy<Value = Answered> {
    prop_oneof![
        any::<u64>().prop_map(Answered::Recorded),
        vec(text(), 0..9).prop_map(Answered::Values),
        text().prop_map(Answered::Refused),
        text().prop_map(Answered::Unlogged),
    ]
}

proptest! {
    #[test]
    fn h10_every_request_survives_the_wire(op in text(), args in vec(text(), 0..9)) {
        let packet = encode(&op, &args);
        let fields = decode(&packet);
        prop_assert_eq!(fields[0], op);
        prop_assert_eq!(&fields[1..], args);
    }

    #[test]
    fn h10_every_answer_survives_the_wire(answer in answer()) {
        prop_assert_eq!(Answered::decode(&answer.encode()), Some(answer));
    }

    #[test]
    fn a16_no_bytes_make_decoding_panic(packet in any::<Vec<u8>>()) {
        let _ = decode(&packet);
        let _ = Answered::decode(&packet);
    }

    #[test]
    fn a16_a_damaged_message_is_an_error_or_another_message(
        answer in answer(), at in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let mut bytes = answer.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Some(other) = Answered::decode(&bytes) {
            // Whatever was understood is a message in its own right.
            prop_assert_eq!(other.encode(), bytes);
        }
    }
}

#[test]
fn h10_the_format_is_fields_joined_by_nul() {
    let packet = encode("set-state", &["p://work/mail", "running"]);
    assert_eq!(packet, b"set-state\0p://work/mail\0running");
    assert_eq!(encode("probe", &[""; 0]), b"probe");
    assert_eq!(decode(b"a\0\0b"), ["a", "", "b"]);
}

#[test]
fn h10_256_personas_with_the_longest_names_fit() {
    let deep = vec!["x".repeat(32); 5].join("/");
    let row = format!("sys://{deep} starting");
    assert!(Persona::parse(&row).is_some());
    assert!(encode("ok", &vec![row; 256]).len() <= MAX_MESSAGE);
}

#[test]
fn h10_what_is_not_an_answer_is_refused() {
    for packet in [
        &b""[..],
        b"yes",
        b"no",
        b"no\0a\0b",
        b"ok\0\xff",
        b"recorded",
        b"recorded\0+1",
        b"recorded\x001\x002",
    ] {
        assert_eq!(Answered::decode(packet), None, "{packet:?}");
    }
    assert_eq!(decode(b"nack-get\0\xff"), [""]);
}

#[test]
fn h10_a_row_is_a_name_and_a_state_of_ours() {
    for state in [State::Stopped, State::Starting, State::Running] {
        let name = PersonaName::parse("p://work").unwrap();
        let text = format!("p://work {}", state.tag());
        assert_eq!(Persona::parse(&text), Some(Persona { name, state }));
    }
    for foreign in ["p://Work running", "p://work paused", "p://work", ""] {
        assert_eq!(Persona::parse(foreign), None, "{foreign:?}");
    }
}
