//! Ethernet, IPv4/IPv6 and TCP headers as values.

use crate::checksum::fold;
use crate::splice::Segment;

/// Bytes of an Ethernet header.
pub const ETHERNET: u32 = 14;
/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// IP protocol number of TCP.
pub const TCP: u8 = 6;

/// Something that a packet can be read from.
pub trait Skb {
    /// `N` bytes at `offset` from the Ethernet header, or `None` beyond the packet's end or beyond what was reached for.
    fn head<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;

    /// Two bytes at `offset` as a number.
    #[inline(always)]
    fn half(&self, offset: u32) -> Option<u16> {
        self.head::<2>(offset).map(u16::from_be_bytes)
    }

    /// Four bytes at `offset` as a number.
    #[inline(always)]
    fn word(&self, offset: u32) -> Option<u32> {
        self.head::<4>(offset).map(u32::from_be_bytes)
    }

    /// Makes the first `len` bytes readable by [`head`](Self::head), as far as the packet has them.
    fn reach(&self, len: u32);

    /// EtherType, in host order.
    fn protocol(&self) -> u16;

    /// Length of a packet that is cut into segments later (GSO); 0 for others.
    fn uncut_len(&self) -> u32;

    /// Whether the checksum at `offset` is one that the device completes (the kernel's `CHECKSUM_PARTIAL`).
    fn completed_later(&self, offset: u32) -> bool;
}

/// Addresses and ports of a TCP packet: enough to ask the predicate table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// Source address, IPv4 as `::ffff:a.b.c.d`.
    pub source: [u8; 16],
    /// Destination address, likewise.
    pub destination: [u8; 16],
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
}

/// Where the headers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Whether it is IPv6.
    pub v6: bool,
    /// Whether it is a fragment, or has extension headers in front of TCP.
    pub unusual: Unusual,
    /// Offset of the TCP header from the Ethernet header.
    pub tcp: u32,
    /// Offset behind the IP packet's last byte.
    pub end: u32,
}

/// What is out of the ordinary in an IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusual {
    /// Nothing.
    No,
    /// An IPv6 packet that tells its length in an extension header (RFC 2675), as what is to be cut later does: passed, never
    /// answered.
    Long,
    /// IPv4 options or IPv6 extension headers: not for our ports.
    Options,
    /// The first fragment of several: not for our ports.
    Fragment,
}

/// Finds TCP in a packet, and its ports.
#[inline(always)]
pub fn locate<S: Skb>(skb: &S) -> Option<(Layout, u16, u16)> {
    // Never more than the headers: payload lies in fragments of a buffer that the sender keeps, and reaching for one byte
    // of it copies the whole header part.
    skb.reach(ETHERNET + 20 + 20);
    match skb.protocol() {
        IPV4 => {
            let first = skb.word(ETHERNET)?;
            let fragment = skb.half(ETHERNET + 6)?;
            if skb.half(ETHERNET + 8)? as u8 != TCP || first >> 28 != 4 || fragment & 0x1fff != 0 {
                // A later fragment is useless without the first one, which is judged.
                return None;
            }
            let header = (first >> 24 & 15) * 4;
            if header < 20 {
                return None;
            }
            let tcp = ETHERNET + header;
            let ports = skb.word(tcp)?;
            let unusual = if fragment & 0x2000 != 0 {
                Unusual::Fragment
            } else if header != 20 {
                Unusual::Options
            } else {
                Unusual::No
            };
            let end = end(skb, ETHERNET, first & 0xffff);
            Some((Layout { v6: false, unusual, tcp, end }, (ports >> 16) as u16, ports as u16))
        }
        IPV6 => {
            skb.reach(ETHERNET + 40 + 20);
            if skb.half(ETHERNET)? >> 12 != 6 {
                return None;
            }
            let second = skb.word(ETHERNET + 4)?;
            let mut next = (second >> 8) as u8;
            let mut tcp = ETHERNET + 40;
            let end = end(skb, tcp, second >> 16);
            let mut unusual = Unusual::No;
            // RFC 8200 §4: hop-by-hop 0, routing 43, fragment 44, destination options 60, authentication 51.
            for _ in 0..4 {
                if next == TCP {
                    break;
                }
                if next != 0 && next != 43 && next != 44 && next != 60 {
                    return None;
                }
                skb.reach(tcp + 20);
                let extension = skb.head::<4>(tcp)?;
                if next == 44 && u16::from_be_bytes([extension[2], extension[3]]) & 0xfff8 != 0 {
                    return None;
                }
                // What is too large for its length field may say so in a hop-by-hop header (RFC 2675).
                unusual = if next == 44 {
                    Unusual::Fragment
                } else if next == 0 && second >> 16 == 0 && unusual == Unusual::No {
                    Unusual::Long
                } else if unusual == Unusual::Fragment {
                    Unusual::Fragment
                } else {
                    Unusual::Options
                };
                tcp += if next == 44 { 8 } else { u32::from(extension[1]) * 8 + 8 };
                next = extension[0];
            }
            if next != TCP {
                return None;
            }
            let ports = skb.word(tcp)?;
            Some((Layout { v6: true, unusual, tcp, end }, (ports >> 16) as u16, ports as u16))
        }
        _ => None,
    }
}

/// Where a packet ends whose IP header says that it is `len` bytes from `from` on. What this host still has to cut up may
/// be longer than the field can tell, which then is 0 (BIG TCP; and with a segment size above 32 KiB, as on loopback, TCP
/// now and then sends two at once).
#[inline(always)]
fn end<S: Skb>(skb: &S, from: u32, len: u32) -> u32 {
    if len != 0 {
        return from + len;
    }
    skb.uncut_len()
}

/// IPv4's TOS or IPv6's traffic class: DSCP and ECN codepoint.
#[inline(always)]
pub fn service<S: Skb>(skb: &S, v6: bool) -> Option<u8> {
    let first = skb.half(ETHERNET)?;
    Some(if v6 { (first >> 4) as u8 } else { first as u8 })
}

/// Whether routers may cut packets like this one: no DF bit. Those of IPv6 are cut by nobody on the way.
#[inline(always)]
pub fn may_be_cut<S: Skb>(skb: &S, layout: &Layout) -> bool {
    !layout.v6 && skb.half(ETHERNET + 6).is_some_and(|field| field & 0x4000 == 0)
}

/// Whether the IPv4 header's checksum is right; the header has no options. IPv6 has none.
#[inline(always)]
pub fn ip_checksum<S: Skb>(skb: &S, v6: bool) -> Option<bool> {
    if v6 {
        return Some(true);
    }
    let mut sum = 0;
    let mut at = 0;
    while at < 20 {
        sum += u64::from(skb.word(ETHERNET + at)?);
        at += 4;
    }
    Some(fold(sum) == 0xffff)
}

/// Source and destination address, IPv4 as `::ffff:a.b.c.d`.
#[inline(always)]
pub fn addresses<S: Skb>(skb: &S, v6: bool, source: &mut [u8; 16], destination: &mut [u8; 16]) -> Option<()> {
    addresses_at(skb, v6, ETHERNET, source, destination)
}

/// Those of the IP header at `ip`.
#[inline(always)]
pub fn addresses_at<S: Skb>(
    skb: &S,
    v6: bool,
    ip: u32,
    source: &mut [u8; 16],
    destination: &mut [u8; 16],
) -> Option<()> {
    let (from, to) = if v6 { (8, 24) } else { (12, 16) };
    if v6 {
        let mut at = 0;
        while at < 16 {
            put(source, at, skb.word(ip + from + at)?);
            put(destination, at, skb.word(ip + to + at)?);
            at += 4;
        }
    } else {
        for (address, at) in [(source, from), (destination, to)] {
            put(address, 0, 0);
            put(address, 4, 0);
            put(address, 8, 0xffff);
            put(address, 12, skb.word(ip + at)?);
        }
    }
    Some(())
}

#[inline(always)]
fn put(address: &mut [u8; 16], at: u32, value: u32) {
    // SAFETY: `at` is 0, 4, 8 or 12.
    unsafe { crate::word::store_u32(address.as_mut_ptr().add(at as usize), value.to_be()) };
}

/// An IPv4 address as an IPv6 one (RFC 4291 §2.5.5.2).
#[inline(always)]
#[must_use]
pub const fn mapped(v4: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3]]
}

/// The TCP header, beyond its ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// What the splice sees.
    pub segment: Segment,
    /// Length of the header with options, in bytes.
    pub header: u32,
    /// The checksum field.
    pub checksum: u16,
    /// Whether there are options beside timestamps: SACK blocks, or those of a SYN.
    pub more_options: bool,
    /// Timestamp echo, if the segment has timestamps.
    pub tsecr: u32,
    /// The bit that accurate ECN uses beside ECE and CWR (RFC 9768 §3.1).
    pub accurate: bool,
}

/// Reads the TCP header at `layout.tcp`.
#[inline(always)]
pub fn tcp<S: Skb>(skb: &S, layout: &Layout) -> Option<Tcp> {
    skb.reach(layout.tcp + 20);
    let fourth = skb.word(layout.tcp + 12)?;
    let header = (fourth >> 28) * 4;
    if header < 20 || layout.end < layout.tcp + header {
        return None;
    }
    let mut segment = Segment {
        seq: skb.word(layout.tcp + 4)?,
        ack: skb.word(layout.tcp + 8)?,
        flags: (fourth >> 16) as u8,
        window: fourth as u16,
        payload: layout.end - layout.tcp - header,
        tsval: 0,
        timestamps: false,
    };
    let mut more_options = header > 20;
    let mut tsecr = 0;
    // Everyone lays timestamps out like this (RFC 7323 appendix A).
    skb.reach(layout.tcp + header);
    if header >= 32 && skb.word(layout.tcp + 20)? == 0x0101_080a {
        segment.timestamps = true;
        segment.tsval = skb.word(layout.tcp + 24)?;
        tsecr = skb.word(layout.tcp + 28)?;
        more_options = header > 32;
    }
    Some(Tcp {
        segment,
        header,
        checksum: skb.half(layout.tcp + 16)?,
        more_options,
        tsecr,
        accurate: fourth >> 24 & 1 != 0,
    })
}

/// Most bytes of options that a TCP header has room for, so most options, too.
pub const OPTIONS_MAX: u32 = 40;

/// Walks over the options of a TCP header (RFC 9293 §3.1), and what it found there.
///
/// Lies in the programs' working memory, and is read from there anew in each step: numbers in memory are unknown to the
/// verifier, so all steps look alike to it and are verified once.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The options, as copied from the packet.
    pub bytes: [u8; 64],
    /// How many of them.
    pub len: u32,
    at: u32,
    mss: u32,
    shift: u32,
    found: u32,
    sack: u32,
    tsval: u32,
    tsecr: u32,
}

const TIMESTAMPS: u32 = 1;
const SHIFT: u32 = 2;
/// MPTCP.
const MULTIPATH: u32 = 4;
const SACK: u32 = 8;
/// TCP-MD5 or TCP-AO.
const SIGNED: u32 = 16;
/// An option that is shorter than its head, or ends behind the header.
const BROKEN: u32 = 32;

/// What options were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Maximum segment size; 536 if not given (RFC 9293 §3.7.1).
    pub mss: u16,
    /// Whether a window shift was offered.
    pub shifts: bool,
    /// Window shift.
    pub shift: u8,
    /// Timestamps offered.
    pub timestamps: bool,
    /// Timestamp value.
    pub tsval: u32,
    /// Timestamp echo.
    pub tsecr: u32,
    /// An option that cannot be spliced: MPTCP, MD5, AO (S9), or options that do not end where they should.
    pub foreign: bool,
    /// An option for which a socket may throw the segment away: MD5, AO, or options that do not end where they should (T1).
    pub refused: bool,
    /// Whether there are SACK blocks.
    pub sacks: bool,
    /// Their offset among the options.
    pub sack: u32,
}

impl Options {
    /// No options.
    pub const EMPTY: Self =
        Self { bytes: [0; 64], len: 0, at: 0, mss: 0, shift: 0, found: 0, sack: 0, tsval: 0, tsecr: 0 };

    /// Walks over all options.
    #[inline(always)]
    pub fn walk(&mut self) {
        self.begin();
        Self::each(|| self.step());
    }

    /// Takes each step: [`step`](Self::step), or what the verifier knows as a function of its own and calls that.
    #[inline(always)]
    pub fn each(mut step: impl FnMut() -> bool) {
        for _ in 0..OPTIONS_MAX {
            if !step() {
                break;
            }
        }
    }

    /// Nothing is known yet.
    #[inline(always)]
    pub fn begin(&mut self) {
        self.at = 0;
        self.mss = 536;
        self.shift = 0;
        self.sack = 0;
        self.tsval = 0;
        self.tsecr = 0;
        self.found = 0;
    }

    /// Looks at one option. Whether there may be more.
    #[inline(always)]
    pub fn step(&mut self) -> bool {
        // SAFETY: reads of our own field; volatile so that the value comes from memory.
        let (at, len, found) = unsafe {
            ((&raw const self.at).read_volatile(), self.len, (&raw const self.found).read_volatile())
        };
        if at >= len {
            return false;
        }
        let kind = byte(&self.bytes, at);
        if kind == 0 {
            return false;
        }
        if kind == 1 {
            self.at = at + 1;
            return true;
        }
        // As Linux reads them (tcp_parse_options): an option that does not end within the header is not looked at, nor is
        // what follows it; one whose length is not its kind's is skipped. Of two the later one counts.
        let length = u32::from(byte(&self.bytes, at + 1));
        if at + 1 >= len || length < 2 || at + length > len {
            self.found = found | BROKEN;
            return false;
        }
        let mut new = 0;
        if kind == 2 && length == 4 {
            self.mss = u32::from(byte(&self.bytes, at + 2)) << 8 | u32::from(byte(&self.bytes, at + 3));
        } else if kind == 3 && length == 3 {
            self.shift = u32::from(byte(&self.bytes, at + 2));
            new = SHIFT;
        } else if kind == 5 {
            self.sack = at;
            new = SACK;
        } else if kind == 8 && length == 10 {
            self.tsval = u32::from(byte(&self.bytes, at + 2)) << 24
                | u32::from(byte(&self.bytes, at + 3)) << 16
                | u32::from(byte(&self.bytes, at + 4)) << 8
                | u32::from(byte(&self.bytes, at + 5));
            self.tsecr = u32::from(byte(&self.bytes, at + 6)) << 24
                | u32::from(byte(&self.bytes, at + 7)) << 16
                | u32::from(byte(&self.bytes, at + 8)) << 8
                | u32::from(byte(&self.bytes, at + 9));
            new = TIMESTAMPS;
        } else if kind == 19 || kind == 29 {
            new = SIGNED;
        } else if kind == 30 {
            new = MULTIPATH;
        }
        self.found = found | new;
        self.at = at + length;
        true
    }

    /// What the walk found.
    #[inline(always)]
    #[must_use]
    pub fn found(&self) -> Found {
        Found {
            mss: self.mss as u16,
            shifts: self.found & SHIFT != 0,
            shift: self.shift as u8,
            timestamps: self.found & TIMESTAMPS != 0,
            tsval: self.tsval,
            tsecr: self.tsecr,
            foreign: self.found & (MULTIPATH | SIGNED | BROKEN) != 0,
            refused: self.found & (SIGNED | BROKEN) != 0,
            sacks: self.found & SACK != 0,
            sack: self.sack,
        }
    }
}

/// A byte of a small buffer, at a masked position.
#[inline(always)]
#[must_use]
pub fn byte(bytes: &[u8; 64], at: u32) -> u8 {
    // SAFETY: masked to the length of the array.
    unsafe { *bytes.as_ptr().add(crate::bound::masked::<63>(at)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(options: &[u8]) -> Found {
        let mut walk = Options::EMPTY;
        walk.bytes[..options.len()].copy_from_slice(options);
        walk.len = options.len() as u32;
        walk.walk();
        walk.found()
    }

    #[test]
    fn options_of_a_linux_syn() {
        let found = found(&[2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7]);
        assert_eq!((found.mss, found.shifts, found.shift), (1460, true, 7));
        assert_eq!((found.timestamps, found.tsval), (true, 0x0102_0304));
        assert!(!found.foreign && !found.sacks);
    }

    #[test]
    fn sack_blocks_are_found_behind_timestamps() {
        let found = found(&[1, 1, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
        assert_eq!((found.sacks, found.sack), (true, 14));
    }

    #[test]
    fn options_that_cannot_be_spliced() {
        for kind in [19, 29, 30] {
            assert!(found(&[kind, 4, 0, 0]).foreign);
        }
        assert!(found(&[2, 0, 0, 0]).foreign, "a length of zero would never end");
    }
}
