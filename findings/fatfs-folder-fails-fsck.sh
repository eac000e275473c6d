#!/bin/bash
# Expected: a folder that the crate fatfs makes on a FAT file system is one that fsck.vfat has nothing to say about: its first two entries
# are `.` and `..` in their short form alone (Microsoft's FAT specification, "Directory Structure").
# Happens: fatfs gives both a long name as well, so a long-name entry comes first where `.` must be. fsck.vfat finds the folder damaged and
# offers to rename and delete entries in it. Files made beside it are fine, and mtools, Linux and fatfs itself read the folder, so only a
# check of the whole volume shows it.
# Relies on it: xtask/factory/src/uefi/slot.rs writes the file system of a slot with mtools, whose folders pass the check.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download dosfstools=4.2-1 mtools=4.0.33-1+really4.0.32-1 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
PATH=$dir/unpacked/usr/bin:$dir/unpacked/usr/sbin:$dir/unpacked/sbin:$PATH
mkdir src
cat > Cargo.toml <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
fatfs = "=0.3.6"
END
cat > src/main.rs <<'END'
use std::fs::File;
use std::io::Write;

use fatfs::{FileSystem, FsOptions};

fn main() {
    let [_, image, what] = [0, 1, 2].map(|at| std::env::args().nth(at).unwrap());
    let image = File::options().read(true).write(true).open(image).unwrap();
    let volume = FileSystem::new(image, FsOptions::new()).unwrap();
    match what.as_str() {
        "file" => volume.root_dir().create_file("FILE").unwrap().write_all(b"content").unwrap(),
        _ => drop(volume.root_dir().create_dir("FOLDER").unwrap()),
    }
    volume.unmount().unwrap();
}
END
cargo build --quiet 2>&1
echo "fatfs 0.3.6; fsck.fat 4.2"
as_described=0
check() {
    truncate -s 40M image
    mkfs.vfat image >/dev/null
    "${@:2}" || as_described=1
    status=0
    fsck.vfat -n image >messages || status=$?
    echo "$1: fsck.vfat ends with $status"
    grep -m 2 -A 1 '^/' messages || true
}
check "a file by fatfs" ./target/debug/finding image file
[ "$status" = 0 ] || as_described=1
rm image
check "a folder by mtools" mmd -i image ::/FOLDER
[ "$status" = 0 ] || as_described=1
rm image
check "a folder by fatfs" ./target/debug/finding image folder
[ "$status" = 1 ] || as_described=1
grep -q "Expected a valid '.' entry in this slot" messages || as_described=1
exit "$as_described"
