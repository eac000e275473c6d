#!/bin/bash
# Expected: a crate that reads what a screen says of itself (VESA E-EDID) reads it for any resolution: a width is 12 bits, of which the lower
# eight stand in one byte and the upper four in another.
# Happens: the crate edid-rs takes a lower byte of zero for "no timing here". A screen of 1280, 2560 or 3840 pixels in a line, which are
# multiples of 256, is an error, "Expected detailed timing block"; 1366, 1920 and 3440 are read. The maker's three letters come out as
# control characters that are not theirs either, since their two bytes are taken in the wrong order. The crate edid reads both rightly.
# Matters for: the arbiter (A04 in docs/CONSTITUTION.md), which is to draw its prompt on the screen, in the resolution that it names first.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download edid-decode=0.1~git20220315.cb74358c2896-1 2>/dev/null >&2
dpkg -x ./edid-decode*.deb unpacked
mkdir src
cat > Cargo.toml <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
edid = "=0.3.0"
edid-rs = "=0.1.0"
END
cat > src/main.rs <<'END'
use std::io::Cursor;

use edid::Descriptor::DetailedTiming;

fn main() {
    let path = std::env::args().nth(1).unwrap();
    let bytes = std::fs::read(path).unwrap();
    let (_, screen) = edid::parse(&bytes).unwrap();
    let widths = screen.descriptors.iter().filter_map(|it| match it {
        DetailedTiming(timing) => Some((timing.horizontal_active_pixels, timing.vertical_active_lines)),
        _ => None,
    });
    println!("edid: {:?} of {}", widths.collect::<Vec<_>>(), screen.header.vendor.iter().collect::<String>());
    match edid_rs::parse(&mut Cursor::new(bytes)) {
        Ok(screen) => {
            let sizes: Vec<_> = screen.timings.detailed_timings.iter().map(|it| it.active).collect();
            let maker = screen.product.manufacturer_id;
            println!("edid-rs: {sizes:?} of {:?}", String::from_iter([maker.0, maker.1, maker.2]));
        }
        Err(error) => println!("edid-rs: {error}"),
    }
}
END
cargo build --quiet 2>/dev/null
cat > screen.py <<'END'
import struct
import sys

width, height = int(sys.argv[1]), int(sys.argv[2])
maker = sum(ord(letter) - 64 << shift for letter, shift in zip("DEL", (10, 5, 0)))
# Blanking as of CVT with reduced blanking; 60 pictures in a second where the pixel clock has room for that.
across, down = width + 160, height + 40
clock = min(across * down * 60 // 10000, 65535)
timing = struct.pack("<HBBBBBB", clock, width & 255, 160, width >> 8 << 4, height & 255, 40, height >> 8 << 4)
timing += bytes([48, 32, 3 << 4 | 5, 0, 600 & 255, 340 & 255, 600 >> 8 << 4 | 340 >> 8, 0, 0, 0x1A])
name = b"\0\0\0\xfc\0" + b"SCREEN\n".ljust(13)
limits = b"\0\0\0\xfd\0" + bytes([48, 75, 30, 255, 60, 0]) + b"\n".ljust(7)
serial = b"\0\0\0\xff\0" + b"0123456789AB\n"
edid = b"\0" + b"\xff" * 6 + b"\0" + struct.pack(">H", maker) + struct.pack("<HI", 0x1234, 1) + bytes([10, 30, 1, 3])
edid += bytes([0x80, 60, 34, 120, 0x0A]) + bytes.fromhex("ee91a3544c99260f5054") + bytes(3) + b"\x01" * 16
edid += timing + limits + name + serial + b"\0"
sys.stdout.buffer.write(edid + bytes([-sum(edid) % 256]))
END
echo "edid-rs 0.1.0; edid 0.3.0; edid-decode 0.1~git20220315"
as_described=0
for size in 1280x1024 1366x768 1920x1080 2560x1440 3440x1440 3840x2160; do
    width=${size%x*}
    python3 screen.py "$width" "${size#*x}" >screen
    unpacked/usr/bin/edid-decode screen >decoded || true
    ./target/debug/finding screen >read
    echo "edid-decode: $(grep -o 'DTD 1: *[0-9x]*' decoded) of $(grep -o 'Manufacturer: .*' decoded)"
    cat read
    grep -q "DTD 1: *$size" decoded && grep -q 'Manufacturer: DEL' decoded || as_described=1
    grep -q "^edid: \[($width, ${size#*x})\] of DEL" read || as_described=1
    if [ $((width % 256)) = 0 ]; then
        grep -q '^edid-rs: Expected detailed timing block' read || as_described=1
    else
        grep -q "^edid-rs: \[($width, ${size#*x})\]" read && ! grep -q '^edid-rs: .*DEL' read || as_described=1
    fi
done
exit "$as_described"
