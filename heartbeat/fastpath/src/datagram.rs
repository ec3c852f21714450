//! A packet from its Ethernet header on: whether it is a datagram for the responder, and how it becomes its own reply.
//!
//! Ours is a UDP datagram to the port, at one of this host's addresses, in a frame to one host only. IPv4 options, fragments
//! and extension headers are not: nobody sends heartbeats so, and the stack knows better what to do with them. Nor is what no
//! reply may go to (source port 0, a source that is no single host), or whose headers contradict each other, or whose checksum
//! is wrong. All that passes untouched, and the stack drops and counts of it what it finds wrong.
//!
//! BFD's echo packets ([`crate::echo`]) of systems that may be sent any go back in place, too; all others of that port pass.
//!
//! What is ours is never dropped without being counted ([`crate::refusal`]).

mod reflect;

use xps_core::checksum::fold;
use xps_core::packet::{ETHERNET, IPV4, IPV6, Skb, mapped};
use xps_core::path::arrival::Untagged;

use crate::echo::{Echoes, PORT_ECHO};
use crate::refusal::Refusal;
use crate::respond::{Tables, Verdict, refuse, respond_exact};
use crate::wire::MESSAGE_BYTES;

/// IP protocol number of UDP.
const UDP: u8 = 17;
/// Bytes of a UDP header.
const UDP_HEADER: u32 = 8;
/// Words of a message in a packet.
pub const WORDS: usize = MESSAGE_BYTES / 4;
/// Hop limit of replies (RFC 1700).
const HOP_LIMIT: u32 = 64;
/// The reserved bit is no fragment's, the don't-fragment bit says nothing about this packet.
const FRAGMENT: u16 = 0x3fff;

/// A packet that a program was called with.
pub trait Packet: Skb {
    /// Whether tags of VLANs lie in the packet's bytes. Where the stack has taken them off, a tagged packet is left to it.
    const TAGS: bool;

    /// Offset behind its last byte, in whatever buffers it lies.
    fn end(&self) -> u32;
    /// Whether it is the stack's in any case: it has a tag that was taken off, or is several datagrams in one.
    fn left_alone(&self) -> bool;
    /// Index of the interface that it has come to.
    fn device(&self) -> u32;
    /// Whether the device has found the checksum behind the IP header right.
    fn verified(&self) -> bool;
    /// The words at `offset`, in native order. `None` beyond its end.
    fn message(&self, offset: u32) -> Option<[u32; WORDS]>;
    /// Overwrites the words at `offset`, given in native order. Whether it could.
    fn put<const N: usize>(&self, offset: u32, words: &[u32; N]) -> bool;
}

/// What else decides whether a datagram is ours.
pub trait Host {
    /// The port; 0 if nothing is ours.
    fn port(&self) -> u16;
    /// Whether it is an address of this host. IPv4 as `::ffff:a.b.c.d`.
    fn is_here(&self, address: &[u8; 16]) -> bool;
    /// `CLOCK_MONOTONIC` in nanoseconds.
    fn now_ns(&self) -> u64;
}

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes on, unchanged.
    Next,
    /// It goes no further.
    Drop,
    /// It has become its reply: it is sent back where it came from.
    Back,
}

/// Where a datagram's parts are, and what of it is needed again.
struct Datagram {
    v6: bool,
    /// Offset of the IP header.
    ip: u32,
    /// Offset of the UDP header.
    udp: u32,
    /// Bytes of the datagram with its UDP header.
    len: u32,
    ports: u32,
}

/// The program: decides about a packet, and makes it its reply where it has one.
#[inline(always)]
pub fn run<P: Packet, H: Host + Tables + Echoes>(packet: &P, host: &H) -> Action {
    let Some(datagram) = locate(packet, host) else { return Action::Next };
    if datagram.ports as u16 == PORT_ECHO {
        return reflect::reflect(packet, host, &datagram).unwrap_or(Action::Next);
    }
    if !is_here(packet, host, &datagram) {
        return Action::Next;
    }
    if datagram.len != UDP_HEADER + MESSAGE_BYTES as u32 {
        refuse(host, Refusal::WrongLength);
        return Action::Drop;
    }
    let Some(message) = packet.message(datagram.udp + UDP_HEADER) else { return Action::Next };
    let Some(checksum) = checksum(packet, &datagram, &message) else { return Action::Next };
    // SAFETY: as many bytes either way, which may be any.
    let payload = unsafe { core::mem::transmute::<[u32; WORDS], [u8; MESSAGE_BYTES]>(message) };
    match respond_exact(host, &payload, host.now_ns()) {
        Verdict::Pass => Action::Next,
        Verdict::Drop(_) => Action::Drop,
        Verdict::Reply(reply) => {
            // SAFETY: as above.
            let reply = unsafe { core::mem::transmute::<[u8; MESSAGE_BYTES], [u32; WORDS]>(reply) };
            // What could be written in part only is of no use to anybody.
            if turn(packet, &datagram, checksum, &reply).is_some() { Action::Back } else { Action::Drop }
        }
    }
}

/// The datagram, if it is one for a port that is ours, whomever it is for.
#[inline(always)]
fn locate<P: Packet, H: Host + Echoes>(packet: &P, host: &H) -> Option<Datagram> {
    let port = host.port();
    if port == 0 || packet.left_alone() {
        return None;
    }
    let (tags, protocol) = if P::TAGS {
        let untagged = Untagged::of(packet)?;
        (untagged.tags(), untagged.protocol())
    } else {
        (0, packet.protocol())
    };
    let ip = ETHERNET + tags;
    packet.reach(ip + 20 + UDP_HEADER);
    let (v6, udp, end) = match protocol {
        IPV4 => {
            let first = packet.word(ip)?;
            let fragment = packet.half(ip + 6)? & FRAGMENT;
            if first >> 24 != 0x45 || fragment != 0 || packet.half(ip + 8)? as u8 != UDP {
                return None;
            }
            (false, ip + 20, ip + (first & 0xffff))
        }
        IPV6 => {
            packet.reach(ip + 40 + UDP_HEADER);
            let second = packet.word(ip + 4)?;
            if packet.word(ip)? >> 28 != 6 || (second >> 8) as u8 != UDP {
                return None;
            }
            (true, ip + 40, ip + 40 + (second >> 16))
        }
        _ => return None,
    };
    let ports = packet.word(udp)?;
    // From here on only few packets are asked more.
    let is_ours = if ports as u16 == PORT_ECHO { host.reflects() } else { ports as u16 == port };
    if !is_ours || ports >> 16 == 0 {
        return None;
    }
    let len = u32::from(packet.half(udp + 4)?);
    if len < UDP_HEADER || udp + len != end || end > packet.end() {
        return None;
    }
    // The group bits of both addresses (IEEE 802): a frame to many is answered to nobody (RFC 1122 section 3.3.6).
    if (packet.half(0)? | packet.half(6)?) & 0x0100 != 0 {
        return None;
    }
    if v6 {
        let source = packet.word(ip + 8)?;
        let rest = packet.word(ip + 12)? | packet.word(ip + 16)? | packet.word(ip + 20)?;
        if source >> 24 == 0xff || source | rest == 0 {
            return None;
        }
    } else {
        let source = packet.word(ip + 12)?;
        if source == 0 || source >> 28 >= 0xe || !header_is_right(packet, ip)? {
            return None;
        }
    }
    Some(Datagram { v6, ip, udp, len, ports })
}

/// Whether it is for this host.
#[inline(always)]
fn is_here<P: Packet, H: Host>(packet: &P, host: &H, datagram: &Datagram) -> bool {
    let destination = if datagram.v6 {
        packet.head::<16>(datagram.ip + 24)
    } else {
        packet.head::<4>(datagram.ip + 16).map(mapped)
    };
    match destination {
        Some(destination) => host.is_here(&destination),
        None => false,
    }
}

/// Whether the checksum of an IPv4 header without options is right.
#[inline(always)]
fn header_is_right<P: Packet>(packet: &P, ip: u32) -> Option<bool> {
    let mut sum = 0;
    let mut at = 0;
    while at < 20 {
        sum += u64::from(packet.word(ip + at)?);
        at += 4;
    }
    Some(fold(sum) == 0xffff)
}

/// How a reply gets its checksum.
#[derive(Clone, Copy)]
enum Checksum {
    /// The device completes what stands there, the sum of the pseudo-header, which is the reply's too.
    CompletedLater(u16),
    /// This is the sum of the pseudo-header, which is the reply's too.
    Full(u64),
}

/// How the reply gets its checksum, if the datagram's is right.
#[inline(always)]
fn checksum<P: Packet>(packet: &P, datagram: &Datagram, message: &[u32; WORDS]) -> Option<Checksum> {
    let pseudo = pseudo_sum(packet, datagram)?;
    let found = packet.half(datagram.udp + 6)?;
    if fold(pseudo) == found && packet.completed_later(datagram.udp + 6) {
        return Some(Checksum::CompletedLater(found));
    }
    if found == 0 {
        // No checksum at all (RFC 768), which IPv6 does not allow (RFC 8200 section 8.1).
        return if datagram.v6 { None } else { Some(Checksum::Full(pseudo)) };
    }
    let sum = pseudo + header_sum(datagram) + u64::from(found) + message_sum(message);
    if packet.verified() || fold(sum) == 0xffff { Some(Checksum::Full(pseudo)) } else { None }
}

/// Sum of the pseudo-header (RFC 768, RFC 8200 section 8.1). It stays the same when the ends change places.
#[inline(always)]
fn pseudo_sum<P: Packet>(packet: &P, datagram: &Datagram) -> Option<u64> {
    let mut sum = u64::from(UDP) + u64::from(datagram.len);
    let (first, bytes) = if datagram.v6 { (8, 32) } else { (12, 8) };
    let mut at = 0;
    while at < bytes {
        sum += u64::from(packet.word(datagram.ip + first + at)?);
        at += 4;
    }
    Some(sum)
}

/// Sum of the UDP header without its checksum.
#[inline(always)]
fn header_sum(datagram: &Datagram) -> u64 {
    u64::from(datagram.ports) + u64::from(datagram.len)
}

#[inline(always)]
fn message_sum(message: &[u32; WORDS]) -> u64 {
    let mut sum = 0;
    let mut i = 0;
    while i < WORDS {
        sum += u64::from(u32::from_be(message[i]));
        i += 1;
    }
    sum
}

/// Hardware addresses change places. Whether they could.
#[inline(always)]
fn swap_hardware<P: Packet>(packet: &P) -> Option<bool> {
    let [a, b, c] = [packet.word(0)?, packet.word(4)?, packet.word(8)?];
    let swapped = [(b << 16 | c >> 16).to_be(), (c << 16 | a >> 16).to_be(), (a << 16 | b >> 16).to_be()];
    Some(packet.put(0, &swapped))
}

/// Makes the packet its reply.
#[inline(always)]
fn turn<P: Packet>(packet: &P, datagram: &Datagram, checksum: Checksum, reply: &[u32; WORDS]) -> Option<()> {
    let ip = datagram.ip;
    let mut done = swap_hardware(packet)?;
    if datagram.v6 {
        let second = packet.word(ip + 4)? & 0xffff_ff00 | HOP_LIMIT;
        let mut words = [second.to_be(); 9];
        let mut i = 0;
        while i < 4 {
            words[1 + i] = packet.word(ip + 24 + 4 * i as u32)?.to_be();
            words[5 + i] = packet.word(ip + 8 + 4 * i as u32)?.to_be();
            i += 1;
        }
        done &= packet.put(ip + 4, &words);
    } else {
        let (source, destination) = (packet.word(ip + 12)?, packet.word(ip + 16)?);
        let third = HOP_LIMIT << 24 | u32::from(UDP) << 16;
        let mut sum = u64::from(packet.word(ip)?) + u64::from(packet.word(ip + 4)?);
        sum += u64::from(third) + u64::from(source) + u64::from(destination);
        let third = third | u32::from(!fold(sum));
        done &= packet.put(ip + 8, &[third.to_be(), destination.to_be(), source.to_be()]);
    }
    let sum = match checksum {
        Checksum::CompletedLater(pseudo) => pseudo,
        Checksum::Full(pseudo) => match !fold(pseudo + header_sum(datagram) + message_sum(reply)) {
            // 0 would say that there is none.
            0 => 0xffff,
            sum => sum,
        },
    };
    let ports = datagram.ports.rotate_left(16);
    done &= packet.put(datagram.udp, &[ports.to_be(), (datagram.len << 16 | u32::from(sum)).to_be()]);
    done &= packet.put(datagram.udp + UDP_HEADER, reply);
    if done { Some(()) } else { None }
}
