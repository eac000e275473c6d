#!/bin/bash
# Expected: a crate that reads the kernel's console fonts (PSF) draws for a character what the font's own table says: glyphs lie in any order, and
# the table behind them names the characters of each (kbd's psf.h).
# Happens: the crate psf knows no table and takes the character's number for the glyph's: it draws another letter where there is a glyph of that
# number, without a word. psf-rs begins to read the table 32 bytes early, in the last glyph: where that has a byte of eight set pixels, each
# character beyond ASCII is drawn as a later glyph, which is so in 40 of the 221 fonts of this form in Debian. psf2 is right each time.
# Matters for: the arbiter (A04 in docs/CONSTITUTION.md), which is to draw its prompt on the screen and needs a font that it reads or carries.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download console-setup-linux=1.221 kbd=2.5.1-1+b1 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
mkdir src
cat > Cargo.toml <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
psf = "=0.2.0"
psf-rs = "=2.2.0"
psf2 = "=0.4.0"
END
cat > src/main.rs <<'END'
use std::collections::BTreeMap;

type Picture = Vec<Vec<bool>>;

/// What psfgettable says: `0x0e9` TAB `U+00e9 U+1ebd`. A sequence of characters has commas and is left out.
fn table(path: &str) -> BTreeMap<char, usize> {
    let mut table = BTreeMap::new();
    for line in std::fs::read_to_string(path).unwrap().lines().filter(|line| line.starts_with("0x")) {
        let (glyph, characters) = line.split_once('\t').unwrap();
        let glyph = usize::from_str_radix(&glyph[2..], 16).unwrap();
        for name in characters.split_whitespace().filter(|name| !name.contains(',')) {
            let character = u32::from_str_radix(name.trim_start_matches("U+"), 16).unwrap();
            table.entry(char::from_u32(character).unwrap()).or_insert(glyph);
        }
    }
    table
}

fn main() {
    let path = std::env::args().nth(1).unwrap();
    let table = table(&std::env::args().nth(2).unwrap());
    let font = std::fs::read(&path).unwrap();
    // struct psf2_header: magic, version, headersize, flags, length, charsize, height, width.
    let [start, count, size, height, width] =
        [2, 4, 5, 6, 7].map(|at| u32::from_le_bytes(font[at * 4..at * 4 + 4].try_into().unwrap()) as usize);
    let row = width.div_ceil(8);
    let glyph = |number: usize| -> Picture {
        let bytes = &font[start + number * size..][..size];
        let pixel = |x: usize, y: usize| bytes[y * row + x / 8] >> (7 - x % 8) & 1 == 1;
        (0..height).map(|y| (0..width).map(|x| pixel(x, y)).collect()).collect()
    };
    let psf = psf::Font::new(&path).unwrap();
    let psf_rs = psf_rs::Font::load(&font);
    let psf2 = psf2::Font::new(font.as_slice()).unwrap();
    let by_psf = |c: char| -> Option<Picture> {
        let drawn = psf.get_char(c).filter(|_| (c as usize) < count)?;
        Some((0..height).map(|y| (0..width).map(|x| drawn.get(x, y).unwrap()).collect()).collect())
    };
    let by_psf_rs = |c: char| -> Option<Picture> {
        let mut drawn = vec![vec![false; width]; height];
        psf_rs.display_glyph(c as u32, |bit, x, y| {
            if usize::from(x) < width {
                drawn[usize::from(y)][usize::from(x)] = bit == 1;
            }
        });
        Some(drawn)
    };
    let by_psf2 = |c: char| -> Option<Picture> { Some(psf2.get_unicode(c)?.map(Iterator::collect).collect()) };
    let crates: [(&str, &dyn Fn(char) -> Option<Picture>); 3] =
        [("psf", &by_psf), ("psf-rs", &by_psf_rs), ("psf2", &by_psf2)];
    for (name, draw) in crates {
        let others = table.iter().filter(|(c, at)| draw(**c).is_some_and(|drawn| drawn != glyph(**at))).count();
        let nothing = table.keys().filter(|c| draw(**c).is_none()).count();
        let sample = draw('é').and_then(|drawn| table.iter().find(|(_, at)| glyph(**at) == drawn));
        let sample = sample.map_or("nothing".into(), |it| format!("{:?}", it.0));
        println!("{name}: of {} characters {others} as others, {nothing} not at all; 'é' as {sample}", table.len());
    }
}
END
cargo build --quiet
echo "psf 0.2.0; psf-rs 2.2.0; psf2 0.4.0; console-setup-linux 1.221"
as_described=0
for font in Uni2-Terminus20x10 Uni2-Terminus24x12; do
    zcat "unpacked/usr/share/consolefonts/$font.psf.gz" >font.psf
    unpacked/usr/bin/psfgettable font.psf >table
    ./target/debug/finding font.psf table >drawn
    echo "$font:"
    cat drawn
    grep -q "^psf: .* [1-9][0-9]* as others.*'é' as '[^é]'" drawn || as_described=1
    grep -q "^psf2: .* 0 as others, 0 not at all; 'é' as 'é'" drawn || as_described=1
    case $font in
        *20x10) grep -q "^psf-rs: .* [1-9][0-9]* as others.*'é' as '[^é]'" drawn || as_described=1 ;;
        *) grep -q "^psf-rs: .* 0 as others.*'é' as 'é'" drawn || as_described=1 ;;
    esac
done
exit "$as_described"
