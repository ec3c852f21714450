//! Whether the server's TCP would take a segment of the client (T1).
//!
//! What it would throw away must not be read: other bytes could follow at the same numbers. The rules are those of RFC 9293
//! §3.10.7.4, RFC 5961 §5 and RFC 7323 §5, as Linux has them in `tcp_rcv_established`, `tcp_validate_incoming`, `tcp_sequence`
//! and `tcp_ack`. Where the stack knows less than the server's socket it is the stricter one: TCP sends again.

use super::{Segment, Splice, flag, tcp_flag};
use crate::seq::{after, before, distance};
use crate::verdict::Reason;

/// The checks, one bit each. All of them are made; a laboratory leaves one out to see that this is found.
pub mod check {
    /// The ACK flag is there.
    pub const ACK_FLAG: u32 = 1;
    /// No SYN inside a connection.
    pub const SYN: u32 = 1 << 1;
    /// No acknowledgement of what was not sent.
    pub const ACK_UNSENT: u32 = 1 << 2;
    /// No acknowledgement that is too old.
    pub const ACK_TOO_OLD: u32 = 1 << 3;
    /// No old timestamp.
    pub const TIMESTAMP: u32 = 1 << 4;
    /// Nothing beyond the server's window.
    pub const WINDOW: u32 = 1 << 5;
    /// The IPv4 header's checksum.
    pub const IP_CHECKSUM: u32 = 1 << 6;
    /// The TCP checksum.
    pub const TCP_CHECKSUM: u32 = 1 << 7;
    /// The frame is for this host's link address.
    pub const LINK_ADDRESS: u32 = 1 << 8;
    /// No IPv4 options or IPv6 extension headers.
    pub const IP_OPTIONS: u32 = 1 << 9;
    /// No TCP options for which a segment is thrown away.
    pub const TCP_OPTIONS: u32 = 1 << 10;
    /// No urgent data.
    pub const URGENT: u32 = 1 << 11;
    /// Nothing behind the client's FIN.
    pub const AFTER_FIN: u32 = 1 << 12;
    /// A repetition has the same bytes (T2).
    pub const SAME_BYTES: u32 = 1 << 13;
    /// All of them.
    pub const ALL: u32 = u32::MAX;
}

impl Splice {
    /// Whether the server would take the segment, as far as its header tells; why not.
    #[inline(always)]
    pub(super) fn accepts(&self, segment: &Segment, checks: u32) -> Result<(), Reason> {
        if checks & check::SYN != 0 && segment.has(tcp_flag::SYN) {
            return Err(Reason::SynInside);
        }
        if checks & check::ACK_FLAG != 0 && !segment.has(tcp_flag::ACK) {
            return Err(Reason::NoAckFlag);
        }
        if checks & check::URGENT != 0 && segment.has(tcp_flag::URG) {
            return Err(Reason::Urgent);
        }
        // Linux allows a difference of one (TCP_PAWS_WINDOW). The server may compare with an older timestamp than the latest: it
        // sees no answered request, and takes none over from what it has not been asked to acknowledge. It takes those that are not
        // older than either.
        let older = distance(segment.tsval, self.client_tsval) < -1
            || distance(segment.tsval, self.client_echoed) < -1;
        if checks & check::TIMESTAMP != 0 && segment.timestamps && self.has(flag::TIMESTAMPS) && older {
            return Err(Reason::OldTimestamp);
        }
        // The FIN may stand behind the window's end.
        let edge = self.server_edge.wrapping_add(self.consumed);
        if checks & check::WINDOW != 0 && after(segment.seq.wrapping_add(segment.payload), edge) {
            return Err(Reason::BeyondWindow);
        }
        if checks & check::ACK_UNSENT != 0 && after(segment.ack, self.sent()) {
            return Err(Reason::AckUnsent);
        }
        // RFC 5961 §5.2: not older than the largest window that the client has told, nor than the connection.
        let acknowledged = self.client_ack.wrapping_sub(self.server_start);
        let window =
            if acknowledged < self.client_window_max { acknowledged } else { self.client_window_max };
        if checks & check::ACK_TOO_OLD != 0
            && before(segment.ack, self.client_ack)
            && self.client_ack.wrapping_sub(segment.ack) > window
        {
            return Err(Reason::AckTooOld);
        }
        Ok(())
    }

    /// Takes what an accepted segment says beside its bytes: acknowledgement, window, timestamp, and that the client has reduced
    /// its congestion window.
    #[inline(always)]
    pub(super) fn take_header(&mut self, segment: &Segment) {
        if after(segment.ack, self.client_ack) {
            self.client_ack = segment.ack;
        }
        self.client_window = segment.window;
        let window = u32::from(segment.window) << (self.client_shift & 15);
        if window > self.client_window_max {
            self.client_window_max = window;
        }
        // As the server does (tcp_replace_ts_recent), or sooner: a timestamp of bytes that are still missing does not count.
        if segment.timestamps
            && !after(segment.seq, self.client_next)
            && distance(self.client_tsval, segment.tsval) <= 0
        {
            self.client_tsval = segment.tsval;
        }
        // With or without payload, as the server hears it.
        if segment.has(tcp_flag::CWR) {
            self.flags &= !flag::ECHO_DUE;
        }
    }

    /// Takes the client's timestamp that a segment of the server echoes.
    #[inline(always)]
    pub fn take_echo(&mut self, tsecr: u32) {
        if distance(tsecr, self.client_echoed) > 0 && distance(self.client_tsval, tsecr) >= 0 {
            self.client_echoed = tsecr;
        }
    }

    /// What the client was sent so far: the number behind it.
    #[inline(always)]
    pub(super) const fn sent(&self) -> u32 {
        self.server_next.wrapping_add(self.injected)
    }
}
