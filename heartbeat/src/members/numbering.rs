//! Numbers of members that are only known by their address, as those behind a name are.
//!
//! An IPv4 address is a number. An IPv6 address is hashed to one: two of a cluster's have the same with a probability of 2^-32,
//! which is told when it happens.

use std::net::IpAddr;

use heartbeat_fastpath::wire::NodeId;
use xps_core::siphash::SipHash24;

use super::OPERATORS;

/// The number that belongs to an address.
#[must_use]
pub fn of(address: IpAddr) -> NodeId {
    let number = match address.to_canonical() {
        IpAddr::V4(address) => u32::from(address),
        IpAddr::V6(address) => {
            let address = u128::from(address);
            let mut hash = SipHash24::new([0, 0]);
            hash.aligned((address >> 64) as u64);
            hash.aligned(address as u64);
            hash.finish_with(0, 0) as u32
        }
    };
    // 0 is nobody, and some are kept back.
    let number = if OPERATORS.contains(&number) { number - 0x1000 } else { number.max(1) };
    NodeId::new(number).unwrap_or(NodeId::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_number_however_it_is_written() {
        let number = |text: &str| of(text.parse().expect("an address")).number();
        assert_eq!(number("10.0.0.2"), 0x0a00_0002);
        assert_eq!(number("::ffff:10.0.0.2"), 0x0a00_0002);
        assert_eq!(number("fd00::2"), number("fd00:0::2"));
        assert_ne!(number("fd00::2"), number("fd00::3"));
        assert_eq!(number("0.0.0.0"), 1);
        assert!(!OPERATORS.contains(&number("255.255.255.255")));
    }
}
