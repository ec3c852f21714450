//! The Internet checksum (RFC 1071), kept as an unfolded 32-bit one's complement sum of big-endian words.

/// Folds a sum into 16 bits, without complementing it.
#[inline(always)]
#[must_use]
pub const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// Sum of any bytes; an odd last byte counts as the high half of a word.
#[must_use]
pub fn of_bytes(bytes: &[u8]) -> u64 {
    let mut sum = 0;
    let (words, rest) = bytes.as_chunks::<2>();
    for word in words {
        sum += u64::from(u16::from_be_bytes(*word));
    }
    if let [last] = rest {
        sum += u64::from(*last) << 8;
    }
    sum
}

/// The kernel's `csum_diff` value (native order, unfolded) as a sum of big-endian words.
#[inline(always)]
#[must_use]
pub const fn from_native(sum: u32) -> u64 {
    let folded = fold(sum as u64);
    folded.swap_bytes() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_1071_example() {
        assert_eq!(fold(of_bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), 0xddf2);
    }

    #[test]
    fn odd_byte_is_the_high_half() {
        assert_eq!(of_bytes(&[0x12]), 0x1200);
    }
}
