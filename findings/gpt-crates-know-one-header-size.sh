#!/bin/bash
# Expected: a GUID partition table whose header says that it is longer than 92 bytes is read like any other: it may be as long as a sector, and
# its checksum is over the length that it says (UEFI 2.10, 5.3.2). A reader that knows fewer fields leaves the rest alone.
# Happens: the crate gpt takes the checksum over 92 bytes whatever the header says, and reports both copies as corrupted; the crate gptman refuses
# the size. sgdisk finds no problem, sfdisk and GNU Parted list the partition, and blkid knows the table.
# Relies on it: bay0-persona/src/gpt.rs, which takes the checksum over as many bytes as the header says.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download gdisk=1.0.9-2.1 fdisk=2.38.1-5+deb12u3 libfdisk1=2.38.1-5+deb12u3 parted=3.5-3+deb12u1 libparted2=3.5-3+deb12u1 \
    libpopt0=1.19+dfsg-1 libdevmapper1.02.1=2:1.02.185-2 libreadline8=8.2-1.3 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
mkdir src
cat > Cargo.toml <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
crc32fast = "=1.5.0"
gpt = "=4.1.0"
gptman = "=3.1.1"
END
cat > src/main.rs <<'END'
use std::fs::{self, File};

/// Has both headers of the table on `image` say that they are this long.
fn lengthen(image: &str, size: u32) {
    let mut disk = fs::read(image).unwrap();
    for at in [512, disk.len() - 512] {
        let header = &mut disk[at..at + 512];
        header[12..16].copy_from_slice(&size.to_le_bytes());
        header[16..20].fill(0);
        let sum = crc32fast::hash(&header[..size as usize]);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
    }
    fs::write(image, disk).unwrap();
}

fn main() {
    let image = std::env::args().nth(1).unwrap();
    let size = std::env::args().nth(2).unwrap().parse().unwrap();
    lengthen(&image, size);
    let gpt = gpt::GptConfig::new().writable(false).open(&image);
    let gpt = gpt.map_or_else(|error| error.to_string(), |disk| format!("{} partition", disk.partitions().len()));
    let gptman = gptman::GPT::read_from(&mut File::open(&image).unwrap(), 512);
    let gptman = gptman.map_or_else(
        |error| error.to_string(),
        |table| format!("{} partition", table.iter().filter(|(_, part)| part.is_used()).count()),
    );
    println!("gpt: {gpt}\ngptman: {gptman}");
}
END
cargo build --quiet
PATH=$dir/unpacked/sbin:$PATH
export LD_LIBRARY_PATH=$dir/unpacked/lib/x86_64-linux-gnu:$dir/unpacked/usr/lib/x86_64-linux-gnu
echo "gpt 4.1.0; gptman 3.1.1; $(parted --version | head -1); $(sfdisk --version); $(sgdisk --version | head -1); $(blkid --version)"
truncate -s 8M image
sgdisk --new=1:2048:4095 image >/dev/null
as_described=0
for size in 92 96 512; do
    ./target/debug/finding image $size >crates
    {
        echo "sgdisk: $(sgdisk --verify image | grep -o 'No problems found')"
        echo "sfdisk: $(sfdisk --dump image | grep -c 'start= *2048') partition"
        echo "parted: $(parted --script --machine image unit s print 2>/dev/null | grep -c ':2048s:') partition"
        echo "blkid: $(blkid -p -s PTTYPE -o value image)"
    } >tools
    echo "header of $size bytes:"
    cat crates tools
    if [ $size = 92 ]; then
        [ "$(grep -c ': 1 partition' crates)" = 2 ] || as_described=1
    else
        grep -q 'gpt: .*CRC32 Checksum Mismatch' crates || as_described=1
        grep -q 'gptman: .*invalid header size.*invalid header size' crates || as_described=1
    fi
    cmp -s tools <(printf 'sgdisk: No problems found\nsfdisk: 1 partition\nparted: 1 partition\nblkid: gpt\n') || as_described=1
done
exit "$as_described"
