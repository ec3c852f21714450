//! Additions that several CPUs see whole. `core` has no atomic additions on this target; the machine has.

use core::arch::asm;

/// `*word += n`, atomically.
///
/// # Safety
/// `word` must point to eight bytes of a map's value, aligned to eight.
#[inline(always)]
pub unsafe fn add(word: *mut u64, n: u64) {
    // SAFETY: the caller vouches for the pointer; the instruction reads and writes only there.
    unsafe {
        asm!("lock *(u64 *)({word} + 0) += {n}", word = in(reg) word, n = in(reg) n, options(nostack));
    }
}

/// `*word += n`, atomically; the value before.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub unsafe fn fetch_add(word: *mut u64, n: u64) -> u64 {
    let mut value = n;
    // SAFETY: as above.
    unsafe {
        asm!("{value} = atomic_fetch_add((u64 *)({word} + 0), {value})", word = in(reg) word, value = inout(reg) value,
            options(nostack));
    }
    value
}
