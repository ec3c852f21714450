//! Headers that the stack writes itself: of replies and of bare acknowledgements.

use super::{Scratch, Stack};
use crate::checksum::fold;
use crate::handler::{Handler, REPLY_MAX, REPLY_SLACK, Reply};
use crate::outlet::ECN_MASK;
use crate::packet::{self, ETHERNET, Layout, Skb, TCP, Tcp, Unusual};
use crate::word::{store_u16, store_u32};

/// Most bytes of Ethernet, IPv6 and TCP with timestamps, rounded up.
pub const MAX: usize = 96;

/// Bytes of a piece of a reply: with its headers less than any path must take (RFC 791: 576 bytes). At most three make a reply.
pub const PIECE_BYTES: u32 = (REPLY_MAX + REPLY_SLACK) as u32 / PIECES_MAX;

/// Most pieces of a reply.
pub const PIECES_MAX: u32 = 3;

/// Where the `piece` of a reply of `len` bytes begins, and how long it is; 0 is all of it, 1 the first one. Behind the last one
/// stand none, for a FIN.
#[inline(always)]
#[must_use]
pub const fn piece_of(len: u32, piece: u32) -> (u32, u32) {
    if piece == 0 {
        return (0, len);
    }
    let from = (piece - 1) * PIECE_BYTES;
    if from >= len {
        return (len, 0);
    }
    let rest = len - from;
    (from, if rest > PIECE_BYTES { PIECE_BYTES } else { rest })
}

/// A TCP header to be written.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing {
    /// Whether the packet turns back: addresses are swapped.
    pub back: bool,
    /// IPv4 TOS or IPv6 traffic class of one that turns back; others keep theirs, but for congestion that they have met.
    pub service: u8,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// TCP flags.
    pub flags: u8,
    /// Window field.
    pub window: u16,
    /// Whether the connection uses timestamps.
    pub timestamps: bool,
    /// Timestamp value.
    pub tsval: u32,
    /// Timestamp echo.
    pub tsecr: u32,
}

/// Sum of the pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1) for `length` bytes of TCP.
#[inline(always)]
pub fn pseudo_sum<K: Skb>(skb: &K, layout: &Layout, length: u32) -> Option<u64> {
    let mut sum = u64::from(TCP) + u64::from(length);
    if layout.v6 {
        let mut at = 0;
        while at < 32 {
            sum += u64::from(skb.word(ETHERNET + 8 + at)?);
            at += 4;
        }
    } else {
        sum += u64::from(skb.word(ETHERNET + 12)?);
        sum += u64::from(skb.word(ETHERNET + 16)?);
    }
    Some(sum)
}

/// Whether the checksum field holds what a sender leaves whose device computes the rest: the folded sum of the
/// pseudo-header. One of 65,536 complete checksums is the same number, so the packet is asked too.
#[inline(always)]
pub fn partial<K: Skb>(skb: &K, layout: &Layout, tcp: &Tcp) -> bool {
    pseudo_sum(skb, layout, layout.end - layout.tcp).is_some_and(|sum| fold(sum) == tcp.checksum)
        && skb.completed_later(layout.tcp + 16)
}

/// The header under construction, and the sum of what was put into it since the last [`Writer::restart`].
///
/// In units of two and four bytes, since the stack of a program has room for no more.
struct Writer {
    header: *mut u8,
    sum: u64,
}

impl Writer {
    /// Puts four bytes at `at`, a constant below [`MAX`].
    #[inline(always)]
    fn four(&mut self, at: usize, value: u32) {
        self.sum += u64::from(value);
        // SAFETY: all places are constants within the header.
        unsafe { store_u32(self.header.add(at), value.to_be()) };
    }

    /// Puts two bytes at `at`, an even constant below [`MAX`].
    #[inline(always)]
    fn two(&mut self, at: usize, value: u16) {
        self.sum += u64::from(value);
        self.raw_two(at, value);
    }

    #[inline(always)]
    fn raw_two(&mut self, at: usize, value: u16) {
        // SAFETY: as above.
        unsafe { store_u16(self.header.add(at), value.to_be()) };
    }

    /// Copies four bytes of the packet.
    #[inline(always)]
    fn copy<K: Skb>(&mut self, skb: &K, to: usize, from: u32) -> Option<()> {
        self.four(to, skb.word(from)?);
        Some(())
    }

    #[inline(always)]
    fn restart(&mut self) {
        self.sum = 0;
    }
}

/// Replaces the packet by the scratch's `outgoing` with the scratch's `piece` of `reply` as payload. The headers have no options
/// but timestamps. A packet that has `turned` back is written over by the next piece.
///
/// Whether it could be written.
#[inline(always)]
#[expect(
    clippy::not_unsafe_ptr_arg_deref,
    reason = "the working memory and the flow are valid while the program runs"
)]
pub fn write<H: Handler, K: Stack<H>>(
    stack: &K,
    scratch: *mut Scratch<H::Scratch>,
    reply: Option<*const Reply>,
) -> bool {
    // What comes with a priority tag is answered without one (T8).
    if stack.vlan().is_some() && !stack.pop_tag() {
        return false;
    }
    // SAFETY: the reply lies in a flow, whose memory stays while the program runs.
    let payload = reply.map_or(0, |reply| unsafe { piece_of((*reply).len, (*scratch).piece).1 });
    match compose(stack, scratch, payload, reply) {
        Some(len) => {
            stack.set_len(len + payload)
                && stack.store_header(scratch, len)
                && match reply {
                    // SAFETY: the scratch value is this CPU's own while the program runs.
                    Some(reply) if payload != 0 => stack.store_reply(len, reply, unsafe { (*scratch).piece }),
                    _ => true,
                }
        }
        None => false,
    }
}

/// All headers, and their length.
#[inline(always)]
fn compose<H: Handler, K: Stack<H>>(
    stack: &K,
    scratch: *mut Scratch<H::Scratch>,
    payload: u32,
    reply: Option<*const Reply>,
) -> Option<u32> {
    // SAFETY: the scratch value is this CPU's own while the program runs.
    let (layout, tcp, outgoing) = unsafe { (&(*scratch).layout, &(*scratch).tcp, &(*scratch).outgoing) };
    // SAFETY: as above.
    let turns = outgoing.back && unsafe { (*scratch).turned } == 0;
    let partial = partial(stack, layout, tcp);
    if partial && layout.unusual != Unusual::No {
        // The device will complete the checksum where the old header was, which is not where the new one is.
        return None;
    }
    let tcp_len: u32 = if outgoing.timestamps { 32 } else { 20 };
    // SAFETY: as above.
    let mut to = Writer { header: unsafe { (&raw mut (*scratch).header).cast() }, sum: 0 };
    // Ethernet: addresses are six bytes, so they are copied as four and two.
    let (first, second) = if turns { (6, 0) } else { (0, 6) };
    to.copy(stack, 0, first)?;
    to.raw_two(4, stack.half(first + 4)?);
    to.copy(stack, 6, second)?;
    to.raw_two(10, stack.half(second + 4)?);
    to.raw_two(12, stack.half(12)?);
    if layout.v6 {
        let service = u32::from(service(stack, true, outgoing)?);
        let label = if outgoing.back { 0 } else { stack.word(ETHERNET)? & 0xf_ffff };
        to.four(14, 6 << 28 | service << 20 | label);
        to.two(18, (tcp_len + payload) as u16);
        let hops = if outgoing.back { 64 } else { stack.half(ETHERNET + 6)? & 0xff };
        to.two(20, u16::from(TCP) << 8 | hops);
        to.restart();
        let (source, destination) = if turns { (24, 8) } else { (8, 24) };
        let mut i = 0;
        while i < 16 {
            to.copy(stack, 22 + i, ETHERNET + source + i as u32)?;
            to.copy(stack, 38 + i, ETHERNET + destination + i as u32)?;
            i += 4;
        }
        transport::<H, K, 54>(stack, &mut to, tcp_len, payload, partial, scratch, reply);
        Some(54 + tcp_len)
    } else {
        to.restart();
        to.two(14, 0x4500 | u16::from(service(stack, false, outgoing)?));
        to.two(16, (20 + tcp_len + payload) as u16);
        to.copy(stack, 18, ETHERNET + 4)?;
        let hops = if outgoing.back { 64 } else { stack.half(ETHERNET + 8)? >> 8 };
        to.two(22, hops << 8 | u16::from(TCP));
        let before = to.sum;
        to.restart();
        let (source, destination) = if turns { (16, 12) } else { (12, 16) };
        to.copy(stack, 26, ETHERNET + source)?;
        to.copy(stack, 30, ETHERNET + destination)?;
        to.raw_two(24, !fold(before + to.sum));
        transport::<H, K, 34>(stack, &mut to, tcp_len, payload, partial, scratch, reply);
        Some(34 + tcp_len)
    }
}

#[inline(always)]
fn service<K: Skb>(stack: &K, v6: bool, outgoing: &Outgoing) -> Option<u8> {
    if outgoing.back { Some(outgoing.service) } else { Some(packet::service(stack, v6)? & !ECN_MASK) }
}

/// The TCP header at `AT`; the writer's sum is that of the addresses.
#[inline(always)]
fn transport<H: Handler, K: Stack<H>, const AT: usize>(
    stack: &K,
    to: &mut Writer,
    tcp_len: u32,
    payload: u32,
    partial: bool,
    scratch: *const Scratch<H::Scratch>,
    reply: Option<*const Reply>,
) {
    // SAFETY: the scratch value is this CPU's own while the program runs.
    let outgoing = unsafe { &(*scratch).outgoing };
    to.sum += u64::from(TCP) + u64::from(tcp_len + payload);
    let pseudo = to.sum;
    to.two(AT, outgoing.source_port);
    to.two(AT + 2, outgoing.destination_port);
    to.four(AT + 4, outgoing.seq);
    to.four(AT + 8, outgoing.ack);
    to.two(AT + 12, (tcp_len as u16) << 10 | u16::from(outgoing.flags));
    to.two(AT + 14, outgoing.window);
    to.two(AT + 18, 0);
    if outgoing.timestamps {
        to.four(AT + 20, 0x0101_080a);
        to.four(AT + 24, outgoing.tsval);
        to.four(AT + 28, outgoing.tsecr);
    }
    let checksum = if partial {
        fold(pseudo)
    } else {
        if let Some(reply) = reply {
            // SAFETY: as above.
            to.sum += stack.sum_reply(reply, unsafe { (*scratch).piece });
        }
        !fold(to.sum)
    };
    to.raw_two(AT + 16, checksum);
}
