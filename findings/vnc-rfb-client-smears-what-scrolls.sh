#!/bin/bash
# Expected: npm's vnc-rfb-client, an "implementation of RFC 6143" with "Raw, CopyRect, Hextile and ZRLE encodings", has the same picture as other clients in
# `fb` and getFb(), which its README hands on as `rgba`. CopyRect moves a part of the picture as it was (RFC 6143, 7.7.2), also where the new place is
# over the old one, as when a window scrolls. Each line of a pointer's mask is filled up to whole bytes (7.8.1), and its hot spot is where the pointer is.
# Happens: CopyRect goes down line by line over what it still has to read: of eight lines that are moved down by two the first two come again and again.
# What comes as Raw has red and blue in each other's place, beside ZRLE and Hextile, in which they are right: one picture, two colors. Hextile takes the
# byte that does not count for alpha, so it cannot be seen. A pointer 9 pixels wide loses what is not in its first line, and is drawn from
# the hot spot on and not around it. Nothing is said. libvncclient has all of it right.
# Matters for: the desktop, which is seen by VNC (`cargo xtask qemu --target pc --screen`). xtask/scenarios/src/vm/unplugged.rs is a viewer of its own that
# asks for no pictures; those that this client would take are none of the screen.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download libvncclient1=0.9.14+dfsg-1+deb12u2 libvncserver-dev=0.9.14+dfsg-1+deb12u2 \
    libgnutls30 libgcrypt20 libgpg-error0 libjpeg62-turbo liblzo2-2 libsasl2-2 libsasl2-dev 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
libraries=$dir/unpacked/usr/lib/x86_64-linux-gnu
npm install --silent --ignore-scripts vnc-rfb-client@0.2.0 >&2
cat > client.js <<'JS'
const tell = console.log;
console.log = () => {};
const VncClient = require('vnc-rfb-client');
const { copyRect, zrle, hextile, raw, pseudoCursor } = VncClient.consts.encodings;
const client = new VncClient({ encodings: [copyRect, zrle, hextile, raw, pseudoCursor], fps: 1 });
const at = (picture, x, y) => picture.subarray((y * 32 + x) * 4, (y * 32 + x) * 4 + 4).toString('hex');
client.on('firstFrameUpdate', (fb) => {
    tell(`Raw ${at(fb, 0, 0)} ZRLE ${at(fb, 4, 0)} Hextile ${at(fb, 8, 0)}`);
    tell('lines', [2, 3, 4, 5, 6, 7, 8, 9].map((y) => at(fb, 0, y).slice(0, 2)).join(' '));
    client.sendPointerEvent(20, 20);
    const drawn = client.getFb();
    const marks = [];
    for (let y = 12; y < 32; y++) for (let x = 12; x < 32; x++) if (at(drawn, x, y).slice(0, 6) === 'ffffff') marks.push(`${x},${y}`);
    tell('pointer at 20,20:', marks.join(' '));
    process.exit();
});
client.connect({ host: '127.0.0.1', port: Number(process.argv[2]) });
JS
cat > client.c <<'C'
#include <rfb/rfbclient.h>
#include <stdlib.h>

static rfbBool done;
static char marks[400];
static void updated(rfbClient *client) { done = TRUE; }
static void quiet(const char *format, ...) {}
static void shape(rfbClient *client, int hotx, int hoty, int width, int height, int bytes) {
    for (int at = 0; at < width * height; at++)
        if (client->rcMask[at]) sprintf(marks + strlen(marks), " %d,%d", 20 - hotx + at % width, 20 - hoty + at / width);
}

int main(int count, char **arguments) {
    rfbClient *client = rfbGetClient(8, 3, 4);
    rfbClientLog = rfbClientErr = quiet;
    client->appData.encodingsString = "copyrect zrle hextile raw";
    client->appData.useRemoteCursor = TRUE;
    client->GotCursorShape = shape;
    client->FinishedFrameBufferUpdate = updated;
    client->serverHost = strdup("127.0.0.1");
    client->serverPort = atoi(arguments[1]);
    if (!rfbInitClient(client, NULL, NULL)) return 1;
    while (!done && WaitForMessage(client, 1000000) > 0 && HandleRFBServerMessage(client)) {}
    unsigned char *screen = client->frameBuffer;
    for (int at = 0; at < 3; at++) {
        unsigned char *pixel = screen + 4 * at * 4;
        printf("%s%s %02x%02x%02x", at ? " " : "", (char *[]){"Raw", "ZRLE", "Hextile"}[at], pixel[0], pixel[1], pixel[2]);
    }
    printf("\nlines");
    for (int y = 2; y < 10; y++) printf(" %02x", screen[y * 32 * 4]);
    printf("\npointer at 20,20:%s\n", marks);
    return 0;
}
C
cat > server.py <<'PY'
import socket
import struct
import subprocess
import sys
import zlib

server = socket.create_server(("127.0.0.1", 0))
client = subprocess.Popen([*sys.argv[1:], str(server.getsockname()[1])], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
link, _ = server.accept()
stream = link.makefile("rb")
link.sendall(b"RFB 003.008\n")
stream.read(12)
link.sendall(b"\x01\x01")
stream.read(1)
link.sendall(bytes(4))
stream.read(1)
# 32 bits, of which 24 count, the first byte is the lowest one, red is in the upper one: QEMU's own.
form = struct.pack(">BBBBHHHBBB3x", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
link.sendall(struct.pack(">HH", 32, 32) + form + struct.pack(">I", 1) + b"x")
while True:
    kind = stream.read(1)[0]
    if kind == 0:
        form = stream.read(19)[3:]
    elif kind == 2:
        stream.read(4 * struct.unpack(">xH", stream.read(3))[0])
    elif kind == 3:
        stream.read(9)
        break


def pixel(red, green, blue):
    return sum(part << shift for part, shift in zip((red, green, blue), form[10:13])).to_bytes(4, "little")


def part(x, y, wide, high, encoding, content):
    return struct.pack(">HHHHi", x, y, wide, high, encoding) + content


orange = pixel(0xFF, 0x80, 0)
packer = zlib.compressobj()
tile = packer.compress(b"\x01" + orange[:3]) + packer.flush(zlib.Z_SYNC_FLUSH)
parts = [
    part(0, 0, 32, 32, 0, bytes(32 * 32 * 4)),
    part(0, 0, 4, 1, 0, 4 * orange),
    part(4, 0, 4, 1, 16, struct.pack(">I", len(tile)) + tile),
    part(8, 0, 4, 1, 5, b"\x02" + orange),
    part(0, 2, 1, 8, 0, b"".join(pixel(*3 * [16 * line]) for line in range(1, 9))),
    part(0, 4, 1, 6, 1, struct.pack(">HH", 0, 2)),
    # A white pointer, 9 by 2: the first pixel of its first line, the last of its second; the hot spot is in between.
    part(4, 1, 9, 2, -239, 18 * pixel(255, 255, 255) + b"\x80\0" + b"\0\x80"),
]
link.sendall(struct.pack(">BxH", 0, len(parts)) + b"".join(parts))
print(client.communicate()[0].decode(), end="")
PY
cc -w -I unpacked/usr/include -o client client.c "$libraries/libvncclient.so.1" "-Wl,-rpath,$libraries" "-Wl,-rpath-link,$libraries"
echo "vnc-rfb-client 0.2.0, libvncclient 0.9.14"
{
    LD_LIBRARY_PATH=$libraries python3 server.py ./client | sed 's/^/libvncclient: /'
    python3 server.py node client.js | sed 's/^/vnc-rfb-client: /'
} | tee read
cat > expected <<'END'
libvncclient: Raw ff8000 ZRLE ff8000 Hextile ff8000
libvncclient: lines 10 20 10 20 30 40 50 60
libvncclient: pointer at 20,20: 16,19 24,20
vnc-rfb-client: Raw 0080ffff ZRLE ff8000ff Hextile ff800000
vnc-rfb-client: lines 10 20 10 20 10 20 10 20
vnc-rfb-client: pointer at 20,20: 20,20
END
cmp expected read
