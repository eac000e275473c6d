//! The contents of an image's files, one behind the other in a nameless file beside the image: gone with the process, however it ends.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256, Sha512};

use crate::stamp;

/// Bytes an image's layers may unpack to; also what one compressed archive may.
pub const MAX_BYTES: u64 = 16 << 30;

/// Bytes read at once.
const BUFFER: usize = 256 << 10;

/// One file's bytes in the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Content {
    /// Counts the files: two names of one file have the same number.
    pub number: u64,
    at: u64,
    /// Size in bytes.
    pub bytes: u64,
}

#[cfg(test)]
impl Content {
    /// No bytes, for tests of what only compares.
    pub fn numbered(number: u64) -> Content {
        let (at, bytes) = (0, 0);
        Content { number, at, bytes }
    }
}

/// All contents.
pub struct Spool {
    file: File,
    end: u64,
    files: u64,
    limit: u64,
}

impl Spool {
    /// An empty one on the file system of `dir`.
    pub fn new(dir: &Path) -> Result<Spool> {
        let file = tempfile::tempfile_in(dir)
            .with_context(|| format!("make a temporary file in {}", dir.display()))?;
        Ok(Spool {
            file,
            end: 0,
            files: 0,
            limit: MAX_BYTES,
        })
    }

    /// Takes exactly `bytes` from a reader. What is claimed is checked before a byte is read.
    pub fn take(&mut self, from: &mut impl Read, bytes: u64) -> Result<Content> {
        ensure!(
            bytes <= self.limit - self.end,
            "{bytes} bytes claimed, beyond the {} that an image may have",
            self.limit
        );
        self.file.seek(SeekFrom::Start(self.end))?;
        let copied = io::copy(&mut from.take(bytes), &mut self.file)?;
        ensure!(
            copied == bytes,
            "ends after {copied} of the {bytes} bytes claimed"
        );
        let content = Content {
            number: self.files,
            at: self.end,
            bytes,
        };
        self.files += 1;
        self.end += bytes;
        Ok(content)
    }

    /// The bytes of one file again.
    pub fn read(&mut self, content: &Content) -> Result<impl Read + '_> {
        self.file.seek(SeekFrom::Start(content.at))?;
        Ok((&self.file).take(content.bytes))
    }
}

/// Digest and number of the bytes that passed.
#[derive(Clone)]
pub struct Passed(Rc<RefCell<(Digesting, u64)>>);

/// The two kinds of digest that images name (OCI image specification, descriptors).
#[derive(Clone)]
enum Digesting {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Passed {
    /// Of the kind that a digest names: `sha512:…`, or else SHA-256.
    pub fn like(digest: &str) -> Passed {
        let hash = if digest.starts_with("sha512:") {
            Digesting::Sha512(Sha512::new())
        } else {
            Digesting::Sha256(Sha256::new())
        };
        Passed(Rc::new(RefCell::new((hash, 0))))
    }

    /// `sha256:…` or `sha512:…` of all that passed.
    pub fn digest(&self) -> String {
        match &self.0.borrow().0 {
            Digesting::Sha256(hash) => format!("sha256:{}", stamp::hex(&hash.clone().finalize())),
            Digesting::Sha512(hash) => format!("sha512:{}", stamp::hex(&hash.clone().finalize())),
        }
    }

    fn take(&self, bytes: &[u8]) -> io::Result<()> {
        let (hash, count) = &mut *self.0.borrow_mut();
        match hash {
            Digesting::Sha256(hash) => hash.update(bytes),
            Digesting::Sha512(hash) => hash.update(bytes),
        }
        *count += bytes.len() as u64;
        if *count > MAX_BYTES {
            let why = format!("unpacks to more than {MAX_BYTES} bytes");
            return Err(io::Error::other(why));
        }
        Ok(())
    }
}

/// A reader that counts and hashes, and ends with an error beyond the limit: what unpacks without end is noticed.
pub struct Hashed<R> {
    from: R,
    passed: Passed,
}

impl<R: Read> Hashed<R> {
    /// Counts into `passed`.
    pub fn new(from: R, passed: &Passed) -> Hashed<R> {
        let passed = passed.clone();
        Hashed { from, passed }
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.passed.take(&buffer[..n])?;
        Ok(n)
    }
}

/// How something is packed, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// RFC 1952, one member or several.
    Gzip,
    /// RFC 8878, frames in a row; some writers begin with one to be skipped.
    Zstd,
    /// One stream or several.
    Xz,
}

impl Packing {
    /// What these bytes begin.
    ///
    /// # Errors
    /// It is packed in a way that is not unpacked here.
    pub fn of(first: &[u8]) -> io::Result<Packing> {
        Ok(match first {
            [0x1f, 0x8b, ..] => Packing::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Packing::Zstd,
            [0xfd, b'7', b'z', b'X', ..] => Packing::Xz,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => {
                let why = "packed by bzip2, which is not unpacked here; next: bunzip2 it first";
                return Err(io::Error::other(why));
            }
            _ => Packing::Plain,
        })
    }
}

/// What is in it, unpacked as its first bytes say.
pub fn unpacked<'a>(from: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    let mut from = BufReader::with_capacity(BUFFER, from);
    Ok(match Packing::of(from.fill_buf()?)? {
        Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(from)),
        Packing::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(from)?),
        Packing::Xz => Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(from)),
        Packing::Plain => Box::new(from),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t09_a_claimed_size_beyond_the_limit_is_refused_before_a_byte_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(dir.path()).unwrap();
        let error = spool.take(&mut io::repeat(1), u64::MAX).unwrap_err();
        assert_eq!(
            error.to_string(),
            "18446744073709551615 bytes claimed, beyond the 17179869184 that an image may have"
        );
        assert_eq!(spool.file.metadata().unwrap().len(), 0);
        spool.limit = 5;
        spool.take(&mut &b"abc"[..], 3).unwrap();
        let error = spool.take(&mut &b"abc"[..], 3).unwrap_err().to_string();
        assert!(error.starts_with("3 bytes claimed"), "{error}");
    }

    #[test]
    fn t09_contents_come_back_as_they_went_in() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(dir.path()).unwrap();
        let one = spool.take(&mut &b"one, and more"[..], 3).unwrap();
        let two = spool.take(&mut &b"twenty"[..], 6).unwrap();
        for (content, wanted) in [(two, "twenty"), (one, "one")] {
            let mut text = String::new();
            let mut reader = spool.read(&content).unwrap();
            reader.read_to_string(&mut text).unwrap();
            assert_eq!(text, wanted);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
