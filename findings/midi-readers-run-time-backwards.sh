#!/bin/bash
# Expected: a reader of MIDI files tells when a note begins and ends. A file counts ticks of a quarter note or, with the upper bit of the header's last number
# set, of a film's pictures: the upper byte is 24, 25, 29 or 30 pictures a second as a negative number, the lower one how many ticks each has (Standard MIDI
# Files 1.0, "Header Chunks", <division>). 25 and 40 are thousandths of a second. A reader that has only the first says so.
# Happens: a note of two seconds is -0.157 s long to the Python package mido, whose ticks of a quarter are -6360: the whole number, with its sign.
# miditoolkit, which reads by it, has those ticks as well. To npm's @tonejs/midi all times are NaN, and midi-parser-js has 103 pictures a second, which is the
# byte without its upper bit. None has an error. npm's midi-file has 25 and 40, and the Python package symusic refuses the file.
# Matters for: sound (T05 in docs/CONSTITUTION.md), which no room has yet: a program that plays such a file by one of these is told that the note ends before
# it begins.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check mido==1.3.3 miditoolkit==1.0.1 symusic==0.6.0 >&2
npm install --silent --ignore-scripts midi-file@1.2.4 @tonejs/midi@2.0.28 midi-parser-js@4.0.4 >&2
cat > read.py <<'PY'
import struct

import mido
import miditoolkit
import symusic

# A note that begins at once and ends 2000 ticks later (0x8f 0x50).
track = bytes.fromhex("00903c408f50803c4000ff2f00")
for name, division in ("quarters", struct.pack(">H", 480)), ("pictures", struct.pack("bB", -25, 40)):
    with open(f"{name}.mid", "wb") as file:
        file.write(b"MThd" + struct.pack(">IHH", 6, 0, 1) + division + b"MTrk" + struct.pack(">I", len(track)) + track)
    read = mido.MidiFile(f"{name}.mid")
    print(f"{name} mido: {read.ticks_per_beat} ticks, {read.length:.3f} s")
    print(f"{name} miditoolkit: {miditoolkit.MidiFile(f'{name}.mid').ticks_per_beat} ticks")
    try:
        print(f"{name} symusic: {symusic.Score(f'{name}.mid').tpq} ticks")
    except RuntimeError as error:
        print(f"{name} symusic: {error}")
PY
cat > read.js <<'JS'
const fs = require('fs');
const { Midi } = require('@tonejs/midi');
for (const name of ['quarters', 'pictures']) {
    const bytes = fs.readFileSync(`${name}.mid`);
    const { ticksPerBeat, framesPerSecond, ticksPerFrame } = require('midi-file').parseMidi(bytes).header;
    console.log(name, 'midi-file:', ticksPerBeat ? `${ticksPerBeat} ticks` : `${framesPerSecond} pictures, ${ticksPerFrame} ticks`);
    console.log(name, '@tonejs/midi:', `${new Midi(bytes).duration.toFixed(3)} s`);
    console.log(name, 'midi-parser-js:', String(require('midi-parser-js').parse(bytes.toString('base64')).timeDivision));
}
JS
echo "mido 1.3.3, miditoolkit 1.0.1, symusic 0.6.0, midi-file 1.2.4, @tonejs/midi 2.0.28, midi-parser-js 4.0.4"
{
    env/bin/python read.py
    node read.js
} | tee read
cat > expected <<'END'
quarters mido: 480 ticks, 2.083 s
quarters miditoolkit: 480 ticks
quarters symusic: 480 ticks
pictures mido: -6360 ticks, -0.157 s
pictures miditoolkit: -6360 ticks
pictures symusic: MiniMidi: Division type is not ticks per quarter!
quarters midi-file: 480 ticks
quarters @tonejs/midi: 2.083 s
quarters midi-parser-js: 480
pictures midi-file: 25 pictures, 40 ticks
pictures @tonejs/midi: NaN s
pictures midi-parser-js: 103,40
END
cmp expected read
