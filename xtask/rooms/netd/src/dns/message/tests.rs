//! Messages of rooms and of servers: what is asked on, what counts as an answer, what a room gets.

use proptest::prelude::*;

use super::*;

/// A question for the address of `a.example.org`.
const QUESTION: &[u8] = b"\x01a\x07example\x03org\x00\x00\x01\x00\x01";
/// An OPT record that announces 1232 bytes.
const OPT: &[u8] = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00";

fn message(id: u16, flags: u16, counts: [u16; 4], rest: &[&[u8]]) -> Vec<u8> {
    let head = [&[id, flags][..], &counts].concat();
    let head: Vec<u8> = head.iter().flat_map(|it| it.to_be_bytes()).collect();
    [&head, rest.concat().as_slice()].concat()
}

fn query() -> Query {
    match check(&message(7, 0x0120, [1, 0, 0, 1], &[QUESTION, OPT])) {
        Checked::Query(it) => it,
        other => panic!("{other:?}"),
    }
}

/// The answer with this id and so many bytes of records.
fn answer(id: u16, records: usize) -> Vec<u8> {
    message(id, 0x8180, [1, 1, 0, 0], &[QUESTION, &vec![9; records]])
}

#[test]
fn u02_a_question_goes_on_with_another_id_and_otherwise_as_it_is() {
    let it = query();
    assert_eq!((it.id(), it.limit), (7, 1232));
    let sent = message(9, 0x0120, [1, 0, 0, 1], &[QUESTION, OPT]);
    assert_eq!(it.with_id(9), sent);
    let plain = check(&message(7, 0, [1, 0, 0, 0], &[QUESTION]));
    assert!(matches!(plain, Checked::Query(it) if it.limit == 512));
}

#[test]
fn u02_what_is_no_question_is_dropped_or_answered_with_why() {
    assert_eq!(check(b"\x00\x07\x01"), Checked::Drop);
    assert_eq!(
        check(&answer(7, 0)),
        Checked::Drop,
        "two relays would answer each other"
    );
    let code = |bytes: &[u8]| match check(bytes) {
        Checked::Answer(it) => (it.len(), u16::from_be_bytes([it[2], it[3]])),
        other => panic!("{other:?}"),
    };
    let notify = message(7, 0x2000, [1, 0, 0, 0], &[QUESTION]);
    assert_eq!(code(&notify), (12, 0xa084), "NOTIMP");
    for odd in [
        message(7, 0x0100, [0, 0, 0, 0], &[]),
        message(7, 0x0100, [2, 0, 0, 0], &[QUESTION, QUESTION]),
        message(7, 0x0100, [1, 1, 0, 0], &[QUESTION, OPT]),
        message(7, 0x0100, [1, 0, 0, 1], &[QUESTION]),
        message(7, 0x0100, [1, 0, 0, 3], &[QUESTION, OPT, OPT, OPT]),
        message(7, 0x0100, [1, 0, 0, 0], &[&QUESTION[..9]]),
        message(7, 0x0100, [1, 0, 0, 0], &[QUESTION, &[0; MAX_QUERY]]),
        // A name that goes on in the id, which is another one when it is asked on.
        message(
            0x0100,
            0x0100,
            [1, 0, 0, 0],
            &[b"\x01a\xc0\x00\x00\x01\x00\x01"],
        ),
    ] {
        assert_eq!(code(&odd), (12, 0x8181), "FORMERR");
    }
}

#[test]
fn t07_only_the_same_id_and_question_make_an_answer() {
    let it = query();
    assert!(it.is_answer(9, &answer(9, 0)));
    let mut upper = answer(9, 0);
    upper[13] = b'A';
    assert!(
        it.is_answer(9, &upper),
        "a name in other letters is the same"
    );
    assert!(!it.is_answer(8, &answer(9, 0)));
    let mut other = answer(9, 0);
    other[13] = b'b';
    assert!(!it.is_answer(9, &other));
    // The type is a number: 65 and 97 are no letters there.
    let typed = |kind: u8| {
        let mut question = QUESTION.to_vec();
        question[16] = kind;
        question
    };
    let Checked::Query(upper) = check(&message(7, 0, [1, 0, 0, 0], &[&typed(65)])) else {
        panic!("no query");
    };
    assert!(!upper.is_answer(9, &message(9, 0x8180, [1, 0, 0, 0], &[&typed(97)])));
    let mut request = answer(9, 0);
    request[2] = 1;
    assert!(!it.is_answer(9, &request), "no answer");
    assert!(!it.is_answer(9, &message(9, 0x8180, [0, 0, 0, 0], &[])));
}

#[test]
fn u02_a_room_gets_its_id_its_letters_and_what_it_has_room_for() {
    let it = query();
    let mut upper = answer(9, 5);
    upper[13] = b'A';
    assert_eq!(it.answer(upper), answer(7, 5));
    let fits = 1232 - answer(9, 0).len();
    assert_eq!(it.datagram(answer(9, fits)), answer(7, fits));
    let cut = message(7, 0x8380, [1, 0, 0, 0], &[QUESTION]);
    assert_eq!(it.datagram(answer(9, fits + 1)), cut, "with the mark TC");
}

#[test]
fn u02_what_nobody_answers_is_servfail() {
    let failed = query().failure();
    assert_eq!(
        failed,
        message(7, 0x8182, [1, 0, 0, 0], &[QUESTION]),
        "without AD"
    );
    assert!(is_refusal(&failed) && !is_refusal(&answer(7, 0)));
}

proptest! {
    #[test]
    fn a16_no_message_of_a_room_or_a_server_panics(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..600),
        other in proptest::collection::vec(any::<u8>(), 0..600),
        plain: bool, id: u16,
    ) {
        if plain && bytes.len() > 12 {
            bytes.splice(2..12, [1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
        }
        let it = match check(&bytes) {
            Checked::Query(it) => it,
            Checked::Answer(answer) => {
                prop_assert_eq!(answer.len(), 12);
                query()
            }
            Checked::Drop => query(),
        };
        let _ = it.is_answer(id, &other);
        prop_assert!(it.datagram(other.clone()).len() <= it.limit.max(it.failure().len()));
        prop_assert_eq!(it.answer(other.clone()).len(), other.len());
    }
}
