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

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::disk;
use crate::error::{Error, at};
use crate::sha256::{hex, sha256};

/// The newest file; older ones are `genesis.log.1` (newest) to `.3`.
pub const LOG_NAME: &str = "genesis.log";
/// Size of each file in bytes: small enough that every boot can check the whole chain of the newest one.
pub const LOG_BYTES: usize = 256 * 1024;
/// Most bytes that one write may carry, and so the most that a power cut can tear.
pub const MAX_BATCH: usize = 32 * 1024;
/// Longest text of a record, in bytes; what is longer is cut.
pub const MAX_TEXT: usize = 512;
/// Records of the previous boot shown at the next one.
const TAIL: usize = 10;
/// A disk writes this many bytes or none of them.
const SECTOR: usize = 512;
const UNCLEAN: &str = "unclean: power cut, reset or kernel panic";
/// How the previous boot ended where no record of one is.
pub(crate) const UNTOLD: &str = "ended none: no boot before this one is recorded";
const DAMAGED: &str = "does not match its checksum";
const OPEN: &str = "open genesis.log";
const APPEND: &str = "append genesis.log";

/// What a log file holds, up to its end or its first line that is not in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Sequence number of the first; 0 when there is none.
    pub first: u64,
    /// Sequence number of the last; 0 when there is none.
    pub last: u64,
    /// Bytes after the last record that a power cut left behind.
    pub torn_bytes: usize,
    /// Bytes of the records: where in the file the next one goes.
    pub end: usize,
    /// SHA-256 of the last line, zeros when there is none: what the next record continues.
    pub hash: [u8; 32],
}

/// Checks the chain of one log file (`bay0 verify-log FILE`). The error names the first line that is not in order, counted
/// from 1, and what is wrong with it: `line 3 does not match its checksum`.
pub fn verify_log(bytes: &[u8]) -> Result<Summary, String> {
    let mut found = Summary::default();
    found.scan(bytes).map(|()| found)
}

impl Summary {
    /// Takes in a file line by line, up to its end or its first line that is not in order.
    fn scan(&mut self, bytes: &[u8]) -> Result<(), String> {
        let used = bytes.iter().rposition(|byte| *byte != 0);
        let data = used.and_then(|last| bytes.get(..=last)).unwrap_or_default();
        for (line, number) in data.split_inclusive(|byte| *byte == b'\n').zip(1_u32..) {
            if let Err(reason) = self.follow(line) {
                let rest = data.len().saturating_sub(self.end);
                if rest > MAX_BATCH || !is_torn(bytes, self.end, line.len()) {
                    return Err(format!("line {number} {reason}"));
                }
                self.torn_bytes = rest;
                break;
            }
        }
        Ok(())
    }

    /// Takes in the line if it continues what is there so far. The first line of a file continues one that is not here, unless
    /// it is number 1.
    fn follow(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let text = std::str::from_utf8(line).unwrap_or_default();
        let fields: Vec<_> = text.trim_end_matches('\n').splitn(6, ' ').collect();
        let [number, boot, unix_ms, prev, _, text] = *fields else {
            return Err(DAMAGED);
        };
        if render(number, boot, unix_ms, prev, text).as_bytes() != line {
            return Err(DAMAGED);
        }
        let seq: u64 = number.parse().map_err(|_| DAMAGED)?;
        let follows = self.last.checked_add(1) == Some(seq) && hex(&self.hash) == prev;
        let begins = self.end == 0 && seq > 1;
        let fits = (follows || begins).then(|| self.advance(seq, line));
        fits.ok_or("does not continue the line before")
    }

    fn advance(&mut self, seq: u64, line: &[u8]) {
        self.first = if self.end == 0 { seq } else { self.first };
        self.last = seq;
        self.end = self.end.saturating_add(line.len());
        self.hash = sha256(&[line]);
    }
}

/// The log, open for appending.
#[derive(Debug)]
pub struct Genesis {
    dir: PathBuf,
    boot_id: String,
    /// What the newest record left: where and how the next one goes on.
    pub(crate) tip: Summary,
    /// Size of a file: [`LOG_BYTES`].
    size: usize,
    /// The last records of the boot before this one, at most ten, oldest first, each as a line `| TEXT`; then, without a line
    /// end, `ended HOW`.
    pub(crate) previous: String,
}

impl Genesis {
    /// Opens the log in `dir`, closing a torn tail or setting a broken file aside; `trouble` then says so.
    pub fn open(dir: &Path, boot_id: &str, trouble: &mut Vec<String>) -> Result<Self, Error> {
        let (mut file, bound) = (Vec::new(), LOG_BYTES as u64);
        let read = File::open(dir.join(LOG_NAME));
        let read = read.and_then(|newest| newest.take(bound).read_to_end(&mut file));
        disk::or_missing(read).map_err(at(OPEN))?;
        let mut tip = Summary::default();
        let scanned = tip.scan(&file);
        let good = file.get(..tip.end).unwrap_or_default();
        let mut log = Self {
            dir: dir.into(),
            boot_id: boot_id.into(),
            tip,
            size: LOG_BYTES,
            previous: previous(good, boot_id).unwrap_or(UNTOLD.to_owned()),
        };
        if let Err(cause) = scanned {
            let text = disk::set_aside(dir, LOG_NAME, "broken", &cause)?;
            // There is no file now: the record begins one, and the count goes on.
            log.tip.end = 0;
            log.append(&[&text])?;
            trouble.push(text);
        } else if tip.torn_bytes > 0 {
            let (torn, last) = (tip.torn_bytes, tip.last);
            log.put(&vec![0; torn]).map_err(at(OPEN))?;
            let note = format!("log: closed a torn tail of {torn} bytes after record {last}");
            log.append(&[note])?;
        }
        Ok(log)
    }

    /// Appends one record per text and makes them durable; the last one's sequence number. More than [`MAX_BATCH`] bytes
    /// go in several writes, so after an error a first part may be recorded, whole records always. After one nothing more
    /// is to be appended: what the page cache and the disk hold may differ.
    pub fn append(&mut self, texts: &[impl AsRef<str>]) -> Result<u64, Error> {
        let unix_ms = UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
        let (mut batch, mut tip) = (Vec::new(), self.tip);
        for text in texts {
            let (seq, text) = (tip.last.saturating_add(1), printable(text.as_ref()));
            let line = render(seq, &self.boot_id, unix_ms, &hex(&tip.hash), &text);
            if batch.len().saturating_add(line.len()) > MAX_BATCH {
                self.write(&batch, tip)?;
                batch.clear();
            }
            tip.advance(seq, line.as_bytes());
            batch.extend(line.into_bytes());
        }
        self.write(&batch, tip)
    }

    /// Writes a batch that leads to `tip`, in the next file if there is none yet or this one is full.
    fn write(&mut self, batch: &[u8], tip: Summary) -> Result<u64, Error> {
        let mut end = self.tip.end.saturating_add(batch.len());
        if self.tip.end == 0 || end > self.size {
            self.begin(batch).map_err(at(APPEND))?;
            end = batch.len();
        } else {
            self.put(batch).map_err(at(APPEND))?;
        }
        self.tip = Summary { end, ..tip };
        Ok(tip.last)
    }

    /// Overwrites what lies at the end, durably.
    fn put(&self, bytes: &[u8]) -> io::Result<()> {
        disk::overwrite(&self.path(""), bytes, self.tip.end as u64)
    }

    /// Makes the next file, which begins with a batch, and gives the older ones their names; the oldest goes. It has no name of
    /// its own until it is whole: with a full disk all stays as it was, and a power cut always leaves a newest file.
    fn begin(&self, batch: &[u8]) -> io::Result<()> {
        let newest = self.path("");
        let mut bytes = batch.to_vec();
        bytes.resize(self.size, 0);
        let next = disk::prepare(&self.dir, LOG_NAME, &bytes)?;
        disk::or_missing(fs::rename(self.path(".2"), self.path(".3")))?;
        disk::or_missing(fs::rename(self.path(".1"), self.path(".2")))?;
        disk::or_missing(fs::hard_link(&newest, self.path(".1")))?;
        fs::rename(next, newest)?;
        disk::sync_dir(&self.dir)
    }

    fn path(&self, suffix: &str) -> PathBuf {
        self.dir.join(format!("{LOG_NAME}{suffix}"))
    }
}

/// What the good part of a log says about the boot before `boot_id`, if there was one.
fn previous(good: &[u8], boot_id: &str) -> Option<String> {
    let good = std::str::from_utf8(good).unwrap_or_default();
    let ours = |line: &&str| line.split(' ').nth(1) == Some(boot_id);
    let earlier = good.lines().rev().skip_while(ours).take(TAIL);
    let texts: Vec<_> = earlier.flat_map(|it| it.splitn(6, ' ').nth(5)).collect();
    let end = texts.first()?.strip_prefix("end: ").unwrap_or(UNCLEAN);
    let tail = texts.iter().rev().map(|text| format!("| {text}\n"));
    Some(format!("{}ended {end}", tail.collect::<String>()))
}

/// The text as a record holds it: no line of its own, and nothing that a terminal would obey.
fn printable(text: &str) -> String {
    let odd = |c: char| !c.is_ascii_graphic() && c != ' ';
    let mut text = text.replace(odd, "?");
    text.truncate(MAX_TEXT);
    text
}

fn render(seq: impl Display, boot: &str, ms: impl Display, prev: &str, text: &str) -> String {
    let head = format!("{seq} {boot} {ms} {prev} ");
    let sum = hex(&sha256(&[head.as_bytes(), text.as_bytes()]));
    format!("{head}{sum:.8} {text}\n")
}

/// Whether the bad line at `start` is where sectors of the last batch are missing: it is cut short by zeros that begin
/// where the batch began or a sector begins, and go on to the end of a sector.
fn is_torn(bytes: &[u8], start: usize, length: usize) -> bool {
    let line = bytes.iter().skip(start).take(length);
    let zero = start.saturating_add(line.take_while(|byte| **byte != 0).count());
    let sector_end = zero.saturating_add(1).next_multiple_of(SECTOR);
    let mut rest = bytes.iter().take(sector_end).skip(zero);
    let missing = rest.all(|byte| *byte == 0);
    missing && (zero == start || zero.is_multiple_of(SECTOR))
}

#[cfg(test)]
mod tests;
