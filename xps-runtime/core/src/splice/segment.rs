//! What goes into a splice, and what comes out of it.

use crate::verdict::Reason;

/// TCP flags (RFC 9293 §3.1).
pub mod tcp_flag {
    /// No more data from the sender.
    pub const FIN: u8 = 1;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 2;
    /// Reset the connection.
    pub const RST: u8 = 4;
    /// Push.
    pub const PSH: u8 = 8;
    /// The acknowledgement field counts.
    pub const ACK: u8 = 16;
    /// The urgent pointer counts.
    pub const URG: u8 = 32;
    /// Congestion is echoed (RFC 3168 §6.1); in a SYN: ECN is offered.
    pub const ECE: u8 = 64;
    /// The congestion window was reduced.
    pub const CWR: u8 = 128;
}

/// What the splice needs to know of a segment, in the sender's numbering.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// [`tcp_flag`]s.
    pub flags: u8,
    /// The window field as it stands in the header.
    pub window: u16,
    /// Payload in bytes.
    pub payload: u32,
    /// Timestamp value, if `timestamps`.
    pub tsval: u32,
    /// Whether there is a timestamp option.
    pub timestamps: bool,
}

impl Segment {
    #[inline(always)]
    pub(super) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The sequence number behind the segment.
    #[inline(always)]
    #[must_use]
    pub const fn end(&self) -> u32 {
        self.seq.wrapping_add(self.payload).wrapping_add(if self.has(tcp_flag::FIN) { 1 } else { 0 })
    }

    /// Its numbers where both sides count alike.
    #[inline(always)]
    #[must_use]
    pub const fn untranslated(&self) -> Translated {
        Translated { seq: self.seq, ack: self.ack }
    }
}

/// Numbers of a segment in the other side's numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translated {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
}

/// What becomes of a client's segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientStep {
    /// To the server, nothing in it is new.
    Pass(Translated),
    /// To the server or answered: the payload from `skip` on is new, and this CPU has the claim on it.
    Read {
        /// Payload bytes that were read before.
        skip: u32,
        /// Why a reply is out of the question, if it is.
        refused: Option<Reason>,
    },
    /// A repetition of bytes that the server has not acknowledged: this CPU has the claim, and finds out whether they are the same
    /// ([`super::Splice::repeated`]).
    Compare,
    /// The same answered request again: the kept reply is sent again (S3).
    Resend(Injection),
    /// Answered and acknowledged bytes again, together with new ones: the client is told what need not come again.
    Acknowledge(Injection),
    /// The stack has ended the connection, and answers what still comes by a segment without payload.
    AfterClose {
        /// Its [`tcp_flag`]s; 0: the client is told nothing.
        flags: u8,
        /// Its numbers.
        told: Injection,
    },
    /// A window probe: the server gets it without its byte, right before the next one that it expects, and says how much room it
    /// has.
    Probe(Translated),
    /// Not to be passed; TCP sends it again.
    Drop(Reason),
}

/// What becomes of a server's segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerStep {
    /// To the client, nothing in it is new.
    Pass(Translated),
    /// To the client; the payload from `skip` on is new, and this CPU has the claim on it.
    Read {
        /// The segment in the client's numbering.
        translated: Translated,
        /// Payload bytes that were read before.
        skip: u32,
    },
    /// Not to be passed: the client has it. The server is given the acknowledgement it missed (S4), in its own numbering:
    /// the sequence number it expects, and the acknowledgement.
    Acknowledge(Translated),
    /// Not to be passed: the stack has closed the connection. The server gets a reset with these numbers.
    Reset(Translated),
    /// Not to be passed; TCP sends it again.
    Drop(Reason),
    /// The server has taken bytes of the client that nobody has read (T3).
    Unread(Translated),
}

/// The header of a reply that the stack sends, in the client's numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injection {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number: behind the answered request, or all that came behind the connection's end.
    pub ack: u32,
    /// Window field.
    pub window: u16,
    /// Timestamp value: the server's last (S6).
    pub tsval: u32,
    /// Whether the request acknowledged bytes of the server for the first time (S5), or said that the congestion window is
    /// reduced (T7): then the server is owed an acknowledgement that says so.
    pub owes: bool,
    /// The acknowledgement that the server is owed, in its numbering.
    pub owed: Translated,
    /// What the server has acknowledged, and what it was acknowledged; in its numbering.
    pub expected: Translated,
    /// Whether the connection ends: the reply has a FIN behind it, and what the server is owed is a reset.
    pub last: bool,
}
