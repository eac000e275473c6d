#!/bin/bash
# Expected: the crate cpio_reader, with "support" for newc and three other forms of cpio, tells a file from a link and a folder: its Mode has REGULAR_FILE,
# SYMBOLIK_LINK, DIRECTORY and more, and contains(), as bitflags have it, for one of them. The type is the upper four bits of the mode as one number, of
# which seven are in use (cpio(5); inode(7), S_IFMT): 10 is a symbolic link and 8 a file. An initramfs may be several archives, one behind the other, with
# zeros in between (Linux, "initramfs buffer format").
# Happens: the numbers are taken for bits. A symbolic link contains REGULAR_FILE and is a character device as well, a block device contains DIRECTORY, and a
# socket is a file and a folder. What stands behind the first archive's end is not there: iter_files() stops at TRAILER!!! as it stops at an error, and
# says neither. The crate hadris-cpio has each entry's type, and initramfs both archives.
# Matters for: spine.img, a cpio in newc (docs/BUILD.md), and whoever looks into it or another initramfs; xtask/factory/src/assemble.rs takes the crate cpio.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
cpio_reader = "=0.1.2"
hadris-cpio = "=2.5.0"
initramfs = "=0.2.0"
TOML
cat > src/main.rs <<'RUST'
use cpio_reader::Mode;
use hadris_cpio::CpioArchiveReader;
use initramfs::{Initramfs, MaybeRawArchive};

fn main() {
    let bytes = std::fs::read("initramfs").unwrap();
    for entry in cpio_reader::iter_files(&bytes) {
        let types = [
            ("file", Mode::REGULAR_FILE),
            ("link", Mode::SYMBOLIK_LINK),
            ("folder", Mode::DIRECTORY),
            ("block", Mode::BLOCK_SPECIAL_DEVICE),
            ("character", Mode::CHARACTER_SPECIAL_DEVICE),
            ("pipe", Mode::NAMED_PIPE_FIFO),
            ("socket", Mode::SOCKET),
        ];
        let is: Vec<_> = types.iter().filter(|(_, it)| entry.mode().contains(*it)).map(|(name, _)| *name).collect();
        println!("cpio_reader: {} is {}", entry.name(), is.join(" "));
    }
    let mut reader = CpioArchiveReader::new(&bytes[..]);
    while let Some(entry) = reader.next_entry_alloc().unwrap() {
        println!("hadris-cpio: {} is {:?}", entry.name_str().unwrap(), entry.file_type());
        reader.skip_entry_data_owned(&entry).unwrap();
    }
    let all = Initramfs::parse(&bytes).unwrap();
    let mut names = Vec::new();
    for archive in &all.archives {
        if let MaybeRawArchive::Parsed(archive) = archive {
            names.extend(archive.files.iter().map(|it| String::from_utf8_lossy(&it.filename)));
        }
    }
    println!("initramfs: {}", names.join(" "));
}
RUST
cat > write.py <<'PY'
import sys


def entry(name, mode, content=b"", device=(0, 0)):
    numbers = [1, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name) + 1, 0]
    head = b"070701" + b"".join(b"%08X" % it for it in numbers) + name.encode() + b"\0"
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)


def archive(*entries):
    file = b"".join(entries) + entry("TRAILER!!!", 0)
    return file + bytes(-len(file) % 512)


first = archive(
    entry("a-file", 0o100644, b"text"),
    entry("a-link", 0o120777, b"a-file"),
    entry("a-folder", 0o040755),
    entry("a-disk", 0o060600, device=(8, 0)),
    entry("a-socket", 0o140755),
)
open("initramfs", "wb").write(first + archive(entry("behind", 0o100644, b"text")))
PY
python3 write.py
cargo build --quiet
echo "cpio_reader 0.1.2, hadris-cpio 2.5.0, initramfs 0.2.0"
./target/debug/finding | tee read
cat > expected <<'END'
cpio_reader: a-file is file
cpio_reader: a-link is file link character
cpio_reader: a-folder is folder
cpio_reader: a-disk is folder block character
cpio_reader: a-socket is file folder socket
hadris-cpio: a-file is Regular
hadris-cpio: a-link is Symlink
hadris-cpio: a-folder is Directory
hadris-cpio: a-disk is BlockDevice
hadris-cpio: a-socket is Socket
initramfs: a-file a-link a-folder a-disk a-socket TRAILER!!! behind TRAILER!!!
END
cmp expected read
