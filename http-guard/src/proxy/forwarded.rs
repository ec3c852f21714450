//! The field `X-Forwarded-For`: read from proxies that are trusted, and told to the server.
//!
//! Heads come here behind the strict parser: lines end with CR and LF and are not folded, and a name ends at its colon. So the
//! fields are found by these alone, whatever bytes values and targets are of.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use crate::rules::prefix::Prefix;

const NAME: &[u8] = b"X-Forwarded-For";

/// Whether one of the prefixes holds an address.
pub(super) fn is_trusted(trusted: &[Prefix], address: IpAddr) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|prefix| prefix.holds(address))
}

/// Whose request it is that came from `peer`: who asked the first proxy that is trusted. An address that is none ends what is
/// believed.
pub(super) fn client(head: &[u8], peer: IpAddr, trusted: &[Prefix]) -> IpAddr {
    let mut client = peer.to_canonical();
    let fields: Vec<_> = lines(head).collect();
    let values = fields.iter().rev().map(|line| &head[line.clone()][NAME.len() + 1..]);
    for element in values.flat_map(|value| value.rsplit(|byte| *byte == b',')) {
        if !is_trusted(trusted, client) {
            break;
        }
        let element = element.trim_ascii();
        // An empty element is none (RFC 9110 section 5.6.1).
        if element.is_empty() {
            continue;
        }
        let Some(address) = std::str::from_utf8(element).ok().and_then(address) else { break };
        client = address;
    }
    client
}

/// An address, perhaps with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = match bare {
        Some(bare) => bare.parse().ok().filter(IpAddr::is_ipv6),
        None => text.parse().ok().or_else(|| text.parse().ok().map(|with_port: SocketAddr| with_port.ip())),
    };
    address.map(|address| address.to_canonical())
}

/// A head that tells the server who asks: `address` is appended to what a trusted proxy has said, or takes the place of what
/// anybody else has.
pub(super) fn told(head: &[u8], address: IpAddr, trusted: bool) -> Vec<u8> {
    let address = address.to_canonical().to_string();
    let fields: Vec<_> = lines(head).collect();
    let mut told = Vec::with_capacity(head.len() + NAME.len() + address.len() + 4);
    if let Some(last) = fields.last().filter(|_| trusted) {
        let line = head[..last.end].trim_ascii_end();
        told.extend_from_slice(line);
        told.extend_from_slice(if line.ends_with(b":") { b" " } else { b", " });
        told.extend_from_slice(address.as_bytes());
        told.extend_from_slice(&head[last.end..]);
        return told;
    }
    let mut at = 0;
    for line in fields {
        told.extend_from_slice(&head[at..line.start]);
        at = line.end + 2;
    }
    // Before the empty line at the end.
    let end = head.len().saturating_sub(2).max(at);
    told.extend_from_slice(&head[at..end]);
    told.extend_from_slice(NAME);
    told.extend_from_slice(b": ");
    told.extend_from_slice(address.as_bytes());
    told.extend_from_slice(b"\r\n");
    told.extend_from_slice(&head[end..]);
    told
}

/// The lines of the field, without their ends.
fn lines(head: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    let lines = std::iter::from_fn(move || {
        let len = head.get(at..)?.windows(2).position(|pair| pair == b"\r\n")?;
        let line = at..at + len;
        at = line.end + 2;
        Some(line)
    });
    lines.filter(|line| {
        let line = &head[line.clone()];
        line.get(NAME.len()) == Some(&b':') && line[..NAME.len()].eq_ignore_ascii_case(NAME)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &str) -> Vec<u8> {
        // Targets need not be UTF-8.
        [b"\r\nGET /\xff HTTP/1.1\r\nHost: a.example\r\n", fields.as_bytes(), b"\r\n"].concat()
    }

    fn trusted() -> Vec<Prefix> {
        ["10.0.0.0/8", "2001:db8::/32"].map(|prefix| prefix.parse().unwrap()).to_vec()
    }

    #[test]
    fn the_right_most_address_that_is_not_trusted_is_the_client() {
        for (fields, expected) in [
            ("", "10.0.0.1"),
            ("X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1"),
            ("x-forwarded-for:192.0.2.1 , 10.2.3.4\r\n", "192.0.2.1"),
            ("X-Forwarded-For: 198.51.100.9, 192.0.2.1, 10.2.3.4\r\n", "192.0.2.1"),
            ("X-Forwarded-For: 192.0.2.1\r\nX: y\r\nX-FORWARDED-FOR: 10.2.3.4\r\n", "192.0.2.1"),
            ("X-Forwarded-For: 10.9.9.9, 10.2.3.4\r\n", "10.9.9.9"),
            ("X-Forwarded-For: 192.0.2.1, unknown, 10.2.3.4\r\n", "10.2.3.4"),
            ("X-Forwarded-For: unknown\r\n", "10.0.0.1"),
            ("X-Forwarded-For:\r\n", "10.0.0.1"),
            ("X-Forwarded-For: 192.0.2.1,, 10.2.3.4,\r\n", "192.0.2.1"),
            ("X-Forwarded-For: 192.0.2.1:4711\r\n", "192.0.2.1"),
            ("X-Forwarded-For: [2001:db9::1]:4711, [2001:db8::7]\r\n", "2001:db9::1"),
            ("X-Forwarded-For: ::ffff:192.0.2.1\r\n", "192.0.2.1"),
            ("X-Forwarded-Fort: 192.0.2.1\r\nX-Forwarded: 192.0.2.1\r\n", "10.0.0.1"),
            ("X-Forwarded-For: [192.0.2.1]\r\n", "10.0.0.1"),
        ] {
            let found = client(&head(fields), "10.0.0.1".parse().unwrap(), &trusted());
            assert_eq!(found.to_string(), expected, "{fields:?}");
        }
    }

    #[test]
    fn nobody_else_is_believed() {
        let head = head("X-Forwarded-For: 192.0.2.1\r\n");
        let peer = "203.0.113.1".parse().unwrap();
        assert_eq!(client(&head, peer, &trusted()), peer);
        assert!(is_trusted(&trusted(), "::ffff:10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn the_server_is_told() {
        let address = "203.0.113.1".parse().unwrap();
        for (trusted, fields, expected) in [
            (false, "", "X-Forwarded-For: 203.0.113.1\r\n"),
            (true, "A: b\r\n", "A: b\r\nX-Forwarded-For: 203.0.113.1\r\n"),
            (
                false,
                "A: b\r\nx-forwarded-for: 1.2.3.4\r\nC: d\r\n",
                "A: b\r\nC: d\r\nX-Forwarded-For: 203.0.113.1\r\n",
            ),
            (false, "X-Forwarded-For: 1\r\nX-Forwarded-For: 2\r\n", "X-Forwarded-For: 203.0.113.1\r\n"),
            (
                true,
                "X-Forwarded-For: 1.2.3.4\r\nA: b\r\nx-forwarded-for:5.6.7.8 \r\nC: d\r\n",
                "X-Forwarded-For: 1.2.3.4\r\nA: b\r\nx-forwarded-for:5.6.7.8, 203.0.113.1\r\nC: d\r\n",
            ),
            (true, "X-Forwarded-For:  \r\n", "X-Forwarded-For: 203.0.113.1\r\n"),
        ] {
            let told = told(&head(fields), address, trusted);
            assert_eq!(
                String::from_utf8_lossy(&told),
                String::from_utf8_lossy(&head(expected)),
                "{fields:?}"
            );
        }
    }
}
