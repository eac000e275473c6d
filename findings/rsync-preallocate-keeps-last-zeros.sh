#!/bin/bash
# Expected: with --sparse and --preallocate together rsync reserves a file's space and gives back what turns out to be zeros, where the file system
# can punch holes; so its manual says, and 3.5.0 has been mended to do it.
# Happens: zeros before data are given back, zeros at the end are not: a file of 1 MiB of data and 4 of zeros takes 5, and one of nothing but zeros is
# wholly allocated. With --sparse alone both take what their data takes; and with --inplace as a third option they do as well.
# Matters for: the courier (A03 in docs/CONSTITUTION.md), which is to move images of disks, whose ends are zeros more often than not, and has to
# give back the last zeros too if it reserves space for a file first.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download rsync=3.5.0+ds1-0+deb12u1 libpopt0=1.19+dfsg-1 libxxhash0=0.8.1-1 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
export PATH=$dir/unpacked/usr/bin:$PATH LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu
rsync --version | head -n 1
# A digit is a MiB: of data or of zeros.
make() {
    for part in $(echo "$1" | sed 's/./& /g'); do
        [ "$part" = 0 ] && head -c 1M /dev/zero || head -c 1M /dev/zero | tr '\0' x
    done >"from/$1"
}
mkdir from
for file in 100001 00001 10000 0000; do make $file; done
cp from/0000 dug
fallocate --dig-holes dug
[ "$(stat -c %b dug)" = 0 ] || { echo "the file system of $dir makes no holes"; exit 1; }
for options in --sparse "--sparse --preallocate" "--sparse --preallocate --inplace"; do
    rm -rf to
    rsync --archive $options from/ to
    echo "$options:"
    line=
    for file in 100001 00001 10000 0000; do
        cmp from/$file to/$file
        # Up to a tenth is the file system's own.
        mib=$((($(stat -c %b to/$file) * 512 + 100000) >> 20))
        echo "    $file: ${#file} MiB, of which $mib are allocated"
        line="$line $mib"
    done
    echo "$options:$line" >>found
done
cmp found - <<'EOF'
--sparse: 2 1 1 0
--sparse --preallocate: 2 1 5 4
--sparse --preallocate --inplace: 2 1 1 0
EOF
