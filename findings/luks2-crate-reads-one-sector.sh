#!/bin/bash
# Expected: LuksDevice of the crate luks2 is a LUKS2 vault to read and seek in, as it says; it knows the sizes of sector that LUKS2 has, 512 to 4096
# bytes, and refuses others. Seeking tells the place from the start of what is read, and -512 from its end is 512 before it (std's Seek).
# Happens: in a vault with sectors of 4096 bytes, which cryptsetup makes wherever the disk allows it, the first sector is right and all others are
# noise, without an error: the crate numbers sectors by ones, where dm-crypt counts 512 bytes each (plain64). In either vault reading ends, with
# Ok, as many bytes before the end as the headers take, 16 MiB by default; a seek tells the place from the start of the disk, headers and all,
# and -512 from the end lands those 16 MiB before it. The Python package dissect.fve reads both vaults whole.
# Matters for: who reads a vault on another machine without its kernel's dm-crypt (docs/VAULT.md). The vault is made with cryptsetup's own choice of
# sector in bay0-state/src/vault.rs.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download cryptsetup-bin=2:2.6.1-4~deb12u2 libcryptsetup12=2:2.6.1-4~deb12u2 libpopt0=1.19+dfsg-1 libdevmapper1.02.1=2:1.02.185-2 \
    libargon2-1=0~20171227-0.3+deb12u1 libjson-c5=0.16-2 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check dissect.fve==4.6 pycryptodome==3.23.0 >&2
mkdir src
cat > Cargo.toml <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
luks2 = "=0.5.0"

[profile.dev]
opt-level = 2
END
cat > src/main.rs <<'END'
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

fn main() {
    let path = std::env::args().nth(1).unwrap();
    let mut vault = luks2::LuksDevice::from_device(File::open(path).unwrap(), b"a passphrase", 512).unwrap();
    let mut right = 0;
    for number in 0..65536_u64 {
        vault.seek(SeekFrom::Start(number * 512)).unwrap();
        let mut at = [0; 16];
        vault.read_exact(&mut at).unwrap();
        right += u32::from(&at == format!("sector {number:09}").as_bytes());
    }
    println!("{right} of 65536 pieces are right");
    vault.seek(SeekFrom::Start(0)).unwrap();
    println!("reading to the end: {:?}", vault.read_to_end(&mut Vec::new()));
    println!("Start(0): {:?}", vault.seek(SeekFrom::Start(0)));
    println!("End(-512): {:?}", vault.seek(SeekFrom::End(-512)));
}
END
cargo build --quiet
export PATH=$dir/unpacked/sbin:$PATH
libraries=$dir/unpacked/usr/lib/x86_64-linux-gnu:$dir/unpacked/lib/x86_64-linux-gnu
# Encrypted in place by cryptsetup itself, which without the right to dm-crypt does the same in its own process.
unprivileged=()
chmod 711 .
mkdir -m 777 vaults
[ "$(id -u)" != 0 ] || unprivileged=(setpriv --reuid 65534 --regid 65534 --clear-groups)
printf 'a passphrase' >vaults/phrase
cd vaults
echo "luks2 0.5.0, dissect.fve 4.6, $(LD_LIBRARY_PATH=$libraries cryptsetup --version)"
as_described=0
for sector in 512 4096; do
    python3 -c "
for number in range(65536):
    print(f'sector {number:09}'.ljust(511))" >vault
    truncate -s 64M vault
    [ "$(id -u)" != 0 ] || chown 65534 vault
    LD_LIBRARY_PATH=$libraries "${unprivileged[@]}" cryptsetup reencrypt --encrypt --type luks2 --sector-size $sector --reduce-device-size 32M \
        --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file phrase --batch-mode --disable-locks vault
    LD_LIBRARY_PATH=$libraries cryptsetup luksDump vault | sed -n '/^Data segments/,/^$/s/^\s*\(offset\|sector\): /\1 /p' >has
    echo "a vault, $(paste -s -d , has | sed 's/,/, /'):"
    ../env/bin/python -c "
from dissect.fve import luks
vault = luks.LUKS(open('vault', 'rb'))
vault.unlock_with_passphrase('a passphrase')
content = vault.open().read()
view = memoryview(content)
right = sum(bytes(view[number * 512 : number * 512 + 16]) == b'sector %09d' % number for number in range(65536))
print(f'    dissect.fve: {right} of 65536 pieces are right, reading to the end: {len(content)}')
" >peer
    cat peer
    ../target/debug/finding vault >read
    sed 's/^/    luks2: /' read
    grep -q ': 65536 of 65536 .*: 50331648$' peer || as_described=1
    [ $sector = 512 ] && right=65536 || right=8
    printf '%s\n' "$right of 65536 pieces are right" "reading to the end: Ok($((50331648 - 16777216 + sector)))" 'Start(0): Ok(16777216)' \
        'End(-512): Ok(50331648)' | cmp -s - read || as_described=1
done
exit "$as_described"
