#!/bin/bash
# Expected: an image of several layers that is made one, or unpacked, has the files that a container of it sees. A file `.wh.NAME` hides NAME of the layers
# below; what "is present in the same layer as a whiteout file can only be hidden by whiteout files in subsequent layers", a whiteout's name begins with
# `.wh.`, and `.wh..wh..opq` hides all that a folder had below (OCI Image Format, layer.md, "Whiteouts").
# Happens: oci-squash, with "whiteout handling", leaves out what a layer has made anew beside its whiteout. A file with `.wh.` in the middle of its name is
# one for it: `notes.wh.txt` is not there any more, and neither is `notestxt`. A symbolic link goes with a file that it does not lead to: its target is looked
# for from the root, so `opt/app -> data` is gone as soon as `/data` is. What an opaque folder hides stays where the layer below begins its names with `./`,
# as `tar -C DIR .` does. undocker removes what was made anew and keeps all that an opaque folder hides. Neither says a word. umoci has all of it right.
# Relies on it: xtask/factory/src/room, which takes the layers of `docker save` apart itself (docs/ROOMS.md, "Imports").
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download umoci=0.4.7+ds-3+b7 2>/dev/null >&2
dpkg -x ./umoci*.deb unpacked
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check oci-squash==0.1.0 undocker==7 >&2
cat > image.py <<'PY'
import hashlib
import io
import json
import os
import tarfile


def layer(*entries):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, text in entries:
            entry = tarfile.TarInfo(name)
            if name.endswith("/"):
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            elif text.startswith("-> "):
                entry.type, entry.linkname = tarfile.SYMTYPE, text[3:]
            entry.size = len(text) if entry.isfile() else 0
            tar.addfile(entry, io.BytesIO(text.encode()))
    return content.getvalue()


folders = [("./", ""), ("./opt/", ""), ("./e/", "")]
first = ["./data", "./opt/data", "./notestxt", "./kept", "./e/old"]
below = layer(*folders, *((name, "old") for name in first), ("./opt/app", "-> data"))
above = layer((".wh.data", ""), (".wh.kept", ""), ("kept", "new"), ("notes.wh.txt", "new"), ("e/", ""), ("e/.wh..wh..opq", ""), ("e/new", "new"))
layers = [below, above]

# The same image as an OCI layout ...
os.makedirs("oci/blobs/sha256")


def blob(kind, content):
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    digest = hashlib.sha256(content).hexdigest()
    open(f"oci/blobs/sha256/{digest}", "wb").write(content)
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(content)}


blobs = [blob("layer.v1.tar", it) for it in layers]
files = {"type": "layers", "diff_ids": [it["digest"] for it in blobs]}
history = [{"created": "2026-01-01T00:00:00Z", "created_by": it} for it in ("below", "above")]
machine = {"created": "2026-01-01T00:00:00Z", "architecture": "amd64", "os": "linux"}
config = blob("config.v1+json", {**machine, "config": {}, "rootfs": files, "history": history})
manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": blobs}
index = {**blob("manifest.v1+json", manifest), "annotations": {"org.opencontainers.image.ref.name": "latest"}}
json.dump({"schemaVersion": 2, "manifests": [index]}, open("oci/index.json", "w"))
json.dump({"imageLayoutVersion": "1.0.0"}, open("oci/oci-layout", "w"))

# ... and as docker save wrote it before, for undocker.
ids = [hashlib.sha256(bytes([number])).hexdigest() for number in range(len(layers))]
for number, name in enumerate(ids):
    os.makedirs(f"saved/{name}")
    open(f"saved/{name}/layer.tar", "wb").write(layers[number])
    open(f"saved/{name}/VERSION", "w").write("1.0")
    json.dump({"id": name, **({"parent": ids[number - 1]} if number else {})}, open(f"saved/{name}/json", "w"))
json.dump({"app": {"latest": ids[-1]}}, open("saved/repositories", "w"))
PY
python3 image.py
tar -C oci -cf oci.tar .
(cd saved && tar -cf ../saved.tar -- *)
unpacked/usr/bin/umoci unpack --rootless --image oci:latest by-umoci 2>/dev/null
env/bin/oci-squash -t app:latest -o squashed.tar oci.tar >log 2>&1 || cat log
mkdir squashed by-oci-squash by-undocker
tar -xf squashed.tar -C squashed
find squashed -name layer.tar -exec tar -xf {} -C by-oci-squash \;
env/bin/undocker -o by-undocker <saved.tar
names() (
    cd "$1"
    find . ! -type d | sed 's,^\./,,' | sort | while read -r name; do
        if [ -L "$name" ]; then echo "$name=$(readlink "$name")"; else echo "$name=$(cat "$name")"; fi
    done | xargs
)
echo "oci-squash 0.1.0, undocker 7, umoci 0.4.7"
{
    echo "umoci: $(names by-umoci/rootfs)"
    echo "oci-squash: $(names by-oci-squash)"
    echo "undocker: $(names by-undocker)"
} | tee read
cat > expected <<'END'
umoci: e/new=new kept=new notes.wh.txt=new notestxt=old opt/app=data opt/data=old
oci-squash: e/.wh..wh..opq= e/new=new e/old=old opt/data=old
undocker: e/new=new e/old=old notes.wh.txt=new notestxt=old opt/app=data opt/data=old
END
cmp expected read
