//! What a child that works for PID 1 sends: a value. One renderer makes the text that people read.
//!
//! ```text
//! report = "+" text / "!" hash SP why / "-" why
//! ```

use anyhow::Result;

use crate::advice::advised;

/// How the child's work ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// It was done; the text says what, and is empty if there was nothing to do.
    Done(String),
    /// What has this hash has failed here, and is to be refused from now on (H17).
    Refused { hash: String, why: String },
    /// It was not done.
    Failed(String),
}

impl Report {
    /// The report on work.
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

    /// What the child has sent; none of text that is no report.
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
    pub fn text(&self) -> String {
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

    fn any_report() -> impl Strategy<Value = Report> {
        let parts = (0..3, "[0-9a-f]{64}", any::<String>());
        parts.prop_map(|(kind, hash, text)| match kind {
            0 => Report::Done(text),
            1 => Report::Refused { hash, why: text },
            _ => Report::Failed(text),
        })
    }

    proptest! {
        #[test]
        fn a18_a_report_is_decoded_as_it_was_encoded(report in any_report(), sent: String) {
            prop_assert_eq!(Report::decode(&report.encode()), Some(report));
            // What is taken for a report is one: no two texts are the same.
            if let Some(report) = Report::decode(&sent) {
                prop_assert_eq!(report.encode(), sent);
            }
        }
    }

    #[test]
    fn h19_a_report_says_what_was_done_and_a_failure_what_next() {
        let failed = |why: &str| Report::Failed(why.to_owned()).text();
        assert_eq!(failed("EIO"), "FAIL: EIO; next: try again");
        assert_eq!(failed("EIO; next: none"), "FAIL: EIO; next: none");
        // Whatever a text is: a partition may be called anything.
        let done = Report::decode("+FAIL: !x").unwrap();
        assert_eq!(
            (done.text().as_str(), done),
            ("FAIL: !x", Report::Done("FAIL: !x".to_owned()))
        );
        let refused = Report::decode("!ab it failed").unwrap();
        assert_eq!(
            refused.text(),
            "FAIL: ab is refused from now on: it failed; next: get another"
        );
    }
}
