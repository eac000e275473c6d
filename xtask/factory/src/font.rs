//! The characters that bay0 draws on a screen: those of ASCII that are seen, from the blank to `~`, each 16 lines of 8 pixels.
//!
//! They are Spleen's. Its file is of the first version of PSF: four bytes, 512 glyphs, and for each of them the characters that it is.

use anyhow::{Context, Result, ensure};
use spleen_font::FONT_8X16;

/// The first character.
pub const FIRST: u8 = b' ';
/// The last one.
pub const LAST: u8 = b'~';
/// Lines of each, one byte long: the left pixel is the highest bit.
pub const LINES: usize = 16;

/// What a file of PSF begins with: its mark, that it has 512 glyphs and a table behind them, and how long each is (kbd's `psf.h`).
const HEAD: [u8; 4] = [0x36, 0x04, 0x03, LINES as u8];
const GLYPHS: usize = 512;
/// Ends the characters of a glyph in the table; behind the other one are sequences of several.
const END: u16 = 0xffff;
const SEQUENCES: u16 = 0xfffe;

/// All of them, one after the other.
pub fn glyphs() -> Result<Vec<u8>> {
    let (head, rest) = FONT_8X16.split_first_chunk().context("an empty font")?;
    ensure!(*head == HEAD, "another kind of font: {head:?}");
    let split = rest.split_at_checked(GLYPHS * LINES);
    let (glyphs, table) = split.context("the font is cut off")?;
    let units: Vec<u16> = table
        .as_chunks()
        .0
        .iter()
        .map(|it| u16::from_le_bytes(*it))
        .collect();
    let of = |glyph: &[u16]| {
        let single = glyph.split(|it| *it == SEQUENCES).next();
        single.unwrap_or_default().to_vec()
    };
    let named: Vec<_> = units.split(|it| *it == END).map(of).collect();
    let mut bytes = Vec::new();
    for character in FIRST..=LAST {
        let at = named
            .iter()
            .position(|it| it.contains(&u16::from(character)));
        let glyph = at.and_then(|at| glyphs.chunks_exact(LINES).nth(at));
        bytes.extend(glyph.with_context(|| format!("no {:?} in the font", char::from(character)))?);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn picture(character: char) -> Vec<String> {
        let glyphs = glyphs().unwrap();
        let at = (character as usize - usize::from(FIRST)) * LINES;
        let lines = glyphs[at..at + LINES].iter();
        let dots = |line: &u8| format!("{line:08b}").replace('0', ".").replace('1', "#");
        lines.map(dots).collect()
    }

    #[test]
    fn u08_known_letters_come_out_as_they_are_drawn() {
        let a = "........ ........ .#####.. ##...##. ##...##. ##...##. #######. ##...##. \
                 ##...##. ##...##. ##...##. ##...##. ........ ........ ........ ........";
        let question = "........ ........ .#####.. ##...##. .....##. ....##.. ...##... ..##.... \
                        ..##.... ........ ..##.... ..##.... ........ ........ ........ ........";
        let lines = |picture: &str| picture.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(picture('A'), lines(a));
        assert_eq!(picture('?'), lines(question));
        assert_eq!(picture(' '), vec!["........"; LINES]);
    }

    #[test]
    fn u08_every_character_is_whole_and_like_no_other() {
        let glyphs = glyphs().unwrap();
        let all: BTreeSet<&[u8]> = glyphs.chunks(LINES).collect();
        assert_eq!(glyphs.len(), 95 * LINES);
        assert_eq!(all.len(), 95);
    }
}
