#!/bin/bash
# Expected: a reader of pcapng tells when a packet came. Its number counts units of the interface it came in by: millionths of a second, or what `if_tsresol`
# says, a power of 10 or, with the upper bit set, of 2; and `if_tsoffset`, in the file's order of bytes, is the seconds to be added (PCAP Next Generation,
# draft-ietf-opsawg-pcapng, 4.2 and 4.3). A file may have several interfaces.
# Happens: of four readers each has some of seven files right, and none says a word. The crate pcap-file takes every number for billionths of a second, so what
# most programs write came in January 1970. The Python package python-pcapng adds no offset. The Python package dpkt has the units of the first interface for
# the packets of all. The crate pcap-parser has no resolution for a power of 2, as if it were none that is valid, loses the offset in a file of the other
# order of bytes, and has 32 bits for the part of a second: of units of 10^-12 it is another one. tcpdump has all seven.
# Matters for: who records what a room's network or a virtual machine's sends, to see what came first; xtask/scenarios/src/vm/boots.rs asks such a file, an
# older pcap that QEMU writes, only whether there is a packet at all.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download tcpdump=4.99.3-1 libpcap0.8=1.10.3-1 libdbus-1-3 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check python-pcapng==2.1.1 dpkt==1.9.8 >&2
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
pcap-file = "=2.0.0"
pcap-parser = "=0.17.0"
TOML
cat > src/main.rs <<'RUST'
use pcap_file::pcapng::{Block as FileBlock, PcapNgReader};
use pcap_parser::{traits::PcapReaderIterator, Block, PcapBlockOwned, PcapNGReader};

fn main() {
    let file = std::fs::read(std::env::args().nth(1).unwrap()).unwrap();
    let mut times = Vec::new();
    let mut reader = PcapNgReader::new(&file[..]).unwrap();
    while let Some(block) = reader.next_block() {
        if let FileBlock::EnhancedPacket(packet) = block.unwrap() {
            times.push(format!("{:.6}", packet.timestamp.as_nanos() as f64 / 1e9));
        }
    }
    println!("pcap-file: {}", times.join(" "));

    let mut times = Vec::new();
    let mut interfaces = Vec::new();
    let mut reader = PcapNGReader::new(65536, &file[..]).unwrap();
    while let Ok((length, block)) = reader.next() {
        match block {
            PcapBlockOwned::NG(Block::InterfaceDescription(it)) => interfaces.push((it.ts_resolution(), it.ts_offset())),
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => times.push(match interfaces[packet.if_id as usize] {
                (Some(units), offset) => format!("{:.6}", packet.decode_ts_f64(offset as u64, units)),
                (None, _) => "none".into(),
            }),
            _ => {}
        }
        reader.consume(length);
    }
    println!("pcap-parser: {}", times.join(" "));
}
RUST
cargo build --quiet
cat > write.py <<'PY'
import struct
import sys

name, order, *interfaces = sys.argv[1:]


def block(kind, content):
    content += bytes(-len(content) % 4)
    size = len(content) + 12
    return struct.pack(order + "II", kind, size) + content + struct.pack(order + "I", size)


def option(code, content):
    return struct.pack(order + "HH", code, len(content)) + content + bytes(-len(content) % 4)


file = block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
packets = b""
for number, interface in enumerate(interfaces):
    # The resolution's byte, or nothing, and the offset. Each packet came at 1700000000.25.
    resolution, offset = interface.split(",")
    options = option(9, bytes.fromhex(resolution)) if resolution else b""
    options += option(14, struct.pack(order + "q", int(offset))) if int(offset) else b""
    file += block(1, struct.pack(order + "HHI", 1, 0, 65535) + options + option(0, b""))
    code = int(resolution or "06", 16)
    units = 2 ** (code & 127) if code & 128 else 10**code
    time = (1700000000 - int(offset)) * units + units // 4
    packet = bytes(60)
    packets += block(6, struct.pack(order + "IIIII", number, time >> 32, time & 0xFFFFFFFF, len(packet), len(packet)) + packet)
open(name, "wb").write(file + packets)
PY
cat > read.py <<'PY'
import sys

import dpkt
import pcapng

with open(sys.argv[1], "rb") as file:
    packets = [it for it in pcapng.FileScanner(file) if isinstance(it, pcapng.blocks.EnhancedPacket)]
    print("python-pcapng:", *(f"{it.timestamp:.6f}" for it in packets))
with open(sys.argv[1], "rb") as file:
    print("dpkt:", *(f"{time:.6f}" for time, _ in dpkt.pcapng.Reader(file)))
PY
echo "pcap-file 2.0.0, pcap-parser 0.17.0, python-pcapng 2.1.1, dpkt 1.9.8, tcpdump 4.99.3"
tell() {
    echo "$1"
    python3 write.py file "${@:2}"
    {
        LD_LIBRARY_PATH=unpacked/usr/lib/x86_64-linux-gnu unpacked/usr/bin/tcpdump -Z root -n -tt -r file 2>/dev/null >packets
        echo "tcpdump: $(cut -d ' ' -f 1 packets | xargs)"
        env/bin/python read.py file
        ./target/debug/finding file
    } | sed 's/^/    /'
}
{
    tell 'no option' '<' ,0
    tell 'nanoseconds' '<' 09,0
    tell 'millionths, then nanoseconds' '<' ,0 09,0
    tell 'powers of 2' '<' 8a,0
    tell 'an offset' '<' ,1600000000
    tell 'an offset in the other order' '>' ,1600000000
    tell 'units of 10^-12' '<' 0c,1699999000
} | tee read
cat > expected <<'END'
no option
    tcpdump: 1700000000.250000
    python-pcapng: 1700000000.250000
    dpkt: 1700000000.250000
    pcap-file: 1700000.000250
    pcap-parser: 1700000000.250000
nanoseconds
    tcpdump: 1700000000.250000
    python-pcapng: 1700000000.250000
    dpkt: 1700000000.250000
    pcap-file: 1700000000.250000
    pcap-parser: 1700000000.250000
millionths, then nanoseconds
    tcpdump: 1700000000.250000 1700000000.250000
    python-pcapng: 1700000000.250000 1700000000.250000
    dpkt: 1700000000.250000 1700000000249.999756
    pcap-file: 1700000.000250 1700000000.250000
    pcap-parser: 1700000000.250000 1700000000.250000
powers of 2
    tcpdump: 1700000000.250000
    python-pcapng: 1700000000.250000
    dpkt: 1700000000.250000
    pcap-file: 1740.800000
    pcap-parser: none
an offset
    tcpdump: 1700000000.250000
    python-pcapng: 100000000.250000
    dpkt: 1700000000.250000
    pcap-file: 100000.000250
    pcap-parser: 1700000000.250000
an offset in the other order
    tcpdump: 1700000000.250000
    python-pcapng: 100000000.250000
    dpkt: 1700000000.250000
    pcap-file: 100000.000250
    pcap-parser: 100000000.250000
units of 10^-12
    tcpdump: 1700000000.250000
    python-pcapng: 1000.250000
    dpkt: 1700000000.250000
    pcap-file: 1000250.000000
    pcap-parser: 1700000000.000892
END
cmp expected read
