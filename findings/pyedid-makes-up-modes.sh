#!/bin/bash
# Expected: the Python package pyedid tells of what a screen says of itself (VESA E-EDID) the modes that are marked in it, whether it is digital or analog (bit
# 7 of byte 20), and which of the states for saving power it has (bits 7, 6 and 5 of byte 24).
# Happens: of the 16 bits for the common modes ("established timings") the upper twelve count for nothing: a screen that says 640x480 and 800x600 has no mode.
# Each of the lower four makes eight modes: one that says 1280x1024 alone has 720x400 to 1024x768, and not that. An analog screen is digital as soon as any
# bit beside it is set, such as that for separate sync signals, and one with no state for saving power has all three if it is a colour screen. The
# numbers of model and device are read with the wrong byte first. No error. The mode that the screen prefers, which stands in the other list of
# "detailed" ones, is left out. edid-decode has all of it right.
# Matters for: a room that shows something on a screen (docs/DESKTOP.md) and picks a mode by such a list; bay0 takes the kernel's.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download edid-decode=0.1~git20220315.cb74358c2896-1 2>/dev/null >&2
dpkg -x ./edid-decode*.deb unpacked
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check pyedid==1.0.3 >&2
cat > screen.py <<'PY'
import struct
import sys

import pyedid

# Byte 20 and 24, and the two bytes of established timings.
signal, features, first, second = (int(it, 16) for it in sys.argv[2:])
# 1920x1080 of CEA-861: the mode that the screen prefers.
timing = struct.pack("<H", 14850) + bytes([1920 & 255, 280 & 255, 7 << 4 | 280 >> 8, 1080 & 255, 45, 4 << 4, 88, 44, 4 << 4 | 5, 0])
timing += bytes([600 & 255, 340 & 255, 600 >> 8 << 4 | 340 >> 8, 0, 0, 0x1E])
name = b"\0\0\0\xfc\0" + b"SCREEN\n".ljust(13)
limits = b"\0\0\0\xfd\0" + bytes([50, 75, 30, 83, 15, 0]) + b"\n".ljust(7)
edid = b"\0" + b"\xff" * 6 + b"\0" + bytes([0x10, 0xAC]) + struct.pack("<HI", 0x1234, 1) + bytes([10, 20, 1, 3])
edid += bytes([signal, 60, 34, 120, features]) + bytes.fromhex("ee91a3544c99260f5054") + bytes([first, second, 0]) + b"\x01" * 16
edid += timing + name + limits + b"\0\0\0\x10" + bytes(14) + b"\0"
edid += bytes([-sum(edid) % 256])
open(sys.argv[1], "wb").write(edid)
read = pyedid.parse_edid(edid)
print("    pyedid:", read.type, [f"{wide}x{high}@{rate:.0f}" for wide, high, rate in read.resolutions])
print("    pyedid: saves power:", read.dpms_standby, read.dpms_suspend, read.dpms_activeoff)
print("    pyedid: model", read.product_id, "device", read.serial)
PY
echo "pyedid 1.0.3, edid-decode 0.1~git20220315"
for screen in '80 0a 20 00' '80 0a 00 01' '0e 0a 21 00'; do
    echo "$screen"
    IFS=" " read -ra bytes <<<"$screen"
    env/bin/python screen.py screen "${bytes[@]}"
    unpacked/usr/bin/edid-decode screen >decoded || true
    grep -E '(Digital|Analog) display|DMT 0|DTD 1|DPMS|Model|Serial' decoded | sed 's/^ */    edid-decode: /; s/  */ /g; s/^/   /'
done | tee read
as_described=0
has() { [ "$(grep -cF "    $1" read)" = "$2" ] || as_described=1; }
has 'edid-decode: Analog display' 1
has 'edid-decode: DMT' 4
has 'edid-decode: DTD 1: 1920x1080' 3
has 'edid-decode: DPMS' 0
has 'pyedid: digital []' 2
has "pyedid: digital ['720x400@70', '640x480@60', '640x480@72', '800x600@56', '800x600@70', '832x624@75', '1024x768@60', '1024x768@75']" 1
has 'pyedid: saves power: True True True' 3
has 'pyedid: model 13330 device 16777216' 3
has 'edid-decode: Model: 4660' 3
exit "$as_described"
