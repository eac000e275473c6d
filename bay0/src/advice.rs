//! What to do stands in every failure: in its own text, or added where it is said.

/// A failure's text, with `otherwise`, which ends with `next: ACTION`, behind it unless the text has a next action of its own.
pub fn advised(text: &str, otherwise: &str) -> String {
    let known = text.contains("; next: ");
    [text, if known { "" } else { otherwise }].concat()
}
