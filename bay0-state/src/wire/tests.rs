#![allow(clippy::arithmetic_side_effects, clippy::octal_escapes)]

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn name() -> impl Strategy<Value = PersonaName> {
    "(p|sys)://[a-z0-9]{1,32}(/[a-z0-9]{1,32}){0,4}"
        .prop_map(|text| PersonaName::parse(&text).unwrap())
}

fn state() -> impl Strategy<Value = State> {
    prop_oneof![
        Just(State::Stopped),
        Just(State::Starting),
        Just(State::Running)
    ]
}

fn text() -> impl Strategy<Value = String> {
    "[^\0]{0,40}"
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        text().prop_map(Request::Open),
        Just(Request::Personas),
        (name(), state()).prop_map(|(name, state)| Request::SetState(name, state)),
        (text(), text()).prop_map(|(hash, reason)| Request::NackAdd(hash, reason)),
        text().prop_map(Request::NackGet),
        any::<u64>().prop_map(Request::Clock),
        vec(text(), 0..5).prop_map(Request::Append),
        Just(Request::Probe),
        (text(), any::<u64>()).prop_map(|(how, now)| Request::Close(how, now)),
    ]
}

fn opened() -> impl Strategy<Value = Opened> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>());
    let texts = (text(), text(), vec(text(), 0..11), vec(text(), 0..4));
    (numbers, texts).prop_map(
        |((schema, floor, log_seq), (seed, previous_end, tail, trouble))| Opened {
            schema,
            floor,
            seed,
            log_seq,
            previous_end,
            tail,
            trouble,
        },
    )
}

fn reply() -> impl Strategy<Value = Reply> {
    let persona = (name(), state()).prop_map(|(name, state)| Persona { name, state });
    prop_oneof![
        opened().prop_map(Reply::Opened),
        vec(persona, 0..5).prop_map(Reply::Personas),
        vec(text(), 0..2).prop_map(Reply::Nack),
        any::<u64>().prop_map(Reply::Recorded),
        Just(Reply::Done),
        text().prop_map(Reply::Refused),
    ]
}

proptest! {
    #[test]
    fn h10_every_request_survives_the_wire(request in request()) {
        let packet = request.encode().unwrap();
        prop_assert_eq!(Request::decode(&packet), Ok(request));
    }

    #[test]
    fn h10_every_reply_survives_the_wire(reply in reply()) {
        let packet = reply.encode().unwrap();
        prop_assert_eq!(Reply::decode(&packet), Ok(reply));
    }

    #[test]
    fn a16_no_bytes_make_decoding_panic(packet in any::<Vec<u8>>()) {
        let _ = Request::decode(&packet);
        let _ = Reply::decode(&packet);
    }

    #[test]
    fn a16_a_damaged_message_is_an_error_or_another_message(
        reply in reply(), at in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let mut packet = reply.encode().unwrap();
        let at = at.index(packet.len());
        packet[at] = byte;
        if let Ok(other) = Reply::decode(&packet) {
            // Whatever was understood is a message in its own right.
            prop_assert_eq!(Reply::decode(&other.encode().unwrap()), Ok(other));
        }
    }
}

#[test]
fn h10_the_format_is_fields_joined_by_nul() {
    let name = PersonaName::parse("p://work/mail").unwrap();
    let packet = Request::SetState(name, State::Running).encode().unwrap();
    assert_eq!(packet, b"set-state\0p://work/mail\0running");
    let packet = Reply::Nack(vec!["hung".into()]).encode().unwrap();
    assert_eq!(packet, b"nack\x001\0hung");
}

#[test]
fn h10_a_field_with_nul_is_refused_before_it_is_sent() {
    let refused = Request::Append(vec!["a\0b".into()]).encode();
    assert_eq!(refused.unwrap_err().to_string(), "a field contains NUL");
}

#[test]
fn h10_a_message_over_64_kib_is_refused_both_ways() {
    let fits =
        |extra: usize| Reply::Refused("x".repeat(MAX_MESSAGE - "refused\0".len() + extra)).encode();
    assert!(fits(0).is_ok());
    assert_eq!(fits(1).unwrap_err().to_string(), "longer than 64 KiB");
    let long = Reply::decode(&vec![b'1'; MAX_MESSAGE + 1]);
    assert_eq!(long.unwrap_err().to_string(), "longer than 64 KiB");
}

#[test]
fn h10_256_personas_with_the_longest_names_fit() {
    let deep = vec!["x".repeat(32); 5].join("/");
    let name = PersonaName::parse(&format!("sys://{deep}")).unwrap();
    let list = vec![
        Persona {
            name,
            state: State::Starting
        };
        256
    ];
    assert!(Reply::Personas(list).encode().is_ok());
}

#[test]
fn h10_what_is_not_a_message_is_refused_by_kind() {
    for (packet, error) in [
        (&b""[..], "unknown tag"),
        (b"format-disk", "unknown tag"),
        (b"probe\0more", "too many fields"),
        (b"clock", "malformed field"),
        (b"clock\0-1", "malformed field"),
        (b"clock\x0099999999999999999999", "malformed field"),
        (b"set-state\0p://Work\0running", "malformed field"),
        (b"set-state\0p://work\0paused", "unknown tag"),
        (b"append\018446744073709551615\0a", "malformed field"),
        (b"nack-get\0\xff", "not UTF-8"),
    ] {
        assert_eq!(
            Request::decode(packet).unwrap_err().to_string(),
            error,
            "{packet:?}"
        );
    }
}
