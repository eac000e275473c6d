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
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::disk;
use crate::error::{Fault, at};
use crate::sha256::{hex, sha256};
use crate::wire::Opened;

/// The newest file; older ones are `genesis.log.1` (newest) to `.3`.
pub const LOG_NAME: &str = "genesis.log";
/// Size of each file in bytes: small enough that every boot can check the whole chain of the newest one.
pub const LOG_BYTES: usize = 256 * 1024;
/// Most bytes that one write may carry, and so the most that a power cut can tear.
pub const MAX_BATCH: usize = 32 * 1024;
/// Longest text of a record, in bytes; what is longer ends in `...`.
pub const MAX_TEXT: usize = 512;
/// Records of the previous boot shown at the next one.
const TAIL: usize = 10;
/// A disk writes this many bytes or none of them.
const SECTOR: usize = 512;
const UNCLEAN: &str = "unclean: power cut, reset or kernel panic";
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
        let plain = line.strip_suffix(b"\n").ok_or("has no end")?;
        if !plain.iter().all(|byte| (0x20..0x7f).contains(byte)) {
            return Err("is not printable ASCII");
        }
        let text = std::str::from_utf8(plain).unwrap_or_default();
        let fields: Vec<_> = text.splitn(6, ' ').collect();
        let [number, boot, unix_ms, prev, _, text] = *fields else {
            return Err("lacks a field");
        };
        if render(number, boot, unix_ms, prev, text).as_bytes() != line {
            return Err("does not match its checksum");
        }
        let seq: u64 = number.parse().map_err(|_| "has no sequence number")?;
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
pub struct Log {
    dir: PathBuf,
    boot_id: String,
    /// Once a write failed, what the page cache and the disk hold may differ, so nothing more is accepted.
    health: Result<(), Fault>,
    /// What the newest record left: where and how the next one goes on.
    tip: Summary,
    /// Size of a file: [`LOG_BYTES`].
    size: usize,
}

impl Log {
    /// Opens the log in `dir`, closing a torn tail or setting a broken file aside. What it tells goes into `opened`.
    pub fn open(dir: &Path, boot_id: &str, opened: &mut Opened) -> Result<Self, Fault> {
        let mut past = disk::read(&dir.join(LOG_NAME), LOG_BYTES).map_err(at(OPEN))?;
        let mut tip = Summary::default();
        let scanned = tip.scan(&past);
        let (end, torn) = (tip.end, tip.torn_bytes);
        if end == 0 {
            // Without a record there, as after a cut in the middle of a rotation, the chain goes on from the file before.
            past = disk::read(&dir.join(format!("{LOG_NAME}.1")), LOG_BYTES).map_err(at(OPEN))?;
            let _ = tip.scan(&past);
        }
        let past = past.get(..tip.end).unwrap_or_default();
        let untold = opened.previous.clone();
        opened.previous = previous(past, boot_id).unwrap_or(untold);
        let mut log = Self {
            dir: dir.into(),
            boot_id: boot_id.into(),
            health: Ok(()),
            tip: Summary { end, ..tip },
            size: LOG_BYTES,
        };
        if let Err(cause) = scanned {
            let text = disk::set_aside(dir, LOG_NAME, "broken", &cause)?;
            log.append(&[&text])?;
            opened.trouble.push(text);
        } else {
            // With nothing torn it still tells whether the disk can be written.
            disk::or_missing(log.put(&vec![0; torn])).map_err(at(OPEN))?;
        }
        if torn > 0 {
            let last = log.tip.last;
            let note = format!("log: closed a torn tail of {torn} bytes after record {last}");
            log.append(&[note])?;
        }
        opened.log_seq = log.tip.last;
        Ok(log)
    }

    /// Appends one record per text and makes them durable; the last one's sequence number. More than [`MAX_BATCH`] bytes
    /// go in several writes, so after an error a first part may be recorded, whole records always.
    pub fn append(&mut self, texts: &[impl AsRef<str>]) -> Result<u64, Fault> {
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
    fn write(&mut self, batch: &[u8], tip: Summary) -> Result<u64, Fault> {
        self.health.clone()?;
        let (newest, mut ready) = (self.path("").exists(), Ok(()));
        if !newest || self.tip.end.saturating_add(batch.len()) > self.size {
            self.create().map_err(at(APPEND))?;
            ready = self.rotate(newest);
        }
        self.health = ready.and_then(|()| self.put(batch)).map_err(at(APPEND));
        self.health.clone()?;
        let end = self.tip.end.saturating_add(batch.len());
        self.tip = Summary { end, ..tip };
        Ok(tip.last)
    }

    /// Overwrites what lies at the end, durably.
    fn put(&self, bytes: &[u8]) -> io::Result<()> {
        let file = File::options().write(true).open(self.path(""))?;
        file.write_all_at(bytes, self.tip.end as u64)?;
        file.sync_data()
    }

    /// Makes the next file. It has no name of its own yet: with a full disk all stays as it was.
    fn create(&self) -> io::Result<()> {
        let path = self.path(".new");
        let zeroed = fs::write(&path, vec![0; self.size]);
        let durable = zeroed.and_then(|()| File::open(&path)?.sync_all());
        durable.inspect_err(|_| drop(fs::remove_file(path)))
    }

    /// Gives the next file its name, and the older ones theirs; the oldest goes.
    fn rotate(&mut self, newest: bool) -> io::Result<()> {
        // Without a newest file (first boot, broken one set aside) the older ones stay where they are.
        for (from, to) in [(".2", ".3"), (".1", ".2"), ("", ".1")] {
            if newest {
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

/// The text as a record holds it: other than printable ASCII, and the backslash, as `\xNN`.
fn printable(text: &str) -> String {
    let shown = |byte| match byte {
        b'\\' | 0..0x20 | 0x7f.. => format!("\\x{byte:02x}"),
        _ => char::from(byte).to_string(),
    };
    let out: String = text.bytes().map(shown).collect();
    match out.len() > MAX_TEXT {
        true => format!("{:.*}...", MAX_TEXT.saturating_sub(3), out),
        false => out,
    }
}

fn render(seq: impl Display, boot: &str, ms: impl Display, prev: &str, text: &str) -> String {
    let bare = format!("{seq} {boot} {ms} {prev} {text}");
    let sum = hex(&sha256(&[bare.as_bytes()]));
    format!("{seq} {boot} {ms} {prev} {sum:.8} {text}\n")
}

/// Whether the bad line at `start` is where sectors of the last batch are missing: it is cut short by zeros that begin
/// where the batch began or a sector begins, and go on to the end of a sector.
fn is_torn(bytes: &[u8], start: usize, length: usize) -> bool {
    let line = bytes.iter().skip(start).take(length);
    let zero = start.saturating_add(line.take_while(|byte| **byte != 0).count());
    let sector_end = zero.saturating_add(1).next_multiple_of(SECTOR);
    let zeros = bytes.get(zero..sector_end.min(bytes.len()));
    let missing = zeros.is_some_and(|zeros| zeros.iter().all(|byte| *byte == 0));
    missing && (zero == start || zero.is_multiple_of(SECTOR))
}

#[cfg(test)]
mod tests;
