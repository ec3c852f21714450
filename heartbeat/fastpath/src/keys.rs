//! The keys of a cluster, of which two may be valid while they are changed.
//!
//! A receiver takes messages under either; each message names its key by a number. So a key is changed without a moment in
//! which two nodes do not understand each other: first every node gets the new key beside the old one, then every node sends
//! with it, then the old one is removed everywhere.

use core::num::NonZeroU8;

use crate::wire::ClusterId;

/// The number of a key. There is no key 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyId(NonZeroU8);

impl KeyId {
    /// The key with this number, unless it is 0.
    #[inline(always)]
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        match NonZeroU8::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Its number.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0.get()
    }
}

/// A key, and its number.
///
/// Its `Debug` does not tell the secret, so that it does not get into a log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Its number.
    pub id: KeyId,
    secret: [u64; 2],
}

impl Key {
    /// A key of 16 bytes, in the order in which SipHash's authors give them.
    #[must_use]
    pub const fn new(id: KeyId, secret: [u8; 16]) -> Self {
        let secret = u128::from_le_bytes(secret);
        Self { id, secret: [secret as u64, (secret >> 64) as u64] }
    }

    /// The secret as SipHash takes it.
    #[inline(always)]
    pub(crate) const fn secret(&self) -> [u64; 2] {
        self.secret
    }
}

impl core::fmt::Debug for Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A key in [`Keys`], or none.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Slot {
    secret: [u64; 2],
    /// 0: there is no key.
    number: u8,
    padding: [u8; 7],
}

impl Slot {
    const EMPTY: Self = Self { secret: [0; 2], number: 0, padding: [0; 7] };

    const fn of(key: Key) -> Self {
        Self { secret: key.secret, number: key.id.number(), padding: [0; 7] }
    }
}

/// The keys of a cluster. Plain data, as it lies in a table that programs and agent share.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Keys {
    cluster: u64,
    slots: [Slot; 2],
}

impl Keys {
    /// A cluster with one key.
    #[must_use]
    pub const fn new(cluster: ClusterId, key: Key) -> Self {
        Self { cluster: cluster.0, slots: [Slot::of(key), Slot::EMPTY] }
    }

    /// The same with a second valid key. `None` if it has the first one's number: nobody could tell which is meant.
    #[must_use]
    pub const fn and(self, other: Key) -> Option<Self> {
        if self.slots[0].number == other.id.number() {
            return None;
        }
        Some(Self { cluster: self.cluster, slots: [self.slots[0], Slot::of(other)] })
    }

    /// Whose keys they are.
    #[inline(always)]
    #[must_use]
    pub const fn cluster(&self) -> ClusterId {
        ClusterId(self.cluster)
    }

    /// The key with this number, if it is valid.
    #[inline(always)]
    #[must_use]
    pub fn find(&self, number: u8) -> Option<Key> {
        let id = KeyId::new(number)?;
        let mut i = 0;
        while i < self.slots.len() {
            if self.slots[i].number == number {
                return Some(Key { id, secret: self.slots[i].secret });
            }
            i += 1;
        }
        None
    }
}

impl core::fmt::Debug for Keys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Keys").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

const _: () = assert!(size_of::<Keys>() == 56);

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    fn key(number: u8, byte: u8) -> Key {
        Key::new(KeyId::new(number).expect("not 0"), [byte; 16])
    }

    #[test]
    fn a_key_is_found_by_its_number() {
        let one = Keys::new(ClusterId(7), key(3, 0xaa));
        assert_eq!((one.find(3), one.find(4)), (Some(key(3, 0xaa)), None));
        let both = one.and(key(4, 0xbb)).expect("another number");
        assert_eq!((both.find(3), both.find(4)), (Some(key(3, 0xaa)), Some(key(4, 0xbb))));
        assert_eq!(both.find(5), None);
    }

    #[test]
    fn an_empty_slot_is_no_key() {
        assert_eq!(KeyId::new(0), None);
        assert_eq!(Keys::new(ClusterId(7), key(3, 0xaa)).find(0), None);
    }

    #[test]
    fn two_keys_have_two_numbers() {
        assert_eq!(Keys::new(ClusterId(7), key(3, 0xaa)).and(key(3, 0xbb)), None);
    }

    #[test]
    fn secrets_are_not_shown() {
        let key = Key::new(KeyId::new(1).expect("not 0"), [0xab; 16]);
        let shown = format!("{key:?} {:?}", Keys::new(ClusterId(7), key));
        let [secret, _] = key.secret();
        assert!(!shown.contains("171") && !shown.contains(&format!("{secret}")), "{shown}");
    }
}
