#!/bin/bash
# Expected: readers of the format QOI, one page long, give the same picture of the same file. Of the array of 64 colours it says that "each pixel that is seen by
# the encoder and decoder is put into this array" (qoi-specification), and the pixels of a run are seen; the reference, qoi.h, does it for them too.
# Happens: the crates qoi, rapid-qoi and image, and in Python Pillow and qoi, put nothing into the array for a run. Only one run can tell, the one at a picture's
# beginning, which is of opaque black without a pixel before it. Where a later black pixel is then written as one from the array, the reference has black
# and all of the others have a hole: black without any opacity. Nothing is said. The reference's own writer does not put a run into its array, so it
# never writes such a file; one that is written by the specification does.
# Matters for: pictures of a screen that a room or a test keeps (docs/DESKTOP.md), which often begin with black: a writer of one's own must not use that place.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download qoi=0+git20220615+ds-3 2>/dev/null >&2
dpkg -x ./qoi*.deb unpacked
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check qoi==0.8.0 pillow==13.0.0 numpy==2.4.6 >&2
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
image = { version = "=0.25.10", default-features = false, features = ["qoi"] }
qoi = "=0.4.1"
rapid-qoi = "=0.6.3"
TOML
cat > src/main.rs <<'RUST'
fn main() {
    let file = std::fs::read(std::env::args().nth(1).unwrap()).unwrap();
    let image = image::load_from_memory_with_format(&file, image::ImageFormat::Qoi).unwrap().into_rgba8().into_raw();
    let readers = [
        ("crate qoi", qoi::decode_to_vec(&file).unwrap().1),
        ("crate rapid-qoi", rapid_qoi::Qoi::decode_alloc(&file).unwrap().1),
        ("crate image", image),
    ];
    for (name, pixels) in readers {
        println!("    {name}: {}", pixels.chunks(4).map(|it| format!("{it:?}")).collect::<Vec<_>>().join(" "));
    }
}
RUST
cargo build --quiet
cat > look.py <<'PY'
import io
import sys

import qoi
from PIL import Image

raw = open(sys.argv[1], "rb").read()
read = {"Pillow": Image.open(io.BytesIO(raw)).tobytes(), "Python's qoi": qoi.decode(raw).tobytes()}
read["reference"] = Image.open(sys.argv[2]).convert("RGBA").tobytes()
for name, pixels in read.items():
    print(f"    {name}:", *(list(pixels[at : at + 4]) for at in range(0, len(pixels), 4)))
PY
cat > write.py <<'PY'
import struct

head, end = b"qoif" + struct.pack(">IIBB", 4, 1, 4, 0), bytes(7) + b"\1"
# Black twice, a grey, black out of the array: (0*3 + 0*5 + 0*7 + 255*11) % 64 is 53.
open("array.qoi", "wb").write(head + bytes([0xC1, 0xFE, 9, 9, 9, 53]) + end)
# The same picture as the reference writes it.
open("colour.qoi", "wb").write(head + bytes([0xC1, 0xFE, 9, 9, 9, 0xFE, 0, 0, 0]) + end)
PY
env/bin/python write.py
echo "reference 0+git20220615, crates qoi 0.4.1, rapid-qoi 0.6.3, image 0.25.10, Pillow 13.0.0, Python's qoi 0.8.0"
for file in colour array; do
    echo "black, black, grey, black; the last by $file"
    unpacked/usr/bin/qoiconv "$file.qoi" "$file.png"
    env/bin/python look.py "$file.qoi" "$file.png"
    ./target/debug/finding "$file.qoi"
done | tee read
as_described=0
has() { [ "$(grep -cF ": [0, 0, 0, 255] [0, 0, 0, 255] [9, 9, 9, 255] $1" read)" = "$2" ] || as_described=1; }
has '[0, 0, 0, 255]' 7
has '[0, 0, 0, 0]' 5
[ "$(grep -cF 'reference: [0, 0, 0, 255] [0, 0, 0, 255] [9, 9, 9, 255] [0, 0, 0, 255]' read)" = 2 ] || as_described=1
exit "$as_described"
