//! Addresses of clients: a prefix of IPv4 or IPv6.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Bits of an IPv6 address that say that it stands for an IPv4 address.
pub const MAPPED_BITS: u32 = 96;

/// A prefix; IPv4 as `::ffff:a.b.c.d`, with 96 bits more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The address, zero behind the prefix.
    pub address: u128,
    /// Length in bits.
    pub bits: u32,
}

/// What would be right, for messages.
pub const EXPECTED: &str = "an address or a prefix, such as \"10.0.0.0/8\" or \"2001:db8::1\"";

impl Prefix {
    /// All of IPv4.
    pub const IPV4: Self = Self { address: 0xffff << 32, bits: MAPPED_BITS };

    /// One address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self { address: number(address), bits: 128 }
    }

    /// Whether it is one of IPv4 addresses.
    #[must_use]
    pub const fn is_ipv4(&self) -> bool {
        self.bits >= MAPPED_BITS && Self::IPV4.spans(self)
    }

    /// Whether all of `other` are addresses that begin with this prefix. That `::/0` spans IPv4 addresses is a matter of how
    /// they are written; rules do not mean it: see [`Self::holds`].
    #[must_use]
    pub const fn spans(&self, other: &Self) -> bool {
        self.bits <= other.bits && other.address & mask(self.bits) == self.address
    }

    /// Whether `address` is one of these.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        let one = Self::of(address);
        self.is_ipv4() == one.is_ipv4() && self.spans(&one)
    }
}

const fn mask(bits: u32) -> u128 {
    if bits == 0 { 0 } else { u128::MAX << (128 - bits) }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Why a text is no prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixError {
    /// It is something else.
    Other,
    /// The address goes on behind the prefix, which may then be longer than it was meant to be; the nearest that is one.
    GoesOn(Prefix),
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| PrefixError::Other)?;
        let (more, bits_max) = if address.is_ipv4() { (MAPPED_BITS, 32) } else { (0, 128) };
        let bits = match bits {
            None => bits_max,
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().ok().filter(|bits| *bits <= bits_max).ok_or(PrefixError::Other)?
            }
            Some(_) => return Err(PrefixError::Other),
        };
        let bits = bits + more;
        let prefix = Self { address: number(address) & mask(bits), bits };
        if prefix.address == number(address) { Ok(prefix) } else { Err(PrefixError::GoesOn(prefix)) }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_ipv4() {
            write!(f, "{}/{}", Ipv4Addr::from_bits(self.address as u32), self.bits - MAPPED_BITS)
        } else {
            write!(f, "{}/{}", Ipv6Addr::from_bits(self.address), self.bits)
        }
    }
}

/// The prefixes of a file: one a line, with comments behind `#`. Wrong lines with their numbers.
///
/// # Errors
/// All lines that are no prefix.
pub fn list(text: &str) -> Result<Vec<Prefix>, Vec<(usize, String)>> {
    let mut prefixes = Vec::new();
    let mut wrong = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        match line.parse() {
            _ if line.is_empty() => {}
            Ok(prefix) => prefixes.push(prefix),
            Err(error) => wrong.push((number + 1, expected(line, error))),
        }
    }
    if wrong.is_empty() { Ok(prefixes) } else { Err(wrong) }
}

/// What is wrong with a text, and what would be right.
#[must_use]
pub fn expected(text: &str, error: PrefixError) -> String {
    match error {
        PrefixError::Other => format!("\"{text}\"; it must be {EXPECTED}"),
        PrefixError::GoesOn(prefix) => {
            format!("\"{text}\", whose address goes on behind the prefix; did you mean \"{prefix}\"?")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_read_and_shown() {
        for (text, shown) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("1.2.3.4", "1.2.3.4/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::ffff:1.2.3.4", "1.2.3.4/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
        ] {
            assert_eq!(text.parse::<Prefix>().map(|prefix| prefix.to_string()), Ok(shown.into()), "{text}");
        }
        for text in
            ["", "10", "10.0.0.0/33", "::/129", "1.2.3.4/", "1.2.3.4/+8", "1.2.3.4/8/8", "a.b", "010.0.0.1"]
        {
            assert_eq!(text.parse::<Prefix>(), Err(PrefixError::Other), "{text}");
        }
        let Err(error) = "10.1.2.3/8".parse::<Prefix>() else { panic!("it goes on") };
        assert_eq!(
            expected("10.1.2.3/8", error),
            "\"10.1.2.3/8\", whose address goes on behind the prefix; did you mean \"10.0.0.0/8\"?"
        );
    }

    #[test]
    fn families_are_apart() {
        let holds =
            |prefix: &str, address: &str| prefix.parse::<Prefix>().unwrap().holds(address.parse().unwrap());
        assert!(holds("0.0.0.0/0", "1.2.3.4") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("::/0", "::1") && !holds("::/0", "1.2.3.4") && !holds("::/0", "::ffff:1.2.3.4"));
        assert!(holds("1.2.0.0/16", "::ffff:1.2.3.4") && !holds("1.2.0.0/16", "1.3.0.0"));
    }

    #[test]
    fn lists_have_comments() {
        let text = "# bad ones\n10.0.0.0/8\n\n  ::1 # here\nx\n1.1.1.1/8\n";
        assert_eq!(list(text).unwrap_err().iter().map(|(line, _)| *line).collect::<Vec<_>>(), [5, 6]);
        assert_eq!(list(&text[..31]).unwrap().len(), 2);
    }
}
