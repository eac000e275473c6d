//! The files of a genesis log as one chain: `bay0 verify-log` checks each file alone, this checks where one follows another.

use anyhow::{Context, Result, ensure};

use crate::stamp::sha256 as hash;

/// Position of the hash of the line before in a record: `SEQ BOOT_ID UNIX_MS PREV SUM TEXT`.
const PREV: usize = 3;

/// How often a file of the genesis log was rotated: 0 for `genesis.log`, 2 for `genesis.log.2`, none for other names.
pub fn age(name: &str) -> Option<u32> {
    match name.strip_prefix("genesis.log")? {
        "" => Some(0),
        suffix => suffix.strip_prefix('.')?.parse().ok(),
    }
}

/// Fails unless the first record of `newer` continues the last one of `older`: the next number, and its hash. A file that
/// no record has reached yet continues anything.
pub fn continues(older: &[u8], newer: &[u8]) -> Result<()> {
    let Some(first) = lines(newer).next() else {
        return Ok(());
    };
    let last = lines(older).last().context("the older file is empty")?;
    let (before, after) = (number(last)?, number(first)?);
    ensure!(
        after == before + 1,
        "record {before} is followed by record {after}"
    );
    ensure!(
        field(first, PREV)? == hash(last),
        "record {after} does not continue the line of record {before}"
    );
    Ok(())
}

/// Appends records to `file` where zeros are, until not even the shortest fits.
pub fn fill(file: &mut [u8]) -> Result<()> {
    let last = lines(file).last().context("the log is empty")?;
    let (mut seq, boot) = (number(last)?, field(last, 1)?.to_owned());
    let (mut prev, mut end) = (hash(last), lines(file).map(<[u8]>::len).sum::<usize>());
    loop {
        seq += 1;
        let bare = format!("{seq} {boot} 0 {prev}");
        let sum = hash(format!("{bare} x").as_bytes());
        let line = format!("{bare} {sum:.8} x\n");
        let Some(room) = file.get_mut(end..end + line.len()) else {
            return Ok(());
        };
        room.copy_from_slice(line.as_bytes());
        (prev, end) = (hash(line.as_bytes()), end + line.len());
    }
}

/// The records, each with its newline; what lies behind the last newline is not one.
fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split_inclusive(|byte| *byte == b'\n')
        .filter(|line| line.ends_with(b"\n"))
}

fn number(line: &[u8]) -> Result<u64> {
    field(line, 0)?.parse().context("a record has no number")
}

fn field(line: &[u8], nth: usize) -> Result<&str> {
    let text = std::str::from_utf8(line).context("a record is not text")?;
    text.split(' ').nth(nth).context("a record lacks a field")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of two records, the first of which claims to follow `prev`.
    fn file(first: u64, prev: &str) -> Vec<u8> {
        let line = |seq: u64, prev: &str| format!("{seq} boot 0 {prev} 00000000 text\n");
        let mut bytes = (line(first, prev) + &line(first + 1, "-")).into_bytes();
        bytes.extend([0; 100]);
        bytes
    }

    /// SHA-256 of `2 boot 0 - 00000000 text` and a newline, from coreutils.
    const HASH: &str = "c43dcf5249ef938cd71e6f096c1f8083de6c7b714d8e583674c3d5deb0408482";

    #[test]
    fn s02_a_file_that_continues_the_one_before_passes() {
        continues(&file(1, "x"), &file(3, HASH)).unwrap();
        continues(&file(1, "x"), &[0; 100]).unwrap();
    }

    #[test]
    fn s02_a_gap_between_two_files_is_found() {
        let error = |newer: &[u8]| continues(&file(1, "x"), newer).unwrap_err().to_string();
        assert_eq!(error(&file(4, HASH)), "record 2 is followed by record 4");
        assert_eq!(
            error(&file(3, &HASH.replace('0', "1"))),
            "record 3 does not continue the line of record 2"
        );
        let error = continues(&[0; 100], &file(3, HASH)).unwrap_err();
        assert_eq!(error.to_string(), "the older file is empty");
    }

    #[test]
    fn h19_a_filled_log_verifies_and_has_no_room() {
        let mut file = b"1 boot 0 ".to_vec();
        file.extend([b'0'; 64]);
        let sum = hash(&[file.as_slice(), b" x"].concat());
        file.extend(format!(" {sum:.8} x\n").bytes());
        file.resize(4096, 0);
        fill(&mut file).unwrap();
        let found = bay0_state::verify_log(&file).unwrap();
        assert_eq!(found.last - found.first + 1, 47);
        assert!(4096 - found.end < file.len() / 47, "{found:?}");
    }

    #[test]
    fn h19_the_files_of_the_log_are_told_by_their_age() {
        let ages = [
            "genesis.log",
            "genesis.log.3",
            "genesis.log.new",
            "genesis.log.broken-1-0",
            "state.db",
        ];
        assert_eq!(ages.map(age), [Some(0), Some(3), None, None, None]);
    }
}
