#!/bin/bash
# Expected: what reads fonts in BDF reads one with a glyph that is not in Adobe's standard encoding: ENCODING is followed by -1 "and optionally by another
# integer specifying the glyph index for the non-standard encoding" (Adobe, Glyph Bitmap Distribution Format 2.1, 3.2).
# Happens: the second number makes the whole font an error to each of the Python packages Pillow, bdffont, bdflib and bdfparser: "-1 300" is no integer.
# To the crate bdf-reader the first one is as well. bdftopcf of X.Org reads the font, with that glyph at 300.
# Matters for: the fonts that bay0 draws with on a screen (docs/DESKTOP.md), if one is to be made of a BDF: such a glyph has to be taken out first.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download xfonts-utils=1:7.7+6 libxfont2 libfontenc1 libfreetype6 libpng16-16 libbrotli1 libbsd0 libmd0 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check pillow==13.0.0 bdffont==0.0.41 bdflib==2.1.0 bdfparser==2.2.0 >&2
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
bdf-reader = "=0.1.3"
TOML
cat > src/main.rs <<'RUST'
fn main() {
    let file = std::io::BufReader::new(std::fs::File::open(std::env::args().nth(1).unwrap()).unwrap());
    match bdf_reader::Font::read(file) {
        Ok(font) => println!("bdf-reader: {} glyphs", font.glyphs().into_iter().count()),
        Err(error) => println!("bdf-reader: {}", error.to_string().replace('\n', " ")),
    }
}
RUST
cargo build --quiet
cat > look.py <<'PY'
import sys

import bdffont
import bdflib.reader
import bdfparser
from PIL import BdfFontFile

path = sys.argv[1]
for name, count in {
    "Pillow": lambda: sum(it is not None for it in BdfFontFile.BdfFontFile(open(path, "rb")).glyph),
    "bdffont": lambda: len(bdffont.BdfFont.load(path).glyphs),
    "bdflib": lambda: len(bdflib.reader.read_bdf(open(path, "rb")).glyphs),
    "bdfparser": lambda: len(bdfparser.Font(path)),
}.items():
    try:
        print(f"{name}: {count()} glyphs")
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {error}")
PY
head='STARTFONT 2.1\nFONT -test-fixed-medium-r-normal--8-80-75-75-c-80-iso10646-1\nSIZE 8 75 75\nFONTBOUNDINGBOX 8 4 0 0
STARTPROPERTIES 2\nFONT_ASCENT 4\nFONT_DESCENT 0\nENDPROPERTIES\n'
glyph() { echo "STARTCHAR $1\nENCODING $2\nSWIDTH 500 0\nDWIDTH 8 0\nBBX 8 2 0 0\nBITMAP\n40\nE0\nENDCHAR\n"; }
printf '%b' "${head}CHARS 1\n$(glyph A 65)ENDFONT\n" >plain.bdf
printf '%b' "${head}CHARS 2\n$(glyph A 65)$(glyph extra -1)ENDFONT\n" >none.bdf
printf '%b' "${head}CHARS 2\n$(glyph A 65)$(glyph extra '-1 300')ENDFONT\n" >index.bdf
echo "Pillow 13.0.0, bdffont 0.0.41, bdflib 2.1.0, bdfparser 2.2.0, bdf-reader 0.1.3, bdftopcf of xfonts-utils 7.7"
for font in plain none index; do
    echo "$font:"
    status=0
    LD_LIBRARY_PATH=$(echo "$dir"/unpacked/usr/lib/*-gnu) unpacked/usr/bin/bdftopcf -o font.pcf "$font.bdf" 2>said || status=$?
    echo "bdftopcf: $status $(wc -c <font.pcf) bytes"
    env/bin/python look.py "$font.bdf" 2>/dev/null
    ./target/debug/finding "$font.bdf"
done | tee read
as_described=0
has() { [ "$(grep -c "$1" read)" = "$2" ] || as_described=1; }
has '^bdftopcf: 0 [0-9]* bytes$' 3
has '^Pillow: 1 glyphs$' 2
for reader in bdffont bdflib bdfparser; do
    has "^$reader: 1 glyphs$" 1
    has "^$reader: 2 glyphs$" 1
done
has "^[A-Za-z]*: [A-Za-z]*Error: .*'-1 300'$" 4
has '^bdf-reader: 1 glyphs$' 1
has '^bdf-reader: Syntax Error' 2
exit "$as_described"
