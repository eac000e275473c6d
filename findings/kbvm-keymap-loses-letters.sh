#!/bin/bash
# Expected: a keymap that the crate kbvm writes, as a compositor hands it to its clients, has for them the keys that it was made with. The formatter
# has switches for what Xwayland and libxkbcommon before 1.8 cannot read.
# Happens: it writes a keysym with the newest name that there is for it, also where the layout has it by number: U1E9E becomes SSHARP and U203A
# rightsingleanglequotemark, which libxkbcommon 1.5 does not know. A client with that takes the symbol for none and reads the rest: of Debian 12's
# 98 layouts 35 lose some, those of German and Danish their capital sharp s. libxkbcommon itself writes such symbols by number, and no switch
# of kbvm does.
# Matters for: the desktop (A14 in docs/CONSTITUTION.md), whose compositor would hand one keymap to rooms with libraries of any age.
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

[profile.dev]
opt-level = 1
END
cat > src/main.rs <<'END'
use kbvm::xkb::diagnostic::WriteToLog;
use kbvm::xkb::rmlvo::Group;
use xkbcommon::xkb;

fn main() {
    let theirs = xkb::Context::new(0);
    let mut context = kbvm::xkb::Context::builder();
    context.clear();
    context.append_path(&std::env::var("XKB_CONFIG_ROOT").unwrap());
    let context = context.build();
    let (mut all, mut losing) = (0, 0);
    for layout in std::env::args().skip(1) {
        let Some(before) = xkb::Keymap::new_from_names(&theirs, "evdev", "pc105", &layout, "", None, 0) else { continue };
        let groups = [Group { layout: &layout, variant: "" }];
        let text = context.keymap_from_names(WriteToLog, None, None, Some(&groups), None).format().to_string();
        let after = xkb::Keymap::new_from_string(&theirs, text.clone(), xkb::KEYMAP_FORMAT_TEXT_V1, 0).unwrap();
        let mut lost = Vec::new();
        for key in (9..256).map(xkb::Keycode::new) {
            for level in 0..before.num_levels_for_key(key, 0) {
                let (had, has) = (before.key_get_syms_by_level(key, 0, level), after.key_get_syms_by_level(key, 0, level));
                if has.is_empty() {
                    lost.extend(had.iter().map(|it| (before.key_get_name(key).unwrap(), level + 1, xkb::keysym_get_name(*it))));
                }
            }
        }
        all += 1;
        losing += u32::from(!lost.is_empty());
        if ["de", "dk", "us"].contains(&layout.as_str()) {
            println!("{layout}: lost {lost:?}");
            for name in ["SSHARP", "rightsingleanglequotemark"] {
                println!("    {name} in the text: {}, libxkbcommon knows it: {}", text.contains(name), xkb::keysym_from_name(name, 0).raw() != 0);
            }
        }
    }
    println!("{losing} of {all} layouts lose symbols");
}
END
export RUSTFLAGS="-L $dir/unpacked/usr/lib/x86_64-linux-gnu" LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu
export XKB_CONFIG_ROOT=$dir/unpacked/usr/share/X11/xkb
cargo build --quiet
echo "kbvm 0.2.0, libxkbcommon 1.5.0, xkb-data 2.35.1"
mapfile -t layouts < <(awk '/^!/ { layouts = $2 == "layout" } !/^!/ && layouts && NF { print $1 }' "$XKB_CONFIG_ROOT/rules/evdev.lst")
./target/debug/finding "${layouts[@]}" 2>log | tee read
as_described=0
has() { grep -qxF "$1" read || as_described=1; }
has 'us: lost []'
has 'dk: lost [("AC02", 4, "U1E9E")]'
has 'de: lost [("AE11", 5, "U1E9E"), ("AC02", 4, "U1E9E"), ("AB01", 4, "U203A"), ("AB02", 4, "U2039")]'
has '35 of 98 layouts lose symbols'
[ "$(grep -c 'in the text: true, libxkbcommon knows it: false' read)" = 3 ] || as_described=1
exit "$as_described"
