#!/bin/sh
# Boots the Spine on the serial console, with all set-up. Takes the options of `cargo xtask qemu`.
cd "$(dirname "$0")/.." && exec cargo xtask qemu "$@"
