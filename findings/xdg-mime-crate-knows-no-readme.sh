#!/bin/bash
# Expected: the crate xdg-mime, for "querying the XDG shared MIME database", tells a file's type by its name and content as the database has it. A pattern for
# names is lower case, and is tried as the name is and in lower case, unless it is marked `cs` (Shared MIME-info Specification, "The glob files"); rules
# for content count by their priority, whatever folder they come from, and each rule of a type is a way to be of it.
# Happens: of patterns with more in them than a leading `*` the case counts: README, Makefile.am and SConscript.one, for which the database has `readme*` and so
# on, have no type, and readme has. LIBX.SO.1 is a manual page. `core`, which is marked, is Core as well. A user's rule for content with a
# priority of 1, of 0 to 100, wins over each of the system's. A second rule of a type is not tried where the first one's beginning fits.
# GLib's gio has all of them right.
# Matters for: the desktop (A14 in docs/CONSTITUTION.md): what opens a file there, and with which icon it is shown, goes by such a type.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download libglib2.0-0 libglib2.0-bin shared-mime-info=2.2-1 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
xdg-mime = "=0.4.0"
TOML
cat > src/main.rs <<'RUST'
use xdg_mime::SharedMimeInfo;

fn main() {
    let types = SharedMimeInfo::new();
    let path = std::env::args().nth(1).unwrap();
    let data = std::fs::read(&path).unwrap();
    // Its name alone, or its content alone.
    if path != "content" {
        println!("{}", types.get_mime_types_from_file_name(&path)[0]);
    } else {
        println!("{}", types.get_mime_type_for_data(&data).map_or("nothing".into(), |it| it.0.to_string()));
    }
}
RUST
cargo build --quiet
run() { LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu:$dir/unpacked/lib/x86_64-linux-gnu "unpacked/usr/bin/$@"; }
mkdir -p home/mime/packages system/mime
cp -r unpacked/usr/share/mime/packages system/mime
cat > home/mime/packages/user.xml <<'XML'
<?xml version="1.0"?>
<mime-info xmlns="http://www.freedesktop.org/standards/shared-mime-info">
  <mime-type type="application/x-of-mine">
    <comment>a last guess</comment>
    <magic priority="1"><match type="string" value="%PDF" offset="0"/></magic>
  </mime-type>
  <mime-type type="application/x-two-rules">
    <comment>two ways to begin</comment>
    <magic>
      <match type="string" value="FIRST" offset="0"><match type="string" value="A" offset="8"/></match>
      <match type="string" value="B" offset="9"/>
    </magic>
  </mime-type>
</mime-info>
XML
export XDG_DATA_HOME=$dir/home XDG_DATA_DIRS=$dir/system
for folder in home system; do run update-mime-database "$folder/mime" >log 2>&1; done
echo "xdg-mime 0.4.0; $(cd "$dir" && ls ./*.deb | xargs)"
as_described=0
# A name (or text that stands in a file whose name tells nothing), what is right, and what the crate has.
check() {
    name=$1
    [ -z "${4:-}" ] || name=content
    printf '%b' "${4:-\\0001\\0002}" >"$name"
    attribute=standard::content-type
    [ -n "${4:-}" ] || attribute=standard::fast-content-type
    found=("$(run gio info -a $attribute "$name" | sed -n 's/.*content-type: //p')" "$(./target/debug/finding "$name")")
    rm "$name"
    printf '%s\n' "$1" "    gio: ${found[0]}" "    crate: ${found[1]}"
    [ "${found[0]}" = "$2" ] && [ "${found[1]}" = "$3" ] || as_described=1
}
unknown=application/octet-stream
check readme text/x-readme text/x-readme
check README text/x-readme $unknown
check makefile.am text/x-makefile text/x-makefile
check Makefile.am text/x-makefile $unknown
check SConscript.one text/x-scons $unknown
check LIBX.SO.1 application/x-sharedlib application/x-troff-man
check Core $unknown application/x-core
check 'a PDF document' application/pdf application/x-of-mine '%PDF-1.4 and more'
check 'the second rule' application/x-two-rules application/x-two-rules 'OTHER....B and more'
check 'the second rule, where the first one begins' application/x-two-rules nothing 'FIRST....B and more'
exit "$as_described"
