#!/bin/bash
# Expected: a crate that reads ISO 9660 lists all of a folder, reads a file's part from where it is asked to, and has the time that stands there. A record of a
# folder ends in the sector in which it begins, and what is left of that sector is zero (ECMA-119, 6.8.1.1): the next record is in the next sector.
# A time has its distance from Greenwich in quarters of an hour, from -48 to 52, in one signed byte (9.1.5).
# Happens: to the crate iso9660_simple the first zero ends the folder: of 60 files it lists 44, and with Joliet, whose names take more room, 36. No error.
# read_file with an offset takes no account of the file's end: it gives as many bytes as the whole file has, the last ones from behind it, and the number of
# them as if they were the file's. The crate iso9660 has all 60, and takes the byte of the time for unsigned: five hours west of Greenwich, 236, is too
# far, so the zone is none, and noon in New York is noon in Greenwich. The crate isomage lists all of them, and bsdtar does and has the time.
# Matters for: sticks with an ISO 9660 on them, as they come with other systems: bay0 names it alone (bay0-state/src/content.rs), and a room that reads one
# would take such a crate.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download genisoimage=9:1.1.11-3.4 libmagic1=1:5.44-3 libarchive-tools=3.6.2-1+deb12u5 libarchive13=3.6.2-1+deb12u5 \
    libxml2=2.9.14+dfsg-1.3~deb12u6 libicu72=72.1-3+deb12u1 libnettle8=3.8.1-2 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
export LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu
mkdir -p src tree/D
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
iso9660 = "=0.1.1"
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
    let path = std::env::args().nth(1).unwrap();
    let open = || File::open(&path).unwrap();

    let mut iso = iso9660_simple::ISO9660::from_device(Image(open())).unwrap();
    let folder = iso9660_simple::helpers::get_directory_entry_by_path(&mut iso, "D").unwrap();
    let files: Vec<_> = (&iso.read_directory(folder.lsb_position() as usize)).filter(|it| it.is_file()).collect();
    println!("iso9660_simple: {} files", files.len());
    let mut bytes = [b'.'; 12];
    let count = iso.read_file(&files[0], 5, &mut bytes).unwrap();
    println!("iso9660_simple: {} bytes from 5 on of {}: {:?}", count, files[0].file_size(), String::from_utf8_lossy(&bytes[..count]));

    let iso = iso9660::ISO9660::new(open()).unwrap();
    let Some(iso9660::DirectoryEntry::Directory(folder)) = iso.open("D").unwrap() else { panic!() };
    let files: Vec<_> = folder.contents().map(Result::unwrap).filter(|it| matches!(it, iso9660::DirectoryEntry::File(_))).collect();
    println!("iso9660: {} files, of {}", files.len(), files[0].header().time);

    let tree = isomage::detect_and_parse_filesystem(&mut open(), "").unwrap();
    println!("isomage: {} files", tree.children[0].children.len());
}
RUST
for number in {01..60}; do
    echo "file $number" >"tree/D/$number-of-many"
done
touch -d '2024-01-01 12:00:00 -0500' tree/D/*
TZ=EST5 unpacked/usr/bin/genisoimage -quiet -o plain.iso tree
TZ=EST5 unpacked/usr/bin/genisoimage -quiet -J -o joliet.iso tree
cargo build --quiet
echo "iso9660_simple 0.2.7, iso9660 0.1.1, isomage 2.1.0, bsdtar 3.6.2"
for form in plain joliet; do
    echo "$form"
    unpacked/usr/bin/bsdtar -cf entries --format=mtree "@$form.iso"
    at=$(sed -n 's/.*D\/01.* time=\([0-9]*\).*/\1/Ip' entries)
    echo "    bsdtar: $(grep -ci 'D/[0-9].*type=file' entries) files, of $(date -u -d "@$at" '+%F %T') +00:00"
    ./target/debug/finding $form.iso | sed 's/^/    /'
done | tee read
as_described=0
has() { [ "$(grep -cF "    $1" read)" = "$2" ] || as_described=1; }
has 'bsdtar: 60 files, of 2024-01-01 17:00:00 +00:00' 2
has 'isomage: 60 files' 2
has 'iso9660: 60 files, of 2024-01-01 12:00:00.0 +00:00:00' 2
has 'iso9660_simple: 44 files' 1
has 'iso9660_simple: 36 files' 1
has 'iso9660_simple: 8 bytes from 5 on of 8: "01\n\0\0\0\0\0"' 2
exit "$as_described"
