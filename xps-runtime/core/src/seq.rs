//! TCP sequence numbers: 32 bits that wrap (RFC 9293 §3.4).

/// How far `a` lies beyond `b`; negative if it lies before.
#[inline(always)]
#[must_use]
pub const fn distance(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}

/// Whether `a` lies before `b`.
#[inline(always)]
#[must_use]
pub const fn before(a: u32, b: u32) -> bool {
    distance(a, b) < 0
}

/// Whether `a` lies after `b`. Of two numbers half the space apart each lies before and after the other, as Linux has it.
#[inline(always)]
#[must_use]
pub const fn after(a: u32, b: u32) -> bool {
    before(b, a)
}

/// The later of two numbers.
#[inline(always)]
#[must_use]
pub const fn latest(a: u32, b: u32) -> u32 {
    if after(a, b) { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparison_wraps() {
        assert!(before(u32::MAX, 0));
        assert!(after(5, u32::MAX - 5));
        assert_eq!(distance(2, u32::MAX), 3);
        assert_eq!(latest(u32::MAX, 1), 1);
    }
}
