#!/bin/bash
# Expected: mformat makes a file system that fits the image which it is given, whatever size of sectors is asked for with -S or -M.
# Happens: it counts the image in sectors of 512 bytes and makes as many of the size that was asked for: with 4096, as disks have it whose sectors
# are that long, the file system says that it is eight times as large as the image. Nothing is said. mdir tells the space as free, mcopy writes
# behind the end of the image and lets the file grow, and fsck.vfat does not read it at all. With -T, or with 512, it is as it should be.
# Relies on it: xtask/factory/src/uefi/slot.rs gives mformat the number of sectors and a geometry, and so does not have it ask the file.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download dosfstools=4.2-1 mtools=4.0.33-1+really4.0.32-1 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
PATH=$dir/unpacked/usr/bin:$dir/unpacked/usr/sbin:$dir/unpacked/sbin:$PATH
export MTOOLSRC=/dev/null
echo "$(mformat --version | head -1); fsck.fat 4.2"
bytes=$((64 << 20))
head -c 80000000 /dev/zero >larger
as_described=0
# What of the image's size the file system says to be, what fsck.vfat and mcopy of a file that is larger than the image end with, and
# whether the image has grown; the rest goes to mformat.
try() {
    expected=$1
    shift
    truncate -s $bytes image
    mformat -i image "$@" ::
    # The boot sector: bytes of a sector, sectors in 16 bits or in 32.
    sector=$(od -An -tu2 -j11 -N2 image)
    count=$(od -An -tu2 -j19 -N2 image)
    [ "$count" -gt 0 ] || count=$(od -An -tu4 -j32 -N4 image)
    checked=0
    fsck.vfat -n image >/dev/null 2>&1 || checked=$?
    copied=0
    mcopy -i image larger ::/LARGER 2>/dev/null || copied=$?
    grown=no
    [ "$(stat -c %s image)" = $bytes ] || grown=yes
    part=$((sector * count * 100 / bytes))
    echo "mformat $*: $part% of the image; fsck.vfat ends with $checked, mcopy with $copied, grown: $grown"
    [ "$part% $checked $copied $grown" = "$expected" ] || as_described=1
    rm image
}
try '100% 0 1 no'
try '100% 0 1 no' -S 2
try '200% 1 0 yes' -S 3
try '800% 1 0 yes' -S 5
try '800% 1 0 yes' -M 4096
try '100% 0 1 no' -S 5 -T $((bytes / 4096))
exit "$as_described"
