#!/bin/bash
# Expected: `cryptsetup isLuks`, `luksUUID` and `luksDump` look at a disk and leave it as it is; the manual has them among the commands that
# report, and only `repair` as one that mends.
# Happens: where one of the two headers of LUKS2 is gone and the other is whole, each of them writes the missing one anew before it answers.
# Whoever asks a disk what it is has changed it, and a disk whose first sector somebody has just cleared is a vault again.
# Relies on it: bay0-state/src/content.rs tells what is on a disk from its bytes, which it opens for reading; it asks no tool of the
# vault about a disk that is not known to be one.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download cryptsetup-bin=2:2.6.1-4~deb12u2 libcryptsetup12=2:2.6.1-4~deb12u2 libpopt0=1.19+dfsg-1 libdevmapper1.02.1=2:1.02.185-2 \
    libargon2-1=0~20171227-0.3+deb12u1 libjson-c5=0.16-2 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
export PATH=$dir/unpacked/sbin:$PATH
export LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu:$dir/unpacked/lib/x86_64-linux-gnu
cryptsetup --version
truncate -s 32M vault
printf 'a passphrase' | cryptsetup -q luksFormat --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 vault -
as_described=0
# first: what of the disk is cleared, in bytes from its start; then the question.
ask() {
    cp --sparse=always vault disk
    dd if=/dev/zero of=disk bs=512 seek=$(($1 / 512)) count=1 conv=notrunc status=none
    before=$(sha256sum <disk)
    status=0
    cryptsetup "$2" disk >/dev/null 2>&1 || status=$?
    changed=yes
    [ "$before" != "$(sha256sum <disk)" ] || changed=no
    echo "sector at byte $1 cleared, $2 ends with $status, has changed the disk: $changed"
    [ "$changed" = yes ] || as_described=1
}
for question in isLuks luksUUID luksDump; do
    ask 0 $question
    ask 16384 $question
done
exit "$as_described"
