//! What the lists may not say together.

use super::*;
use crate::policy::TERMS;

/// The lists after one change.
fn changed(change: impl FnOnce(&mut Lists)) -> String {
    let mut lists = Lists::read().unwrap();
    change(&mut lists);
    lists.check().unwrap_err().to_string()
}

fn add(reasons: &mut Reasons, call: &str, why: &str) {
    reasons.insert(call.to_owned(), why.to_owned());
}

#[test]
fn c05_a_contradiction_in_the_lists_is_refused_by_the_name_of_the_call() {
    let twice = changed(|lists| add(&mut lists.profiles[1].allow, "read", "r"));
    assert_eq!(
        twice,
        format!("{FOLDER}: read is in two profiles; next: leave it in the stricter one")
    );
    let both = changed(|lists| add(&mut lists.rest.refused, "read", "r"));
    assert_eq!(
        both,
        format!("{FOLDER}: read is refused, and every profile allows it; next: decide")
    );
    for list in ["refused", "allowed"] {
        let error = changed(|lists| match list {
            "refused" => add(&mut lists.rest.refused, "clone3", "r"),
            _ => add(&mut lists.profiles[2].allow, "clone3", "r"),
        });
        assert_eq!(
            error,
            format!("{FOLDER}: clone3 is missing, and listed elsewhere; next: decide")
        );
    }
    let nothing = changed(|lists| lists.rest.but[0].call = "bpf".into());
    assert_eq!(
        nothing,
        format!(
            "{FOLDER}: bpf has arguments that are refused, and no profile allows it; next: decide"
        )
    );
}

#[test]
fn c05_a_call_that_does_not_exist_or_has_no_reason_is_refused() {
    for why in ["", "a | b"] {
        assert_eq!(
            changed(|lists| add(&mut lists.profiles[0].allow, "read", why)),
            format!(
                "{FOLDER}: read has no reason, or one that breaks a table; next: say in words why"
            )
        );
    }
    assert_eq!(
        changed(|lists| add(&mut lists.rest.missing, "raed", "a slip")),
        format!("{FOLDER}: there is no call raed; next: correct it")
    );
}

#[test]
fn c05_a_condition_says_one_thing_of_one_argument() {
    let next = "each condition has an argument and one of bits, is, none, and `of` beside `is` alone, with all its bits; next: correct it";
    let wrong: [fn(&mut But); 6] = [
        |but| but.when[0].is = Some(1),
        |but| but.when[0].bits = None,
        |but| but.when[0].argument = 6,
        |but| but.when[0].of = Some(1),
        |but| {
            but.when[0].bits = None;
            (but.when[0].is, but.when[0].of) = (Some(3), Some(1));
        },
        |but| but.when.clear(),
    ];
    for change in wrong {
        assert_eq!(
            changed(|lists| change(&mut lists.rest.but[0])),
            format!("{FOLDER}/refused.toml: clone, CLONE_NEWNS: mounts: {next}")
        );
    }
}

#[test]
fn a06_an_unknown_word_in_a_list_is_refused_with_its_file() {
    let error = parse::<Profile>("strict", "about = 'x'\n[alow]\nread = 'r'\n").unwrap_err();
    let text = format!("{error:#}");
    assert!(
        text.starts_with(&format!(
            "parse {FOLDER}/strict.toml: TOML parse error at line 2, column 2\n"
        )) && text.contains("unknown field `alow`, expected `about` or `allow`"),
        "{text}"
    );
}

#[test]
fn c05_the_lists_are_those_that_a_policy_can_name_in_the_same_order_and_words() {
    let lists = Lists::read().unwrap();
    let here: Vec<_> = lists
        .profiles()
        .map(|(name, profile)| (name, profile.about.as_str()))
        .collect();
    let named: Vec<_> = TERMS
        .seccomp
        .iter()
        .map(|term| (term.word.as_str(), term.means.as_str()))
        .collect();
    assert_eq!(here, named);
}
