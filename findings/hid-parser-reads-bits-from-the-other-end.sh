#!/bin/bash
# Expected: the Python package hid-parser tells of a report of a mouse or a keyboard which keys are down and how far it was moved. The first field of a report
# begins at bit 0 of its first byte, so the first button is 1 (HID 1.11, 5.6, 8.4 and appendix B); a field whose logical minimum is negative is of two's
# complement (5.8); where there are more fields than usages the last usage goes on (6.2.2.8).
# Happens: fields are counted from the upper end of a byte. The left button, 1, is no button at all, and 128, which is padding, is the left one; the left Shift
# key is the right Alt key. One step to the left is 255 steps to the right. Of six fields with one usage five are not there, so what stands behind them
# is read too early; so is what stands behind an array, which counts as one field. No error; only of the six fields a warning says that they ought to have
# six usages. The example in the package's own description is read so, too. The Python package hid-tools has all of them right.
# Matters for: a test that looks at what a USB keyboard sends. bay0 leaves HID to the kernel and takes keys from evdev (docs/DESKTOP.md).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check hid-parser==0.1.0 hid-tools==0.12 >&2
cat > report.py <<'PY'
import warnings

import hid_parser
from hidtools.hid import ReportDescriptor

warnings.simplefilter("ignore")
# Each as in appendix B and E of HID 1.11: three buttons, padding, X and Y; eight keys of one bit, padding, six keys as numbers.
MOUSE = "05010902a1010901a100 05091901290315002501950375018102 950175058103 05010930093115 81257f750895028106 c0c0"
KEYS = "05010906a101 050719e029e71500250175019508 8102 950175088101 95067508150025650507190029658100 c0"
# Six sliders with one usage for all of them, then a wheel.
SIX = "05010904a101 150026ff00 75089506 0936 8102 9501 0938 8102 c0"
# Two keys as numbers, then a wheel.
BEHIND = "05010906a101 0507 19002965 15002565 75089502 8100 05010938 1581257f 9501 8106 c0"


def theirs(descriptor, report):
    found = hid_parser.ReportDescriptor(bytes.fromhex(descriptor)).parse_input_report(report)
    return {(usage.page, usage.usage): int(value) for usage, value in found.items() if int(value)}


def right(descriptor, report):
    (fields,) = ReportDescriptor.from_bytes(list(bytes.fromhex(descriptor))).input_reports.values()
    found = {}
    for field in fields:
        if field.is_const:
            continue
        values = field.get_values(list(report))
        if field.is_array:
            found.update({(field.usage_page >> 16, value): 1 for value in values if value})
        elif any(values):
            found[(field.usage_page >> 16, field.usage & 0xFFFF)] = max(values, key=abs)
    return found


def shown(found):
    return " ".join(f"{page:x}/{usage:x}={value}" for (page, usage), value in sorted(found.items())) or "nothing"


for name, descriptor, report in [
    ("left button", MOUSE, "010000"),
    ("padding", MOUSE, "800000"),
    ("one to the left, two down", MOUSE, "00ff02"),
    ("left Shift and a", KEYS, "0200040000000000"),
    ("six sliders at 0, the wheel at 9", SIX, "00000000000009"),
    ("the second slider at 9", SIX, "00090000000000"),
    ("two keys, one wheel step", BEHIND, "040001"),
]:
    report = bytes.fromhex(report)
    print(f"{name}: hid-tools {shown(right(descriptor, report))}; hid-parser {shown(theirs(descriptor, report))}")
PY
echo "hid-parser 0.1.0, hid-tools 0.12"
env/bin/python report.py | tee read
as_described=0
has() { grep -qxF "$1" read || as_described=1; }
has 'left button: hid-tools 9/1=1; hid-parser nothing'
has 'padding: hid-tools nothing; hid-parser 9/1=1'
has 'one to the left, two down: hid-tools 1/30=-1 1/31=2; hid-parser 1/30=255 1/31=2'
has 'left Shift and a: hid-tools 7/4=1 7/e1=1; hid-parser 7/4=1 7/e6=1'
has 'six sliders at 0, the wheel at 9: hid-tools 1/38=9; hid-parser nothing'
has 'the second slider at 9: hid-tools 1/36=9; hid-parser 1/38=9'
has 'two keys, one wheel step: hid-tools 1/38=1 7/4=1; hid-parser 7/4=1'
exit "$as_described"
