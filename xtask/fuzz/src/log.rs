//! The genesis log (H19, S02): no bytes make the verifier panic, and of a damaged log it takes nothing for good that was not
//! written.
//!
//! The input is read twice: as a file, and as a script that makes a valid log and then damages it. A checksum is nothing that
//! a fuzzer guesses, so only the second way gets past the first line.
#![no_main]

use bay0_state::genesis::MAX_BATCH;
use bay0_state::{Summary, hex, sha256, verify_log};
use libfuzzer_sys::fuzz_target;

const SECTOR: usize = 512;

fuzz_target!(|data: &[u8]| {
    consistent(data);
    let mut script = Script(data);
    let lines = valid(&mut script);
    let original = lines.concat();
    let good = consistent(&padded(original.clone())).expect("a valid log verifies");
    assert_eq!(good.end, original.len());
    let damaged = damage(&mut script, lines);
    if let Some(found) = consistent(&damaged) {
        let kept = &damaged[..found.end];
        let written = kept.is_empty() || original.windows(kept.len()).any(|part| part == kept);
        assert!(written, "{found:?} holds what nobody wrote");
        let alone = verify_log(kept).expect("the good part is good");
        assert_eq!((alone.torn_bytes, alone.hash), (0, found.hash));
    }
});

/// What holds of any file: the break is one of its lines; without one, records and torn tail are all of it.
fn consistent(bytes: &[u8]) -> Option<Summary> {
    let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    let lines = bytes[..used].split_inclusive(|b| *b == b'\n').count();
    match verify_log(bytes) {
        Err(found) => {
            let mut named = (1..=lines).map(|line| format!("line {line} "));
            assert!(
                named.any(|line| found.starts_with(&line)),
                "{found}, {lines} lines"
            );
            None
        }
        Ok(found) => {
            assert_eq!(found.end + found.torn_bytes, used, "{found:?}");
            assert!(found.torn_bytes <= MAX_BATCH, "{found:?}");
            let records = bytes[..found.end].split_inclusive(|b| *b == b'\n');
            let span = records.count() as u64;
            assert!(span == 0 || found.last - found.first + 1 == span);
            Some(found)
        }
    }
}

/// The input, consumed from the front; zeros when there is nothing left.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> usize {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        usize::from(*first)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.byte() << 8 | self.byte()) % limit.max(1)
    }
}

/// Lines as the format is documented, written down a second time; the first one may continue another file.
fn valid(script: &mut Script) -> Vec<Vec<u8>> {
    let first = script.byte() as u64 + 1;
    let mut prev = if first == 1 {
        "0".repeat(64)
    } else {
        hex(&sha256(&[b"the file before"]))
    };
    // Sixty-four may be more than a batch; no more, for hashing is what takes the time.
    let count = script.byte() % 64;
    let mut lines = Vec::new();
    for seq in first..first + count as u64 {
        let letter = char::from(b' ' + (script.byte() % 95) as u8);
        let text = letter.to_string().repeat(script.byte() * 2);
        let sum = hex(&sha256(&[format!("{seq} boot 0 {prev} {text}").as_bytes()]));
        let line = format!("{seq} boot 0 {prev} {} {text}\n", &sum[..8]).into_bytes();
        prev = hex(&sha256(&[&line]));
        lines.push(line);
    }
    lines
}

/// The file: zeros up to the end of a sector, and one sector more.
fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(SECTOR) + SECTOR, 0);
    bytes
}

/// Lines lost, doubled or exchanged; then sectors lost; then one byte changed, or the file cut. One byte at most: several
/// could be a right checksum by chance.
fn damage(script: &mut Script, mut lines: Vec<Vec<u8>>) -> Vec<u8> {
    for _ in 0..script.byte() % 3 {
        let (at, other) = (script.below(lines.len()), script.below(lines.len()));
        match script.byte() % 3 {
            _ if lines.is_empty() => {}
            0 => drop(lines.remove(at)),
            1 => lines.insert(other, lines[at].clone()),
            _ => lines.swap(at, other),
        }
    }
    let mut bytes = padded(lines.concat());
    for _ in 0..script.byte() % 4 {
        let at = script.below(bytes.len() / SECTOR) * SECTOR;
        bytes[at..at + SECTOR].fill(0);
    }
    let at = script.below(bytes.len());
    match script.byte() % 4 {
        0 => bytes[at] ^= script.byte() as u8,
        1 => bytes.truncate(at),
        2 => drop(bytes.remove(at)),
        _ => {}
    }
    bytes
}
