//! What a power cut may leave of a disk.
//!
//! Killing QEMU alone loses nothing: the host keeps every write the guest made. Here every write also goes, in order, to
//! a log (QEMU's `blklogwrites` driver, the format of the kernel's dm-log-writes), and after the kill [`rebuild`] makes the
//! disk again from what it was at boot. The instant of the cut is a place in that log, chosen at random: what was written
//! after it never happened. Of what was written before it there is every write up to the last completed flush, and of the
//! later ones, which a real disk may still have held in its cache, a random choice, sector by sector. So a keeper that
//! acknowledges before its flush has returned is found out. The kill's own instant would not do: a flush follows each write
//! so closely that hardly any kill hits between the two.

use std::fs::{File, OpenOptions};
use std::ops::AddAssign;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::rng::Rng;

/// Bytes that a disk writes whole or not at all.
pub const SECTOR: u64 = 512;
/// `blklogwrites`: "rhswfsj", as the kernel's dm-log-writes has it.
const MAGIC: u64 = 0x6a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
/// Second half of ext4's superblock, in bytes from the start of the disk.
const SUPERBLOCK_HALF: u64 = 1536;
/// How the journal's superblock begins: magic number and block type, big-endian.
const JOURNAL_HEAD: [u8; 8] = [0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 4];

/// QEMU arguments for a virtio disk whose writes go to `image` and, in order, to `log`.
///
/// The host's own flushes are left out (`no-flush`: the host does not lose power); the guest's are logged. Write-zeroes
/// and discard stay off: QEMU 7.2 misplaces log entries that follow a write-zeroes.
pub fn drive_args(image: &Path, log: &Path) -> Vec<String> {
    let file = |name: &str, path: &Path| {
        let path = path.display().to_string().replace(',', ",,");
        format!("driver=file,node-name={name},filename={path},cache.no-flush=on")
    };
    let top =
        format!("driver=blklogwrites,node-name=cut,file=data,log=log,log-sector-size={SECTOR}");
    let device = "virtio-blk-pci,drive=cut,write-zeroes=off,discard=off".to_owned();
    let option = |name: &str, value: String| [name.to_owned(), value];
    [
        option("-blockdev", file("data", image)),
        option("-blockdev", file("log", log)),
        option("-blockdev", top),
        option("-device", device),
    ]
    .concat()
}

/// What [`rebuild`] did, for the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Writes up to the last completed flush: all kept.
    pub flushed: usize,
    /// Writes after it.
    pub in_doubt: usize,
    /// Sectors of those that were lost.
    pub sectors_lost: u64,
    /// Where in the write log the cut was, in bytes.
    pub at: u64,
}

impl AddAssign for Loss {
    fn add_assign(&mut self, more: Loss) {
        self.flushed += more.flushed;
        self.in_doubt += more.in_doubt;
        self.sectors_lost += more.sectors_lost;
        self.at = more.at;
    }
}

struct Entry {
    /// Where it belongs on the disk, in bytes.
    at: u64,
    length: u64,
    flags: u64,
    /// Where its data stands in the log, in bytes.
    data: u64,
}

impl Entry {
    /// Where the next entry begins in the log.
    fn end(&self) -> u64 {
        self.data + self.length
    }
}

/// Turns `image`, the disk as it was when the machine started, into what a cut left of it, somewhere in `log` behind its
/// first `from` bytes.
pub fn rebuild(image: &Path, log: &Path, from: u64, rng: &mut Rng) -> Result<Loss> {
    let log = File::open(log).with_context(|| format!("open write log {}", log.display()))?;
    let disk = OpenOptions::new()
        .write(true)
        .open(image)
        .with_context(|| format!("open {}", image.display()))?;
    let mut entries = read_entries(&log)?;
    let before = entries.partition_point(|e| e.end() <= from);
    let after = (entries.len() - before) as u64;
    entries.truncate(before + rng.below(after + 1) as usize);
    let flushed = entries
        .iter()
        .rposition(|e| e.flags & FLUSH != 0)
        .map_or(0, |at| at + 1);
    let mut loss = Loss {
        flushed,
        in_doubt: entries.len() - flushed,
        sectors_lost: 0,
        at: entries.last().map_or(0, Entry::end),
    };
    for (index, entry) in entries.iter().enumerate() {
        if entry.flags & DISCARD != 0 {
            continue;
        }
        let mut data = vec![0; entry.length as usize];
        log.read_exact_at(&mut data, entry.data)
            .context("read a logged write")?;
        let keep_all = index < flushed || entry.flags & FUA != 0;
        // A third of the writes lost whole, a third kept whole, a third torn.
        let fate = if keep_all {
            Fate::Kept
        } else {
            rng.pick(&[Fate::Kept, Fate::Lost, Fate::Torn])
        };
        loss.sectors_lost += apply(&disk, entry.at, &data, fate, rng)?;
    }
    Ok(loss)
}

#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Kept,
    Lost,
    Torn,
}

/// Writes what `fate` leaves of one write; returns how many sectors were lost.
fn apply(disk: &File, at: u64, data: &[u8], fate: Fate, rng: &mut Rng) -> Result<u64> {
    let mut lost = 0;
    let mut before: (&[u8], bool) = (&[], false);
    for (nth, sector) in data.chunks(SECTOR as usize).enumerate() {
        let here = at + nth as u64 * SECTOR;
        // The superblocks of ext4 and of its journal are each 1 KiB with one checksum and no second copy the kernel would
        // take: with one torn ext4 cannot be mounted at all, and disks of today write 4 KiB whole.
        let second_half =
            nth > 0 && (here == SUPERBLOCK_HALF || before.0.starts_with(&JOURNAL_HEAD));
        let keep = match fate {
            Fate::Kept => true,
            Fate::Lost => false,
            Fate::Torn if second_half => before.1,
            Fate::Torn => rng.below(2) == 0,
        };
        before = (sector, keep);
        if keep {
            disk.write_all_at(sector, here)
                .context("write the rebuilt disk")?;
        } else {
            lost += 1;
        }
    }
    Ok(lost)
}

/// Entries in order. They end where the file does, or inside an entry whose writing the kill interrupted, a write the guest
/// was never told of; or at a hole, where the kill hit while QEMU was writing one entry and had already written a later one.
fn read_entries(log: &File) -> Result<Vec<Entry>> {
    let size = log.metadata().context("size of the write log")?.len();
    let mut entries = Vec::new();
    if size < SECTOR {
        return Ok(entries);
    }
    let head = words(log, 0)?;
    // The superblock is written at the first flush; before that the sector is zeros.
    ensure!(
        head[0] == MAGIC || head[0] == 0,
        "write log does not begin with its magic number"
    );
    let mut at = SECTOR;
    while at + SECTOR <= size {
        let [sector, sectors, flags, _] = words(log, at)?;
        if sector == 0 && sectors == 0 && flags == 0 {
            break;
        }
        let length = if flags & DISCARD != 0 {
            0
        } else {
            sectors * SECTOR
        };
        let data = at + SECTOR;
        if data + length > size {
            break;
        }
        entries.push(Entry {
            at: sector * SECTOR,
            length,
            flags,
            data,
        });
        at = data + length;
    }
    Ok(entries)
}

/// The four little-endian words that begin the superblock and every entry.
fn words(log: &File, at: u64) -> Result<[u64; 4]> {
    let mut bytes = [0; 32];
    log.read_exact_at(&mut bytes, at)
        .context("read write log")?;
    let mut words = [0; 4];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(chunk.try_into()?);
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    struct Rig {
        dir: tempfile::TempDir,
        log: Vec<u8>,
    }

    impl Rig {
        fn new() -> Rig {
            let mut log = vec![0; SECTOR as usize];
            log[..8].copy_from_slice(&MAGIC.to_le_bytes());
            Rig {
                dir: tempfile::tempdir().unwrap(),
                log,
            }
        }

        fn entry(&mut self, sector: u64, sectors: u64, flags: u64, fill: u8) {
            let mut head = [sector, sectors, flags, 0].map(u64::to_le_bytes).concat();
            head.resize(SECTOR as usize, 0);
            self.log.extend(head);
            self.log.extend(vec![fill; (sectors * SECTOR) as usize]);
        }

        /// First byte of each of the first eight sectors after the cut.
        fn cut(&self, seed: u64) -> ([u8; 8], Loss) {
            self.cut_after(u64::MAX, seed)
        }

        fn cut_after(&self, from: u64, seed: u64) -> ([u8; 8], Loss) {
            let (image, log) = (self.dir.path().join("disk"), self.dir.path().join("log"));
            std::fs::write(&image, vec![0; 8 * SECTOR as usize]).unwrap();
            std::fs::write(&log, &self.log).unwrap();
            let loss = rebuild(&image, &log, from, &mut Rng::new(seed, 0)).unwrap();
            let disk = std::fs::read(&image).unwrap();
            (std::array::from_fn(|n| disk[n * SECTOR as usize]), loss)
        }
    }

    #[test]
    fn s04_what_was_flushed_is_always_there() {
        let mut rig = Rig::new();
        rig.entry(4, 4, 0, 1);
        rig.entry(0, 0, FLUSH, 0);
        for seed in 0..50 {
            let (disk, loss) = rig.cut(seed);
            assert_eq!(disk, [0, 0, 0, 0, 1, 1, 1, 1]);
            assert_eq!((loss.flushed, loss.in_doubt, loss.sectors_lost), (2, 0, 0));
        }
    }

    #[test]
    fn s04_the_cut_is_anywhere_behind_what_must_be_there() {
        let mut rig = Rig::new();
        for fill in 1..=3 {
            rig.entry(4, 1, FUA, fill);
        }
        let first = 3 * SECTOR;
        let cuts = (0..100).map(|seed| rig.cut_after(first, seed));
        let seen: BTreeSet<_> = cuts
            .map(|(disk, loss)| (disk[4], loss.at / SECTOR))
            .collect();
        assert_eq!(seen, [(1, 3), (2, 5), (3, 7)].into());
    }

    #[test]
    fn s04_what_was_not_flushed_may_be_there_lost_or_torn() {
        let mut rig = Rig::new();
        rig.entry(4, 4, 0, 1);
        rig.entry(0, 0, FLUSH, 0);
        rig.entry(4, 4, 0, 2);
        let seen: BTreeSet<_> = (0..200).map(|seed| rig.cut(seed).0).collect();
        assert!(
            seen.iter()
                .all(|d| d[..4] == [0; 4] && d[4..].iter().all(|b| [1, 2].contains(b)))
        );
        for must in [[1, 1, 1, 1], [2, 2, 2, 2], [1, 2, 1, 2], [2, 1, 1, 1]] {
            assert!(
                seen.iter().any(|d| d[4..] == must),
                "{must:?} never happened"
            );
        }
    }

    #[test]
    fn s04_the_two_halves_of_the_superblock_share_their_fate() {
        let mut rig = Rig::new();
        rig.entry(0, 8, 0, 9);
        assert!((0..100).all(|seed| matches!(rig.cut(seed).0, [_, _, a, b, ..] if a == b)));
    }

    #[test]
    fn s04_the_two_halves_of_the_journals_superblock_share_their_fate() {
        let mut rig = Rig::new();
        rig.entry(4, 2, 0, 0xc0);
        let at = 2 * SECTOR as usize;
        rig.log[at..at + 8].copy_from_slice(&JOURNAL_HEAD);
        let seen: BTreeSet<_> = (0..100).map(|seed| rig.cut(seed).0).collect();
        assert_eq!(seen, [[0; 8], [0, 0, 0, 0, 0xc0, 0xc0, 0, 0]].into());
    }

    #[test]
    fn s04_an_entry_the_kill_cut_off_and_what_is_behind_a_hole_never_happened() {
        let mut rig = Rig::new();
        rig.entry(4, 1, FUA, 1);
        rig.entry(5, 2, FUA, 1);
        rig.log.truncate(rig.log.len() - 1);
        assert_eq!(rig.cut(1).0, [0, 0, 0, 0, 1, 0, 0, 0]);
        rig.log.truncate(3 * SECTOR as usize);
        rig.log.extend([0; SECTOR as usize]);
        rig.entry(5, 1, FUA, 1);
        assert_eq!(rig.cut(1).0, [0, 0, 0, 0, 1, 0, 0, 0]);
    }
}
