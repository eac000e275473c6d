//! Every failure ends with what to do: in its own text, or added before it is logged.

/// A failure's text, with `otherwise`, which ends with `next: ACTION`, behind it unless the text has a next action of its own.
pub fn advised(text: &str, otherwise: &str) -> String {
    let known = text.contains("; next: ");
    [text, if known { "" } else { otherwise }].concat()
}
