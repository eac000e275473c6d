//! The store beside the least that keeps the same bytes on the same disk, and beside SQLite; and how long opening one takes.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Result, ensure};
use bay0_state::frame;
use bay0_state::store::Store;
use rusqlite::Connection;

use crate::{GROUP, said, timed};

/// Bytes of a segment.
pub const SEGMENT: usize = 1 << 20;
/// Bytes of a record.
pub const RECORD: usize = 256;
/// Records in a sample, one at a time: a segment's worth, so that one is begun in every sample.
const SINGLES: u32 = 3640;
/// Groups in a sample: eight segments' worth.
const GROUPS: u32 = 455;
/// Turns in a sample: a disk that others use as well is fast and slow by turns of its own, which are longer.
const TURNS: u32 = 65;
/// Records as long as a segment that are appended together, to fill a store.
const FILL: usize = 16;
const GIB: u128 = 1 << 30;

/// The least: a file full of zeros is overwritten from its beginning to its end, and flushed each time.
pub struct Bare {
    file: File,
    end: u64,
}

impl Bare {
    /// Makes the file.
    pub fn new(dir: &Path) -> Result<Self> {
        let file = File::create(dir.join("bare"))?;
        file.write_all_at(&vec![0; SEGMENT], 0)?;
        file.sync_all()?;
        Ok(Self { file, end: 0 })
    }

    /// Writes, and has the disk keep it.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let length = bytes.len() as u64;
        if self.end + length > SEGMENT as u64 {
            self.end = 0;
        }
        self.file.write_all_at(bytes, self.end)?;
        self.end += length;
        Ok(self.file.sync_data()?)
    }
}

/// Prints `single`, `group` and both once more beside SQLite. In a sample the three take turns, so that a slow moment is everybody's.
pub fn records(dir: &Path, samples: u32) -> Result<()> {
    let mut store = Store::create(&dir.join("store"), SEGMENT).map_err(said)?;
    let mut bare = Bare::new(dir)?;
    let lite = Connection::open(dir.join("lite.db"))?;
    lite.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
         CREATE TABLE record (seq INTEGER PRIMARY KEY, payload BLOB NOT NULL)",
    )?;
    let mut insert = lite.prepare("INSERT INTO record (payload) VALUES (?1)")?;
    for _ in 0..samples {
        for (name, count, times) in [("single", 1, SINGLES), ("group", GROUP, GROUPS)] {
            let records = vec![[b'x'; RECORD]; count];
            // What the store writes, headers included.
            let bytes = vec![b'x'; count * frame::size(RECORD)];
            let (mut ours, mut peer, mut rows) = (0, 0, 0);
            for _ in 0..TURNS {
                let times = times / TURNS;
                ours += timed(times, || store.append(&records).map(drop).map_err(said))?;
                peer += timed(times, || bare.write(&bytes))?;
                rows += timed(times, || {
                    lite.execute_batch("BEGIN")?;
                    for record in &records {
                        insert.execute([record.as_slice()])?;
                    }
                    Ok(lite.execute_batch("COMMIT")?)
                })?;
            }
            let [ours, peer, rows] = [ours, peer, rows].map(|nanos| nanos / u128::from(TURNS));
            println!("{name} {ours} {peer}");
            println!("{name}-sqlite {ours} {rows}");
        }
    }
    store.close().map_err(said)
}

/// Prints `open`: a store with so many bytes sealed and one segment full of short records behind them is opened, beside a look at
/// the names in its directory. Both as for 1 GiB.
pub fn open(dir: &Path, samples: u32, sealed: u64) -> Result<()> {
    let place = dir.join("sealed");
    let mut store = Store::create(&place, SEGMENT).map_err(said)?;
    let long = vec![b'x'; SEGMENT - frame::HEADER];
    let mut left = usize::try_from(sealed)? / SEGMENT;
    while left > 0 {
        let count = left.min(FILL);
        store.append(&vec![&long; count]).map_err(said)?;
        left -= count;
    }
    store
        .append(&vec![[b'x'; RECORD]; SINGLES as usize])
        .map_err(said)?;
    store.close().map_err(said)?;
    let scaled = |nanos: u128| nanos * GIB / u128::from(sealed);
    for _ in 0..samples {
        let ours = timed(1, || Store::open(&place).map(drop).map_err(said))?;
        let peer = timed(1, || {
            ensure!(fs::read_dir(&place)?.count() > 1, "nothing is sealed");
            Ok(())
        })?;
        println!("open {} {}", scaled(ours), scaled(peer));
    }
    Ok(fs::remove_dir_all(place)?)
}
