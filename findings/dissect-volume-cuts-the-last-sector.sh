#!/bin/bash
# Expected: a partition that the Python package dissect.volume finds in a GUID partition table is as long as the table says: its last block belongs
# to it (UEFI 2.10, Table 5.6, "Ending LBA ... inclusive"), as the package's own comment on the format has it.
# Happens: it is one sector shorter, without a word, and a read of it ends there. One of a single sector is empty.
# Of a disk with an MBR the same partition is whole. sfdisk and sgdisk have the number of sectors right.
# Matters for: who takes a partition off a disk on the host (docs/INCIDENT-RESPONSE-PLAYBOOK.md): what lies in its last sector is gone, and the hash of
# what was taken is not the one of what is there. bay0-persona/src/gpt.rs counts both ends in.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download fdisk=2.38.1-5+deb12u3 libfdisk1=2.38.1-5+deb12u3 libsmartcols1=2.38.1-5+deb12u3 libreadline8=8.2-1.3 gdisk=1.0.9-2.1 \
    libpopt0=1.19+dfsg-1 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check dissect.volume==3.18 >&2
export PATH=$dir/unpacked/sbin:$PATH LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu:$dir/unpacked/lib/x86_64-linux-gnu
cat > finding.py <<'END'
import sys
from dissect.volume.disk import Disk

for partition in Disk(open(sys.argv[1], "rb")).partitions:
    content = partition.open().read()
    last = content[-512:].strip(b"\0").decode() if content else "nothing"
    print(f"{partition.number}: {partition.size // 512} sectors, {len(content) // 512} read, the last has {last!r}")
END
echo "dissect.volume 3.18, $(sfdisk --version), $(sgdisk --version | head -1)"
as_described=0
for label in gpt dos; do
    truncate -s 4M $label
    sfdisk --quiet $label >/dev/null <<END
label: $label
start=2048, size=100
start=2148, size=1
END
    # A word in the last sector of the first partition, and one in the only sector of the second.
    for sector in 2147 2148; do
        printf 'sector %d' $sector | dd of=$label bs=512 seek=$sector conv=notrunc status=none
    done
    echo "$label:"
    sfdisk --dump $label | sed -n 's/^\S* : \(start.*size= *[0-9]*\).*/    sfdisk: \1/p'
    [ $label = dos ] || sgdisk -i 1 $label | sed -n 's/^Partition size/    sgdisk: 1: &/p'
    env/bin/python finding.py $label >read
    sed 's/^/    dissect.volume: /' read
    case $label in
        gpt) printf '%s\n' "1: 99 sectors, 99 read, the last has ''" "2: 0 sectors, 0 read, the last has 'nothing'" ;;
        dos) printf '%s\n' "1: 100 sectors, 100 read, the last has 'sector 2147'" "2: 1 sectors, 1 read, the last has 'sector 2148'" ;;
    esac | cmp -s - read || as_described=1
done
exit "$as_described"
