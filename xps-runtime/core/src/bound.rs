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

/// `len` as a size that helpers of the kernel take: not 0, and at most `max`.
#[inline(always)]
#[must_use]
pub fn sized(len: u32, max: u32) -> Option<u32> {
    let len = unknown(len);
    if len == 0 || len > max { None } else { Some(positive(len)) }
}

/// `value`, which is not 0, as verifiers before Linux 6.8 see it, too: they learn nothing from its being compared with 0 for
/// equality.
#[inline(always)]
fn positive(value: u32) -> u32 {
    #[cfg(target_arch = "bpf")]
    {
        let mut wide = u64::from(value);
        // SAFETY: arithmetic on one register.
        unsafe {
            core::arch::asm!(
                "if {wide} > 0 goto +1",
                "{wide} = 1",
                wide = inout(reg) wide,
                options(pure, nomem, nostack)
            );
        }
        wide as u32
    }
    #[cfg(not(target_arch = "bpf"))]
    value
}

/// `pointer`, of which LLVM knows nothing more: what lies behind it is addressed from here. Otherwise it makes the addresses that a
/// loop needs before it, and keeps each on the stack.
#[inline(always)]
#[must_use]
pub fn opaque<T>(pointer: *const T) -> *const T {
    #[cfg(target_arch = "bpf")]
    {
        let mut same = pointer;
        // SAFETY: arithmetic on one register that changes nothing.
        unsafe {
            core::arch::asm!("{same} += 0", same = inout(reg) same, options(nomem, nostack));
        }
        same
    }
    #[cfg(not(target_arch = "bpf"))]
    pointer
}

/// Code after which different `ID`s stand stays apart: LLVM would make one call with a variable of two with constants.
#[inline(always)]
pub fn apart<const ID: u32>() {
    #[cfg(target_arch = "bpf")]
    // SAFETY: sets a register to a constant.
    unsafe {
        core::arch::asm!("{scrap} = {id}", scrap = out(reg) _, id = const ID, options(nomem, nostack));
    }
}

/// Lets no field live in a register from here on, or from one step of a loop to the next. The verifier follows what
/// registers hold, and would walk what follows once for every way to get there; of memory it only knows that it holds
/// something.
#[inline(always)]
pub fn keep_in_memory() {
    core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
}
