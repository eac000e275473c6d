#!/bin/bash
# Expected: mke2fs makes a file system with the files of a folder (`-d`, "copy the contents of the given directory into the root directory"), each as long and
# with the content that it has there, whatever the features of the file system are.
# Happens: with `-O inline_data` a file with a hole at its end is cut behind its last piece of data: one of 500001 bytes with ten bytes at 300000 is 300032
# long, and one that is a hole alone has 60 bytes, whether it had 500001 or 90. The end of mke2fs is 0, it says nothing, and e2fsck finds nothing wrong.
# Without the feature the same files are whole, and so is one without a hole.
# Matters for: xtask/factory/src/persist.rs, which makes its disk with mke2fs and without this feature. Images of disks and databases have such holes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download e2fsprogs=1.47.0-2+b2 libext2fs2=1.47.0-2+b2 libss2=1.47.0-2+b2 libcom-err2=1.47.0-2+b2 libblkid1 libuuid1 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
export LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu:$dir/unpacked/lib/x86_64-linux-gnu
mkdir tree
printf 'ten bytes.' | dd of=tree/holes bs=1 seek=300000 status=none
truncate -s 500001 tree/holes
truncate -s 500001 tree/hole
truncate -s 90 tree/small-hole
head -c 500001 /dev/urandom >tree/whole
echo "mke2fs 1.47.0"
for features in ^inline_data inline_data; do
    truncate -s 16M "$features.img"
    unpacked/sbin/mke2fs -q -t ext4 -O "$features" -d tree "$features.img"
    unpacked/sbin/e2fsck -fn "$features.img" >log 2>&1 || echo "$features: not clean"
    for file in holes hole small-hole whole; do
        unpacked/sbin/debugfs -R "dump /$file out" "$features.img" 2>/dev/null
        echo "$features $file: $(stat -c %s tree/$file) bytes, $(stat -c %s out) $(cmp -s tree/$file out && echo the same || echo not the same)"
    done
done | tee read
cat > expected <<'END'
^inline_data holes: 500001 bytes, 500001 the same
^inline_data hole: 500001 bytes, 500001 the same
^inline_data small-hole: 90 bytes, 90 the same
^inline_data whole: 500001 bytes, 500001 the same
inline_data holes: 500001 bytes, 300032 not the same
inline_data hole: 500001 bytes, 60 not the same
inline_data small-hole: 90 bytes, 60 not the same
inline_data whole: 500001 bytes, 500001 the same
END
cmp expected read
