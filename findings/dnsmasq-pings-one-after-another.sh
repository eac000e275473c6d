#!/bin/bash
# Expected: dnsmasq looks whether an address is free by a ping, as its manual says of --no-ping, and a machine that is new on an idle network
# has its offer soon after; machines that come at the same time do not wait for each other.
# Happens: the silence that shows an address to be free lasts three seconds, a length that the manual does not give, and one ping is out at a
# time. Of five machines that ask together, each waits three seconds more than the one before; the fifth is offered an address after 15,
# when it may have given up. With --no-ping all five are answered at once, and as an offer reserves nothing, addresses given in sequence
# are then one and the same for all of them.
# Relies on it: xtask/rooms/netd/tests/real/main.rs, whose servers run with --no-ping.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download dnsmasq-base=2.90-4~deb12u2 libdbus-1-3=1.14.10-1~deb12u1 libgmp10=2:6.2.1+dfsg1-1.1 libhogweed6=3.8.1-2 \
    libidn2-0=2.3.3-1+b1 libjansson4=2.14-2 libmnl0=1.0.4-3 libnetfilter-conntrack3=1.0.9-3 libnettle8=3.8.1-2 libnfnetlink0=1.0.2-2 \
    libnftables1=1.0.6-2+deb12u2 libnftnl11=1.2.4-2 libunistring2=1.0-2 libxtables12=1.8.9-2 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
export libraries=$dir/unpacked/usr/lib/x86_64-linux-gnu:$dir/unpacked/lib/x86_64-linux-gnu
cat >clients.py <<'END'
import socket
import time

COUNT = 5


def discover(number):
    head = bytes([1, 1, 6, 0, 0, 0, 0, number, 0, 0, 0x80, 0]) + bytes(16) + bytes([2, 0, 0, 0, 0, number])
    return head.ljust(236, b"\0") + bytes([99, 130, 83, 99, 53, 1, 1, 255])


card = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
card.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
card.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"client")
card.bind(("0.0.0.0", 68))
card.settimeout(30)
start = time.monotonic()
for number in range(1, COUNT + 1):
    card.sendto(discover(number), ("255.255.255.255", 67))
for _ in range(COUNT):
    offer = card.recv(2048)
    print(f"machine {offer[7]}: {socket.inet_ntoa(offer[16:20])} after {round(time.monotonic() - start)} s")
END
cat >inside.sh <<'END'
ask() {
    LD_LIBRARY_PATH=$libraries unpacked/usr/sbin/dnsmasq --no-daemon --conf-file=/dev/null --no-resolv --no-hosts --interface=server \
        --bind-interfaces --dhcp-range=192.0.2.50,192.0.2.60 --dhcp-sequential-ip --leasefile-ro --pid-file= "$@" 2>log &
    server=$!
    until grep -q 'sockets bound' log; do kill -0 $server; sleep 0.1; done
    nsenter -t $other -n python3 clients.py
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
echo "--- as it comes"
ask | tee pinged
echo "--- with --no-ping"
ask --no-ping | tee unpinged
END
LD_LIBRARY_PATH=$libraries unpacked/usr/sbin/dnsmasq --version | head -1
unshare -Urn bash -eu inside.sh
[ "$(grep -c ': 192.0.2.50 after 0 s' unpinged)" = 5 ] && [ "$(sort -u -k3,3 pinged | wc -l)" = 5 ] && grep -q 'machine 1: .* after 3 s' pinged
last=$(sed -n 's/machine 5: .* after \(.*\) s/\1/p' pinged)
[ "$last" -ge 15 ]
