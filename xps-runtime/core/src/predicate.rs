//! The predicate table: which packets a service may look at.
//!
//! A packet is looked up by one byte per TCP port ([`crate::abi::map::PORTS`]); a port that nobody asked for costs one load.

/// Most predicates a service can have; index 0 means "not ours".
pub const PREDICATES_MAX: u32 = 16;

/// What a port is to a predicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Where clients of XPS connect.
    Accelerated,
    /// Where the server itself listens.
    Plain,
}

/// One accelerated port and the server's own behind it: the plain port. Where both are the same, the server's own port is
/// accelerated in place.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Predicate {
    /// The server's address, IPv4 as `::ffff:a.b.c.d`; see `prefix_bits`.
    pub address: [u8; 16],
    /// How many leading bits of `address` must match; 0 is any address.
    pub prefix_bits: u32,
    /// The accelerated port; 0 if connections are only observed.
    pub accelerated_port: u16,
    /// The plain port.
    pub plain_port: u16,
}

impl Predicate {
    /// What `port` on `server` is to this predicate.
    #[inline(always)]
    #[must_use]
    pub fn role(&self, server: &[u8; 16], port: u16) -> Option<Role> {
        if self.prefix_bits != 0 && !self.covers(server) {
            return None;
        }
        if port == self.accelerated_port {
            Some(Role::Accelerated)
        } else if port == self.plain_port {
            Some(Role::Plain)
        } else {
            None
        }
    }

    /// Whether the accelerated port is the server's own.
    #[inline(always)]
    #[must_use]
    pub const fn in_place(&self) -> bool {
        self.accelerated_port == self.plain_port
    }

    #[inline(always)]
    fn covers(&self, server: &[u8; 16]) -> bool {
        let difference = u128::from_be_bytes(*server) ^ u128::from_be_bytes(self.address);
        let mut low = (difference & u128::from(u64::MAX)) as u64;
        let mut high = (difference >> 64) as u64;
        let bits = self.prefix_bits & 0x7f;
        // Shifts of 64 bits only: this target has no shift of 128.
        if self.prefix_bits >= 128 {
        } else if bits >= 64 {
            low = if bits == 64 { 0 } else { low >> ((128 - bits) & 63) };
        } else {
            low = 0;
            high = if bits == 0 { 0 } else { high >> ((64 - bits) & 63) };
        }
        (low | high) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn v4(a: u8, b: u8, c: u8, d: u8) -> [u8; 16] {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
    }

    #[test]
    fn ports_have_roles() {
        let p = Predicate { accelerated_port: 6380, plain_port: 6379, ..Predicate::default() };
        assert_eq!(p.role(&v4(1, 2, 3, 4), 6379), Some(Role::Plain));
        assert_eq!(p.role(&v4(1, 2, 3, 4), 6380), Some(Role::Accelerated));
        assert_eq!(p.role(&v4(1, 2, 3, 4), 6381), None);
    }

    #[test]
    fn addresses_are_matched_by_prefix() {
        for (bits, inside) in [(128, false), (127, true), (120, true), (64, true), (1, true), (0, true)] {
            let p =
                Predicate { address: v4(10, 0, 0, 2), prefix_bits: bits, accelerated_port: 2, plain_port: 1 };
            assert!(p.role(&v4(10, 0, 0, 2), 1).is_some(), "{bits}");
            assert_eq!(p.role(&v4(10, 0, 0, 3), 1).is_some(), inside, "{bits}");
        }
        let p = Predicate { address: v4(10, 0, 0, 2), prefix_bits: 104, accelerated_port: 2, plain_port: 1 };
        assert!(p.role(&v4(11, 0, 0, 2), 1).is_none());
    }
}
