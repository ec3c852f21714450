//! Segments that no socket has sent, from addresses that need not be there.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use socket2::{Domain, Protocol, Socket, Type};

use super::Place;

/// A segment to be sent as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forged<'a> {
    /// From where it claims to come.
    pub(crate) source: SocketAddr,
    /// To where.
    pub(crate) destination: SocketAddr,
    /// Sequence number.
    pub(crate) seq: u32,
    /// Acknowledgement number.
    pub(crate) ack: u32,
    /// Flags of TCP.
    pub(crate) flags: u8,
    /// Payload.
    pub(crate) payload: &'a [u8],
}

impl Forged<'_> {
    fn segment(&self) -> Vec<u8> {
        let mut segment = Vec::new();
        segment.extend_from_slice(&self.source.port().to_be_bytes());
        segment.extend_from_slice(&self.destination.port().to_be_bytes());
        segment.extend_from_slice(&self.seq.to_be_bytes());
        segment.extend_from_slice(&self.ack.to_be_bytes());
        // Five words of header, a window of 64 KiB, no checksum yet, nothing urgent.
        segment.extend_from_slice(&[0x50, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend_from_slice(self.payload);
        let mut covered = [octets(self.source.ip()), octets(self.destination.ip())].concat();
        covered.extend_from_slice(&(segment.len() as u32).to_be_bytes());
        covered.extend_from_slice(&[0, 0, 0, libc::IPPROTO_TCP as u8]);
        covered.extend_from_slice(&segment);
        let sum = checksum(&covered).to_be_bytes();
        segment[16..18].copy_from_slice(&sum);
        segment
    }

    /// The whole IP packet. The kernel fills in IPv4's checksum.
    fn packet(&self) -> Vec<u8> {
        let segment = self.segment();
        let mut packet = if self.source.is_ipv4() {
            let length = (20 + segment.len() as u16).to_be_bytes();
            vec![0x45, 0, length[0], length[1], 0, 0, 0x40, 0, 64, libc::IPPROTO_TCP as u8, 0, 0]
        } else {
            let length = (segment.len() as u16).to_be_bytes();
            vec![0x60, 0, 0, 0, length[0], length[1], libc::IPPROTO_TCP as u8, 64]
        };
        packet.extend(octets(self.source.ip()));
        packet.extend(octets(self.destination.ip()));
        packet.extend(segment);
        packet
    }

    /// Sends it from a place.
    pub(crate) fn send(&self, place: &Place) -> Result<()> {
        place.run(|| {
            let domain = Domain::for_address(self.destination);
            let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
            // To such a socket a port means nothing, and for IPv6 it must not be there.
            let to = SocketAddr::new(self.destination.ip(), 0);
            socket.send_to(&self.packet(), &to.into())?;
            Ok(())
        })
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
