#!/bin/bash
# Expected: the crate llama-gguf, "with full GGUF support" and "all K-quant formats (Q2_K through Q8_0)", has the weights that stand in a model's file. A byte
# of Q2_K and Q3_K holds two bits each of four weights that are 32 apart, and the third bit of Q3_K and its scales are spread likewise (ggml's
# dequantize_row_q2_K and dequantize_row_q3_K, to which GGUF leaves the form of its types).
# Happens: for both it takes the four out of a byte one beside the other, the third bits too, and of Q3_K the scales as if they were packed in threes. Of
# random blocks 68 of 100 weights of Q2_K are others and 97 of Q3_K; the number of them is right and there is no error. Q4_0 to Q6_K are right. The crates
# rlx-gguf and frink-quant have them all as the Python package gguf has them.
# Matters for: the AI organ (docs/AI.md): a model in one of these types, the smallest of the usual ones, has other weights than its maker gave it, while
# models in other types show that the program is in order.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check gguf==0.17.1 >&2
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
frink-quant = "=0.50.0"
llama-gguf = { version = "=0.14.0", default-features = false }
rlx-gguf = "=0.2.19"
TOML
cat > src/main.rs <<'RUST'
use frink_quant as frink;
use llama_gguf::{default_backend, DType, Tensor};
use rlx_gguf::{dequant_typed, GgmlType};

const WEIGHTS: usize = 4096;

fn write(name: String, weights: &[f32]) {
    assert_eq!(weights.len(), WEIGHTS);
    std::fs::write(name, weights.iter().flat_map(|it| it.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
}

fn main() {
    for (name, kind, rlx) in [
        ("Q4_0", DType::Q4_0, GgmlType::Q4_0),
        ("Q8_0", DType::Q8_0, GgmlType::Q8_0),
        ("Q2_K", DType::Q2K, GgmlType::Q2K),
        ("Q3_K", DType::Q3K, GgmlType::Q3K),
        ("Q4_K", DType::Q4K, GgmlType::Q4K),
        ("Q5_K", DType::Q5K, GgmlType::Q5K),
        ("Q6_K", DType::Q6K, GgmlType::Q6K),
    ] {
        let blocks = std::fs::read(name).unwrap();
        let tensor = Tensor::new(blocks.clone(), vec![WEIGHTS], kind).unwrap();
        let mut weights = Tensor::zeros(vec![WEIGHTS], DType::F32);
        default_backend().dequantize(&tensor, &mut weights).unwrap();
        write(format!("{name}.llama-gguf"), weights.as_f32().unwrap());
        write(format!("{name}.rlx-gguf"), &dequant_typed(rlx, &blocks, WEIGHTS, name).unwrap());
        let weights = match name {
            "Q4_0" => frink::dequant_q4_0(&blocks),
            "Q8_0" => frink::dequant_q8_0(&blocks),
            "Q2_K" => frink::dequant_q2_k(&blocks),
            "Q3_K" => frink::dequant_q3_k(&blocks),
            "Q4_K" => frink::dequant_q4_k(&blocks),
            "Q5_K" => frink::dequant_q5_k(&blocks),
            _ => frink::dequant_q6_k(&blocks),
        };
        write(format!("{name}.frink-quant"), &weights.unwrap());
    }
}
RUST
cat > blocks.py <<'PY'
import random
import sys

import numpy
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

for name in "Q4_0", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K":
    kind = GGMLQuantizationType[name]
    weights, size = GGML_QUANT_SIZES[kind]
    if sys.argv[1] == "write":
        # Any bytes are a block, but for its one or two numbers of 16 bits, which are 1/64 here.
        chance = random.Random(name)
        with open(name, "wb") as file:
            for _ in range(4096 // weights):
                block = bytearray(chance.randbytes(size))
                for at in {"Q2_K": (-4, -2), "Q3_K": (-2,), "Q6_K": (-2,), "Q4_K": (0, 2), "Q5_K": (0, 2)}.get(name, (0,)):
                    block[at % size : at % size + 2] = b"\0\x24"
                file.write(block)
        continue
    right = dequantize(numpy.fromfile(name, dtype=numpy.uint8), kind).ravel()
    same = lambda reader: numpy.isclose(numpy.fromfile(f"{name}.{reader}", dtype=numpy.float32), right, rtol=1e-5, atol=1e-7).sum()
    print(name, *(f"{reader} {same(reader)}" for reader in ("llama-gguf", "rlx-gguf", "frink-quant")))
PY
env/bin/python blocks.py write
cargo build --quiet
./target/debug/finding
echo "llama-gguf 0.14.0, rlx-gguf 0.2.19, frink-quant 0.50.0: of 4096 weights as many are those of gguf 0.17.1"
env/bin/python blocks.py read | tee read
cat > expected <<'END'
Q4_0 llama-gguf 4096 rlx-gguf 4096 frink-quant 4096
Q8_0 llama-gguf 4096 rlx-gguf 4096 frink-quant 4096
Q2_K llama-gguf 1325 rlx-gguf 4096 frink-quant 4096
Q3_K llama-gguf 130 rlx-gguf 4096 frink-quant 4096
Q4_K llama-gguf 4096 rlx-gguf 4096 frink-quant 4096
Q5_K llama-gguf 4096 rlx-gguf 4096 frink-quant 4096
Q6_K llama-gguf 4096 rlx-gguf 4096 frink-quant 4096
END
cmp expected read
