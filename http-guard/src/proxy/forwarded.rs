//! The field `X-Forwarded-For`: read from proxies that are trusted, and told to the server.
//!
//! Heads come here behind the strict parser, and their fields are read by `httparse`. It has nothing against what that lets
//! pass; if it had, two readers would not agree, and the request goes no further.

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
/// believed. `None`: the head cannot be read.
pub(super) fn client(head: &[u8], peer: IpAddr, trusted: &[Prefix]) -> Option<IpAddr> {
    let mut client = peer.to_canonical();
    let fields = lines(head)?;
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
    Some(client)
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
/// anybody else has. `None`: the head cannot be read.
pub(super) fn told(head: &[u8], address: IpAddr, trusted: bool) -> Option<Vec<u8>> {
    let address = address.to_canonical().to_string();
    let fields = lines(head)?;
    let mut told = Vec::with_capacity(head.len() + NAME.len() + address.len() + 4);
    if let Some(last) = fields.last().filter(|_| trusted) {
        let line = head[..last.end].trim_ascii_end();
        told.extend_from_slice(line);
        told.extend_from_slice(if line.ends_with(b":") { b" " } else { b", " });
        told.extend_from_slice(address.as_bytes());
        told.extend_from_slice(&head[last.end..]);
        return Some(told);
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
    Some(told)
}

/// The lines of the field, without their ends. The request line is not shown to `httparse`: that wants targets in UTF-8.
fn lines(head: &[u8]) -> Option<Vec<Range<usize>>> {
    // An empty line may come first.
    let line_start = if head.starts_with(b"\r\n") { 2 } else { 0 };
    let start = line_start + line_end(&head[line_start..])? + 2;
    let fields = &head[start..];
    let most = fields.iter().filter(|byte| **byte == b'\n').count();
    let mut headers = vec![httparse::EMPTY_HEADER; most];
    let Ok(httparse::Status::Complete((len, headers))) = httparse::parse_headers(fields, &mut headers) else {
        return None;
    };
    if len != fields.len() {
        return None;
    }
    let ours = headers.iter().filter(|header| header.name.as_bytes().eq_ignore_ascii_case(NAME));
    ours.map(|header| {
        // It gives parts of what it was given.
        let at = start + header.name.as_ptr().addr().checked_sub(fields.as_ptr().addr())?;
        Some(at..at + line_end(head.get(at..)?)?)
    })
    .collect()
}

/// How long the line is, without its end.
fn line_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(|pair| pair == b"\r\n")
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
            assert_eq!(found.map(|found| found.to_string()).as_deref(), Some(expected), "{fields:?}");
        }
    }

    #[test]
    fn nobody_else_is_believed() {
        let head = head("X-Forwarded-For: 192.0.2.1\r\n");
        let peer = "203.0.113.1".parse().unwrap();
        assert_eq!(client(&head, peer, &trusted()), Some(peer));
        assert!(is_trusted(&trusted(), "::ffff:10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn what_two_readers_do_not_agree_on_goes_no_further() {
        let address = "203.0.113.1".parse().unwrap();
        for bytes in [
            head("X-Forwarded-For : 192.0.2.1\r\n"),
            head("X\r\n"),
            head("\r\nX-Forwarded-For: 192.0.2.1\r\n"),
            b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec(),
            b"GET / HTTP/1.1".to_vec(),
        ] {
            assert_eq!(client(&bytes, address, &trusted()), None, "{bytes:?}");
            assert_eq!(told(&bytes, address, false), None, "{bytes:?}");
        }
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
            let told = told(&head(fields), address, trusted).expect("a head");
            assert_eq!(
                String::from_utf8_lossy(&told),
                String::from_utf8_lossy(&head(expected)),
                "{fields:?}"
            );
        }
    }
}
