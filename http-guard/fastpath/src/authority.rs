//! A host with its port, from the target or the Host field (RFC 3986 section 3.2.2, RFC 9110 section 7.2).
//!
//! What is told is the host as Nginx selects servers by it: lower case, without port, without the dot at its end. An
//! empty host is refused, as Nginx does, though RFC 9110 allows one; so are two dots in a row and ports over 65535.

use crate::Step;

mod phase {
    pub(super) const START: u8 = 0;
    pub(super) const NAME: u8 = 1;
    /// In an address in brackets.
    pub(super) const LITERAL: u8 = 2;
    pub(super) const LITERAL_END: u8 = 3;
    pub(super) const PORT: u8 = 4;
}

/// State of the parser; all zero before the host.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Authority {
    /// Hash of all bytes in lower case, the port included.
    hash: u64,
    port: u32,
    phase: u8,
    /// Whether a dot was read and not yet told: it may be the last byte.
    held: u8,
    /// Whether a byte was told.
    told: u8,
    padding: u8,
}

impl Authority {
    /// Before the host. Hashes with different seeds are not comparable.
    #[inline(always)]
    #[must_use]
    pub const fn start(seed: u64) -> Self {
        Self { hash: seed, port: 0, phase: 0, held: 0, told: 0, padding: 0 }
    }

    /// Hash of all bytes, letters in lower case.
    #[inline(always)]
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// Reads a byte. `told` is set to a byte of the host that is to be told, and left alone otherwise.
    #[inline(always)]
    pub fn feed(&mut self, byte: u8, told: &mut u8) -> Step {
        let byte = byte.to_ascii_lowercase();
        let colon = byte == b':' && self.phase != phase::LITERAL;
        if self.held != 0 && !colon {
            if byte == b'.' {
                return Step::Refused;
            }
            self.held = 0;
            self.told = 1;
            *told = b'.';
            return Step::Again;
        }
        let mut tell = false;
        if self.phase == phase::PORT {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return Step::Refused;
            }
            self.port = self.port * 10 + digit as u32;
            if self.port > 0xffff {
                return Step::Refused;
            }
        } else if colon {
            self.phase = phase::PORT;
            self.held = 0;
        } else if self.phase == phase::LITERAL_END {
            return Step::Refused;
        } else if byte == b'.' {
            if self.phase == phase::START {
                self.phase = phase::NAME;
            }
            self.held = 1;
        } else if self.phase == phase::START && byte == b'[' {
            self.phase = phase::LITERAL;
            tell = true;
        } else if self.phase == phase::LITERAL {
            if byte == b']' {
                self.phase = phase::LITERAL_END;
            } else if byte != b':' && !is_unreserved_or_delimiter(byte) {
                return Step::Refused;
            }
            tell = true;
        } else {
            if byte != b'%' && !is_unreserved_or_delimiter(byte) {
                return Step::Refused;
            }
            self.phase = phase::NAME;
            tell = true;
        }
        let mixed = (self.hash ^ byte as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.hash = mixed ^ mixed >> 29;
        if tell {
            self.told = 1;
            *told = byte;
        }
        Step::Taken
    }

    /// Whether letters in lower case, digits and `-` are only told: then they count as read, but are not in the hash.
    #[inline(always)]
    pub(crate) const fn goes_on(&mut self) -> bool {
        if self.held != 0 || self.phase > phase::NAME {
            return false;
        }
        self.phase = phase::NAME;
        self.told = 1;
        true
    }

    /// Whether what was read is a whole host.
    #[inline(always)]
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.told != 0 && self.phase != phase::LITERAL
    }
}

/// Unreserved characters and delimiters within parts, in lower case and without the dot (RFC 3986 sections 2.2 and 2.3).
#[inline(always)]
const fn is_unreserved_or_delimiter(byte: u8) -> bool {
    // One bit for each of the 128 characters: letters, digits, and -_~!$&'()*+,;=
    const LOW: u64 = 0x2bff_3fd2 << 32;
    const HIGH: u64 = 0x47ff_fffe_8000_0000;
    if byte < 64 { LOW >> byte & 1 != 0 } else { byte < 128 && HIGH >> (byte - 64) & 1 != 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_bytes_are_those_of_the_standard() {
        for byte in 0..=255u8 {
            let letter = byte.is_ascii_lowercase() || byte.is_ascii_digit();
            assert_eq!(
                is_unreserved_or_delimiter(byte),
                letter || b"-_~!$&'()*+,;=".contains(&byte),
                "{byte:#x}"
            );
        }
    }
}
