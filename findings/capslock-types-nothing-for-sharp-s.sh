#!/bin/bash
# Expected: with Caps Lock on a key types the capital letter, or the letter itself "if there is no such form" (libxkbcommon's xkb_keysym_to_upper, which
# xkb_state_key_get_one_sym and _utf8 go by). A keysym of Unicode beyond Latin-1 is 0x01000000 and its number; µ is of Latin-1 and its capital is not.
# Happens: of ß, µ and ÿ the capitals are made without that 0x01000000, as 0x1e9e, 0x39c and 0x178, which are no keysyms: xkb_keysym_get_name has no name for
# them, and the key types nothing at all: on the French and Belgian keyboard that of µ, on the Polish and many more that of ß at AltGr and s. 38 of 99
# layouts have such keys. The crate xkbcommon-rs, a port of the same library, has the Greek capital for µ.
# Matters for: the desktop (A14 in docs/CONSTITUTION.md): Wayland's compositors and toolkits take their letters from this library.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download libxkbcommon0=1.5.0-1 xkb-data=2.35.1-1 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
cat > type.py <<'PY'
import ctypes
import os
import sys

library = ctypes.CDLL(sys.argv[1])
for name in ("context_new", "keymap_new_from_names", "state_new"):
    getattr(library, f"xkb_{name}").restype = ctypes.c_void_p
pointer = ctypes.c_void_p


class Names(ctypes.Structure):
    _fields_ = [(it, ctypes.c_char_p) for it in ("rules", "model", "layout", "variant", "options")]


def named(keysym):
    text = ctypes.create_string_buffer(64)
    library.xkb_keysym_get_name(keysym, text, 64)
    return text.value.decode()


def typed(keymap, held, key):
    state = pointer(library.xkb_state_new(keymap))
    for code in held:
        library.xkb_state_update_key(state, code, 1)
        if code == CAPS:
            library.xkb_state_update_key(state, code, 0)
    text = ctypes.create_string_buffer(64)
    library.xkb_state_key_get_utf8(state, key, text, 64)
    keysym = library.xkb_state_key_get_one_sym(state, key)
    library.xkb_state_unref(state)
    return text.value.decode(), named(keysym)


CAPS, SHIFT, ALTGR = 66, 50, 108
for name in ("ssharp", "mu", "ydiaeresis", "eacute"):
    keysym = library.xkb_keysym_from_name(name.encode(), 0)
    print(f"the capital of {name}: {named(library.xkb_keysym_to_upper(keysym))}")
context = pointer(library.xkb_context_new(0))
losing = []
layouts = sys.argv[2:]
for layout in layouts:
    name, _, variant = layout.partition("+")
    keymap = library.xkb_keymap_new_from_names(context, ctypes.byref(Names(b"evdev", b"pc105", name.encode(), variant.encode(), b"")), 0)
    keymap = pointer(keymap)
    lost = {}
    for held in ([], [SHIFT], [ALTGR]):
        for key in range(9, 128):
            before, after = typed(keymap, held, key), typed(keymap, [CAPS, *held], key)
            if before[0].isprintable() and before[0] and not after[0] and after[1].startswith("0x"):
                lost[f"{before[0]} ({', '.join({SHIFT: 'Shift', ALTGR: 'AltGr'}[it] for it in held) or 'alone'})"] = after[1]
    if lost:
        losing.append(layout)
    if layout in ("fr", "be", "us+intl", "pl", "us", "de"):
        print(f"{layout}: with Caps Lock nothing is typed for {lost or 'no key'}")
print(f"{len(losing)} of {len(layouts)} layouts: {' '.join(losing)}")
PY
export XKB_CONFIG_ROOT=$dir/unpacked/usr/share/X11/xkb
echo "libxkbcommon 1.5.0, xkb-data 2.35.1"
mapfile -t layouts < <(awk '/^!/ { layouts = $2 == "layout" } !/^!/ && layouts && NF && $1 != "custom" { print $1 }' "$XKB_CONFIG_ROOT/rules/evdev.lst")
python3 type.py "$dir"/unpacked/usr/lib/*/libxkbcommon.so.0 us+intl "${layouts[@]}" 2>log | tee read
as_described=0
has() { grep -qF "$1" read || as_described=1; }
has 'the capital of ssharp: 0x00001e9e'
has 'the capital of mu: 0x0000039c'
has 'the capital of ydiaeresis: 0x00000178'
has 'the capital of eacute: Eacute'
has "be: with Caps Lock nothing is typed for {'µ (alone)': '0x0000039c'}"
has "pl: with Caps Lock nothing is typed for {'ß (AltGr)': '0x00001e9e', 'µ (AltGr)': '0x0000039c'}"
has 'us: with Caps Lock nothing is typed for no key'
has '38 of 99 layouts: '
exit "$as_described"
