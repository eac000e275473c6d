#!/bin/bash
# Expected: the Python package lm-format-enforcer, which holds a model's answer to a JSON schema letter by letter ("Enforce the output format"),
# lets an answer end only where it is a document of the schema; a schema that it cannot follow is an error.
# Happens: wherever a further property may come, the object may end behind the comma: {"a":1,} is a whole answer, which is no JSON (RFC 8259, 4), and with it
# each object in a list. Where all properties are required it may not. A value of an `enum` ends at its first quote: of `a"b` the only answer is "a",
# which is none of the values, and `C:/a "b"` is "C:/a ". `minimum`, `format` and `prefixItems` are dropped. An object without named properties may have one
# name twice. No error or warning is given for any of these.
# Matters for: the AI organ (docs/CONSTITUTION.md), whose answers are to be read without a doubt: who reads them has to expect that they are no JSON.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check lm-format-enforcer==0.11.3 pydantic==2.14.4 interegular==0.3.3 packaging==26.4 PyYAML==6.0.4 >&2
cat > finding.py <<'PY'
import json
import logging
import sys

logging.disable(logging.WARNING)  # That numpy is not there, which is for models.
from lmformatenforcer import JsonSchemaParser

as_described = True


def judged(schema, text):
    parser = JsonSchemaParser(schema)
    for character in text:
        if character not in parser.get_allowed_characters():
            return "refused"
        parser = parser.add_character(character)
    return "allowed" if parser.can_end() else "not whole"


def check(schema, **wanted):
    """A schema, and what is wanted for texts."""
    global as_described
    print(json.dumps(schema))
    for verdict, texts in wanted.items():
        for text in texts:
            found = judged(schema, text)
            print(f"    {text}: {found}")
            as_described = as_described and found == verdict


numbers = {"a": {"type": "integer"}, "b": {"type": "integer"}}
check({"type": "object", "properties": numbers, "required": ["a", "b"]}, allowed=['{"a":1,"b":2}'], refused=['{"a":1,}', '{"a":1,"b":2,}'])
check({"type": "object", "properties": numbers, "required": ["a"]}, allowed=['{"a":1}', '{"a":1,}'], refused=["{,}"])
check({"type": "array", "items": {"type": "object", "properties": numbers}}, allowed=['[{"a":1},{"b":2,}]'], refused=["[{},]"])
check({"type": "object", "additionalProperties": {"type": "integer"}}, allowed=['{"c":1}', '{"c":1,}', '{"c":1,"c":2}'])
check({"enum": ["a/b", "c"]}, allowed=['"a/b"', '"c"'], refused=['"a"'])
check({"enum": ['a"b', "c"]}, allowed=['"a"', '"c"'], refused=[r'"a\"b"'])
check({"enum": ['C:/a "b"']}, allowed=['"C:/a "'], refused=[r'"C:/a \"b\""'])
check({"type": "integer", "minimum": 5}, allowed=["1"])
check({"type": "string", "format": "date"}, allowed=['"x"'])
check({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]}, allowed=['["x",1]'])
sys.exit(not as_described)
PY
echo "lm-format-enforcer 0.11.3"
env/bin/python finding.py
