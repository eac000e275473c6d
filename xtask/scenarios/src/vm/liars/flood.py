# flood.py ADDRESS COUNT: packets of strangers on lan0 to each kind of port of it, many at once until the card there has taken COUNT, and then
# some until /lan/enough is there: UDP (RFC 768) to the port of leases, to a published one and to closed ones, and SYNs (RFC 9293) to a published port and to closed ones.
# Of the datagrams to the port of leases some look like a server's refusal (RFC 2131). `ready`, then how many packets were taken, and how many in all.
import os
import random
import socket
import struct
import sys
import time

to, least = sys.argv[1], int(sys.argv[2])
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
# One of them is the server, whose word counts.
STRANGERS = [socket.inet_aton('192.0.2.%d' % last) for last in [1] + list(range(2, 60))]
chance = random.Random(1)


def taken():
    for line in open('/proc/net/dev'):
        if line.strip().startswith('lan0:'):
            return int(line.split(':')[1].split()[9])


def total(data):
    data += b'\0' * (len(data) % 2)
    number = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while number >> 16:
        number = (number >> 16) + (number & 0xffff)
    return ~number & 0xffff


def send(source, protocol, body, place):
    """`place`: of the checksum in the body."""
    pseudo = source + socket.inet_aton(to) + struct.pack('!BBH', 0, protocol, len(body))
    body = body[:place] + struct.pack('!H', total(pseudo + body)) + body[place + 2:]
    head = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0, source, socket.inet_aton(to))
    try:
        raw.sendto(head + body, (to, 0))
    except OSError:
        # The cable is full: what is lost there does not count.
        pass


def udp(source, port, own, body):
    send(source, 17, struct.pack('!HHHH', own, port, 8 + len(body), 0) + body, 6)


def syn(source, port, own):
    send(source, 6, struct.pack('!HHIIBBHHH', own, port, chance.getrandbits(32), 0, 0x50, 2, 1024, 0, 0), 16)


def refusal():
    head = struct.pack('!BBBBIHH', 2, 1, 6, 0, chance.getrandbits(32), 0, 0x8000)
    mac = bytes.fromhex('525400123401')
    return head + b'\0' * 16 + mac + b'\0' * 202 + b'\x63\x82\x53\x63' + b'\x35\x01\x06\x36\x04' + STRANGERS[0] + b'\xff'


def one_of_each():
    source, own = chance.choice(STRANGERS), chance.randrange(1024, 65536)
    udp(source, 68, 67, refusal())
    udp(source, 68, own, chance.randbytes(chance.randrange(400)))
    udp(source, 5300, own, b'x' * chance.randrange(1000))
    udp(source, chance.randrange(1, 65536), own, b'x')
    syn(source, 8081, own)
    syn(source, chance.randrange(1, 65536), own)


print('ready')
begun = taken()
while taken() - begun < least:
    for _ in range(20):
        one_of_each()
    time.sleep(0.005)
print(taken() - begun, 'taken')
while not os.path.exists('/lan/enough'):
    one_of_each()
    time.sleep(0.005)
print(taken() - begun, 'in all')
