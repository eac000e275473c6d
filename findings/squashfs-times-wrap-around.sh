#!/bin/bash
# Expected: a SquashFS image has 32 bits for the time of a file, without a sign: 1970 to 2106. What makes an image of a file from before or after
# gives it the nearest time that there is, or says that it has none.
# Happens: mksquashfs and sqfstar, and gensquashfs of squashfs-tools-ng, cut the upper bits off without a word: a file of 2128 is one of 1992, one
# that is a second too late is one of 1970, and one from five seconds before 1970 is the newest of all, of 2106. tar2sqfs of the same
# squashfs-tools-ng takes the nearest. sqfstar ends with an error at a file from before 1970, in either form that GNU tar has for it.
# Relies on it: xtask/factory/src/room/layer.rs, which takes the nearest time that there is before an archive goes to sqfstar.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download squashfs-tools=1:4.5.1-1 liblzo2-2=2.10-2 squashfs-tools-ng=1.2.0-1 libsquashfs1=1.2.0-1 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
export PATH=$dir/unpacked/usr/bin:$PATH LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu TZ=UTC
{ mksquashfs -version | head -n 1; tar2sqfs --version | head -n 1; } || true
mkdir files
touch -d @-5 files/before
touch -d @4294967295 files/last
touch -d @4294967296 files/next
touch -d @5000000000 files/of-2128
tar --format=pax -cf all.tar -C files before last next of-2128
tar --format=gnu -cf before.tar -C files before
tar --format=pax -cf later.tar -C files last next of-2128
echo "packed: $(stat -c '%n %.16y,' files/* | sed 's,files/,,' | tr '\n' ' ')"
as_described=0
# What made the image, and what it is to hold.
look() {
    local held
    [ ! -s said ] || as_described=1
    held=$(unsquashfs -lls image | sed -n 's,.* \([0-9]*\)-[0-9]*-[0-9]* [0-9:]* squashfs-root/\(.*\),\2 \1,p' | tr '\n' ' ')
    echo "$1: $held$(cat said)"
    [ "$held" = "$2 " ] || as_described=1
    rm image
}
mksquashfs files image -quiet -no-progress >said 2>&1
look mksquashfs "before 2106 last 2106 next 1970 of-2128 1992"
sqfstar -quiet -no-progress image <later.tar >said 2>&1
look sqfstar "last 2106 next 1970 of-2128 1992"
gensquashfs -q -D files -k image >said 2>&1
look gensquashfs "before 2106 last 2106 next 1970 of-2128 1992"
tar2sqfs -q image <all.tar >said 2>&1
look tar2sqfs "before 1970 last 2106 next 2106 of-2128 2106"
for archive in all before; do
    code=0
    sqfstar -quiet -no-progress none <$archive.tar >said 2>&1 || code=$?
    echo "sqfstar, $archive.tar: ends with $code, $(head -n 1 said)"
    [ "$code" = 1 ] && [ ! -e none ] || as_described=1
done
exit "$as_described"
