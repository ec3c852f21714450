//! A plan's client without a socket: moves become frames.

use xps_core::splice::tcp_flag;

use super::{From, Move, Opening, Plan, Text};
use crate::lie::Lie;
use crate::peer::Peer;

/// Longest payload of an honest segment, in bytes.
const SEGMENT_MAX: u32 = 1400;

/// The client of a connection.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its numbers.
    pub peer: Peer,
    number: u64,
    /// The stream's own bytes, as far as they were made up.
    own: Vec<u8>,
}

impl Client {
    /// The client of `plan`.
    #[must_use]
    pub fn new(plan: &Plan, mut peer: Peer) -> Self {
        peer.timestamps = plan.timestamps;
        peer.shift = plan.shift;
        Self { peer, number: plan.number, own: Vec::new() }
    }

    /// The frames that open the connection.
    pub fn open(&mut self, opening: &Opening) -> Vec<Vec<u8>> {
        let mut packet = self.peer.syn();
        let mut other = packet.clone();
        match opening {
            Opening::Honest => {}
            Opening::Lies(lies) => lies.iter().for_each(|lie| lie.tell(&mut packet, &self.peer)),
            Opening::Payload(len) => {
                packet.payload = self.payload(packet.seq.wrapping_add(1), u32::from(*len), Text::Own);
            }
            Opening::OtherBefore(by) | Opening::OtherAfter(by) => other.seq = other.seq.wrapping_add(*by),
        }
        match opening {
            Opening::OtherBefore(_) => [other.frames(), packet.frames()].concat(),
            Opening::OtherAfter(_) => [packet.frames(), other.frames()].concat(),
            _ => packet.frames(),
        }
    }

    /// The frames of a segment or of a filling.
    pub fn frames(&mut self, step: &Move) -> Vec<Vec<u8>> {
        match step {
            Move::Segment { from, len, text, flags, lies } => {
                self.segment(*from, u32::from(*len), *text, *flags, lies)
            }
            Move::Fill(rest) => {
                let mut frames = Vec::new();
                loop {
                    let left = self.peer.edge.wrapping_sub(self.peer.next).cast_signed() - i32::from(*rest);
                    // A window that was not told yet is not filled.
                    if left <= 0 || left > 1 << 17 {
                        return frames;
                    }
                    let len = left.unsigned_abs().min(SEGMENT_MAX);
                    frames.extend(self.segment(From::Next(0), len, Text::Own, 0, &[]));
                }
            }
            Move::Sync | Move::Say(_) | Move::Hold => Vec::new(),
        }
    }

    /// Goes on behind what the server has taken: `taken` bytes of the stream and perhaps a FIN.
    pub fn follow(&mut self, taken: u32, fin: bool) {
        self.peer.next = self.peer.isn.wrapping_add(1 + taken + u32::from(fin));
    }

    fn segment(&mut self, from: From, len: u32, text: Text, flags: u8, lies: &[Lie]) -> Vec<Vec<u8>> {
        let seq = match from {
            From::Next(by) => self.peer.next.wrapping_add_signed(by),
            From::Edge(by) => self.peer.edge.wrapping_add_signed(by),
            From::Isn(by) => self.peer.isn.wrapping_add_signed(by),
        };
        let own = !matches!(text, Text::Other(_) | Text::OtherAsking(_));
        let honest = own && lies.is_empty() && from == From::Next(0);
        let left = self.peer.edge.wrapping_sub(seq).cast_signed().max(0).unsigned_abs();
        // Who is honest sends no more than the server has room for, and nothing if it has none.
        let len = match (honest, len.min(left)) {
            (true, 0) if len != 0 => return Vec::new(),
            (true, len) => len,
            (false, _) => len,
        };
        let mut packet = self.peer.packet();
        packet.seq = seq;
        packet.flags |= u16::from(flags) | if len == 0 { 0 } else { u16::from(tcp_flag::PSH) };
        packet.payload = self.payload(seq, len, text);
        for lie in lies {
            lie.tell(&mut packet, &self.peer);
        }
        if honest && flags & (tcp_flag::SYN | tcp_flag::RST) == 0 {
            self.peer.next = seq.wrapping_add(len).wrapping_add(u32::from(flags & tcp_flag::FIN));
        }
        packet.frames()
    }

    fn payload(&mut self, seq: u32, len: u32, text: Text) -> Vec<u8> {
        // Numbers before the stream and far from it have bytes, too.
        let start = seq.wrapping_sub(self.peer.isn.wrapping_add(1));
        let known = start < 1 << 17;
        let mut payload = Vec::with_capacity(len as usize);
        for i in 0..len {
            let (at, last) = (start.wrapping_add(i), i + 1 == len);
            let byte = match text {
                Text::Own | Text::OwnLine | Text::Asking if known => self.own(at, text, i == 0, last),
                Text::Other(salt) | Text::OtherAsking(salt) => match (text, i == 0, last) {
                    (Text::OtherAsking(_), true, _) => b'!',
                    (Text::OtherAsking(_), _, true) => b'\n',
                    _ => b'A' + letter(self.number ^ u64::from(salt) << 32, at),
                },
                _ => b'a' + letter(self.number, at),
            };
            payload.push(byte);
        }
        payload
    }

    /// A byte of the stream's own: what it was before, or else what it now becomes.
    fn own(&mut self, at: u32, text: Text, first: bool, last: bool) -> u8 {
        while self.own.len() <= at as usize {
            let byte = if self.own.len() < at as usize {
                b'a' + letter(self.number, self.own.len() as u32)
            } else if text == Text::Asking && first {
                b'!'
            } else if text != Text::Own && last {
                b'\n'
            } else {
                b'a' + letter(self.number, at)
            };
            self.own.push(byte);
        }
        self.own[at as usize]
    }
}

/// A letter for a number of the stream.
fn letter(salt: u64, at: u32) -> u8 {
    let mut mixed = (salt ^ u64::from(at).rotate_left(40)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed >> 33) % 26) as u8
}
