//! What the slot child reports to PID 1: a value, of which one renderer makes the text that people read.
//!
//! ```text
//! report = letter of DONE, hash | "r", hash, why | "f", why        ; hash: 64 hexadecimal digits
//! ```

/// As long as a SHA-256 in hex.
const HASH: usize = 64;
const REFUSED: char = 'r';
const FAILED: char = 'f';

/// What was found of the slot that does not run, or done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It is as it should be.
    Whole,
    /// It is whole and the older one, and its boot entry was made again.
    Entered,
    /// It is whole and the older one, and nothing proves that it was well.
    Unproven,
    /// It is a copy of the slot that runs now.
    Copied,
    /// It holds an update, which the firmware tries once.
    Tried,
    /// Its boot entry was made again, and the firmware tries it once.
    EnteredTried,
    /// Nothing proves that it was well, and the firmware tries it once.
    UnprovenTried,
}

/// Of each, the letter that stands for it on the way, and what people read.
const DONE: [(Done, char, &str); 7] = [
    (Done::Whole, 'w', "slot {slot} is whole: {hash}"),
    (
        Done::Entered,
        'e',
        "slot {slot} is whole, and has a boot entry again: {hash}",
    ),
    (
        Done::Unproven,
        'u',
        "slot {slot} is whole, and is not proven: {hash}",
    ),
    (Done::Copied, 'c', "slot {slot} is made a copy: {hash}"),
    (
        Done::Tried,
        't',
        "{hash} is tried at the next boot; next: reboot",
    ),
    (
        Done::EnteredTried,
        'E',
        "slot {slot} has a boot entry again: {hash} is tried at the next boot; next: reboot",
    ),
    (
        Done::UnprovenTried,
        'U',
        "slot {slot} is not proven: {hash} is tried at the next boot; next: reboot",
    ),
];

/// How the child's work ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The slot holds what has this hash.
    Done { done: Done, hash: String },
    /// What has this hash has failed here, and is to be refused from now on (H17).
    Refused { hash: String, why: String },
    /// The work was not done.
    Failed { why: String },
}

impl Report {
    /// What the child sends.
    pub fn encode(&self) -> String {
        let (letter, hash, why) = match self {
            Self::Done { done, hash } => {
                let row = DONE.iter().find(|(it, ..)| it == done);
                (
                    row.map_or(FAILED, |(_, letter, _)| *letter),
                    hash.as_str(),
                    "",
                )
            }
            Self::Refused { hash, why } => (REFUSED, hash.as_str(), why.as_str()),
            Self::Failed { why } => (FAILED, "", why.as_str()),
        };
        format!("{letter}{hash}{why}")
    }

    /// What the child has sent; none of text that is no report.
    pub fn decode(sent: &str) -> Option<Self> {
        let mut rest = sent.chars();
        let (letter, rest) = (rest.next()?, rest.as_str());
        if letter == FAILED {
            return Some(Self::Failed {
                why: rest.to_owned(),
            });
        }
        let (hash, why) = rest.split_at_checked(HASH)?;
        let is_hash = hash.bytes().all(|it| it.is_ascii_hexdigit());
        let (hash, why) = (is_hash.then(|| hash.to_owned())?, why.to_owned());
        if letter == REFUSED {
            return Some(Self::Refused { hash, why });
        }
        let (done, ..) = DONE.into_iter().find(|(_, it, _)| *it == letter)?;
        why.is_empty().then_some(Self::Done { done, hash })
    }

    /// What people read; `slot`: the letter of the one that does not run.
    pub fn text(&self, slot: &str) -> String {
        match self {
            Self::Done { done, hash } => {
                let row = DONE.iter().find(|(it, ..)| it == done);
                let text = row.map_or("{hash}", |(.., text)| text);
                text.replace("{slot}", slot).replace("{hash}", hash)
            }
            Self::Refused { hash, why } => {
                format!("FAIL: {hash} is refused from now on: {why}; next: get another")
            }
            Self::Failed { why } => failure(why),
        }
    }
}

/// What people read of work that failed, with what to do next unless the reason says it.
pub fn failure(why: &str) -> String {
    let bare = !why.contains("; next: ");
    let next = if bare { "; next: try again" } else { "" };
    format!("FAIL: {why}{next}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_report() -> impl Strategy<Value = Report> {
        let done = prop::sample::select(DONE.map(|(done, ..)| done).to_vec());
        (0..3, done, "[0-9a-f]{64}", any::<String>()).prop_map(|(kind, done, hash, why)| match kind
        {
            0 => Report::Done { done, hash },
            1 => Report::Refused { hash, why },
            _ => Report::Failed { why },
        })
    }

    proptest! {
        #[test]
        fn a18_a_report_is_decoded_as_it_was_encoded(report in any_report()) {
            prop_assert_eq!(Report::decode(&report.encode()), Some(report));
        }

        #[test]
        fn a18_no_text_is_taken_for_more_than_it_says(sent in any::<String>(), report in any_report(), cut in 0..64_usize) {
            if let Some(report) = Report::decode(&sent) {
                prop_assert_eq!(report.encode(), sent);
            }
            // Of what is cut off, nothing but a failure is left.
            let sent: String = report.encode().chars().take(cut).collect();
            let left = Report::decode(&sent);
            let failed = left.is_none_or(|it| matches!(it, Report::Failed { .. }));
            prop_assert!(failed);
        }
    }

    #[test]
    fn h19_a_report_says_what_was_done_and_a_failure_what_next() {
        let hash = "ab".repeat(32);
        let text = |report: Report| report.text("B").replace(&hash, "H");
        let said: Vec<_> = DONE
            .iter()
            .map(|(done, ..)| {
                text(Report::Done {
                    done: *done,
                    hash: hash.clone(),
                })
            })
            .collect();
        assert_eq!(
            said,
            [
                "slot B is whole: H",
                "slot B is whole, and has a boot entry again: H",
                "slot B is whole, and is not proven: H",
                "slot B is made a copy: H",
                "H is tried at the next boot; next: reboot",
                "slot B has a boot entry again: H is tried at the next boot; next: reboot",
                "slot B is not proven: H is tried at the next boot; next: reboot",
            ]
        );
        let refused = Report::Refused {
            hash: hash.clone(),
            why: "it was tried and failed".to_owned(),
        };
        assert_eq!(
            text(refused),
            "FAIL: H is refused from now on: it was tried and failed; next: get another"
        );
        let failed = |why: &str| {
            text(Report::Failed {
                why: why.to_owned(),
            })
        };
        assert_eq!(failed("EIO"), "FAIL: EIO; next: try again");
        assert_eq!(failed("EIO; next: none"), "FAIL: EIO; next: none");
    }
}
