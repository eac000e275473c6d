//! Names (H14): the type accepts what the grammar accepts and nothing else, in both spellings, and each leads back to the other.
#![no_main]

use bay0_persona::PersonaName;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let parsed = PersonaName::parse(text);
    assert_eq!(parsed.is_ok(), obeys(data, b"://", b"/"), "{parsed:?}");
    match parsed {
        Ok(name) => spellings(&name, text, &name.internal()),
        Err(error) => located(&error.to_string(), text),
    }
    let parsed = PersonaName::from_internal(text);
    assert_eq!(parsed.is_some(), obeys(data, b"__", b"__"), "{parsed:?}");
    if let Some(name) = parsed {
        spellings(&name, &name.to_string(), text);
    }
});

/// The grammar a second time, read byte by byte: scheme, first joint, then segments between joints.
fn obeys(text: &[u8], first: &[u8], joint: &[u8]) -> bool {
    let after = |scheme: &[u8]| text.strip_prefix(scheme)?.strip_prefix(first);
    let Some(mut rest) = after(b"sys").or_else(|| after(b"p")) else {
        return false;
    };
    for _ in 0..5 {
        let allowed = |b: &&u8| matches!(b, b'a'..=b'z' | b'0'..=b'9');
        let length = rest.iter().take_while(allowed).count();
        if length == 0 || length > 32 {
            return false;
        }
        rest = &rest[length..];
        match rest.strip_prefix(joint) {
            Some(next) => rest = next,
            None => return rest.is_empty(),
        }
    }
    false
}

/// Everything a name says about itself agrees.
fn spellings(name: &PersonaName, external: &str, internal: &str) {
    assert_eq!(name.to_string(), external);
    assert_eq!(name.internal(), internal);
    assert_eq!(PersonaName::parse(external).as_ref(), Ok(name));
    assert_eq!(PersonaName::from_internal(internal).as_ref(), Some(name));
}

/// A refusal points into the text, at what it names.
fn located(refusal: &str, text: &str) {
    let Some((_, from_position)) = refusal.split_once("at byte ") else {
        assert_eq!(refusal, "a name begins with sys:// or p://");
        return assert!(!text.starts_with("p://") && !text.starts_with("sys://"));
    };
    let digits = from_position.split(|c: char| !c.is_ascii_digit()).next();
    let at: usize = digits.unwrap().parse().unwrap();
    let named = text.as_bytes().get(at).copied();
    let begins = text.as_bytes()[at - 1] == b'/';
    assert!(match refusal.split(' ').next().unwrap() {
        "empty" => begins && matches!(named, None | Some(b'/')),
        "byte" => refusal.starts_with(&format!("byte '{}' ", named.unwrap().escape_ascii())),
        "upper-case" => {
            let letter = char::from(named.unwrap());
            let lower = text.to_ascii_lowercase().escape_default().to_string();
            letter.is_ascii_uppercase()
                && refusal == format!("upper-case '{letter}' at byte {at}: write {lower}")
        }
        "segment" => begins,
        _ => false,
    });
}
