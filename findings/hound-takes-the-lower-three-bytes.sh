#!/bin/bash
# Expected: the crate hound, which reads WAVE_FORMAT_EXTENSIBLE, has the samples of a WAV file as they are. Where 24 bits lie in 32, they are the
# upper ones: "the valid bits (the actual PCM data) are left-aligned within the container", as Microsoft says at this structure (ksmedia.h).
# Happens: hound takes the lower 24, so the upper byte is lost: the widest swing, 8388607 and -8388608, is read as -256 and 0, quiet samples come
# out 256 times as loud, and nothing is said. It writes them like this as well, and libsndfile has such a file 256 times too quiet, and
# below zero as above. After seek(4) the fourth sample comes and not the fifth, since three bytes are counted for each. And a chunk of odd
# length before the samples is an error, "Failed to read enough bytes": the byte that fills it up (RIFF) is read as the next one's name.
# Matters for: sound (T05 in docs/CONSTITUTION.md). ALSA's S24_LE has the lower three of four bytes, a WAV file the upper three, and the crate's type
# for both is one number of 24 bits.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download sndfile-programs=1.2.0-1+deb12u1 libsndfile1=1.2.0-1+deb12u1 libflac12=1.4.2+ds-2 libvorbis0a=1.3.7-1 libvorbisenc2=1.3.7-1 \
    libogg0=1.3.5-3 libopus0=1.3.1-3 libmp3lame0=3.100-6 libmpg123-0=1.31.2-1+deb12u1 libasound2=1.2.8-1+b1 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
export LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu
mkdir src
cat > Cargo.toml <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
hound = "=3.5.1"
END
cat > src/main.rs <<'END'
use hound::{SampleFormat, WavReader, WavSpec, WavSpecEx, WavWriter};

fn show(samples: impl Iterator<Item = hound::Result<i32>>) {
    let numbers: Vec<_> = samples.map(|it| it.unwrap().to_string()).collect();
    println!("{}", numbers.join(" "));
}

fn main() {
    let path = std::env::args().nth(1).unwrap();
    match WavReader::open(&path) {
        Ok(mut file) => show(file.samples()),
        Err(error) => return println!("{error}"),
    }
    let mut file = WavReader::open(&path).unwrap();
    file.seek(4).unwrap();
    show(file.samples().take(1));

    let spec = WavSpec { channels: 1, sample_rate: 48000, bits_per_sample: 24, sample_format: SampleFormat::Int };
    let file = std::fs::File::create("by-hound.wav").unwrap();
    let mut file = WavWriter::new_with_spec_ex(file, WavSpecEx { spec, bytes_per_sample: 4 }).unwrap();
    for sample in [0, 25600, -25600, 4660] {
        file.write_sample(sample).unwrap();
    }
    file.finalize().unwrap();
}
END
cargo build --quiet
cat > wav.py <<'END'
import struct


def chunk(name, content):
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def write(name, before):
    # Extensible, 1 channel, 32 bits for each sample, of which 24 are valid; the front centre; PCM.
    form = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 48000, 192000, 4, 32, 22, 24, 4) + bytes.fromhex("0100000000001000800000aa00389b71")
    samples = b"".join(struct.pack("<i", sample << 8) for sample in (0, 100, -100, 8388607, -8388608, 4660))
    content = b"WAVE" + chunk(b"fmt ", form) + before + chunk(b"data", samples)
    open(name, "wb").write(chunk(b"RIFF", content))


write("even.wav", chunk(b"junk", bytes(6)))
write("odd.wav", chunk(b"junk", bytes(5)))
END
python3 wav.py
cat > numbers.py <<'END'
import sys

# The file's last bytes are its samples, of three bytes each.
samples = open(sys.argv[1], "rb").read()[-3 * int(sys.argv[2]) :]
print(*(int.from_bytes(samples[at : at + 3], "little", signed=True) for at in range(0, len(samples), 3)))
END
sndfile() {
    unpacked/usr/bin/sndfile-convert -pcm24 "$1" by-sndfile.wav
    python3 numbers.py by-sndfile.wav "$2"
}
echo "hound 3.5.1, libsndfile 1.2.0"
for name in even odd; do
    sndfile $name.wav 6 >$name.sndfile
    target/debug/finding $name.wav >$name.hound
    printf '%s\n    libsndfile  %s\n' $name.wav "$(cat $name.sndfile)"
    sed '1s/^/    hound       /; 2s/^/                after seek(4): /' $name.hound
done
sndfile by-hound.wav 4 >by-hound
echo "hound writes 0 25600 -25600 4660, libsndfile reads $(cat by-hound)"
[ "$(cat even.sndfile)" = "0 100 -100 8388607 -8388608 4660" ]
cmp even.sndfile odd.sndfile
[ "$(cat even.hound)" = "$(printf '%s\n' "0 25600 -25600 -256 0 1192960" -256)" ]
[ "$(cat odd.hound)" = "Failed to read enough bytes." ]
[ "$(cat by-hound)" = "0 100 65436 18" ]
