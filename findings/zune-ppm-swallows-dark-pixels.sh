#!/bin/bash
# Expected: the crate zune-ppm, which "understands the ppm specification", reads a picture as that has it (netpbm's ppm(5), pgm(5), pam(5)): behind the
# largest value, or ENDHDR and its line end, there is one blank or line end, and then come the samples; a sample tells a part of the largest value, which
# may be 15 or 1023 as well as 255; and a file may hold several pictures, one behind the other.
# Happens: it passes over all blanks and line ends there are, so samples of 9 to 13 and 32 at a picture's beginning, which are dark but nothing
# unusual, are taken for more of the header. Alone such a picture is an error, "Not enough bytes"; with another one behind it the samples are those
# from the second on, up to the `P` of the next picture: each red is a green, and nothing is said. The largest value is dropped: white of 15 comes out
# as 15 of 255, and 1023 as 1023 of 65535, and there is no call that tells it. The crate image and netpbm's own tools have all of them right.
# Relies on it: xtask/scenarios/src/vm/screen.rs, which reads QEMU's pictures of the screen itself.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download netpbm=2:11.01.00-2 libnetpbm11=2:11.01.00-2 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
image = { version = "=0.25.10", default-features = false, features = ["pnm"] }
zune-core = "=0.5.1"
zune-ppm = "=0.5.1"
TOML
cat > src/main.rs <<'RUST'
use image::{codecs::pnm::PnmDecoder, DynamicImage};
use zune_core::{bytestream::ZCursor, result::DecodingResult};
use zune_ppm::PPMDecoder;

fn shown<T: ToString>(samples: &[T]) -> String {
    samples.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}

fn main() {
    let file = std::fs::read(std::env::args().nth(2).unwrap()).unwrap();
    let text = if std::env::args().nth(1).unwrap() == "zune-ppm" {
        match PPMDecoder::new(ZCursor::new(file)).decode() {
            Ok(DecodingResult::U8(samples)) => shown(&samples),
            Ok(DecodingResult::U16(samples)) => shown(&samples),
            Ok(_) => "other samples".into(),
            Err(error) => format!("{error:?}").trim().into(),
        }
    } else {
        match DynamicImage::from_decoder(PnmDecoder::new(std::io::Cursor::new(file)).unwrap()).unwrap() {
            DynamicImage::ImageLuma16(samples) => shown(&samples),
            samples => shown(samples.as_bytes()),
        }
    };
    println!("{text}");
}
RUST
cargo build --quiet
export LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu:$dir/unpacked/usr/lib
# The first picture as netpbm has it, with the largest value that the crates' kind of sample has.
netpbm() {
    "$dir/unpacked/usr/bin/pamdepth" "$2" "$1" 2>/dev/null | "$dir/unpacked/usr/bin/pamtopnm" -plain | tail -n +4 | xargs | sed 's, P[23] .*,,'
}
echo "zune-ppm 0.5.1, image 0.25.10, netpbm 11.01.00"
as_described=0
# A picture, the largest value to tell it with, its samples, and what they are to zune-ppm.
check() {
    printf '%b' "$1" >picture
    found=("$(netpbm picture "$2")" "$(./target/debug/finding image picture)" "$(./target/debug/finding zune-ppm picture)")
    printf '%s\n' "$1"
    printf '    %s\n' "netpbm: ${found[0]}" "image: ${found[1]}" "zune-ppm: ${found[2]}"
    [ "${found[0]}" = "$3" ] && [ "${found[1]}" = "$3" ] && [ "${found[2]}" = "$4" ] || as_described=1
}
check 'P6\n2 1\n255\n\x28\x14\x1e\x28\x32\x3c' 255 '40 20 30 40 50 60' '40 20 30 40 50 60'
check 'P6\n2 1\n255\n\x0a\x14\x1e\x28\x32\x3c' 255 '10 20 30 40 50 60' 'Not enough bytes, expected 6 but found 5'
check 'P6\n2 1\n255\n\x0a\x14\x1e\x28\x32\x3cP6\n1 1\n255\n\x28\x14\x1e' 255 '10 20 30 40 50 60' '20 30 40 50 60 80'
check 'P5\n3 1\n255\n\x20\x20\x28P5\n1 1\n255\n\x28' 255 '32 32 40' '40 80 53'
check 'P7\nWIDTH 1\nHEIGHT 1\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n\x0c\x14\x1e' 255 '12 20 30' 'Not enough bytes, expected 3 but found 2'
check 'P5\n4 1\n15\n\x00\x05\x0a\x0f' 255 '0 85 170 255' '0 5 10 15'
check 'P5\n2 1\n1023\n\x00\x00\x03\xff' 65535 '0 65535' '0 1023'
exit "$as_described"
