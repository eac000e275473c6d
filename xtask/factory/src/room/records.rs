//! The entries of a tar stream, by the bytes of its records (POSIX.1-2024, pax; GNU tar's own manual for its extensions).
//!
//! The tar crate looks for the ends of lines in pax records whose values may hold any byte, joins and tidies names, and knows no
//! stream that ends without a trailer; so fields and extensions are read here. What an extension may cost is bounded. A global
//! header says nothing of an entry here, as in the readers of the engines that write layers.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::num::IntErrorKind;

use anyhow::{Context, Result, bail, ensure};

use crate::stamp::fill;

/// Bytes of a record.
const BLOCK: u64 = 512;
/// Bytes of one extension: names, owners and attributes of one entry.
const MAX_EXTENSION: u64 = 1 << 20;
/// Where a header of GNU's sparse kind has its map, and how many pieces that holds; how many a block behind it does; bytes of each, an
/// offset and a length.
const MAP_AT: usize = 386;
const MAP_PIECES: usize = 4;
const BLOCK_PIECES: usize = 21;
const PIECE: usize = 24;
/// Where that header has the size of the whole file.
const WHOLE: std::ops::Range<usize> = 483..495;
const BROKEN_MAP: &str = "a file with holes whose map does not fit it: a damaged archive";

/// One entry, with what extensions say of it.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// Its name as it is written.
    pub path: Vec<u8>,
    /// Where a link leads, as it is written.
    pub link: Vec<u8>,
    /// The kind's letter: `0` a file, `1` a hard link, `2` a link, `3` and `4` devices, `5` a folder, `6` a pipe.
    pub kind: u8,
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Seconds since 1970, or before it.
    pub mtime: i64,
    /// Bytes of its data, those of holes included.
    pub bytes: u64,
    /// It has extended attributes.
    pub attributes: bool,
    /// It is a file with holes, of which the archive has nothing: they are read as zeros.
    pub holes: bool,
}

/// Offset and bytes of a part of a file that is no hole.
type Piece = (u64, u64);

/// A stream that can pass over bytes.
pub trait Skip: Read + Sized {
    /// Passes over as many bytes as there are, at most `bytes`; how many.
    fn skip(&mut self, bytes: u64) -> io::Result<u64> {
        io::copy(&mut self.by_ref().take(bytes), &mut io::sink())
    }
}

impl Skip for &File {
    fn skip(&mut self, bytes: u64) -> io::Result<u64> {
        let left = self
            .metadata()?
            .len()
            .saturating_sub(self.stream_position()?);
        let bytes = bytes.min(left);
        self.seek(SeekFrom::Current(i64::try_from(bytes).unwrap_or(i64::MAX)))?;
        Ok(bytes)
    }
}

/// A stream that is only read.
pub struct Streamed<R>(pub R);

impl<R: Read> Read for Streamed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read> Skip for Streamed<R> {}

/// What extensions say of the next entry.
#[derive(Default)]
struct Said {
    pax: Vec<(Vec<u8>, Vec<u8>)>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

/// The entries of a stream, one after the other.
pub struct Records<R> {
    from: R,
    /// Bytes read or passed over so far.
    at: u64,
    /// Data of the current entry that nobody has read.
    left: u64,
    padding: u64,
    /// The holes of the current entry.
    holes: Option<Holes>,
}

/// The pieces of a file with holes, where they do not stand before its data, and its size.
type Map = (Option<VecDeque<Piece>>, u64);

/// A file with holes that is being read: how far it is, its size, and what is still to come.
#[derive(Debug)]
struct Holes {
    at: u64,
    size: u64,
    pieces: VecDeque<Piece>,
}

impl<R: Skip> Records<R> {
    /// Begins at the start of `from`.
    pub fn new(from: R) -> Self {
        let (at, left, padding) = (0, 0, 0);
        Self {
            from,
            at,
            left,
            padding,
            holes: None,
        }
    }

    /// Where the data of the current entry begins, in bytes from the start.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The next entry; none at the trailer, or where the stream ends.
    ///
    /// # Errors
    /// What is wrong with the stream; nothing behind it can be read.
    pub fn next(&mut self) -> Result<Option<Entry>> {
        let mut said = Said::default();
        loop {
            let Some(header) = self.header()? else {
                let alone = said.path.is_some() || said.link.is_some() || !said.pax.is_empty();
                ensure!(!alone, "ends behind an extension");
                return Ok(None);
            };
            let entry = parse(&header)?;
            match entry.kind {
                b'g' => drop(self.extension(&entry)?),
                b'x' | b'X' => said.pax = pax(&self.extension(&entry)?)?,
                b'L' => said.path = Some(upto_zero(&self.extension(&entry)?).to_vec()),
                b'K' => said.link = Some(upto_zero(&self.extension(&entry)?).to_vec()),
                _ => {
                    let mut map = said.map()?;
                    if entry.kind == b'S' {
                        map = Some(self.old_map(&header)?);
                    }
                    let mut entry = said.of(entry)?;
                    self.begin(entry.bytes);
                    if let Some(map) = map {
                        self.sparse(&mut entry, map)
                            .with_context(|| shown(&entry.path))?;
                    }
                    return Ok(Some(entry));
                }
            }
        }
    }

    fn begin(&mut self, bytes: u64) {
        self.left = bytes;
        self.padding = (BLOCK - bytes % BLOCK) % BLOCK;
    }

    /// The next header. The padding of the last entry and the trailer may be missing.
    fn header(&mut self) -> Result<Option<[u8; BLOCK as usize]>> {
        let skipped = self.from.skip(self.left).context("read tar")?;
        ensure!(
            skipped == self.left,
            "ends after {skipped} of {} bytes that nobody asked for",
            self.left
        );
        self.at += skipped + self.from.skip(self.padding).context("read tar")?;
        (self.left, self.padding, self.holes) = (0, 0, None);
        let mut zeros = 0;
        loop {
            let mut block = [0; BLOCK as usize];
            let length = fill(&mut self.from, &mut block).context("read tar")?;
            self.at += length as u64;
            let empty = block.iter().all(|byte| *byte == 0);
            match (length, empty, zeros) {
                (0, ..) | (_, true, 1) => return Ok(None),
                (1..512, true, _) => return Ok(None),
                (1..512, false, _) => bail!("ends inside a header"),
                (_, true, _) => zeros += 1,
                (_, false, 0) => return Ok(Some(block)),
                (_, false, _) => bail!("goes on behind an empty block, which is no trailer"),
            }
        }
    }

    /// The map of a file with holes as GNU tar wrote it before there was pax: in the header, and in blocks behind it (GNU tar's manual,
    /// "Storing Sparse Files").
    fn old_map(&mut self, header: &[u8; BLOCK as usize]) -> Result<Map> {
        let size = number(&header[WHOLE])?.try_into()?;
        let (mut block, mut at, mut count) = (*header, MAP_AT, MAP_PIECES);
        let mut pieces = VecDeque::new();
        loop {
            for piece in block[at..].chunks_exact(PIECE).take(count) {
                let (offset, bytes) = piece.split_at(PIECE / 2);
                if upto_zero(offset).is_empty() && upto_zero(bytes).is_empty() {
                    break;
                }
                pieces.push_back((number(offset)?.try_into()?, number(bytes)?.try_into()?));
            }
            // Whether another block of the map follows stands behind the last piece.
            if block[at + PIECE * count] == 0 {
                return Ok((Some(pieces), size));
            }
            (at, count) = (0, BLOCK_PIECES);
            let length = fill(&mut self.from, &mut block).context("read tar")?;
            self.at += length as u64;
            ensure!(length == block.len(), "ends inside a header");
        }
    }

    /// Goes on with a file of which only some pieces are in the archive.
    fn sparse(&mut self, entry: &mut Entry, (pieces, size): Map) -> Result<()> {
        let pieces = match pieces {
            Some(pieces) => pieces,
            None => self.map_in_data()?,
        };
        let pieces: VecDeque<Piece> = pieces.into_iter().filter(|it| it.1 > 0).collect();
        let mut end = 0;
        for (at, bytes) in &pieces {
            ensure!(*at >= end, BROKEN_MAP);
            end = at.checked_add(*bytes).context(BROKEN_MAP)?;
        }
        let stored: u64 = pieces.iter().map(|(_, bytes)| bytes).sum();
        ensure!(end <= size && stored == self.left, BROKEN_MAP);
        (entry.kind, entry.bytes, entry.holes) = (b'0', size, true);
        let at = 0;
        self.holes = Some(Holes { at, size, pieces });
        Ok(())
    }

    /// The map that stands before the data, in whole blocks: how many pieces, then offset and bytes of each, a line for each number.
    fn map_in_data(&mut self) -> Result<VecDeque<Piece>> {
        let (mut text, mut wanted) = (Vec::new(), 1);
        loop {
            let numbers: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
            // What is behind the last end of a line is no number yet.
            let numbers = &numbers[..numbers.len() - 1];
            if let Some(first) = numbers.first() {
                let pieces: u64 = whole(first)?;
                wanted = usize::try_from(pieces)?
                    .checked_mul(2)
                    .context(BROKEN_MAP)?
                    + 1;
            }
            if numbers.len() >= wanted {
                return pairs(&numbers[1..wanted]);
            }
            ensure!((text.len() as u64) < MAX_EXTENSION, BROKEN_MAP);
            let mut block = [0; BLOCK as usize];
            let length = fill(self, &mut block).context("read tar")?;
            ensure!(length == block.len(), BROKEN_MAP);
            text.extend(block);
        }
    }

    /// All of an extension's data.
    fn extension(&mut self, entry: &Entry) -> Result<Vec<u8>> {
        let bytes = entry.bytes;
        ensure!(
            bytes <= MAX_EXTENSION,
            "a name or extension of {bytes} bytes (at most {MAX_EXTENSION})"
        );
        self.begin(bytes);
        let mut text = Vec::new();
        self.read_to_end(&mut text).context("read tar")?;
        ensure!(text.len() as u64 == bytes, "ends inside an extension");
        Ok(text)
    }
}

/// The data of the current entry.
impl<R: Read> Read for Records<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut limit = self.left;
        if let Some(holes) = &mut self.holes {
            let (next, bytes) = holes.pieces.front().copied().unwrap_or((holes.size, 0));
            if holes.at < next {
                let hole = usize::try_from(next - holes.at).unwrap_or(usize::MAX);
                let count = hole.min(buffer.len());
                buffer[..count].fill(0);
                holes.at += count as u64;
                return Ok(count);
            }
            limit = bytes;
        }
        let count = (&mut self.from).take(limit).read(buffer)?;
        let read = count as u64;
        if let Some(holes) = &mut self.holes {
            holes.at += read;
            if let Some(piece) = holes.pieces.front_mut() {
                *piece = (piece.0 + read, piece.1 - read);
            }
            if holes.pieces.front().is_some_and(|piece| piece.1 == 0) {
                holes.pieces.pop_front();
            }
        }
        self.left -= read;
        self.at += read;
        Ok(count)
    }
}

/// The fields of a header: v7, ustar, pax, star and GNU have them in the same places.
fn parse(header: &[u8; BLOCK as usize]) -> Result<Entry> {
    let field = |at: usize, length: usize| &header[at..at + length];
    let named = number(field(148, 8)).ok();
    let bytes = header.iter().enumerate();
    let bytes = bytes.map(|(at, byte)| {
        if (148..156).contains(&at) {
            b' '
        } else {
            *byte
        }
    });
    let (plain, signed) = bytes.fold((0, 0), |(plain, signed), byte| {
        (plain + i64::from(byte), signed + i64::from(byte as i8))
    });
    ensure!(
        named == Some(plain) || named == Some(signed),
        "a header whose sum is not what it says: no tar archive, or a damaged one"
    );
    let name = upto_zero(field(0, 100));
    // What a ustar header has before the name; star's is shorter, GNU's has times there.
    let prefix = match (field(257, 6), field(508, 4)) {
        (b"ustar\0", b"tar\0") => upto_zero(field(345, 131)),
        (b"ustar\0", _) => upto_zero(field(345, 155)),
        _ => b"",
    };
    let path = match prefix {
        b"" => name.to_vec(),
        prefix => [prefix, b"/", name].concat(),
    };
    let kind = match header[156] {
        // Old archives, and some writers, have folders as files whose names end in a slash (GNU tar takes both so).
        0 | b'0' if path.ends_with(b"/") => b'5',
        0 | b'7' => b'0',
        kind => kind,
    };
    let positive = |at, length, what| -> Result<u64> {
        let value = number(field(at, length)).context(what)?;
        u64::try_from(value).with_context(|| format!("{what} is {value}"))
    };
    let shown = String::from_utf8_lossy(&path).into_owned();
    let all = || -> Result<Entry> {
        Ok(Entry {
            link: upto_zero(field(157, 100)).to_vec(),
            kind,
            mode: u32::try_from(positive(100, 8, "mode")? & 0o7777)?,
            uid: positive(108, 8, "uid")?,
            gid: positive(116, 8, "gid")?,
            bytes: positive(124, 12, "size")?,
            mtime: number(field(136, 12)).context("mtime")?,
            attributes: false,
            holes: false,
            path,
        })
    };
    all().with_context(|| format!("/{shown}"))
}

/// A number: octal digits between blanks and zeros, or, where the first bit is set, GNU's big-endian two's complement.
fn number(field: &[u8]) -> Result<i64> {
    if let Some((first, rest)) = field.split_first().filter(|(first, _)| **first & 0x80 != 0) {
        let negative = first & 0x40 != 0;
        // The first byte's lower bits, with the sign in all that are above them.
        let begin = i128::from(first & 0x3f) - if negative { 0x40 } else { 0 };
        let value = rest.iter().try_fold(begin, |value, byte| {
            value.checked_mul(256)?.checked_add(i128::from(*byte))
        });
        let value = value.and_then(|value| i64::try_from(value).ok());
        return value.context("a number of more than 64 bits");
    }
    let text = upto_zero(field).trim_ascii();
    if text.is_empty() {
        return Ok(0);
    }
    let text = str::from_utf8(text).context("no number")?;
    i64::from_str_radix(text, 8).with_context(|| format!("{text:?} is no octal number"))
}

/// The records of a pax header: `LENGTH KEY=VALUE` and a newline, LENGTH counting all of it. The length says where one ends:
/// a value may hold newlines.
fn pax(mut text: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let broken = "an extension whose records are not as long as they say";
    let mut records = Vec::new();
    // Some writers fill up with zeros.
    while !text.iter().all(|byte| *byte == 0) {
        let space = text.iter().position(|byte| *byte == b' ').context(broken)?;
        let digits = str::from_utf8(&text[..space]).context(broken)?;
        let length: usize = digits.parse().ok().context(broken)?;
        let record = text.get(space + 1..length).context(broken)?;
        let (Some((b'\n', record)), Some(equals)) = (
            record.split_last(),
            record.iter().position(|byte| *byte == b'='),
        ) else {
            bail!("{broken}");
        };
        let (key, value) = record.split_at(equals);
        records.push((key.to_vec(), value[1..].to_vec()));
        text = &text[length..];
    }
    Ok(records)
}

impl Said {
    /// What pax says of holes, in each of GNU tar's three ways.
    fn map(&self) -> Result<Option<Map>> {
        let all = |name: &str| {
            let key = format!("GNU.sparse.{name}").into_bytes();
            let records = self.pax.iter().filter(move |record| record.0 == key);
            records.map(|record| record.1.as_slice())
        };
        let last = |name| all(name).next_back();
        let Some(size) = last("realsize").or(last("size")) else {
            return Ok(None);
        };
        let size = whole(size)?;
        if last("major").is_some() {
            return Ok(Some((None, size)));
        }
        let numbers: Vec<&[u8]> = match last("map") {
            Some(b"") => Vec::new(),
            Some(map) => map.split(|byte| *byte == b',').collect(),
            None => {
                let both = all("offset").zip(all("numbytes"));
                both.flat_map(|(offset, bytes)| [offset, bytes]).collect()
            }
        };
        Ok(Some((Some(pairs(&numbers)?), size)))
    }

    /// The entry with all that was said of it. The last record of a key counts, an empty value takes it back; GNU's long names come
    /// before pax.
    fn of(self, mut entry: Entry) -> Result<Entry> {
        let last: BTreeMap<_, _> = self.pax.into_iter().collect();
        for (key, value) in &last {
            if key.starts_with(b"SCHILY.xattr.") || key.starts_with(b"LIBARCHIVE.xattr.") {
                entry.attributes = true;
            }
            if value.is_empty() {
                continue;
            }
            match key.as_slice() {
                b"path" | b"GNU.sparse.name" => entry.path.clone_from(value),
                b"linkpath" => entry.link.clone_from(value),
                b"uid" => entry.uid = whole(value)?,
                b"gid" => entry.gid = whole(value)?,
                b"size" => entry.bytes = whole(value)?,
                b"mtime" => entry.mtime = seconds(value)?,
                _ => {}
            }
        }
        entry.path = self.path.unwrap_or(entry.path);
        entry.link = self.link.unwrap_or(entry.link);
        // Only files have data, whatever the field says.
        if !matches!(entry.kind, b'0' | b'7') && entry.kind.is_ascii_digit() {
            entry.bytes = 0;
        }
        Ok(entry)
    }
}

fn shown(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}

/// Numbers as offset and bytes, two by two.
fn pairs(numbers: &[&[u8]]) -> Result<VecDeque<Piece>> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    ensure!(rest.is_empty(), BROKEN_MAP);
    let piece = |[at, bytes]: &[&[u8]; 2]| Ok((whole(at)?, whole(bytes)?));
    pairs.iter().map(piece).collect()
}

fn whole(text: &[u8]) -> Result<u64> {
    let shown = String::from_utf8_lossy(text);
    shown
        .parse()
        .ok()
        .with_context(|| format!("{shown:?} in an extension is no number"))
}

/// Seconds with or without a fraction, which goes downwards. What is further away than a number can say is as far as it can.
fn seconds(text: &[u8]) -> Result<i64> {
    let shown = String::from_utf8_lossy(text);
    let (before, fraction) = shown.split_once('.').unwrap_or((&shown, ""));
    let digits = fraction.bytes().all(|byte| byte.is_ascii_digit());
    let number = before.parse::<i64>().or_else(|error| match error.kind() {
        IntErrorKind::PosOverflow => Ok(i64::MAX),
        IntErrorKind::NegOverflow => Ok(i64::MIN),
        _ => Err(error),
    });
    let before = number.ok().filter(|_| digits);
    let before = before.with_context(|| format!("{shown:?} in an extension is no time"))?;
    let down = shown.starts_with('-') && fraction.bytes().any(|byte| byte != b'0');
    Ok(before.saturating_sub(i64::from(down)))
}

/// A field up to its first zero.
fn upto_zero(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
