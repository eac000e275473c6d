#!/bin/bash
# Expected: the crate vnc-rs, which lists TRLE among its encodings, reads what a server sends so: tiles of 16 by 16 pixels, each beginning with its kind, and
# no length before them (RFC 6143, 7.7.5). ZRLE is another one: a length, and behind it zlib's data of tiles of 64 by 64 (7.7.6). "The trle decoding
# routine shall be right since it was split from zrle routine", its README says, where it is said to be untested.
# Happens: it takes the first four bytes for a length, drops as many bytes as that says, and then reads tiles of 64 by 64. A tile of one color, 1 and its
# three bytes, is a length of 16 MB and more, and there is no picture. Where the first pixel has no blue the length is small: of a tile whose pixels
# stand there one by one the last four bytes can be the picture, here 256 of grey but for three, which all come out orange, and no error. libvncclient has
# both pictures, and in ZRLE the crate does.
# Matters for: the desktop, which is seen by VNC (`cargo xtask qemu --target pc --screen`). xtask/scenarios/src/vm/unplugged.rs is a viewer of its own that
# asks for no pictures; one that does must not ask such a crate for this encoding.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download libvncclient1=0.9.14+dfsg-1+deb12u2 libvncserver-dev=0.9.14+dfsg-1+deb12u2 \
    libgnutls30 libgcrypt20 libgpg-error0 libjpeg62-turbo liblzo2-2 libsasl2-2 libsasl2-dev 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
libraries=$dir/unpacked/usr/lib/x86_64-linux-gnu
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
tokio = { version = "=1.54.1", features = ["macros", "net", "rt"] }
vnc-rs = "=0.6.0"
TOML
cat > src/main.rs <<'RUST'
use vnc::{PixelFormat, VncConnector, VncEncoding, VncError, VncEvent};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", arguments[1].parse::<u16>().unwrap())).await.unwrap();
    let encoding = if arguments[2] == "TRLE" { VncEncoding::Trle } else { VncEncoding::Zrle };
    let client = VncConnector::new(stream)
        .set_auth_method(async { Ok::<_, VncError>(String::new()) })
        .add_encoding(encoding)
        .set_pixel_format(PixelFormat::bgra())
        .build()
        .unwrap()
        .try_start()
        .await
        .unwrap()
        .finish()
        .unwrap();
    let mut screen = vec![[0; 4]; 32 * 16];
    loop {
        match client.recv_event().await {
            Ok(VncEvent::RawImage(at, pixels)) => {
                for (index, pixel) in pixels.chunks_exact(4).enumerate() {
                    let (x, y) = (index % at.width as usize + at.x as usize, index / at.width as usize + at.y as usize);
                    screen[y * 32 + x].copy_from_slice(pixel);
                }
                break;
            }
            Ok(_) => {}
            Err(error) => return println!("vnc-rs: {error}"),
        }
    }
    let [first, middle] = [0, 8 * 32 + 8].map(|at| screen[at][..3].iter().rev().map(|it| format!("{it:02x}")).collect::<String>());
    println!("vnc-rs: {first} {middle}");
}
RUST
cat > client.c <<'C'
#include <rfb/rfbclient.h>
#include <stdlib.h>

static rfbBool done;
static void updated(rfbClient *client) { done = TRUE; }
static void quiet(const char *format, ...) {}

int main(int count, char **arguments) {
    rfbClient *client = rfbGetClient(8, 3, 4);
    rfbClientLog = rfbClientErr = quiet;
    client->appData.encodingsString = arguments[2][0] == 'T' ? "trle" : "zrle";
    client->FinishedFrameBufferUpdate = updated;
    client->serverHost = strdup("127.0.0.1");
    client->serverPort = atoi(arguments[1]);
    if (!rfbInitClient(client, NULL, NULL)) return 1;
    while (!done && WaitForMessage(client, 1000000) > 0 && HandleRFBServerMessage(client)) {}
    uint32_t *screen = (uint32_t *)client->frameBuffer;
    printf("libvncclient:");
    for (int at = 0; at < 2; at++) {
        uint32_t pixel = screen[at * (8 * 32 + 8)];
        printf(" %02x%02x%02x", pixel >> client->format.redShift & 255, pixel >> client->format.greenShift & 255, pixel >> client->format.blueShift & 255);
    }
    puts("");
    return 0;
}
C
cat > server.py <<'PY'
import socket
import struct
import subprocess
import sys
import zlib

picture, encoding, *command = sys.argv[1:]
server = socket.create_server(("127.0.0.1", 0))
client = subprocess.Popen([*command, str(server.getsockname()[1]), encoding], stdout=subprocess.PIPE)
link, _ = server.accept()
stream = link.makefile("rb")
link.sendall(b"RFB 003.008\n")
stream.read(12)
link.sendall(b"\x01\x01")
stream.read(1)
link.sendall(bytes(4))
stream.read(1)
# 32 bits, of which 24 count, the first byte is the lowest one.
form = struct.pack(">BBBBHHHBBB3x", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
link.sendall(struct.pack(">HH", 32, 16) + form + struct.pack(">I", 1) + b"x")
while True:
    kind = stream.read(1)[0]
    if kind == 0:
        form = stream.read(19)[3:]
    elif kind == 2:
        stream.read(4 * struct.unpack(">xH", stream.read(3))[0])
    elif kind == 3:
        stream.read(9)
        break
shifts = form[10:13]


def pixel(color):
    return sum(part << shift for part, shift in zip(bytes.fromhex(color), shifts)).to_bytes(4, "little")[:3]


side = 16 if encoding == "TRLE" else 64
if picture == "two":
    # Two halves of one color each: two tiles of TRLE; to ZRLE it is one, of two runs for each line.
    wide = 32
    if side == 16:
        tiles = b"\x01" + pixel("20a040") + b"\x01" + pixel("4060c0")
    else:
        tiles = b"\x80" + 16 * (pixel("20a040") + b"\x0f" + pixel("4060c0") + b"\x0f")
else:
    # One tile whose pixels are given one by one.
    wide = 16
    tiles = b"\x00" + b"".join(map(pixel, ["f90200"] + 253 * ["808080"] + ["018080", "ff8000"]))
if side == 64:
    packer = zlib.compressobj()
    tiles = packer.compress(tiles) + packer.flush(zlib.Z_SYNC_FLUSH)
    tiles = struct.pack(">I", len(tiles)) + tiles
link.sendall(struct.pack(">BxHHHHHI", 0, 1, 0, 0, wide, 16, 15 if side == 16 else 16) + tiles)
link.shutdown(socket.SHUT_WR)
print(f"    {encoding} {client.communicate()[0].decode().strip()}")
PY
cargo build --quiet
cc -w -I unpacked/usr/include -o client client.c "$libraries/libvncclient.so.1" "-Wl,-rpath,$libraries" "-Wl,-rpath-link,$libraries"
echo "vnc-rs 0.6.0, libvncclient 0.9.14"
for picture in two many; do
    echo "$picture"
    for encoding in ZRLE TRLE; do
        for client in ./client ./target/debug/finding; do LD_LIBRARY_PATH=$libraries python3 server.py $picture $encoding $client; done
    done
done | tee read
cat > expected <<'END'
two
    ZRLE libvncclient: 20a040 20a040
    ZRLE vnc-rs: 20a040 20a040
    TRLE libvncclient: 20a040 20a040
    TRLE vnc-rs: The VNC client isn't started. Or it is already closed
many
    ZRLE libvncclient: f90200 808080
    ZRLE vnc-rs: f90200 808080
    TRLE libvncclient: f90200 808080
    TRLE vnc-rs: ff8000 ff8000
END
cmp expected read
