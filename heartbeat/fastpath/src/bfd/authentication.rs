//! Keyed SHA1 and meticulous keyed SHA1 (RFC 5880 sections 4.4 and 6.7.4).
//!
//! The hash is looked at before the sequence number: the RFC's text would let a session that knows no number yet learn one
//! from a packet whose hash is wrong, after which true ones are refused. Here nothing changes before the hash is right.

use core::hint::black_box;

use sha1::{Digest, Sha1};

use super::{CONTROL_BYTES, Control, Refusal, Unverified, flag};

/// Bytes of an authentication section of these types.
const SECTION_BYTES: usize = 28;
/// Bytes of a packet with one.
pub const AUTHENTICATED_BYTES: usize = CONTROL_BYTES + SECTION_BYTES;
/// Bytes of a hash, and of the longest secret.
const HASH_BYTES: usize = 20;
/// Where the hash stands: the last bytes.
const HASH_AT: usize = AUTHENTICATED_BYTES - HASH_BYTES;

/// Which of the two types.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// A sequence number may be used again.
    Keyed = 4,
    /// Each packet has a sequence number of its own.
    Meticulous = 5,
}

/// A secret, and its number in packets.
///
/// Its `Debug` does not tell the secret, so that it does not get into a log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key {
    id: u8,
    /// Filled up with zeros.
    secret: [u8; HASH_BYTES],
}

impl Key {
    /// A secret of 1 to 20 bytes. `None` if it has another length.
    #[must_use]
    pub fn new(id: u8, secret: &[u8]) -> Option<Self> {
        if secret.is_empty() {
            return None;
        }
        let mut padded = [0; HASH_BYTES];
        padded.get_mut(..secret.len())?.copy_from_slice(secret);
        Some(Self { id, secret: padded })
    }

    /// The hash of a packet, whatever stands in the place of its own.
    fn hash(&self, packet: &[u8; AUTHENTICATED_BYTES]) -> [u8; HASH_BYTES] {
        let mut hash = Sha1::new();
        hash.update(&packet[..HASH_AT]);
        hash.update(self.secret);
        hash.finalize().into()
    }
}

impl core::fmt::Debug for Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Control {
    /// Its bytes, with this sequence number and their hash under `key`.
    #[must_use]
    pub fn encode_authenticated(&self, kind: Type, key: &Key, sequence: u32) -> [u8; AUTHENTICATED_BYTES] {
        let mut bytes = [0; AUTHENTICATED_BYTES];
        bytes[..CONTROL_BYTES].copy_from_slice(&self.header(AUTHENTICATED_BYTES as u8, flag::AUTHENTICATION));
        bytes[CONTROL_BYTES..CONTROL_BYTES + 4].copy_from_slice(&[
            kind as u8,
            SECTION_BYTES as u8,
            key.id,
            0,
        ]);
        bytes[CONTROL_BYTES + 4..HASH_AT].copy_from_slice(&sequence.to_be_bytes());
        let hash = key.hash(&bytes);
        bytes[HASH_AT..].copy_from_slice(&hash);
        bytes
    }
}

/// What a session knows of the other side's packets.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    kind: Type,
    key: Key,
    /// Also valid, while keys are changed.
    other_key: Option<Key>,
    /// The last sequence number; `None` while none is known.
    sequence: Option<u32>,
}

impl Session {
    /// A session that has heard nothing.
    #[must_use]
    pub const fn new(kind: Type, key: Key) -> Self {
        Self { kind, key, other_key: None, sequence: None }
    }

    /// The keys are these from now on. Which of two keys with one number is meant nobody could tell: then the second is not
    /// valid, and the result is false.
    pub fn set_keys(&mut self, key: Key, other: Option<Key>) -> bool {
        let distinct = other.is_none_or(|other| other.id != key.id);
        (self.key, self.other_key) = (key, other.filter(|_| distinct));
        distinct
    }

    /// The other side may begin with any sequence number again: to be called when nothing was heard for twice the detection
    /// time (RFC 5880 section 6.8.1, `bfd.AuthSeqKnown`).
    pub const fn forget_sequence(&mut self) {
        self.sequence = None;
    }

    /// Takes a packet of this session, and says what it says.
    ///
    /// # Errors
    /// The first check that fails, from [`Refusal::Unauthenticated`] on; then nothing has changed.
    pub fn receive(&mut self, packet: &Unverified<'_>) -> Result<Control, Refusal> {
        if !packet.authenticated {
            return Err(Refusal::Unauthenticated);
        }
        // `Unverified::read` has seen to it that type and length of the section are there.
        let &[kind, section_bytes, ..] = &packet.bytes[CONTROL_BYTES..] else {
            return Err(Refusal::WrongAuthenticationLength);
        };
        if kind != self.kind as u8 {
            return Err(Refusal::WrongType);
        }
        let Ok(bytes) = <&[u8; AUTHENTICATED_BYTES]>::try_from(packet.bytes) else {
            return Err(Refusal::WrongAuthenticationLength);
        };
        if usize::from(section_bytes) != SECTION_BYTES {
            return Err(Refusal::WrongAuthenticationLength);
        }
        let key = self.find(bytes[CONTROL_BYTES + 2]).ok_or(Refusal::UnknownKey)?;
        if !same(&key.hash(bytes), &bytes[HASH_AT..]) {
            return Err(Refusal::WrongHash);
        }
        let [.., s0, s1, s2, s3] = bytes[..HASH_AT] else { return Err(Refusal::WrongAuthenticationLength) };
        let sequence = u32::from_be_bytes([s0, s1, s2, s3]);
        if !self.follows(sequence, packet.control.detect_multiplier.get()) {
            return Err(Refusal::Replayed);
        }
        self.sequence = Some(sequence);
        Ok(packet.control)
    }

    fn find(&self, id: u8) -> Option<&Key> {
        [Some(&self.key), self.other_key.as_ref()].into_iter().flatten().find(|key| key.id == id)
    }

    /// Whether a sequence number may come now: at most three detection times ahead of the last one, on a circle.
    fn follows(&self, sequence: u32, detect_multiplier: u8) -> bool {
        let Some(last) = self.sequence else { return true };
        let least = match self.kind {
            Type::Keyed => 0,
            Type::Meticulous => 1,
        };
        (least..=3 * u32::from(detect_multiplier)).contains(&sequence.wrapping_sub(last))
    }
}

/// Whether both are the same, in a time that does not tell where they differ.
fn same(hash: &[u8; HASH_BYTES], other: &[u8]) -> bool {
    let differences = hash.iter().zip(other).fold(0, |all, (one, other)| black_box(all | (one ^ other)));
    differences == 0 && other.len() == HASH_BYTES
}
