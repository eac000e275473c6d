//! The store (S01 to S06): records in the order in which they came, of which none that was acknowledged is ever lost.
//!
//! A store is a directory, on any Linux file system (K07):
//!
//! | file | content |
//! | --- | --- |
//! | `store` | `bay0-store 1 SEGMENT KEY`: the size of its segments, and what its checksums begin with. Written last: without it there is no store |
//! | `NUMBER.seg` | a segment, named by the number of its first record, in 20 digits; always of the full size, zeros behind the last record |
//!
//! A segment is sealed as soon as a later one is there: it never changes again. Nothing is ever removed. There are two ways of writing,
//! and no other: a whole new file gets its name when the disk has it ([`disk::publish`]), and bytes behind the last record of the
//! newest segment are overwritten and flushed. A power cut can therefore tear only what was written last.
//!
//! On opening, the newest segment is read. What is damaged there was torn, and is overwritten with zeros, unless a record behind it
//! says that the disk had it: then it has rotted, and the store says so instead of forgetting what it acknowledged.

use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::time::{ClockId, clock_gettime};

use crate::disk;
use crate::entropy::random;
use crate::frame::{self, ALIGN, Frame, HEADER, Head};
use crate::sha256::hex;

/// Smallest segment, in bytes.
pub const MIN_SEGMENT: usize = 4096;
/// Largest segment, in bytes.
pub const MAX_SEGMENT: usize = 64 << 20;
/// A disk writes this many bytes or none of them.
const SECTOR: usize = 512;
const HEAD: &str = "store";
const MAGIC: &str = "bay0-store 1";

/// How a call that was not done ended (S06); `ok` is `Ok`. Whatever calls before it have returned, each call returns the same code for
/// the same state of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Something is there already.
    Exists,
    /// Nothing is there.
    NotFound,
    /// The disk failed, is full, or does not hold what was written.
    IoError,
    /// Another handle is open for writing.
    ConcurrentModification,
}

impl Code {
    /// How it is spelled.
    pub fn word(self) -> &'static str {
        match self {
            Self::Exists => "exists",
            Self::NotFound => "not-found",
            Self::IoError => "io-error",
            Self::ConcurrentModification => "concurrent-modification",
        }
    }
}

/// Why a call was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Which of the four.
    pub code: Code,
    /// What it happened to, and the cause.
    pub text: String,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.word(), self.text)
    }
}

/// What a call returns.
pub type Result<T> = std::result::Result<T, Error>;

fn error(code: Code, text: impl Into<String>) -> Error {
    let text = text.into();
    Error { code, text }
}

/// Says of a failed system call what it was done to: for `map_err`.
pub(crate) fn at<E: Into<io::Error>>(what: impl std::fmt::Display) -> impl FnOnce(E) -> Error {
    move |cause| {
        let cause = cause.into();
        let code = match cause.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => Code::NotFound,
            ErrorKind::AlreadyExists => Code::Exists,
            _ => Code::IoError,
        };
        let cause = match cause.raw_os_error() {
            Some(errno) => format!("{:?}", Errno::from_raw(errno)),
            None => cause.to_string(),
        };
        error(code, format!("{what}: {cause}"))
    }
}

/// A store that is open for writing: the only one, as long as it lives.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    /// Held until the handle is dropped (`flock(2)`).
    _lock: Flock<File>,
    form: Form,
    /// The number of the newest segment's first record; none is there before the first one.
    first: Option<u64>,
    /// Bytes of it that are taken.
    end: usize,
    /// The last record.
    last: u64,
    /// After a failed write nobody knows what the disk has (`fsync(2)`): only opening finds out.
    broken: bool,
}

/// What stands in `store`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    segment: usize,
    key: u64,
}

impl Form {
    fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(HEAD);
        let text = fs::read_to_string(&path).map_err(at(path.display()))?;
        let numbers = text.strip_prefix(MAGIC).map(str::split_whitespace);
        let mut numbers = numbers.into_iter().flatten();
        let mut next = || u64::from_str_radix(numbers.next()?, 16).ok();
        let form = next().zip(next()).and_then(|(segment, key)| {
            let segment = usize::try_from(segment).ok()?;
            let fits = (MIN_SEGMENT..=MAX_SEGMENT).contains(&segment);
            fits.then_some(Self { segment, key })
        });
        let foreign = || error(Code::IoError, format!("{}: malformed", path.display()));
        form.ok_or_else(foreign)
    }
}

impl Store {
    /// Makes an empty store in a directory that is not there, or is empty. A power cut leaves a store or none, and none can be made again.
    ///
    /// # Errors
    /// `Exists`: something is there. `ConcurrentModification`: it is being made. `NotFound`: what it is to be in is not there.
    pub fn create(dir: &Path, segment: usize) -> Result<Self> {
        let what = dir.display().to_string();
        let segment = segment.clamp(MIN_SEGMENT, MAX_SEGMENT);
        let segment = segment.next_multiple_of(SECTOR);
        match fs::create_dir(dir) {
            Err(cause) if cause.kind() == ErrorKind::AlreadyExists && dir.is_dir() => {}
            made => made.map_err(at(&what))?,
        }
        let lock = lock(dir)?;
        let begun = format!("{HEAD}{}", disk::NEW);
        let mut entries = fs::read_dir(dir).map_err(at(&what))?.flatten();
        if entries.any(|entry| entry.file_name() != begun.as_str()) {
            return Err(error(Code::Exists, format!("{what}: not empty")));
        }
        let random = random().map_err(at("getrandom"))?;
        let key = random
            .first_chunk()
            .map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        let form = Form { segment, key };
        let text = format!("{MAGIC} {segment:x} {key:x}\n");
        let above = dir.join("..");
        let made = disk::publish(dir, HEAD, text.as_bytes()).and_then(|()| disk::sync_dir(&above));
        made.map_err(at(what))?;
        Ok(Self::new(dir, lock, form))
    }

    /// Opens a store. What a power cut tore off behind the last acknowledged record goes; nothing else changes.
    ///
    /// # Errors
    /// `NotFound`: no store is there. `ConcurrentModification`: another handle has it. `IoError`: it does not hold what was written, and
    /// is left as it is.
    pub fn open(dir: &Path) -> Result<Self> {
        let form = Form::read(dir)?;
        let mut store = Self::new(dir, lock(dir)?, form);
        store.first = segments(dir)?.pop();
        if let Some(first) = store.first {
            store.recover(first)?;
        }
        Ok(store)
    }

    fn new(dir: &Path, lock: Flock<File>, form: Form) -> Self {
        Self {
            dir: dir.to_owned(),
            _lock: lock,
            form,
            first: None,
            end: 0,
            last: 0,
            broken: false,
        }
    }

    /// The number of the last record; 0 if there is none.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Bytes that the newest segment still takes.
    pub fn room(&self) -> usize {
        let size = self.first.map_or(0, |_| self.form.segment);
        size.saturating_sub(self.end)
    }

    /// Appends records; each is there whole or not at all, and all are on the disk when this returns (S02, S04). Many at once share a
    /// flush. The number of the last.
    ///
    /// # Errors
    /// `IoError`: one is longer than a segment, and nothing was written; or the disk failed or is full, and a first part of them may be
    /// there. Where the disk failed, all that follows fails until the store is opened again.
    pub fn append(&mut self, records: &[impl AsRef<[u8]>]) -> Result<u64> {
        self.whole()?;
        let most = self.form.segment.min(frame::MAX_PAYLOAD);
        let mut all = records.iter().map(|record| record.as_ref().len());
        if let Some(length) = all.find(|length| frame::size(*length) > most) {
            let text = format!("a record of {length} bytes, and a segment has {most}");
            return Err(error(Code::IoError, text));
        }
        let (mut batch, mut seq) = (Vec::new(), self.last);
        for record in records {
            let record = record.as_ref();
            let taken = self.end.saturating_add(batch.len());
            let full = taken.saturating_add(frame::size(record.len())) > self.form.segment;
            if full || self.first.is_none() {
                self.write(&batch, seq)?;
                batch.clear();
                self.begin()?;
            }
            seq = seq.saturating_add(1);
            // What is before this batch, the disk has.
            frame::push(&mut batch, self.form.key, seq, self.last, record);
        }
        self.write(&batch, seq)?;
        Ok(self.last)
    }

    /// Ends the newest segment: what is in it never changes again. The number of the last sealed record.
    ///
    /// # Errors
    /// `IoError`: as [`Store::append`].
    pub fn seal(&mut self) -> Result<u64> {
        self.whole()?;
        if self.end > 0 {
            self.begin()?;
        }
        Ok(self.last)
    }

    /// Seals, and so makes a snapshot: all records up to the number that it is known by (S03).
    ///
    /// # Errors
    /// `IoError`: as [`Store::append`].
    pub fn snapshot(&mut self) -> Result<u64> {
        self.seal()
    }

    /// Reads from a record on, up to the last that there is now.
    ///
    /// # Errors
    /// None yet: each record comes with its own.
    pub fn read(&self, from: u64) -> Reader {
        Reader::new(&self.dir, self.form, from, self.last)
    }

    /// Ends the handle. Everything is on the disk already.
    ///
    /// # Errors
    /// `IoError`: a write had failed, and nobody knows what the disk has.
    pub fn close(self) -> Result<()> {
        self.whole()
    }

    fn whole(&self) -> Result<()> {
        let text = "a write has failed; open it again";
        let broken = || error(Code::IoError, format!("{}: {text}", self.dir.display()));
        (!self.broken).then_some(()).ok_or_else(broken)
    }

    /// Makes the next segment, empty.
    fn begin(&mut self) -> Result<()> {
        let first = self.last.saturating_add(1);
        let name = segment(first);
        let made = disk::publish(&self.dir, &name, &vec![0; self.form.segment]);
        made.map_err(at(self.dir.join(name).display()))?;
        (self.first, self.end) = (Some(first), 0);
        Ok(())
    }

    /// Writes behind the last record of the newest segment, and flushes.
    fn write(&mut self, batch: &[u8], last: u64) -> Result<()> {
        if let Some(first) = self.first.filter(|_| !batch.is_empty()) {
            let path = self.dir.join(segment(first));
            let written = disk::overwrite(&path, batch, self.end as u64);
            self.broken = written.is_err();
            written.map_err(at(path.display()))?;
            self.end = self.end.saturating_add(batch.len());
            self.last = last;
        }
        Ok(())
    }

    /// Finds the last record of the newest segment, and zeroes what was torn behind it.
    fn recover(&mut self, first: u64) -> Result<()> {
        let path = self.dir.join(segment(first));
        let name = || path.display();
        let bytes = fs::read(&path).map_err(at(name()))?;
        let length = bytes.len();
        if length != self.form.segment {
            let text = format!("{}: {length} bytes long", name());
            return Err(error(Code::IoError, text));
        }
        self.last = first.saturating_sub(1);
        let mut rest = bytes.as_slice();
        while let Ok(Some(frame)) = frame::read(&mut rest, self.form.key) {
            if self.last.checked_add(1) != Some(frame.seq) {
                break;
            }
            self.last = frame.seq;
            self.end = self.end.saturating_add(frame::size(frame.payload.len()));
        }
        let rest = bytes.get(self.end..).unwrap_or_default();
        let Some(used) = rest.iter().rposition(|byte| *byte != 0) else {
            return Ok(());
        };
        let lost = self.last.saturating_add(1);
        for start in (ALIGN..used.saturating_sub(HEADER)).step_by(ALIGN) {
            let mut later = rest.get(start..).unwrap_or_default();
            let frame = plausible(later, lost).then(|| frame::read(&mut later, self.form.key));
            if let Some(Ok(Some(Frame { durable, .. }))) = frame
                && durable >= lost
            {
                return Err(damaged(&path, lost));
            }
        }
        let torn = used.saturating_add(1);
        if !is_torn(rest, self.end, self.form.key) {
            return Err(damaged(&path, lost));
        }
        let closed = disk::overwrite(&path, &vec![0; torn], self.end as u64);
        closed.map_err(at(name()))
    }
}

/// Whether sectors are missing of the frame with which `rest` begins, `start` bytes into its segment: a disk writes a sector or does
/// not. What is damaged in another way was not torn.
fn is_torn(rest: &[u8], start: usize, key: u64) -> bool {
    let length = Head::parse(rest, key).map_or(0, |head| head.length);
    let size = frame::size(length).min(rest.len());
    let whole = rest.get(..size).unwrap_or_default();
    let lead = start.next_multiple_of(SECTOR).saturating_sub(start);
    let (first, others) = whole.split_at(lead.min(size));
    let missing = |piece: &[u8]| piece.iter().all(|byte| *byte == 0);
    (lead > 0 && missing(first)) || others.chunks(SECTOR).any(missing)
}

/// Whether a frame that begins here could be a later one than the lost one: cheap, where hardly any is.
fn plausible(bytes: &[u8], lost: u64) -> bool {
    let seq = bytes.get(8..16).and_then(|it| it.first_chunk());
    seq.is_some_and(|seq| u64::from_le_bytes(*seq) > lost)
}

/// The records of a store, one after the other.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    key: u64,
    /// The next one to be handed out, and the last.
    next: u64,
    to: u64,
    /// The segment that is being read, and its first record.
    open: Option<(u64, BufReader<File>)>,
    /// The record that comes next in it.
    there: u64,
}

impl Reader {
    fn new(dir: &Path, form: Form, from: u64, to: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            key: form.key,
            next: from.max(1),
            to,
            open: None,
            there: 0,
        }
    }

    fn step(&mut self) -> Result<Vec<u8>> {
        loop {
            let (first, file) = match self.open.as_mut() {
                Some((first, file)) => (*first, file),
                None => {
                    let all = segments(&self.dir)?;
                    let first = all.into_iter().rfind(|first| *first <= self.next);
                    self.enter(first.unwrap_or(1))?;
                    continue;
                }
            };
            let path = self.dir.join(segment(first));
            match frame::read(file, self.key) {
                Ok(Some(frame)) if frame.seq == self.there => {
                    self.there = self.there.saturating_add(1);
                    if frame.seq == self.next {
                        return Ok(frame.payload);
                    }
                }
                // The next segment goes on where this one ends.
                Ok(None) if self.there > first => self.enter(self.there)?,
                Err(cause) if cause.kind() != ErrorKind::InvalidData => {
                    return Err(at(path.display())(cause));
                }
                _ => return Err(damaged(&path, self.there)),
            }
        }
    }

    fn enter(&mut self, first: u64) -> Result<()> {
        let path = self.dir.join(segment(first));
        let file = File::open(&path).map_err(|_| damaged(&path, first))?;
        self.open = Some((first, BufReader::new(file)));
        self.there = first;
        Ok(())
    }
}

impl Iterator for Reader {
    type Item = Result<(u64, Vec<u8>)>;

    /// The next record with its number; after an error there is none.
    fn next(&mut self) -> Option<Self::Item> {
        let seq = (self.next <= self.to).then_some(self.next)?;
        let record = self.step();
        let after = record.as_ref().map(|_| seq.saturating_add(1));
        self.next = after.unwrap_or(u64::MAX);
        Some(record.map(|record| (seq, record)))
    }
}

/// Opens a snapshot for reading, whoever is writing meanwhile (S03).
///
/// # Errors
/// `NotFound`: no store is there, or none of its snapshots is known by this number.
pub fn mount_snapshot(dir: &Path, id: u64) -> Result<Reader> {
    let form = Form::read(dir)?;
    let sealed = dir.join(segment(id.saturating_add(1)));
    let text = format!("{}: snapshot {id}", dir.display());
    let known = (id == 0 || sealed.exists()).then(|| Reader::new(dir, form, 1, id));
    known.ok_or(error(Code::NotFound, text))
}

/// Nanoseconds since the machine started, sleep included (S05): never less than before.
///
/// # Errors
/// `IoError`: the kernel has no such clock.
pub fn host_clock() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map_err(at("clock"))?;
    let seconds = u64::try_from(now.tv_sec()).unwrap_or_default();
    let nanos = u64::try_from(now.tv_nsec()).unwrap_or_default();
    Ok(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// What tells this host from others (S05): 64 hex digits, made when they are first asked for and kept in `dir`.
///
/// # Errors
/// `IoError`: they can be neither read nor kept.
pub fn host_identity(dir: &Path) -> Result<String> {
    const NAME: &str = "identity";
    let path = dir.join(NAME);
    let known = disk::or_missing(fs::read_to_string(&path)).map_err(at(path.display()))?;
    if !known.is_empty() {
        return Ok(known);
    }
    let made = random().and_then(|random| {
        let text = hex(&random);
        disk::publish(dir, NAME, text.as_bytes()).map(|()| text)
    });
    made.map_err(at(path.display()))
}

/// The directory, if nobody else has it.
pub(crate) fn lock(dir: &Path) -> Result<Flock<File>> {
    let file = File::open(dir).map_err(at(dir.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => {
            let text = format!("{}: open for writing elsewhere", dir.display());
            error(Code::ConcurrentModification, text)
        }
        errno => at(dir.display())(errno),
    })
}

/// The numbers of the segments, in order.
fn segments(dir: &Path) -> Result<Vec<u64>> {
    let entries = fs::read_dir(dir).map_err(at(dir.display()))?;
    let number = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_suffix(".seg")?.parse().ok()
    };
    let mut all: Vec<u64> = entries.flatten().filter_map(number).collect();
    all.sort_unstable();
    Ok(all)
}

fn segment(first: u64) -> String {
    format!("{first:020}.seg")
}

fn damaged(path: &Path, seq: u64) -> Error {
    let why = "does not match its checksum, or is missing";
    let text = format!("{}: record {seq} {why}", path.display());
    error(Code::IoError, text)
}

#[cfg(test)]
pub(crate) mod tests;
