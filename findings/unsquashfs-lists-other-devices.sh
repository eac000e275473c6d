#!/bin/bash
# Expected: `unsquashfs -lls` shows a device file of a SquashFS image with the numbers that it has, as `ls -l` does.
# Happens: it cuts the 32 bits of the image after the eighth. A minor number has 20 of them, and those beyond eight lie above the major one: they
# are shown as part of the major, and a device 8,256 is listed as 4104,0. The image is right: unsquashfs itself unpacks the devices that
# were packed, and rdsquashfs of squashfs-tools-ng lists them so.
# Matters for: xtask/factory/src/room/tests/peers.rs, which compares what unsquashfs unpacks and not what it lists. A listing that is
# read for what an image holds names devices that are not in it. The script needs root, to make device files.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download squashfs-tools=1:4.5.1-1 liblzo2-2=2.10-2 squashfs-tools-ng=1.2.0-1 libsquashfs1=1.2.0-1 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
export PATH=$dir/unpacked/usr/bin:$PATH LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu
unsquashfs -version | head -n 1 || true
mkdir devices
# The last minor number of eight bits, the next one, a far one, and one of a character device whose major has nine.
mknod devices/old b 8 255
mknod devices/next b 8 256
mknod devices/far b 259 70000
mknod devices/letter c 511 4096
mksquashfs devices image -quiet -no-progress
unsquashfs -quiet -no-progress -dest unpacked-devices image >/dev/null
unsquashfs -lls image | tr -s ' ' | sed -n 's,^\([bc]\)[^ ]* [^ ]* \(.*\) [0-9-]* [0-9:]* squashfs-root/\(.*\),\3 \2,p' | sed 's/, /,/' | sort >listed
rdsquashfs -d image | sed -n 's/^nod \([a-z]*\) .* \([0-9]*\) \([0-9]*\)$/\1 \2,\3/p' | sort >by-ng
for name in far letter next old; do
    echo "$name: packed $(stat -c %Hr,%Lr devices/$name), unpacked $(stat -c %Hr,%Lr unpacked-devices/$name)," \
        "rdsquashfs $(sed -n "s/^$name //p" by-ng), unsquashfs -lls $(sed -n "s/^$name //p" listed)"
    stat -c "%n %Hr,%Lr" devices/$name | sed 's,.*/,,' >>packed
    stat -c "%n %Hr,%Lr" unpacked-devices/$name | sed 's,.*/,,' >>unpacked-again
done
cmp packed unpacked-again
cmp packed by-ng
cmp listed - <<'EOF'
far 1118467,112
letter 66047,0
next 4104,0
old 8,255
EOF
