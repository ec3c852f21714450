//! SipHash (Aumasson, Bernstein 2012): 1-3 for tables, fed in any portions, and 2-4 for authentication.
//!
//! Keyed, since clients choose what is hashed. The state is plain data, so a key that is cut by a segment's end goes on
//! in the next one.

/// State of one hash over a stream of bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SipHash13 {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
    tail: u64,
    length: u64,
}

impl SipHash13 {
    /// A state that no key has been given to; only for memory that is initialised later.
    pub const ZERO: Self = Self { v0: 0, v1: 0, v2: 0, v3: 0, tail: 0, length: 0 };

    /// An empty hash under `key`.
    #[inline(always)]
    #[must_use]
    pub const fn new(key: [u64; 2]) -> Self {
        Self {
            v0: key[0] ^ 0x736f_6d65_7073_6575,
            v1: key[1] ^ 0x646f_7261_6e64_6f6d,
            v2: key[0] ^ 0x6c79_6765_6e65_7261,
            v3: key[1] ^ 0x7465_6462_7974_6573,
            tail: 0,
            length: 0,
        }
    }

    #[inline(always)]
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v2 = self.v2.rotate_left(32);
    }

    #[inline(always)]
    fn word(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.v0 ^= word;
    }

    /// Adds one byte.
    #[inline(always)]
    pub fn byte(&mut self, byte: u8) {
        self.tail |= u64::from(byte) << ((self.length & 7) * 8);
        self.length += 1;
        if self.length & 7 == 0 {
            let word = self.tail;
            self.tail = 0;
            self.word(word);
        }
    }

    /// Adds eight bytes, given as a little-endian word.
    #[inline(always)]
    pub fn eight(&mut self, word: u64) {
        if self.length & 7 == 0 {
            self.length += 8;
            self.word(word);
        } else {
            let mut i = 0;
            while i < 8 {
                self.byte((word >> (i * 8)) as u8);
                i += 1;
            }
        }
    }

    /// Adds eight bytes, given as a little-endian word, where only whole words were added before.
    #[inline(always)]
    pub fn aligned(&mut self, word: u64) {
        self.length += 8;
        self.word(word);
    }

    /// The hash of all bytes so far and of the `bytes` (less than 8) low bytes of `word`, whose others are zero, where
    /// only whole words were added before.
    #[inline(always)]
    #[must_use]
    pub fn finish_with(mut self, word: u64, bytes: u32) -> u64 {
        self.tail = word;
        self.length += bytes as u64;
        self.finish()
    }

    /// Adds bytes.
    #[inline(always)]
    pub fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.byte(byte);
        }
    }

    /// The hash of all bytes so far.
    #[inline(always)]
    #[must_use]
    pub fn finish(mut self) -> u64 {
        let last = self.tail | (self.length << 56);
        self.word(last);
        self.v2 ^= 0xff;
        self.round();
        self.round();
        self.round();
        self.v0 ^ self.v1 ^ self.v2 ^ self.v3
    }
}

/// SipHash-2-4 over whole words and a last part of one: what its authors recommend where a hash authenticates a message.
///
/// A type of its own, since nothing that only tells tuples apart should pay for its rounds.
#[derive(Clone, Copy, Debug)]
pub struct SipHash24(SipHash13);

impl SipHash24 {
    /// An empty hash under `key`.
    #[inline(always)]
    #[must_use]
    pub const fn new(key: [u64; 2]) -> Self {
        Self(SipHash13::new(key))
    }

    #[inline(always)]
    fn compress(&mut self, word: u64) {
        self.0.v3 ^= word;
        self.0.round();
        self.0.round();
        self.0.v0 ^= word;
    }

    /// Adds eight bytes, given as a little-endian word.
    #[inline(always)]
    pub fn aligned(&mut self, word: u64) {
        self.0.length += 8;
        self.compress(word);
    }

    /// The hash of all words so far and of the `bytes` (less than 8) low bytes of `word`, whose others are zero.
    #[inline(always)]
    #[must_use]
    pub fn finish_with(mut self, word: u64, bytes: u32) -> u64 {
        self.0.length += bytes as u64;
        let last = word | (self.0.length << 56);
        self.compress(last);
        self.0.v2 ^= 0xff;
        self.0.round();
        self.0.round();
        self.0.round();
        self.0.round();
        self.0.v0 ^ self.0.v1 ^ self.0.v2 ^ self.0.v3
    }
}

/// The hash of some words: what tells tuples apart in a table that strangers can write to.
#[inline(always)]
#[must_use]
pub fn of_words<const N: usize>(key: [u64; 2], words: [u64; N]) -> u64 {
    let mut hash = SipHash13::new(key);
    let mut i = 0;
    while i < N {
        hash.eight(words[i]);
        i += 1;
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use core::hash::Hasher;
    use proptest::prelude::*;

    fn of_bytes_24(key: [u64; 2], bytes: &[u8]) -> u64 {
        let mut hash = SipHash24::new(key);
        let (words, tail) = bytes.as_chunks::<8>();
        for word in words {
            hash.aligned(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..tail.len()].copy_from_slice(tail);
        hash.finish_with(u64::from_le_bytes(last), tail.len() as u32)
    }

    /// Appendix A of the paper, and the vectors of its authors' implementation that surround it.
    #[test]
    fn siphash_2_4_is_the_papers() {
        let bytes: [u8; 16] = core::array::from_fn(|index| index as u8);
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        for (length, expected) in [
            (0, 0x726f_db47_dd0e_0e31),
            (1, 0x74f8_39c5_93dc_67fd),
            (7, 0xab02_00f5_8b01_d137),
            (8, 0x93f5_f579_9a93_2462),
            (15, 0xa129_ca61_49be_45e5),
        ] {
            assert_eq!(of_bytes_24(key, &bytes[..length]), expected, "of {length} bytes");
        }
    }

    proptest! {
        #[test]
        fn siphash_2_4_agrees_with_siphasher(k0: u64, k1: u64, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut oracle = siphasher::sip::SipHasher24::new_with_keys(k0, k1);
            oracle.write(&bytes);
            prop_assert_eq!(of_bytes_24([k0, k1], &bytes), oracle.finish());
        }

        #[test]
        fn agrees_with_siphasher(k0: u64, k1: u64, bytes in proptest::collection::vec(any::<u8>(), 0..300), cut: usize) {
            let mut oracle = siphasher::sip::SipHasher13::new_with_keys(k0, k1);
            oracle.write(&bytes);
            let mut ours = SipHash13::new([k0, k1]);
            let (head, rest) = bytes.split_at(cut % (bytes.len() + 1));
            ours.bytes(head);
            let (words, tail) = rest.as_chunks::<8>();
            for word in words { ours.eight(u64::from_le_bytes(*word)); }
            ours.bytes(tail);
            prop_assert_eq!(ours.finish(), oracle.finish());

            let mut ours = SipHash13::new([k0, k1]);
            let (words, tail) = bytes.as_chunks::<8>();
            for word in words { ours.aligned(u64::from_le_bytes(*word)); }
            let mut last = [0; 8];
            last[..tail.len()].copy_from_slice(tail);
            prop_assert_eq!(ours.finish_with(u64::from_le_bytes(last), tail.len() as u32), oracle.finish());
        }
    }
}
