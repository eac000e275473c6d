#!/bin/sh
# Makes ./vmlinuz and ./build/spine.img with the assembly inside the pinned container, without network (H01).
#
# Outside, with network and compiler: the soil is fetched and checked, bay0 and a static xtask are built (`cargo xtask stage`).
# Inside, with neither: the image is assembled from the staged folder alone. The bytes are those of `cargo xtask spine`.
#
# The image is pinned in xtask/soil.lock by its linux/amd64 digest. IMAGE=… names another one: a mirror's copy, or a local
# image where no registry can be reached. ENGINE=… is the engine with its own options; RUN_ARGS=… adds options of `run`.
set -eu
cd "$(dirname "$0")/.."

engine=${ENGINE:-$(command -v podman || command -v docker)} || {
    echo "mkspine: neither podman nor docker; next: install one, or: cargo xtask spine" >&2
    exit 1
}
stage=$(cargo xtask stage "$@")
image=${IMAGE:-$(cat "$stage/image")}
mkdir -p build/contained
# shellcheck disable=SC2086 # Both are lists of words.
$engine run --rm --network=none --read-only ${RUN_ARGS:-} \
    --volume "$stage:/in:ro" --volume "$PWD/build/contained:/out" \
    "$image" /in/xtask assemble /in /out "$@"
mv build/contained/vmlinuz vmlinuz
mv build/contained/spine.img build/spine.img
