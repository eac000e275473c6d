# A server of names on 192.0.2.1 that lies about lieN.example.org (RFC 1035), and has no answer for mute.example.org until /lan/speaks is
# there. `ready`, then `lie N udp` or `lie N tcp` for each question, and `mute udp` or `mute tcp`.
import os
import socket
import struct
import threading

FALSE = '192.0.2.66'


def record(address):
    return struct.pack('!HHHIH4s', 0xC00C, 1, 1, 60, 4, socket.inet_aton(address))


def answer(asked, body=b'', answers=0, flags=0x8180):
    end = 12
    while asked[end]:
        end += asked[end] + 1
    return asked[:2] + struct.pack('!HHHHH', flags, 1, answers, 0, 0) + asked[12:end + 5] + body


def other(asked):
    return asked[:13] + b'z' + asked[14:]


LIES = [
    lambda q: b'',
    lambda q: q[:11],
    lambda q: q[:2] + b'\x81\x80' + b'\xff' * 8,
    # A name that points at itself.
    lambda q: q[:2] + struct.pack('!HHHHH', 0x8180, 1, 1, 0, 0) + b'\xc0\x0c\x00\x01\x00\x01',
    # Of another question, and of another identity.
    lambda q: answer(other(q), record(FALSE), 1),
    lambda q: bytes([q[0] ^ 255]) + answer(q, record(FALSE), 1)[1:],
    # A question in place of an answer, and one that is cut off in its name.
    lambda q: q,
    lambda q: q[:14],
    # Larger than any datagram should be, of nothing.
    lambda q: answer(q, b'\0' * 60000, 5000),
    # More records than there are bytes.
    lambda q: answer(q, record(FALSE)[:9], 1),
    # Cut off, and by TCP no end.
    lambda q: answer(q, flags=0x8380),
    # Refused.
    lambda q: answer(q, flags=0x8185),
]


def reply(asked, way):
    name = asked[13:13 + asked[12]].decode('latin1').lower()
    kind = asked[13 + asked[12]:]
    if name.startswith('lie'):
        number = int(name[3:])
        print('lie', number, way)
        return LIES[number](asked)
    if name == 'mute' and not os.path.exists('/lan/speaks'):
        print('mute', way)
        return None
    if name in ('www', 'mute') and b'\x00\x00\x01\x00\x01' in kind:
        return answer(asked, record('192.0.2.1'), 1)
    return answer(asked)


# Clients that wait for their answer.
silent = []


def stream(client):
    try:
        length = struct.unpack('!H', client.recv(2))[0]
        asked = client.recv(length)
        answered = reply(asked, 'tcp')
        if answered is None:
            silent.append(client)
            return
        if answered[2:4] == b'\x83\x80':
            # The length of a message that never comes whole.
            client.sendall(b'\xff\xff' + b'\0' * 70000)
        else:
            client.sendall(struct.pack('!H', len(answered)) + answered)
        client.close()
    except (OSError, struct.error):
        pass


def streams():
    server = socket.create_server(('192.0.2.1', 53))
    while True:
        client, _ = server.accept()
        threading.Thread(target=stream, args=(client,), daemon=True).start()


threading.Thread(target=streams, daemon=True).start()
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(('192.0.2.1', 53))
print('ready')
while True:
    asked, who = datagrams.recvfrom(4096)
    if len(asked) > 13:
        answered = reply(asked, 'udp')
        if answered is not None:
            datagrams.sendto(answered, who)
