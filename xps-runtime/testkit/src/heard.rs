//! Frames that come back from the server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use xps_core::packet::{IPV4, IPV6, TCP};

use crate::options;

/// A server's segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The server's address and port.
    pub server: (IpAddr, u16),
    /// The client's address and port.
    pub client: (IpAddr, u16),
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flags.
    pub flags: u8,
    /// Window field.
    pub window: u16,
    /// Timestamp and window shift.
    pub options: options::Found,
    /// Payload.
    pub payload: Vec<u8>,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A segment.
    Tcp(Segment),
    /// A reply to [`echo_request`] with this number.
    Echo(u16),
    /// Something else.
    Other,
}

/// ICMP over IPv4.
const ICMP: u8 = 1;

/// Reads a frame.
#[must_use]
pub fn read(frame: &[u8]) -> Heard {
    parse(frame).unwrap_or(Heard::Other)
}

fn parse(frame: &[u8]) -> Option<Heard> {
    let half = |at: usize| Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?));
    let word = |at: usize| Some(u32::from_be_bytes(*frame.get(at..)?.first_chunk()?));
    let ip = 14;
    let (protocol, source, destination, at, end) = match half(12)? {
        IPV4 => {
            let address = |at| Some(IpAddr::V4(Ipv4Addr::from(word(at)?)));
            let header = usize::from(*frame.get(ip)? & 15) * 4;
            let end = ip + usize::from(half(ip + 2)?);
            (*frame.get(ip + 9)?, address(ip + 12)?, address(ip + 16)?, ip + header, end)
        }
        IPV6 => {
            let address =
                |at: usize| Some(IpAddr::V6(Ipv6Addr::from(*frame.get(at..)?.first_chunk::<16>()?)));
            let end = ip + 40 + usize::from(half(ip + 4)?);
            (*frame.get(ip + 6)?, address(ip + 8)?, address(ip + 24)?, ip + 40, end)
        }
        _ => return None,
    };
    match protocol {
        ICMP if *frame.get(at)? == 0 => Some(Heard::Echo(half(at + 6)?)),
        TCP => {
            let header = usize::from(*frame.get(at + 12)? >> 4) * 4;
            Some(Heard::Tcp(Segment {
                server: (source, half(at)?),
                client: (destination, half(at + 2)?),
                seq: word(at + 4)?,
                ack: word(at + 8)?,
                flags: *frame.get(at + 13)?,
                window: half(at + 14)?,
                options: options::read(frame.get(at + 20..at + header)?),
                payload: frame.get(at + header..end)?.to_vec(),
            }))
        }
        _ => None,
    }
}

/// An ICMP echo request: its reply says that all frames before it were looked at.
#[must_use]
pub fn echo_request(link: [[u8; 6]; 2], source: Ipv4Addr, destination: Ipv4Addr, number: u16) -> Vec<u8> {
    use xps_core::checksum::{fold, of_bytes};
    let mut icmp = vec![8, 0, 0, 0, 0x58, 0x50];
    icmp.extend(number.to_be_bytes());
    let sum = !fold(of_bytes(&icmp));
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut frame = [link[1], link[0]].concat();
    frame.extend(IPV4.to_be_bytes());
    frame.extend([0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, ICMP, 0, 0]);
    frame.extend(source.octets());
    frame.extend(destination.octets());
    let sum = !fold(of_bytes(&frame[14..]));
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame.extend(icmp);
    frame
}
