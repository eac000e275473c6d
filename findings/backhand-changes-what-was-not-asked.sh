#!/bin/bash
# Expected: the crate backhand, for "reading, creating, and modification" of SquashFS images, writes an image that it has read with one file replaced, and
# leaves the others as they are: FilesystemWriter::from_fs_reader is to "inherit filesystem structure and properties". Each file may have extended
# attributes, and several names (SquashFS format, "Xattr Table" and "Extended File": the link count).
# Happens: no file has extended attributes any more, so what a program may do by its capabilities (security.capability) is gone, for
# instance of `ping`. Two names of one file are two files from then on: what is written to the one is not in the other. A file of devices, the times,
# owners and holes are kept. Neither the calls nor the documentation say a word; reading tells no attributes either.
# Relies on it: xtask/factory/src/rootimg.rs, which makes an image whole with this crate and changes none. Rooms are packed by sqfstar.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download squashfs-tools=1:4.5.1-1 liblzo2-2=2.10-2 squashfs-tools-ng=1.2.0-1 libsquashfs1=1.2.0-1 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
export LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu:$dir/unpacked/lib/x86_64-linux-gnu
export PATH=$dir/unpacked/usr/bin:$PATH
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
backhand = "=0.25.5"
TOML
cat > src/main.rs <<'RUST'
use backhand::{FilesystemReader, FilesystemWriter};
use std::{fs::File, io::BufReader, io::Cursor};

fn main() {
    let image = FilesystemReader::from_reader(BufReader::new(File::open("before").unwrap())).unwrap();
    let mut writer = FilesystemWriter::from_fs_reader(&image).unwrap();
    writer.replace_file("/note", Cursor::new(b"new")).unwrap();
    writer.write(File::create("after").unwrap()).unwrap();
}
RUST
cargo build --quiet
cat > make.py <<'PY'
import io
import sys
import tarfile

with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as archive:
    def put(name, content=b"", attributes={}, **fields):
        member = tarfile.TarInfo(name)
        member.size, member.mtime = len(content), 1700000000
        member.pax_headers = {"SCHILY.xattr." + key: value for key, value in attributes.items()}
        for field, value in fields.items():
            setattr(member, field, value)
        archive.addfile(member, io.BytesIO(content))

    put("note", b"old")
    # cap_net_raw, effective, of version 2 (linux/capability.h).
    put("ping", b"program", {"security.capability": "\1\0\0\2\0\x20" + "\0" * 14}, mode=0o755)
    put("list", b"entries", {"user.origin": "elsewhere"}, uid=1000, gid=1000)
    put("list-too", type=tarfile.LNKTYPE, linkname="list")
    put("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)
PY
python3 make.py | sqfstar -quiet -no-progress before >/dev/null
./target/debug/finding
# A file's attributes, and how many names it has.
told() {
    printf '%s: capabilities %s, origin %s, ' "$1" "$(rdsquashfs --xattr ping "$1" | grep -c '^security.capability=')" \
        "$(rdsquashfs --xattr list "$1" | grep -c '^user.origin=')"
    unsquashfs -q -n -no-xattrs -d "out-$1" "$1" >/dev/null 2>&1 || true
    printf 'names of list %s, ' "$(stat -c %h "out-$1/list")"
    printf 'inodes %s, note %s, null %s\n' "$(unsquashfs -s "$1" | sed -n 's/^Number of inodes //p')" "$(cat "out-$1/note")" \
        "$(unsquashfs -lls "$1" | sed -n 's|^\(c[^ ]*\).* \([0-9]*, *[0-9]*\) .*/null$|\1 \2|p' | tr -s ' ')"
}
echo "backhand 0.25.5, squashfs-tools 4.5.1, squashfs-tools-ng 1.2.0"
{ told before; told after; } | tee all
as_described=0
grep -qx 'before: capabilities 1, origin 1, names of list 2, inodes 5, note old, null crw-r--r-- 1, 3' all || as_described=1
grep -qx 'after: capabilities 0, origin 0, names of list 1, inodes 6, note new, null crw-r--r-- 1, 3' all || as_described=1
exit "$as_described"
