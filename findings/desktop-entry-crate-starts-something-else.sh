#!/bin/bash
# Expected: the crate freedesktop-desktop-entry makes of a menu entry's line `Exec` the arguments to start, as the specification has them: "%%" is a percent
# sign, wherever it stands; %i is two arguments, `--icon` and the icon's name, and none without one; a %f may be a part of an argument (Desktop Entry
# Specification 1.5, "The Exec key"; only %F and %U are to stand alone). In a list "\;" is a semicolon that does not end a value ("Possible value types").
# Happens: "%%" stays two signs, and alone it is no argument at all. Of %i the icon's name is left, which a program takes for a file to open. In `--file=%f` the
# two letters stay, and the file that was chosen is not opened. One "\;" anywhere makes the whole entry an error, so it is missing in the menu.
# Of what it drops it says so to the crate `log` alone. desktop-file-validate finds all of these entries right, and GLib's gio starts them as specified.
# Matters for: the desktop (A14 in docs/CONSTITUTION.md): a launcher with this crate starts something else than the entry says.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download libglib2.0-0 libglib2.0-bin desktop-file-utils 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
freedesktop-desktop-entry = "=0.8.4"
TOML
cat > src/main.rs <<'RUST'
use freedesktop_desktop_entry::DesktopEntry;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (entry, file) = (arguments.next().unwrap(), arguments.next().unwrap());
    match DesktopEntry::from_path(entry, Some(&["en"])) {
        Ok(entry) => {
            let arguments = entry.parse_exec_with_uris(&[&file], &["en"]).unwrap();
            println!("{}", arguments[1..].iter().map(|it| format!("[{it}]")).collect::<String>());
        }
        Err(error) => println!("{error}"),
    }
}
RUST
cargo build --quiet
cat > tell <<'SH'
#!/bin/sh
[ "$#" = 0 ] || printf '[%s]' "$@" >told
SH
chmod +x tell
: >chosen
run() { LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu:$dir/unpacked/lib/x86_64-linux-gnu "unpacked/usr/bin/$@"; }
echo "freedesktop-desktop-entry 0.8.4; $(cd "$dir" && ls ./*.deb | xargs)"
as_described=0
# What stands behind the program in `Exec`, what gio starts it with, what the crate has, and the entry's keywords.
check() {
    printf '[Desktop Entry]\nType=Application\nName=Show\nIcon=show\nKeywords=%s;\nExec=%s/tell %s\n' "${4:-a;b}" "$dir" "$1" >entry.desktop
    run desktop-file-validate entry.desktop || as_described=1
    rm -f told
    run gio launch entry.desktop chosen
    for _ in $(seq 50); do [ -s told ] || sleep 0.1; done
    found=("$(sed "s,$dir/,,g" told)" "$(./target/debug/finding entry.desktop chosen)")
    printf '%s\n' "$1" "    gio: ${found[0]}" "    crate: ${found[1]}"
    [ "${found[0]}" = "$2" ] && [ "${found[1]}" = "$3" ] || as_described=1
}
check '%f' '[chosen]' '[chosen]'
check '"two words" %f' '[two words][chosen]' '[two words][chosen]'
check '--zoom 50%% %f' '[--zoom][50%][chosen]' '[--zoom][50%%][chosen]'
check '--unit %% %f' '[--unit][%][chosen]' '[--unit][chosen]'
check '%i %f' '[--icon][show][chosen]' '[show][chosen]'
check '--file=%f' '[--file=chosen]' '[--file=%f]'
check '%f' '[chosen]' 'InvalidValue' 'a\;b;c'
exit "$as_described"
