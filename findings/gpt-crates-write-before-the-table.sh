#!/bin/bash
# Expected: a program that adds a partition writes the entries where the header says they are. `sgdisk --move-main-table` moves them away from
# sector 2 for boards whose first boot loader has to lie there (UEFI 2.10, 5.3.2: the header names the place).
# Happens: the crate gpt reads the entries from their place, writes them to sector 2 and says so in its header: what lay there, the boot loader,
# is overwritten, and the call answers Ok. The crate gptman writes the first copy to its place, the second copy to sector 2 instead of the
# end of the disk, and has the second header name that. GNU Parted does as gpt does. sfdisk and sgdisk leave all as it was.
# Relies on it: xtask/factory/src/roomdisk.rs, which has gpt make a new table and never change one; boards of aarch64, which A17 in
# docs/CONSTITUTION.md keeps possible, are among those with a loader there.
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
gpt = "=4.1.0"
gptman = "=3.1.1"
END
cat > src/main.rs <<'END'
use std::fs::File;

/// Adds a partition of 2048 sectors to the table on `image`.
fn main() {
    let [_, who, image] = [0, 1, 2].map(|at| std::env::args().nth(at).unwrap());
    if who == "gpt" {
        let mut disk = gpt::GptConfig::new().writable(true).open(image).unwrap();
        disk.add_partition("new", 1 << 20, gpt::partition_types::LINUX_FS, 0, Some(2048)).unwrap();
        disk.write().unwrap();
        return;
    }
    let mut file = File::options().read(true).write(true).open(image).unwrap();
    let mut table = gptman::GPT::read_from(&mut file, 512).unwrap();
    let first = table.find_first_place(2048).unwrap();
    table[2] = gptman::GPTPartitionEntry {
        partition_type_guid: [7; 16],
        unique_partition_guid: [9; 16],
        starting_lba: first,
        ending_lba: first + 2047,
        attribute_bits: 0,
        partition_name: "new".into(),
    };
    table.write_into(&mut file).unwrap();
}
END
cargo build --quiet
PATH=$dir/unpacked/sbin:$PATH
export LD_LIBRARY_PATH=$dir/unpacked/lib/x86_64-linux-gnu:$dir/unpacked/usr/lib/x86_64-linux-gnu
echo "gpt 4.1.0; gptman 3.1.1; $(parted --version | head -1); $(sfdisk --version); $(sgdisk --version | head -1)"

# Sectors 2 to 63 have the loader, 64 to 95 the entries.
truncate -s 8M made
sgdisk --new=1:2048:4095 made >/dev/null
sgdisk --move-main-table=64 made >/dev/null
yes LOADER | head -c $((62 * 512)) >loader
dd if=loader of=made bs=512 seek=2 conv=notrunc status=none

# The u64 at this byte of the image.
number() { od -An -tu8 -j"$1" -N8 image | tr -d ' '; }
add() {
    case $1 in
        gpt | gptman) ./target/debug/finding "$1" image ;;
        sfdisk) echo 'size=2048, name=new' | sfdisk --quiet --append image ;;
        sgdisk) sgdisk --new=0:0:+1M image ;;
        parted) parted --script image unit s mkpart new ext4 8192 10239 ;;
    esac >/dev/null 2>&1
}
as_described=0
# who; whether the loader is whole; where the first header and the second say that the entries are.
after() {
    cp made image
    status=0
    add "$1" || status=$?
    whole=yes
    cmp -s loader <(dd if=image bs=512 skip=2 count=62 status=none) || whole=no
    first=$(number $((512 + 72)))
    second=$(number $(((8 << 20) - 512 + 72)))
    echo "$1: ends with $status, loader whole: $whole, entries at sector $first, second copy at $second"
    [ "$status $whole $first $second" = "0 $2 $3 $4" ] || as_described=1
}
after gpt no 2 16351
after gptman no 64 2
after parted no 2 16351
after sfdisk yes 64 16351
after sgdisk yes 64 16351
exit "$as_described"
