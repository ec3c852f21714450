//! The bytes of a packet that lie where the program can read them: its linear part.

use core::mem::offset_of;

use aya_ebpf::bindings::{__sk_buff, xdp_md};

/// A program's context, with the offsets of the fields that hold the linear part's bounds.
pub(crate) trait Context {
    /// Where it starts.
    const DATA: usize;
    /// Where it ends.
    const DATA_END: usize;
}

impl Context for __sk_buff {
    const DATA: usize = offset_of!(__sk_buff, data);
    const DATA_END: usize = offset_of!(__sk_buff, data_end);
}

impl Context for xdp_md {
    const DATA: usize = offset_of!(xdp_md, data);
    const DATA_END: usize = offset_of!(xdp_md, data_end);
}

/// Start and end of the linear part.
///
/// To LLVM these fields are numbers of 32 bits, of which it may keep just those on the stack; to the verifier they are
/// pointers, which may only be kept whole. So they are loaded by instructions that yield 64 bits.
///
/// # Safety
/// `ctx` must be the program's own context.
#[inline(always)]
pub(crate) unsafe fn bounds<C: Context>(ctx: *mut C) -> (*const u8, *const u8) {
    let (start, end): (*const u8, *const u8);
    // SAFETY: loads from the context, for which the caller vouches.
    unsafe {
        core::arch::asm!("{to} = *(u32 *)({ctx} + {at})", to = lateout(reg) start, ctx = in(reg) ctx,
            at = const C::DATA, options(nostack, readonly));
        core::arch::asm!("{to} = *(u32 *)({ctx} + {at})", to = lateout(reg) end, ctx = in(reg) ctx,
            at = const C::DATA_END, options(nostack, readonly));
    }
    (start, end)
}

/// The place of `N` bytes at `offset` in the linear part.
///
/// # Safety
/// As for [`bounds`].
#[inline(always)]
pub(crate) unsafe fn within<const N: usize, C: Context>(ctx: *mut C, offset: u32) -> Option<*const u8> {
    // SAFETY: the caller vouches for the context.
    unsafe { place(ctx, offset, N) }
}

/// The place of `len` bytes, a constant to LLVM, at `offset` in the linear part.
///
/// # Safety
/// As for [`bounds`].
#[inline(always)]
pub(crate) unsafe fn place<C: Context>(ctx: *mut C, offset: u32, len: usize) -> Option<*const u8> {
    // Read anew for each check, or LLVM combines the checks into arithmetic on the end, which the verifier refuses.
    // SAFETY: the caller vouches for the context.
    let (start, end) = unsafe { bounds(ctx) };
    let at = start.wrapping_add((offset & 0x1ff) as usize);
    (at.wrapping_add(len) <= end).then_some(at)
}
