#!/bin/bash
# Expected: `size` of a tensor in the crate gguf-rs is the "size of tensor data in bytes", as it says, for each type that it has a name for.
# Happens: it takes each type from number 10 on for one with blocks of 256 values, BF16 and the plain numbers too, for which it has the bytes of one
# value: 1024 values of BF16 are 8 bytes to it and not 2048, and it is likewise with I8, I16, I32, I64 and F64. IQ4_NL, whose blocks have 32
# values, is an eighth of what it is. F32, F16 and Q8_0 are right, so that a model of several types is read in part. No error tells that
# the next tensor begins far behind. The Python package gguf has the lengths that are in the file.
# Matters for: the AI organ (docs/CONSTITUTION.md), which has to take a tensor's length from its type and shape itself: BF16 is what most models
# are published in.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check gguf==0.19.0 numpy==2.4.6 >&2
mkdir src
cat > Cargo.toml <<'EOF'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
gguf-rs = "=0.1.8"
EOF
cat > src/main.rs <<'EOF'
fn main() {
    let model = gguf_rs::get_gguf_container("model.gguf").unwrap().decode().unwrap();
    for tensor in model.tensors() {
        println!("{} {}", tensor.name, tensor.size);
    }
}
EOF
cat > model.py <<'EOF'
import numpy
from gguf import GGMLQuantizationType as Type, GGUFReader, GGUFWriter

writer = GGUFWriter("model.gguf", "llama")
for kind in (numpy.float32, numpy.float16, numpy.int8, numpy.int16, numpy.int32, numpy.int64, numpy.float64):
    writer.add_tensor(numpy.dtype(kind).name, numpy.ones(1024, kind))
# 1024 values of each: two bytes a value, and blocks of 32 values in 18 and in 34 bytes.
writer.add_tensor("bfloat16", numpy.ones(2048, numpy.uint8), raw_dtype=Type.BF16)
writer.add_tensor("iq4_nl", numpy.ones(32 * 18, numpy.uint8), raw_dtype=Type.IQ4_NL)
writer.add_tensor("q8_0", numpy.ones(32 * 34, numpy.uint8), raw_dtype=Type.Q8_0)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
for tensor in GGUFReader("model.gguf").tensors:
    assert tensor.n_elements == 1024
    print(tensor.name, tensor.n_bytes)
EOF
echo "gguf-rs 0.1.8; Python's gguf 0.19.0"
env/bin/python model.py >in-file
cargo run --quiet >found
echo "tensors of 1024 values, their bytes in the file and to gguf-rs:"
join in-file found
join in-file found | cmp - <<'EOF'
float32 4096 4096
float16 2048 2048
int8 1024 4
int16 2048 8
int32 4096 16
int64 8192 32
float64 8192 32
bfloat16 2048 8
iq4_nl 576 72
q8_0 1088 1088
EOF
