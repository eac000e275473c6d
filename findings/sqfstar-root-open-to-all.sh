#!/bin/bash
# Expected: an archive's entry for its root, the `./` that `tar -C FOLDER .` begins with, gives the root of the image its mode, owner and time,
# as each other entry does for its folder, and as mksquashfs has it of the same folder.
# Happens: sqfstar passes over it and ends with 0: the image's root belongs to root, is of the time of packing, and has the mode 0777. With an
# overlay over such an image, / takes files of every user in it.
# Relies on it: xtask/factory/src/room/pack.rs, which says mode, owner and time of the root on the command line.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download squashfs-tools=1:4.5.1-1 liblzo2-2=2.10-2 squashfs-tools-ng=1.2.0-1 libsquashfs1=1.2.0-1 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
export PATH=$dir/unpacked/usr/bin:$PATH LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu TZ=UTC
sqfstar -version | head -1
tar2sqfs --version | head -1
mkdir -p root/sub
chmod 750 root root/sub
touch -d 2001-02-03T04:05 root root/sub
tar -C root --owner=5 --group=6 -cf root.tar .
mksquashfs root by-folder.sqfs -quiet -no-progress -force-uid 5 -force-gid 6 >/dev/null
tar2sqfs -q by-other.sqfs <root.tar
sqfstar by-tar.sqfs <root.tar >/dev/null 2>said
for image in by-folder by-other by-tar; do
    # Mode, owner, size, date, time, name.
    unsquashfs -lln $image.sqfs | awk '/squashfs-root/ {print $1, $2, $4, $5, $6}' >$image
    echo "$image:"
    cat $image
done
echo "sqfstar says: $(cat said)"
for image in by-folder by-other; do grep -qx 'drwxr-x--- 5/6 2001-02-03 04:05 squashfs-root' $image; done
grep -q '^drwxrwxrwx 0/0 .* squashfs-root$' by-tar && ! grep -q '2001.* squashfs-root$' by-tar
grep -qx 'drwxr-x--- 5/6 2001-02-03 04:05 squashfs-root/sub' by-tar
