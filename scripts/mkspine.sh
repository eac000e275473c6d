#!/bin/sh
# Makes ./vmlinuz and ./build/spine.img with the assembly inside the pinned container, without network (H01).
#
# Outside, with network and compiler: the soil is fetched and checked, bay0 and a static xtask are built (`cargo xtask stage`).
# Inside, with neither: the image is assembled from the staged folder alone. The bytes are those of `cargo xtask spine`.
set -eu
cd "$(dirname "$0")/.."

usage() {
    cat <<'END'
Makes the Spine with the assembly inside the pinned container, without network.

Usage: scripts/mkspine.sh [--soil debian|alpine|hardened] [--target vm|pc] [--rooms LIST] [--locked]

  hardened (default)  ./vmlinuz, ./build/spine.img and ./build/spine.cmdline
  debian, alpine      the same three in ./build/debian and ./build/alpine
  --target pc         the same three in ./build/hardened-pc, with the kernel of an ordinary PC
  --locked            nothing but what the locks pin, whatever the archive has dropped
  --rooms LIST        images whose root hashes go into the Spine, as for `cargo xtask spine`

Environment:
  IMAGE=…     another image than the one pinned in xtask/soil.lock: a mirror's copy, or a local one
  ENGINE=…    podman or docker with its own options (default: whichever is installed)
  RUN_ARGS=…  more options of `run`
END
}
for word in "$@"; do
    case $word in -h | --help) usage && exit 0 ;; esac
done

engine=${ENGINE:-$(command -v podman || command -v docker)} || {
    echo "mkspine: neither podman nor docker; next: install one, or: cargo xtask spine" >&2
    exit 1
}
stage=$(cargo xtask stage "$@")
image=${IMAGE:-$(cat "$stage/image")}
out=$PWD/build/contained
rm -rf "$out"
mkdir -p "$out"
# shellcheck disable=SC2086 # Both are lists of words.
$engine run --rm --network=none --read-only ${RUN_ARGS:-} \
    --volume "$stage:/in:ro" --volume "$out:/out" \
    "$image" /in/xtask assemble /in /out || {
    echo "mkspine: $engine could not assemble in $image; next: IMAGE=… names another image, cargo xtask repin builder pins another, cargo xtask spine needs none" >&2
    exit 1
}
kernel=$(cat "$stage/kernel")
initrd=$(cat "$stage/initrd")
mkdir -p "$(dirname "$kernel")" "$(dirname "$initrd")"
mv "$out/vmlinuz" "$kernel"
mv "$out/spine.cmdline" "${initrd%.img}.cmdline"
mv "$out/spine.img" "$initrd"
