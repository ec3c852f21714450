//! Sequence numbers of a connection in which the stack answers for a server that does not know.
//!
//! Two numberings: the client's (what is on the wire between client and stack) and the server's. They differ by the bytes
//! that the stack consumed from the client and the bytes that it injected to it:
//!
//! - client to server: `seq - consumed`, `ack - injected`
//! - server to client: `seq + injected`, `ack + consumed`
//!
//! A pure state machine: segments in, steps out. Its callers hold the flow's lock during each call (S14); between
//! [`Splice::client`] and [`Splice::pass_claimed`] or [`Splice::inject`] the client's direction is claimed by one CPU,
//! likewise the server's.
//! The invariants S1–S16 are those of ARCHITECTURE.md.
//!
//! - [`segment`]: what goes in, and what comes out.
//! - [`accept`]: what the server would take (T1).
//! - `ends`: ends of a connection.

pub mod accept;
mod ends;
pub mod segment;

pub use segment::{ClientStep, Injection, Segment, ServerStep, Translated, tcp_flag};

use crate::handshake::{self, Mark};
use crate::seq::{after, before, distance, latest};
use crate::verdict::Reason;

/// Flags of a splice.
pub mod flag {
    /// Through the accelerated port; otherwise the connection is only observed.
    pub const ACCELERATED: u32 = 1;
    /// Both sides use timestamps.
    pub const TIMESTAMPS: u32 = 1 << 1;
    /// The handshake was seen: options are known, the stream was read from its first byte.
    pub const COMPLETE: u32 = 1 << 2;
    /// A CPU reads the client's direction.
    pub const CLIENT_CLAIMED: u32 = 1 << 3;
    /// The client's FIN was seen.
    pub const CLIENT_FIN: u32 = 1 << 5;
    /// The server's FIN was seen.
    pub const SERVER_FIN: u32 = 1 << 6;
    /// A reset was seen.
    pub const RESET: u32 = 1 << 7;
    /// The client's bytes are not shown to the handler any more.
    pub const CLIENT_OPAQUE: u32 = 1 << 8;
    /// The server's bytes are not shown to the handler any more.
    pub const SERVER_OPAQUE: u32 = 1 << 9;
    /// An acknowledgement was held back (S15).
    pub const ACK_HELD: u32 = 1 << 10;
    /// The server closed first: its socket goes through TIME_WAIT.
    pub const SERVER_FIRST: u32 = 1 << 11;
    /// The server's socket has left the handshake: it takes a number that it does not expect for an old one, not for a
    /// reason to reset.
    pub const ESTABLISHED: u32 = 1 << 12;
    /// The stack has ended the connection: the server's side was reset, and the client's is the stack's alone.
    pub const CLOSED: u32 = 1 << 13;
    /// The client was told with a FIN; otherwise with a reset.
    pub const FIN_SENT: u32 = 1 << 14;
    /// The client is told nothing.
    pub const SILENT: u32 = 1 << 15;
    /// Both sides use ECN (RFC 3168).
    pub const ECN: u32 = 1 << 16;
    /// Both sides use accurate ECN (RFC 9768), whose counters only the server has.
    pub const ACCURATE_ECN: u32 = 1 << 17;
    /// Congestion that an answered request has met is echoed until the client has reduced its window.
    pub const ECHO_DUE: u32 = 1 << 18;
    /// The server has taken bytes that were not read.
    pub const UNREAD: u32 = 1 << 19;
    /// What was passed could not be remembered for comparison (T2).
    pub const UNBOUND: u32 = 1 << 20;
}

/// One connection's numbers. Client's numbering unless it says otherwise.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Splice {
    /// 1 while a CPU reads the server's direction. Set under the flow's lock; given back without it, which is cheaper, by
    /// an addition that is a full barrier. A word of its own, so that no other change is lost.
    pub server_claim: u64,
    /// See [`flag`].
    pub flags: u32,
    /// Next byte expected from the client.
    pub client_next: u32,
    /// Highest acknowledgement of the client.
    pub client_ack: u32,
    /// Next byte expected from the server; server's numbering.
    pub server_next: u32,
    /// Highest acknowledgement of the server; server's numbering.
    pub server_ack: u32,
    /// Highest acknowledgement that the server was given; server's numbering.
    pub server_una: u32,
    /// Bytes consumed from the client so far.
    pub consumed: u32,
    /// Bytes injected to the client so far.
    pub injected: u32,
    /// Where the last reply begins.
    pub injection_start: u32,
    /// Its length; 0 if there was none.
    pub injection_len: u32,
    /// Where the request that it answered begins.
    pub request_start: u32,
    /// That request's length.
    pub request_len: u32,
    /// The server's last timestamp value.
    pub server_tsval: u32,
    /// Behind the last byte that the server has room for, by its windows so far; server's numbering.
    pub server_edge: u32,
    /// The first byte of the server, behind its SYN.
    pub server_start: u32,
    /// Largest window that the client has told, in bytes.
    pub client_window_max: u32,
    /// Bytes of the client that the handler does not want to see.
    pub client_skip: u32,
    /// Bytes of the server that the handler does not want to see.
    pub server_skip: u32,
    /// The server's last window field.
    pub server_window: u16,
    /// The client's maximum segment size, in bytes.
    pub mss: u16,
    /// The client's window shift (RFC 7323).
    pub client_shift: u8,
    /// The server's window shift.
    pub server_shift: u8,
    /// The client's last window field.
    pub client_window: u16,
    /// The client's latest timestamp value.
    pub client_tsval: u32,
    /// The one that the server has echoed last. It compares with this one or with a later one (`ts_recent`), which is not later than
    /// the client's latest.
    pub client_echoed: u32,
}

impl Splice {
    /// A connection whose handshake was seen.
    #[inline(always)]
    pub fn open(&mut self, mark: &Mark) {
        let accelerated = if mark.flags & handshake::ACCELERATED != 0 { flag::ACCELERATED } else { 0 };
        let timestamps = if mark.flags & handshake::TIMESTAMPS != 0 { flag::TIMESTAMPS } else { 0 };
        let ecn = if mark.flags & handshake::ACCURATE_ECN != 0 {
            flag::ACCURATE_ECN
        } else if mark.flags & handshake::ECN != 0 {
            flag::ECN
        } else {
            0
        };
        self.flags = flag::COMPLETE | accelerated | timestamps | ecn;
        self.client_next = mark.client_isn.wrapping_add(1);
        self.client_ack = mark.server_isn.wrapping_add(1);
        self.server_next = self.client_ack;
        self.server_una = self.client_ack;
        self.server_ack = self.client_next;
        self.mss = mark.mss;
        self.client_shift = mark.client_shift;
        self.server_shift = mark.server_shift;
        self.clear();
        self.server_start = self.server_next;
        // The window of a SYN-ACK is not scaled (RFC 7323 §2.2).
        self.server_edge = self.client_next.wrapping_add(mark.server_window as u32);
        self.server_window = mark.server_window >> (mark.server_shift & 15);
        self.server_tsval = mark.server_tsval;
        self.client_tsval = mark.client_tsval;
        self.client_echoed = mark.client_tsval;
    }

    /// A connection through the accelerated port of which nothing is known but that it exists: ports are translated,
    /// nothing is read, nothing is answered. Nor is the order judged: the segment that made it may be an old one.
    #[inline(always)]
    pub fn open_unseen(&mut self) {
        self.flags = flag::ACCELERATED | flag::CLIENT_OPAQUE | flag::SERVER_OPAQUE;
        self.client_next = 0;
        self.client_ack = 0;
        self.server_next = 0;
        self.server_una = 0;
        self.server_ack = 0;
        self.mss = 0;
        self.client_shift = 0;
        self.server_shift = 0;
        self.clear();
    }

    #[inline(always)]
    fn clear(&mut self) {
        self.server_claim = 0;
        self.consumed = 0;
        self.injected = 0;
        self.injection_start = 0;
        self.injection_len = 0;
        self.request_start = 0;
        self.request_len = 0;
        self.server_tsval = 0;
        self.client_skip = 0;
        self.server_skip = 0;
        self.server_window = 0;
        self.client_window = 0;
        self.client_tsval = 0;
        self.client_echoed = 0;
        self.server_edge = 0;
        self.server_start = 0;
        self.client_window_max = 0;
    }

    /// Whether `flag` is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Whether numbers differ between the sides.
    #[inline(always)]
    #[must_use]
    pub const fn has_offset(&self) -> bool {
        self.consumed | self.injected != 0
    }

    #[inline(always)]
    const fn injection_end(&self) -> u32 {
        self.injection_start.wrapping_add(self.injection_len)
    }

    #[inline(always)]
    const fn request_end(&self) -> u32 {
        self.request_start.wrapping_add(self.request_len)
    }

    /// Whether the last reply is on its way: sent, not acknowledged to its end.
    #[inline(always)]
    #[must_use]
    pub const fn outstanding(&self) -> bool {
        self.injection_len != 0 && before(self.client_ack, self.injection_end())
    }

    /// Whether the reply that begins at `start` is the last one, and on its way: then its bytes are still the flow's.
    #[inline(always)]
    #[must_use]
    pub const fn still_outstanding(&self, start: u32) -> bool {
        self.injection_start == start && self.outstanding()
    }

    /// Where in the server's numbering the last reply was put in.
    #[inline(always)]
    const fn injection_point(&self) -> u32 {
        self.injection_start.wrapping_sub(self.injected.wrapping_sub(self.injection_len))
    }

    /// A client's acknowledgement in the server's numbering. Bytes of a reply count as the point where it was put in.
    #[inline(always)]
    #[must_use]
    pub fn ack_to_server(&self, ack: u32) -> u32 {
        if self.injection_len == 0 || !before(ack, self.injection_end()) {
            ack.wrapping_sub(self.injected)
        } else if after(ack, self.injection_start) {
            self.injection_point()
        } else {
            ack.wrapping_sub(self.injected.wrapping_sub(self.injection_len))
        }
    }

    #[inline(always)]
    fn for_server(&mut self, segment: &Segment) -> Translated {
        // An acknowledgement from before an earlier reply comes out too low; the server was given more than that since.
        let ack = latest(self.ack_to_server(segment.ack), self.server_una);
        if segment.has(tcp_flag::ACK) && after(ack, self.server_una) && !after(ack, self.server_next) {
            self.server_una = ack;
        }
        Translated {
            seq: segment.seq.wrapping_sub(self.consumed),
            ack: if segment.has(tcp_flag::ACK) { ack } else { segment.ack },
        }
    }

    /// Takes a segment of the client; `checks` are those of [`accept::check`] to be made.
    #[inline(always)]
    pub fn client(&mut self, segment: &Segment, checks: u32) -> ClientStep {
        if !self.has(flag::COMPLETE) {
            return ClientStep::Pass(segment.untranslated());
        }
        if self.has(flag::CLOSED) {
            return self.client_after_close(segment);
        }
        if segment.has(tcp_flag::RST) {
            // Only a reset at exactly the next byte is believed (RFC 5961 §3.2); others are the server's to judge.
            if segment.seq == self.client_next {
                self.flags |= flag::RESET;
            }
            return ClientStep::Pass(self.for_server(segment));
        }
        match self.accepts(segment, checks) {
            Ok(()) => {}
            // The server would throw the byte away, unless it has made room meanwhile; it must not have it unread.
            Err(Reason::BeyondWindow) if segment.payload <= 1 && segment.seq == self.client_next => {
                let to = self.for_server(segment);
                return ClientStep::Probe(Translated { seq: to.seq.wrapping_sub(1), ..to });
            }
            Err(reason) => return ClientStep::Drop(reason),
        }
        // What lies wholly behind the server's last acknowledgement is thrown away, and its header with it.
        if !before(segment.end(), self.server_ack.wrapping_add(self.consumed)) {
            self.take_header(segment);
        }
        let fin = segment.has(tcp_flag::FIN);
        if segment.payload == 0 && !fin {
            return ClientStep::Pass(self.for_server(segment));
        }
        if self.has(flag::CLIENT_CLAIMED) {
            // Also of bytes that were seen before: they may be those of the claim, whose way is not decided yet (S14).
            return ClientStep::Drop(Reason::Contended);
        }
        let ahead = distance(segment.seq, self.client_next);
        if ahead > 0 {
            return ClientStep::Drop(Reason::OutOfOrder);
        }
        let fresh = distance(segment.end(), self.client_next);
        if ahead < 0 {
            if checks & accept::check::AFTER_FIN != 0
                && self.has(flag::CLIENT_FIN)
                && after(segment.seq.wrapping_add(segment.payload), self.client_next.wrapping_sub(1))
            {
                // A byte in the place of the FIN: a server that has not got that would take it.
                return ClientStep::Drop(Reason::AfterFin);
            }
            if self.outstanding() && before(segment.seq, self.request_end()) {
                let owed = Translated { seq: self.server_ack, ack: self.server_una };
                return ClientStep::Resend(self.injection(self.has_reduced(segment), owed));
            }
            if checks & accept::check::SAME_BYTES != 0 && self.unsettled(segment).1 != 0 {
                self.flags |= flag::CLIENT_CLAIMED;
                return ClientStep::Compare;
            }
            if fresh <= 0 {
                return ClientStep::Pass(self.for_server(segment));
            }
            if self.request_len != 0 && before(segment.seq, self.request_end()) {
                // Its acknowledgement is missing: it was held back while a reply was on its way in pieces, or lost.
                return ClientStep::Acknowledge(self.acknowledgement());
            }
        }
        if checks & accept::check::AFTER_FIN != 0 && self.has(flag::CLIENT_FIN) {
            return ClientStep::Drop(Reason::AfterFin);
        }
        let refused = self.refuses(segment);
        self.flags |= flag::CLIENT_CLAIMED | if fin { flag::CLIENT_FIN } else { 0 };
        self.client_next = segment.end();
        ClientStep::Read { skip: ahead.unsigned_abs(), refused }
    }

    /// Which bytes of a segment were passed to the server and are not acknowledged by it: the first one's number, and how many.
    /// Those of a connection that is not read count for nothing.
    #[inline(always)]
    #[must_use]
    pub fn unsettled(&self, segment: &Segment) -> (u32, u32) {
        let from = latest(segment.seq, self.server_ack.wrapping_add(self.consumed));
        let end = segment.seq.wrapping_add(segment.payload);
        let to = if after(end, self.client_next) { self.client_next } else { end };
        let read = self.flags & (flag::CLIENT_OPAQUE | flag::SERVER_OPAQUE) == 0;
        (from, if read && after(to, from) { to.wrapping_sub(from) } else { 0 })
    }

    /// How many bytes before a new one were passed to the server and are not acknowledged by it.
    #[inline(always)]
    #[must_use]
    pub const fn unsettled_before(&self, seq: u32) -> u32 {
        let settled = self.server_ack.wrapping_add(self.consumed);
        if after(seq, settled) { seq.wrapping_sub(settled) } else { 0 }
    }

    /// The segment that this CPU has claimed is the same as what was passed: what becomes of it.
    #[inline(always)]
    pub fn repeated(&mut self, segment: &Segment) -> ClientStep {
        if distance(segment.end(), self.client_next) <= 0 {
            return ClientStep::Pass(self.pass_claimed(segment));
        }
        let ahead = distance(segment.seq, self.client_next);
        let refused = self.refuses(segment);
        self.flags |= if segment.has(tcp_flag::FIN) { flag::CLIENT_FIN } else { 0 };
        self.client_next = segment.end();
        ClientStep::Read { skip: ahead.unsigned_abs(), refused }
    }

    /// S1 as far as TCP knows it.
    #[inline(always)]
    fn refuses(&self, segment: &Segment) -> Option<Reason> {
        let refusal =
            flag::CLIENT_FIN | flag::SERVER_FIN | flag::RESET | flag::CLIENT_OPAQUE | flag::SERVER_OPAQUE;
        if !self.has(flag::ACCELERATED) {
            return Some(Reason::PlainPort);
        }
        if self.flags & (flag::CLIENT_OPAQUE | flag::SERVER_OPAQUE) != 0 {
            return Some(Reason::Opaque);
        }
        if segment.timestamps != self.has(flag::TIMESTAMPS) {
            return Some(Reason::Unusual);
        }
        if self.has(flag::ACCURATE_ECN) {
            return Some(Reason::Ecn);
        }
        if segment.has(tcp_flag::FIN)
            || self.flags & refusal != 0
            || segment.seq != self.client_next
            || segment.ack != self.server_next.wrapping_add(self.injected)
            || self.server_ack != segment.seq.wrapping_sub(self.consumed)
        {
            return Some(Reason::NotIdle);
        }
        None
    }

    /// Most bytes that a reply to `segment` may have: the client's window. The `last` one has a FIN behind it, which must be
    /// within the window, too: nothing would bring it again, since the request is acknowledged.
    #[inline(always)]
    #[must_use]
    pub fn room(&self, segment: &Segment, last: bool) -> u32 {
        (u32::from(segment.window) << (self.client_shift & 15)).saturating_sub(u32::from(last))
    }

    /// Most bytes of payload that the client takes in a segment.
    #[inline(always)]
    #[must_use]
    pub fn segment_max(&self) -> u32 {
        let options = if self.has(flag::TIMESTAMPS) { 12 } else { 0 };
        u32::from(self.mss).saturating_sub(options)
    }

    /// A reply is about to leave in pieces. Where the request begins: the pieces must not acknowledge it. The client has nothing
    /// else to repeat, and nothing but its repetition brings a piece again that was lost (S15). It is given the
    /// acknowledgement when it has all of them. And how much of the reply it has.
    #[inline(always)]
    pub fn hold_request(&mut self) -> (u32, u32) {
        self.flags |= flag::ACK_HELD;
        let has = distance(self.client_ack, self.injection_start);
        (self.request_start, if has > 0 { has.unsigned_abs() } else { 0 })
    }

    /// The number that the server knows for what an error quotes of a segment to the client. Of an answer that the client has
    /// not acknowledged it is the place where that was put in, which the server takes for its own; of older ones it is one
    /// that it does not.
    #[inline(always)]
    #[must_use]
    pub fn quoted(&self, seq: u32) -> u32 {
        if self.injection_len == 0 || !before(seq, self.injection_end()) {
            seq.wrapping_sub(self.injected)
        } else if self.outstanding() && !before(seq, self.injection_start) {
            self.injection_point()
        } else {
            // Before the last answer, or in it: the server's own bytes there are acknowledged.
            let own = seq.wrapping_sub(self.injected.wrapping_sub(self.injection_len));
            if before(own, self.injection_point()) { own } else { self.injection_point().wrapping_sub(1) }
        }
    }

    /// Commits a reply to the segment that this CPU has claimed, and releases the claim. Fails, with the claim still
    /// held, if the server has moved since (S14).
    #[inline(always)]
    pub fn inject(&mut self, segment: &Segment, reply: u32) -> Result<Injection, Reason> {
        let gone = flag::SERVER_FIN | flag::RESET | flag::SERVER_OPAQUE;
        if self.flags & gone != 0 || segment.ack != self.server_next.wrapping_add(self.injected) {
            return Err(Reason::Raced);
        }
        let ack = segment.ack.wrapping_sub(self.injected);
        let owes = after(ack, self.server_una) || self.has_reduced(segment);
        if owes {
            self.server_una = ack;
        }
        // The numbers of a bare acknowledgement stand behind what the server was given, not behind this request.
        let owed = Translated { seq: segment.seq.wrapping_sub(self.consumed), ack };
        self.injection_start = segment.ack;
        self.injection_len = reply;
        self.request_start = segment.seq;
        self.request_len = segment.payload;
        self.consumed = self.consumed.wrapping_add(segment.payload);
        self.injected = self.injected.wrapping_add(reply);
        self.flags &= !flag::CLIENT_CLAIMED;
        Ok(self.injection(owes, owed))
    }

    /// Whether the client says that it has reduced its congestion window: the server, which demands that on its own, must hear it
    /// although it does not get the segment (T7).
    #[inline(always)]
    const fn has_reduced(&self, segment: &Segment) -> bool {
        self.has(flag::ECN) && segment.has(tcp_flag::CWR)
    }

    #[inline(always)]
    const fn injection(&self, owes: bool, owed: Translated) -> Injection {
        let last = self.has(flag::FIN_SENT);
        Injection {
            seq: self.injection_start,
            // What comes behind the end is the stack's to take: all of it, whatever room the server had.
            ack: if last { self.client_next } else { self.request_end() },
            window: if last { u16::MAX } else { self.server_window },
            tsval: self.server_tsval,
            owes,
            owed,
            expected: Translated { seq: self.server_ack, ack: self.server_una },
            last,
        }
    }

    /// The segment that this CPU has claimed goes to the server.
    #[inline(always)]
    pub fn pass_claimed(&mut self, segment: &Segment) -> Translated {
        self.flags &= !flag::CLIENT_CLAIMED;
        self.for_server(segment)
    }

    /// Takes a segment of the server, in the server's numbering.
    #[inline(always)]
    pub fn server(&mut self, segment: &Segment) -> ServerStep {
        if !self.has(flag::COMPLETE) {
            return ServerStep::Pass(segment.untranslated());
        }
        if self.has(flag::CLOSED) {
            if segment.has(tcp_flag::RST) {
                return ServerStep::Drop(Reason::AfterClose);
            }
            // The reset was lost, or stood before what is on its way.
            return ServerStep::Reset(Translated { seq: segment.ack, ack: segment.end() });
        }
        if segment.has(tcp_flag::RST) {
            self.flags |= flag::RESET;
            // Nothing is sent again after a reset, so there is nothing to hold back.
            let ack = if segment.has(tcp_flag::ACK) {
                segment.ack.wrapping_add(self.consumed)
            } else {
                segment.ack
            };
            return ServerStep::Pass(Translated { seq: segment.seq.wrapping_add(self.injected), ack });
        }
        if segment.has(tcp_flag::ACK) {
            if after(segment.ack, self.client_next.wrapping_sub(self.consumed)) {
                return ServerStep::Unread(self.for_client(segment));
            }
            self.server_ack = latest(self.server_ack, segment.ack);
            self.flags |= flag::ESTABLISHED;
        }
        self.server_window = segment.window;
        if segment.has(tcp_flag::ACK) {
            let edge = segment.ack.wrapping_add(u32::from(segment.window) << (self.server_shift & 15));
            self.server_edge = latest(self.server_edge, edge);
        }
        if segment.timestamps {
            self.server_tsval = latest(self.server_tsval, segment.tsval);
        }
        let fin = segment.has(tcp_flag::FIN);
        let ahead = distance(segment.seq, self.server_next);
        if segment.payload == 0 && !fin {
            return ServerStep::Pass(self.for_client(segment));
        }
        if ahead > 0 {
            return ServerStep::Drop(Reason::OutOfOrder);
        }
        if ahead < 0 && self.injection_len != 0 && before(segment.seq, self.injection_point()) {
            return ServerStep::Acknowledge(Translated { seq: self.server_ack, ack: self.injection_point() });
        }
        if distance(segment.end(), self.server_next) <= 0 {
            return ServerStep::Pass(self.for_client(segment));
        }
        if self.server_claim != 0 {
            return ServerStep::Drop(Reason::Contended);
        }
        if fin {
            if !self.has(flag::CLIENT_FIN) {
                self.flags |= flag::SERVER_FIRST;
            }
            self.flags |= flag::SERVER_FIN;
        }
        self.server_claim = 1;
        self.server_next = segment.end();
        ServerStep::Read { translated: self.for_client(segment), skip: ahead.unsigned_abs() }
    }

    /// S15: while a reply is on its way the client must not learn that its request has arrived from anything but that
    /// reply, since the client's retransmission is the only thing that brings it again.
    #[inline(always)]
    fn for_client(&mut self, segment: &Segment) -> Translated {
        let mut ack = segment.ack.wrapping_add(self.consumed);
        if self.outstanding() && after(ack, self.request_start) {
            ack = self.request_start;
            self.flags |= flag::ACK_HELD;
        }
        Translated {
            seq: segment.seq.wrapping_add(self.injected),
            ack: if segment.has(tcp_flag::ACK) { ack } else { segment.ack },
        }
    }

    /// Whether an acknowledgement was held back that the client may have now; asked after its segments without payload.
    #[inline(always)]
    pub fn take_held_ack(&mut self) -> bool {
        let due = self.has(flag::ACK_HELD) && !self.outstanding();
        if due {
            self.flags &= !flag::ACK_HELD;
        }
        due
    }

    /// A bare acknowledgement to the client of all that the server has acknowledged.
    #[inline(always)]
    #[must_use]
    pub const fn acknowledgement(&self) -> Injection {
        Injection {
            seq: self.server_next.wrapping_add(self.injected),
            ack: self.server_ack.wrapping_add(self.consumed),
            window: self.server_window,
            tsval: self.server_tsval,
            owes: false,
            owed: Translated { seq: 0, ack: 0 },
            expected: Translated { seq: 0, ack: 0 },
            last: false,
        }
    }
}
