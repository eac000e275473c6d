#!/bin/bash
# Expected: a crate that turns a camera's pictures into others keeps the colors. In YUV 4:2:0 each pixel has its own brightness, and two by two of them share
# the rest (Linux, Userspace API, "Planar YUV formats"): YU12 has a plane of Cb with a quarter of the pixels behind the brightness and then one of Cr
# of the same length; NV12 has one of Cb and Cr by turns.
# Happens: rgb2yuv420, a "simple RGB to YUV420 converter", begins Cr in the middle of Cb, and each writes over the other: of a picture of 8 by 4, red above and
# blue below, the one half of Cr is lost, the other stands where the first belongs, and the end is zero: red comes out as green, 48 107 1. A picture of 2 by
# 2, its own test, is right, and NV12 is. yuvimg gives as a pixel's brightness that of the first of its four, so every other line and column is missing,
# and to_luma() is how red a pixel is: blue is black. The crate yuv has all of it right.
# Matters for: cameras (T05 in docs/CONSTITUTION.md, docs/ROADMAP.md), whose pictures come in such forms: black and white would pass a first look.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
image = { version = "=0.24.9", default-features = false }
rgb2yuv420 = "=0.2.3"
yuv = "=0.8.20"
yuvimg = "=0.1.1"
TOML
cat > src/main.rs <<'RUST'
use image::{GenericImageView, Pixel};
use yuv::{YuvBiPlanarImage, YuvChromaSubsampling, YuvConversionMode, YuvPlanarImage, YuvPlanarImageMut, YuvRange, YuvStandardMatrix};

const MATRIX: YuvStandardMatrix = YuvStandardMatrix::Bt601;
const RED: [u8; 3] = [255, 0, 0];
const BLUE: [u8; 3] = [0, 0, 255];

/// The first and the last pixel of a picture of YU12 of 8 by 4.
fn ends(bytes: &[u8]) -> String {
    let planes = YuvPlanarImage {
        y_plane: &bytes[..32],
        y_stride: 8,
        u_plane: &bytes[32..40],
        u_stride: 4,
        v_plane: &bytes[40..],
        v_stride: 4,
        width: 8,
        height: 4,
    };
    let mut colors = [0; 96];
    yuv::yuv420_to_rgb(&planes, &mut colors, 24, YuvRange::Full, MATRIX).unwrap();
    format!("{:?} {:?}", &colors[..3], &colors[93..])
}

fn main() {
    let colors: Vec<u8> = [[RED; 16], [BLUE; 16]].concat().concat();
    let bytes = rgb2yuv420::convert_rgb_to_yuv420p(&colors, 8, 4, 3);
    println!("YU12 by rgb2yuv420: Cb and Cr {:?}, is {}", &bytes[32..], ends(&bytes));
    let mut made = YuvPlanarImageMut::alloc(8, 4, YuvChromaSubsampling::Yuv420);
    yuv::rgb_to_yuv420(&mut made, &colors, 24, YuvRange::Full, MATRIX, YuvConversionMode::Balanced).unwrap();
    let bytes = [made.y_plane.borrow(), made.u_plane.borrow(), made.v_plane.borrow()].concat();
    println!("YU12 by yuv: Cb and Cr {:?}, is {}", &bytes[32..], ends(&bytes));
    println!("NV12 by rgb2yuv420: Cb and Cr {:?}", &rgb2yuv420::convert_rgb_to_yuv420sp_nv12(&colors, 8, 4, 3)[32..]);

    // NV12 of 4 by 2: a grey that rises from pixel to pixel, and one of blue alone.
    let rising = [10, 20, 30, 40, 50, 60, 70, 80, 128, 128, 128, 128];
    let blue = [29, 29, 29, 29, 29, 29, 29, 29, 255, 107, 255, 107];
    for (name, bytes) in [("rising", rising), ("blue", blue)] {
        let picture = yuvimg::NV12Image::from(bytes, 4, 2);
        let pixels: Vec<_> = picture.pixels().map(|(_, _, pixel)| pixel).collect();
        println!("{name} by yuvimg: {:?}", pixels.iter().map(|it| it.to_rgb().0[2]).collect::<Vec<_>>());
        println!("{name} by yuvimg: luma of the last {}", pixels[7].to_luma().0[0]);
        let planes = YuvBiPlanarImage { y_plane: &bytes[..8], y_stride: 4, uv_plane: &bytes[8..], uv_stride: 4, width: 4, height: 2 };
        let mut colors = [0; 24];
        yuv::yuv_nv12_to_rgb(&planes, &mut colors, 12, YuvRange::Full, MATRIX, YuvConversionMode::Balanced).unwrap();
        println!("{name} by yuv: {:?}", colors.chunks(3).map(|it| it[2]).collect::<Vec<_>>());
    }
}
RUST
cargo build --quiet
echo "rgb2yuv420 0.2.3, yuvimg 0.1.1, yuv 0.8.20"
./target/debug/finding | tee read
cat > expected <<'END'
YU12 by rgb2yuv420: Cb and Cr [85, 85, 85, 85, 255, 255, 255, 255, 107, 107, 107, 107, 0, 0, 0, 0], is [48, 107, 1] [0, 76, 254]
YU12 by yuv: Cb and Cr [85, 85, 85, 85, 255, 255, 255, 255, 255, 255, 255, 255, 107, 107, 107, 107], is [254, 0, 0] [0, 0, 254]
NV12 by rgb2yuv420: Cb and Cr [85, 255, 85, 255, 85, 255, 85, 255, 255, 107, 255, 107, 255, 107, 255, 107]
rising by yuvimg: [10, 10, 30, 30, 10, 10, 30, 30]
rising by yuvimg: luma of the last 30
rising by yuv: [10, 20, 30, 40, 50, 60, 70, 80]
blue by yuvimg: [253, 253, 253, 253, 253, 253, 253, 253]
blue by yuvimg: luma of the last 0
blue by yuv: [254, 254, 254, 254, 254, 254, 254, 254]
END
cmp expected read
