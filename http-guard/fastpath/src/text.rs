//! Eight bytes at once, where nothing but the end of a line matters.

use xps_core::handler::Window;

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;
const DELETE: u64 = LOW * 0x7f;

/// Whether one of the bytes is below `limit`, which is at most 128, or DEL.
#[inline(always)]
const fn has_below(word: u64, limit: u64) -> bool {
    let other = word ^ DELETE;
    (word.wrapping_sub(LOW * limit) & !word | other.wrapping_sub(LOW) & !other) & HIGH != 0
}

/// Goes over the next eight bytes if they are all there and there is no control character among them, nor a space unless
/// `spaces` are taken too. Whether it did.
#[inline(always)]
pub(crate) fn skip(window: &mut Window, spaces: bool) -> bool {
    let limit = if spaces { 0x20 } else { 0x21 };
    if window.left() < 8 || has_below(window.word(window.at), limit) {
        return false;
    }
    window.at += 8;
    true
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
                assert_eq!(has_below(word, 0x20), is_control(byte), "{byte:#x} at {at}");
                assert_eq!(has_below(word, 0x21), is_control(byte) || byte == b' ', "{byte:#x} at {at}");
            }
        }
    }

    #[test]
    fn what_is_not_there_is_not_skipped() {
        let mut window = Window { len: 15, ..Window::EMPTY };
        window.bytes[..16].copy_from_slice(b"abcdefgh ijklmno");
        assert!(skip(&mut window, false));
        assert_eq!(window.at, 8);
        assert!(!skip(&mut window, true), "seven bytes are left");
        window.len = 16;
        assert!(!skip(&mut window, false), "a space");
        assert!(skip(&mut window, true));
        assert_eq!(window.at, 16);
    }
}
