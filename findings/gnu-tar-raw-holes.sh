#!/bin/bash
# Expected: with --sparse --hole-detection=raw GNU tar scans the whole file and leaves out what is zeros, as its manual says of this way.
# Happens: it scans only a file that has fewer blocks than its size. A file of zeros that is wholly allocated is stored in full; with one
# hole more at its end, the same zeros are left out all at once.
# Relies on it: xtask/factory/src/room/records/tests.rs, which has to make real holes before it asks tar for sparse archives.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download tar=1.34+dfsg-1.2+deb12u1 2>/dev/null >&2
dpkg -x ./*.deb unpacked
tar=$PWD/unpacked/bin/tar
"$tar" --version | head -1
head -c 1048576 /dev/zero >full
cp --sparse=never full almost
truncate -s +4096 almost
sync full almost
stored() { "$tar" --sparse --hole-detection="$2" -cf - "$1" | wc -c; }
for file in full almost; do
    for way in raw seek; do
        stat -c "%n: %s bytes, %b blocks of 512; $way stores $(stored $file $way)" $file
    done
done
[ "$(stored full raw)" -gt 1048576 ] && [ "$(stored almost raw)" -lt 65536 ] && [ "$(stored almost seek)" -gt 1048576 ]
