#!/bin/bash
# Expected: what the Python package zstandard unpacks is what was packed, or there is an error; a zstd stream is one frame or several, and some are to be
# skipped wherever they stand (RFC 8878, 3 and 3.1.2). pzstd begins each of its streams with one of those, and `zstd -d` reads them.
# Happens: read_to_iter and decompressobj give nothing at all for such a stream, and no error: the layer, the page or the file is empty. Of two
# frames both give the first. decompress() says for pzstd's stream that there is an error in it, and gives the first of two without one.
# decompressobj has `read_across_frames` for it, which is off, read_to_iter has none. stream_reader, for which it is off as well, copy_stream
# and open give all. So do the packages pyzstd and backports.zstd.
# Matters for: xtask/factory/src/room/spool.rs, which reads every frame and knows zstd by either beginning: layers come in such streams, and a room's own
# tools may read them with this package.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download zstd=1.5.4+dfsg2-5+deb12u1 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
export PATH=$dir/unpacked/usr/bin:$PATH
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check zstandard==0.25.0 pyzstd==0.20.0 backports-zstd==1.8.0 >&2
cat > finding.py <<'PY'
import io
import sys

import pyzstd
import zstandard
from backports import zstd

name = sys.argv[1]
with open(name, "rb") as file:
    packed = file.read()
reader = zstandard.ZstdDecompressor()


def copied():
    out = io.BytesIO()
    reader.copy_stream(io.BytesIO(packed), out)
    return out.getvalue()


for way, unpacked in {
    "read_to_iter": lambda: b"".join(reader.read_to_iter(io.BytesIO(packed))),
    "decompressobj": lambda: reader.decompressobj().decompress(packed),
    "decompressobj across frames": lambda: reader.decompressobj(read_across_frames=True).decompress(packed),
    "decompress": lambda: zstandard.decompress(packed),
    "stream_reader": lambda: reader.stream_reader(io.BytesIO(packed)).read(),
    "copy_stream": copied,
    "open": lambda: zstandard.open(name).read(),
    "pyzstd": lambda: pyzstd.decompress(packed),
    "backports.zstd": lambda: zstd.decompress(packed),
}.items():
    try:
        print(f"{name}, {way}: {len(unpacked())} bytes")
    except zstandard.ZstdError as error:
        print(f"{name}, {way}: {error}")
PY
yes 'a line of a layer' | head -c 1000 >content || true
pzstd -q content -o pzstd.zst
{ zstd -q -c content; zstd -q -c content; } >two.zst
zstd -q -c content >one.zst
echo "zstandard 0.25.0, pyzstd 0.20.0, backports.zstd 1.8.0, zstd 1.5.4"
for name in one pzstd two; do
    echo "$name.zst, zstd -d: $(zstd -q -d -c $name.zst | wc -c) bytes"
    env/bin/python finding.py $name.zst
done | tee told
as_described=0
has() { grep -qxF "$1" told || as_described=1; }
for way in 'zstd -d' stream_reader copy_stream open 'decompressobj across frames' pyzstd backports.zstd; do
    has "one.zst, $way: 1000 bytes"
    has "pzstd.zst, $way: 1000 bytes"
    has "two.zst, $way: 2000 bytes"
done
for way in read_to_iter decompressobj; do
    has "one.zst, $way: 1000 bytes"
    has "pzstd.zst, $way: 0 bytes"
    has "two.zst, $way: 1000 bytes"
done
has 'two.zst, decompress: 1000 bytes'
grep -q '^pzstd.zst, decompress: decompression error' told || as_described=1
exit "$as_described"
