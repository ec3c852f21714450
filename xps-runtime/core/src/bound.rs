//! Bounds that the verifier can see.
//!
//! LLVM removes a mask where it knows that it changes nothing; the verifier, which does not know why, then refuses the
//! access. Here the mask is an instruction that LLVM does not look into.

/// `value & MASK`, as an instruction of its own on the BPF target.
#[inline(always)]
#[must_use]
pub fn masked<const MASK: u32>(value: u32) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut wide = u64::from(value);
        // SAFETY: arithmetic on one register.
        unsafe {
            core::arch::asm!("{wide} &= {mask}", wide = inout(reg) wide, mask = const MASK, options(pure, nomem, nostack));
        }
        wide as usize
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        (value & MASK) as usize
    }
}

/// `value`, of which LLVM knows nothing more: checks of it that follow stay in the program.
#[inline(always)]
#[must_use]
pub fn unknown(value: u32) -> u32 {
    #[cfg(target_arch = "bpf")]
    {
        let mut wide = u64::from(value);
        // SAFETY: arithmetic on one register that changes nothing. (A comment alone would give two lines to one instruction.)
        unsafe {
            core::arch::asm!("{wide} += 0", wide = inout(reg) wide, options(pure, nomem, nostack));
        }
        wide as u32
    }
    #[cfg(not(target_arch = "bpf"))]
    value
}

/// Eight bytes at any address. The target has no unaligned access as far as LLVM knows, and would load each byte by itself;
/// the machines it runs on have.
///
/// # Safety
/// `from` must be readable for eight bytes.
#[inline(always)]
#[must_use]
pub unsafe fn load_word(from: *const u8) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let word: u64;
        // SAFETY: the caller vouches for the pointer; the instruction reads eight bytes there.
        unsafe {
            core::arch::asm!("{word} = *(u64 *)({from} + 0)", word = out(reg) word, from = in(reg) from, options(readonly, nostack));
        }
        word
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        from.cast::<u64>().read_unaligned()
    }
}

/// Stores eight bytes at any address; see [`load_word`].
///
/// # Safety
/// `to` must be writable for eight bytes.
#[inline(always)]
pub unsafe fn store_word(to: *mut u8, word: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller vouches for the pointer; the instruction writes eight bytes there.
    unsafe {
        core::arch::asm!("*(u64 *)({to} + 0) = {word}", word = in(reg) word, to = in(reg) to, options(nostack));
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        to.cast::<u64>().write_unaligned(word);
    }
}
