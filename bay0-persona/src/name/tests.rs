#![allow(clippy::arithmetic_side_effects)]

use super::*;
use proptest::prelude::*;

fn refusal(text: &str) -> String {
    PersonaName::parse(text).unwrap_err().to_string()
}

fn depth(name: &PersonaName) -> usize {
    name.to_string().split('/').skip(2).count()
}

#[test]
fn h14_both_spellings_name_the_same_persona() {
    let name = PersonaName::parse("p://work/mail").unwrap();
    assert_eq!(name.internal(), "p__work__mail");
    assert_eq!(PersonaName::from_internal("p__work__mail").unwrap(), name);
    assert_eq!(name.to_string(), "p://work/mail");
    assert_eq!(depth(&name), 2);
    assert_eq!(name.parent().unwrap().to_string(), "p://work");
    assert_eq!(name.parent().unwrap().parent(), None);
    assert_eq!(
        PersonaName::parse("sys://ai").unwrap().internal(),
        "sys__ai"
    );
}

#[test]
fn h14_a_refusal_names_the_offending_byte_and_its_position() {
    assert_eq!(refusal("work"), "a name begins with sys:// or p://");
    assert_eq!(refusal("q://work"), "a name begins with sys:// or p://");
    assert_eq!(refusal(""), "a name begins with sys:// or p://");
    assert_eq!(refusal("p://"), "empty segment at byte 4");
    assert_eq!(refusal("p://a//b"), "empty segment at byte 6");
    assert_eq!(refusal("p://a/"), "empty segment at byte 6");
    assert_eq!(
        refusal("p://a_b"),
        "byte '_' at byte 5: only a-z and 0-9 are allowed"
    );
    assert_eq!(
        refusal("p://a\n"),
        "byte '\\n' at byte 5: only a-z and 0-9 are allowed"
    );
    assert_eq!(
        refusal("p://caf\u{e9}"),
        "byte '\\xc3' at byte 7: only a-z and 0-9 are allowed"
    );
    assert_eq!(
        refusal("p://a/b/c/d/e/f"),
        "segment at byte 14 is one too many: at most 5"
    );
    let long = format!("sys://{}", "a".repeat(33));
    assert_eq!(refusal(&long), "segment at byte 6 is longer than 32 bytes");
}

#[test]
fn h14_upper_case_is_refused_with_the_lower_case_spelling() {
    assert_eq!(
        refusal("p://Work"),
        "upper-case 'W' at byte 4: write p://work"
    );
    let shown = "upper-case 'W' at byte 4: write p://w\\u{1b}[2j";
    assert_eq!(refusal("p://W\x1b[2J"), shown, "no refusal moves a cursor");
}

#[test]
fn h14_the_widest_name_is_accepted() {
    let widest = format!("sys://{}", vec!["a".repeat(32); 5].join("/"));
    assert_eq!(depth(&PersonaName::parse(&widest).unwrap()), 5);
}

fn valid() -> impl Strategy<Value = String> {
    let segments = prop::collection::vec("[a-z0-9]{1,32}", 1..=5);
    (prop::sample::select(vec!["sys://", "p://"]), segments)
        .prop_map(|(s, v)| format!("{s}{}", v.join("/")))
}

proptest! {
    #[test]
    fn h14_every_valid_name_round_trips_through_both_spellings(text in valid()) {
        let name = PersonaName::parse(&text).unwrap();
        prop_assert_eq!(name.to_string(), text);
        prop_assert_eq!(PersonaName::from_internal(&name.internal()).unwrap(), name);
    }

    #[test]
    fn h14_two_names_share_no_internal_spelling(a in valid(), b in valid()) {
        let (x, y) = (PersonaName::parse(&a).unwrap(), PersonaName::parse(&b).unwrap());
        prop_assert_eq!(a == b, x.internal() == y.internal());
    }

    #[test]
    fn h14_what_is_accepted_is_the_grammar_and_nothing_else(text in "(sys|p|P|q)?(://|__|:/)?[a-cA_/0\u{e9}-]{0,12}") {
        let grammar = |s: &str| {
            let path = s.strip_prefix("sys://").or_else(|| s.strip_prefix("p://"));
            path.is_some_and(|p| {
                let parts: Vec<_> = p.split('/').collect();
                parts.len() <= 5 && parts.iter().all(|x| {
                    (1..=32).contains(&x.len()) && x.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
                })
            })
        };
        prop_assert_eq!(PersonaName::parse(&text).is_ok(), grammar(&text));
    }

    #[test]
    fn h14_the_internal_spelling_is_the_only_one_its_parser_accepts(text in "(sys|p)(__|://|_)[ab/_]{0,9}") {
        if let Some(name) = PersonaName::from_internal(&text) {
            prop_assert_eq!(name.internal(), text);
        }
    }

    #[test]
    fn a16_no_input_panics(text in "\\PC*") {
        let _ = PersonaName::parse(&text);
        let _ = PersonaName::from_internal(&text);
    }
}

#[test]
fn a05_a_room_is_in_itself_and_in_what_it_is_nested_in_and_in_no_other() {
    let name = |text| PersonaName::parse(text).unwrap();
    let inner = name("p://work/mail/old");
    for outer in ["p://work/mail/old", "p://work/mail", "p://work"] {
        assert!(inner.is_in(&name(outer)), "{outer}");
    }
    for other in ["p://wor", "p://work/mai", "p://mail", "sys://work"] {
        assert!(!inner.is_in(&name(other)), "{other}");
    }
    assert!(!name("p://work").is_in(&inner));
}
