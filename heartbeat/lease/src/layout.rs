//! The file, byte by byte. `include/heartbeat_lease.h` is the same for C.
//!
//! It is 64 bytes long, one line of the cache, and lies on a file system of memory (`/run`, `/dev/shm`). Numbers are in the
//! byte order of the machine: nobody else reads it.
//!
//! | bytes | field | who writes it | value |
//! | --- | --- | --- | --- |
//! | 0..8 | magic | heartbeat | `XPSLEASE` |
//! | 8..12 | version | heartbeat | 1 |
//! | 12..16 | reserved | heartbeat | 0 |
//! | 16..24 | alive until | the application | `CLOCK_MONOTONIC` in nanoseconds; 0: not alive |
//! | 24..32 | lease | heartbeat | the longest promise that counts, in nanoseconds; changes when heartbeat is configured anew |
//! | 32..64 | reserved | heartbeat | 0 |
//!
//! An application writes "alive until" as one word of 64 bits, with release. Several threads and processes may: none may make
//! a promise of another shorter, unless that one lies further ahead than the lease. Nobody can have meant that: it is of
//! another clock, or of a time when the lease was longer.

use std::mem::offset_of;
use std::sync::atomic::AtomicU64;

/// Bytes of the file.
pub const BYTES: usize = 64;

/// Its first bytes.
pub const MAGIC: [u8; 8] = *b"XPSLEASE";

/// The version that is described here.
pub const VERSION: u32 = 1;

/// Where the application's word is.
pub const ALIVE_UNTIL_AT: usize = offset_of!(Layout, alive_until_ns);

/// Where the longest promise is.
pub const LEASE_AT: usize = offset_of!(Layout, lease_ns);

/// The file as it lies in memory.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Layout {
    magic: [u8; 8],
    version: u32,
    reserved: u32,
    pub(crate) alive_until_ns: AtomicU64,
    pub(crate) lease_ns: AtomicU64,
    zero: [u64; 4],
}

const _: () = assert!(size_of::<Layout>() == BYTES && ALIVE_UNTIL_AT == 16 && LEASE_AT == 24);

/// A new file: nobody is alive, and promises up to `lease_ns` count.
#[must_use]
pub fn new_file(lease_ns: u64) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_ne_bytes());
    bytes[LEASE_AT..LEASE_AT + 8].copy_from_slice(&lease_ns.to_ne_bytes());
    bytes
}

/// Whether these are the first bytes of a file of this version. What is reserved is not looked at.
#[must_use]
pub fn is_lease(head: &[u8]) -> bool {
    head.starts_with(&MAGIC) && head.get(8..12) == Some(&VERSION.to_ne_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_one() {
        let file = new_file(7);
        assert!(is_lease(&file) && is_lease(&file[..12]));
        assert!(!is_lease(&file[..11]) && !is_lease(&[]) && !is_lease(&[0; BYTES]));
        assert_eq!(file[ALIVE_UNTIL_AT..ALIVE_UNTIL_AT + 8], [0; 8]);
        assert_eq!(file[LEASE_AT..LEASE_AT + 8], 7u64.to_ne_bytes());
    }
}
