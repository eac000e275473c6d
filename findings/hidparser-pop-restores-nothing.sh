#!/bin/bash
# Expected: the crate hidparser, "for parsing HID report descriptors", gives the fields of a report as a descriptor has them. Pop puts all of the global items,
# such as usage page, size, count and the bounds, back to what they were at the last Push (HID 1.11, 6.2.2.7).
# Happens: Pop takes the copy off and leaves the items as they were changed in between. The axes behind a Pop are controls of the page that was chosen between
# Push and Pop, with its size and count: of two of 12 bits there is one of eight, so all that follows in the report is read from other bits. Nothing tells
# it: the list of reports with errors is empty. The crate hidreport, and without Push and Pop hidparser itself, read the same axes rightly.
# Matters for: bay0 leaves HID to the kernel and takes keys from evdev (docs/DESKTOP.md); a system of one's own that drives USB itself would need such a crate.
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
hidparser = "=1.0.4"
hidreport = "=0.6.0"
TOML
cat > src/main.rs <<'RUST'
use hidreport::{Field, Report, ReportDescriptor};

/// A joystick: axes of 12 bits, a volume wheel (consumer page), two more axes. `wheel` is what stands around the wheel.
fn descriptor(before: &[u8], behind: &[u8]) -> Vec<u8> {
    let begin = [5, 1, 9, 4, 0xa1, 1].as_slice();
    let axes = [5, 1, 0x16, 1, 0xf8, 0x26, 0xff, 7, 0x75, 12, 0x95, 2].as_slice();
    let first = [9, 0x30, 9, 0x31, 0x81, 2].as_slice();
    let wheel = [5, 12, 0x15, 0x81, 0x25, 0x7f, 0x75, 8, 0x95, 1, 9, 0xe0, 0x81, 6].as_slice();
    let last = [9, 0x33, 9, 0x34, 0x81, 2].as_slice();
    // Without Push and Pop the axes' items are written down again.
    let again = if behind.is_empty() { axes } else { behind };
    [begin, axes, first, before, wheel, again, last, &[0xc0]].concat()
}

fn main() {
    for (name, bytes) in [("written again", descriptor(&[], &[])), ("Push and Pop", descriptor(&[0xa4], &[0xb4]))] {
        println!("{name}");
        let read = hidparser::parse_report_descriptor(&bytes).unwrap();
        assert!(read.bad_input_reports.is_empty());
        let fields = read.input_reports[0].fields.iter().filter_map(|field| match field {
            hidparser::ReportField::Variable(it) => {
                let (from, to) = (i32::from(it.logical_minimum), i32::from(it.logical_maximum));
                Some(format!("{:x}/{:x} {:?} {from}..{to}", it.usage.page(), it.usage.id(), it.bits))
            }
            _ => None,
        });
        println!("    hidparser: {}", fields.collect::<Vec<_>>().join(", "));
        let read = ReportDescriptor::try_from(bytes.as_slice()).unwrap();
        let fields = read.input_reports()[0].fields().iter().filter_map(|field| match field {
            Field::Variable(it) => {
                let (page, id) = (u16::from(it.usage.usage_page), u16::from(it.usage.usage_id));
                let (from, to) = (i32::from(it.logical_minimum), i32::from(it.logical_maximum));
                Some(format!("{page:x}/{id:x} {:?} {from}..{to}", it.bits))
            }
            _ => None,
        });
        println!("    hidreport: {}", fields.collect::<Vec<_>>().join(", "));
    }
}
RUST
cargo build --quiet
echo "hidparser 1.0.4, hidreport 0.6.0"
./target/debug/finding | tee read
as_described=0
has() { [ "$(grep -cxF "    $1" read)" = "$2" ] || as_described=1; }
axes='1/30 0..12 -2047..2047, 1/31 12..24 -2047..2047, c/e0 24..32 -127..127'
has "hidreport: $axes, 1/33 32..44 -2047..2047, 1/34 44..56 -2047..2047" 2
has "hidparser: $axes, 1/33 32..44 -2047..2047, 1/34 44..56 -2047..2047" 1
has "hidparser: $axes, c/33 32..40 -127..127" 1
exit "$as_described"
