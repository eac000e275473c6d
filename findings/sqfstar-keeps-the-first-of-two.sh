#!/bin/bash
# Expected: where an archive holds one name twice, the later member counts. That is what `tar` itself does when it unpacks, what its manual
# describes for --append, and what layers of images count on.
# Happens: sqfstar keeps the first, says so in one line on its standard error, and ends with 0. An image made of an archive that was appended
# to holds the old content. A name that is first a file and then a directory ends it with an error, where tar replaces the file.
# Relies on it: xtask/factory/src/room/pack.rs gives sqfstar one archive in which each path stands once, after all layers were put together in
# xtask/factory/src/room/tree.rs; layers are never appended to each other and handed over.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download squashfs-tools=1:4.5.1-1 2>/dev/null >&2
dpkg -x ./squashfs-tools_*.deb unpacked
tools=$dir/unpacked/usr/bin
"$tools/sqfstar" -version | head -n 1 || true
mkdir old new by-tar
echo first >old/file
echo second >new/file
tar -cf twice.tar -C old file
tar -rf twice.tar -C new file
tar -xf twice.tar -C by-tar
status=0
"$tools/sqfstar" -quiet -no-progress image.sqfs <twice.tar 2>messages || status=$?
by_sqfstar=$("$tools/unsquashfs" -cat image.sqfs file)
echo "tar unpacks:    $(cat by-tar/file)"
echo "sqfstar packs:  $by_sqfstar (exit $status)"
echo "sqfstar writes: $(cat messages)"
[ "$(cat by-tar/file)" = second ] && [ "$by_sqfstar" = first ] && [ "$status" = 0 ]
