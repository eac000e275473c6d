#!/bin/bash
# Expected: dissect.fat, "parsers for the FAT and exFAT file systems", gives a file of a stick the clusters that its chain names in whatever order
# they lie, and a folder all of its entries: on exFAT a folder in one piece is marked so, and its length says how many clusters that are
# (exFAT specification, 6.3.4.2 and 7.6.6).
# Happens: on FAT a step back by one cluster is read as a step forward: of a file in the clusters 4 and 3 the second half is what lies in 5, another
# file's content, and the length is right; nothing is said. A full stick comes to such a file when two are removed and one is added, as
# mtools does it below: who looks for free clusters begins behind the last one given. On exFAT a folder in one piece that is longer than a
# cluster is read no further than its first; that is an EOFError of the whole volume, of which nothing else is read either. And a file
# that was made in the first two seconds of a day, as files of reproducible images are, was made in 1980. fsck finds nothing amiss with
# any of the three, and mtools or The Sleuth Kit reads them whole.
# Matters for: the courier (A03 in docs/CONSTITUTION.md), which reads sticks with FAT and exFAT; who looks at one with this package on the host
# (docs/INCIDENT-RESPONSE-PLAYBOOK.md) has the hash of other bytes.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download dosfstools=4.2-1 mtools=4.0.33-1+really4.0.32-1 exfatprogs=1.2.0-1+deb12u1 sleuthkit=4.11.1+dfsg-1+b1 \
    libtsk19=4.11.1+dfsg-1+b1 libewf2=20140813-1+b1 libafflib0v5=3.7.20-1 libvhdi1=20210425-1+b2 libvmdk1=20200926-2+b2 \
    libbfio1=20170123-6 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
export LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu:$dir/unpacked/lib/x86_64-linux-gnu
export PATH=$dir/unpacked/usr/bin:$dir/unpacked/usr/sbin:$dir/unpacked/sbin:$PATH
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check dissect.fat==3.13 dissect.cstruct==4.7 dissect.util==3.24 >&2
# Puts a folder of two clusters in one piece into an empty exFAT with clusters of 512 bytes, and empty files into the folder.
cat > folder.py <<'END'
import struct
import sys

image = open(sys.argv[1], "r+b")
boot = image.read(512)
heap, = struct.unpack_from("<I", boot, 88)
root, = struct.unpack_from("<I", boot, 96)
assert boot[108] == 9 and boot[109] == 0
place = lambda cluster: (heap + cluster - 2) * 512

def rolled(data, leave_out=()):
    total = 0
    for at, byte in enumerate(data):
        if at not in leave_out:
            total = (((total & 1) << 15) + (total >> 1) + byte) & 0xFFFF
    return total

def entries(name, attributes, first, length):
    text = name.encode("utf-16-le")
    put = bytearray(struct.pack("<BBHHHIII12x", 0x85, 2, 0, attributes, 0, *[0x58A60000] * 3))
    put += struct.pack("<BBxBHxxQ4xIQ", 0xC0, 3 if length else 1, len(name), rolled(name.upper().encode("utf-16-le")), length, first, length)
    put += b"\xC1\0" + text.ljust(30, b"\0")
    struct.pack_into("<H", put, 2, rolled(put, (2, 3)))
    return bytes(put)

image.seek(place(root))
have = image.read(512)
end = next(at for at in range(0, 512, 32) if have[at] == 0)
image.seek(place(root) + end)
image.write(entries("folder", 0x10, root + 1, 2 * 512))
image.seek(place(root + 1))
image.write(b"".join(entries(name, 0x20, 0, 0) for name in sys.argv[2:]).ljust(2 * 512, b"\0"))
bitmap = next(have[at : at + 32] for at in range(0, end, 32) if have[at] == 0x81)
image.seek(place(struct.unpack_from("<I", bitmap, 20)[0]))
image.write(((1 << root + 1) - 1).to_bytes(512, "little"))
END
cat > read.py <<'END'
import sys
from dissect.fat.exfat import ExFAT
from dissect.fat.fat import FATFS

kind, image, name = sys.argv[1:]
try:
    if kind == "files":
        print(*ExFAT(open(image, "rb")).files["/"][1][name][1])
    else:
        entry = FATFS(open(image, "rb")).get(name)
        data = entry.open().read()
        halves = [data[at : at + 512].decode() for at in range(0, len(data), 512)]
        print("made", entry.ctime) if kind == "made" else print(f"{len(data)} bytes,", *[f"512 times {half[0]}" for half in halves])
except EOFError as error:
    print(repr(error))
END
as_described=0
has() { grep -qxF "    $1" told || as_described=1; }
echo "dissect.fat 3.13; mtools 4.0.32; fsck.fat 4.2; exfatprogs 1.2.0; The Sleuth Kit 4.11.1"
put() { head -c "$2" /dev/zero | tr '\0' "$1" | mcopy -i stick - "::$3"; }
{
    echo "a full stick with FAT, and a file that was added after two were removed:"
    mkfs.vfat -F 32 -s 1 -C stick 34000 >/dev/null
    put 1 512 ONE
    put 2 512 TWO
    put r $(($(minfo -i stick :: | sed -n 's/^free clusters=//p') * 512)) REST
    mdel -i stick ::ONE ::TWO
    put s 512 SMALL
    mdel -i stick ::SMALL
    { head -c 512 /dev/zero | tr '\0' a; head -c 512 /dev/zero | tr '\0' b; } | mcopy -i stick - ::NEW
    fsck.vfat -n stick >/dev/null && echo "    fsck.vfat: clean"
    mshowfat -i stick ::NEW ::REST | sed 's/^/    /'
    { mtype -i stick ::NEW; echo; } | fold -w 512 | sed 's/^\(.\).*/    mtype: 512 times \1/'
    echo "    dissect.fat: $(env/bin/python read.py halves stick NEW)"
    rm stick
    echo "a file that was made at midnight:"
    mkfs.vfat -C stick 1440 >/dev/null
    # Its creation time, of which mtools writes none, lies at 13 to 17 of the entry: tenths, time and date, here 0, 0 and 2024-05-06.
    put m 512 MADE
    at=$(grep -abo -m 1 'MADE       ' stick | sed 's/:.*//')
    printf '\0\0\0\246\130' | dd of=stick bs=1 seek=$((at + 13)) conv=notrunc status=none
    fsck.vfat -n stick >/dev/null && echo "    fsck.vfat: clean"
    istat -f fat stick 3 | sed -n 's/^Created:\t/    istat: made /p'
    echo "    dissect.fat: $(env/bin/python read.py made stick MADE)"
    rm stick
    echo "a folder of exFAT, in one piece, with six files:"
    truncate -s 16M stick
    mkfs.exfat -c 512 stick >/dev/null
    python3 folder.py stick one two three four five six
    fsck.exfat -n stick | sed -n 's/^stick: \(clean\).*/    fsck.exfat: \1/p'
    entry=$(fls -f exfat stick | sed -n 's/^d\/d \([0-9]*\):\tfolder$/\1/p')
    echo "    fls: $(fls -f exfat stick "$entry" | cut -f 2 | paste -s -d ' ')"
    echo "    dissect.fat: $(env/bin/python read.py files stick folder)"
} | tee told
has "mtype: 512 times b"
has "dissect.fat: 1024 bytes, 512 times a 512 times r"
has "dissect.fat: made 1980-01-01 00:00:00"
has "fls: one two three four five six"
has "dissect.fat: EOFError()"
[ "$(grep -c ': clean' told)" = 3 ] || as_described=1
exit "$as_described"
