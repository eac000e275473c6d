# A DHCP server on lan0, 192.0.2.1, that offers lies first, and confirms each once (RFC 2131, RFC 2132). `ready`, then a line for each message.
import os
import socket
import struct
import time

COOKIE = b'\x63\x82\x53\x63'
# Its MTU makes no sense either, which costs it the MTU alone.
HONEST = ('192.0.2.77', [(1, '255.255.255.0'), (3, '192.0.2.1'), (6, '192.0.2.1'), (26, b'\x00\x08')])
# An address and its options, each of which makes no sense.
LIES = [
    ('192.0.2.50', [(1, '255.255.255.0'), (3, '10.0.0.1')]),
    ('192.0.2.51', [(1, '0.0.0.0'), (3, '192.0.2.1')]),
    ('192.0.2.52', [(1, '255.0.255.0'), (3, '192.0.2.1')]),
    ('198.18.0.9', [(1, '255.255.0.0'), (3, '198.18.0.1')]),
    ('127.0.0.1', [(1, '255.0.0.0')]),
    ('224.0.0.1', [(1, '240.0.0.0')]),
    ('0.0.0.0', [(1, '255.255.255.0')]),
    ('255.255.255.255', [(1, '255.255.255.0')]),
    ('192.0.2.255', [(1, '255.255.255.0'), (3, '192.0.2.1')]),
    ('192.0.2.53', [(1, '255.255.255.0'), (3, '192.0.2.53')]),
]


def option(code, value):
    value = value if isinstance(value, bytes) else socket.inet_aton(value)
    return bytes([code, len(value)]) + value


def message(kind, asked, address, options, tail=b'\xff'):
    head = struct.pack('!BBBB4sHH4s4s4s4s', 2, 1, 6, 0, asked[4:8], 0, 0x8000, b'\0' * 4, socket.inet_aton(address), b'\0' * 4, b'\0' * 4)
    own = option(53, bytes([kind])) + option(54, '192.0.2.1') + option(51, struct.pack('!I', 3600))
    return head + asked[28:44] + b'\0' * 192 + COOKIE + own + b''.join(option(*it) for it in options) + tail


def broken(asked):
    """Messages that are none, and such as are another machine's."""
    good = message(2, asked, '192.0.2.60', HONEST[1])
    yield b''
    yield good[:100]
    yield good[:240]
    yield good.replace(COOKIE, b'abcd')
    yield good[:-1] + b'\x0c\xff'
    yield good[:-1] + b'\x03\x00\x01\x03\x01\x02\x03\xff'
    yield good[:-1] + b'\x34\x01\x03' + b'\xff'
    yield good[:-1] + bytes([43, 255]) * 2 + b'x' * 700
    yield good[:-1] + b'\x0c\x01a' * 400 + b'\xff'
    yield good[:4] + b'\1\2\3\4' + good[8:]
    yield good[:28] + b'\1\2\3\4\5\6' + good[34:]
    yield b'\1' + good[1:]
    yield os.urandom(300)


def kind(asked):
    options, place = asked[240:], 0
    found = {}
    while place + 1 < len(options) and options[place] != 255:
        if options[place] == 0:
            place += 1
            continue
        length = options[place + 1]
        found[options[place]] = options[place + 2:place + 2 + length]
        place += 2 + length
    return found


server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'lan0')
server.bind(('0.0.0.0', 67))
server.settimeout(0.2)
everybody = ('255.255.255.255', 68)
answers = {address: (address, options) for address, options in LIES + [HONEST]}
offers, tricks = list(LIES), True
flooded = False
last = None
print('ready')
while True:
    if os.path.exists('/lan/flood') and not flooded and last:
        for number in range(10000):
            server.sendto(message(5, last, *LIES[number % len(LIES)]), everybody)
            if number % 100 == 99:
                time.sleep(0.01)
        flooded = True
        print('flooded')
    try:
        asked, _ = server.recvfrom(4096)
    except socket.timeout:
        continue
    if len(asked) < 240:
        continue
    last, options = asked, kind(asked)
    what = options.get(53, b'\0')[0]
    wanted = socket.inet_ntoa(options[50]) if 50 in options else socket.inet_ntoa(asked[12:16])
    print('message', what, wanted)
    if what == 1:
        for packet in broken(asked) if tricks else []:
            server.sendto(packet, everybody)
        # The honest offer comes last: whoever takes the first one is lied to until no lie is left.
        for address, lie in offers + [HONEST]:
            server.sendto(message(2, asked, address, lie), everybody)
    elif what == 3 and wanted in answers:
        offers = [it for it in offers if it[0] != wanted]
        server.sendto(message(5, asked, *answers[wanted]), everybody)
    elif what == 3:
        tricks = False
        server.sendto(message(6, asked, '0.0.0.0', []), everybody)
