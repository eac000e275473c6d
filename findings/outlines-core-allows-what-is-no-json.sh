#!/bin/bash
# Expected: a regular expression that the package outlines-core (build_regex_from_schema) makes of a JSON schema, to hold a model's answer to it, allows
# documents of that schema; not all of them perhaps, but JSON. What it does not know is an error.
# Happens: three plain schemas have expressions that no document of theirs matches; what matches is no JSON. The members of `allOf`, each of
# which a document has to fulfil (JSON Schema 2020-12, Core 10.2.1.1), are put one after another, `{...}{...}`; of a `pattern` of two
# alternatives the first has the opening quote and the second the closing one; a quote in a property's name is not escaped. Beside a
# `maxLength` the `pattern` is dropped, `minimum` always is, and a `pattern` without ^ and $, which may match anywhere (Validation
# 6.3.3), has to be all of the text. No error, and no warning.
# Matters for: the AI organ (docs/CONSTITUTION.md): an answer that was held to a schema still has to be read as JSON and checked against that.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check outlines-core==0.2.14 jsonschema==4.26.0 >&2
cat > finding.py <<'END'
import json
import re
import sys
from jsonschema import Draft202012Validator
from outlines_core.json_schema import build_regex_from_schema


def has(name):
    return {"type": "object", "properties": {name: {"type": "integer"}}, "required": [name]}


def valid(schema, text):
    try:
        return Draft202012Validator(schema).is_valid(json.loads(text))
    except ValueError:
        return "no JSON"


cases = [
    # Schema, texts: each with whether it is valid, and whether the expression allows it.
    (has("a"), [('{"a":1}', True, True)]),
    ({"allOf": [has("a"), has("b")]}, [('{"a":1,"b":2}', True, False), ('{"a":1}{"b":2}', "no JSON", True)]),
    ({"type": "string", "pattern": "^yes$|^no$"}, [('"yes"', True, False), ('"no"', True, False), ('"yes', "no JSON", True)]),
    (has('12" disks'), [(r'{"12\" disks":1}', True, False), ('{"12" disks":1}', "no JSON", True)]),
    ({"type": "string", "pattern": "^[a-z]+$"}, [('"a"', True, True), ('"A"', False, False)]),
    ({"type": "string", "pattern": "^[a-z]+$", "maxLength": 8}, [('"a"', True, True), ('"A"', False, True)]),
    ({"type": "string", "pattern": "[0-9]"}, [('"1"', True, True), ('"a1"', True, False)]),
    ({"type": "integer", "minimum": 5}, [("7", True, True), ("1", False, True)]),
]
as_described = True
for schema, texts in cases:
    Draft202012Validator.check_schema(schema)
    expression = build_regex_from_schema(json.dumps(schema))
    print(json.dumps(schema))
    for text, *expected in texts:
        found = [valid(schema, text), re.fullmatch(expression, text) is not None]
        print(f"    {text:20} valid: {found[0]!s:8} allowed: {found[1]}")
        as_described = as_described and found == expected
sys.exit(not as_described)
END
echo "outlines-core 0.2.14, jsonschema 4.26.0"
env/bin/python finding.py
