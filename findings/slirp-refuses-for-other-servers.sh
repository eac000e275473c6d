#!/bin/bash
# Expected: of two DHCP servers on a network the one whose offer was not taken keeps silent when the client's request names the other (RFC 2131
# 3.1, 4.3.2), and an address that was given back by a RELEASE can be given to the next one (4.3.4).
# Happens: libslirp, the user network of QEMU and of slirp4netns, answers a request that names another server with a NAK to everybody, so that
# the client starts again; the NAK's own address is 255.255.255.255, where the table of RFC 2131 4.3.1 has 0. A RELEASE changes nothing:
# it has 16 addresses, one for each hardware address that has asked, and the seventeenth is not answered until it is started anew.
# Relies on it: xtask/rooms/netd/src/dhcp/mod.rs, to which a NAK of another server is none once it has chosen an offer; the machines of
# `cargo xtask qemu` have that network behind their card. The script needs /dev/net/tun.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download slirp4netns=1.2.0-1 libslirp0=4.7.0-1 libglib2.0-0=2.74.6-2+deb12u9 libseccomp2=2.5.4-1+deb12u1 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
export libraries=$dir/unpacked/usr/lib/x86_64-linux-gnu:$dir/unpacked/lib/x86_64-linux-gnu
cat >clients.py <<'END'
import socket

DISCOVER, REQUEST, RELEASE = 1, 3, 7
KINDS = {2: "OFFER", 5: "ACK", 6: "NAK"}
card = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
card.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
card.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"tap0")
card.bind(("0.0.0.0", 68))
card.settimeout(2)


def say(client, kind, server="", wanted="", own="0.0.0.0"):
    head = bytes([1, 1, 6, 0, 0, 0, 0, client, 0, 0, 0x80, 0]) + socket.inet_aton(own)
    options = bytes([53, 1, kind])
    for code, address in ((54, server), (50, wanted)):
        options += bytes([code, 4]) + socket.inet_aton(address) if address else b""
    rest = bytes(12) + bytes([2, 0, 0, 0, 0, client])
    card.sendto((head + rest).ljust(236, b"\0") + bytes([99, 130, 83, 99]) + options + b"\xff", ("255.255.255.255", 67))


def ask(client, *what):
    say(client, *what)
    try:
        answer = card.recv(2048)
    except TimeoutError:
        return "no answer"
    return f"{KINDS[answer[242]]} of {socket.inet_ntoa(answer[16:20])}"


print(f"client 1, DISCOVER: {ask(1, DISCOVER)}")
print(f"client 1, REQUEST to 10.0.2.200: {ask(1, REQUEST, '10.0.2.200', '10.0.2.201')}")
print(f"client 1, REQUEST to 10.0.2.2: {ask(1, REQUEST, '10.0.2.2', '10.0.2.15')}")
for client in range(2, 17):
    last = ask(client, DISCOVER)
print(f"client 16, DISCOVER: {last}")
say(1, RELEASE, "10.0.2.2", own="10.0.2.15")
print(f"client 17, DISCOVER after client 1 has released 10.0.2.15: {ask(17, DISCOVER)}")
print(f"client 1, DISCOVER: {ask(1, DISCOVER)}")
END
cat >inside.sh <<'END'
unshare -n sleep 120 &
other=$!
until [ "$(readlink /proc/$other/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.1; done
LD_LIBRARY_PATH=$libraries unpacked/usr/bin/slirp4netns $other tap0 >log 2>&1 &
slirp=$!
trap 'kill $slirp $other' EXIT
until nsenter -t $other -n ip link set tap0 up 2>/dev/null; do kill -0 $slirp; sleep 0.1; done
nsenter -t $other -n python3 clients.py
END
LD_LIBRARY_PATH=$libraries unpacked/usr/bin/slirp4netns --version | grep -E 'slirp4netns|libslirp'
unshare -Urn bash -eu inside.sh | tee seen
diff seen - <<'END'
client 1, DISCOVER: OFFER of 10.0.2.15
client 1, REQUEST to 10.0.2.200: NAK of 255.255.255.255
client 1, REQUEST to 10.0.2.2: ACK of 10.0.2.15
client 16, DISCOVER: OFFER of 10.0.2.30
client 17, DISCOVER after client 1 has released 10.0.2.15: no answer
client 1, DISCOVER: OFFER of 10.0.2.15
END
