#!/bin/bash
# Expected: `veritysetup format` protects all of an image, by filling up its last block, or refuses one that is not a whole number of blocks.
# Happens: the bytes behind the last whole block are left out without a word, and it ends with 0: an image and the same image with more bytes
# behind it have one root hash. Nor are they in the device that is made of it, which has whole blocks alone. A SquashFS that was written
# with -nopad has its tables there.
# Relies on it: xtask/factory/src/verity.rs, which fills up the last block with zeros; its test compares with veritysetup on whole blocks.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download cryptsetup-bin=2:2.6.1-4~deb12u2 libcryptsetup12=2:2.6.1-4~deb12u2 libpopt0=1.19+dfsg-1 libdevmapper1.02.1=2:1.02.185-2 \
    libargon2-1=0~20171227-0.3+deb12u1 libjson-c5=0.16-2 squashfs-tools=1:4.5.1-1 liblzo2-2=2.10-2 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
export PATH=$dir/unpacked/sbin:$dir/unpacked/usr/sbin:$dir/unpacked/usr/bin:$PATH
export LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu:$dir/unpacked/lib/x86_64-linux-gnu
veritysetup --version
mkdir files
seq 10000 >files/numbers
mksquashfs files image -quiet -no-progress -nopad >/dev/null
bytes=$(stat -c %s image)
whole=$((bytes / 4096 * 4096))
head -c $whole image >short
# Where SquashFS keeps the owners of files: the superblock tells, 48 bytes from its start.
owners=$(od -An -tu8 -j48 -N8 image | tr -d ' ')
for what in image short; do
    code=0
    veritysetup format --salt=00 --uuid=11111111-1111-1111-1111-111111111111 $what $what.hash >$what.told 2>&1 || code=$?
    echo "$what: $(stat -c %s $what) bytes, ends with $code, $(grep 'Data blocks' $what.told | tr -s '[:blank:]' ' '), $(grep 'Root hash' $what.told)"
done
echo "the table of owners of the SquashFS is named at byte $owners, and byte $whole is the first that is left out"
grep -i 'whole\|multiple\|size.*block.*not' image.told && exit 1
[ $((bytes % 4096)) -gt 0 ] && [ "$owners" -ge $whole ] && cmp image.told <(sed 's/short.hash/image.hash/' short.told)
