#!/bin/bash
# Expected: a crate that reads ISO 9660 with Rock Ridge gives each file its name. Of a long name the rest stands in a continuation area, which an entry `CE`
# names by its block, the place in that block and the length (SUSP 1.12, 5.1), since a record has 255 bytes; a block holds those of many files.
# Happens: cdfs, which reads that entry, begins at the block's first byte whatever the place is. So each file has the end of the first one's name: the files
# `1-...-one.txt`, `2-...-two.txt` and `3-...-three.txt` are three that end in `-one.txt`, and looked for by its own name the second is not there. No error.
# isomage and iso9660_simple read no such entry: a long name ends in its middle, without the `.txt`. bsdtar has the names whole.
# Matters for: sticks with an ISO 9660 on them, as they come with other systems: bay0 names it alone (bay0-state/src/content.rs), and a room that reads one
# would take such a crate.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download xorriso=1.5.4-4 libisoburn1=1.5.4-4 libisofs6=1.5.4-1 libburn4=1.5.4-1 libjte2=1.22-3 libarchive-tools=3.6.2-1+deb12u5 \
    libarchive13=3.6.2-1+deb12u5 libxml2=2.9.14+dfsg-1.3~deb12u6 libicu72=72.1-3+deb12u1 libnettle8=3.8.1-2 pkgconf-bin=1.8.1-1 libpkgconf3=1.8.1-1 \
    libfuse3-dev=3.14.0-4 libfuse3-3=3.14.0-4 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
export LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu:$dir/unpacked/lib/x86_64-linux-gnu
mkdir -p src tree/d
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
cdfs = "=0.2.3"
iso9660_simple = "=0.2.7"
isomage = "=2.1.0"
TOML
cat > src/main.rs <<'RUST'
use std::fs::File;
use std::os::unix::fs::FileExt;

struct Image(File);

impl iso9660_simple::Read for Image {
    fn read(&mut self, at: usize, bytes: &mut [u8]) -> Option<()> {
        self.0.read_exact_at(bytes, at as u64).ok()
    }
}

fn main() {
    let open = || File::open("names.iso").unwrap();
    let iso = cdfs::ISO9660::new(open()).unwrap();
    let Some(cdfs::DirectoryEntry::Directory(folder)) = iso.open("d").unwrap() else { panic!() };
    for entry in folder.contents().skip(2) {
        println!("cdfs: {}", entry.unwrap().identifier());
    }
    let second = format!("2-{}-two.txt", "x".repeat(150));
    println!("cdfs: the second by its name: {}", folder.find(&second).unwrap().is_some());

    let tree = isomage::detect_and_parse_filesystem(&mut open(), "").unwrap();
    for file in &tree.children[0].children {
        println!("isomage: {}", file.name);
    }

    let mut iso = iso9660_simple::ISO9660::from_device(Image(open())).unwrap();
    let folder = iso9660_simple::helpers::get_directory_entry_by_path(&mut iso, "d").unwrap();
    for file in (&iso.read_directory(folder.lsb_position() as usize)).skip(2) {
        println!("iso9660_simple: {}", file.name);
    }
}
RUST
middle=$(printf 'x%.0s' {1..150})
for name in 1-"$middle"-one.txt 2-"$middle"-two.txt 3-"$middle"-three.txt; do echo "$name" >tree/d/"$name"; done
unpacked/usr/bin/xorriso -as mkisofs -quiet -R -o names.iso tree 2>/dev/null
PKG_CONFIG=$dir/unpacked/usr/bin/pkgconf PKG_CONFIG_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu/pkgconfig PKG_CONFIG_SYSROOT_DIR=$dir/unpacked \
    cargo build --quiet
echo "cdfs 0.2.3, isomage 2.1.0, iso9660_simple 0.2.7, bsdtar 3.6.2"
{
    unpacked/usr/bin/bsdtar -tf names.iso | sed -n 's,^d/\(.\),bsdtar: \1,p'
    ./target/debug/finding
} | sed 's/xx*/.../' | tee read
cat > expected <<'END'
bsdtar: 1-...-one.txt
bsdtar: 2-...-two.txt
bsdtar: 3-...-three.txt
cdfs: 1-...-one.txt
cdfs: 2-...-one.txt
cdfs: 3-...-one.txt
cdfs: the second by its name: false
isomage: 1-...
isomage: 2-...
isomage: 3-...
iso9660_simple: 1-...
iso9660_simple: 2-...
iso9660_simple: 3-...
END
cmp expected read
