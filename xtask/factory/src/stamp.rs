//! Content stamps: a step whose inputs hash to what its stamp says, and whose outputs are still there, is not done again.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

const BUFFER: usize = 1 << 16;

/// SHA-256 of bytes, in lower-case hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Fills a block as far as there is anything; how much of it.
pub fn fill(from: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < block.len() {
        match from.read(&mut block[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// SHA-256 of a file, in lower-case hex.
pub fn sha256_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0u8; BUFFER];
    loop {
        let n = fill(&mut file, &mut buffer).with_context(|| format!("read {}", path.display()))?;
        if n == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..n]);
    }
}

/// What a step was made from: named values, in the order given.
#[derive(Default)]
pub struct Inputs(String);

impl Inputs {
    /// Adds one input.
    pub fn add(mut self, name: &str, value: &str) -> Self {
        self.0.push_str(&format!("{name}={value}\n"));
        self
    }

    /// True when `stamp` was written for these inputs and each output is what it was then.
    pub fn up_to_date(&self, stamp: &Path, outputs: &[PathBuf]) -> bool {
        let known = std::fs::read_to_string(stamp).unwrap_or_default();
        self.text(outputs).is_ok_and(|now| now == known)
    }

    /// Records that the outputs were made from these inputs.
    pub fn write(&self, stamp: &Path, outputs: &[PathBuf]) -> Result<()> {
        std::fs::write(stamp, self.text(outputs)?)
            .with_context(|| format!("write {}", stamp.display()))
    }

    fn text(&self, outputs: &[PathBuf]) -> Result<String> {
        let mut text = self.0.clone();
        for output in outputs {
            text.push_str(&format!("{}={}\n", output.display(), sha256_file(output)?));
        }
        Ok(text)
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_is_the_published_one_of_abc() {
        assert_eq!(
            sha256(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_changed_input_a_changed_output_or_a_missing_one_is_not_up_to_date() {
        let dir = tempfile::tempdir().unwrap();
        let (stamp, output) = (dir.path().join("stamp"), dir.path().join("out"));
        std::fs::write(&output, "made").unwrap();
        let inputs = || Inputs::default().add("lock", "1");
        let outputs = [output.clone()];
        assert!(!inputs().up_to_date(&stamp, &outputs), "no stamp yet");
        inputs().write(&stamp, &outputs).unwrap();
        assert!(inputs().up_to_date(&stamp, &outputs));
        assert!(
            !Inputs::default()
                .add("lock", "2")
                .up_to_date(&stamp, &outputs)
        );
        std::fs::write(&output, "tampered").unwrap();
        assert!(!inputs().up_to_date(&stamp, &outputs));
        std::fs::remove_file(&output).unwrap();
        assert!(!inputs().up_to_date(&stamp, &outputs));
    }
}
