#!/bin/bash
# Expected: the crates exfat and exfat-fs list the files of an exFAT stick; the first says of itself that it is good to go for "listing the
# directories and read the files". A deleted file leaves its entries behind with their first bit cleared (exFAT specification, 6.2.1.1), and the
# list goes on behind them; an empty file has no cluster and a length of 0 (6.3.6); DataLength is a file's length, of which ValidDataLength
# has been written (7.6.5).
# Happens: to the crate exfat the first deleted file ends its folder: whatever was put there later is gone, without an error. exfat-fs refuses a
# folder with an empty file in it: "InvalidStreamExtension", and where that is the root nothing of the stick is read. Both give a file
# with space reserved at its end the length that was written. The time that exfat-fs tells loses the odd second, and 8 hours west of
# UTC are 24 east of it. fsck.exfat finds the stick clean, and the Sleuth Kit's fls and istat list it whole.
# Matters for: the courier (A03 in docs/CONSTITUTION.md), which is to move files from sticks: a list that ends early looks like a stick with less on it.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download exfatprogs=1.2.0-1+deb12u1 sleuthkit=4.11.1+dfsg-1+b1 libtsk19=4.11.1+dfsg-1+b1 libewf2=20140813-1+b1 \
    libafflib0v5=3.7.20-1 libvhdi1=20210425-1+b2 libvmdk1=20200926-2+b2 libbfio1=20170123-6 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
mkdir src
cat > Cargo.toml <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
exfat = "=0.1.0"
exfat-fs = "=0.1.3"
END
cat > src/main.rs <<'END'
use std::fs::File;

fn main() {
    let path = std::env::args().nth(1).unwrap();
    println!("exfat 0.1.0:");
    match exfat::ExFat::open(File::open(&path).unwrap()) {
        Err(error) => println!("    {error}"),
        Ok(volume) => {
            for item in volume {
                match item {
                    exfat::directory::Item::Directory(it) => println!("    {}", it.name()),
                    exfat::directory::Item::File(it) => println!("    {} {}", it.name(), it.len()),
                }
            }
        }
    }
    println!("exfat-fs 0.1.3:");
    match exfat_fs::dir::Root::open(File::open(&path).unwrap()) {
        Err(error) => println!("    {error:?}"),
        Ok(mut root) => {
            for item in root.items() {
                match item {
                    exfat_fs::dir::entry::fs::FsElement::D(it) => println!("    {}", it.name()),
                    exfat_fs::dir::entry::fs::FsElement::F(it) => {
                        let at = it.timestamps().modified();
                        let (time, quarters) = (at.time(), at.utc_offset());
                        let seconds = time.second;
                        println!("    {} {}, second {seconds}, {quarters} quarters of an hour from UTC", it.name(), it.len());
                    }
                }
            }
        }
    }
}
END
cargo build --quiet
# Puts files into the root of an empty volume: a name, the bytes that are written, those that are reserved behind them, whether it is deleted.
cat > put.py <<'END'
import struct, sys

image = open(sys.argv[1], "r+b")
boot = image.read(512)
heap, = struct.unpack_from("<I", boot, 88)
root, = struct.unpack_from("<I", boot, 96)
size = 1 << boot[108] + boot[109]
place = lambda cluster: (heap << boot[108]) + (cluster - 2) * size
entries, cluster = [], root
for word in sys.argv[2:]:
    name, written, reserved, deleted = word.split(",")
    written, whole = int(written), int(written) + int(reserved)
    if whole:
        cluster += 1
        assert whole <= size
        image.seek(place(cluster))
        image.write(b"." * written)
    # 2024-05-06 07:08:09, 8 hours west of UTC.
    stamp = (2024 - 1980) << 25 | 5 << 21 | 6 << 16 | 7 << 11 | 8 << 5 | 9 // 2
    file = bytearray(struct.pack("<BBHHHIIIBBBBB7x", 0x85, 2, 0, 0x20, 0, stamp, stamp, stamp - 1, 100, 100, 0xE0, 0xE0, 0xE0))
    text = name.upper().encode("utf-16-le")
    hashed = 0
    for byte in text:
        hashed = ((hashed << 15 | hashed >> 1) + byte) & 0xFFFF
    flags, first = (3, cluster) if whole and not int(deleted) else (1, 0)
    stream = struct.pack("<BBxBHxxQ4xIQ", 0xC0, flags, len(name), hashed, written if first else 0, first, whole if first else 0)
    put = file + stream + b"\xC1\0" + name.encode("utf-16-le").ljust(30, b"\0")
    total = 0
    for at, byte in enumerate(put):
        if at not in (2, 3):
            total = ((total << 15 | total >> 1) + byte) & 0xFFFF
    struct.pack_into("<H", put, 2, total)
    if int(deleted):
        for at in (0, 32, 64):
            put[at] &= 0x7F
    entries.append(bytes(put))
image.seek(place(root))
have = image.read(size)
end = next(at for at in range(0, size, 32) if have[at] == 0)
bitmap = next(have[at : at + 32] for at in range(0, end, 32) if have[at] == 0x81)
image.seek(place(root) + end)
image.write(b"".join(entries))
image.seek(place(struct.unpack_from("<I", bitmap, 20)[0]))
image.write(((1 << cluster - 1) - 1).to_bytes(64, "little"))
END
export LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu:$dir/unpacked/lib/x86_64-linux-gnu
export PATH=$dir/unpacked/usr/bin:$dir/unpacked/usr/sbin:$PATH
as_described=0
listed() {
    echo "$1:"
    truncate -s 16M image
    mkfs.exfat image >/dev/null
    python3 put.py image "${@:2}"
    fsck.exfat -n image >messages
    sed -n 's/^image: /    fsck.exfat: /p' messages
    grep -q 'clean' messages
    fls image | grep -v '[$]' | sed 's/:\t/ /' >whole
    while read -r _ deleted entry name; do
        [ "$deleted" = '*' ] || { name=$entry entry=$deleted; }
        echo "    fls and istat: $name, $(istat image "${entry%:}" | sed -n 's/^Size: //p')$([ "$deleted" != '*' ] || echo ', deleted')"
    done <whole
    ./target/debug/finding image | tee read | sed 's/^/    /'
    rm image
}
has() { grep -qxF "    $1" read || as_described=1; }
time="second 8, 96 quarters of an hour from UTC"
listed "three files" one,4,0,0 two,5,0,0 three,6,0,0
has "three 6"
has "three 6, $time"
listed "the second is deleted" one,4,0,0 two,5,0,1 three,6,0,0
has "one 4"
[ "$(grep -c 'three' read)" = 1 ] || as_described=1
has "three 6, $time"
listed "the second is empty" one,4,0,0 two,0,0,0 three,6,0,0
has "two 0"
has "three 6"
has "InvalidFileEntry(InvalidStreamExtension)"
listed "the second has 1000 bytes reserved" one,4,0,0 two,5,1000,0 three,6,0,0
has "two 5"
has "two 5, $time"
exit "$as_described"
