#!/bin/bash
# Expected: a reader of ext4 gives a file's content, or says that it cannot. With `inline_data` a small file stands in its inode: the first 60 bytes in i_block,
# the rest as the extended attribute system.data (Linux, ext4, "Inline Data"; also the targets of links). Without `extents`, as on a file system that was
# ext3 before, i_block is a list of blocks ("Direct/Indirect Block Addressing").
# Happens: of 100 bytes the Python package dissect.extfs gives the first 60, and of a link's target as well. The Python package ext4 gives 100 bytes, of which
# the last 40 are what stands behind i_block in the inode: times, sizes and a checksum. Without extents its root is empty and no name is found; nothing says
# that it cannot read such a one. Files of 60 bytes and less, and those with extents, are right; debugfs has all of them.
# Matters for: reading build/persist.img, or another disk, on the host without mounting it.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download e2fsprogs=1.47.0-2+b2 libext2fs2=1.47.0-2+b2 libss2=1.47.0-2+b2 libcom-err2=1.47.0-2+b2 libblkid1 libuuid1 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
export LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu:$dir/unpacked/lib/x86_64-linux-gnu
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check dissect.extfs==3.15 ext4==1.4.1 >&2
mkdir -p tree/folder
printf 's%.0s' {1..60} >tree/short
printf 'm%.0s' {1..100} >tree/long
ln -s "$(printf 'l%.0s' {1..100})" tree/link
touch tree/folder/{1..5}
for features in inline_data '^extents,^64bit'; do
    truncate -s 16M "$features.img"
    unpacked/sbin/mke2fs -q -t ext4 -O "$features" -d tree "$features.img"
done
cat > read.py <<'PY'
import sys

import ext4
from dissect.extfs import ExtFS


def told(text):
    """A run of one letter as its length."""
    text = text if isinstance(text, bytes) else text.encode()
    kept = len(text) - len(text.lstrip(text[:1]))
    return f"{kept}" if kept == len(text) else f"{kept} and {len(text) - kept} others"


with open(sys.argv[1], "rb") as file:
    system = ExtFS(file)
    names = [it for it in system.get("folder").listdir() if it not in (".", "..")]
    contents = [told(system.get(it).open().read()) for it in ("short", "long")]
    print("dissect.extfs:", *contents, "| link", told(system.get("link").link), "| folder", len(names))
with open(sys.argv[1], "rb") as file:
    system = ext4.Volume(file)
    try:
        names = [it for it, _ in system.inode_at("/folder").opendir() if it.name_str not in (".", "..")]
        contents = [told(system.inode_at(it).open().read()) for it in ("/short", "/long")]
        print("ext4:", *contents, "| folder", len(names))
    except FileNotFoundError as error:
        print("ext4: no", error, "| root", len(list(system.root.opendir())))
PY
echo "dissect.extfs 3.15, ext4 1.4.1, e2fsprogs 1.47.0"
for features in inline_data '^extents,^64bit'; do
    echo "$features"
    debugfs() { unpacked/sbin/debugfs -R "$1" "$features.img" 2>/dev/null; }
    echo "    debugfs: $(debugfs 'cat /short' | wc -c) $(debugfs 'cat /long' | wc -c) | folder $(debugfs 'ls -p /folder' | grep -c '/100644/')"
    env/bin/python read.py "$features.img" | sed 's/^/    /'
done | tee read
cat > expected <<'END'
inline_data
    debugfs: 60 100 | folder 5
    dissect.extfs: 60 60 | link 60 | folder 5
    ext4: 60 60 and 40 others | folder 5
^extents,^64bit
    debugfs: 60 100 | folder 5
    dissect.extfs: 60 100 | link 100 | folder 5
    ext4: no folder | root 0
END
cmp expected read
