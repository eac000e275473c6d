#!/bin/bash
# Expected: llama.cpp holds a model's answer to a JSON schema, and `minimum` and `maximum` of a whole number are kept: its README shows a schema with
# both as the example, and a number is valid where it is at least the one and at most the other (JSON Schema 2020-12, Validation 6.2.2, 6.2.4).
# Happens: with both they are kept. With one alone, and from three digits on, lengths are mixed up: `"minimum": 100` allows 10 to 19, 105 allows 15 to 19
# and 100 to 104, 1000 allows 10 to 19 and 100 to 199, while 110 leaves out 1000 to 1099; `"maximum": -100` allows -10 to -19. `"maximum": -1` allows -00
# and -012, which are no numbers of JSON (RFC 8259, 6). Numbers like 20, 120 and 250 are kept, so a trial may well show nothing, and no warning is
# given. Of a `number` both ends are dropped.
# Matters for: the AI organ (docs/CONSTITUTION.md), whose answers are to be read without a doubt: a range needs both of its ends there.
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
cat > texts.py <<'PY'
import json
import sys

# Numbers of one to four digits, and what is no number of JSON.
texts = [str(number) for ends in ((-210, 211), (980, 1121)) for number in range(*ends)] + ["-00", "-012", "012"]
if sys.argv[1] == "make":
    sys.stdout.write("".join(text + "\0" for text in texts))
else:
    schema = json.loads(sys.argv[2])
    low = schema.get("minimum", schema.get("exclusiveMinimum", -1302) + 1)
    high = schema.get("maximum", 1301)
    found = [word == "allowed" for word in sys.stdin.read().split()[-len(texts):]]

    def valid(text):
        try:
            return low <= json.loads(text) <= high
        except ValueError:
            return False

    def shown(words):
        # Runs of numbers as their ends.
        runs = []
        for word in words:
            if runs and word.lstrip("-").lstrip("0") == word.lstrip("-") and int(word) == int(runs[-1][-1]) + 1:
                runs[-1][1:] = [word]
            else:
                runs.append([word])
        return " ".join("..".join(run) for run in runs) or "none"

    wrongly = [text for text, whole in zip(texts, found) if whole and not valid(text)]
    missing = [text for text, whole in zip(texts, found) if valid(text) and not whole]
    print(f"wrongly allowed: {shown(wrongly)}; wrongly refused: {shown(missing)}")
PY
as_described=0
check() {
    ./finding "$1" < <(python3 texts.py make) >told 2>>warnings
    found=$(python3 texts.py judge "$1" <told)
    echo "$1: $found"
    [ "$found" = "wrongly allowed: $2; wrongly refused: ${3:-none}" ] || as_described=1
}
check '{"type": "integer", "minimum": 0, "maximum": 100}' none
check '{"type": "integer", "minimum": 100, "maximum": 1000}' none
check '{"type": "integer", "minimum": 10}' none
check '{"type": "integer", "minimum": 250}' none
check '{"type": "integer", "minimum": 100}' 10..19
check '{"type": "integer", "minimum": 105}' '15..19 100..104'
check '{"type": "integer", "minimum": 110}' none 1000..1099
check '{"type": "integer", "exclusiveMinimum": 99}' 10..19
check '{"type": "integer", "minimum": 1000}' '10..19 100..199'
check '{"type": "integer", "maximum": 100}' none
check '{"type": "integer", "maximum": -10}' none
check '{"type": "integer", "maximum": -100}' -19..-10
check '{"type": "integer", "maximum": -1}' '-00 -012'
printf '%s\0' 0.5 -7 300 | ./finding '{"type": "number", "minimum": 0, "maximum": 1}' 2>>warnings | tail -n 3 | paste -sd ' ' | tee told
grep -qx 'allowed allowed allowed' told || as_described=1
# No warning was given.
[ ! -s warnings ] || as_described=1
exit "$as_described"
