#!/bin/bash
# Expected: npm's @huggingface/gguf reads what a model's file says of itself, and buildGgufHeader puts that back with what was changed, which is what
# it is for; what nobody changed stays as it was, and the tensors are found behind the new header.
# Happens: a text that begins with U+FEFF, as tokens of a vocabulary may, loses it: the token U+FEFF is empty, and U+FEFF with `a` is a second `a`. In
# the new header they are so too, and the tokens of a prompt are no longer those that the model learned. Nothing is said, for the texts are
# still as many. U+FEFF behind the first character stays. A list of bytes, as `precompiled_charsmap` of T5 is one, is read and then refused when
# it is written. A file that says general.alignment is 256 gets a header filled up to 32, which is told nobody: readers look for the tensors
# elsewhere, unless the same number is given once more. The Python package gguf reads each file as it was made.
# Matters for: the AI organ (docs/CONSTITUTION.md): a model whose description somebody has edited this way is a valid file with another vocabulary.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check gguf==0.19.0 numpy==2.4.6 >&2
npm install --silent --no-audit --no-fund @huggingface/gguf@0.4.6 >&2
cat > make.py <<'END'
import numpy
from gguf import GGUFWriter

def make(name, fill):
    writer = GGUFWriter(name, "llama")
    fill(writer)
    writer.add_tensor("blk.0.attn_q.weight", numpy.arange(64, dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

make("tokens", lambda writer: writer.add_token_list(["a", "\ufeff", "\ufeffa", "a\ufeff"]))
make("bytes", lambda writer: writer.add_precompiled_charsmap(b"\1\2\3"))
make("aligned", lambda writer: writer.add_custom_alignment(256))
END
cat > read.py <<'END'
import sys
from gguf import GGUFReader

name = sys.argv[1]
reader = GGUFReader(name)
field = reader.fields.get("tokenizer.ggml.tokens")
tokens = [bytes(field.parts[at]).decode() for at in field.data] if field else []
print(f"{name}: {ascii(tokens)}, tensors at {reader.tensors[0].data_offset} of {len(open(name, 'rb').read())} bytes")
END
cat > rewrite.mjs <<'END'
import { buildGgufHeader, gguf } from "@huggingface/gguf";
import { openAsBlob, writeFileSync } from "node:fs";

const name = process.argv[2];
const file = await openAsBlob(name);
const { littleEndian, tensorDataOffset, tensorInfoByteRange, typedMetadata } = await gguf(name, { allowLocalFile: true, typedMetadata: true });
try {
    const header = await buildGgufHeader(file, typedMetadata, { littleEndian, tensorInfoByteRange });
    const all = new Blob([header, file.slice(Number(tensorDataOffset))]);
    writeFileSync(`new-${name}`, Buffer.from(await all.arrayBuffer()));
    console.log(`${name}: a header of ${header.size} bytes where ${tensorDataOffset} were`);
} catch (error) {
    console.log(`${name}: ${error.message}`);
}
END
env/bin/python make.py
echo "@huggingface/gguf 0.4.6, gguf 0.19.0"
for name in tokens bytes aligned; do
    env/bin/python read.py $name
    node rewrite.mjs $name
done >told 2>&1
env/bin/python read.py new-tokens >>told
env/bin/python read.py new-aligned >>told 2>&1 || echo "new-aligned: $(tail -n 1 told)" >>told
grep -v '^ \|^Traceback\|^[A-Z]' told
as_described=0
has() { grep -qF "$1" told || as_described=1; }
has "tokens: ['a', '\\ufeff', '\\ufeffa', 'a\\ufeff'], "
has "new-tokens: ['a', '', 'a', 'a\\ufeff'], "
has 'bytes: Array type requires subType to be specified'
has 'aligned: [], tensors at 256 of 512 bytes'
has 'aligned: a header of 160 bytes where 256 were'
has 'new-aligned: ValueError: cannot reshape'
exit "$as_described"
