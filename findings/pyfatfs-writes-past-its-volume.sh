#!/bin/bash
# Expected: pyfatfs, "FAT12/FAT16/FAT32 implementation with VFAT support", keeps to the file system that it was given by `offset`, whose number of
# sectors stands in its first one; a full one has an error. The table of clusters takes whole sectors, so it mostly ends behind the last
# cluster that there is, and what is left of it names none (Microsoft's FAT specification). A file that is cut gives back what is behind
# its new end, and a file that is removed is gone.
# Happens: it hands out all that the table has numbers for: a file that still fits to it is written over the first sectors behind the file system,
# which are the next partition's, and no error comes. A file that was cut keeps the link to the clusters that it gave back: the next file
# gets them, and what is then appended to the first stands in the second. And of a folder that shrinks to just its first cluster the last
# file stays: one that was removed is back when the volume is opened anew, to mtools as well. Given the same file and the same volume, mcopy
# says "Disk full" and leaves the neighbour alone.
# Matters for: room disks and sticks that are prepared on the host (the courier, A03 in docs/CONSTITUTION.md); xtask/factory/src/uefi/slot.rs
# writes the file system of a slot, which has a neighbour as well, with mtools.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download dosfstools=4.2-1 mtools=4.0.33-1+really4.0.32-1 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
export PATH=$dir/unpacked/usr/bin:$dir/unpacked/usr/sbin:$dir/unpacked/sbin:$PATH
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check pyfatfs==1.1.0 fs==2.4.16 setuptools==80.9.0 >&2
cat > use.py <<'END'
import sys
import warnings

warnings.simplefilter("ignore")
from pyfatfs.PyFatFS import PyFatFS

image, what = sys.argv[1:]
volume = PyFatFS(image, offset=1 << 20 if what == "fill" else 0)

def write(name, mode, data):
    with volume.openbin(name, mode) as file:
        file.write(data)

if what == "fill":
    write("/LAST", "w", open("last", "rb").read())
    print("written, without an error")
elif what == "cut":
    write("/ONE", "w", b"1" * 2000)
    with volume.openbin("/ONE", "r+") as file:
        file.truncate(100)
    write("/TWO", "w", b"2" * 1000)
    write("/ONE", "a", b"1" * 1000)
    print("TWO has", " and ".join(sorted({chr(byte) for byte in volume.readbytes("/TWO")})))
elif what == "remove":
    # With `.` and `..` 17 entries, and 16 of 32 bytes are one cluster.
    volume.makedir("/FOLDER")
    for number in range(1, 16):
        write(f"/FOLDER/FILE{number}", "w", b"%d" % number)
    volume.remove("/FOLDER/FILE15")
    print(len(volume.listdir("/FOLDER")), "files after the removal")
elif what == "list":
    print(len(volume.listdir("/FOLDER")), "files when it is opened anew")
volume.close()
END
echo "pyfatfs 1.1.0; mtools 4.0.32; fsck.fat 4.2"
as_described=0
has() { grep -qF -- "$1" told || as_described=1; }
# A FAT of 1440 KiB from the first MiB of a disk on, and its neighbour from where it ends; all but 100 clusters of 512 bytes are taken.
disk() {
    rm -f disk volume
    mkfs.vfat -C volume 1440 >/dev/null
    free=$(minfo -i volume :: | sed -n 's/^free clusters=//p')
    [ -n "$free" ] || free=$(($(mdir -i volume :: | sed -n 's/ bytes free//p' | tr -d ' ') / 512))
    head -c $(((free - 100) * 512)) /dev/zero | mcopy -i volume - ::FIRST
    head -c $((1 << 20)) /dev/zero >disk
    cat volume >>disk
    head -c $((1 << 16)) /dev/zero | tr '\0' n >>disk
}
neighbour() {
    echo "    of 65536 bytes of the neighbour $(tail -c $((1 << 16)) disk | tr -d n | wc -c) are overwritten; the disk has $(wc -c <disk) bytes"
}
head -c $((110 * 512)) /dev/zero | tr '\0' x >last
for tool in mtools pyfatfs; do
    disk
    echo "a file of 110 clusters onto a volume with 100 free, by $tool:"
    case $tool in
        mtools) mcopy -i disk@@1M last ::LAST 2>&1 || true ;;
        *) env/bin/python use.py disk fill 2>&1 || true ;;
    esac | sed 's/^/    /'
    neighbour
done | tee told
has "Disk full"
has "written, without an error"
[ "$(grep -c '    of 65536 bytes of the neighbour 0 are overwritten' told)" = 1 ] || as_described=1
has "of 65536 bytes of the neighbour 5120 are overwritten"
for what in cut remove; do
    rm -f volume
    mkfs.vfat -C volume 1440 >/dev/null
    echo "$what:"
    env/bin/python use.py volume "$what" | sed 's/^/    /'
    if [ "$what" = remove ]; then
        env/bin/python use.py volume list | sed 's/^/    /'
        echo "    mdir lists $(mdir -b -i volume ::/FOLDER | grep -c FILE)"
    fi
    { fsck.vfat -n volume || true; } | grep -A 2 '^/' | sed 's/^/    fsck.vfat: /' || true
done | tee told
has "TWO has 1 and 2"
has "share clusters"
has "14 files after the removal"
has "15 files when it is opened anew"
has "mdir lists 15"
exit "$as_described"
