#!/bin/bash
# Expected: a `$ref` in a JSON schema that llama.cpp holds a model's answer to leads to the definition that it names (JSON Schema 2020-12, Core 8.2.3.1);
# names in `$defs` are any texts. Of two properties whose names are alike it makes two rules, with a number behind the second. What is not
# `required` may be left out (Validation 6.5.3), under `allOf` as elsewhere.
# Happens: a definition's rule is named by its path with all but ASCII letters, digits and hyphens made one hyphen, and a rule that is there already is
# taken for the one that is meant: `size_shoe` and `size.shoe` are one definition, `Größe` and `Grüße` are, and all names in Chinese are. The first
# that the schema uses counts: the right answer is refused, and one that is wrong is the only one allowed. A type in its place (`integer`, `string`) has
# a rule of its own name, so it goes well with plain ones. And under `allOf` every property is required. No warning is given.
# Matters for: the AI organ (docs/CONSTITUTION.md): a schema that another room brings may have names of any kind, and its answers would have the wrong parts.
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
        printf '    %s: %s\n' "${texts[at]}" "${found[at]-}"
        [ "${found[at]-}" = "${want[at]}" ] || as_described=1
    done
}
# Two properties with a definition each, by the names of these.
two() {
    printf '{"type": "object", "properties": {"a": {"$ref": "#/$defs/%s"}, "b": {"$ref": "#/$defs/%s"}}, "required": ["a", "b"], ' "$1" "$2"
    printf '"$defs": {"%s": {"enum": ["one"]}, "%s": {"enum": ["two"]}}}' "$1" "$2"
}
right='{"a":"one","b":"two"}' wrong='{"a":"one","b":"one"}'
check "$(two shoe hat)" "$right" allowed "$wrong" refused
check "$(two size-shoe size_shoe)" "$right" refused "$wrong" allowed
check "$(two size_shoe size.shoe)" "$right" refused "$wrong" allowed
check "$(two Größe Grüße)" "$right" refused "$wrong" allowed
check "$(two 家 人)" "$right" refused "$wrong" allowed
check '{"type": "object", "properties": {"size_shoe": {"enum": ["one"]}, "size.shoe": {"enum": ["two"]}}, "required": ["size_shoe", "size.shoe"]}' \
    '{"size_shoe":"one","size.shoe":"two"}' allowed '{"size_shoe":"one","size.shoe":"one"}' refused
object='{"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a"]}'
check "$object" '{"a":1}' allowed '{"a":1,"b":2}' allowed '{"b":2}' refused
check "{\"allOf\": [$object]}" '{"a":1}' refused '{"a":1,"b":2}' allowed
# No warning was given.
[ ! -s warnings ] || as_described=1
exit "$as_described"
