#!/bin/bash
# Expected: virt-fw-vars (PyPI virt-firmware) changes the variable that it is asked to change in a store of OVMF and keeps what firmware finds
# there: a variable is known by its name and its vendor's GUID (UEFI 2.10, 8.2), and one whose record is marked as being replaced
# counts until the new record is whole (EDK2's FindVariableEx).
# Happens: it knows variables by their names alone: of two vendors' variables of one name the first is gone after any change. Whichever was being
# replaced when the power was cut is gone as well. The same holds of its JSON, and nothing is said. virt-fw-dump of the same package lists
# all three, and so does `dmpstore` in the shell of OVMF 2022.11 with this store.
# Relies on it: xtask/factory/src/uefi/store.rs, which writes records itself and changes a store that was used one record at a time.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download ovmf=2022.11-6+deb12u2 2>/dev/null >&2
dpkg -x ./ovmf*.deb unpacked
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check virt-firmware==26.10 >&2
cat > store.py <<'END'
import struct
import uuid

WHOLE, BEING_REPLACED = 0x3F, 0x3E


def record(vendor, name, data, state):
    name = (name + "\0").encode("utf-16le")
    # AUTHENTICATED_VARIABLE_HEADER: start, state, attributes, count, time, key, lengths, vendor.
    head = struct.pack("<HBxIQ16xIII", 0x55AA, state, 7, 0, 0, len(name), len(data))
    made = head + uuid.UUID(vendor * 8 + ("-" + vendor * 4) * 3 + "-" + vendor * 12).bytes_le + name + data
    return made + b"\xff" * (-len(made) % 4)


store = bytearray(open("unpacked/usr/share/OVMF/OVMF_VARS_4M.fd", "rb").read())
# gEfiAuthenticatedVariableGuid, with which the header of the store begins.
start = store.index(uuid.UUID("aaf32c78-947b-439a-a180-2e144ec37792").bytes_le) + 28
records = record("1", "Setting", b"one's", WHOLE) + record("2", "Setting", b"another's", WHOLE)
records += record("3", "Moving", b"kept", BEING_REPLACED)
assert set(store[start : start + len(records)]) == {0xFF}
store[start : start + len(records)] = records
open("before.fd", "wb").write(store)
END
python3 store.py
echo "virt-firmware 26.10"
env/bin/virt-fw-vars --input before.fd --set-true Other --output after.fd >told 2>&1
env/bin/virt-fw-vars --input before.fd --output-json before.json >>told 2>&1
for store in before after; do
    echo "virt-fw-dump, $store:"
    env/bin/virt-fw-dump --input $store.fd 2>/dev/null | grep -o 'variable=.*' | tee $store.list
done
grep -o '"name": "[^"]*"' before.json | cut -d '"' -f 4 >names
echo "names in its JSON: $(tr '\n' ' ' <names)"
echo "it said:"
cat told
as_described=0
# What stands in a file, and how often.
count() { [ "$(grep -c "$2" "$1")" = "$3" ] || as_described=1; }
count before.list 'name=Setting (ok)' 2
count before.list 'name=Moving (del-in-progress)' 1
count after.list 'name=Setting' 1
count after.list '^variable=22222222-.*name=Setting' 1
count after.list 'name=Moving' 0
count names '^Setting$' 1
count names . 1
count told 'Moving\|Setting\|WARN\|ERROR' 0
exit "$as_described"
