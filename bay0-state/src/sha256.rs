//! SHA-256 (FIPS 180-4), for the log's chain, updates and files on their way: too little use to ship a crate for it. Where the processor
//! has instructions for it (x86_64, found at run time), they do the rounds.

use std::num::Wrapping;

/// Bytes that are hashed at a time.
const BLOCK: usize = 64;

const INITIAL: [u32; 8] = [
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
];

const ROUND: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
];

/// What the blocks so far have led to.
type State = [Wrapping<u32>; 8];

/// The digest of `parts`, one after the other.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut all = Sha256::default();
    parts.iter().for_each(|part| all.update(part));
    all.finish()
}

/// The digest of what comes in pieces.
pub struct Sha256 {
    state: State,
    /// What does not fill a block yet.
    rest: Vec<u8>,
    /// Bytes that have come.
    length: u64,
}

impl Default for Sha256 {
    fn default() -> Self {
        Self {
            state: INITIAL.map(Wrapping),
            rest: Vec::with_capacity(BLOCK),
            length: 0,
        }
    }
}

impl Sha256 {
    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.length = self.length.wrapping_add(piece.len() as u64);
        let missing = BLOCK.saturating_sub(self.rest.len());
        let (first, piece) = match self.rest.is_empty() {
            true => piece.split_at(0),
            false => piece.split_at(missing.min(piece.len())),
        };
        self.rest.extend(first);
        if let Ok(block) = self.rest.as_slice().try_into() {
            compress(&mut self.state, &[block]);
            self.rest.clear();
        }
        let (blocks, rest) = piece.as_chunks();
        compress(&mut self.state, blocks);
        self.rest.extend(rest);
    }

    /// The digest of all that has come.
    pub fn finish(mut self) -> [u8; 32] {
        let bits = self.length.wrapping_mul(8).to_be_bytes();
        let used = self.rest.len().wrapping_add(9);
        let zeros = used.next_multiple_of(BLOCK).wrapping_sub(used);
        self.update(&[&[0x80], [0; BLOCK].get(..zeros).unwrap_or_default(), &bits].concat());
        let mut digest = [0; 32];
        digest.copy_from_slice(self.state.map(|word| word.0.to_be_bytes()).as_flattened());
        digest
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    // With as many digits as are known beforehand the text is allocated once.
    let digits = nibbles.map(|nibble| char::from_digit(nibble.into(), 16).unwrap_or_default());
    digits.collect()
}

/// Takes in blocks, by the processor's instructions where it has them.
fn compress(state: &mut State, blocks: &[[u8; BLOCK]]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1") {
        // SAFETY: the processor has just said that it has the instructions, and nothing else is asked of the caller.
        return unsafe { by_instructions(state, blocks) };
    }
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("bmi2") {
        // SAFETY: the same.
        return unsafe { by_rotations(state, blocks) };
    }
    blocks.iter().for_each(|block| portable(state, block));
}

/// By Intel's SHA extensions (Software Developer's Manual, volume 2). SHA256RNDS2 does two rounds. It takes the state in halves, `abef` and
/// `cdgh`, each with its last letter lowest, and gives the new `abef`; the old one is the new `cdgh`. SHA256MSG1 and SHA256MSG2 each do a
/// part of the next four words of the schedule.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sha,sse4.1")]
fn by_instructions(state: &mut State, blocks: &[[u8; BLOCK]]) {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi32 as add, _mm_alignr_epi8 as align, _mm_extract_epi32 as at,
        _mm_set_epi32 as set, _mm_sha256msg1_epu32 as begin, _mm_sha256msg2_epu32 as end,
        _mm_sha256rnds2_epu32 as rounds, _mm_shuffle_epi32 as shuffle,
    };
    let four = |words: [u32; 4]| {
        let [a, b, c, d] = words.map(u32::cast_signed);
        set(d, c, b, a)
    };
    let [a, b, c, d, e, f, g, h] = state.map(|word| word.0);
    let (mut abef, mut cdgh) = (four([f, e, b, a]), four([h, g, d, c]));
    for block in blocks {
        let (begun, mut schedule) = ((abef, cdgh), [abef; 4]);
        let parts = block.as_chunks().0.as_chunks().0;
        for (words, part) in schedule.iter_mut().zip(parts) {
            *words = four(part.map(u32::from_be_bytes));
        }
        for constants in ROUND.as_chunks().0 {
            let [w0, w4, w8, w12] = schedule;
            let sum = add(w0, four(*constants));
            cdgh = rounds(cdgh, abef, sum);
            abef = rounds(abef, cdgh, shuffle::<0b1110>(sum));
            let next = end(add(begin(w0, w4), align::<4>(w12, w8)), w12);
            schedule = [w4, w8, w12, next];
        }
        (abef, cdgh) = (add(abef, begun.0), add(cdgh, begun.1));
    }
    let words = |x: __m128i| [at::<0>(x), at::<1>(x), at::<2>(x), at::<3>(x)];
    let ([f, e, b, a], [h, g, d, c]) = (words(abef), words(cdgh));
    *state = [a, b, c, d, e, f, g, h].map(|word| Wrapping(word.cast_unsigned()));
}

/// The portable code with rotations that leave the processor's flags alone (RORX), which costs least where a machine is emulated.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "bmi2")]
fn by_rotations(state: &mut State, blocks: &[[u8; BLOCK]]) {
    blocks.iter().for_each(|block| portable(state, block));
}

/// By what every processor has.
#[inline(always)]
fn portable(state: &mut State, block: &[u8; BLOCK]) {
    let turned = |word: Wrapping<u32>, by: u32| Wrapping(word.0.rotate_right(by));
    let mut schedule = [Wrapping(0); 64];
    for (word, bytes) in schedule.iter_mut().zip(block.as_chunks().0) {
        *word = Wrapping(u32::from_be_bytes(*bytes));
    }
    for at in 0_usize..48 {
        let part = schedule.get_mut(at..at.wrapping_add(17));
        if let Some(&mut [w0, w1, .., w9, _, _, _, _, w14, _, ref mut next]) = part {
            let small = turned(w1, 7) ^ turned(w1, 18) ^ (w1 >> 3);
            let large = turned(w14, 17) ^ turned(w14, 19) ^ (w14 >> 10);
            *next = w0 + small + w9 + large;
        }
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for (constant, word) in ROUND.into_iter().zip(schedule) {
        let turns = turned(e, 6) ^ turned(e, 11) ^ turned(e, 25);
        let first = h + turns + ((e & f) ^ (!e & g)) + Wrapping(constant) + word;
        let turns = turned(a, 2) ^ turned(a, 13) ^ turned(a, 22);
        let second = turns + ((a & b) ^ (a & c) ^ (b & c));
        (h, g, f, e) = (g, f, e, d + first);
        (d, c, b, a) = (c, b, a, first + second);
    }
    for (word, new) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word += new;
    }
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, INITIAL, State, compress, hex, portable, sha256};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use sha2::Digest;
    use std::io::Write;
    use std::num::Wrapping;

    /// Messages of the standard, and what it gives for them.
    const STANDARD: [(&str, usize, &str); 4] = [
        (
            "",
            1,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        (
            "abc",
            1,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            1,
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
        (
            "a",
            1_000_000,
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
        ),
    ];

    fn portably(mut state: State, blocks: &[[u8; BLOCK]]) -> State {
        blocks.iter().for_each(|block| portable(&mut state, block));
        state
    }

    /// The digest by the portable code alone, which elsewhere only a processor without the instructions runs.
    fn portable_digest(text: &[u8]) -> String {
        let bits = (text.len() as u64).wrapping_mul(8).to_be_bytes();
        let mut all = [text, &[0x80]].concat();
        while !all.len().wrapping_add(bits.len()).is_multiple_of(BLOCK) {
            all.push(0);
        }
        all.extend(bits);
        let state = portably(INITIAL.map(Wrapping), all.as_chunks().0);
        hex(state.map(|word| word.0.to_be_bytes()).as_flattened())
    }

    #[test]
    fn h19_the_digests_are_those_of_the_standard() {
        for (text, times, digest) in STANDARD {
            let text = text.repeat(times);
            assert_eq!(hex(&sha256(&[text.as_bytes()])), digest);
            assert_eq!(portable_digest(text.as_bytes()), digest);
        }
    }

    /// Without them the next test compares the portable code with itself: it is said past the runner, which shows nothing of a success.
    #[test]
    fn h19_a_processor_without_the_instructions_is_said() {
        let why = "NOT RUN: SHA-256 by the processor's instructions; next: run the tests on a processor that has them\n";
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1") {
            return;
        }
        std::io::stderr().write_all(why.as_bytes()).unwrap();
    }

    proptest! {
        #[test]
        fn h19_the_digest_is_the_reference_implementations_whatever_the_pieces(pieces in vec(vec(any::<u8>(), 0..300), 0..6)) {
            let parts: Vec<_> = pieces.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(sha256(&parts).to_vec(), sha2::Sha256::digest(parts.concat()).to_vec());
            prop_assert_eq!(hex(&sha256(&parts)), portable_digest(&parts.concat()));
        }

        #[test]
        fn h19_both_ways_lead_from_a_state_to_the_same_one(state: [u32; 8], blocks in vec(any::<[u8; 32]>(), 0..12)) {
            let (state, blocks) = (state.map(Wrapping), blocks.as_flattened().as_chunks().0);
            let mut compressed = state;
            compress(&mut compressed, blocks);
            prop_assert_eq!(compressed, portably(state, blocks));
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("bmi2") {
                compressed = state;
                // SAFETY: the processor has just said that it has the instructions.
                unsafe { super::by_rotations(&mut compressed, blocks) };
                prop_assert_eq!(compressed, portably(state, blocks));
            }
        }
    }
}
