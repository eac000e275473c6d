#!/bin/bash
# Expected: the crate kbvm, "a rust implementation of the XKB specification and associated protocols", tells for Ctrl with a digit the control
# character that Xlib and libxkbcommon tell, and terminals send since the VT220: 2 is NUL, 3 to 7 are ESC to US (1b to 1f), 8 is DEL.
# Happens: 3 to 7 are 18 to 1c: it takes 1b off the digit, where the others take off what makes 3 to 1b. Ctrl with 5 is then what Ctrl with Z is, and
# stops the program, Ctrl with 6 is ESC, and Ctrl with 7 what Ctrl with \ is, and kills it. 2, 8, / and the letters are right. Its documentation has
# the same formula, as if it were the usual one.
# Matters for: a terminal in the desktop (A14 in docs/CONSTITUTION.md), which would turn keys of evdev into characters with such a crate.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download libxkbcommon0=1.5.0-1 libxkbcommon-dev=1.5.0-1 xkb-data=2.35.1-1 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
mkdir src
cat > Cargo.toml <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
kbvm = "=0.2.0"
xkbcommon = { version = "=0.9.0", default-features = false }
END
cat > src/main.rs <<'END'
use kbvm::xkb::diagnostic::WriteToLog;
use kbvm::xkb::rmlvo::Group;
use kbvm::{GroupIndex, Keycode, ModifierMask};
use xkbcommon::xkb;

fn main() {
    // One and the same keymap for both.
    let keymap = xkb::Keymap::new_from_names(&xkb::Context::new(0), "evdev", "pc105", "us", "", None, 0).unwrap();
    let mut state = xkb::State::new(&keymap);
    let groups = [Group { layout: "us", variant: "" }];
    let mut context = kbvm::xkb::Context::builder();
    context.clear();
    context.append_path(&std::env::var("XKB_CONFIG_ROOT").unwrap());
    let table = context.build().keymap_from_names(WriteToLog, None, None, Some(&groups), None).to_builder().build_lookup_table();
    let ctrl = 1 << keymap.mod_get_index("Control");
    state.update_mask(ctrl, 0, 0, 0, 0, 0);
    // As the kernel numbers them: 1 to 9 and 0, then z, \ and /.
    for (name, key) in [("2", 3), ("3", 4), ("4", 5), ("5", 6), ("6", 7), ("7", 8), ("8", 9), ("z", 44), ("\\", 43), ("/", 53)] {
        let theirs: Vec<u8> = state.key_get_utf8(xkb::Keycode::new(key + 8)).into_bytes();
        let found = table.lookup(GroupIndex(0), ModifierMask(ctrl), Keycode::from_evdev(key));
        let kbvm: Vec<u8> = found.into_iter().filter_map(|it| it.char()).map(|it| it as u8).collect();
        println!("Ctrl and {name}: libxkbcommon {theirs:02x?}, kbvm {kbvm:02x?}");
    }
}
END
export RUSTFLAGS="-L $dir/unpacked/usr/lib/x86_64-linux-gnu" LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu
export XKB_CONFIG_ROOT=$dir/unpacked/usr/share/X11/xkb
cargo build --quiet
echo "kbvm 0.2.0, libxkbcommon 1.5.0, xkb-data 2.35.1"
./target/debug/finding | tee read
cat > described <<'END'
Ctrl and 2: libxkbcommon [00], kbvm [00]
Ctrl and 3: libxkbcommon [1b], kbvm [18]
Ctrl and 4: libxkbcommon [1c], kbvm [19]
Ctrl and 5: libxkbcommon [1d], kbvm [1a]
Ctrl and 6: libxkbcommon [1e], kbvm [1b]
Ctrl and 7: libxkbcommon [1f], kbvm [1c]
Ctrl and 8: libxkbcommon [7f], kbvm [7f]
Ctrl and z: libxkbcommon [1a], kbvm [1a]
Ctrl and \: libxkbcommon [1c], kbvm [1c]
Ctrl and /: libxkbcommon [1f], kbvm [1f]
END
cmp -s read described
