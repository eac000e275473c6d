#!/bin/bash
# Expected: the crate syscalls has for each machine the calls that its kernel has, by the kernel's names: `newfstatat`, which looks at a file by
# its path, is 79 on aarch64 and on riscv64 as on every machine with the generic table, and has that name in strace and libseccomp.
# Happens: for aarch64 the crate calls it `fstatat` and does not know `newfstatat`; for riscv64 and x86-64 it does. It also has 20 calls for
# aarch64 that only machines of 32 bits have, 403 to 423, `clock_gettime64` and the others. A list of allowed calls that is written with the
# kernel's names, and leaves out what a machine does not have, leaves out what stat() and fstat() of the C libraries there call.
# Relies on it: xtask/factory/src/seccomp.rs, which asks this crate for the numbers of the profiles and gives it that name itself.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download seccomp=2.5.4-1+deb12u1 libseccomp2=2.5.4-1+deb12u1 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
mkdir src
cat > Cargo.toml <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
syscalls = { version = "=0.8.1", default-features = false, features = ["x86_64", "aarch64", "riscv64"] }
END
cat > src/main.rs <<'END'
use syscalls::{aarch64, riscv64, x86_64};

fn main() {
    // libseccomp 2.5.4 knows Linux 5.17, whose last call is 450; what is newer and has a lower number ends in `probe`.
    x86_64::Sysno::iter().filter(|it| it.id() <= 450).for_each(|it| println!("x86_64 {} {}", it.name(), it.id()));
    aarch64::Sysno::iter().filter(|it| it.id() <= 450).for_each(|it| println!("aarch64 {} {}", it.name(), it.id()));
    riscv64::Sysno::iter().filter(|it| it.id() <= 450).for_each(|it| println!("riscv64 {} {}", it.name(), it.id()));
}
END
cargo build --quiet
./target/debug/finding >crate
export LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu
resolve() { unpacked/usr/bin/scmp_sys_resolver -a "$@"; }
echo "syscalls 0.8.1; libseccomp 2.5.4"
while read -r machine name number; do
    other=$(resolve "$machine" "$name")
    [ "$other" = "$number" ] || echo "$machine $name: $number, libseccomp has $(resolve "$machine" "$number") there"
done < <(grep -v 'probe ' crate) >differ
cat differ
for machine in x86_64 aarch64 riscv64; do
    number=$(grep "^$machine newfstatat " crate | cut -d ' ' -f 3)
    echo "newfstatat on $machine: the crate has ${number:-none}, libseccomp $(resolve $machine newfstatat)"
done
as_described=0
grep -qx 'aarch64 fstatat: 79, libseccomp has newfstatat there' differ || as_described=1
[ "$(grep -c '^aarch64 .*time.*64: 4[0-2][0-9], libseccomp has UNKNOWN there' differ)" = 20 ] || as_described=1
[ "$(wc -l <differ)" = 21 ] || as_described=1
[ "$(grep -c '^aarch64 newfstatat' crate)" = 0 ] || as_described=1
grep -qx 'riscv64 newfstatat 79' crate && grep -qx 'x86_64 newfstatat 262' crate || as_described=1
exit "$as_described"
