#!/bin/bash
# Expected: --port=0 takes nothing from dnsmasq but its DNS, "leaving only DHCP and/or TFTP" as its manual says, so what a DHCP client is told
# stays the same; and 0.0.0.0 in an option, "the address of the machine running dnsmasq", is told where that machine does the service.
# Happens: the router is still named, and no DNS server any more: a client has a whole lease and finds no name. The same where DNS answers on
# another port than 53. --dhcp-option=6,0.0.0.0 brings the address back, also with --port=0, and a client is sent to a port where
# nobody listens.
# Relies on it: xtask/rooms/netd/tests/real/main.rs, which names the server by hand where --port=0 and names matter.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download dnsmasq-base=2.90-4~deb12u2 libdbus-1-3=1.14.10-1~deb12u1 libgmp10=2:6.2.1+dfsg1-1.1 libhogweed6=3.8.1-2 \
    libidn2-0=2.3.3-1+b1 libjansson4=2.14-2 libmnl0=1.0.4-3 libnetfilter-conntrack3=1.0.9-3 libnettle8=3.8.1-2 libnfnetlink0=1.0.2-2 \
    libnftables1=1.0.6-2+deb12u2 libnftnl11=1.2.4-2 libunistring2=1.0-2 libxtables12=1.8.9-2 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
export libraries=$dir/unpacked/usr/lib/x86_64-linux-gnu:$dir/unpacked/lib/x86_64-linux-gnu
cat >client.py <<'END'
import socket

card = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
card.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
card.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"client")
card.bind(("0.0.0.0", 68))
card.settimeout(10)
head = bytes([1, 1, 6, 0, 0, 0, 0, 7, 0, 0, 0x80, 0]) + bytes(16) + bytes([2, 0, 0, 0, 0, 7])
card.sendto(head.ljust(236, b"\0") + bytes([99, 130, 83, 99, 53, 1, 1, 55, 3, 1, 3, 6, 255]), ("255.255.255.255", 67))
rest = card.recv(2048)[240:]
options = {}
while rest[0] != 255:
    options[rest[0]] = rest[2 : 2 + rest[1]]
    rest = rest[2 + rest[1] :]
named = {what: socket.inet_ntoa(options[code]) if code in options else "none" for what, code in {"router": 3, "names": 6}.items()}
print(f"router {named['router']}, names {named['names']}")
END
cat >inside.sh <<'END'
ask() {
    LD_LIBRARY_PATH=$libraries unpacked/usr/sbin/dnsmasq --no-daemon --conf-file=/dev/null --no-resolv --no-hosts --interface=server \
        --bind-interfaces --dhcp-range=192.0.2.50,192.0.2.60 --no-ping --leasefile-ro --pid-file= "$@" 2>log &
    server=$!
    until grep -q 'sockets bound' log; do kill -0 $server; sleep 0.1; done
    echo "${*:-as it comes}: $(nsenter -t $other -n python3 client.py), listens on 53: $(ss -Hlun 'sport = 53' | wc -l)"
    kill $server
    wait $server || true
}
unshare -n sleep 120 &
other=$!
trap 'kill $other' EXIT
until [ "$(readlink /proc/$other/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.1; done
ip link add server type veth peer name client netns $other
ip addr add 192.0.2.1/24 dev server
ip link set server up
nsenter -t $other -n ip link set client up
for options in "" --port=0 --port=5353 "--port=0 --dhcp-option=6,0.0.0.0"; do ask $options; done | tee seen
END
LD_LIBRARY_PATH=$libraries unpacked/usr/sbin/dnsmasq --version | head -1
unshare -Urn bash -eu inside.sh
diff seen - <<'END'
as it comes: router 192.0.2.1, names 192.0.2.1, listens on 53: 1
--port=0: router 192.0.2.1, names none, listens on 53: 0
--port=5353: router 192.0.2.1, names none, listens on 53: 0
--port=0 --dhcp-option=6,0.0.0.0: router 192.0.2.1, names 192.0.2.1, listens on 53: 0
END
