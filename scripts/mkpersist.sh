#!/bin/sh
# Makes the sparse ext4 disk behind /persist, build/persist.img (10G). Takes the options of `cargo xtask persist`.
cd "$(dirname "$0")/.." && exec cargo xtask persist "$@"
