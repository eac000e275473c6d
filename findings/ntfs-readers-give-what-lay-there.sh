#!/bin/bash
# Expected: what reads a file of an NTFS stick gives zeros for the part that was reserved and not written yet: a file has three lengths, and behind the
# one that is initialized ("valid data length" with Microsoft: SetFileValidData, fsutil) there is nothing of the file's; Windows, Linux and ntfs-3g read
# zeros there. The crate ntfs has that length in its record and says that it reads "file data"; dissect.ntfs has it too.
# Happens: neither looks at it. What lay in these clusters before, from files long deleted or, as here, from before the stick was formatted, is the content
# of the file from there on, without an error. The file's length is right, and of a file that was written whole so is its content.
# ntfscat gives zeros. A download that reserves its space first and is broken off leaves such a file.
# Matters for: the courier (A03 in docs/CONSTITUTION.md), which is to move files from sticks: it would carry what the file's owner has deleted.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download ntfs-3g=1:2022.10.3-1+deb12u4 libntfs-3g89=1:2022.10.3-1+deb12u4 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check dissect.ntfs==3.16 >&2
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
ntfs = "=0.4.0"
TOML
cat > src/main.rs <<'RUST'
use ntfs::indexes::NtfsFileNameIndex;
use ntfs::{Ntfs, NtfsReadSeek};
use std::io::Write;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let mut image = std::fs::File::open(&words[1]).unwrap();
    let mut ntfs = Ntfs::new(&mut image).unwrap();
    ntfs.read_upcase_table(&mut image).unwrap();
    let root = ntfs.root_directory(&mut image).unwrap();
    let index = root.directory_index(&mut image).unwrap();
    let mut finder = index.finder();
    let entry = NtfsFileNameIndex::find(&mut finder, &ntfs, &mut image, &words[2]).unwrap().unwrap();
    let file = entry.to_file(&ntfs, &mut image).unwrap();
    let data = file.data(&mut image, "").unwrap().unwrap();
    let attribute = data.to_attribute().unwrap();
    let mut value = attribute.value(&mut image).unwrap();
    let mut piece = [0; 4096];
    loop {
        let length = value.read(&mut image, &mut piece).unwrap();
        if length == 0 {
            break;
        }
        std::io::stdout().write_all(&piece[..length]).unwrap();
    }
}
RUST
cargo build --quiet
cat > read.py <<'PY'
import sys
from dissect.ntfs import NTFS

with open(sys.argv[1], "rb") as image:
    sys.stdout.buffer.write(NTFS(image).mft.get(sys.argv[2]).open().read())
PY
export LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu:$dir/unpacked/lib/x86_64-linux-gnu
export PATH=$dir/unpacked/usr/bin:$dir/unpacked/usr/sbin:$dir/unpacked/bin:$dir/unpacked/sbin:$PATH
# A stick that was full of letters is formatted, the quick way, and gets two files; one of them has space reserved behind what is written.
yes 'an old letter' | head -c 16M >image || true
mkntfs -F -Q -q image >/dev/null 2>&1
yes new | head -c 6000 >new || true
ntfscp -q image new whole
ntfscp -q image new reserved
ntfsfallocate -l 20000 image reserved >/dev/null 2>&1
ntfsinfo -F reserved image | grep -A 12 'attribute \$DATA' | grep -E 'Data size|Initialized size' | tr -s '\t ' ' '
echo "ntfs 0.4.0, dissect.ntfs 3.16, ntfs-3g 2022.10.3"
as_described=0
# A file, who reads it, and how many bytes it is to be, the letters in it.
check() {
    "${@:4}" >content
    found="$(wc -c <content) bytes, $(grep -ac 'an old letter' content || true) old letters"
    echo "$1 by $2: $found"
    [ "$found" = "$3" ] && cmp -s -n 6000 new content || as_described=1
}
for file in whole reserved; do
    case $file in whole) length=6000 letters=0 ;; reserved) length=20000 letters=842 ;; esac
    check $file ntfscat "$length bytes, 0 old letters" ntfscat image $file
    check $file ntfs "$length bytes, $letters old letters" ./target/debug/finding image $file
    check $file dissect.ntfs "$length bytes, $letters old letters" env/bin/python read.py image $file
done
exit "$as_described"
