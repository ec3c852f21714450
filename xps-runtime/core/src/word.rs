//! Loads and stores of whole words wherever they lie.
//!
//! For memory that is not known to be aligned the BPF back end would load byte by byte. The machines that XPS runs on
//! load unaligned words as they are, and the verifier knows that, so on the BPF target the alignment is taken for granted.

macro_rules! access {
    ($load:ident, $store:ident, $type:ty) => {
        /// Loads a word in native order.
        ///
        /// # Safety
        /// `from` must be readable for the size of the word.
        #[inline(always)]
        #[must_use]
        pub unsafe fn $load(from: *const u8) -> $type {
            // SAFETY: the caller vouches for the memory; alignment as the module says.
            unsafe {
                if cfg!(target_arch = "bpf") {
                    from.cast::<$type>().read()
                } else {
                    from.cast::<$type>().read_unaligned()
                }
            }
        }

        /// Stores a word in native order.
        ///
        /// # Safety
        /// `to` must be writable for the size of the word.
        #[inline(always)]
        pub unsafe fn $store(to: *mut u8, value: $type) {
            // SAFETY: as above.
            unsafe {
                if cfg!(target_arch = "bpf") {
                    to.cast::<$type>().write(value);
                } else {
                    to.cast::<$type>().write_unaligned(value);
                }
            }
        }
    };
}

access!(load_u16, store_u16, u16);
access!(load_u32, store_u32, u32);
access!(load_u64, store_u64, u64);

/// Eight bytes at `at`, which is 0 or 8, as a big-endian word.
#[inline(always)]
#[must_use]
pub fn load_be_u64(bytes: &[u8; 16], at: usize) -> u64 {
    let at = if at == 0 { 0 } else { 8 };
    // SAFETY: eight bytes from there are within the array.
    unsafe { u64::from_be(load_u64(bytes.as_ptr().add(at))) }
}
