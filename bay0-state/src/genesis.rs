//! The genesis log (H19, S02, S04): what every boot did, in an order nobody can rearrange unnoticed.
//!
//! One line per record, printable ASCII:
//!
//! ```text
//! SEQ BOOT_ID UNIX_MS PREV SUM TEXT
//! ```
//!
//! `SEQ` counts from 1 over all files and boots. `PREV` is the SHA-256 of the whole previous line with its newline (64 zeros
//! before the first): a change anywhere breaks the chain. `SUM`, the first 8 hex digits of the SHA-256 of the line without
//! it, tells in which line, and covers the newest record, which no other one covers yet.
//!
//! A file is written full of zeros when it is made, so that an append changes no metadata: one `pwrite` and one `fdatasync`
//! per batch. A power cut during a batch leaves some of its sectors as zeros. Hence a *torn tail*: at most [`MAX_BATCH`] bytes
//! at the end, from the first line that whole sectors of zeros cut short. Nothing in it was ever acknowledged; it
//! is zeroed and a record says so. Any other line that is not in order is *broken*: the file is set aside, RED.

use std::fmt::{self, Display};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::disk;
use crate::error::{At, Fault};
use crate::sha256::{hex, sha256};
use crate::wire::Opened;

/// The newest file; older ones are `genesis.log.1` (newest) to `.3`.
pub const LOG_NAME: &str = "genesis.log";
/// Size of each file in bytes: small enough that every boot can check the whole chain of the newest one.
pub const LOG_BYTES: usize = 256 * 1024;
/// Most bytes that one write may carry, and so the most that a power cut can tear.
pub const MAX_BATCH: usize = 8 * 1024;
/// Longest text of a record, in bytes; what is longer ends in `...`.
pub const MAX_TEXT: usize = 512;
/// Records of the previous boot shown at the next one.
const TAIL: usize = 10;
/// A disk writes this many bytes or none of them.
const SECTOR: usize = 512;
const OPEN: &str = "open genesis.log";
const APPEND: &str = "append genesis.log";

/// What a log file holds, up to its end or its first line that is not in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Number of records.
    pub records: usize,
    /// Sequence number of the first; 0 when there is none.
    pub first: u64,
    /// Sequence number of the last; 0 when there is none.
    pub last: u64,
    /// Bytes after the last record that a power cut left behind.
    pub torn_bytes: usize,
    /// Bytes of the records: where in the file the next one goes.
    pub end: usize,
    /// SHA-256 of the last line: what the next record continues.
    pub hash: String,
}

impl Summary {
    fn advance(&mut self, seq: u64, line: &[u8]) {
        self.first = if self.records == 0 { seq } else { self.first };
        self.records = self.records.saturating_add(1);
        self.last = seq;
        self.end = self.end.saturating_add(line.len());
        self.hash = hex(&sha256(&[line]));
    }
}

/// The first line that is not in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Break {
    /// Line number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} {}", self.line, self.reason)
    }
}

/// Checks the chain of one log file (`bay0 verify-log FILE`).
pub fn verify_log(bytes: &[u8]) -> Result<Summary, Break> {
    let (found, broken) = scan(bytes);
    broken.map_or(Ok(found), Err)
}

/// The log, open for appending.
#[derive(Debug)]
pub struct Log {
    dir: PathBuf,
    boot_id: String,
    /// None until the first record makes it.
    file: Option<File>,
    /// A write failed: what the page cache and the disk hold may differ from now on, so nothing more is accepted.
    failed: Option<Fault>,
    /// What the newest record left: where and how the next one goes on.
    tip: Summary,
    /// Size of a file: [`LOG_BYTES`].
    size: usize,
}

impl Log {
    /// Opens the log in `dir`, closing a torn tail or setting a broken file aside. Of [`Opened`], what the log knows.
    pub fn open(dir: &Path, boot_id: &str) -> Result<(Self, Opened), Fault> {
        let newest = disk::read(&dir.join(LOG_NAME), LOG_BYTES).at(OPEN)?;
        let before = disk::read(&dir.join(format!("{LOG_NAME}.1")), LOG_BYTES).at(OPEN)?;
        let (found, broken) = scan(&newest);
        let (end, torn) = (found.end, found.torn_bytes);
        // Without a record there, as after a cut in the middle of a rotation, the chain goes on from the file before.
        let (past, tip) = match end {
            0 => (&before, scan(&before).0),
            _ => (&newest, found),
        };
        let mut opened = previous(past.get(..tip.end).unwrap_or_default(), boot_id);
        let mut log = Self {
            dir: dir.into(),
            boot_id: boot_id.into(),
            file: None,
            failed: None,
            tip: Summary { end, ..tip },
            size: LOG_BYTES,
        };
        if let Some(cause) = broken {
            let aside = disk::set_aside(dir, LOG_NAME, "broken")?;
            let rest = format!("begun afresh, the old one is {aside}; next: find out why");
            opened.trouble = vec![format!("{OPEN}: {cause}; {rest}")];
            log.append(&opened.trouble)?;
        } else {
            let file = File::options().write(true).open(dir.join(LOG_NAME));
            log.file = disk::or_missing(file.map(Some)).at(OPEN)?;
        }
        if torn > 0 {
            log.put(&vec![0; torn]).at(OPEN)?;
            let last = log.seq();
            let note = format!("log: closed a torn tail of {torn} bytes after record {last}");
            log.append(&[note])?;
        }
        opened.log_seq = log.seq();
        Ok((log, opened))
    }

    /// Sequence number of the newest record; 0 when there is none.
    pub fn seq(&self) -> u64 {
        self.tip.last
    }

    /// Appends one record per text and makes them durable; the last one's sequence number. More than [`MAX_BATCH`] bytes
    /// go in several writes, so after an error a first part may be recorded, whole records always.
    pub fn append(&mut self, texts: &[impl AsRef<str>]) -> Result<u64, Fault> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let unix_ms = since.unwrap_or_default().as_millis().to_string();
        let (mut batch, mut tip) = (Vec::new(), self.tip.clone());
        for text in texts {
            let (seq, text) = (tip.last.saturating_add(1), printable(text.as_ref()));
            let line = render(&seq.to_string(), &self.boot_id, &unix_ms, &tip.hash, &text);
            if batch.len().saturating_add(line.len()) > MAX_BATCH {
                self.write(&batch, &tip)?;
                batch.clear();
            }
            tip.advance(seq, line.as_bytes());
            batch.extend(line.into_bytes());
        }
        self.write(&batch, &tip)?;
        Ok(self.seq())
    }

    /// Writes a batch that leads to `tip`, in the next file if this one is full.
    fn write(&mut self, batch: &[u8], tip: &Summary) -> Result<(), Fault> {
        if let Some(fault) = &self.failed {
            return Err(fault.clone());
        }
        let mut done = Ok(());
        if self.file.is_none() || self.tip.end.saturating_add(batch.len()) > self.size {
            let file = self.create().at(APPEND)?;
            done = self.rotate(file);
        }
        let done = done.and_then(|()| self.put(batch)).at(APPEND);
        done.inspect_err(|fault| self.failed = Some(fault.clone()))?;
        let end = self.tip.end.saturating_add(batch.len());
        self.tip = Summary { end, ..tip.clone() };
        Ok(())
    }

    /// Overwrites what lies at the end, durably.
    fn put(&self, bytes: &[u8]) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), |file| {
            file.write_all_at(bytes, self.tip.end as u64)?;
            file.sync_data()
        })
    }

    /// Makes the next file. It has no name of its own yet: with a full disk all stays as it was.
    fn create(&self) -> io::Result<File> {
        let path = self.path(".new");
        let file = File::create(&path)?;
        let zeroed = file.write_all_at(&vec![0; self.size], 0);
        let done = zeroed.and_then(|()| file.sync_all());
        done.inspect_err(|_| drop(fs::remove_file(path)))?;
        Ok(file)
    }

    /// Gives the next file its name, and the older ones theirs; the oldest goes.
    fn rotate(&mut self, file: File) -> io::Result<()> {
        // Without a newest file (first boot, broken one set aside) the older ones stay where they are.
        if self.file.replace(file).is_some() {
            for (from, to) in [(".2", ".3"), (".1", ".2"), ("", ".1")] {
                disk::or_missing(fs::rename(self.path(from), self.path(to)))?;
            }
        }
        self.tip.end = 0;
        fs::rename(self.path(".new"), self.path(""))?;
        disk::sync_dir(&self.dir)
    }

    fn path(&self, suffix: &str) -> PathBuf {
        self.dir.join(format!("{LOG_NAME}{suffix}"))
    }
}

/// What the good part of a log says about the boot before `boot_id`.
pub(crate) fn previous(good: &[u8], boot_id: &str) -> Opened {
    let good = std::str::from_utf8(good).unwrap_or_default();
    let records = good.lines().rev().map(|line| {
        let mut fields = line.splitn(6, ' ').skip(1);
        (fields.next(), fields.last().unwrap_or_default().to_owned())
    });
    let earlier = records.skip_while(|(boot, _)| *boot == Some(boot_id));
    let mut tail: Vec<_> = earlier.map(|(_, text)| text).take(TAIL).collect();
    tail.reverse();
    let previous_end = match tail.last().map(|text| text.strip_prefix("end: ")) {
        None => "none",
        Some(Some(how)) => how,
        Some(None) => "unclean: power cut, reset or kernel panic",
    };
    Opened {
        first_boot: good.is_empty(),
        previous_end: previous_end.into(),
        tail,
        ..Opened::default()
    }
}

/// The text as a record holds it: other than printable ASCII, and the backslash, as `\xNN`.
fn printable(text: &str) -> String {
    let escape = |byte| match byte {
        b'\\' | 0..0x20 | 0x7f.. => format!("\\x{byte:02x}"),
        _ => char::from(byte).to_string(),
    };
    let mut out: String = text.bytes().map(escape).collect();
    if out.len() > MAX_TEXT {
        out.truncate(MAX_TEXT.saturating_sub(3));
        out.push_str("...");
    }
    out
}

fn render(seq: &str, boot: &str, unix_ms: &str, prev: &str, text: &str) -> String {
    let bare = format!("{seq} {boot} {unix_ms} {prev} {text}");
    let sum = hex(&sha256(&[bare.as_bytes()]));
    format!("{seq} {boot} {unix_ms} {prev} {sum:.8} {text}\n")
}

/// Reads a file line by line, up to its end or its first line that is not in order.
fn scan(bytes: &[u8]) -> (Summary, Option<Break>) {
    let used = bytes.iter().rposition(|byte| *byte != 0);
    let data = used.and_then(|last| bytes.get(..=last)).unwrap_or_default();
    let mut found = Summary {
        hash: "0".repeat(64),
        ..Summary::default()
    };
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        match parse(line, &found) {
            Ok(seq) => found.advance(seq, line),
            Err(_) if is_torn(bytes, found.end, line, data.len()) => {
                found.torn_bytes = data.len().saturating_sub(found.end);
                return (found, None);
            }
            Err(reason) => {
                let line = found.records.saturating_add(1);
                return (found, Some(Break { line, reason }));
            }
        }
    }
    (found, None)
}

/// The line's sequence number, if it continues what was `found` so far. The first line of a file continues one that is not
/// here, unless it is number 1.
fn parse(line: &[u8], found: &Summary) -> Result<u64, &'static str> {
    let plain = line.strip_suffix(b"\n").ok_or("has no end")?;
    if !plain.iter().all(|byte| (0x20..0x7f).contains(byte)) {
        return Err("is not printable ASCII");
    }
    let text = std::str::from_utf8(plain).unwrap_or_default();
    let fields: Vec<_> = text.splitn(6, ' ').collect();
    let [number, boot, unix_ms, prev, _, text] = *fields.as_slice() else {
        return Err("lacks a field");
    };
    if render(number, boot, unix_ms, prev, text).as_bytes() != line {
        return Err("does not match its checksum");
    }
    let seq: u64 = number.parse().map_err(|_| "has no sequence number")?;
    let follows = found.last.checked_add(1) == Some(seq) && found.hash == prev;
    let begins = found.records == 0 && seq > 1;
    let fits = (follows || begins).then_some(seq);
    fits.ok_or("does not continue the line before")
}

/// Whether the bad `line` at `start` is where sectors of the last batch are missing: it is cut short by zeros that begin
/// where the batch began or a sector begins, and go on to the end of a sector.
fn is_torn(bytes: &[u8], start: usize, line: &[u8], length: usize) -> bool {
    let zero = line.iter().position(|byte| *byte == 0);
    let zero = start.saturating_add(zero.unwrap_or(line.len()));
    let sector_end = zero.saturating_add(1).next_multiple_of(SECTOR);
    let zeros = bytes.get(zero..sector_end.min(bytes.len()));
    let missing = zeros.is_some_and(|zeros| zeros.iter().all(|byte| *byte == 0));
    let begins = zero == start || zero.is_multiple_of(SECTOR);
    missing && begins && length.saturating_sub(start) <= MAX_BATCH
}

#[cfg(test)]
mod tests;
