//! A datagram in its frame, written down field by field and independently of what reads it, for tests.

use std::vec::Vec;

use xps_core::checksum::{fold, of_bytes};

/// A frame with one UDP datagram. What a test wants wrong, it sets.
#[derive(Clone, Debug)]
pub struct Text {
    /// Hardware addresses: of the destination, of the source.
    pub hardware: [[u8; 6]; 2],
    /// EtherTypes of the tags in front, from the outer one on.
    pub tags: Vec<u16>,
    /// Source and destination address.
    pub addresses: [Address; 2],
    /// Source and destination port.
    pub ports: [u16; 2],
    /// Time to live, or hop limit.
    pub hop_limit: u8,
    /// Flags and offset of IPv4's fragments.
    pub fragment: u16,
    /// Options of IPv4, whole words.
    pub options: Vec<u8>,
    /// Number of an extension header of IPv6 that stands in front.
    pub extension: Option<u8>,
    /// The payload.
    pub payload: Vec<u8>,
    /// The UDP checksum, where it is not to be the right one.
    pub checksum: Option<u16>,
}

/// An address of either kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// IPv4.
    V4([u8; 4]),
    /// IPv6.
    V6([u8; 16]),
}

impl Address {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::V4(bytes) => bytes,
            Self::V6(bytes) => bytes,
        }
    }
}

impl Text {
    /// The reply that belongs to it, with this payload.
    #[must_use]
    pub fn reply(&self, payload: &[u8]) -> Self {
        let mut reply = self.clone();
        reply.hardware.reverse();
        reply.addresses.reverse();
        reply.ports.reverse();
        reply.hop_limit = 64;
        reply.checksum = None;
        reply.payload = payload.to_vec();
        reply
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut frame = self.hardware.concat();
        for tag in &self.tags {
            frame.extend(tag.to_be_bytes());
            // The number of the VLAN looks like an EtherType.
            frame.extend([0x08, 0x00]);
        }
        let udp = self.udp();
        match self.addresses[0] {
            Address::V4(_) => {
                frame.extend([0x08, 0x00]);
                frame.extend(self.header_v4(udp.len()));
            }
            Address::V6(_) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                let extension = self.extension.map(|_| [17, 0, 0, 0, 0, 0, 0, 0]);
                let len = udp.len() + extension.map_or(0, |extension| extension.len());
                frame.extend((len as u16).to_be_bytes());
                frame.extend([self.extension.unwrap_or(17), self.hop_limit]);
                frame.extend(self.addresses.iter().flat_map(Address::bytes));
                frame.extend(extension.into_iter().flatten());
            }
        }
        frame.extend(udp);
        frame
    }

    fn header_v4(&self, payload: usize) -> Vec<u8> {
        let len = 20 + self.options.len();
        let mut header = std::vec![0x40 | (len / 4) as u8, 0x10];
        header.extend(((len + payload) as u16).to_be_bytes());
        header.extend([0x12, 0x34]);
        header.extend(self.fragment.to_be_bytes());
        header.extend([self.hop_limit, 17, 0, 0]);
        header.extend(self.addresses.iter().flat_map(Address::bytes));
        header.extend(&self.options);
        let sum = !fold(of_bytes(&header));
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header
    }

    fn udp(&self) -> Vec<u8> {
        let len = (8 + self.payload.len()) as u16;
        let mut udp = Vec::new();
        udp.extend(self.ports.iter().flat_map(|port| port.to_be_bytes()));
        udp.extend(len.to_be_bytes());
        udp.extend([0, 0]);
        udp.extend(&self.payload);
        let pseudo: u64 = self.addresses.iter().map(|address| of_bytes(address.bytes())).sum();
        let sum = match !fold(pseudo + 17 + u64::from(len) + of_bytes(&udp)) {
            0 => 0xffff,
            sum => sum,
        };
        udp[6..8].copy_from_slice(&self.checksum.unwrap_or(sum).to_be_bytes());
        udp
    }
}
