#!/bin/bash
# Expected: a user who does not want the system's patterns for a type of files writes `<glob-deleteall/>` for it: "patterns from previously parsed directories
# must be discarded. The patterns defined in this file (if any) are used instead" (Shared MIME-info Specification, "The source XML files"); `<magic-deleteall/>`
# does the same for content. update-mime-database takes both into the database that programs read, as __NOGLOBS__ and __NOMAGIC__.
# Happens: GLib's gio, with the cache and without it, the Python package pyxdg and the crate xdg-mime go on with the system's: a file of the old name is still of
# that type, and one with the old content as well. Nothing is said, not by update-mime-database either.
# Matters for: the desktop (A14 in docs/CONSTITUTION.md): which program opens a file is not changed so, but by a pattern of more weight for another type.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download libglib2.0-0 libglib2.0-bin shared-mime-info=2.2-1 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check pyxdg==0.28 >&2
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
    println!("{} {:?}", types.get_mime_types_from_file_name(&path)[0], types.get_mime_type_for_data(&data).map(|it| it.0.to_string()));
}
RUST
cargo build --quiet
cat > look.py <<'PY'
import sys
from xdg import Mime

print(Mime.get_type_by_name(sys.argv[1]), Mime.get_type_by_contents(sys.argv[1]))
PY
run() { LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu:$dir/unpacked/lib/x86_64-linux-gnu "unpacked/usr/bin/$@"; }
mkdir -p home/mime/packages system/mime
cp -r unpacked/usr/share/mime/packages system/mime
cat > home/mime/packages/user.xml <<'XML'
<?xml version="1.0"?>
<mime-info xmlns="http://www.freedesktop.org/standards/shared-mime-info">
  <mime-type type="image/x-tga"><comment>no name</comment><glob-deleteall/></mime-type>
  <mime-type type="application/pdf"><comment>no content</comment><magic-deleteall/></mime-type>
</mime-info>
XML
export XDG_DATA_HOME=$dir/home XDG_DATA_DIRS=$dir/system
for folder in home system; do run update-mime-database "$folder/mime" >log 2>&1; done
printf '%b' '%PDF-1.4 \0001 and more' >document
printf '%b' '\0001\0002' >picture.tga
echo "$(cd "$dir" && ls ./*.deb | xargs); pyxdg 0.28, xdg-mime 0.4.0"
grep -a NOGLOBS home/mime/globs2
grep -a -A1 application/pdf home/mime/magic
as_described=0
grep -qxF '0:image/x-tga:__NOGLOBS__' home/mime/globs2 || as_described=1
[ "$(grep -a -c __NOMAGIC__ home/mime/magic)" = 1 ] || as_described=1
told() { run gio info -a "$1" "$2" | sed -n 's/.*content-type: //p'; }
tell() {
    echo "gio, $1: picture.tga $(told standard::fast-content-type picture.tga), document $(told standard::content-type document)"
}
{
    tell 'with the cache'
    rm home/mime/mime.cache system/mime/mime.cache
    tell 'without it'
    for reader in 'env/bin/python look.py' ./target/debug/finding; do
        read -ra command <<<"$reader"
        echo "$reader: picture.tga $("${command[@]}" picture.tga), document $("${command[@]}" document)"
    done
} | tee read
for line in 'gio, with the cache: picture.tga image/x-tga, document application/pdf' \
    'gio, without it: picture.tga image/x-tga, document application/pdf' \
    'env/bin/python look.py: picture.tga image/x-tga None, document None application/pdf' \
    './target/debug/finding: picture.tga image/x-tga None, document application/octet-stream Some("application/pdf")'; do
    grep -qxF "$line" read || as_described=1
done
exit "$as_described"
