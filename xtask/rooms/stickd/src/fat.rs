//! FAT12, FAT16 and FAT32, by the crate `fatfs`, which follows wherever the tables lead: [`crate::disk`] ends that.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use fatfs::{Date, DateTime, Dir, DirEntry, FileSystem, FsOptions, Time, TimeProvider};
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::disk::{Patience, Region};
use crate::name::shown;
use crate::trouble::Trouble;
use crate::volume::{Entry, Listing, MOST, Sink, only};

/// Bytes that are read at once.
const PIECE: usize = 65_536;
/// Seconds of a day.
const DAY: u64 = 86_400;

/// What brings the next bytes of a file that comes; none at its end.
pub type Source<'a> = &'a mut dyn FnMut() -> Result<Option<Vec<u8>>, Trouble>;

/// A file system.
pub struct Fat {
    system: FileSystem<Region>,
    patience: Patience,
    bytes: u64,
    stick: Rc<File>,
}

/// The time of the machine, in UTC.
#[derive(Debug)]
struct Clock;

impl TimeProvider for Clock {
    fn get_current_date(&self) -> Date {
        self.get_current_date_time().date
    }

    fn get_current_date_time(&self) -> DateTime {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        date_of(now.map_or(0, |it| it.as_secs()))
    }
}

/// From Unix seconds; FAT knows no year before 1980 and none after 2107.
fn date_of(seconds: u64) -> DateTime {
    let (mut day, second) = (seconds / DAY, seconds % DAY);
    let (mut year, mut month) = (1970_u16, 1_u16);
    let length = |year: u16, month: u16| match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    while year < 2107 && day >= length(year, month) {
        day = day.saturating_sub(length(year, month));
        (year, month) = match month {
            12 => (year.saturating_add(1), 1),
            _ => (year, month.saturating_add(1)),
        };
    }
    let small = |number: u64| u16::try_from(number).unwrap_or(0);
    DateTime {
        date: Date {
            year: year.max(1980),
            month,
            day: small(day.min(30).saturating_add(1)),
        },
        time: Time {
            hour: small(second / 3600),
            min: small(second / 60 % 60),
            sec: small(second % 60),
            millis: 0,
        },
    }
}

impl Fat {
    /// Reads what it says of itself.
    ///
    /// # Errors
    /// That makes no sense.
    pub fn open(mut region: Region, stick: Rc<File>) -> Result<Self, Trouble> {
        let (patience, bytes) = (region.patience(), region.len());
        let mut front = [0; 48];
        region.read_at(&mut front, 0)?;
        // Where the table has no size of 16 bits it is FAT32, whose root is in a cluster.
        if let (Some([0, 0]), Some([0 | 1, 0, 0, 0])) = (front.get(22..24), front.get(44..)) {
            return Err(Trouble::Damaged("its root is nowhere"));
        }
        region.rewind()?;
        let system = FileSystem::new(region, FsOptions::new().time_provider(&Clock))?;
        Ok(Self {
            system,
            patience,
            bytes,
            stick,
        })
    }

    fn folder(&self, path: &[String]) -> Result<Dir<'_, Region>, Trouble> {
        let mut folder = self.system.root_dir();
        for name in path {
            let entry = only(entries(&folder)?, name, |it| &it.0)?.1;
            if !entry.is_dir() {
                return Err(Trouble::Kind(shown(name), "no folder"));
            }
            folder = entry.to_dir();
        }
        Ok(folder)
    }

    /// What is in a folder.
    ///
    /// # Errors
    /// There is none, or it makes no sense.
    pub fn list(&self, path: &[String]) -> Result<Listing, Trouble> {
        let entry = |(name, it): (String, DirEntry<'_, _>)| Entry {
            name,
            is_folder: it.is_dir(),
            size: it.len(),
        };
        let entries = entries(&self.folder(path)?)?;
        Ok(Listing {
            entries: entries.into_iter().map(entry).collect(),
            damaged: 0,
        })
    }

    /// Passes a file on.
    ///
    /// # Errors
    /// It ends before it should.
    pub fn read(&self, folder: &[String], name: &str, sink: Sink<'_>) -> Result<(), Trouble> {
        let entry = only(entries(&self.folder(folder)?)?, name, |it| &it.0)?.1;
        if entry.is_dir() {
            return Err(Trouble::Kind(shown(name), "a folder"));
        }
        let (mut file, mut left) = (entry.to_file(), entry.len());
        let mut piece = vec![0; PIECE];
        while left > 0 {
            self.patience.renew(0);
            let count = file.read(&mut piece)?;
            let read = piece.get(..count).unwrap_or_default();
            if read.is_empty() {
                return Err(Trouble::Damaged("a file ends before its size"));
            }
            if !sink(read)? {
                return Ok(());
            }
            left = left.saturating_sub(count as u64);
        }
        Ok(())
    }

    /// Whether a file of this name and size can be put into the root.
    ///
    /// # Errors
    /// Why not.
    pub fn takes(&self, name: &str, size: u64) -> Result<(), Trouble> {
        let flags = fcntl(&*self.stick, FcntlArg::F_GETFL).map_err(io::Error::from)?;
        if OFlag::from_bits_truncate(flags) & OFlag::O_ACCMODE != OFlag::O_RDWR {
            return Err(Trouble::Closed("it is protected from being written"));
        }
        // FAT has no place for these, and drops a dot and a space at the end.
        let odd = |it: char| it.is_control() || "\"*/:<>?\\|".contains(it);
        if name.contains(odd) || name.ends_with(['.', ' ']) {
            return Err(Trouble::Name(shown(name)));
        }
        let is = |it: &str| it.eq_ignore_ascii_case(name);
        // By its short name another file would be written over as well.
        let all = entries(&self.system.root_dir())?;
        if all
            .iter()
            .any(|(long, it)| is(long) || is(&it.short_file_name()))
        {
            return Err(Trouble::There(shown(name)));
        }
        self.renew();
        let free = self.system.stats()?;
        let bytes = u64::from(free.free_clusters()).saturating_mul(free.cluster_size().into());
        match bytes < size {
            true => Err(Trouble::Full),
            false => Ok(()),
        }
    }

    /// Writes a new file into the root; it is on the stick, or nothing of it.
    ///
    /// # Errors
    /// It cannot be written, or does not come.
    pub fn put(self, name: &str, source: Source<'_>) -> Result<(), Trouble> {
        let written = self.fill(name, source);
        self.renew();
        if written.is_err() {
            let _ = self.system.root_dir().remove(name);
        }
        // What is left of a table in memory is written too, then all of it is on the stick.
        self.system.unmount()?;
        self.stick.sync_all()?;
        written
    }

    /// A search for free clusters may look at each of them.
    fn renew(&self) {
        let cluster = u64::from(self.system.cluster_size());
        let clusters = self.bytes.checked_div(cluster).unwrap_or(0);
        self.patience.renew(clusters.saturating_mul(2));
    }

    fn fill(&self, name: &str, source: Source<'_>) -> Result<(), Trouble> {
        let mut file = self.system.root_dir().create_file(name)?;
        while let Some(data) = source()? {
            self.renew();
            if let Err(error) = file.write_all(&data) {
                let free = self.system.stats().map_or(1, |it| it.free_clusters());
                return Err(match free {
                    0 => Trouble::Full,
                    _ => error.into(),
                });
            }
        }
        Ok(file.flush()?)
    }
}

type Named<'a> = (String, DirEntry<'a, Region>);

/// All that is in a folder, but for itself and what it is in.
fn entries<'a>(folder: &Dir<'a, Region>) -> Result<Vec<Named<'a>>, Trouble> {
    let mut all = Vec::new();
    for entry in folder.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if all.len() == MOST {
            return Err(Trouble::Damaged("a folder has no end"));
        }
        if name != "." && name != ".." {
            all.push((name, entry));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u09_a_file_has_the_date_of_the_machine_in_utc() {
        for (seconds, date, time) in [
            (0, (1980, 1, 1), (0, 0, 0)),
            (951_827_696, (2000, 2, 29), (12, 34, 56)),
            (1_796_083_199, (2026, 11, 30), (23, 59, 59)),
            (u64::MAX, (2107, 1, 31), (7, 0, 15)),
        ] {
            let is = date_of(seconds);
            assert_eq!((is.date.year, is.date.month, is.date.day), date);
            assert_eq!((is.time.hour, is.time.min, is.time.sec), time);
        }
    }
}
