#!/bin/bash
# Expected: the hash of a UEFI program that an allow list has (Authenticode) is the same with and without its signature, which is what it leaves
# out, and two tools that work it out agree.
# Happens: sbsign fills a program up to a multiple of eight bytes before it signs, and the filling counts. The systemd-boot and the stub of Debian
# 12, among others, end at an odd byte: their hash is another one once they are signed, and stays so when the signature is taken off by
# sbattach. Of the program as it is shipped pesign and the Python package lief tell the one hash, hash-to-efi-sig-list of efitools tells the
# other, and pesign does with -P. A hash that was noted by one of them is not found by another.
# Relies on it: xtask/factory/src/uefi/pe.rs, which fills up both before it compares a signed program with what was to be signed.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download systemd-boot-efi=252.39-1~deb12u2 sbsigntool=0.9.4-3.1 efitools=1.9.2-3 pesign=0.112-6 libnss3=2:3.87.1-1+deb12u4 \
    libnspr4=2:4.35-1 libefivar1=37-6 libpopt0=1.19+dfsg-1 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check lief==1.0.0 >&2
export PATH=$dir/unpacked/usr/bin:$PATH LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu
openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out certificate -days 1 -subj /CN=someone 2>/dev/null
# What each tool takes for the hash of a program.
by_pesign() { pesign "${@:2}" -h -i "$1" | sed 's/.*hash: //'; }
by_efitools() { hash-to-efi-sig-list "$1" list | sed -n 's/^HASH IS //p'; }
by_lief() { env/bin/python -c "import lief, sys; print(lief.PE.parse(sys.argv[1]).authentihash(lief.PE.ALGORITHMS.SHA_256).hex())" "$1"; }
echo "sbsign $(sbsign --version | tr -dc 0-9.), pesign 0.112, efitools 1.9.2, lief 1.0.0, systemd-boot 252.39"
for program in systemd-bootx64.efi linuxx64.efi.stub; do
    cp "unpacked/usr/lib/systemd/boot/efi/$program" shipped
    sbsign --key key --cert certificate --output signed shipped 2>/dev/null >&2
    cp signed stripped
    sbattach --remove stripped 2>/dev/null >&2
    echo "$program: $(stat -c %s shipped) bytes, $(stat -c %s stripped) after signing and taking the signature off"
    for file in shipped signed stripped; do
        cat > $file.told <<EOF
pesign    $(by_pesign $file)
pesign -P $(by_pesign $file -P)
efitools  $(by_efitools $file)
lief      $(by_lief $file)
EOF
        sed "s/^/    $file: /" $file.told
    done
    one=$(sed -n 's/^pesign    //p' shipped.told)
    other=$(sed -n 's/^pesign -P //p' shipped.told)
    [ ${#one} = 64 ] && [ ${#other} = 64 ] && [ "$one" != "$other" ]
    [ "$(grep -c "$one" shipped.told)$(grep -c "^lief *$one" shipped.told)" = 21 ]
    [ "$(grep -c "$other" shipped.told)$(grep -c "^efitools *$other" shipped.told)" = 21 ]
    [ "$(grep -c "$other" signed.told)$(grep -c "$other" stripped.told)" = 44 ]
    [ $(($(stat -c %s shipped) % 8)) -gt 0 ]
done
