//! Frames: how a record lies on the disk, so that a torn or a rotten one is never taken for one that is whole (S02).
//!
//! ```text
//! frame = head(8) seq(8) lead(4) length(4) sum(8) payload, zeros to a multiple of 8    ; numbers little-endian
//! ```
//!
//! `head` is the checksum of the three numbers and of `sum`, which is the payload's: a length that is right can be relied on whatever
//! became of the payload. `lead` says how many records back the disk was known to have all: what is damaged and yet lies further back was not torn by a
//! power cut. The checksums begin with a key that only the owner of the file knows, so that no payload can pretend to be a frame. It finds
//! damage, not forgery: whoever may write the file may write the checksums as well.

use std::io::{self, Error, ErrorKind, Read};

/// What precedes a payload, in bytes.
pub const HEADER: usize = 32;
/// Longest payload, in bytes.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// What frames begin at multiples of.
pub const ALIGN: usize = 8;

/// One record.
#[derive(Debug)]
pub struct Frame {
    /// Its number, from 1.
    pub seq: u64,
    /// The last record that the disk was known to have when this one was written.
    pub durable: u64,
    /// What it holds.
    pub payload: Vec<u8>,
}

/// The bytes that a payload of this length takes.
pub fn size(length: usize) -> usize {
    let whole = HEADER.saturating_add(length);
    whole.checked_next_multiple_of(ALIGN).unwrap_or(usize::MAX)
}

/// Adds a frame to what begins with one.
pub fn push(out: &mut Vec<u8>, key: u64, seq: u64, durable: u64, payload: &[u8]) {
    let lead = u32::try_from(seq.saturating_sub(durable)).unwrap_or(u32::MAX);
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let counts = [lead, length].map(u32::to_le_bytes).concat();
    let sum = checksum(key, payload).to_le_bytes();
    let counted = [&seq.to_le_bytes(), counts.as_slice(), &sum].concat();
    out.extend(checksum(key, &counted).to_le_bytes());
    out.extend(counted);
    out.extend(payload);
    out.resize(out.len().next_multiple_of(ALIGN), 0);
}

/// What stands before a payload.
pub struct Head {
    seq: u64,
    lead: u32,
    /// Bytes of the payload.
    pub length: usize,
    sum: u64,
}

impl Head {
    /// Reads what precedes a payload; none if it is not what was written.
    pub fn parse(bytes: &[u8], key: u64) -> Option<Self> {
        let (check, counted) = bytes.get(..HEADER)?.split_first_chunk()?;
        let (seq, rest) = counted.split_first_chunk()?;
        let (lead, rest) = rest.split_first_chunk()?;
        let (length, sum) = rest.split_first_chunk()?;
        let length = u32::from_le_bytes(*length) as usize;
        let same = checksum(key, counted) == u64::from_le_bytes(*check);
        (same && length <= MAX_PAYLOAD).then_some(Self {
            seq: u64::from_le_bytes(*seq),
            lead: u32::from_le_bytes(*lead),
            length,
            sum: u64::from_le_bytes(*sum.first_chunk()?),
        })
    }
}

/// Reads a frame; none where there is nothing more, which is the end or zeros.
///
/// # Errors
/// What the disk says; `InvalidData` if it is not what was written.
pub fn read(from: &mut impl Read, key: u64) -> io::Result<Option<Frame>> {
    let mut head = Vec::with_capacity(HEADER);
    from.take(HEADER as u64).read_to_end(&mut head)?;
    if head.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let damaged = || Error::from(ErrorKind::InvalidData);
    let head = Head::parse(&head, key).ok_or_else(damaged)?;
    let mut payload = Vec::with_capacity(head.length.saturating_add(ALIGN));
    let padded = size(head.length).saturating_sub(HEADER);
    from.take(padded as u64).read_to_end(&mut payload)?;
    let whole = payload.len() == padded;
    payload.truncate(head.length);
    let same = whole && checksum(key, &payload) == head.sum;
    let frame = Frame {
        seq: head.seq,
        durable: head.seq.saturating_sub(head.lead.into()),
        payload,
    };
    same.then_some(Some(frame)).ok_or_else(damaged)
}

/// FNV-1a (`draft-eastlake-fnv`) over words of 64 bits instead of bytes, and with a rotation, without which a word's upper bits
/// reach no lower ones. Each step is a bijection: a change within one word is always found. Four sums at once, which become one in the
/// end: each step waits for the one before it, and a processor has time for four.
pub fn checksum(start: u64, bytes: &[u8]) -> u64 {
    let (blocks, rest) = bytes.as_chunks::<32>();
    let mut sums = [start; 4];
    for block in blocks {
        let words = block.as_chunks().0.iter();
        sums.iter_mut()
            .zip(words)
            .for_each(|(sum, word)| *sum = step(*sum, *word));
    }
    let (words, rest) = rest.as_chunks();
    let mut last = [0; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    let sums = sums.map(u64::to_le_bytes);
    let all = sums.iter().chain(words).chain([&last]);
    all.fold(start, |sum, word| step(sum, *word))
}

fn step(sum: u64, word: [u8; 8]) -> u64 {
    let mixed = (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x0100_0000_01b3);
    mixed.rotate_left(23)
}
