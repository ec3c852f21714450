//! Eight bytes at once, and several times that, where nothing but the end of a line matters.

use xps_core::bound::unknown;
use xps_core::handler::Window;

use crate::word::letters;

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;
const DELETE: u64 = LOW * 0x7f;

/// The highest bit of each byte that is below `limit`, which is at most 128, or DEL; bytes behind the first such one may have
/// it set as well.
#[inline(always)]
const fn below(word: u64, limit: u64) -> u64 {
    let other = word ^ DELETE;
    (word.wrapping_sub(LOW * limit) & !word | other.wrapping_sub(LOW) & !other) & HIGH
}

/// The highest bit of the first byte that is `byte`; those behind it may have it set as well.
#[inline(always)]
const fn equal(word: u64, byte: u8) -> u64 {
    let other = word ^ (LOW * byte as u64);
    other.wrapping_sub(LOW) & !other & HIGH
}

/// The highest bit of each byte from `first` to `last`, characters of ASCII.
#[inline(always)]
const fn between(word: u64, first: u8, last: u8) -> u64 {
    let low = word & !HIGH;
    let (reaches, exceeds) = (low + LOW * (0x80 - first as u64), low + LOW * (0x7f - last as u64));
    reaches & !exceeds & !word & HIGH
}

/// Eight bytes with letters in lower case, and how many come before the first one that is no letter, no digit and no `-`.
#[inline(always)]
pub(crate) const fn label(word: u64) -> (u64, u32) {
    let lower = word | between(word, b'A', b'Z') >> 2;
    let known = between(lower, b'a', b'z') | between(lower, b'0', b'9') | between(lower, b'-', b'-');
    (lower, before(known ^ HIGH))
}

/// How many of eight bytes come before the first one that is no capital letter.
#[inline(always)]
pub(crate) const fn capitals(word: u64) -> u32 {
    before(between(word, b'A', b'Z') ^ HIGH)
}

/// How many of eight bytes come before the first one that does not stand for itself within a segment of a path.
#[inline(always)]
pub(crate) const fn segment(word: u64) -> u32 {
    let escapes = equal(word, b'%') | equal(word, b'/') | equal(word, b'?') | equal(word, b'#');
    before(below(word, 0x21) | escapes)
}

/// How many bytes come before the first one whose highest bit is set: 8 if there is none.
#[inline(always)]
const fn before(marks: u64) -> u32 {
    if marks == 0 {
        return 8;
    }
    // All bits below the lowest one that is set; one bit of each byte that has all of them is kept, and the sum taken.
    let first = (marks & marks.wrapping_neg()) >> 7;
    (((first - 1) & LOW).wrapping_mul(LOW) >> 56) as u32
}

/// Whether one of a word's bytes is NUL.
#[inline(always)]
pub(crate) const fn has_nul(word: u64) -> bool {
    word.wrapping_sub(LOW) & !word & HIGH != 0
}

/// Words that are looked at by one call: most lines of heads are not longer.
const WORDS: u32 = 6;

/// Goes over those of the next 48 bytes that come before a control character, or before a space unless `spaces` are taken
/// too; `most` at most. How many.
#[inline(always)]
pub(crate) fn skip(window: &mut Window, spaces: bool, most: u32) -> u32 {
    let limit = if spaces { 0x20 } else { 0x21 };
    let mut marks = 0;
    let mut i = 0;
    while i < WORDS {
        marks = below(window.word(window.at + i * 8), limit);
        if marks != 0 {
            break;
        }
        i += 1;
    }
    let plain = if marks == 0 { WORDS * 8 } else { i * 8 + before(marks) };
    let left = window.left();
    let left = if left < most { left } else { most };
    // LLVM makes a selection of it, of which the verifier need not follow both sides.
    let skipped = unknown(if plain < left { plain } else { left });
    window.at += skipped;
    skipped
}

/// The same, and over the line's end if it comes then and is within `most`, too. Whether it did.
#[inline(always)]
pub(crate) fn skip_line(window: &mut Window, most: u32, skipped: &mut u32) -> bool {
    let text = skip(window, true, most);
    let ends = ends_line(window, text, most);
    *skipped = text + if ends { 2 } else { 0 };
    ends
}

/// Goes over a line's end behind a text of `text` bytes, if it comes now and both are within `most`. Whether it did.
#[inline(always)]
pub(crate) fn ends_line(window: &mut Window, text: u32, most: u32) -> bool {
    let ends = window.left() >= 2 && text + 2 <= most && window.word(window.at) & 0xffff == LINE_END;
    if ends {
        window.at += 2;
    }
    ends
}

/// A carriage return and a line feed, as the low bytes of a word.
pub(crate) const LINE_END: u64 = 0x0a0d;

/// A text of up to eight bytes, in small letters, that stands for itself in letters of any size.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    letters: u64,
    /// Bits in which others may differ: the letters' size.
    free: u64,
    /// Bits that count.
    mask: u64,
}

impl Known {
    pub(crate) const fn new(text: &str) -> Self {
        let bytes = text.as_bytes();
        assert!(bytes.len() <= 8);
        let (mut free, mut mask) = (0, 0);
        let mut at = 0;
        while at < bytes.len() {
            assert!(!bytes[at].is_ascii_uppercase());
            mask |= 0xff << (at * 8);
            if bytes[at].is_ascii_lowercase() {
                free |= 0x20 << (at * 8);
            }
            at += 1;
        }
        Self { letters: letters(text)[0], free, mask }
    }

    /// Whether the word begins with it.
    #[inline(always)]
    pub(crate) const fn begins(self, word: u64) -> bool {
        (word ^ self.letters) & self.mask & !self.free == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::is_control;

    #[test]
    fn each_byte_in_each_place_is_told() {
        for at in 0..8 {
            for byte in 0..=255u8 {
                let mut bytes = *b"abcdefgh";
                bytes[at] = byte;
                let word = u64::from_le_bytes(bytes);
                let expected = |ends| if ends { at as u32 } else { 8 };
                assert_eq!(before(below(word, 0x20)), expected(is_control(byte)), "{byte:#x} at {at}");
                let ends = is_control(byte) || byte == b' ';
                assert_eq!(before(below(word, 0x21)), expected(ends), "{byte:#x} at {at}");
            }
        }
    }

    #[test]
    fn labels_and_segments_end_where_they_should() {
        for at in 0..8 {
            for byte in 0..=255u8 {
                for rest in [*b"aZ09-azA", *b"%/?# \0\r\xff"] {
                    let mut bytes = *b"aZ09-azA";
                    bytes[at..].copy_from_slice(&rest[at..]);
                    bytes[at] = byte;
                    let count =
                        |ends: &dyn Fn(u8) -> bool| bytes.iter().take_while(|byte| !ends(**byte)).count();
                    let (lower, length) = label(u64::from_le_bytes(bytes));
                    assert_eq!(lower.to_le_bytes(), bytes.map(|byte| byte.to_ascii_lowercase()), "{bytes:?}");
                    assert_eq!(
                        length as usize,
                        count(&|byte| !byte.is_ascii_alphanumeric() && byte != b'-'),
                        "{bytes:?}"
                    );
                    let capitals = capitals(u64::from_le_bytes(bytes)) as usize;
                    assert_eq!(capitals, count(&|byte| !byte.is_ascii_uppercase()), "{bytes:?}");
                    let ends = |byte: u8| byte <= b' ' || byte == 0x7f || b"%/?#".contains(&byte);
                    assert_eq!(segment(u64::from_le_bytes(bytes)) as usize, count(&ends), "{bytes:?}");
                }
            }
        }
    }

    #[test]
    fn the_first_of_several_counts() {
        for (text, expected) in
            [(b"\r\n\r\nabcd", 0), (b"a\r\nbc\r\nd", 1), (b"abcdef\r\n", 6), (b"abcdefg\x7f", 7)]
        {
            assert_eq!(before(below(u64::from_le_bytes(*text), 0x20)), expected, "{text:?}");
        }
    }

    #[test]
    fn only_letters_may_be_of_another_size() {
        let known = Known::new("host: ");
        for (text, expected) in [
            (b"host: ab", true),
            (b"HoSt: ab", true),
            (b"host:\0ab", false),
            (b"host\x1a ab", false),
            (b"hosu: ab", false),
            (b"\x48ost: ab", true),
            (b"\x28ost: ab", false),
        ] {
            assert_eq!(known.begins(u64::from_le_bytes(*text)), expected, "{text:?}");
        }
    }

    #[test]
    fn a_line_ends_with_both() {
        for (text, skipped, ends) in [
            (b"abc\r\nxyz", 5, true),
            (b"abc\rxyza", 3, false),
            (b"abc\nxyza", 3, false),
            (b"\r\nabcdef", 2, true),
        ] {
            let mut window = Window { len: 8, ..Window::EMPTY };
            window.bytes[..8].copy_from_slice(text);
            let mut told = 0;
            assert_eq!((skip_line(&mut window, 100, &mut told), told), (ends, skipped), "{text:?}");
            assert_eq!(window.at, skipped);
        }
        let mut window = Window { len: 4, ..Window::EMPTY };
        window.bytes[..5].copy_from_slice(b"abc\r\n");
        assert!(!skip_line(&mut window, 100, &mut 0), "its second byte is not there yet");
    }

    #[test]
    fn what_is_not_there_is_not_skipped() {
        let mut window = Window { len: 15, ..Window::EMPTY };
        window.bytes[..17].copy_from_slice(b"abcdefgh ijklmnop");
        assert_eq!((skip(&mut window, false, 100), window.at), (8, 8));
        assert_eq!((skip(&mut window, false, 100), window.at), (0, 8), "a space");
        assert_eq!((skip(&mut window, true, 100), window.at), (7, 15), "the window ends");
        assert_eq!((skip(&mut window, true, 100), window.at), (0, 15));
        window.at = 0;
        assert_eq!((skip(&mut window, true, 3), window.at), (3, 3), "no more is wanted");
        window.bytes[..6].copy_from_slice(b"abcd\r\n");
        window.at = 0;
        assert!(!skip_line(&mut window, 5, &mut 0), "half of the end would be too much");
    }
}
