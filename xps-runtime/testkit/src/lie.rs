//! What can be wrong with a packet: each field, alone or with others. The list follows the accept and drop points of Linux's
//! `tcp_input.c` (SymTCP, NDSS 2020), the fields that Geneva's strategies tamper with, and Ptacek and Newsham (1998).

use xps_core::splice::tcp_flag;

use crate::options::{Layout, kind};
use crate::packet::{Checksum, Cut, Packet};
use crate::peer::Peer;
use crate::random::Random;

/// Mark of packets that the server's firewall drops: a codepoint that nothing else has.
pub const FIREWALLED: u8 = 0x3f << 2;

/// One thing that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// No ACK flag.
    NoAck,
    /// A SYN flag beside the others.
    Syn,
    /// A FIN flag.
    Fin,
    /// A RST flag.
    Reset,
    /// These flags and no others; the upper four bits are the reserved ones.
    Flags(u16),
    /// Acknowledges so many bytes that were never sent.
    AckAhead(u32),
    /// Acknowledges so many bytes less than the client has.
    AckOld(u32),
    /// A timestamp so much older than the last one.
    OldTimestamp(u32),
    /// A timestamp so much newer than the last one.
    NewTimestamp(u32),
    /// A timestamp of this value.
    TimestampValue(u32),
    /// No timestamp, or one though none were agreed on.
    OtherTimestamps,
    /// A timestamp that stands elsewhere; whether it is an old one.
    Timestamps(Layout, bool),
    /// Echoes a timestamp that the server never sent.
    Echo,
    /// The urgent flag, with this pointer.
    Urgent(u16),
    /// Another window field.
    WindowField(u16),
    /// Another length of the header, in words.
    DataOffset(u8),
    /// A wrong TCP checksum: these bits are changed.
    TcpChecksum(u16),
    /// A TCP checksum of this value.
    TcpChecksumValue(u16),
    /// A further TCP option: its kind, its length field, the bytes that follow.
    Option(u8, u8, u8),
    /// Options of a SYN.
    SynOptions,
    /// A wrong checksum of the IP header.
    IpChecksum(u16),
    /// An IP header with this first byte.
    FirstByte(u8),
    /// A length field of IP that is so much larger.
    IpLength(i16),
    /// Another time to live.
    Hops(u8),
    /// IPv4 flags and fragment offset.
    FragmentField(u16),
    /// Cut into fragments.
    Fragments(Cut),
    /// An IPv4 option, or an IPv6 header, of this kind.
    IpOption(u8),
    /// Not TCP.
    Protocol(u8),
    /// Dropped by a firewall behind the programs.
    Firewalled,
    /// To another station.
    OtherStation,
    /// To a group of stations.
    Group,
    /// To all stations.
    Broadcast,
    /// A VLAN tag: its type and content.
    Tag(u16, u16),
    /// Two of them.
    Tags(u16),
    /// Another EtherType.
    EtherType(u16),
    /// Bytes behind the IP packet's end.
    Trailer(u8),
    /// From another address of the client's.
    OtherClient,
    /// To another port of the server's, so much beside this one: of an accelerated and a plain port that stand side by side
    /// it is the other one, behind which the server has the same connection.
    PortBeside(i16),
}

impl Lie {
    /// Any.
    #[must_use]
    pub fn any(random: &mut Random) -> Self {
        let layout = |random: &mut Random| random.one_of(&Layout::UNUSUAL);
        match random.below(50) {
            0 | 1 => Self::NoAck,
            2 | 3 => Self::Syn,
            4 => Self::Fin,
            5 => Self::Reset,
            6 => Self::Flags(
                random.one_of(&[0, 1, 8, 0x29, 0x3f, 0x20, 0x18, 0x110, 0xf18, 0xd8, 0x98, 0x58, 0x14, 0x12]),
            ),
            7..=9 => Self::AckAhead(random.one_of(&[1, 2, 1000, 100_000, 1 << 30, (1 << 31) - 1])),
            10..=12 => Self::AckOld(random.one_of(&[1, 2, 1000, 70_000, 300_000, 1 << 26, 1 << 30, 1 << 31])),
            13..=15 => Self::OldTimestamp(random.one_of(&[2, 3, 100, 10_000, 1 << 30, (1 << 31) - 3])),
            16 => Self::NewTimestamp(random.one_of(&[1, 1000, 1 << 30, (1 << 31) - 2])),
            17 => Self::OtherTimestamps,
            18 | 19 => Self::Timestamps(layout(random), random.chance(60)),
            20 => Self::Echo,
            21..=23 => Self::Urgent(random.one_of(&[0, 1, 2, 3, 7, 100, 1460, 0xffff])),
            24 => Self::WindowField(random.one_of(&[0, 1, 2, 0xffff])),
            25 => Self::DataOffset(random.one_of(&[0, 1, 4, 5, 6, 7, 8, 9, 15])),
            26 | 27 => Self::TcpChecksum(random.one_of(&[1, 0x100, 0x8000, 0xffff])),
            28 => Self::TcpChecksumValue(random.one_of(&[0, 0xffff])),
            29 | 30 => {
                let code = random.one_of(&[
                    kind::MD5,
                    kind::MD5,
                    kind::AO,
                    kind::MPTCP,
                    kind::SACK,
                    kind::EXPERIMENT,
                    kind::MSS,
                    kind::END,
                    kind::NOP,
                ]);
                let len = match code {
                    kind::MD5 => random.one_of(&[18, 18, 18, 2, 10]),
                    kind::AO => random.one_of(&[16, 4, 2]),
                    _ => random.one_of(&[0, 1, 2, 4, 10, 18, 40, 255]),
                };
                Self::Option(code, len, random.one_of(&[len.saturating_sub(2).min(36), 0, 2]))
            }
            31 => Self::SynOptions,
            32 | 33 => Self::IpChecksum(random.one_of(&[1, 0x100, 0xffff])),
            34 => Self::FirstByte(random.one_of(&[0x44, 0x46, 0x4f, 0x55, 0x65, 0x05, 0x60, 0x40])),
            35 => Self::IpLength(random.one_of(&[-1, -8, 1, 8, 1000, -40])),
            36 => Self::Hops(random.one_of(&[0, 1, 255])),
            37 => Self::FragmentField(random.one_of(&[0x8000, 0x2000, 0x6000, 0x0001, 0x4001, 0])),
            38 => Self::Fragments(random.one_of(&[Cut::InOrder, Cut::Backwards, Cut::Twice, Cut::FirstOnly])),
            39 | 40 => Self::IpOption(random.one_of(&[131, 137, 131, 137, 7, 68, 148, 0, 1, 0x9e, 130, 255])),
            41 => random.one_of(&[Self::Protocol(17), Self::Protocol(0), Self::OtherClient]),
            42 => Self::Firewalled,
            43 => Self::OtherStation,
            44 => random.one_of(&[Self::Group, Self::Broadcast]),
            45 => random.one_of(&[
                Self::Tag(0x8100, 0),
                Self::Tag(0x8100, 0x6000),
                Self::Tag(0x8100, 5),
                Self::Tag(0x8100, 0xfff),
                Self::Tag(0x88a8, 0),
                Self::Tag(0x88a8, 5),
                Self::Tags(0),
                Self::Tags(5),
            ]),
            46 => Self::PortBeside(random.one_of(&[1, -1])),
            47 => Self::TimestampValue(random.one_of(&[0, 1, 1 << 31, u32::MAX])),
            48 => Self::EtherType(random.one_of(&[0x0800, 0x86dd, 0x8847, 0x0806])),
            _ => Self::Trailer(random.one_of(&[1, 6, 200])),
        }
    }

    /// One, or several at once.
    #[must_use]
    pub fn some(random: &mut Random) -> Vec<Self> {
        let count = [1, 1, 1, 1, 1, 1, 1, 2, 2, 3][random.below(10)];
        (0..count).map(|_| Self::any(random)).collect()
    }

    /// Makes it wrong.
    pub fn tell(self, packet: &mut Packet, peer: &Peer) {
        let v6 = peer.client.0.is_ipv6();
        match self {
            Self::NoAck => packet.flags &= !u16::from(tcp_flag::ACK),
            Self::Syn => packet.flags |= u16::from(tcp_flag::SYN),
            Self::Fin => packet.flags |= u16::from(tcp_flag::FIN),
            Self::Reset => packet.flags |= u16::from(tcp_flag::RST),
            Self::Flags(flags) => packet.flags = flags,
            Self::AckAhead(by) => packet.ack = packet.ack.wrapping_add(by),
            Self::AckOld(by) => packet.ack = packet.ack.wrapping_sub(by),
            Self::OldTimestamp(by) => {
                packet.options = Layout::Usual.write(peer.tsval.wrapping_sub(by), peer.tsecr)
            }
            Self::NewTimestamp(by) => {
                packet.options = Layout::Usual.write(peer.tsval.wrapping_add(by), peer.tsecr)
            }
            Self::TimestampValue(value) => packet.options = Layout::Usual.write(value, peer.tsecr),
            Self::OtherTimestamps if peer.timestamps => packet.options.clear(),
            Self::OtherTimestamps => packet.options = Layout::Usual.write(peer.tsval, peer.tsecr),
            Self::Timestamps(layout, old) => {
                let value = if old { peer.tsval.wrapping_sub(50_000) } else { peer.tsval };
                packet.options = layout.write(value, peer.tsecr);
            }
            Self::Echo => packet.options = Layout::Usual.write(peer.tsval, peer.tsecr.wrapping_add(1 << 20)),
            Self::Urgent(pointer) => {
                packet.flags |= u16::from(tcp_flag::URG);
                packet.urgent = pointer;
            }
            Self::WindowField(window) => packet.window = window,
            Self::DataOffset(words) => packet.data_offset = Some(words),
            Self::TcpChecksum(bits) => packet.tcp_checksum = Checksum::Xor(bits),
            Self::TcpChecksumValue(value) => packet.tcp_checksum = Checksum::Value(value),
            Self::Option(code, len, bytes) => {
                let room = 40 - packet.options.len();
                let option = [&[code, len][..], &vec![0x5a; usize::from(bytes)]].concat();
                packet.options.extend(option.into_iter().take(room));
            }
            Self::SynOptions => {
                packet.options.truncate(12);
                packet.options.extend([kind::MSS, 4, 0, 88, kind::NOP, kind::SHIFT, 3, 14]);
            }
            Self::IpChecksum(bits) => packet.ip_checksum = Checksum::Xor(bits),
            Self::FirstByte(byte) => packet.first_byte = Some(byte),
            Self::IpLength(by) => packet.length_error = by,
            Self::Hops(hops) => packet.hops = hops,
            Self::FragmentField(field) => packet.fragment = field,
            Self::Fragments(cut) => packet.cut = Some(cut),
            Self::IpOption(code) if v6 => packet.extensions.push(extension(code)),
            Self::IpOption(code) => packet.ip_options.extend(ip_option(code, peer)),
            Self::Protocol(protocol) => packet.protocol = Some(protocol),
            Self::Firewalled => packet.traffic_class = FIREWALLED,
            Self::OtherStation => packet.link_destination[5] ^= 0x55,
            Self::Group => packet.link_destination = [1, 0, 0x5e, 0, 0, 1],
            Self::Broadcast => packet.link_destination = [0xff; 6],
            Self::Tag(kind, content) => packet.tags = vec![(kind, content)],
            Self::Tags(content) => packet.tags = vec![(0x88a8, content), (0x8100, content)],
            Self::EtherType(kind) => packet.ether_type = Some(kind),
            Self::Trailer(bytes) => packet.trailer = vec![b'T'; usize::from(bytes)],
            Self::PortBeside(by) => packet.destination_port = packet.destination_port.wrapping_add_signed(by),
            Self::OtherClient => {
                if let std::net::IpAddr::V4(address) = packet.source {
                    packet.source = std::net::Ipv4Addr::from(u32::from(address) ^ 0x80).into();
                }
            }
        }
    }
}

/// An IPv4 option of a kind, well formed where a route or a time stamp would be looked at.
fn ip_option(code: u8, peer: &Peer) -> Vec<u8> {
    let address = match peer.server.0 {
        std::net::IpAddr::V4(address) => address.octets(),
        std::net::IpAddr::V6(_) => [0; 4],
    };
    match code {
        // Loose and strict source route, record route: one address, not yet used, or for 137 all used.
        131 | 7 => [&[code, 7, 4][..], &address, &[0]].concat(),
        137 => [&[code, 7, 8][..], &address, &[0]].concat(),
        // Time stamps.
        68 => vec![68, 8, 5, 0, 0, 0, 0, 0],
        // Router alert.
        148 => vec![148, 4, 0, 0],
        // Security (RFC 1108).
        130 => vec![130, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        0 | 1 => vec![code; 4],
        // A length that runs over the header.
        _ => vec![code, 40, 0, 0],
    }
}

/// An IPv6 extension header, whose kind follows from that of the IPv4 option.
fn extension(code: u8) -> (u8, Vec<u8>) {
    match code {
        // Routing: type 0 with a segment left, and type 2 with none.
        131 => (43, [&[0, 2, 0, 1, 0, 0, 0, 0][..], &[0; 16]].concat()),
        137 => (43, [&[0, 2, 2, 0, 0, 0, 0, 0][..], &[0; 16]].concat()),
        // Hop by hop with padding, and with an option that nobody knows and that forbids the packet.
        7 => (0, vec![0, 0, 1, 4, 0, 0, 0, 0]),
        68 => (0, vec![0, 0, 0x5e, 4, 0, 0, 0, 0]),
        // Destination options, likewise.
        148 => (60, vec![0, 0, 1, 4, 0, 0, 0, 0]),
        130 => (60, vec![0, 0, 0x5e, 4, 0, 0, 0, 0]),
        // A fragment that is the whole.
        0 | 1 => (44, vec![0, 0, 0, 0, 0, 0, 0, code]),
        // Authentication, mobility, and no next header.
        0x9e => (51, [&[0, 4, 0, 0][..], &[0; 20]].concat()),
        _ => (135, vec![0, 0, 0, 0, 0, 0, 0, 0]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heard::{self, Heard};

    fn peer(v6: bool) -> Peer {
        let (client, server) = if v6 { ("fd00::1", "fd00::2") } else { ("10.0.0.1", "10.0.0.2") };
        Peer::new(client.parse().unwrap(), 1000, server.parse().unwrap(), 80, 7, [2; 6], [4; 6])
    }

    #[test]
    fn every_lie_changes_the_frame_and_none_is_longer_than_a_link_takes() {
        let mut random = Random(1);
        for i in 0..20_000 {
            let mut peer = peer(i % 2 == 0);
            let mut packet = peer.packet();
            packet.payload = b"payload".repeat(4);
            let honest = packet.frames();
            let lie = Lie::any(&mut random);
            lie.tell(&mut packet, &peer);
            let frames = packet.frames();
            assert!(frames.iter().all(|frame| frame.len() <= 1514), "{lie:?}");
            let same = match lie {
                // Nothing, over IPv6; or what an honest packet has as well.
                Lie::IpChecksum(_) | Lie::FragmentField(_) | Lie::OtherClient => i % 2 == 0,
                Lie::EtherType(kind) => kind == if i % 2 == 0 { 0x86dd } else { 0x0800 },
                Lie::FirstByte(byte) => byte == if i % 2 == 0 { 0x60 } else { 0x45 },
                Lie::DataOffset(words) => words == 8,
                Lie::Flags(flags) => u32::from(flags) == 0x10,
                _ => false,
            };
            assert!(same || frames != honest, "{lie:?}");
        }
    }

    #[test]
    fn several_at_once_are_told_together() {
        let mut peer = peer(false);
        let mut packet = peer.packet();
        for lie in [Lie::NoAck, Lie::AckAhead(5), Lie::OldTimestamp(9)] {
            lie.tell(&mut packet, &peer);
        }
        let Heard::Tcp(segment) = heard::read(&packet.frames()[0]) else { panic!("not TCP") };
        assert_eq!((segment.flags, segment.ack), (0, 5));
        assert_eq!(segment.options.timestamp, Some(peer.tsval.wrapping_sub(9)));
    }
}
