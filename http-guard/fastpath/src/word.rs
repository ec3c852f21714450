//! A short word of the stream that is compared as a whole.

use xps_core::bound::masked;

/// Longest word that is kept, in bytes.
pub const WORD_BYTES: usize = 32;

/// A word's bytes as numbers, the first byte lowest, zeros behind it.
pub type Letters = [u64; WORD_BYTES / 8];

/// The letters of a constant, of which there are at most [`WORD_BYTES`].
#[must_use]
pub const fn letters(text: &str) -> Letters {
    let bytes = text.as_bytes();
    assert!(bytes.len() <= WORD_BYTES);
    let mut letters = [0; WORD_BYTES / 8];
    let mut at = 0;
    while at < bytes.len() {
        letters[at / 8] |= (bytes[at] as u64) << (at % 8 * 8);
        at += 1;
    }
    letters
}

/// A word as far as it is read. It never contains a NUL: zeros are where it has ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Word {
    letters: Letters,
    /// Its length in bytes, or [`Word::TOO_LONG`].
    len: u32,
    padding: u32,
}

impl Word {
    /// The length of a word that is no longer kept: no constant is like it.
    pub const TOO_LONG: u32 = WORD_BYTES as u32 + 1;

    /// No word.
    pub const EMPTY: Self = Self { letters: [0; WORD_BYTES / 8], len: 0, padding: 0 };

    /// Begins a new one.
    #[inline(always)]
    pub fn clear(&mut self) {
        *self = Self::EMPTY;
    }

    /// Appends a byte, which is not NUL.
    #[inline(always)]
    pub fn push(&mut self, byte: u8) {
        let at = self.len;
        if at as usize >= WORD_BYTES {
            self.spoil();
            return;
        }
        let index = masked::<{ (WORD_BYTES / 8 - 1) as u32 }>(at >> 3);
        // SAFETY: masked to the length of the array. Without the mask the verifier would not know.
        unsafe { *self.letters.as_mut_ptr().add(index) |= (byte as u64) << ((at & 7) * 8) };
        self.len = at + 1;
    }

    /// Appends the first `bytes`, one at least, of eight bytes of which none is NUL. Whether there was room for eight.
    #[inline(always)]
    pub fn push_some(&mut self, eight: u64, bytes: u32) -> bool {
        let at = self.len;
        if at as usize > WORD_BYTES - 8 {
            return false;
        }
        let more = eight & u64::MAX >> ((8u32.wrapping_sub(bytes) * 8) & 63);
        let shift = (at & 7) * 8;
        let index = masked::<{ (WORD_BYTES / 8 - 1) as u32 }>(at >> 3);
        // What is behind the last word is nothing: the place would begin with a word.
        let next = masked::<{ (WORD_BYTES / 8 - 1) as u32 }>((at >> 3) + 1);
        // SAFETY: masked to the length of the array.
        unsafe {
            *self.letters.as_mut_ptr().add(index) |= more << shift;
            *self.letters.as_mut_ptr().add(next) |= more >> 1 >> (63 - shift);
        }
        self.len = at + bytes;
        true
    }

    /// Begins with eight bytes, and four, of which none is NUL.
    #[inline(always)]
    pub fn push_twelve(&mut self, eight: u64, four: u64) {
        self.letters[0] = eight;
        self.letters[1] = four;
        self.len = 12;
    }

    /// Makes it a word that no constant is like.
    #[inline(always)]
    pub fn spoil(&mut self) {
        self.len = Self::TOO_LONG;
    }

    /// Whether it has no bytes.
    #[inline(always)]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its length in bytes, [`Self::TOO_LONG`] if it is not kept.
    #[inline(always)]
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Its bytes as numbers; not all of them if it is [`Self::TOO_LONG`].
    #[inline(always)]
    #[must_use]
    pub const fn letters(&self) -> &Letters {
        &self.letters
    }

    /// Whether this constant begins with it.
    #[inline(always)]
    #[must_use]
    pub const fn begins(&self, other: &Letters) -> bool {
        let mut differ = 0;
        let mut i = 0;
        while i < WORD_BYTES / 8 {
            // All bits of the bytes that it has there: a shift by 64 is none.
            let bytes = self.len.saturating_sub(i as u32 * 8);
            let mask = if bytes >= 8 { u64::MAX } else { (1 << ((bytes & 7) * 8)) - 1 };
            differ |= (self.letters[i] ^ other[i]) & mask;
            i += 1;
        }
        self.len as usize <= WORD_BYTES && differ == 0
    }

    /// Whether it is this constant, of one to eight bytes.
    #[inline(always)]
    #[must_use]
    pub const fn is_short(&self, other: u64) -> bool {
        self.letters[0] == other && self.len <= 8
    }

    /// Whether it is this constant.
    #[inline(always)]
    #[must_use]
    pub const fn is(&self, other: &Letters) -> bool {
        self.len as usize <= WORD_BYTES
            && self.letters[0] == other[0]
            && self.letters[1] == other[1]
            && self.letters[2] == other[2]
            && self.letters[3] == other[3]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_like_itself_only() {
        let mut word = Word::EMPTY;
        assert!(word.is(&letters("")));
        for byte in *b"transfer-encoding" {
            word.push(byte);
        }
        assert!(word.is(&letters("transfer-encoding")));
        assert!(!word.is(&letters("transfer-encodin")) && !word.is(&letters("transfer-encodings")));
        word.spoil();
        assert!(!word.is(&letters("transfer-encoding")));
    }

    #[test]
    fn a_constant_begins_with_its_beginnings_only() {
        let constant = letters("transfer-encoding");
        let mut word = Word::EMPTY;
        for byte in *b"transfer-encoding" {
            assert!(word.begins(&constant));
            word.push(byte);
            let mut other = word;
            other.letters[(other.len as usize - 1) / 8] ^= 1 << ((other.len - 1) % 8 * 8);
            assert!(!other.begins(&constant));
        }
        assert!(word.begins(&constant));
        word.push(b's');
        assert!(!word.begins(&constant));
        word.spoil();
        assert!(!word.begins(&constant));
    }

    #[test]
    fn some_bytes_are_as_good_as_one_by_one() {
        for before in 0..=32 {
            for bytes in 1..=8 {
                let (mut some, mut each) = (Word::EMPTY, Word::EMPTY);
                for byte in 0..before {
                    some.push(b'A' + byte);
                    each.push(b'A' + byte);
                }
                assert_eq!(some.push_some(u64::from_le_bytes(*b"abcdefgh"), bytes), before <= 24);
                for byte in b"abcdefgh".iter().take(if before <= 24 { bytes as usize } else { 0 }) {
                    each.push(*byte);
                }
                assert_eq!(some, each, "{bytes} behind {before}");
            }
        }
    }

    #[test]
    fn a_word_that_is_too_long_is_like_none() {
        let mut word = Word::EMPTY;
        for _ in 0..32 {
            word.push(b'a');
        }
        assert!(word.is(&letters("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")));
        word.push(b'a');
        assert_eq!(word.len(), Word::TOO_LONG);
        assert!(!word.is(&letters("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")));
    }
}
