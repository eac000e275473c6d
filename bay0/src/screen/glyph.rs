//! Characters as pictures, and where on a picture they are drawn. Nothing here knows of a display.

/// Pixels of a character, and a byte for each line of it.
const WIDTH: usize = 8;
const HEIGHT: usize = 16;
/// The first character that the font has; it goes on to `~`.
const FIRST: u8 = b' ';
/// Drawn for a character that it has not.
const OTHER: u8 = b'?';
/// The bit of a cell that is drawn dark on light.
pub const INVERSE: u8 = 0x80;
/// A display wider than this many pixels has them small: each pixel of a character is four of its.
const WIDE: usize = 2560;
const LIGHT: u32 = 0x00c8_c8c8;
const DARK: u32 = 0;

/// The characters of ASCII that are seen, in their order, each [`HEIGHT`] bytes, the left pixel in the highest bit.
pub struct Font(pub Vec<u8>);

impl Font {
    /// The lines of a character; none of a font that is too short.
    fn lines(&self, character: u8) -> &[u8] {
        let of = |character: u8| {
            let begin = usize::from(character.checked_sub(FIRST)?).checked_mul(HEIGHT)?;
            self.0.get(begin..begin.checked_add(HEIGHT)?)
        };
        of(character).or_else(|| of(OTHER)).unwrap_or_default()
    }
}

/// A picture as rows and columns of characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// How many lines of text there are.
    pub rows: usize,
    /// How many characters one has.
    pub columns: usize,
    stride: usize,
    scale: usize,
}

impl Grid {
    /// For a picture of this size in pixels; from one of its lines to the next it is `stride`.
    pub fn new(width: usize, height: usize, stride: usize) -> Self {
        let scale = if width > WIDE { 2 } else { 1 };
        let fit = |pixels: usize, each| {
            pixels
                .checked_div(each)
                .and_then(|it| it.checked_div(scale))
                .unwrap_or(0)
        };
        Self {
            rows: fit(height, HEIGHT),
            columns: fit(width.min(stride), WIDTH),
            stride,
            scale,
        }
    }

    /// The line of pixels at which a row of text begins.
    pub fn top(&self, row: usize) -> usize {
        row.saturating_mul(HEIGHT).saturating_mul(self.scale)
    }

    /// Draws one cell, a character and perhaps [`INVERSE`]. Outside the grid nothing is drawn.
    pub fn draw(&self, pixels: &mut [u32], font: &Font, row: usize, column: usize, cell: u8) {
        if row >= self.rows || column >= self.columns {
            return;
        }
        let (on, off) = match cell & INVERSE {
            0 => (LIGHT, DARK),
            _ => (DARK, LIGHT),
        };
        let width = WIDTH.saturating_mul(self.scale);
        let lines = pixels.chunks_mut(self.stride).skip(self.top(row));
        let bits = font.lines(cell & !INVERSE).iter();
        let bits = bits.flat_map(|bits| std::iter::repeat_n(*bits, self.scale));
        for (line, bits) in lines.zip(bits) {
            let line = line
                .iter_mut()
                .skip(column.saturating_mul(width))
                .take(width);
            for (at, pixel) in line.enumerate() {
                let dot = at.checked_div(self.scale).unwrap_or(0);
                let bit = INVERSE.checked_shr(dot as u32).unwrap_or(0);
                *pixel = if bits & bit != 0 { on } else { off };
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OUTSIDE: u32 = 0xdead_beef;

    /// Two characters: a frame around nothing for the blank, and only the lowest line of `!`.
    fn font() -> Font {
        let mut bytes = vec![0x81; HEIGHT];
        (bytes[0], bytes[HEIGHT - 1]) = (0xff, 0xff);
        bytes.extend([0; HEIGHT - 1]);
        bytes.push(0xf0);
        Font(bytes)
    }

    #[test]
    fn u08_a_cell_is_drawn_where_it_belongs_with_the_left_pixel_first() {
        let grid = Grid::new(17, 33, 20);
        assert_eq!((grid.rows, grid.columns), (2, 2));
        let mut pixels = vec![OUTSIDE; 20 * 33];
        grid.draw(&mut pixels, &font(), 1, 1, b'!');
        let line = |at: usize, pixels: &[u32]| pixels[at * 20..(at + 1) * 20].to_vec();
        let mut lowest = vec![OUTSIDE; 20];
        lowest[8..12].fill(LIGHT);
        lowest[12..16].fill(DARK);
        assert_eq!(line(31, &pixels), lowest);
        assert!(line(32, &pixels).iter().all(|it| *it == OUTSIDE));
        grid.draw(&mut pixels, &font(), 1, 1, b'!' | INVERSE);
        lowest[8..12].fill(DARK);
        lowest[12..16].fill(LIGHT);
        assert_eq!(line(31, &pixels), lowest);
    }

    #[test]
    fn u08_on_a_wide_display_each_pixel_of_a_character_is_four() {
        let grid = Grid::new(3840, 2160, 3840);
        assert_eq!((grid.rows, grid.columns, grid.top(1)), (67, 240, 32));
        let mut pixels = vec![OUTSIDE; 3840 * 32];
        grid.draw(&mut pixels, &font(), 0, 0, b'!');
        for line in [30, 31] {
            let line = &pixels[line * 3840..line * 3840 + 17];
            assert!(line[..8].iter().all(|it| *it == LIGHT), "{line:?}");
            assert!(line[8..16].iter().all(|it| *it == DARK), "{line:?}");
            assert_eq!(line[16], OUTSIDE);
        }
    }

    proptest! {
        #[test]
        fn a16_no_cell_is_drawn_outside_its_place(
            width in 0_usize..60, height in 0_usize..60, more in 0_usize..9,
            row in 0_usize..5, column in 0_usize..9, cell in any::<u8>(), short in 0_usize..40,
        ) {
            let stride = width + more + 1;
            let grid = Grid::new(width, height, stride);
            let mut pixels = vec![OUTSIDE; stride * height];
            grid.draw(&mut pixels, &Font(font().0[..32 - short.min(32)].to_vec()), row, column, cell);
            for (at, pixel) in pixels.iter().enumerate() {
                let (x, y) = (at % stride, at / stride);
                let inside = x / WIDTH == column && y / HEIGHT == row && column < grid.columns && row < grid.rows;
                prop_assert!(inside || *pixel == OUTSIDE, "{x},{y}");
            }
        }
    }
}
