#!/bin/bash
# Expected: a crate that reads ext4 gives zeros for what a file has reserved and not written yet: an extent of more than 32768 blocks, as its
# length field has it, is marked as unwritten (ext4's documentation, "Extent Tree"), and Linux and debugfs read zeros there.
# Happens: the crates ext4 and ext4-view give what lay in these blocks before, from files that are long deleted or from before the disk was
# formatted, as the content of the file, and no error. Holes and whole files are read rightly. The Python package ext4 gives zeros.
# Matters for: reading build/persist.img on the host without mounting it; rooms may reserve space there (`fallocate` in
# docs/SYSCALL-JUSTIFICATIONS.md).
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download e2fsprogs=1.47.0-2+b2 libext2fs2=1.47.0-2+b2 libss2=1.47.0-2+b2 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check ext4==1.4.1 >&2
mkdir src
cat > Cargo.toml <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
ext4 = "=0.9.0"
ext4-view = { version = "=1.0.0", features = ["std"] }
END
cat > src/main.rs <<'END'
use std::fs::{self, File};
use std::io::Read;

fn main() {
    let [_, image, name] = [0, 1, 2].map(|at| std::env::args().nth(at).unwrap());
    let volume = ext4::SuperBlock::new(File::open(&image).unwrap()).unwrap();
    let entry = volume.resolve_path(&name).unwrap();
    let inode = volume.load_inode(entry.inode).unwrap();
    let mut content = Vec::new();
    volume.open(&inode).unwrap().read_to_end(&mut content).unwrap();
    fs::write("by-ext4", content).unwrap();
    let volume = ext4_view::Ext4::load_from_path(&image).unwrap();
    fs::write("by-ext4-view", volume.read(&format!("/{name}")[..]).unwrap()).unwrap();
}
END
cargo build --quiet
cat > read.py <<'END'
import sys
import ext4

with open(sys.argv[1], "rb") as image:
    content = ext4.Volume(image).inode_at("/" + sys.argv[2]).open().read()
open("by-python", "wb").write(content)
END
PATH=$dir/unpacked/sbin:$PATH
export LD_LIBRARY_PATH=$dir/unpacked/lib/x86_64-linux-gnu:$dir/unpacked/usr/lib/x86_64-linux-gnu
echo "ext4 0.9.0; ext4-view 1.0.0; ext4 (Python) 1.4.1; $(mke2fs -V 2>&1 | head -1)"

mkdir files
yes whole | head -c 40000 >files/whole
truncate -s 40000 files/hole
# A disk that was used before.
yes BEFORE | head -c $((16 << 20)) >image
mke2fs -q -F -t ext4 -E nodiscard -d files image
: >empty
debugfs -w -f <(printf 'write empty reserved\nfallocate reserved 0 9\nset_inode_field reserved size 40000\n') image >/dev/null 2>&1
e2fsck -fn image >/dev/null 2>&1
head -c 40000 /dev/zero >zeros
as_described=0
is() {
    what=other
    cmp -s "$1" files/whole && what=whole
    cmp -s "$1" zeros && what=zeros
    head -c 10000 "$1" | tr -d '\n' | grep -q BEFOREBEFORE && what=before
    echo "$what"
}
# name; what debugfs and Python read; what the crates read.
try() {
    debugfs -R "dump $1 by-debugfs" image 2>/dev/null
    env/bin/python read.py image "$1"
    ./target/debug/finding image "$1"
    seen="$(is by-debugfs) $(is by-python) $(is by-ext4) $(is by-ext4-view)"
    echo "$1: by debugfs, Python's ext4, ext4, ext4-view: $seen"
    [ "$seen" = "$2 $2 $3 $3" ] || as_described=1
}
try whole whole whole
try hole zeros zeros
try reserved zeros before
exit "$as_described"
