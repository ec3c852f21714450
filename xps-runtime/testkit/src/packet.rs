//! A client's packet as fields, each of which can be wrong; and the frames that it becomes.

use std::net::IpAddr;

use xps_core::checksum::{fold, of_bytes};
use xps_core::packet::{IPV4, IPV6, TCP};

/// What a checksum field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// The right one.
    Right,
    /// Another one, by these bits.
    Xor(u16),
    /// This.
    Value(u16),
}

impl Checksum {
    const fn field(self, right: u16) -> [u8; 2] {
        match self {
            Self::Right => right,
            Self::Xor(bits) => right ^ bits,
            Self::Value(value) => value,
        }
        .to_be_bytes()
    }
}

/// How a packet is cut into IP fragments, at multiples of eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// In order.
    InOrder,
    /// The last one first.
    Backwards,
    /// The second one twice, the first time with other bytes.
    Twice,
    /// The first one only: the packet never becomes whole.
    FirstOnly,
}

/// A TCP packet from a client to a server.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Link address of the sender.
    pub link_source: [u8; 6],
    /// Link address of the receiver.
    pub link_destination: [u8; 6],
    /// VLAN tags from the outer one on: type and content.
    pub tags: Vec<(u16, u16)>,
    /// EtherType, if it is not that of the addresses.
    pub ether_type: Option<u16>,
    /// The client's address.
    pub source: IpAddr,
    /// The server's address.
    pub destination: IpAddr,
    /// First byte of the IP header, if it is wrong: version and header length.
    pub first_byte: Option<u8>,
    /// Type of service or traffic class.
    pub traffic_class: u8,
    /// What is added to the IP header's length field.
    pub length_error: i16,
    /// IPv4 identification.
    pub id: u16,
    /// IPv4 flags and fragment offset.
    pub fragment: u16,
    /// Time to live or hop limit.
    pub hops: u8,
    /// Protocol, if not TCP.
    pub protocol: Option<u8>,
    /// IPv4 options, a multiple of four bytes.
    pub ip_options: Vec<u8>,
    /// IPv6 extension headers: the kind and the header, whose first byte is filled in.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// The IPv4 header's checksum.
    pub ip_checksum: Checksum,
    /// The client's port.
    pub source_port: u16,
    /// The server's port.
    pub destination_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// The header's length in words, if it is wrong.
    pub data_offset: Option<u8>,
    /// Flags, with the four reserved bits above them.
    pub flags: u16,
    /// Window field.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// TCP options; filled up with zeros to a multiple of four bytes.
    pub options: Vec<u8>,
    /// The TCP checksum.
    pub tcp_checksum: Checksum,
    /// Payload.
    pub payload: Vec<u8>,
    /// Bytes of the frame behind the IP packet.
    pub trailer: Vec<u8>,
    /// Whether and how it comes in fragments.
    pub cut: Option<Cut>,
}

/// Next header of IPv6: a fragment's.
const FRAGMENT: u8 = 44;

impl Packet {
    /// The frames that are sent.
    #[must_use]
    pub fn frames(&self) -> Vec<Vec<u8>> {
        let tcp = self.tcp();
        let Some(cut) = self.cut else { return vec![self.frame(&tcp, None)] };
        // Two fragments, the first one with the header and some payload, if there is enough of it.
        let at = ((tcp.len() - self.payload.len()) + self.payload.len() / 2).next_multiple_of(8);
        if at >= tcp.len() {
            return vec![self.frame(&tcp, None)];
        }
        let (first, rest) = tcp.split_at(at);
        let head = self.frame(first, Some((0, true)));
        let tail = self.frame(rest, Some((at as u16, false)));
        match cut {
            Cut::InOrder => vec![head, tail],
            Cut::Backwards => vec![tail, head],
            Cut::Twice => {
                let other: Vec<u8> = rest.iter().map(|byte| byte ^ 1).collect();
                vec![self.frame(&other, Some((at as u16, false))), head, tail]
            }
            Cut::FirstOnly => vec![head],
        }
    }

    /// Header and payload, with the checksum.
    fn tcp(&self) -> Vec<u8> {
        let mut options = self.options.clone();
        options.resize(options.len().next_multiple_of(4).min(40), 0);
        let words = self.data_offset.unwrap_or((5 + options.len() / 4) as u8);
        let mut tcp = Vec::with_capacity(60 + self.payload.len());
        tcp.extend(self.source_port.to_be_bytes());
        tcp.extend(self.destination_port.to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.extend((u16::from(words) << 12 | self.flags & 0xfff).to_be_bytes());
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0, 0]);
        tcp.extend(self.urgent.to_be_bytes());
        tcp.extend(options);
        tcp.extend_from_slice(&self.payload);
        let addresses = [self.source, self.destination].map(|address| match address {
            IpAddr::V4(address) => of_bytes(&address.octets()),
            IpAddr::V6(address) => of_bytes(&address.octets()),
        });
        let pseudo = addresses[0] + addresses[1] + u64::from(TCP) + tcp.len() as u64;
        let right = !fold(pseudo + of_bytes(&tcp));
        tcp[16..18].copy_from_slice(&self.tcp_checksum.field(right));
        tcp
    }

    /// An Ethernet frame around a part of the TCP segment; a fragment has its offset and whether more follow.
    fn frame(&self, tcp: &[u8], fragment: Option<(u16, bool)>) -> Vec<u8> {
        let mut frame = Vec::with_capacity(128 + tcp.len());
        frame.extend(self.link_destination);
        frame.extend(self.link_source);
        for (kind, content) in &self.tags {
            frame.extend(kind.to_be_bytes());
            frame.extend(content.to_be_bytes());
        }
        let kind = if self.source.is_ipv6() { IPV6 } else { IPV4 };
        frame.extend(self.ether_type.unwrap_or(kind).to_be_bytes());
        match (self.source, self.destination) {
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.ipv6(&mut frame, [source.octets(), destination.octets()], tcp, fragment);
            }
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.ipv4(&mut frame, [source.octets(), destination.octets()], tcp, fragment);
            }
            _ => panic!("both addresses of a packet are of one family"),
        }
        frame.extend_from_slice(&self.trailer);
        frame
    }

    fn ipv4(&self, frame: &mut Vec<u8>, ends: [[u8; 4]; 2], tcp: &[u8], fragment: Option<(u16, bool)>) {
        let start = frame.len();
        let header = 20 + self.ip_options.len();
        let field = match fragment {
            None => self.fragment,
            Some((offset, more)) => (offset / 8) | if more { 0x2000 } else { 0 },
        };
        frame.extend([self.first_byte.unwrap_or(0x40 | (header / 4) as u8), self.traffic_class]);
        frame.extend(((header + tcp.len()) as u16).wrapping_add_signed(self.length_error).to_be_bytes());
        frame.extend(self.id.to_be_bytes());
        frame.extend(field.to_be_bytes());
        frame.extend([self.hops, self.protocol.unwrap_or(TCP), 0, 0]);
        frame.extend(ends.as_flattened());
        frame.extend_from_slice(&self.ip_options);
        let right = !fold(of_bytes(&frame[start..]));
        frame[start + 10..start + 12].copy_from_slice(&self.ip_checksum.field(right));
        frame.extend_from_slice(tcp);
    }

    fn ipv6(&self, frame: &mut Vec<u8>, ends: [[u8; 16]; 2], tcp: &[u8], fragment: Option<(u16, bool)>) {
        let mut extensions = self.extensions.clone();
        if let Some((offset, more)) = fragment {
            let mut header = vec![0; 2];
            header.extend((offset | u16::from(more)).to_be_bytes());
            header.extend(u32::from(self.id).to_be_bytes());
            extensions.push((FRAGMENT, header));
        }
        let len: usize = extensions.iter().map(|(_, header)| header.len()).sum();
        frame.extend([
            self.first_byte.unwrap_or(0x60) | (self.traffic_class >> 4),
            self.traffic_class << 4,
            0,
            0,
        ]);
        frame.extend(((len + tcp.len()) as u16).wrapping_add_signed(self.length_error).to_be_bytes());
        let last = self.protocol.unwrap_or(TCP);
        let mut kinds: Vec<u8> = extensions.iter().map(|(kind, _)| *kind).collect();
        kinds.push(last);
        frame.extend([kinds[0], self.hops]);
        frame.extend(ends.as_flattened());
        for ((_, header), next) in extensions.iter().zip(&kinds[1..]) {
            let start = frame.len();
            frame.extend_from_slice(header);
            frame[start] = *next;
        }
        frame.extend_from_slice(tcp);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xps_core::host::{Checksum as Form, Frame};

    fn packet(source: &str, destination: &str) -> Packet {
        crate::peer::Peer::new(
            source.parse().unwrap(),
            1000,
            destination.parse().unwrap(),
            80,
            7,
            [2; 6],
            [4; 6],
        )
        .packet()
    }

    #[test]
    fn an_honest_packet_is_right() {
        for (source, destination) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let mut packet = packet(source, destination);
            packet.payload = b"odd".to_vec();
            let frames = packet.frames();
            let bytes = &frames[0];
            let frame = Frame::of_ip(&bytes[14..], [0; 6], [0; 6], Form::Complete);
            assert_eq!(frame.check(), Ok(()));
            packet.tcp_checksum = Checksum::Xor(1);
            let frame = Frame { bytes: packet.frames()[0].clone(), ..frame };
            assert!(frame.check().is_err());
        }
    }

    #[test]
    fn fragments_hold_the_whole_packet() {
        let mut packet = packet("10.0.0.1", "10.0.0.2");
        packet.payload = (0..100).collect();
        let whole = packet.frames()[0][34..].to_vec();
        packet.cut = Some(Cut::InOrder);
        let frames = packet.frames();
        assert_eq!([&frames[0][34..], &frames[1][34..]].concat(), whole);
        assert_eq!(frames[0].len() % 8, 34 % 8);
    }
}
