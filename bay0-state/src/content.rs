//! What is on a disk, by its content: whether it is empty is decided here, and only an empty one may be made a vault (C07).
//!
//! Empty is: nothing but zeros in the first [`FRONT`] and the last [`END`] bytes, and in the first [`SAMPLE`] bytes at each of at most
//! [`SAMPLES`] places in between, all of them whole MiB, which is where tools of the last fifteen years begin partitions. Whatever file system
//! begins at such a place shows itself in these bytes. So is what the first sector says was emptied ([`EMPTIED`]). A disk of up to 1 GiB is looked at at every MiB; of a larger one a
//! file that lies between two places, on a disk that has neither a table nor a file system, is not seen.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

nix::ioctl_read_bad!(
    sector_size,
    nix::libc::BLKSSZGET as nix::libc::c_ulong,
    nix::libc::c_int
);

const MIB: u64 = 1 << 20;
/// What is looked at whole at the front of a disk, in bytes, and at its end.
const FRONT: usize = 1 << 20;
const END: usize = 1 << 20;
/// The same in a search.
const SEARCHED: usize = 8 << 20;
/// What is looked at of each place between, in bytes, and how many there are at most.
const SAMPLE: usize = 72 << 10;
const SAMPLES: u64 = 1024;
/// What a place is looked through by: everything begins at a sector.
const SECTOR: usize = 512;

/// Where what stands: what is known by what it has at which byte. The longer ones first, a boot sector last.
const MARKS: [(&str, usize, &[u8]); 15] = [
    ("LUKS", 0, b"LUKS\xba\xbe"),
    ("btrfs", 0x1_0040, b"_BHRfS_M"),
    ("ISO 9660", 0x8001, b"CD001"),
    ("swap", 4086, b"SWAPSPACE2"),
    ("LVM", 24, b"LVM2 001"),
    ("bcachefs", 4120, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca"),
    ("F2FS", 1024, b"\x10\x20\xf5\xf2"),
    ("MD RAID", 4096, b"\xfc\x4e\x2b\xa9"),
    ("XFS", 0, b"XFSB"),
    ("SquashFS", 0, b"hsqs"),
    ("NTFS", 3, b"NTFS    "),
    ("exFAT", 3, b"EXFAT   "),
    ("a GUID partition table", 0, b"EFI PART"),
    ("FAT", 54, b"FAT1"),
    ("FAT", 82, b"FAT32"),
];
/// Of ext4, whose two bytes are in any noise; behind them are two numbers below 256 and a zero of two bytes.
const EXT4: (usize, &[u8]) = (0x438, b"\x53\xef");
/// Of a boot sector, or an old partition table.
const BOOT: (usize, &[u8]) = (510, b"\x55\xaa");

/// What the first sector of a partition has that was emptied to become a vault, before zeros: whatever is behind it was given up.
pub(crate) const EMPTIED: &[u8] = b"bay0: emptied, to become a vault\n";

/// What is on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// LUKS, from its first byte.
    Luks,
    /// ext4, of all of it.
    Ext4,
    /// Nothing.
    Blank,
    /// Something else.
    Other(What),
}

/// What else, and at which byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// What has a name.
    Known(String, u64),
    /// Bytes that are not zero.
    Data(u64),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Known(name, at) => write!(f, "{name} at byte {at}"),
            What::Data(at) => write!(f, "data at byte {at}"),
        }
    }
}

impl Kind {
    /// The text of what a child has found, for its parent.
    pub(crate) fn encode(looked: io::Result<Kind>) -> String {
        match looked {
            Err(error) => format!("error\t{error}"),
            Ok(Kind::Luks) => "luks".to_owned(),
            Ok(Kind::Ext4) => "ext4".to_owned(),
            Ok(Kind::Blank) => "blank".to_owned(),
            Ok(Kind::Other(What::Data(at))) => format!("data\t{at}"),
            Ok(Kind::Other(What::Known(name, at))) => format!("known\t{at}\t{name}"),
        }
    }

    /// What a child has found, from its text.
    ///
    /// # Errors
    /// Why it could not look.
    pub(crate) fn decode(text: &str) -> Result<Kind, String> {
        let kind = match *text.split('\t').collect::<Vec<_>>() {
            ["luks"] => Some(Kind::Luks),
            ["ext4"] => Some(Kind::Ext4),
            ["blank"] => Some(Kind::Blank),
            ["error", why] => return Err(why.to_owned()),
            ["data", at] => at.parse().ok().map(|at| Kind::Other(What::Data(at))),
            ["known", at, name] => {
                let what = |at| Kind::Other(What::Known(name.to_owned(), at));
                at.parse().ok().map(what)
            }
            _ => None,
        };
        kind.ok_or("no answer".to_owned())
    }
}

/// Looks at both ends of a disk; at the places between as well, if it is to be searched.
pub(crate) fn look(device: &str, search: bool) -> io::Result<Kind> {
    let mut disk = File::open(device)?;
    let end = disk.seek(SeekFrom::End(0))?;
    let mut first = [0; SECTOR];
    let emptied = disk.read_exact_at(&mut first, 0).is_ok()
        && first
            .strip_prefix(EMPTIED)
            .is_some_and(|rest| rest.iter().all(|it| *it == 0));
    if emptied {
        return Ok(Kind::Blank);
    }
    let mut piece = |at: u64, bytes: usize| -> io::Result<Option<What>> {
        let mut piece = Vec::with_capacity(bytes);
        disk.seek(SeekFrom::Start(at))?;
        (&disk).take(bytes as u64).read_to_end(&mut piece)?;
        Ok(what(&piece, at))
    };
    let front = piece(0, if search { SEARCHED } else { FRONT })?;
    match front {
        Some(What::Known(name, 0)) if name == "LUKS" => return Ok(Kind::Luks),
        Some(What::Known(name, 0)) if name == "ext4" => return ext4(&disk),
        Some(other) => return Ok(Kind::Other(other)),
        None if end < END as u64 => return Err(io::ErrorKind::UnexpectedEof.into()),
        None => {}
    }
    let stride = (end / SAMPLES).next_multiple_of(MIB).max(MIB);
    let stride = usize::try_from(stride).unwrap_or(usize::MAX);
    let between = (0..end)
        .step_by(stride)
        .filter(|_| search)
        .map(|at| (at, SAMPLE));
    for (at, bytes) in between.chain([(end.saturating_sub(END as u64), END)]) {
        if let Some(other) = piece(at, bytes)? {
            return Ok(Kind::Other(other));
        }
    }
    Ok(Kind::Blank)
}

/// An ext4 whose blocks are smaller than the disk's sectors is one that no kernel mounts.
fn ext4(mut disk: &File) -> io::Result<Kind> {
    let (mut shift, mut sector) = ([0; 4], 0);
    disk.seek(SeekFrom::Start(1024 + 0x18))?;
    disk.read_exact(&mut shift)?;
    let block = 1024u32.checked_shl(u32::from_le_bytes(shift)).unwrap_or(0);
    // SAFETY: the kernel writes one number, and the descriptor is open. A file has no sectors.
    let _ = unsafe { sector_size(disk.as_raw_fd(), &raw mut sector) };
    if i64::from(block) >= i64::from(sector) {
        return Ok(Kind::Ext4);
    }
    let name =
        format!("ext4 with blocks of {block} bytes, which sectors of {sector} bytes do not take,");
    Ok(Kind::Other(What::Known(name, 0)))
}

/// What these bytes, which begin at byte `base` of the disk, have in them; nothing if they are zeros.
fn what(bytes: &[u8], base: u64) -> Option<What> {
    let place = |at: usize| base.saturating_add(at as u64);
    let first = bytes.iter().position(|byte| *byte != 0)?;
    let stands = |at: usize, mark: &[u8]| bytes.get(at..).is_some_and(|it| it.starts_with(mark));
    // A name may lie before the first byte that is not zero, as that of ext4 does.
    let known = |at: usize| {
        let mut marks = MARKS.iter();
        let known = marks.find(|(_, offset, mark)| stands(at.saturating_add(*offset), mark));
        let name = known
            .map(|(name, ..)| *name)
            .or(is_ext4(bytes.get(at..)?).then_some("ext4"));
        name.map(|name| What::Known(name.to_owned(), place(at)))
    };
    let known = (0..bytes.len()).step_by(SECTOR).find_map(known);
    let boots = stands(BOOT.0, BOOT.1).then(|| What::Known("a boot sector".to_owned(), base));
    known.or(boots).or(Some(What::Data(place(first))))
}

fn is_ext4(bytes: &[u8]) -> bool {
    let rest = bytes.get(EXT4.0..).and_then(|it| it.strip_prefix(EXT4.1));
    matches!(rest, Some([_, 0, _, 0, 0, 0, ..]))
}

/// Bytes of a superblock of ext4, which begins as many behind the disk's first.
const SUPERBLOCK: usize = 1024;

/// The superblock of a disk, as it is.
pub(crate) fn superblock(device: &str) -> Option<[u8; SUPERBLOCK]> {
    let mut block = [0; SUPERBLOCK];
    let disk = File::open(device).ok()?;
    disk.read_exact_at(&mut block, SUPERBLOCK as u64).ok()?;
    Some(block)
}

/// What ext4 has noted of its own errors, if there is any, for a message (`Documentation/filesystems/ext4`).
pub(crate) fn errors(block: &[u8; SUPERBLOCK]) -> Option<String> {
    let word = |at: usize| {
        block
            .get(at..)?
            .first_chunk()
            .map(|it| u32::from_le_bytes(*it))
    };
    // s_state's second bit; s_error_count, s_first_error_time, s_first_error_func.
    let (state, count, time) = (word(0x3a)? & 2, word(0x194)?, word(0x198)?);
    let function = block.get(0x1a8..0x1c8)?.split(|byte| *byte == 0).next()?;
    let function = function.escape_ascii();
    (state | count != 0).then(|| {
        format!("{count} errors of ext4, the first at Unix second {time} in {function}(); next: copy the disk, then run e2fsck on another machine")
    })
}

#[cfg(test)]
mod tests;
