#!/bin/bash
# Expected: what tells a file's kind by its content calls an archive a Word document if it is one: Office Open XML has a part list,
# `[Content_Types].xml`, and asks for no order of the archive's entries (ECMA-376, part 2, "Mapping to a ZIP Archive").
# Happens: file, the crate infer and the Python package filetype begin with the first entry. A ZIP of a folder named `word`, with a list of words in
# it, is a Word document to all three; a folder `xl` is an Excel sheet, and `ppt` is slides. A document whose first entry is a part of its
# own, `customXml/item1.xml`, is a plain ZIP to all three. To the Python package puremagic, when it has the content and no name, each
# ZIP is a Word document, a folder `other` too. npm's file-type, which reads the part list, has all five right.
# Relies on it: bay0-persona/src/kind.rs, by which the courier says `zip` of all of them, and does not guess what is inside.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download file=1:5.44-3 libmagic1=1:5.44-3 libmagic-mgc=1:5.44-3 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check filetype==1.2.0 puremagic==1.30 >&2
npm install --silent --no-audit --no-fund --prefix "$dir" file-type@22.3.0 >&2
mkdir src
cat > Cargo.toml <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
infer = { version = "=0.22.0", default-features = false, features = ["alloc"] }
END
cat > src/main.rs <<'END'
fn main() {
    for name in std::env::args().skip(1) {
        let bytes = std::fs::read(name).unwrap();
        println!("{}", infer::get(&bytes).map_or("-", |it| it.mime_type()));
    }
}
END
cargo build --quiet
cat > by-npm.mjs <<'END'
import fs from "node:fs";
import { fileTypeFromBuffer } from "file-type";

for (const name of process.argv.slice(2)) console.log((await fileTypeFromBuffer(fs.readFileSync(name)))?.mime);
END
cat > by-python.py <<'END'
import sys
import filetype
import puremagic

for name in sys.argv[2:]:
    print(filetype.guess_mime(name) if sys.argv[1] == "filetype" else puremagic.from_string(open(name, "rb").read(), mime=True))
END
cat > document.py <<'END'
import zipfile

FORMATS = "http://schemas.openxmlformats.org/"
OFFICE = "application/vnd.openxmlformats-"
parts = {
    "customXml/item1.xml": "<note/>",
    "word/document.xml": f'<w:document xmlns:w="{FORMATS}wordprocessingml/2006/main">'
    "<w:body><w:p><w:r><w:t>Hello</w:t></w:r></w:p></w:body></w:document>",
    "_rels/.rels": f'<Relationships xmlns="{FORMATS}package/2006/relationships"><Relationship Id="r1" Target="word/document.xml"'
    f' Type="{FORMATS}officeDocument/2006/relationships/officeDocument"/></Relationships>',
    "[Content_Types].xml": f'<Types xmlns="{FORMATS}package/2006/content-types"><Default Extension="xml" ContentType="application/xml"/>'
    f'<Default Extension="rels" ContentType="{OFFICE}package.relationships+xml"/>'
    f'<Override PartName="/word/document.xml" ContentType="{OFFICE}officedocument.wordprocessingml.document.main+xml"/></Types>',
}
with zipfile.ZipFile("document", "w", zipfile.ZIP_DEFLATED) as archive:
    for name, content in parts.items():
        archive.writestr(name, '<?xml version="1.0" encoding="UTF-8"?>\n' + content)
END
python3 document.py
for name in word xl ppt other; do
    mkdir $name
    echo "Hund dog" >$name/list.txt
    python3 -m zipfile -c folder-$name $name/
done
names=(folder-word folder-xl folder-ppt folder-other document)
echo "file 5.44, infer 0.22.0, filetype 1.2.0, file-type 22.3.0, puremagic 1.30"
unpacked/usr/bin/file --magic-file unpacked/usr/lib/file/magic.mgc --brief --mime-type "${names[@]}" >file
target/debug/finding "${names[@]}" >infer
env/bin/python by-python.py filetype "${names[@]}" >filetype
env/bin/python by-python.py puremagic "${names[@]}" >puremagic
node by-npm.mjs "${names[@]}" >file-type
echo "           ${names[*]}"
for by in file infer filetype puremagic file-type; do
    sed -i 's/.*wordprocessingml.document$/Word/; s/.*spreadsheetml.sheet$/Excel/; s/.*presentationml.presentation$/slides/; s/.*zip$/zip/' $by
    printf '%-10s %s\n' $by "$(paste -sd ' ' $by)"
done
for by in file infer filetype; do [ "$(paste -sd ' ' $by)" = "Word Excel slides zip zip" ]; done
[ "$(paste -sd ' ' puremagic)" = "Word Word Word Word Word" ]
[ "$(paste -sd ' ' file-type)" = "zip zip zip zip Word" ]
