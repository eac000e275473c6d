#!/bin/bash
# Expected: what llama.cpp allows under a JSON schema with a `pattern` is a JSON text whose string the pattern matches (JSON Schema 2020-12, Validation
# 6.3.3; ECMA-262, 22.2.1: a quantifier belongs to the one atom before it); in a JSON text a quote and a backslash of a string stand behind a
# backslash (RFC 8259, 7). Of a pattern that it cannot take it says so, "accepting any string".
# Happens: an escaped character takes the text before it along: `^v\.?[0-9]+$` is an optional `v.`, so v1 is refused and 1 allowed, and `^1\+*$` has any
# number of `1+`. The string is held to the pattern before it is escaped: a `.` or a `[^,]` lets a quote through, and `"a"b"` is a whole answer. A path
# in `^C:\\[a-z]+$` has one backslash in the answer: "C:\temp" is read as a tab and `emp`, and the right "C:\\temp" is refused. The names of further
# properties, under `additionalProperties` beside known ones, may begin with a backslash or a line end, so `{"\":1}` is a whole answer. Beside a
# `pattern` the `minLength` and `maxLength` are dropped. No warning is given for any of these.
# Matters for: the AI organ (docs/CONSTITUTION.md), whose answers are held to such grammars so that they can be read without a doubt.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv env
# The source of llama.cpp is in the package, which is unpacked and not built.
env/bin/pip download --quiet --disable-pip-version-check --no-deps --no-binary llama-cpp-python llama-cpp-python==0.3.36 >&2
tar -xf llama_cpp_python-0.3.36.tar.gz
source=$dir/llama_cpp_python-0.3.36/vendor/llama.cpp
# Makes a grammar of a schema, and says for each text, with a NUL behind it, whether it is allowed as a whole.
cat > finding.cpp <<'CPP'
#include "json-schema-to-grammar.h"
#include "llama-grammar.h"
#include "llama-impl.h"
#include <iostream>

int main(int, char ** words) {
    const std::string rules = json_schema_to_grammar(common_json::parse(words[1]));
    std::cout << rules << std::endl;
    for (std::string text; std::getline(std::cin, text, '\0');) {
        auto * grammar = llama_grammar_init_impl(nullptr, rules.c_str(), "root", false, nullptr, 0, nullptr, 0);
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
        std::cout << (whole ? "allowed" : "refused") << std::endl;
        llama_grammar_free_impl(grammar);
    }
}
CPP
for file in finding.cpp "$source"/common/{common,json,json-schema,json-schema-to-grammar,trie,unicode}.cpp "$source/src/llama-grammar.cpp"; do
    g++ -std=c++17 -w -ffunction-sections -fno-pie -I"$source/include" -I"$source/src" -I"$source/ggml/include" -I"$source/common" \
        -I"$source/vendor" -c "$file" -o "$(basename "$file").o"
done
# What else of llama.cpp these files name is not called here.
g++ -no-pie ./*.o -Wl,--gc-sections -Wl,--unresolved-symbols=ignore-all -o finding
echo "llama.cpp of llama-cpp-python 0.3.36"
as_described=0
# A schema, and texts with what is expected of each under the schema's grammar.
check() {
    schema=$1
    shift
    texts=() want=()
    while [ "$#" -gt 0 ]; do
        texts+=("$1") want+=("$2")
        shift 2
    done
    echo "$schema"
    printf '%s\0' "${texts[@]}" | ./finding "$schema" 2>>warnings | tail -n "${#texts[@]}" >told || true
    mapfile -t found <told
    for at in "${!texts[@]}"; do
        printf '    %s: %s\n' "${texts[at]//$'\n'/\\n}" "${found[at]-}"
        [ "${found[at]-}" = "${want[at]}" ] || as_described=1
    done
}
check '{"type": "string", "pattern": "^v[0-9]+$"}' '"v1"' allowed '"1"' refused
check '{"type": "string", "pattern": "^v\\.?[0-9]+$"}' '"v.1"' allowed '"v1"' refused '"1"' allowed
check '{"type": "string", "pattern": "^1\\+*$"}' '"1"' refused '"1++"' refused '"1+1+"' allowed '""' allowed
check '{"type": "string", "pattern": "^[0-9]\\+*$"}' '"1"' allowed '"1++"' allowed '"1+1+"' refused
check '{"type": "string", "pattern": "^.+$"}' '"ab"' allowed '"a"b"' allowed '"a\"' allowed
check '{"type": "string", "pattern": "^[^,]+$"}' '"ab"' allowed '"a"b"' allowed '"a,b"' refused
check '{"type": "string", "pattern": "^C:\\\\[a-z]+$"}' '"C:\temp"' allowed '"C:\\temp"' refused
check '{"type": "object", "properties": {"name": {"type": "string"}}, "additionalProperties": {"type": "integer"}}' \
    '{"name":"a"}' allowed '{"age":1}' allowed '{"\":1}' allowed $'{"\n":1}' allowed '{"a\":1}' refused
check '{"type": "string", "minLength": 2}' '"a"' refused '"aa"' allowed
check '{"type": "string", "minLength": 2, "pattern": "^a*$"}' '"a"' allowed
# No warning was given.
[ ! -s warnings ] || as_described=1
exit "$as_described"
