#!/bin/bash
# Expected: the crate float8, "eight bit floating point types", has the values of OFP8 (OCP 8-bit Floating Point Specification 1.0): E4M3 has no
# infinity, and its largest number is 448 (7e); E5M2 has one (7c), and its largest number is 57344 (7b). What is too large for the type is infinite, as the
# crate says of from_f32 itself, and classify() tells zero and NaN apart from the rest.
# Happens: INFINITY is the largest number of either type, and is_infinite() true for it: 448 and 57344 are infinite, MAX is 416 and 49152, and the
# infinity of E5M2 is finite. from_f32 makes of infinity 448 and 57344, and so of all that is too large. In E5M2 there are six patterns for NaN, of which
# is_nan() knows two, and 1 / 0 is no infinity. classify() has zero and NaN for subnormal. The values that come out of to_f32 are right, for all 512.
# Matters for: the AI organ (docs/CONSTITUTION.md): models come with weights in both types, scaled so that the largest is 448, and a reader that looks for
# what is not finite in them would find it in each.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check ml_dtypes==0.5.4 numpy==2.3.5 >&2
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
float8 = "=0.7.0"
TOML
cat > src/main.rs <<'RUST'
use float8::{F8E4M3, F8E5M2};

macro_rules! tell {
    ($name:ident) => {{
        let of = |bits| $name::from_bits(bits);
        let bits = |fits: &dyn Fn($name) -> bool| {
            let fit: Vec<_> = (0..=255).filter(|it| fits(of(*it))).map(|it| format!("{it:02x}")).collect();
            fit.join(" ")
        };
        let name = stringify!($name);
        println!("{name} infinite: {}", bits(&|it| it.is_infinite()));
        println!("{name} NaN: {}", bits(&|it| it.is_nan()));
        println!("{name} NaN by to_f32: {}", bits(&|it| it.to_f32().is_nan()));
        println!("{name} 7c: {} finite: {}", of(0x7c).to_f32(), of(0x7c).is_finite());
        println!("{name} largest: {} {}", $name::MAX.to_f32(), $name::INFINITY.to_f32());
        println!("{name} of infinity, of a million: {:02x} {:02x}", $name::from_f32(f32::INFINITY).to_bits(), $name::from_f32(1e6).to_bits());
        println!("{name} 1 / 0: {:02x}", ($name::ONE / $name::ZERO).to_bits());
        println!("{name} zero and NaN: {:?} {:?}", $name::ZERO.classify(), $name::NAN.classify());
        let values: Vec<_> = (0..=255).map(|it| of(it).to_f32()).map(|it| if it.is_nan() { "nan".into() } else { it.to_string() }).collect();
        std::fs::write(name, values.join("\n")).unwrap();
    }};
}

fn main() {
    tell!(F8E4M3);
    tell!(F8E5M2);
}
RUST
cargo build --quiet
cat > compare.py <<'PY'
import ml_dtypes
import numpy

for name, kind in ("F8E4M3", ml_dtypes.float8_e4m3fn), ("F8E5M2", ml_dtypes.float8_e5m2):
    values = numpy.arange(256, dtype=numpy.uint8).view(kind).astype(numpy.float32)
    listed = lambda fit: " ".join(f"{it:02x}" for it in numpy.nonzero(fit)[0])
    print(f"ml_dtypes {name} infinite: {listed(numpy.isinf(values))}")
    print(f"ml_dtypes {name} NaN: {listed(numpy.isnan(values))}")
    print(f"ml_dtypes {name} largest: {ml_dtypes.finfo(kind).max}")
    read = numpy.array([float(it) for it in open(name).read().split()], dtype=numpy.float32)
    print(f"{name} as in ml_dtypes: {numpy.array_equal(read, values, equal_nan=True)}")
PY
echo "float8 0.7.0, ml_dtypes 0.5.4"
{
    ./target/debug/finding
    env/bin/python compare.py
} | sed 's/ *$//' | tee read
cat > expected <<'END'
F8E4M3 infinite: 7e fe
F8E4M3 NaN: 7f ff
F8E4M3 NaN by to_f32: 7f ff
F8E4M3 7c: 384 finite: true
F8E4M3 largest: 416 448
F8E4M3 of infinity, of a million: 7e 7e
F8E4M3 1 / 0: 7e
F8E4M3 zero and NaN: Subnormal Subnormal
F8E5M2 infinite: 7b fb
F8E5M2 NaN: 7e fe
F8E5M2 NaN by to_f32: 7d 7e 7f fd fe ff
F8E5M2 7c: inf finite: true
F8E5M2 largest: 49152 57344
F8E5M2 of infinity, of a million: 7b 7b
F8E5M2 1 / 0: 7b
F8E5M2 zero and NaN: Subnormal Subnormal
ml_dtypes F8E4M3 infinite:
ml_dtypes F8E4M3 NaN: 7f ff
ml_dtypes F8E4M3 largest: 448
F8E4M3 as in ml_dtypes: True
ml_dtypes F8E5M2 infinite: 7c fc
ml_dtypes F8E5M2 NaN: 7d 7e 7f fd fe ff
ml_dtypes F8E5M2 largest: 57344
F8E5M2 as in ml_dtypes: True
END
cmp expected read
