#!/bin/bash
# Expected: two versions of a Debian package that are the same one to dpkg are equal to a library of versions, and found in a set or a dictionary under one
# another: no epoch is epoch 0, no revision is 0, and no digits at a version's end are 0 (deb-version(7), "Sorting algorithm"; Debian Policy, 5.6.12). What is
# equal has the same hash (Rust's trait Hash; Python's __hash__). 9~ is a version, as in `Depends: debhelper (>= 9~)`.
# Happens: the crate debversion and the Python package python-debian find 1.0, 0:1.0, 1.0-0 and 1.00 equal and hash the text: in a set they are four, and none
# is found under another. To the Python package debian-inspector 1.00 alone is equal and not found. To debversion, which aims to be "consistent with the
# behaviour of dpkg", 1.0rc is less than 1.0rc0 as well. debian-inspector refuses each version that ends in ~ or +, though it has both in a version's
# middle. The crate deb-version has the order right.
# Relies on it: xtask/factory/src/pins/version.rs, which asks dpkg itself.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check python-debian==1.1.1 debian-inspector==31.1.1 >&2
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
deb-version = "=0.1.1"
debversion = "=0.5.5"
TOML
cat > src/main.rs <<'RUST'
use std::collections::HashSet;

fn main() {
    let texts: Vec<String> = std::env::args().skip(1).collect();
    let versions = [0, 1].map(|at| texts[at].parse::<debversion::Version>().unwrap());
    let found = HashSet::from([versions[0].clone()]).contains(&versions[1]);
    println!("debversion: {:?} found {found}", versions[0].cmp(&versions[1]));
    println!("deb-version: {:?}", deb_version::compare_versions(&texts[0], &texts[1]));
}
RUST
cargo build --quiet
cat > versions.py <<'PY'
import sys

from debian.debian_support import NativeVersion
from debian_inspector.version import Version

for name, version in ("python-debian", NativeVersion), ("debian-inspector", Version.from_string):
    try:
        first, second = map(version, sys.argv[1:])
        order = "Less" if first < second else "Greater" if first > second else "Equal"
        print(f"{name}: {order} found {str(second in {first}).lower()}")
    except ValueError as error:
        print(f"{name}: {error}")
PY
echo "debversion 0.5.5, deb-version 0.1.1, python-debian 1.1.1, debian-inspector 31.1.1"
for pair in '1.0 0:1.0' '1.0 1.0-0' '1.0 1.00' '1.0rc 1.0rc0' '9~ 9'; do
    IFS=" " read -r first second <<<"$pair"
    echo "$pair"
    for order in lt:Less eq:Equal gt:Greater; do
        if dpkg --compare-versions "$first" ${order%:*} "$second"; then echo "    dpkg: ${order#*:}"; fi
    done
    { ./target/debug/finding "$first" "$second" && env/bin/python versions.py "$first" "$second"; } | sed 's/^/    /'
done | tee read
cat > expected <<'END'
1.0 0:1.0
    dpkg: Equal
    debversion: Equal found false
    deb-version: Equal
    python-debian: Equal found false
    debian-inspector: Equal found true
1.0 1.0-0
    dpkg: Equal
    debversion: Equal found false
    deb-version: Equal
    python-debian: Equal found false
    debian-inspector: Equal found true
1.0 1.00
    dpkg: Equal
    debversion: Equal found false
    deb-version: Equal
    python-debian: Equal found false
    debian-inspector: Equal found false
1.0rc 1.0rc0
    dpkg: Equal
    debversion: Less found false
    deb-version: Equal
    python-debian: Equal found false
    debian-inspector: Equal found false
9~ 9
    dpkg: Less
    debversion: Less found false
    deb-version: Less
    python-debian: Less found false
    debian-inspector: Invalid version string: "9~"
END
cmp expected read
