//! What is remembered between a SYN and the connection's first ACK.
//!
//! A fixed table, indexed by a keyed hash of the tuple: a flood of SYNs allocates nothing (S11). A mark that another
//! connection overwrites costs its owner a retransmission or its hits, never correctness: the first ACK must match both
//! initial sequence numbers.

use crate::flow::FlowKey;
use crate::siphash;

/// Number of marks; a power of two.
pub const MARKS: u32 = 1 << 16;

/// A connection being opened.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Keyed hash of the tuple, never 0.
    pub tag: u64,
    /// The client's initial sequence number.
    pub client_isn: u32,
    /// The server's, once its SYN-ACK was seen. Before that: what else it has acknowledged, for an older connection.
    pub server_isn: u32,
    /// The client's maximum segment size, in bytes.
    pub mss: u16,
    /// Window shift of the client.
    pub client_shift: u8,
    /// Window shift of the server.
    pub server_shift: u8,
    /// See the constants.
    pub flags: u32,
    /// The server's timestamp value in its last SYN-ACK.
    pub server_tsval: u32,
    /// Likewise in its first one.
    pub server_tsval_first: u32,
    /// The client's timestamp value in its SYN.
    pub client_tsval: u32,
    /// The server's window in its SYN-ACK, in bytes: there it is not scaled (RFC 7323 §2.2).
    pub server_window: u16,
    /// When its SYN came: `CLOCK_MONOTONIC` in units of 2^[`BORN_SHIFT`] ns, about a minute before it wraps.
    pub born: u16,
    /// The interface that the SYN-ACK left by.
    pub ifindex: u32,
    /// First four bytes of the link address that it went to, as a number.
    pub link_first: u32,
    /// Its last two.
    pub link_last: u16,
    /// Its IPv4 TOS or IPv6 traffic class.
    pub service: u8,
    /// Zero.
    pub padding: [u8; 5],
}

/// Units of [`Mark::born`] in nanoseconds, as a power of two.
pub const BORN_SHIFT: u32 = 20;

impl Mark {
    /// No connection.
    pub const NONE: Self = Self {
        tag: 0,
        client_isn: 0,
        server_isn: 0,
        mss: 0,
        client_shift: 0,
        server_shift: 0,
        flags: 0,
        server_tsval: 0,
        server_tsval_first: 0,
        client_tsval: 0,
        server_window: 0,
        born: 0,
        ifindex: 0,
        link_first: 0,
        link_last: 0,
        service: 0,
        padding: [0; 5],
    };

    /// How old it is; one that was never used is older than all.
    #[inline(always)]
    #[must_use]
    pub const fn age(&self, now: u16) -> u32 {
        if self.tag == 0 { u32::MAX } else { now.wrapping_sub(self.born) as u32 }
    }
}

/// The connection goes through the accelerated port.
pub const ACCELERATED: u32 = 1;
/// The server's SYN-ACK was seen.
pub const ANSWERED: u32 = 2;
/// Both sides offered timestamps (RFC 7323).
pub const TIMESTAMPS: u32 = 4;
/// The client offered timestamps.
pub const CLIENT_TIMESTAMPS: u32 = 8;
/// The client offered a window shift.
pub const CLIENT_SHIFT: u32 = 16;
/// The connection is left to the user path.
pub const RELAYED: u32 = 32;
/// The client offered ECN (RFC 3168 §6.1.1).
pub const CLIENT_ECN: u32 = 64;
/// Both sides use it.
pub const ECN: u32 = 128;
/// Both sides use accurate ECN (RFC 9768 §3.1.1).
pub const ACCURATE_ECN: u32 = 256;
/// Routers may cut the client's packets: its SYN has no DF bit.
pub const CLIENT_FRAGMENTS: u32 = 512;
/// A flow was made of it.
pub const OPENED: u32 = 1024;
/// What a SYN alone decides.
pub const OF_CLIENT: u32 =
    ACCELERATED | CLIENT_TIMESTAMPS | CLIENT_SHIFT | RELAYED | CLIENT_ECN | CLIENT_FRAGMENTS;

/// The tuple's tag, of which the low bits are its place in the table.
#[inline(always)]
#[must_use]
pub fn tag(secret: [u64; 2], key: &FlowKey) -> u64 {
    siphash::of_words(secret, key.words()) | 1 << 63
}

/// The mark's first place in the table.
#[inline(always)]
#[must_use]
pub const fn slot(tag: u64) -> u32 {
    tag as u32 & (MARKS - 1)
}

/// Its second one. Of the two it takes the older one's: so a mark is lost only if two others of the same places come before the
/// handshake is over.
#[inline(always)]
#[must_use]
pub const fn other_slot(tag: u64) -> u32 {
    slot(tag) ^ 1
}
