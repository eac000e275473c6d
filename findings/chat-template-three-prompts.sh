#!/bin/bash
# Expected: the chat template that a model's file carries (`tokenizer.chat_template` of GGUF) makes one prompt of one conversation, in whichever
# of the usual readers: Python's Jinja2 with the settings of transformers, for which it was written, the crate minijinja with its features
# for Python's ways, and npm's @huggingface/jinja, which was made for such templates alone. One that lacks something answers an error.
# Happens: none answers an error, and of eight lines that a template may well have, seven differ. minijinja writes the JSON of a tool without the
# spaces and with <, >, & and ' as \u003c and so on, where transformers puts a `tojson` of its own in the place of Jinja's; a dictionary in
# a text has other quotes in both. @huggingface/jinja writes `true`, and nothing at all, where the others write True and None, finds the
# text '1' equal to the number 1, and has a remainder below zero. A model answers each of these prompts, and was trained with one.
# Matters for: the AI organ (docs/CONSTITUTION.md), which has to make the prompt that the model's maker made, with a reader that is none of Python.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check jinja2==3.1.6 >&2
npm install --silent --no-audit --no-fund --prefix "$dir" @huggingface/jinja@0.5.11 >&2
mkdir src
cat > Cargo.toml <<'EOF'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
minijinja = { version = "=2.24.0", features = ["json", "preserve_order"] }
minijinja-contrib = { version = "=2.24.0", features = ["pycompat"] }
serde_json = { version = "=1.0.154", features = ["preserve_order"] }
EOF
cat > src/main.rs <<'EOF'
use minijinja::{Environment, Value};

fn main() {
    let read = |name| std::fs::read_to_string(name).unwrap();
    let values: serde_json::Value = serde_json::from_str(&read("values.json")).unwrap();
    for line in read("template").lines() {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        println!("{}", environment.render_str(line, Value::from_serialize(&values)).unwrap());
    }
}
EOF
cat > reader.py <<'EOF'
import json
from jinja2.sandbox import ImmutableSandboxedEnvironment


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


values = json.load(open("values.json"))
environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
environment.filters["tojson"] = tojson
for line in open("template"):
    print(environment.from_string(line.rstrip("\n")).render(**values))
EOF
cat > reader.mjs <<'EOF'
import fs from "node:fs";
import { Template } from "@huggingface/jinja";

const values = JSON.parse(fs.readFileSync("values.json", "utf8"));
for (const line of fs.readFileSync("template", "utf8").trimEnd().split("\n")) console.log(new Template(line).render(values));
EOF
cat > values.json <<'EOF'
{"tool": {"name": "cut", "help": "if a < b it's c & d", "strict": true, "unit": null}, "turn": "1", "role": "user"}
EOF
cat > template <<'EOF'
<|{{ role | upper }}|>{% if tool is defined %}{{ tool.name }}{% endif %}
{{ tool | tojson }}
{{ tool.help | tojson }}
Tool: {{ {'name': tool.name} }}
strict: {{ tool.strict }}
unit: {{ tool.unit }}
{{ 'first' if turn == 1 else 'later' }}
{{ 'mine' if (0 - 1) % 2 == 1 else 'yours' }}
EOF
cargo build --quiet
env/bin/python reader.py >by-python
target/debug/finding >by-crate
node reader.mjs >by-npm
echo "Jinja2 3.1.6, minijinja 2.24.0, @huggingface/jinja 0.5.11"
cat > expected <<'EOF'
all one
crate alone
crate alone
Python alone
npm alone
npm alone
npm alone
npm alone
EOF
while IFS= read -r line && IFS= read -r python <&3 && IFS= read -r crate <&4 && IFS= read -r npm <&5; do
    printf '%s\n    Python  %s\n    crate   %s\n    npm     %s\n' "$line" "$python" "$crate" "$npm"
    if [ "$python" = "$crate" ] && [ "$python" = "$npm" ]; then
        echo "all one" >>found
    elif [ "$python" = "$crate" ]; then
        echo "npm alone" >>found
    elif [ "$python" = "$npm" ]; then
        echo "crate alone" >>found
    elif [ "$crate" = "$npm" ]; then
        echo "Python alone" >>found
    else
        echo "three" >>found
    fi
done <template 3<by-python 4<by-crate 5<by-npm
cmp found expected
