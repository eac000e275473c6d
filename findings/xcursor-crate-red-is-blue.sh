#!/bin/bash
# Expected: the crate xcursor reads a theme of pointers as libXcursor does: pixels are "packed ARGB" numbers of 32 bits, the lowest byte first (Xcursor(3)), and
# the crate gives them as `pixels_rgba`, "in RGBA format", and `pixels_argb`, "in ARGB format"; a theme inherits from all that its index names
# (`Inherits`: "a list", Icon Theme Specification), so a pointer that it lacks is that of the first of those that has it.
# Happens: the bytes of the file are given out as RGBA: red is blue, and the other way round. They are blue, green, red, opacity, which only the words "or, in
# the order of the file" leave open; `pixels_argb` is made of those and is neither, its order is opacity, blue, green, red. Of a list the first
# theme alone is looked at. Grey and white pointers look right. libXcursor has both right.
# Matters for: the desktop (A14 in docs/CONSTITUTION.md): a compositor in Rust takes its pointers from such a crate.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
packages=(libxcursor1=1:1.2.1-1 libxrender1 libxfixes3 libx11-6 libxcb1 libxau6 libxdmcp6 libbsd0 libmd0)
apt-get -q download "${packages[@]}" 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
xcursor = "=0.3.11"
TOML
cat > src/main.rs <<'RUST'
use xcursor::{parser::parse_xcursor, CursorTheme};

fn main() {
    let theme = CursorTheme::load("Child");
    for name in ["red", "of-first", "of-second"] {
        let Some(path) = theme.load_icon(name) else {
            println!("crate: {name}: nothing");
            continue;
        };
        let image = parse_xcursor(&std::fs::read(path).unwrap()).unwrap().remove(0);
        let [red, green, blue, opacity] = image.pixels_rgba[..4] else { unreachable!() };
        println!("crate: {name}: as RGBA red {red} green {green} blue {blue} opacity {opacity}");
        let [opacity, red, green, blue] = image.pixels_argb[..4] else { unreachable!() };
        println!("crate: {name}: as ARGB red {red} green {green} blue {blue} opacity {opacity}");
    }
}
RUST
cargo build --quiet
cat > theirs.py <<'PY'
import ctypes


class Image(ctypes.Structure):
    _fields_ = [(it, ctypes.c_uint32) for it in ("version", "size", "width", "height", "xhot", "yhot", "delay")]
    _fields_ += [("pixels", ctypes.POINTER(ctypes.c_uint32))]


library = ctypes.CDLL("libXcursor.so.1")
library.XcursorLibraryLoadImage.restype = ctypes.POINTER(Image)
for name in ("red", "of-first", "of-second"):
    image = library.XcursorLibraryLoadImage(name.encode(), b"Child", 1)
    if not image:
        print(f"libXcursor: {name}: nothing")
        continue
    pixel = image.contents.pixels[0]
    print(f"libXcursor: {name}: red {pixel >> 16 & 255} green {pixel >> 8 & 255} blue {pixel & 255} opacity {pixel >> 24}")
PY
cat > draw.py <<'PY'
import pathlib
import struct
import sys

# A file of one picture of one pixel: header, its table of contents, the picture's header, the pixel.
for path, pixel in (("Child/cursors/red", 0xFFFF0000), ("First/cursors/of-first", 0xFF808080), ("Second/cursors/of-second", 0xFF808080)):
    raw = struct.pack("<4sIII", b"Xcur", 16, 0x10000, 1) + struct.pack("<III", 0xFFFD0002, 1, 28)
    raw += struct.pack("<IIIIIIIIII", 36, 0xFFFD0002, 1, 1, 1, 1, 0, 0, 0, pixel)
    file = pathlib.Path("icons") / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(raw)
PY
python3 draw.py
printf '[Icon Theme]\nName=Child\nInherits=First,Second\n' >icons/Child/index.theme
export XCURSOR_PATH=$dir/icons
echo "xcursor 0.3.11; $(dpkg-deb -f ./libxcursor1*.deb Package Version | xargs)"
{
    LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu:$dir/unpacked/lib/x86_64-linux-gnu python3 theirs.py
    ./target/debug/finding
} | tee read
as_described=0
has() { grep -qxF "$1" read || as_described=1; }
has 'libXcursor: red: red 255 green 0 blue 0 opacity 255'
has 'libXcursor: of-second: red 128 green 128 blue 128 opacity 255'
has 'crate: red: as RGBA red 0 green 0 blue 255 opacity 255'
has 'crate: red: as ARGB red 0 green 0 blue 255 opacity 255'
has 'crate: of-first: as RGBA red 128 green 128 blue 128 opacity 255'
has 'crate: of-second: nothing'
exit "$as_described"
