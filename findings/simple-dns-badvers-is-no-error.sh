#!/bin/bash
# Expected: the crate simple-dns puts the two halves of a response code together: four bits in the header, eight in the OPT record (RFC 6891
# 6.1.3). Its list of codes has BADVERS, which is 16 and so has a header of 0.
# Happens: an answer with BADVERS is read as NoError and without answers, which a resolver takes for "there is no such record". The same on
# the way out: a code above 15 is written as its lower half, and one that it calls Reserved goes out as 1, the sender's format error.
# Next to it: a question for a type that it has no name for is an error, though RFC 3597 has a relay pass it on, while a record of
# that type among the answers is taken.
# Relies on it: nothing yet; a DNS relay in a room of network would pass questions and answers on as they came instead of rewriting them.
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
simple-dns = "=0.11.3"
END
cat > "$dir/src/main.rs" <<'END'
use simple_dns::{Packet, RCODE};

/// A message about `a.example` with this type in question, these flags, and this record behind the question.
fn message(flags: u16, asked: u16, counts: [u8; 2], record: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 7];
    bytes.extend(flags.to_be_bytes());
    bytes.extend([0, 1, 0, counts[0], 0, 0, 0, counts[1]]);
    bytes.extend(b"\x01a\x07example\0");
    bytes.extend(asked.to_be_bytes());
    bytes.extend([0, 1]);
    bytes.extend(record);
    bytes
}

fn main() {
    // OPT: root, type 41, 1232 bytes, upper half of the code 1, version 0, no flags, no options.
    let opt = [0, 0, 41, 4, 208, 1, 0, 0, 0, 0, 0];
    let badvers = message(0x8180, 1, [0, 1], &opt);
    let read = Packet::parse(&badvers).unwrap();
    let written = read.build_bytes_vec().unwrap();
    println!("code 16 is read as {:?} with {} answers", read.rcode(), read.answers.len());
    println!("upper half of the code: {} as it came, {} written anew", badvers[32], written[32]);

    let eleven = Packet::parse(&message(0x818b, 1, [0, 0], &[])).unwrap().build_bytes_vec().unwrap();
    println!("code 11 is written as {}", eleven[3] & 15);

    let record = [0xc0, 12, 2, 219, 0, 1, 0, 0, 0, 60, 0, 1, 9];
    let asked = Packet::parse(&message(0x0100, 731, [0, 0], &[])).map(|_| ()).map_err(|e| e.to_string());
    let answered = message(0x8180, 255, [1, 0], &record);
    let answered = Packet::parse(&answered).map(|it| it.answers.len());
    println!("type 731 asked for: {asked:?}");
    println!("type 731 answered: {:?} record", answered.as_ref().ok());

    let as_described = read.rcode() == RCODE::NoError
        && (badvers[32], written[32], eleven[3] & 15) == (1, 0, 1)
        && asked.is_err()
        && answered.is_ok_and(|count| count == 1);
    std::process::exit(i32::from(!as_described));
}
END
cd "$dir"
echo "simple-dns 0.11.3"
cargo run --quiet 2>&1
