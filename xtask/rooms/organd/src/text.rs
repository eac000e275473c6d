//! Whole characters of what comes in pieces.

/// What stands for bytes that are no character.
const ODD: &str = "\u{fffd}";

/// A model's tokens are bytes, and a character may need several.
#[derive(Debug, Default)]
pub struct Characters {
    rest: Vec<u8>,
}

impl Characters {
    /// The characters that are whole with these bytes; the beginning of one that is not waits for more.
    pub fn add(&mut self, bytes: &[u8]) -> String {
        self.rest.extend_from_slice(bytes);
        let mut text = String::new();
        let mut kept = 0;
        let mut chunks = self.rest.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            let odd = chunk.invalid();
            if chunks.peek().is_none() && begins(odd) {
                kept = odd.len();
            } else if !odd.is_empty() {
                text.push_str(ODD);
            }
        }
        // Only at the end can something wait: before other bytes it is no beginning any more.
        self.rest.drain(..self.rest.len().saturating_sub(kept));
        text
    }

    /// What is left at the end, which is no character.
    pub fn end(&mut self) -> String {
        match std::mem::take(&mut self.rest).is_empty() {
            true => String::new(),
            false => ODD.to_owned(),
        }
    }
}

/// Whether these bytes can become a character.
fn begins(bytes: &[u8]) -> bool {
    str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However it is cut, the text comes out, and each piece is text.
        #[test]
        fn a08_a_text_in_pieces_is_the_text(text in ".{0,40}", cuts in prop::collection::vec(0usize..5, 0..60)) {
            let (mut out, mut characters) = (String::new(), Characters::default());
            let mut rest = text.as_bytes();
            for cut in cuts {
                let (piece, other) = rest.split_at(cut.min(rest.len()));
                out += &characters.add(piece);
                rest = other;
            }
            out += &characters.add(rest);
            prop_assert_eq!(characters.end(), "");
            prop_assert_eq!(out, text);
        }

        /// Bytes that are no text become what the standard library makes of them.
        #[test]
        fn t05_bytes_that_are_no_text_become_marks(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0x80u8..0xf5], 0..40), cut in 1usize..5) {
            let (mut out, mut characters) = (String::new(), Characters::default());
            for piece in bytes.chunks(cut) {
                out += &characters.add(piece);
            }
            out += &characters.end();
            prop_assert_eq!(out, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}
