#!/bin/bash
# Expected: `ParsedName::is_compressed` of the crate domain "returns whether the name is compressed": true where a compression pointer stands
# in it (RFC 1035 4.1.4).
# Happens: false for a name that is nothing but a pointer, which is how almost every answer names its owner. It tells whether a pointer stands
# behind the labels that it found, and it follows one in front of them first. So whoever looks by it for a name where
# none may be compressed (RFC 3597 4) finds nothing wrong, though the bytes there are two of a pointer and none of the name.
# Relies on it: xtask/rooms/netd/src/dns/message.rs, which tells a pointer by the length that a name takes in the message.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat > "$dir/Cargo.toml" <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
domain = { version = "=0.12.3", default-features = false, features = ["std"] }
END
cat > "$dir/src/main.rs" <<'END'
use domain::base::name::ToLabelIter;
use domain::base::Message;

/// An A record of this owner.
fn record(owner: &[u8]) -> Vec<u8> {
    let mut bytes = owner.to_vec();
    bytes.extend([0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
    bytes
}

fn main() {
    let mut bytes = vec![0, 7, 0x81, 0x80, 0, 1, 0, 4, 0, 0, 0, 0];
    bytes.extend(b"\x01a\x07example\0\0\x01\0\x01");
    // The question's name stands at 12, `example` in it at 14; the third record's owner at 68.
    let owners = [&b"\x01a\x07example\0"[..], b"\xc0\x0c", b"\x01b\xc0\x0e", b"\xc0\x44"];
    for owner in owners {
        bytes.extend(record(owner));
    }
    let message = Message::from_octets(&bytes[..]).unwrap();
    let mut seen = Vec::new();
    for (record, owner) in message.answer().unwrap().zip(owners) {
        let name = record.unwrap().owner();
        let (long, taken) = (name.compose_len(), owner.len());
        println!("{name}: {taken} bytes of the message, {long} long, compressed: {}", name.is_compressed());
        seen.push(name.is_compressed());
    }
    std::process::exit(i32::from(seen != [false, false, true, true]));
}
END
echo "domain 0.12.3"
cargo run --quiet --manifest-path "$dir/Cargo.toml"
