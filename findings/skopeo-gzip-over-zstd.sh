#!/bin/bash
# Expected: skopeo copies an image from one OCI layout to another as it is; a layer whose media type says tar+zstd, and which `zstd -t` finds whole,
# stays tar+zstd.
# Happens: it looks at the first four bytes, not at the media type. A zstd stream may begin with a frame to be skipped, and those that pzstd writes
# all do: skopeo takes such a layer for one that is not compressed, packs it with gzip as well, names it tar+gzip, and ends with 0. Who
# unpacks what is named finds no tar.
# Relies on it: xtask/factory/src/room/spool.rs, which knows zstd by either beginning.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download skopeo=1.9.3+ds1-1+b10 libgpgme11=1.18.0-3+deb12u1 libassuan0=2.5.5-5 libdevmapper1.02.1=2:1.02.185-2 zstd=1.5.4+dfsg2-5 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
export PATH=$dir/unpacked/usr/bin:$PATH
export LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu:$dir/unpacked/lib/x86_64-linux-gnu
skopeo --version
zstd --version
mkdir files
seq 100000 >files/numbers
tar -cf layer.tar -C files numbers
zstd -q layer.tar -o by-zstd
pzstd -q -k layer.tar -o by-pzstd
cat >layout.py <<'END'
import hashlib, json, os, sys

OCI = "application/vnd.oci.image."
packed, folder = sys.argv[1:]
os.makedirs(f"{folder}/blobs/sha256")

def blob(some, kind):
    name = hashlib.sha256(some).hexdigest()
    with open(f"{folder}/blobs/sha256/{name}", "wb") as file:
        file.write(some)
    return {"mediaType": OCI + kind, "digest": f"sha256:{name}", "size": len(some)}

def write(name, value):
    with open(f"{folder}/{name}", "w") as file:
        json.dump(value, file)

bare = hashlib.sha256(open("layer.tar", "rb").read()).hexdigest()
rootfs = {"type": "layers", "diff_ids": [f"sha256:{bare}"]}
config = blob(json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}).encode(), "config.v1+json")
layer = blob(open(packed, "rb").read(), "layer.v1.tar+zstd")
kind = "manifest.v1+json"
manifest = blob(json.dumps({"schemaVersion": 2, "mediaType": OCI + kind, "config": config, "layers": [layer]}).encode(), kind)
write("index.json", {"schemaVersion": 2, "manifests": [{**manifest, "annotations": {"org.opencontainers.image.ref.name": "one"}}]})
write("oci-layout", {"imageLayoutVersion": "1.0.0"})
END
cat >layer.py <<'END'
import json, sys

def blob(folder, digest):
    return f"{folder}/blobs/sha256/{digest.removeprefix('sha256:')}"

folder = sys.argv[1]
index = json.load(open(f"{folder}/index.json"))
layer = json.load(open(blob(folder, index["manifests"][0]["digest"])))["layers"][0]
print(layer["mediaType"].rsplit(".", 1)[1], blob(folder, layer["digest"]))
END
for by in by-zstd by-pzstd; do
    zstd -tq <$by
    python3 layout.py $by $by.oci
    skopeo copy --insecure-policy -q oci:$by.oci:one oci:$by.copy:one
    read -r kind file <<<"$(python3 layer.py $by.copy)"
    echo "$by: begins with $(od -An -tx1 -N4 $by), copied as $kind, which begins with $(od -An -tx1 -N4 "$file")"
    echo "$kind" >$by.kind
    cp "$file" $by.layer
done
gzip -dc <by-pzstd.layer >once
echo "the copied layer of by-pzstd without its gzip begins with $(od -An -tx1 -N4 once)"
[ "$(cat by-zstd.kind)" = tar+zstd ] && cmp by-zstd by-zstd.layer
[ "$(cat by-pzstd.kind)" = tar+gzip ] && cmp by-pzstd once && ! cmp -s layer.tar once
