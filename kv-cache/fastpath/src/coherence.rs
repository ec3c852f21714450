//! Buckets: a version and a count of pending writes in one word, changed by one atomic addition (C1, C2).

/// Bits of the pending count.
pub const PENDING_BITS: u32 = 24;

/// Added when a write passes up: one version, one pending.
pub const WRITE_PASSES: u64 = 1 << PENDING_BITS | 1;

/// Added when the write's reply leaves: one pending less.
pub const REPLY_LEAVES: u64 = u64::MAX;

/// Added instead when the reply is an error, or never comes: one pending less, and one version, so that what a SET on its
/// way has put into an entry ([`crate::update`]) is not taken for what the server has.
pub const REPLY_FAILS: u64 = (1 << PENDING_BITS) - 1;

/// Whether exactly one write is pending.
#[inline(always)]
#[must_use]
pub const fn one_pending(bucket: u64) -> bool {
    bucket & ((1 << PENDING_BITS) - 1) == 1
}

/// Whether no write is pending.
#[inline(always)]
#[must_use]
pub const fn settled(bucket: u64) -> bool {
    bucket & ((1 << PENDING_BITS) - 1) == 0
}

/// The bucket of a key's hash (without the database: a write in any database counts).
#[inline(always)]
#[must_use]
pub const fn bucket_of(key_hash: u64) -> u32 {
    key_hash as u32 & (crate::abi::BUCKETS - 1)
}

/// The id of an entry: the key's hash with the database mixed in.
#[inline(always)]
#[must_use]
pub const fn entry_id(key_hash: u64, database: u32) -> u64 {
    key_hash ^ (database as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_and_its_reply_leave_a_new_version() {
        let before = 41 << PENDING_BITS;
        let during = u64::wrapping_add(before, WRITE_PASSES);
        assert!(!settled(during));
        let after = during.wrapping_add(REPLY_LEAVES);
        assert!(settled(after));
        assert_eq!(after, 42 << PENDING_BITS);
        assert!(
            one_pending(during) && !one_pending(after) && !one_pending(during.wrapping_add(WRITE_PASSES))
        );
        assert_eq!(during.wrapping_add(REPLY_FAILS), 43 << PENDING_BITS);
    }
}
