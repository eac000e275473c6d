#!/bin/bash
# Expected: a grammar that the crate gbnf makes of a JSON schema for llama.cpp (`Grammar::from_json_schema`) allows documents of that schema and nothing
# that is no JSON. Its documentation lists what it cannot do, and it has errors for that, one of them for a `format` that it does not know; it
# knows `date-time` (RFC 3339: a date, a time, and `Z` or an offset).
# Happens: of a date-time only one with `Z` is allowed whole. The alternative of the offset is not put in brackets, so it begins the value anew: the two
# characters `+"`, or `-02:00"`, are a whole date-time, with no quote before them, and 07:08:09+02:00 is none. A backslash in an `enum` is not
# escaped: of "C:\\new" the grammar makes a quote, `C:`, a line end and `ew`, which no JSON has. A `type` of two, ["string", "null"], gives a
# grammar without a root. Each of them is Ok; plain dates, numbers, lists and other enums are right.
# Matters for: the AI organ (docs/CONSTITUTION.md), whose answers would be held to such a grammar so that they can be read without a doubt.
# The script compiles llama.cpp's own grammar reader and nothing else of it.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir src
cat > Cargo.toml <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
gbnf = "=0.2.7"
llama-cpp-sys-2 = { version = "=0.1.161", optional = true }
END
cat > src/main.rs <<'END'
fn main() {
    match gbnf::Grammar::from_json_schema(&std::env::args().nth(1).unwrap()) {
        Ok(grammar) => print!("{grammar}"),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    }
}
END
cargo build --quiet
# The source of llama.cpp is in the second crate, which is unpacked and not built.
cargo vendor --quiet vendored >/dev/null 2>&1
source=$dir/vendored/llama-cpp-sys-2/llama.cpp
# Says for each text, with a NUL behind it, whether the grammar allows it as a whole.
cat > match.cpp <<'END'
#include "llama-grammar.h"
#include "llama-impl.h"
#include "llama-vocab.h"
#include <cstdio>
#include <cstdlib>
#include <iostream>

// What the grammar's reader is linked to and, with no vocabulary, does not call; or calls to write its log.
extern "C" void ggml_abort(const char *, int, const char *, ...) { abort(); }
void llama_log_internal(ggml_log_level, const char *, ...) {}
int32_t llama_vocab::tokenize(const char *, int32_t, llama_token *, int32_t, bool, bool) const { abort(); }

int main(int, char ** words) {
    for (std::string text; std::getline(std::cin, text, '\0');) {
        auto * grammar = llama_grammar_init_impl(nullptr, words[1], "root", false, nullptr, 0, nullptr, 0);
        if (!grammar) {
            return 1;
        }
        bool whole = false;
        try {
            llama_grammar_accept_str(*grammar, text);
            for (const auto & stack : grammar->stacks) {
                whole |= stack.empty();
            }
        } catch (const std::exception &) {
        }
        puts(whole ? "True" : "False");
        llama_grammar_free_impl(grammar);
    }
}
END
g++ -std=c++17 -ffunction-sections -I"$source/src" -I"$source/include" -I"$source/ggml/include" -I"$source/common" \
    match.cpp "$source/src/llama-grammar.cpp" -Wl,--gc-sections -o match
echo "gbnf 0.2.7; llama.cpp of llama-cpp-sys-2 0.1.161"
as_described=0
# A schema, and texts with what llama.cpp says of each under the schema's grammar.
check() {
    echo "$1"
    if ! ./target/debug/finding "$1" >grammar; then as_described=1; return; fi
    grep '^datetime' grammar | sed 's/^/    /' || true
    shift
    while [ "$#" -gt 0 ]; do
        found=$(printf '%s\0' "$1" | ./match "$(cat grammar)" || echo 'no grammar')
        printf '    %q: %s\n' "$1" "$found"
        [ "$found" = "$2" ] || as_described=1
        shift 2
    done
}
check '{"type": "string", "format": "date"}' '"2024-05-06"' True '2024-05-06' False
check '{"type": "string", "format": "date-time"}' '"2024-05-06T07:08:09Z"' True '"2024-05-06T07:08:09+02:00"' False \
    '"2024-05-06T07:08:09-02:00"' False '+"' True '-02:00"' True
check '{"type": "object", "properties": {"at": {"type": "string", "format": "date-time"}}}' '{"at":"2024-05-06T07:08:09Z"}' True \
    '{"at":"2024-05-06T07:08:09+02:00"}' False '{"at":+"}' True
check '{"enum": ["C:/new", "other"]}' '"C:/new"' True '"other"' True
check '{"enum": ["C:\\new", "other"]}' '"C:\\new"' False $'"C:\new"' True '"other"' True
check '{"type": "string"}' '"one"' True
check '{"type": ["string", "null"]}' '"one"' 'no grammar' null 'no grammar'
check '{"type": "array", "items": {"type": "number"}}' '[1,-2.5]' True '[]' True '["one"]' False
exit "$as_described"
