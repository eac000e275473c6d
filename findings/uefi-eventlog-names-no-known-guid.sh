#!/bin/bash
# Expected: the crate uefi-eventlog tells of a firmware's log which variables were measured: a variable is known by its name and its vendor's GUID,
# and that has the form that all GUIDs in the log have, its first three numbers with the lower byte first (UEFI 2.10, appendix A).
# Happens: of a variable the bytes are taken in the order in which they lie: EFI_GLOBAL_VARIABLE, which tpm2_eventlog tells, is shown as
# 61dfe48b-ca93-d211-aa0d-00e098032b8c, of which no vendor is known. In the same log it has the GUIDs of a partition table right. And the command
# line that systemd's stub has measured, which is UTF-16, has a NUL behind each letter; one with `ä` in it ends the reading with an error, and
# what was measured after it is not told.
# Matters for: bay0-state/src/tpm.rs: who looks into a vault that the TPM no longer opens (docs/INCIDENT-RESPONSE-PLAYBOOK.md) looks in this log for
# what moved, and Secure Boot's state is a variable of that GUID.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download tpm2-tools=5.4-1 libtss2-esys-3.0.2-0=3.2.1-3 libtss2-mu0=3.2.1-3 libtss2-sys1=3.2.1-3 libtss2-tctildr0=3.2.1-3 \
    libtss2-rc0=3.2.1-3 libyaml-0-2=0.2.5-1 libefivar1=37-6 libssl-dev=3.0.22-1~deb12u2 libssl3=3.0.22-1~deb12u2 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
mkdir src
cat > Cargo.toml <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
uefi-eventlog = "=0.3.0"
fallible-iterator = "=0.2.0"
END
cat > src/main.rs <<'END'
use fallible_iterator::FallibleIterator;
use uefi_eventlog::parsed::ParsedEventData;

fn main() {
    let path = std::env::args().nth(1).unwrap();
    let mut log = uefi_eventlog::Parser::new(std::fs::File::open(path).unwrap());
    loop {
        match log.next() {
            Err(error) => break println!("error: {error}"),
            Ok(None) => break println!("end"),
            Ok(Some(event)) => match event.parsed_data {
                Some(ParsedEventData::EfiVariable(it)) => println!("{}: {} {}", event.pcr_index, it.name, it.variable_guid),
                Some(ParsedEventData::GptInfo { header, partitions }) => {
                    println!("{}: disk {} partition {}", event.pcr_index, header.disk_guid, partitions[0].partition_type);
                }
                Some(ParsedEventData::Text(it)) => println!("{}: text {it:?}", event.pcr_index),
                _ => println!("{}: {:?}", event.pcr_index, event.event),
            },
        }
    }
}
END
libraries=$dir/unpacked/usr/lib/x86_64-linux-gnu
cp -r unpacked/usr/include/x86_64-linux-gnu/openssl/. unpacked/usr/include/openssl/
OPENSSL_LIB_DIR=$libraries OPENSSL_INCLUDE_DIR=$dir/unpacked/usr/include cargo build --quiet
export PATH=$dir/unpacked/usr/bin:$PATH LD_LIBRARY_PATH=$libraries
cat > log.py <<'END'
import hashlib
import struct
import sys
from uuid import UUID

SHA256 = 0x0B


def event(register, kind, data):
    return struct.pack("<IIIH", register, kind, 1, SHA256) + hashlib.sha256(data).digest() + struct.pack("<I", len(data)) + data


def variable(guid, name, data):
    return UUID(guid).bytes_le + struct.pack("<QQ", len(name), len(data)) + name.encode("utf-16-le") + data


disk, linux = UUID("11111111-2222-3333-4444-555555555555"), UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
table = struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, 1, 8191, 34, 8158, disk.bytes_le, 2, 128, 128, 0)
table += struct.pack("<Q", 1) + struct.pack("<16s16sQQQ72s", linux.bytes_le, disk.bytes_le, 2048, 4095, 0, "one".encode("utf-16-le"))
# The first event has the older form and names the kinds of digests.
head = b"Spec ID Event03\0" + struct.pack("<IBBBBIHHB", 0, 0, 2, 0, 2, 1, SHA256, 32, 0)
log = struct.pack("<II20xI", 0, 3, len(head)) + head
log += event(7, 0x80000001, variable("8be4df61-93ca-11d2-aa0d-00e098032b8c", "SecureBoot", b"\1"))
log += event(5, 0x80000006, table)
log += event(12, 0xD, (sys.argv[2] + "\0").encode("utf-16-le"))
log += event(7, 4, bytes(4))
open(sys.argv[1], "wb").write(log)
END
echo "uefi-eventlog 0.3.0, tpm2-tools 5.4"
as_described=0
for line in root=/dev/vda name=bär; do
    python3 log.py log "$line"
    echo "a log with the command line $line:"
    tpm2_eventlog log 2>/dev/null | sed -n 's/^ *\(VariableName\|UnicodeName\):/    tpm2_eventlog: \1:/p' >peer
    cat peer
    ./target/debug/finding log | tee read | sed 's/^/    uefi-eventlog: /'
    case $line in
        root*) printf '%s\n' '12: text "r\0o\0o\0t\0=\0/\0d\0e\0v\0/\0v\0d\0a"' '7: Separator' end ;;
        *) echo 'error: Error parsing event: Text decoding error' ;;
    esac | cat <(printf '%s\n' '7: SecureBoot 61dfe48b-ca93-d211-aa0d-00e098032b8c' \
        '5: disk 11111111-2222-3333-4444-555555555555 partition 0fc63daf-8483-4772-8e79-3d69d8477de4') - | cmp -s - read || as_described=1
    grep -q 8be4df61-93ca-11d2-aa0d-00e098032b8c peer || as_described=1
done
exit "$as_described"
