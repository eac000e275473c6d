//! A whole disk (U07): what is on each, and the Spine that runs installed on one of them.
//!
//! | what is on the disk | what has to be typed | what is left of it |
//! | --- | --- | --- |
//! | nothing | its serial number | |
//! | slots, and `persist` beside them, with room for this Spine | its serial number, then `KEEP` | `persist`, and the table |
//! | anything | its serial number, then `ERASE` | nothing |
//!
//! Never the disk that was booted, one that is in use, or one of two that say the same number. A power cut leaves a disk that no firmware
//! starts or one that starts a whole Spine: of a new disk the partition table is written last; of one whose state is kept each slot in turn,
//! its first bytes last, so that the other one is whole meanwhile.
//!
//! What a new disk has for `/persist` is only made empty: the first boot makes it a vault, with a passphrase that this process never sees.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use anyhow::{Context, Result, anyhow, ensure};
use bay0_persona::confine::{Rights, confine};
use bay0_persona::disks::{self, About, Booted, Content, Disk, about, booted};
use bay0_persona::gpt::{self, Found, Guid, Part};
use bay0_state::{describe, empty, hex, question, sha256, tell};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;

use crate::slot::answer::Answer;
use crate::slot::entry::Place;
use crate::slot::firmware::{Pair, told};
use crate::slot::install::{Images, SLOT_MIB, hash_of, head_of};
use crate::slot::running::Slot;
use crate::slot::table::settle;

nix::ioctl_write_ptr_bad!(
    /// Tells a disk that nobody needs these bytes any more: the first, and how many (`BLKDISCARD`).
    discard,
    0x1277,
    [u64; 2]
);

const MIB: u64 = 1 << 20;
/// Least that is left for `/persist`, in MiB.
const LEAST: u64 = 128;
/// Types of partitions: what firmware starts (UEFI 2.10, 5.3.3), and two of our own, as the factory gives them.
const STARTED: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
const KEPT: &str = "5350494e-4500-4009-a001-747970657273";
const IMAGES: &str = "5350494e-4500-400a-a001-74797065726d";
const UNTOUCHED: &str = "nothing is written; next: type disks";

/// What there is for a person to choose from: each disk, a line each.
///
/// # Errors
/// There is none.
pub fn list() -> Result<Answer> {
    let started = booted().and_then(|_| Booted::find().ok());
    let line = |disk: &Disk| {
        let own = started.as_ref().is_some_and(|it| it.disk() == disk.name);
        let booted = if own { "was booted; " } else { "" };
        let named = named(&disk.name, &about(&disk.name));
        format!("{named}: {booted}{}", shown(found(disk).as_deref()))
    };
    let lines: Vec<_> = disks::all().iter().map(line).collect();
    ensure!(!lines.is_empty(), "there is none; next: attach one");
    Ok(Answer::Done(lines.join("\n")))
}

/// A disk as a person tells it from others.
fn named(name: &str, about: &About) -> String {
    let (mib, bus) = (about.bytes / MIB, about.bus);
    let mut text = format!("{name}, {mib} MiB, {bus}");
    for (what, value) in [("", &about.model), ("serial ", &about.serial)] {
        if !value.is_empty() {
            text += &format!(", {what}{value}");
        }
    }
    text
}

/// What is on a disk, for people; none if there is nothing, so that it may be written to without a second question.
fn found(disk: &Disk) -> Option<String> {
    let part = |it: &Part| format!("{} {} MiB", it.name, it.bytes / MIB);
    match &disk.content {
        Content::Parts(parts) if parts.is_empty() => Some("no partition".to_owned()),
        Content::Parts(parts) => Some(parts.iter().map(part).collect::<Vec<_>>().join(", ")),
        Content::Broken => Some("a damaged partition table".to_owned()),
        Content::Silent => Some("does not answer".to_owned()),
        Content::Whole => describe(&disk.path()),
    }
}

fn shown(on_it: Option<&str>) -> &str {
    on_it.unwrap_or("nothing")
}

/// Installs the Spine that runs, and its images, on the disk of this name, as a person at the console confirms.
///
/// # Errors
/// Why nothing was done, or what the disk is left as.
pub fn install_on(name: &str) -> Result<Answer> {
    let Ready {
        source,
        disk,
        about: it,
        seen,
        on_it,
    } = prepare(name)?;
    let (kept, mut fresh) = (source.kept(&seen), source.fresh(&it));
    if kept.is_none() {
        // Before anybody types anything.
        fresh = Ok(fresh?);
    }
    let (slot, rooms) = source.known()?;
    let (named, shown) = (named(name, &it), shown(on_it.as_deref()));
    let text = format!("install: {named}\ninstall: on it: {shown}\n");
    let (number, word) = match it.serial.as_str() {
        "" => (name, "name"),
        serial => (serial, "serial number"),
    };
    let prompt = format!("type its {word} to install on it, anything else to leave it> ");
    ensure!(
        question(&text, &prompt)? == number,
        "not confirmed; {UNTOUCHED}"
    );
    let keeps = on_it.is_some() && decide(kept.is_some())?;
    let target = Target {
        disk,
        parts: kept.filter(|_| keeps).map_or(fresh, Ok)?,
        sector: it.sector,
        bytes: it.bytes,
    };
    let made = target.write(&slot, rooms.as_ref(), !keeps);
    made.with_context(|| format!("{name} is not installed; next: install it again"))?;
    let gone = if keeps { &[] } else { seen.parts() };
    let slots = |it: &Part| Some((Slot::of(&it.name)?, Place::of(it, target.sector)));
    let gone: Vec<_> = gone.iter().filter_map(slots).map(|it| it.1).collect();
    let entered = Pair::enter(target.parts.iter().filter_map(slots).collect(), &gone);
    let entered = match entered {
        Ok(text) if text.is_empty() => "its boot entries are as they should be".to_owned(),
        Ok(text) => text,
        Err(why) => {
            format!("the firmware takes no boot entry ({why:#}), choose {name} in its menu")
        }
    };
    let rest = match keeps {
        true => "what it kept is as it was",
        false => "its first start asks for FORMAT, then for a passphrase",
    };
    let images = match (&source.rooms, Images::of(&source.head)) {
        (None, Some(_)) => "; the images of rooms stay on another disk",
        _ => "",
    };
    let rest = [rest, images].concat();
    let done = format!(
        "{name} has this Spine in both slots; {rest}; next: poweroff, detach the disk that was booted, start"
    );
    Ok(Answer::Done(format!("{entered}\n{done}")))
}

/// All that is known and open before anything is asked.
struct Ready {
    source: Source,
    disk: File,
    about: About,
    seen: Disk,
    /// What is on it, if anything is.
    on_it: Option<String>,
}

/// Finds what runs and the disk of this name, and opens both, that one for this alone; then gives up the rights that took. Until then
/// this process has read nothing of either disk: children without a right have.
fn prepare(name: &str) -> Result<Ready> {
    let (booted, slot, rooms) = find(name)?;
    let mut options = File::options();
    options.read(true).write(true).custom_flags(libc::O_EXCL);
    let opened = options.open(format!("/dev/{name}"));
    // From here on it is this one, whatever else is called so.
    let disk = opened.with_context(|| format!("open {name} for this alone; {UNTOUCHED}"))?;
    let (about, seen) = (about(name), disks::one(name));
    let seen = seen.filter(|it| it.content != Content::Silent);
    let seen = seen.with_context(|| format!("{name} does not answer; {UNTOUCHED}"))?;
    let twin = twin(&booted, name, &about);
    ensure!(
        twin.is_none(),
        "{name} and {} say the same number, {}; {UNTOUCHED}",
        twin.unwrap_or_default(),
        about.serial
    );
    let on_it = found(&seen);
    confine(Rights::Slots).map_err(|error| anyhow!("confine the child: {error}"))?;
    let source = Source::of(slot, rooms)?;
    Ok(Ready {
        source,
        disk,
        about,
        seen,
        on_it,
    })
}

/// Whether what the disk keeps stays: the second question, where there is anything on it.
fn decide(may_keep: bool) -> Result<bool> {
    let keep = if may_keep {
        "KEEP to replace its Spines and leave what it keeps, "
    } else {
        ""
    };
    let prompt = format!("type {keep}ERASE to lose all of it, anything else to leave it> ");
    match question("", &prompt)?.as_str() {
        "KEEP" if may_keep => Ok(true),
        "ERASE" => Ok(false),
        _ => Err(anyhow!("not confirmed; {UNTOUCHED}")),
    }
}

/// The disk that was booted, the slot that runs and the images beside it with the bytes that these may have, open; the disk of this name is
/// another one.
fn find(name: &str) -> Result<(Booted, File, Option<Rooms>)> {
    let booted = Booted::find().map_err(told)?;
    let slots = Pair::of(&booted).context("what was booted is no slot; next: boot a stick")?;
    ensure!(
        name != booted.disk(),
        "{name} is the disk that was booted; {UNTOUCHED}"
    );
    let there = booted.disks().iter().any(|it| it.name == name);
    ensure!(there, "there is no disk {name}; next: type disks");
    let open = |part: &Part| {
        let path = booted.device(part).map_err(told)?;
        File::open(&path).with_context(|| format!("open {path}"))
    };
    let slot = open(&booted.part)?;
    let rooms = booted.part(&slots.here.rooms()).ok();
    let rooms = rooms.map(|it| Ok::<_, anyhow::Error>((open(&it)?, it.bytes)));
    let rooms = rooms.transpose()?;
    Ok((booted, slot, rooms))
}

/// Another disk that says the same number.
fn twin(booted: &Booted, name: &str, it: &About) -> Option<String> {
    let mut others = booted.disks().iter().map(|disk| &disk.name);
    let same = |other: &&String| *other != name && about(other).serial == it.serial;
    let twin = others.find(same).filter(|_| !it.serial.is_empty());
    twin.cloned()
}

/// The partition of the images, and its bytes.
type Rooms = (File, u64);

/// What is installed: the slot that runs, open, and its images where they are on the same disk.
struct Source {
    slot: File,
    head: Vec<u8>,
    rooms: Option<Rooms>,
}

/// A file that is what its head says, and is known from then on by a sum of each MiB.
struct Known<'a> {
    file: &'a File,
    /// As many random bytes as a MiB has, which nothing outside this process knows.
    key: Vec<u8>,
    sums: Vec<u128>,
}

impl<'a> Known<'a> {
    /// So many MiB, of which the hashes of the first `hashed` have this hash.
    fn of(file: &'a File, mib: u64, hashed: u64, hash: &str) -> Result<Self> {
        let mut key = vec![0; MIB as usize];
        let mut random = File::open("/dev/urandom").context("open the random numbers")?;
        random.read_exact(&mut key).context("read random numbers")?;
        let (mut digests, mut sums) = (Vec::new(), Vec::new());
        let bytes = 0..mib.saturating_mul(MIB);
        each(file, "read what runs", 0, bytes, |_, block| {
            digests.push(sha256(&[block]));
            sums.push(sum(&key, block));
            Ok(())
        })?;
        digests.truncate(hashed as usize);
        ensure!(
            hex(&sha256(&[digests.as_flattened()])) == hash,
            "this slot is not what its head says, or its images are not; {UNTOUCHED}"
        );
        Ok(Self { file, key, sums })
    }
}

/// NH of UMAC (Black and others, 1999, theorem 4.2) with words of 64 bits, which costs less than a hash: whatever differs has the same sum
/// under one key in 2^64 at most, so neither disk, which knows none, can choose it.
fn sum(key: &[u8], block: &[u8]) -> u128 {
    let pairs = |it| <[u8]>::as_chunks(it).0.as_chunks().0;
    let add = |key: &_, word: &_| u64::from_le_bytes(*key).wrapping_add(u64::from_le_bytes(*word));
    let both = pairs(key).iter().zip(pairs(block));
    both.fold(0, |sum, ([one, two], [first, second])| {
        let (first, second) = (add(one, first), add(two, second));
        u128::wrapping_mul(first.into(), second.into()).wrapping_add(sum)
    })
}

/// Each MiB of these bytes, which are counted from byte `at` on. In memory it begins where a page does, as a disk wants it (`O_DIRECT`).
fn each(
    file: &File,
    what: &'static str,
    at: u64,
    bytes: Range<u64>,
    mut take: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut room = vec![0; (2 * MIB) as usize];
    let begin = room.as_ptr().align_offset(MIB as usize);
    let (block, _) = room.split_at_mut(begin).1.split_at_mut(MIB as usize);
    for place in bytes.step_by(MIB as usize) {
        let from = at.saturating_add(place);
        file.read_exact_at(block, from).context(what)?;
        take(place, block)?;
    }
    Ok(())
}

impl Source {
    /// Reads what the slot's head says.
    fn of(slot: File, rooms: Option<Rooms>) -> Result<Self> {
        let head = head_of(&slot)?.to_vec();
        let rooms = rooms.filter(|_| Images::of(&head).is_some());
        Ok(Self { slot, head, rooms })
    }

    /// The slot and its images, before anything is written. Behind what is hashed of a slot is its head.
    fn known(&self) -> Result<(Known<'_>, Option<Known<'_>>)> {
        let slot = Known::of(&self.slot, SLOT_MIB, SLOT_MIB - 1, hash_of(&self.head))?;
        let rooms = self.rooms.as_ref().zip(Images::of(&self.head));
        let rooms = rooms.map(|((file, _), it)| Known::of(file, it.mib(), it.mib(), it.hash));
        Ok((slot, rooms.transpose()?))
    }

    /// The partitions of a new disk: slots, images, and the rest for `/persist`.
    fn fresh(&self, disk: &About) -> Result<Vec<Part>> {
        let rooms = self.rooms.as_ref().map_or(0, |it| it.1);
        let mut guids = random()?.into_iter();
        let parts = lay_out(disk.bytes, rooms, || guids.next().unwrap_or_default());
        parts.with_context(|| {
            let least = SLOT_MIB.saturating_mul(2).saturating_add(LEAST + 2);
            let least = least.saturating_add(rooms.saturating_mul(2) / MIB);
            format!(
                "it has {} MiB, and {least} are needed; {UNTOUCHED}",
                disk.bytes / MIB
            )
        })
    }

    /// The partitions of a disk that has been installed before, if this Spine fits.
    fn kept(&self, disk: &Disk) -> Option<Vec<Part>> {
        let one = |name: &str| {
            let mut found = disk.parts().iter().filter(|it| it.name == name);
            found.next().filter(|_| found.next().is_none()).cloned()
        };
        let rooms = Images::of(&self.head).filter(|_| self.rooms.is_some());
        let rooms = rooms.map_or(0, |it| it.bytes);
        let names = ["slot-a", "slot-b", "persist", "rooms-a", "rooms-b"];
        let least = [SLOT_MIB * MIB, SLOT_MIB * MIB, 0, rooms, rooms];
        let all = names.into_iter().zip(least);
        let wanted = all.filter(|(name, least)| *least > 0 || *name == "persist");
        let found = wanted.map(|(name, least)| one(name).filter(|it| it.bytes >= least));
        found
            .collect::<Option<Vec<_>>>()
            .filter(|_| disk.damage.is_none())
    }
}

/// Where the partitions of a disk of so many bytes are, from the first MiB on; none if it is too small.
fn lay_out(bytes: u64, rooms: u64, mut guid: impl FnMut() -> Guid) -> Option<Vec<Part>> {
    let slot = SLOT_MIB.checked_mul(MIB)?;
    let taken = slot.checked_add(rooms)?.checked_mul(2)?;
    // A MiB at either end is for the tables.
    let rest = (bytes / MIB)
        .checked_mul(MIB)?
        .checked_sub(taken.checked_add(2 * MIB)?)?;
    let all = [
        (1, "slot-a", slot),
        (2, "slot-b", slot),
        (4, "rooms-a", rooms),
        (5, "rooms-b", rooms),
        (3, "persist", rest),
    ];
    let mut start = MIB;
    let mut parts = Vec::new();
    for (number, name, bytes) in all.into_iter().filter(|it| it.2 > 0) {
        let (name, guid) = (name.to_owned(), guid());
        parts.push(Part {
            number,
            guid,
            start,
            bytes,
            name,
        });
        start = start.checked_add(bytes)?;
    }
    (rest >= LEAST * MIB).then_some(parts)
}

/// GUIDs that nobody has yet (RFC 9562, version 4): one for each partition, and the disk's.
fn random() -> Result<[Guid; 6]> {
    let mut guids = [[0; 16]; 6];
    let mut source = File::open("/dev/urandom").context("open the random numbers")?;
    for guid in &mut guids {
        source.read_exact(guid).context("read random numbers")?;
        // The third group is a number, lowest byte first.
        guid[7] = guid[7] & 0x0f | 0x40;
        guid[8] = guid[8] & 0x3f | 0x80;
    }
    Ok(guids)
}

/// The disk that is written.
struct Target {
    disk: File,
    parts: Vec<Part>,
    sector: u64,
    bytes: u64,
}

/// How far the work is.
struct Progress {
    done: u64,
    all: u64,
    shown: u64,
}

impl Progress {
    /// So many bytes more are written.
    fn more(&mut self, bytes: u64) {
        self.done = self.done.saturating_add(bytes);
        let percent = self
            .done
            .saturating_mul(100)
            .checked_div(self.all)
            .unwrap_or(100);
        if percent >= self.shown.saturating_add(10) {
            self.shown = percent;
            tell(&format!("install: {percent} %\n"));
        }
    }
}

impl Target {
    /// Writes all of it; `anew`: the table, and an empty `/persist`, as well.
    fn write(&self, whole: &Known<'_>, rooms: Option<&Known<'_>>, anew: bool) -> Result<()> {
        let images = rooms.map_or(0, |it| it.sums.len() as u64);
        let mut progress = Progress {
            done: 0,
            all: images.saturating_add(SLOT_MIB).saturating_mul(2 * MIB),
            shown: 0,
        };
        if anew {
            self.clear().context("clear it")?;
        }
        for slot in [Slot::B, Slot::A] {
            let name = slot.partition();
            self.disk
                .write_all_at(&[0; MIB as usize], self.start(&name)?)?;
            self.disk.sync_all()?;
            if let Some(rooms) = rooms {
                self.copy(
                    rooms,
                    &slot.rooms(),
                    0..images.saturating_mul(MIB),
                    &mut progress,
                )?;
            }
            // Its first bytes once all others are right.
            for bytes in [MIB..SLOT_MIB * MIB, 0..MIB] {
                self.copy(whole, &name, bytes, &mut progress)?;
            }
        }
        if anew {
            self.name().context("write its partition table")?;
        }
        Ok(())
    }

    fn start(&self, name: &str) -> Result<u64> {
        let mut parts = self.parts.iter();
        let part = parts.find(|it| it.name == name);
        Ok(part.context("a partition is missing")?.start)
    }

    /// Takes away what it was: no table, at either end, and nothing that `/persist` could be taken for.
    fn clear(&self) -> Result<()> {
        let zeros = vec![0; MIB as usize];
        let end = self.bytes.saturating_sub(MIB);
        self.disk.write_all_at(&zeros, end)?;
        self.disk.write_all_at(&zeros, 0)?;
        self.disk.sync_all()?;
        let mut parts = self.parts.iter();
        let persist = parts
            .find(|it| it.name == "persist")
            .context("no persist")?;
        let range = [persist.start, persist.bytes];
        // SAFETY: the kernel reads two numbers, and the descriptor is open. A disk that cannot do it keeps the bytes, which is said in the docs.
        let _ = unsafe { discard(self.disk.as_raw_fd(), &raw const range) };
        Ok(empty(&self.disk, persist.start)?)
    }

    /// Copies these bytes to the partition of this name, and compares what the disk then has. Both pass by the page cache, which costs less;
    /// a file system that has no such way is no disk's.
    fn copy(
        &self,
        known: &Known<'_>,
        name: &str,
        bytes: Range<u64>,
        progress: &mut Progress,
    ) -> Result<()> {
        let at = self.start(name)?;
        let _ = fcntl(&self.disk, FcntlArg::F_SETFL(OFlag::O_DIRECT));
        let read = bytes.clone();
        each(known.file, "read what runs", 0, read, |place, block| {
            let to = at.saturating_add(place);
            self.disk.write_all_at(block, to).context("write it")?;
            progress.more(MIB);
            Ok(())
        })?;
        settle(&self.disk).context("write it")?;
        each(&self.disk, "read it back", at, bytes, |place, block| {
            let mib = place / MIB;
            let same = known.sums.get(mib as usize) == Some(&sum(&known.key, block));
            ensure!(same, "MiB {mib} of {name} reads back differently");
            Ok(())
        })?;
        let _ = fcntl(&self.disk, FcntlArg::F_SETFL(OFlag::empty()));
        Ok(())
    }

    /// Writes both copies of the table, that at the end first and the very first sector last; then it is what was meant.
    fn name(&self) -> Result<()> {
        let sectors = self.bytes.checked_div(self.sector).unwrap_or(0);
        let kind = |it: &Part| match it.name.as_str() {
            "slot-a" | "slot-b" => STARTED,
            "persist" => KEPT,
            _ => IMAGES,
        };
        let of = |it| Some((gpt::guid(kind(it))?, it));
        let parts: Option<Vec<_>> = self.parts.iter().map(of).collect();
        let own = random()?[0];
        let made = parts.and_then(|it| gpt::make(own, &it, self.sector, sectors));
        let [front, back] = made.context("it has no room for one")?;
        let end = self.bytes.saturating_sub(back.len() as u64);
        let (first, rest) = front
            .split_at_checked(self.sector as usize)
            .context("short")?;
        for (bytes, at) in [(back.as_slice(), end), (rest, self.sector), (first, 0)] {
            self.disk.write_all_at(bytes, at)?;
            settle(&self.disk)?;
        }
        let mut wanted = self.parts.clone();
        wanted.sort_by_key(|it| it.number);
        let read = gpt::read(&self.disk, self.sector)?;
        let same = read == Found::Table(wanted, None);
        same.then_some(())
            .ok_or(io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
