//! The PROXY protocol, versions 1 and 2: a load balancer's word on whose connection it is.
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>
//!
//! Strict: what is not plainly a header, within the length that one may have, is none. Only peers that are trusted are read
//! by it, and from them it must come.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header of version 1, its end included.
const TEXT_BYTES_MAX: usize = 107;
/// What a header of version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes before a header's addresses in version 2.
const FIXED_BYTES: usize = 16;
/// Longest header of version 2 that is read: with all that others put behind the addresses.
const BINARY_BYTES_MAX: usize = 4096;

/// Version and command of a header that tells of a client, and of one that tells of nobody.
const PROXY: u8 = 0x21;
const LOCAL: u8 = 0x20;
/// Families of addresses, with TCP.
const UNKNOWN: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// What a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// The beginning of a header.
    More,
    /// A header of so many bytes.
    Header(usize, Option<Ends>),
}

/// Both ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    /// The client.
    pub(super) client: SocketAddr,
    /// The address that it connected to.
    pub(super) server: SocketAddr,
}

/// It is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the connection does not begin with a header of the PROXY protocol: configure its sender to send one"
)]
pub(super) struct NoHeader;

/// Reads the header that a connection begins with.
pub(super) fn read(bytes: &[u8]) -> Result<Start, NoHeader> {
    const TEXT: &[u8] = b"PROXY ";
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(byte, expected)| byte == expected);
    if begins(SIGNATURE) {
        if bytes.len() < FIXED_BYTES { Ok(Start::More) } else { binary(bytes) }
    } else if begins(TEXT) {
        if bytes.len() < TEXT.len() { Ok(Start::More) } else { text(bytes, TEXT.len()) }
    } else {
        Err(NoHeader)
    }
}

fn text(bytes: &[u8], at: usize) -> Result<Start, NoHeader> {
    let shown = &bytes[..bytes.len().min(TEXT_BYTES_MAX)];
    let Some(end) = shown.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < TEXT_BYTES_MAX { Ok(Start::More) } else { Err(NoHeader) };
    };
    let line = std::str::from_utf8(&bytes[at..end]).map_err(|_| NoHeader)?;
    let mut words = line.split(' ');
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(Start::Header(end + 2, None));
    }
    let mut address = || -> Result<IpAddr, NoHeader> {
        let word = words.next().ok_or(NoHeader)?;
        match family {
            Some("TCP4") => word.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| NoHeader),
            Some("TCP6") => word.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| NoHeader),
            _ => Err(NoHeader),
        }
    };
    let (client, server) = (address()?, address()?);
    let (client_port, server_port) = (port(words.next())?, port(words.next())?);
    if words.next().is_some() {
        return Err(NoHeader);
    }
    let ends = Ends {
        client: SocketAddr::new(client.to_canonical(), client_port),
        server: SocketAddr::new(server.to_canonical(), server_port),
    };
    Ok(Start::Header(end + 2, Some(ends)))
}

/// A port in decimal, without signs or zeros before it.
fn port(word: Option<&str>) -> Result<u16, NoHeader> {
    let word = word.ok_or(NoHeader)?;
    let plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    if plain { word.parse().map_err(|_| NoHeader) } else { Err(NoHeader) }
}

fn binary(bytes: &[u8]) -> Result<Start, NoHeader> {
    let (command, family) = (bytes[12], bytes[13]);
    let len = FIXED_BYTES + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    let addresses = match (command, family) {
        (LOCAL, _) | (PROXY, UNKNOWN) => 0,
        (PROXY, TCP4) => 4,
        (PROXY, TCP6) => 16,
        // Nothing else comes over TCP.
        _ => return Err(NoHeader),
    };
    if len > BINARY_BYTES_MAX || len < FIXED_BYTES + 2 * addresses + if addresses == 0 { 0 } else { 4 } {
        return Err(NoHeader);
    }
    if bytes.len() < len {
        return Ok(Start::More);
    }
    if addresses == 0 {
        return Ok(Start::Header(len, None));
    }
    let end = |at: usize, port: usize| {
        let (at, port) = (FIXED_BYTES + at, FIXED_BYTES + 2 * addresses + port);
        let mut octets = [0; 16];
        octets[..addresses].copy_from_slice(&bytes[at..at + addresses]);
        let address = match addresses {
            4 => IpAddr::from([octets[0], octets[1], octets[2], octets[3]]),
            _ => IpAddr::from(octets).to_canonical(),
        };
        SocketAddr::new(address, u16::from_be_bytes([bytes[port], bytes[port + 1]]))
    };
    Ok(Start::Header(len, Some(Ends { client: end(0, 0), server: end(addresses, 2) })))
}

/// A header of version 1.
pub(super) fn text_header(ends: &Ends) -> Vec<u8> {
    let (family, client, server) = match same_family(ends) {
        (IpAddr::V4(client), IpAddr::V4(server)) => ("TCP4", client.to_string(), server.to_string()),
        (client, server) => ("TCP6", client.to_string(), server.to_string()),
    };
    format!("PROXY {family} {client} {server} {} {}\r\n", ends.client.port(), ends.server.port()).into_bytes()
}

/// A header of version 2.
pub(super) fn binary_header(ends: &Ends) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    let addresses = match same_family(ends) {
        (IpAddr::V4(client), IpAddr::V4(server)) => {
            header.extend([PROXY, TCP4]);
            [client.octets(), server.octets()].concat()
        }
        (client, server) => {
            header.extend([PROXY, TCP6]);
            [client, server].map(as_ipv6).concat()
        }
    };
    header.extend((addresses.len() as u16 + 4).to_be_bytes());
    header.extend(addresses);
    header.extend(ends.client.port().to_be_bytes());
    header.extend(ends.server.port().to_be_bytes());
    header
}

fn as_ipv6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// Both addresses as IPv4, or both as IPv6.
fn same_family(ends: &Ends) -> (IpAddr, IpAddr) {
    let (client, server) = (ends.client.ip().to_canonical(), ends.server.ip().to_canonical());
    if client.is_ipv4() == server.is_ipv4() {
        (client, server)
    } else {
        (IpAddr::from(as_ipv6(client)), IpAddr::from(as_ipv6(server)))
    }
}

#[cfg(test)]
#[path = "proxy_protocol_tests.rs"]
mod tests;
