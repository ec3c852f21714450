//! Ends of a connection: those that its two sides make, and those that the stack makes (S16).

use super::{ClientStep, Injection, Segment, Splice, Translated, flag, tcp_flag};
use crate::seq::{after, before};
use crate::verdict::Reason;

impl Splice {
    /// Takes a segment of the client behind the end that the stack has made.
    #[inline(always)]
    pub(super) fn client_after_close(&mut self, segment: &Segment) -> ClientStep {
        if segment.has(tcp_flag::ACK) && !after(segment.ack, self.sent()) {
            self.take_header(segment);
        }
        let told = self.injection(false, Translated { seq: 0, ack: 0 });
        let nothing = ClientStep::AfterClose { flags: 0, told };
        if segment.has(tcp_flag::RST) {
            if segment.seq == self.client_next {
                self.flags |= flag::RESET;
            }
            return nothing;
        }
        if self.has(flag::SILENT) {
            return nothing;
        }
        if !self.has(flag::FIN_SENT) {
            let told = Injection { seq: segment.ack, ack: segment.end(), window: 0, tsval: 0, ..told };
            return ClientStep::AfterClose { flags: tcp_flag::RST | tcp_flag::ACK, told };
        }
        let fin = segment.has(tcp_flag::FIN);
        if segment.payload == 0 && !fin {
            // Nothing to acknowledge, unless it is a probe.
            if self.outstanding() || !before(segment.seq, self.client_next) {
                return nothing;
            }
        } else if !after(segment.seq, self.client_next) && after(segment.end(), self.client_next) {
            self.client_next = segment.end();
            if fin {
                self.flags |= flag::CLIENT_FIN;
            }
        }
        let told = self.injection(false, Translated { seq: 0, ack: 0 });
        if self.outstanding() {
            // The reply and no bare acknowledgement, which would cover the request, too (S15).
            return ClientStep::Resend(told);
        }
        ClientStep::AfterClose { flags: tcp_flag::ACK, told: Injection { seq: self.injection_end(), ..told } }
    }

    /// Whether both sides are done with a connection that the stack has ended.
    #[inline(always)]
    #[must_use]
    pub const fn over(&self) -> bool {
        self.has(flag::CLOSED)
            && (self.has(flag::RESET)
                || self.has(flag::FIN_SENT) && self.has(flag::CLIENT_FIN) && !self.outstanding())
    }

    /// Whether the connection can end with a reply to `segment`, which this CPU has claimed: its place in the client's stream
    /// is known, since the client has all that came before.
    #[inline(always)]
    #[must_use]
    pub fn may_end(&self, segment: &Segment) -> bool {
        let gone = flag::SERVER_FIN | flag::RESET;
        self.has(flag::ACCELERATED)
            && self.flags & gone == 0
            && segment.timestamps == self.has(flag::TIMESTAMPS)
            && segment.end() == self.client_next
            && segment.ack == self.server_next.wrapping_add(self.injected)
            && self.client_ack == segment.ack
    }

    /// Ends the connection with a reply to the segment that this CPU has claimed, and a FIN; the segment's first `skip` bytes
    /// the server has already. Fails, with the claim still held, if the server has moved since it was asked [whether that is
    /// possible](Self::may_end).
    #[inline(always)]
    pub fn end(&mut self, segment: &Segment, skip: u32, reply: u32) -> Result<Injection, Reason> {
        if !self.may_end(segment) {
            return Err(Reason::Raced);
        }
        let start = segment.seq.wrapping_add(skip);
        self.injection_start = segment.ack;
        self.injection_len = reply.wrapping_add(1);
        self.request_start = start;
        self.request_len = segment.end().wrapping_sub(start);
        self.consumed = self.consumed.wrapping_add(self.request_len);
        self.injected = self.injected.wrapping_add(self.injection_len);
        self.flags |= flag::CLOSED | flag::FIN_SENT;
        self.flags &= !flag::CLIENT_CLAIMED;
        Ok(self.injection(true, self.server_reset()))
    }

    /// Ends the connection with a reset on both sides, or on the server's only if it is to be `silent`. Releases the claim.
    /// The numbers of the client's reset; the server has the segment's first `skip` bytes already, and its reset is
    /// [`Self::server_reset`].
    #[inline(always)]
    pub fn abort(&mut self, segment: &Segment, skip: u32, silent: bool) -> Translated {
        self.request_start = segment.seq.wrapping_add(skip);
        self.request_len = 0;
        self.flags |= flag::CLOSED | if silent { flag::SILENT } else { 0 };
        self.flags &= !flag::CLIENT_CLAIMED;
        Translated { seq: segment.ack, ack: segment.end() }
    }

    /// Numbers of the reset that the server is owed once the stack has ended the connection: right behind the bytes that it
    /// was given. If some of these were lost, it asks back, and then its own acknowledgement tells where it stands.
    #[inline(always)]
    #[must_use]
    pub const fn server_reset(&self) -> Translated {
        let consumed_before = self.consumed.wrapping_sub(self.request_len);
        Translated { seq: self.request_start.wrapping_sub(consumed_before), ack: self.server_next }
    }

    /// Claims both directions for the end of the flow. Whether no other CPU has one; a segment that is still on its way
    /// then finds them taken (S14).
    #[inline(always)]
    pub fn claim_all(&mut self) -> bool {
        let free = !self.has(flag::CLIENT_CLAIMED) && self.server_claim == 0;
        if free {
            self.flags |= flag::CLIENT_CLAIMED;
            self.server_claim = 1;
        }
        free
    }

    /// Gives both claims back: the flow stays.
    #[inline(always)]
    pub fn release_all(&mut self) {
        self.flags &= !flag::CLIENT_CLAIMED;
        self.server_claim = 0;
    }

    /// Whether both sides have closed and acknowledged that they have, the client first: the server's socket is gone
    /// (RFC 9293 §3.6), and nothing can come that would need this state.
    #[inline(always)]
    #[must_use]
    pub const fn finished(&self) -> bool {
        !self.has(flag::SERVER_FIRST) && self.done()
    }

    /// The same where the server was the first. Its socket goes through TIME_WAIT, and acknowledges the client's FIN again if
    /// that comes again; but if both sides count alike, that needs the ports only, which the handshake's mark tells.
    #[inline(always)]
    #[must_use]
    pub const fn finished_by_server(&self) -> bool {
        self.has(flag::SERVER_FIRST) && !self.has_offset() && self.done()
    }

    #[inline(always)]
    const fn done(&self) -> bool {
        self.flags & (flag::CLIENT_FIN | flag::SERVER_FIN) == (flag::CLIENT_FIN | flag::SERVER_FIN)
            && self.has(flag::COMPLETE)
            && self.server_ack == self.client_next.wrapping_sub(self.consumed)
            && self.client_ack == self.server_next.wrapping_add(self.injected)
    }
}
