# scan.py ADDRESS OPEN: asks each TCP and UDP port of it, and prints those of which anything came back: SYN and ACK, RST, a datagram, an
# ICMP error. After each some ports OPEN is asked again: packets keep their order, so what has not answered before it does not answer.
import select
import socket
import struct
import sys
import time

to, known = sys.argv[1], int(sys.argv[2])
STEP, PATIENCE = 128, 60
probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
probe.connect((to, 9))
own = probe.getsockname()[0]
tcp = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
icmp = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind((own, 0))
for one in (tcp, icmp, udp):
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    one.setblocking(False)
found = {'tcp': set(), 'udp': set(), 'icmp': set()}


def syn(port, source):
    head = struct.pack('!HHIIBBHHH', source, port, 1, 0, 0x50, 2, 1024, 0, 0)
    pseudo = socket.inet_aton(own) + socket.inet_aton(to) + struct.pack('!BBH', 0, 6, len(head))
    total = sum(struct.unpack('!%dH' % ((len(pseudo) + len(head)) // 2), pseudo + head))
    total = (total >> 16) + (total & 0xffff)
    total += total >> 16
    tcp.sendto(head[:16] + struct.pack('!H', ~total & 0xffff) + head[18:], (to, 0))


def collect(source):
    """Takes all that has come; whether the answer to `source` is among it."""
    answered = False
    for one in select.select([tcp, icmp, udp], [], [], 0.2)[0]:
        while True:
            try:
                packet, who = one.recvfrom(65535)
            except BlockingIOError:
                break
            if who[0] != to:
                continue
            if one is udp:
                found['udp'].add(who[1])
                continue
            body = packet[(packet[0] & 15) * 4:]
            if one is icmp:
                # A port of UDP or TCP, at the same place of the packet that it is about.
                if body[0] == 3:
                    found['icmp'].add(struct.unpack('!H', body[8 + 20 + 2:8 + 20 + 4])[0])
                continue
            port, back = struct.unpack('!HH', body[:4])
            found['tcp'].add(port)
            answered |= port == known and back == source
    return answered


source = 20000
for first in range(1, 65536, STEP):
    for port in range(first, min(first + STEP, 65536)):
        syn(port, 19999)
        udp.sendto(b'', (to, port))
    source += 1
    end = time.time() + PATIENCE
    syn(known, source)
    while not collect(source):
        if time.time() > end:
            sys.exit('port %d does not answer; so far %s' % (known, found))
        syn(known, source)
print('tcp', sorted(found['tcp']), 'udp', sorted(found['udp']), 'icmp', sorted(found['icmp']))
