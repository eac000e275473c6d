#!/bin/bash
# Expected: what the Python package gguf writes into a model's file its own reader gives back: GGUF allows arrays of arrays, and arrays of no
# element.
# Happens: an array of arrays is written as the format has it, and read as one flat list; the borders are gone, without a word. An empty list
# is not written at all: its key is missing. A list of whole numbers is always 32 bits wide, and a list of floats always single: 0.1 comes
# back changed, though add_float64 keeps it.
# Relies on it: nothing yet; an organ that reads a model's description has to expect keys that are missing because their list was empty.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check gguf==0.19.0 numpy==2.4.6 >&2
cat > finding.py <<'END'
import struct
import sys
from gguf import GGUFReader, GGUFWriter

writer = GGUFWriter("model.gguf", "llama")
writer.add_array("my.nested", [[1, 2], [3]])
writer.add_array("my.empty", [])
writer.add_array("my.tenths", [0.1])
writer.add_float64("my.tenth", 0.1)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

# Array of 2 arrays: 32-bit integers, 2 of them, then 1.
nested = struct.pack("<IIQ IQii IQi", 9, 9, 2, 5, 2, 1, 2, 5, 1, 3)
in_file = nested in open("model.gguf", "rb").read()
fields = GGUFReader("model.gguf").fields
read = {key: fields[key].contents() for key in ("my.nested", "my.tenths", "my.tenth")}
print("[[1, 2], [3]] lies nested in the file:", in_file)
print("[[1, 2], [3]] is read as", read["my.nested"])
print("[] has a key in the file:", "my.empty" in fields)
print("[0.1] is read as", read["my.tenths"], "and 0.1 alone as", read["my.tenth"])
as_described = in_file and read["my.nested"] == [1, 2, 3] and "my.empty" not in fields
sys.exit(not (as_described and read["my.tenths"] != [0.1] and read["my.tenth"] == 0.1))
END
echo "gguf 0.19.0"
env/bin/python finding.py
