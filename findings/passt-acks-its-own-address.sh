#!/bin/bash
# Expected: passt in front of a virtual machine is a DHCP server as RFC 2131 has it: a machine that comes back with an address of another network
# is refused (4.3.2), a request that names another server is not answered (3.1), and an answer goes to the broadcast address where the
# client asks for that (4.1). Its manual says of the MTU that "by default, no MTU options will be sent".
# Happens: whatever address a request asks for and whichever server it names, an ACK comes, for the one address that passt has; there is no
# refusal. The answer goes to that address, which the client has not taken yet, and the broadcast flag changes nothing. It holds an
# MTU of 65520 without any option that asks for one. A client has to take the address of the ACK, not the one that it asked for.
# Relies on it: xtask/rooms/netd/src/dhcp takes a length of packets that no Ethernet card has as none, and an ACK of another address than the
# old one, which it has asked for again, as a NAK.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
version=0.0~git20230309.7c7625d-1
apt-get -q download "passt=$version" 2>/dev/null >&2
dpkg -x ./*.deb unpacked
cat >machine.py <<'END'
import socket
import struct

link = socket.socket(socket.AF_UNIX)
link.connect("link")
link.settimeout(10)
MAC = bytes([2, 0, 0, 0, 0, 7])


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack(">H", ~total & 0xFFFF)


def frame(kind, broadcast, wanted):
    head = bytes([1, 1, 6, 0, 0, 0, 0, 7, 0, 0, 0x80 if broadcast else 0, 0]) + bytes(16) + MAC
    options = bytes([53, 1, kind, *wanted, 55, 3, 1, 3, 26, 255])
    message = (head.ljust(236, b"\0") + bytes([99, 130, 83, 99]) + options).ljust(300, b"\0")
    datagram = struct.pack(">4H", 68, 67, 8 + len(message), 0) + message
    ip = bytes([0x45, 0]) + struct.pack(">H", 20 + len(datagram)) + bytes([0, 0, 0, 0, 64, 17])
    to = bytes(4) + b"\xff" * 4
    return b"\xff" * 6 + MAC + b"\x08\0" + ip + checksum(ip + b"\0\0" + to) + to + datagram


def ask(what, kind, broadcast=True, wanted=b""):
    sent = frame(kind, broadcast, wanted)
    link.sendall(struct.pack(">I", len(sent)) + sent)
    while True:
        (size,) = struct.unpack(">I", link.recv(4, socket.MSG_WAITALL))
        answer = link.recv(size, socket.MSG_WAITALL)
        if answer[12:14] == b"\x08\0" and answer[23] == 17 and answer[34:36] == b"\0C":
            break
    to, address, rest, options = socket.inet_ntoa(answer[30:34]), socket.inet_ntoa(answer[58:62]), answer[282:], {}
    while rest[0] != 255:
        options[rest[0]] = rest[2 : 2 + rest[1]]
        rest = rest[2 + rest[1] :]
    name = {2: "OFFER", 5: "ACK", 6: "NAK"}[options[53][0]]
    print(f"{what}: {name} of {address} to {to}, MTU {int.from_bytes(options.get(26, b''), 'big')}")


elsewhere = bytes([50, 4, 198, 51, 100, 7])
another = bytes([50, 4, 192, 0, 2, 7, 54, 4, 192, 0, 2, 200])
ask("DISCOVER", 1)
ask("DISCOVER without the flag", 1, broadcast=False)
ask("REQUEST of 198.51.100.7", 3, wanted=elsewhere)
ask("REQUEST of 192.0.2.7 from 192.0.2.200", 3, wanted=another)
END
cat >inside.sh <<'END'
ip link add card type veth peer name far
ip link set card up
ip link set far up
ip addr add 192.0.2.9/24 dev card
ip route add default via 192.0.2.1
unpacked/usr/bin/passt --foreground --ipv4-only --socket link >log 2>&1 &
passt=$!
trap 'kill $passt' EXIT
until grep -q 'bound at' log; do kill -0 $passt; sleep 0.1; done
python3 machine.py | tee seen
END
echo "passt $version"
unshare -Urn bash -eu inside.sh
diff seen - <<'END'
DISCOVER: OFFER of 192.0.2.9 to 192.0.2.9, MTU 65520
DISCOVER without the flag: OFFER of 192.0.2.9 to 192.0.2.9, MTU 65520
REQUEST of 198.51.100.7: ACK of 192.0.2.9 to 192.0.2.9, MTU 65520
REQUEST of 192.0.2.7 from 192.0.2.200: ACK of 192.0.2.9 to 192.0.2.9, MTU 65520
END
