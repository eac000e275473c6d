//! What a child that works for PID 1 sends: a value. One renderer makes the text that people read.
//!
//! ```text
//! answer = "+" text / "!" hash SP why / "-" why
//! ```

use anyhow::Result;

use crate::advice::advised;

/// How the child's work ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was done; the text says what, and is empty if there was nothing to do.
    Done(String),
    /// What has this hash has failed here, and is to be refused from now on (H17).
    Refused { hash: String, why: String },
    /// It was not done.
    Failed(String),
}

impl Answer {
    /// The answer of work.
    pub fn of(worked: Result<Self>) -> Self {
        worked.unwrap_or_else(|error| Self::Failed(format!("{error:#}")))
    }

    /// What the child sends.
    pub fn encode(&self) -> String {
        match self {
            Self::Done(text) => format!("+{text}"),
            Self::Refused { hash, why } => format!("!{hash} {why}"),
            Self::Failed(why) => format!("-{why}"),
        }
    }

    /// What the child has sent; none of text that is none.
    pub fn decode(sent: &str) -> Option<Self> {
        let (kind, rest) = sent.split_at_checked(1)?;
        match (kind, rest.split_once(' ')) {
            ("+", _) => Some(Self::Done(rest.to_owned())),
            ("-", _) => Some(Self::Failed(rest.to_owned())),
            ("!", Some((hash, why))) => {
                let (hash, why) = (hash.to_owned(), why.to_owned());
                Some(Self::Refused { hash, why })
            }
            _ => None,
        }
    }

    /// What people read, with what to do next unless the reason says it.
    pub fn rendered(&self) -> String {
        match self {
            Self::Done(text) => text.clone(),
            Self::Refused { hash, why } => {
                format!("FAIL: {hash} is refused from now on: {why}; next: get another")
            }
            Self::Failed(why) => format!("FAIL: {}", advised(why, "; next: try again")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_answer() -> impl Strategy<Value = Answer> {
        let parts = (0..3, "[0-9a-f]{64}", any::<String>());
        parts.prop_map(|(kind, hash, text)| match kind {
            0 => Answer::Done(text),
            1 => Answer::Refused { hash, why: text },
            _ => Answer::Failed(text),
        })
    }

    proptest! {
        #[test]
        fn a18_an_answer_is_decoded_as_it_was_encoded(answer in any_answer(), sent: String) {
            prop_assert_eq!(Answer::decode(&answer.encode()), Some(answer));
            // What is taken for an answer is one: no two texts are the same.
            if let Some(answer) = Answer::decode(&sent) {
                prop_assert_eq!(answer.encode(), sent);
            }
        }
    }

    #[test]
    fn h19_an_answer_says_what_was_done_and_a_failure_what_next() {
        let failed = |why: &str| Answer::Failed(why.to_owned()).rendered();
        assert_eq!(failed("EIO"), "FAIL: EIO; next: try again");
        assert_eq!(failed("EIO; next: none"), "FAIL: EIO; next: none");
        // Whatever a text is: a partition may be called anything.
        let done = Answer::decode("+FAIL: !x").unwrap();
        assert_eq!(
            (done.rendered().as_str(), done),
            ("FAIL: !x", Answer::Done("FAIL: !x".to_owned()))
        );
        let refused = Answer::decode("!ab it failed").unwrap();
        assert_eq!(
            refused.rendered(),
            "FAIL: ab is refused from now on: it failed; next: get another"
        );
    }
}
