//! What one room keeps: objects by name, snapshots of them, and its records (C07, T02). All of it lies in a directory of its own.
//!
//! | path | content |
//! | --- | --- |
//! | `objects/NAME` | an object: frames of what was sent, then one that has its whole size and says that it is the last |
//! | `objects/.new-N` | one that is being sent; gone at the next opening |
//! | `snapshots/N/NAME` | the same file once more: an object is never changed, only replaced |
//! | `log/` | the records ([`crate::store`]) |
//!
//! An object gets its name when the disk has all of it. What a room may keep is counted in bytes, which are those that the disk spends
//! ([`crate::quota`]), and in pieces, which are objects, those of snapshots and records; how fast, in bytes a second.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bay0_persona::Wish;
use nix::fcntl::Flock;

use crate::disk;
use crate::frame;
use crate::quota::Account;
use crate::store::{self, Code, Error, Store, at};
pub use crate::wire::Limits;

/// Most bytes of one packet of data: with its header it is a frame of 64 KiB.
pub const CHUNK: usize = 65_536 - frame::HEADER;
/// Bytes of a segment of a room's records: what the first one takes.
pub const SEGMENT: usize = 256 * 1024;
/// What objects' checksums begin with: there is nothing in an object that anybody could take for another's.
const KEY: u64 = 0x6261_7930_6f62_6a31;
/// Frames of an object after which the disk begins with them, 8 MiB: it writes while the rest is still being sent.
const EARLY: u64 = 128;
const OBJECTS: &str = "objects";
const SNAPSHOTS: &str = "snapshots";
const RECORDS: &str = "log";
/// Bytes of the last frame of an object.
const LAST: i64 = 8 + frame::HEADER as i64;

/// What a room keeps, open.
#[derive(Debug)]
pub struct Shelf {
    dir: PathBuf,
    _lock: Flock<File>,
    account: Account,
    /// Bytes that the directories of objects and records cost when they were looked at last.
    folders: u64,
    /// The records; none before the first.
    log: Option<Store>,
    writing: Pace,
    reading: Pace,
    /// Objects begun since the shelf was opened.
    begun: u64,
}

/// An object that is being sent.
#[derive(Debug)]
pub struct Sending {
    name: String,
    path: PathBuf,
    file: File,
    frames: u64,
    size: u64,
    /// Bytes on the disk, and those taken from what the room may keep.
    length: u64,
    taken: u64,
}

impl Drop for Sending {
    fn drop(&mut self) {
        // After it has got its name there is nothing here.
        let _ = fs::remove_file(&self.path);
    }
}

/// What a call returns, or why it was not done: a whole sentence, of a store's error its code and text.
pub type Result<T> = std::result::Result<T, String>;

impl From<Error> for String {
    fn from(error: Error) -> Self {
        error.to_string()
    }
}

/// How many bytes may pass at once, and since when.
#[derive(Debug)]
struct Pace {
    tokens: u64,
    since: Instant,
}

impl Pace {
    fn new(rate: u64) -> Self {
        let since = Instant::now();
        Self {
            tokens: rate,
            since,
        }
    }

    /// Takes bytes from what may pass now at `rate`; how long to wait, and nothing taken, if there are not that many.
    fn short(&mut self, rate: u64, bytes: u64) -> Option<Duration> {
        const SECOND: u64 = 1_000_000;
        let rate = rate.max(CHUNK as u64);
        let passed = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(SECOND);
        let more = rate.saturating_mul(passed.min(SECOND)) / SECOND;
        if more > 0 {
            self.tokens = self.tokens.saturating_add(more).min(rate);
            self.since = Instant::now();
        }
        let bytes = bytes.min(rate);
        let short = bytes.saturating_sub(self.tokens);
        if short == 0 {
            self.tokens = self.tokens.saturating_sub(bytes);
            return None;
        }
        let micros = short.saturating_mul(SECOND).checked_div(rate)?;
        Some(Duration::from_micros(micros.saturating_add(1)))
    }

    /// Takes them as soon as there are that many.
    fn wait(&mut self, rate: u64, bytes: u64) {
        while let Some(wait) = self.short(rate, bytes) {
            sleep(wait);
        }
    }
}

impl Shelf {
    /// Makes the place of what a room keeps, and has the disk keep its name: what needs a right to more than the place itself.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub fn make(dir: &Path) -> Result<()> {
        let made = fs::create_dir_all(dir);
        let synced = made.and_then(|()| disk::sync_dir(dir.parent().unwrap_or(dir)));
        Ok(synced.map_err(at(dir.display()))?)
    }

    /// Opens what a room keeps, in its place.
    ///
    /// # Errors
    /// `ConcurrentModification`: another process serves this room. Else as [`Store::open`].
    pub fn open(dir: &Path, limits: Limits) -> Result<Self> {
        for part in [OBJECTS, SNAPSHOTS] {
            fs::create_dir_all(dir.join(part)).map_err(at(dir.display()))?;
        }
        disk::sync_dir(dir).map_err(at(dir.display()))?;
        let _lock = store::lock(dir)?;
        let log = match Store::open(&dir.join(RECORDS)) {
            Err(error) if error.code == Code::NotFound => None,
            log => Some(log?),
        };
        let mut shelf = Self {
            dir: dir.to_owned(),
            _lock,
            account: Account::new(dir, limits)?,
            folders: 0,
            log,
            writing: Pace::new(limits.rate),
            reading: Pace::new(limits.read),
            begun: 0,
        };
        for folder in [OBJECTS, SNAPSHOTS] {
            for (_, path) in entries(&dir.join(folder), true)? {
                let gone = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
                gone.map_err(at(path.display()))?;
            }
        }
        shelf.count()?;
        Ok(shelf)
    }

    /// Changes what it may keep.
    pub fn limit(&mut self, limits: Limits) {
        self.account.limits = limits;
    }

    /// Counts what is kept, which has to be done after anything failed. What several names have is there once.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn count(&mut self) -> Result<()> {
        let mut pieces = self.log.as_ref().map_or(0, Store::last);
        let mut costs = BTreeMap::new();
        let mut note = |path: &Path| {
            let meta = fs::metadata(path).map_err(at(path.display()))?;
            costs.insert(meta.ino(), self.account.cost(&meta));
            Ok::<_, String>(())
        };
        let snapshots = self.dir.join(SNAPSHOTS);
        let mut folders = vec![self.dir.join(OBJECTS)];
        folders.extend(entries(&snapshots, false)?.into_iter().map(|it| it.1));
        for folder in folders {
            note(&folder)?;
            // What is being sent is counted by what was taken for it.
            for (_, path) in entries(&folder, false)? {
                note(&path)?;
                pieces = pieces.saturating_add(1);
            }
        }
        if self.log.is_some() {
            let records = self.dir.join(RECORDS);
            for (_, path) in entries(&records, false)? {
                note(&path)?;
            }
            note(&records)?;
        }
        note(&self.dir)?;
        note(&snapshots)?;
        self.account.bytes = costs.into_values().fold(0, u64::saturating_add);
        self.account.pieces = pieces;
        self.folders = self.folders_cost()?;
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    fn folders_cost(&self) -> Result<u64> {
        let mut cost = 0_u64;
        for name in [OBJECTS, RECORDS] {
            let meta = disk::or_missing(fs::metadata(self.dir.join(name)).map(Some));
            let meta = meta.map_err(at(name))?;
            cost = cost.saturating_add(meta.map_or(0, |meta| self.account.cost(&meta)));
        }
        Ok(cost)
    }

    /// Counts by how much the directories have grown.
    fn look(&mut self) -> Result<()> {
        let now = self.folders_cost()?;
        let rest = self.account.bytes.saturating_sub(self.folders);
        self.account.bytes = rest.saturating_add(now);
        self.folders = now;
        Ok(())
    }

    /// Waits until the room may read that many bytes more.
    pub(crate) fn wait(&mut self, bytes: u64) {
        self.reading.wait(self.account.limits.read, bytes);
    }

    /// Where an object is, or one of a snapshot.
    fn place(&self, wish: &Wish) -> PathBuf {
        let folder = match wish.number {
            Some(number) => self.dir.join(SNAPSHOTS).join(number.to_string()),
            None => self.dir.join(OBJECTS),
        };
        folder.join(&wish.name)
    }

    /// Begins an object, which nobody sees before [`Shelf::finish`].
    ///
    /// # Errors
    /// It may keep no more.
    pub fn begin(&mut self, name: &str) -> Result<Sending> {
        let (least, folder) = (self.account.estimate(0), self.account.names(1, name.len()));
        self.account.fits(least.saturating_add(folder), 1)?;
        self.begun = self.begun.saturating_add(1);
        let path = self.dir.join(OBJECTS).join(format!(".new-{}", self.begun));
        let file = File::create(&path).map_err(at(path.display()))?;
        self.account.coming = self.account.coming.saturating_add(least);
        self.account.coming_pieces = self.account.coming_pieces.saturating_add(1);
        Ok(Sending {
            name: name.to_owned(),
            path,
            file,
            frames: 0,
            size: 0,
            length: 0,
            taken: least,
        })
    }

    /// Fails at once if so many bytes of content are more than may be kept.
    ///
    /// # Errors
    /// It may keep no more.
    pub fn expect(&self, sending: &Sending, size: u64) -> Result<()> {
        let frames = size.div_ceil(CHUNK as u64).saturating_add(1);
        let heads = frames.saturating_mul(frame::size(0).saturating_add(8) as u64);
        let cost = self.account.estimate(size.saturating_add(heads));
        self.account.fits(cost.saturating_sub(sending.taken), 0)
    }

    /// Ends an object that is not to be kept: nothing of it counts any more.
    pub fn abort(&mut self, sending: Sending) {
        self.came(&sending);
    }

    /// What was taken for an object is free again.
    fn came(&mut self, sending: &Sending) {
        self.account.coming = self.account.coming.saturating_sub(sending.taken);
        self.account.coming_pieces = self.account.coming_pieces.saturating_sub(1);
    }

    /// Takes the next bytes of an object, no faster than the room may write.
    ///
    /// # Errors
    /// It may keep no more, or the disk is full.
    pub fn put(&mut self, sending: &mut Sending, data: &[u8]) -> Result<()> {
        sending.size = sending.size.saturating_add(data.len() as u64);
        self.write(sending, data, false)
    }

    fn write(&mut self, sending: &mut Sending, data: &[u8], last: bool) -> Result<()> {
        let bytes = frame::size(data.len()) as u64;
        let length = sending.length.saturating_add(bytes);
        let cost = self.account.estimate(length);
        let more = cost.saturating_sub(sending.taken);
        self.account.fits(more, 0)?;
        self.account.coming = self.account.coming.saturating_add(more);
        (sending.length, sending.taken) = (length, cost);
        self.writing.wait(self.account.limits.rate, bytes);
        sending.frames = sending.frames.saturating_add(1);
        let mut frame = Vec::with_capacity(frame::size(data.len()));
        // A last one says that the disk has it, which no other one can.
        let durable = sending.frames.saturating_sub(u64::from(!last));
        frame::push(&mut frame, KEY, sending.frames, durable, data);
        let written = sending.file.write_all(&frame);
        written.map_err(at(&sending.name))?;
        if sending.frames.is_multiple_of(EARLY) {
            disk::start(&sending.file);
        }
        Ok(())
    }

    /// Gives an object its name; it takes the place of what had it before. Its size in bytes.
    ///
    /// # Errors
    /// The disk failed, or is full; what was there before still is.
    pub fn finish(&mut self, mut sending: Sending) -> Result<u64> {
        let done = self.name(&mut sending);
        self.came(&sending);
        done.and_then(|()| self.look()).map(|()| sending.size)
    }

    fn name(&mut self, sending: &mut Sending) -> Result<()> {
        let size = sending.size;
        self.write(sending, &size.to_le_bytes(), true)?;
        let objects = self.dir.join(OBJECTS);
        let to = objects.join(&sending.name);
        let before = fs::metadata(&to).ok();
        let synced = sending.file.sync_all();
        let named = synced.and_then(|()| fs::rename(&sending.path, &to));
        let named = named.and_then(|()| disk::sync_dir(&objects));
        let meta = named.and_then(|()| sending.file.metadata());
        let cost = self.account.cost(&meta.map_err(at(&sending.name))?);
        self.account.keep(cost, 1);
        self.forget(before);
        Ok(())
    }

    /// What is no longer there under one of its names.
    fn forget(&mut self, file: Option<fs::Metadata>) {
        if let Some(file) = file {
            self.account.pieces = self.account.pieces.saturating_sub(1);
            if file.nlink() < 2 {
                let cost = self.account.cost(&file);
                self.account.bytes = self.account.bytes.saturating_sub(cost);
            }
        }
    }

    /// Reads an object.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn load(&self, wish: &Wish) -> Result<Object> {
        let file = File::open(self.place(wish)).map_err(at(wish))?;
        Ok(Object {
            name: wish.to_string(),
            file: BufReader::with_capacity(CHUNK, file),
            frames: 0,
            whole: false,
        })
    }

    /// The objects, or those of a snapshot, a line each: name and size in bytes; without a snapshot, the numbers of all as well.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn list(&self, wish: &Wish) -> Result<String> {
        let mut lines = String::new();
        for (name, path) in entries(&self.place(wish), false)? {
            let size = whole_size(&path).map_or("damaged".to_owned(), |size| size.to_string());
            lines += &format!("{name} {size}\n");
        }
        if wish.number.is_none() {
            for (id, _) in entries(&self.dir.join(SNAPSHOTS), false)? {
                lines += &format!("@{id}\n");
            }
            let last = self.log.as_ref().map_or(0, Store::last);
            lines += &format!("records {last}\n");
        }
        Ok(lines)
    }

    /// Removes an object, or a snapshot.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn drop(&mut self, wish: &Wish) -> Result<String> {
        let place = self.place(wish);
        if wish.number.is_none() {
            let file = fs::metadata(&place).map_err(at(wish))?;
            let objects = self.dir.join(OBJECTS);
            let gone = fs::remove_file(&place).and_then(|()| disk::sync_dir(&objects));
            gone.map_err(at(wish))?;
            self.forget(Some(file));
        } else {
            // Half a snapshot must not be taken for one.
            let all = self.dir.join(SNAPSHOTS);
            let old = all.join(".old");
            let gone = fs::rename(&place, &old).and_then(|()| disk::sync_dir(&all));
            let gone = gone.and_then(|()| fs::remove_dir_all(&old));
            gone.map_err(at(wish))?;
            self.count()?;
        }
        Ok(format!("{wish}: done\n"))
    }

    /// Keeps all objects as they are now, and seals the records.
    ///
    /// # Errors
    /// It may keep no more pieces, or the disk is full.
    pub fn snapshot(&mut self) -> Result<String> {
        let all = self.dir.join(SNAPSHOTS);
        let numbers = entries(&all, false)?.into_iter();
        let newest = numbers.flat_map(|(name, _)| name.parse::<u64>()).max();
        let id = newest.unwrap_or(0).saturating_add(1);
        let objects = entries(&self.dir.join(OBJECTS), false)?;
        let bytes = objects.iter().map(|(name, _)| name.len()).sum();
        let folder = self.account.names(objects.len(), bytes);
        let above = self.account.names(1, 20);
        let sealed = |log: &Store| log.last() > 0 && log.room() < SEGMENT;
        let (segment, names) = self.segments(self.log.as_ref().is_some_and(sealed).into());
        let folder = folder.saturating_add(segment).saturating_add(names);
        self.account
            .fits(folder.saturating_add(above), objects.len() as u64)?;
        let last = self.log.as_mut().map_or(Ok(0), Store::snapshot)?;
        let new = all.join(disk::NEW);
        let made = fs::create_dir(&new).and_then(|()| {
            let mut links = objects.iter();
            links.try_for_each(|(name, path)| fs::hard_link(path, new.join(name)))?;
            disk::sync_dir(&new)?;
            fs::rename(&new, all.join(id.to_string()))?;
            disk::sync_dir(&all)
        });
        let undo = |_: &_| drop(fs::remove_dir_all(&new));
        made.inspect_err(undo).map_err(at("snapshot"))?;
        self.count()?;
        let count = objects.len();
        Ok(format!("snapshot {id}: {count} objects, {last} records\n"))
    }

    /// Bytes that so many more segments cost, and those by which their directory grows at most.
    fn segments(&self, count: usize) -> (u64, u64) {
        if count == 0 {
            return (0, 0);
        }
        let each = self.account.estimate(SEGMENT as u64);
        let own = self.log.as_ref().map_or(self.account.estimate(0), |_| 0);
        let cost = each.saturating_mul(count as u64).saturating_add(own);
        (cost, self.account.names(count, count.saturating_mul(24)))
    }

    /// Appends records together; the number of the last.
    ///
    /// # Errors
    /// It may keep no more, or not write as fast as that.
    pub fn append(&mut self, records: &[Vec<u8>]) -> Result<u64> {
        let (mut bytes, mut segments) = (0_usize, 0_usize);
        let mut room = self.log.as_ref().map_or(0, Store::room);
        for size in records.iter().map(|record| frame::size(record.len())) {
            if size > room {
                segments = segments.saturating_add(1);
                room = SEGMENT;
            }
            room = room.saturating_sub(size);
            bytes = bytes.saturating_add(size);
        }
        let rate = self.account.limits.rate;
        if let Some(wait) = self.writing.short(rate, bytes as u64) {
            let ms = wait.as_millis();
            return Err(format!(
                "throttled: it may write {rate} bytes a second, none for {ms} ms; next: wait"
            ));
        }
        let (cost, names) = self.segments(segments);
        let count = records.len() as u64;
        self.account.fits(cost.saturating_add(names), count)?;
        self.account.keep(cost, count);
        let place = self.dir.join(RECORDS);
        let open = || Store::open(&place).or_else(|_| Store::create(&place, SEGMENT));
        let mut log = self.log.take().map_or_else(open, Ok)?;
        let last = log.append(records)?;
        self.log = Some(log);
        if segments > 0 {
            self.look()?;
        }
        Ok(last)
    }

    /// Reads the records from a number on.
    pub fn read(&self, wish: &Wish) -> impl Iterator<Item = store::Result<(u64, Vec<u8>)>> + use<> {
        let from = wish.number.unwrap_or(1);
        let read = self.log.as_ref().map(|log| log.read(from));
        read.into_iter().flatten()
    }
}

/// The content of an object, piece by piece; an object that is not whole ends with an error.
#[derive(Debug)]
pub struct Object {
    name: String,
    file: BufReader<File>,
    frames: u64,
    whole: bool,
}

impl Iterator for Object {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.whole {
            return None;
        }
        self.frames = self.frames.saturating_add(1);
        let damaged = || {
            let text = "does not match its checksum, or is missing; next: load a copy of it";
            format!("io-error: {}: piece {} {text}", self.name, self.frames)
        };
        let piece = match frame::read(&mut self.file, KEY) {
            Ok(Some(frame)) if frame.seq == self.frames => {
                self.whole = frame.durable == frame.seq;
                Ok(frame.payload)
            }
            Err(cause) if cause.kind() != ErrorKind::InvalidData => {
                Err(at(&self.name)(cause).to_string())
            }
            _ => Err(damaged()),
        };
        if self.whole {
            return None;
        }
        self.whole = piece.is_err();
        Some(piece)
    }
}

/// The size of an object, from its last frame.
fn whole_size(path: &Path) -> std::io::Result<u64> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(LAST.saturating_neg()))?;
    let frame = frame::read(&mut file.take(CHUNK as u64), KEY)?;
    let size = frame.and_then(|frame| Some(u64::from_le_bytes(*frame.payload.first_chunk()?)));
    size.ok_or(ErrorKind::InvalidData.into())
}

/// What lies in a directory, in the order of the names: what is whole, or what was begun.
fn entries(dir: &Path, begun: bool) -> Result<Vec<(String, PathBuf)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).map_err(at(dir.display()))? {
        let entry = entry.map_err(at(dir.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') == begun {
            all.push((name, entry.path()));
        }
    }
    all.sort();
    Ok(all)
}
