#!/bin/bash
# Expected: the crate shimmytok makes of a text the tokens that llama.cpp makes of it with the vocabulary of the same GGUF file: "producing identical
# output to llama.cpp", "100% llama.cpp compatible". Its README has gpt-2 as an exact match and lists no exception.
# Happens: of vocabularies with one pattern for cutting a text into words (tokenizer.ggml.pre) it takes what the pattern matches and drops what lies
# between, where llama.cpp keeps that as a piece of its own. GPT-2's pattern matches no single line end before a word: a text of lines comes
# out as one line, for gpt-2, phi-2, mpt, olmo and six more. viking loses brackets and commas; kimi-k2, for which it has a part of the
# pattern, and superbpe lose nearly all. Those whose patterns match everything, as llama-bpe and qwen2, are right.
# Of the others: with a BERT vocabulary letters keep their accents and typographic quotes are letters, so `café` and `“b”` are unknown words.
# With Llama's a text that begins with a blank gets none in front of it, and two blanks that are a token of their own (user-defined, as
# Gemma's) are not found. With T5's several blanks stay several, whatever tokenizer.ggml.remove_extra_whitespaces says. No error tells any.
# Matters for: the AI organ (docs/CONSTITUTION.md), whose models are llama.cpp's: a room that counts or makes tokens with this crate has another
# prompt. The script compiles llama.cpp's own vocabulary and little else of it.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check gguf==0.19.0 numpy==2.4.6 >&2
mkdir src
cat > Cargo.toml <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
shimmytok = "=0.8.4"
llama-cpp-sys-2 = { version = "=0.1.161", optional = true }
END
# Both print a line for each line that they read, in which \n stands for a line end: the tokens, with a bar behind each.
cat > src/main.rs <<'END'
use shimmytok::Tokenizer;

fn main() {
    let tokenizer = Tokenizer::from_gguf_file(std::env::args().nth(1).unwrap()).unwrap();
    for line in std::io::stdin().lines() {
        match tokenizer.encode(&line.unwrap().replace("\\n", "\n"), false) {
            Err(error) => println!("{error}"),
            Ok(tokens) => {
                let texts = tokens.iter().map(|token| tokenizer.token_to_piece(*token).unwrap() + "|");
                println!("{}", texts.collect::<String>());
            }
        }
    }
}
END
cargo build --quiet
# The source of llama.cpp is in the second crate, which is unpacked and not built.
cargo vendor --quiet vendored >/dev/null 2>&1
source=$dir/vendored/llama-cpp-sys-2/llama.cpp
printf '#define GGML_VERSION "0"\n#define GGML_COMMIT "0"\n' >ggml-version.h
cat > vocabulary.cpp <<'END'
#include "gguf.h"
#include "llama-arch.h"
#include "llama-model-loader.h"
#include "llama-vocab.h"
#include <iostream>

int main(int, char ** words) {
    std::vector<std::string> splits;
    llama_model_loader loader(gguf_init_from_file(words[1], { true, nullptr }), nullptr, nullptr, "", splits, nullptr,
        LLAMA_LOAD_MODE_NONE, false, true, false, nullptr, nullptr);
    llama_vocab vocabulary;
    vocabulary.load(loader, LLM_KV(loader.get_arch()));
    for (std::string line; std::getline(std::cin, line);) {
        for (size_t at; (at = line.find("\\n")) != std::string::npos;) {
            line.replace(at, 2, "\n");
        }
        for (auto token : vocabulary.tokenize(line, false, false)) {
            std::cout << vocabulary.token_get_text(token) << "|";
        }
        std::cout << "\n";
    }
}
END
compile() {
    case $1 in *.c) gcc "${@:2}" -c "$1" -o "$(basename "$1").o" ;; *) g++ -std=c++17 "${@:2}" -c "$1" -o "$(basename "$1").o" ;; esac
}
for file in vocabulary.cpp "$source"/src/{llama-{vocab,arch,impl,model-loader,mmap,hparams},unicode,unicode-data}.cpp \
    "$source"/ggml/src/{ggml.c,ggml.cpp,gguf.cpp,ggml-threading.cpp}; do
    compile "$file" -w -ffunction-sections -fno-pie -I"$source/include" -I"$source/src" -I"$source/ggml/include" -I"$source/ggml/src" -I. \
        -D_GNU_SOURCE
done
# What else of llama.cpp these files name is for tensors, of which the files have none.
g++ -no-pie ./*.o -Wl,--gc-sections -Wl,--unresolved-symbols=ignore-all -o vocabulary
cat > make.py <<'END'
import sys
from gguf import GGUFWriter, TokenType

model, pre = sys.argv[1:]
blank = "\u2581"
control, normal, unknown, defined = TokenType.CONTROL, TokenType.NORMAL, TokenType.UNKNOWN, TokenType.USER_DEFINED
special = [("[UNK]", unknown), ("[CLS]", control), ("[SEP]", control), ("[PAD]", control), ("[MASK]", control)]
writer = GGUFWriter(f"{model}-{pre}.gguf", {"bert": "bert", "t5": "t5"}.get(model, "llama"))
if model == "gpt2":
    # Each byte has a letter: those that can be shown themselves, the others from 256 on.
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in shown}
    letters |= {byte: chr(256 + at) for at, byte in enumerate(set(range(256)) - set(shown))}
    tokens = [(letters[byte], normal) for byte in range(256)] + [("on", normal), ("one", normal)]
    writer.add_token_merges(["o n", "on e"])
elif model == "bert":
    tokens = special + [(blank + word, normal) for word in "a b cafe uber \u201c \u201d".split()]
elif model == "t5":
    tokens = special + [(word, normal) for word in (blank, blank + "one", blank + "two")]
    writer.add_remove_extra_whitespaces(True)
else:
    tokens = special + [(f"<0x{byte:02X}>", TokenType.BYTE) for byte in range(256)]
    tokens += [(word, normal) for word in (blank + "a", blank, "a", "b", blank + blank)] + [("  ", defined)]
writer.add_tokenizer_model(model)
writer.add_tokenizer_pre(pre)
writer.add_token_list([text for text, _ in tokens])
writer.add_token_types([kind for _, kind in tokens])
writer.add_token_scores([-float(at) for at in range(len(tokens))])
for add, number in ((writer.add_unk_token_id, 0), (writer.add_bos_token_id, 1), (writer.add_eos_token_id, 2), (writer.add_sep_token_id, 2),
                    (writer.add_pad_token_id, 3), (writer.add_mask_token_id, 4)):
    add(number if model != "gpt2" else 0)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.close()
END
echo "shimmytok 0.8.4; llama.cpp of llama-cpp-sys-2 0.1.161; gguf 0.19.0"
as_described=0
# A model, a kind of cutting, a text, what llama.cpp makes of it, what shimmytok makes of it.
told() {
    env/bin/python make.py "$1" "$2"
    real=$(echo "$3" | ./vocabulary "$1-$2.gguf" 2>/dev/null)
    found=$(echo "$3" | ./target/debug/finding "$1-$2.gguf" 2>&1)
    echo "$1 $2, \"$3\": llama.cpp $real shimmytok ${found:-none}"
    { [ "$real" = "$4" ] && [ "$found" = "$5" ]; } || as_described=1
}
for pre in llama-bpe qwen2; do
    told gpt2 "$pre" 'one\none' 'one|Ċ|one|' 'one|Ċ|one|'
done
for pre in gpt-2 phi-2 mpt olmo jais trillion exaone4 granite-docling jina-es jina-de; do
    told gpt2 "$pre" 'one\none' 'one|Ċ|one|' 'one|one|'
done
told gpt2 viking 'one (one, one)' 'one|Ġ|(|one|,|Ġ|one|)|' 'one|one|Ġ|one|'
told gpt2 kimi-k2 'one one' 'one|Ġ|one|' ''
told gpt2 superbpe 'one 2' 'one|Ġ|2|' '2|'
told bert default 'a cafe' '▁a|▁cafe|' '▁a|▁cafe|'
told bert default 'a café' '▁a|▁cafe|' '▁a|[UNK]|'
told bert default 'a “b”' '▁a|▁“|▁b|▁”|' '▁a|[UNK]|'
told llama default 'a' '▁a|' '▁a|'
told llama default ' a' '▁|▁a|' '▁a|'
told llama default 'a  b' '▁a|  |▁|b|' '▁a|▁▁|b|'
told t5 default 'one  two ' '▁one|▁two|' '▁one|▁|▁two|▁|'
exit "$as_described"
