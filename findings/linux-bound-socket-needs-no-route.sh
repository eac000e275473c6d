#!/bin/bash
# Expected: a program finds an address unreachable where the routing table says so, and one that is bound to a device by SO_BINDTODEVICE finds
# fewer ways than others, not more: the manual has the option keep a socket to the packets of its interface.
# Happens: for IPv4 the kernel takes every address that the table has no way to for a neighbour on that device, though the device has no address
# itself and the default route is `unreachable`: the datagram is taken, and the link is asked by ARP who has it. TCP does the same and
# ends in a time-out where it ended at once. In a namespace where nothing, not even lo, has had an IPv4 address, there is no ARP either:
# the packet goes to all machines on the link by the broadcast address of Ethernet. IPv6 refuses as the table says.
# Relies on it: xtask/rooms/netd/src/dhcp, whose socket is bound to a card that has no address and no route yet; only rules of a firewall keep
# such a socket from the link, a route that is missing does not.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >send.py <<'END'
import socket
import time

V4, V6, UDP, TCP = socket.AF_INET, socket.AF_INET6, socket.SOCK_DGRAM, socket.SOCK_STREAM
IP, ARP = b"\x08\0", b"\x08\x06"
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
link.bind(("far", 3))


def arrives(address):
    """The first IPv4 or ARP packet for this address that arrives at the other end of the link within two seconds."""
    first, end = "nothing", time.monotonic() + 2
    while first == "nothing" and (left := end - time.monotonic()) > 0:
        link.settimeout(left)
        try:
            frame = link.recv(128)
        except TimeoutError:
            break
        for what, kind, at in (("the packet", IP, 30), ("ARP", ARP, 38)):
            if frame[12:14] == kind and frame[at : at + 4] == socket.inet_aton(address):
                first = f"{what}, to {frame[:6].hex(':')}"
    return first


def attempt(what, family, kind, address, device=b""):
    with socket.socket(family, kind) as way:
        way.settimeout(1)
        if device:
            way.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
        try:
            way.connect((address, 9))
            way.send(b"x")
            end = "sent"
        except TimeoutError:
            end = "no answer"
        except OSError:
            end = "refused at once"
    print(f"{what}: {end}" + (f"; arrives: {arrives(address)}" if family == V4 else ""))


attempt("UDP", V4, UDP, "203.0.113.4")
attempt("UDP of the device", V4, UDP, "203.0.113.5", b"near")
attempt("TCP", V4, TCP, "203.0.113.6")
attempt("TCP of the device", V4, TCP, "203.0.113.7", b"near")
attempt("UDP of the device by IPv6", V6, UDP, "2001:db8::5", b"near")
END
cat >inside.sh <<'END'
ip link add near type veth peer name far
[ "$1" != lo ] || ip link set lo up
ip link set near up
ip link set far up
ip route add unreachable default
ip -6 route add unreachable default
until [ "$(ip -brief link show near | awk '{ print $2 }')" = UP ]; do sleep 0.1; done
echo "--- addresses: $(ip -4 -brief addr | tr -s ' '), routes: $(ip -4 route)"
python3 send.py
END
echo "Linux $(uname -r | cut -d- -f1)"
for case in lo none; do unshare -Urn bash -eu inside.sh $case; done | tee seen
diff seen - <<'END'
--- addresses: lo UNKNOWN 127.0.0.1/8 , routes: unreachable default 
UDP: refused at once; arrives: nothing
UDP of the device: sent; arrives: ARP, to ff:ff:ff:ff:ff:ff
TCP: refused at once; arrives: nothing
TCP of the device: no answer; arrives: ARP, to ff:ff:ff:ff:ff:ff
UDP of the device by IPv6: refused at once
--- addresses: , routes: unreachable default 
UDP: refused at once; arrives: nothing
UDP of the device: sent; arrives: the packet, to ff:ff:ff:ff:ff:ff
TCP: refused at once; arrives: nothing
TCP of the device: no answer; arrives: the packet, to ff:ff:ff:ff:ff:ff
UDP of the device by IPv6: refused at once
END
