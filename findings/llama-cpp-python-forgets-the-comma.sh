#!/bin/bash
# Expected: a grammar that the Python package llama-cpp-python makes of a JSON schema (json_schema_to_gbnf, by which LlamaGrammar.from_json_schema and
# `response_format` of its chats hold an answer to a schema) allows documents of that schema, and JSON. `additionalProperties` is for the properties
# that the schema does not name (JSON Schema 2020-12, Core 10.3.2.3); `true` allows each value.
# Happens: beside an optional property there have to be further ones, and no comma goes before them: of a `name` and further numbers {"name":"a"} is refused,
# and so is {"name":"a","b":1}, while {"name":"a""b":1} is a whole answer. Beside a required property it is right. With `true` the further ones may be
# objects alone. A `pattern` of two alternatives has the opening quote with the first and the closing one with the second. `minimum` and `maximum` are
# dropped, for which the llama.cpp in the same package has rules. No error or warning is given for any of these.
# Matters for: the AI organ (docs/CONSTITUTION.md): what a client of this package was tried with is not what llama.cpp itself allows of the same schema.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv env
# The source of llama.cpp is in the package, which is unpacked and not built.
env/bin/pip download --quiet --disable-pip-version-check --no-deps --no-binary llama-cpp-python llama-cpp-python==0.3.36 >&2
tar -xf llama_cpp_python-0.3.36.tar.gz
source=$dir/llama_cpp_python-0.3.36/vendor/llama.cpp
cat > make.py <<'PY'
import importlib.util
import sys

# The one file: the whole package would load the library, which is not built.
spec = importlib.util.spec_from_file_location("llama_grammar", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(module.json_schema_to_gbnf(sys.argv[2]))
PY
# Says for each text, with a NUL behind it, whether a grammar allows it as a whole.
cat > match.cpp <<'CPP'
#include "llama-grammar.h"
#include "llama-impl.h"
#include <iostream>

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
        std::cout << (whole ? "allowed" : "refused") << std::endl;
        llama_grammar_free_impl(grammar);
    }
}
CPP
# What else of llama.cpp the reader of grammars names is not called here.
g++ -std=c++17 -w -ffunction-sections -fno-pie -no-pie -I"$source/include" -I"$source/src" -I"$source/ggml/include" -I"$source/common" \
    match.cpp "$source/src/llama-grammar.cpp" -Wl,--gc-sections -Wl,--unresolved-symbols=ignore-all -o match
echo "llama-cpp-python 0.3.36"
as_described=0
# A schema, and texts with what is expected of each under the schema's grammar.
check() {
    echo "$1"
    rules=$(env/bin/python make.py llama_cpp_python-0.3.36/llama_cpp/llama_grammar.py "$1")
    grep -E '^(root|name-rest|additional-value) ' <<<"$rules" | sed 's/^/    /' || true
    shift
    while [ "$#" -gt 0 ]; do
        found=$(printf '%s\0' "$1" | ./match "$rules" 2>&1 || echo 'no grammar')
        printf '    %s: %s\n' "$1" "$found"
        [ "$found" = "$2" ] || as_described=1
        shift 2
    done
}
name='"properties": {"name": {"type": "string"}}'
check "{\"type\": \"object\", $name, \"required\": [\"name\"], \"additionalProperties\": {\"type\": \"integer\"}}" \
    '{"name":"a"}' allowed '{"name":"a","b":1}' allowed '{"name":"a""b":1}' refused
check "{\"type\": \"object\", $name, \"additionalProperties\": {\"type\": \"integer\"}}" \
    '{"name":"a"}' refused '{"name":"a","b":1}' refused '{"name":"a""b":1}' allowed '{"b":1}' allowed
check "{\"type\": \"object\", $name, \"required\": [\"name\"], \"additionalProperties\": true}" \
    '{"name":"a","b":1}' refused '{"name":"a","b":{"c":1}}' allowed
check '{"type": "string", "pattern": "^(a|b)$"}' '"a"' allowed '"b"' allowed
check '{"type": "string", "pattern": "^a|b$"}' '"a"' refused '"b"' refused '"a' allowed 'b"' allowed
check '{"type": "integer", "minimum": 0, "maximum": 9}' 5 allowed -7 allowed 100 allowed
exit "$as_described"
