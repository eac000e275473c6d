#!/bin/bash
# Expected: what reads tar archives reads a file with holes as GNU tar --sparse writes it, in either of its two forms, or answers an error. With
# --format=posix the map of the holes lies in front of the data and the name is a made-up one; the true name and length stand in the extended header
# (GNU tar's manual, "Storing Sparse Files": three versions, 1.0 by default). The crate tar reads the other form, of --format=gnu, holes and all.
# Happens: of --format=posix the crate tar, npm's tar and tar-stream and BusyBox give a file GNUSparseFile.PID/image that begins with the map as text,
# without its holes: of a disk of 3 MiB 8704 bytes, nothing of which is where it was. In version 0.0 the name is right as well, and the data lie one behind the
# other. And npm's tar leaves a file of --format=gnu out, without a warning. No reader ends with an error but BusyBox at --format=gnu. Python's tarfile
# has the file whole each time.
# Relies on it: xtask/factory/src/room/records.rs, which reads each of these forms itself and gives the holes as zeros. A disk that is sent into a room
# as such an archive is unpacked there by whatever the room has.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download busybox-static=1:1.35.0-4+deb12u1+b1 tar=1.34+dfsg-1.2+deb12u1 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
gnu_tar=$(find unpacked -path '*/bin/tar')
npm install --silent --no-audit --no-fund tar@7.5.23 tar-stream@3.2.2 >&2
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
tar = "=0.4.46"
TOML
# Each prints a line for a member: its name, the number of its bytes, its first bytes, with a dot for the line end.
cat > src/main.rs <<'RUST'
use std::io::Read;

fn main() {
    let file = std::fs::File::open(std::env::args().nth(1).unwrap()).unwrap();
    for entry in tar::Archive::new(file).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        println!("{name} {} {}", content.len(), String::from_utf8_lossy(&content[..6]).replace('\n', "."));
    }
}
RUST
cargo build --quiet
cat > tar.mjs <<'JS'
import { list } from "tar";

await list({ file: process.argv[2], onwarn: (code, message) => console.log("warning:", message), onReadEntry: (entry) => {
    const pieces = [];
    entry.on("data", (piece) => pieces.push(piece));
    entry.on("end", () => {
        const content = Buffer.concat(pieces);
        console.log(entry.path, content.length, content.toString("latin1", 0, 6).replaceAll("\n", "."));
    });
} });
JS
cat > tar-stream.mjs <<'JS'
import { createReadStream } from "node:fs";
import { extract } from "tar-stream";

const reader = createReadStream(process.argv[2]).pipe(extract());
for await (const entry of reader) {
    const pieces = [];
    for await (const piece of entry) {
        pieces.push(piece);
    }
    const content = Buffer.concat(pieces);
    console.log(entry.header.name, content.length, content.toString("latin1", 0, 6).replaceAll("\n", "."));
}
JS
cat > whole.py <<'PY'
import sys
import tarfile

with tarfile.open(sys.argv[1]) as archive:
    for member in archive:
        content = archive.extractfile(member).read()
        print(member.name, len(content), content[:6].decode().replace("\n", "."))
PY
busybox() {
    mkdir out
    "$dir/unpacked/bin/busybox" tar -xf "$1" -C out 2>&1 || true
    find out -type f -printf '%P %s ' -exec head -c 6 {} \; | tr '\n' .
    rm -r out
    echo
}
# 3 MiB: 4096 bytes at the beginning, 4096 in the middle, holes elsewhere.
python3 -c 'file = open("image", "wb"); file.write(b"A" * 4096); file.seek(1 << 20); file.write(b"B" * 4096); file.truncate(3 << 20)'
"$gnu_tar" --format=gnu --sparse -cf gnu.tar image
"$gnu_tar" --format=posix --sparse -cf posix.tar image
"$gnu_tar" --format=posix --sparse --sparse-version=0.0 -cf posix-0.0.tar image
echo "tar 0.4.46, npm tar 7.5.23 and tar-stream 3.2.2, BusyBox 1.35.0, GNU tar 1.34"
as_described=0
# An archive, who reads it, what that is to be, and how it is asked.
check() {
    found=$("${@:4}" "$1" | sed 's/GNUSparseFile\.[0-9]*/GNUSparseFile.PID/; s|^\./||')
    echo "$1 by $2: $found"
    [ "$found" = "$3" ] || as_described=1
}
whole='image 3145728 AAAAAA' map='GNUSparseFile.PID/image 8704 3.0.40' short='image 8192 AAAAAA'
for archive in gnu posix posix-0.0; do
    case $archive in
        gnu) crate=$whole npm='' stream=$short busybox='tar: unknown typeflag: 0x53' ;;
        posix) crate=$map npm=$map stream=$map busybox=$map ;;
        posix-0.0) crate=$short npm=$short stream=$short busybox=$short ;;
    esac
    check $archive.tar "Python's tarfile" "$whole" python3 whole.py
    check $archive.tar 'the crate tar' "$crate" ./target/debug/finding
    check $archive.tar "npm's tar" "$npm" node tar.mjs
    check $archive.tar tar-stream "$stream" node tar-stream.mjs
    check $archive.tar BusyBox "$busybox" busybox
done
exit "$as_described"
