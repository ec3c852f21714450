//! What becomes of a segment. Every way off the fast path has a name, and every name has a counter.

macro_rules! reasons {
    ($( $(#[$doc:meta])* $name:ident = $label:literal, )*) => {
        /// Why a segment was not answered in the stack, or what else happened to it. Each is an index into the map of
        /// counters ([`crate::abi::map::STATS`]) and the label of a metric.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $( $(#[$doc])* $name, )* }

        impl Reason {
            /// All reasons, in the order of their counters.
            pub const ALL: &'static [Self] = &[ $( Self::$name, )* ];

            /// The label in metrics and status.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $( Self::$name => $label, )* }
            }
        }
    };
}

reasons! {
    /// A segment answered in the stack.
    Replied = "replied",
    /// An answered request came again and got the same reply (S3).
    Resent = "resent",
    /// A reply left in several segments: the path takes no longer ones, or a longer one was lost (T6).
    InPieces = "in_pieces",
    /// An ICMP error quotes a segment of a connection that has answers of the stack: the server's TCP hears it with its own
    /// number (T6).
    IcmpError = "icmp_error",
    /// A refused request was answered, and its connection closed on both sides.
    Closed = "closed",
    /// A connection was reset on both sides.
    WasReset = "reset",
    /// A connection is left without an answer from now on; the server's side was reset.
    Silenced = "silenced",
    /// A segment of a connection that the stack has closed.
    AfterClose = "after_close",
    /// Dropped: a SYN of a client that may not connect now.
    NotAdmitted = "not_admitted",
    /// Dropped on its arrival, at XDP: a SYN of a client that is blocked.
    BlockedOnArrival = "blocked_xdp",
    /// A segment without payload: nothing to decide.
    NoPayload = "no_payload",
    /// Requests are outstanding at the server, or bytes on the way are not acknowledged (S1).
    NotIdle = "not_idle",
    /// The segment ends within a request.
    Incomplete = "incomplete",
    /// The handler does not answer this kind of request.
    NotServed = "not_served",
    /// The handler could have answered, but has no valid answer now.
    Miss = "miss",
    /// The handler steps aside: it does not look whether it could answer.
    Bypassed = "bypassed",
    /// The handler could perhaps have answered, and lets the server see that the connection is in use.
    Presence = "presence",
    /// The handler's state of this connection forbids answers.
    Suspended = "suspended",
    /// The peer is not known to be allowed what it asks for.
    NotPermitted = "not_permitted",
    /// The answer does not fit the segment size or the client's window.
    TooLarge = "too_large",
    /// The connection uses accurate ECN: passed, never answered (T7).
    Ecn = "ecn",
    /// The server's last packet is too long ago to vouch for the way to it and back (T5, T9).
    Unconfirmed = "unconfirmed",
    /// The server has taken bytes of a client that were not read: they came by another way (T3).
    Unread = "unread",
    /// A connection to the server was answered whose SYN was not seen: it came by another way (T3).
    Unseen = "unseen",
    /// A reply left by another way than its request came (T5).
    Asymmetric = "asymmetric",
    /// The agent's lease has lapsed or answers are switched off (S12).
    NoLease = "no_lease",
    /// The handshake was not seen, so options are not known.
    HandshakeUnseen = "handshake_unseen",
    /// A connection on the plain port: observed only.
    PlainPort = "plain_port",
    /// The stream is not understood; the flow never answers again.
    Opaque = "opaque",
    /// A segment that repeats bytes the server was given already.
    Retransmission = "retransmission",
    /// The server moved between decision and commitment (S14).
    Raced = "raced",
    /// No timestamp though the connection uses them, or a packet longer than its length field can tell: passed, never answered.
    Unusual = "unusual",
    /// A new connection left to the user path because the flow table is full (S11).
    FlowTableFull = "flow_table_full",
    /// A new connection left to the user path because of its options: MPTCP, MD5, AO, data on the SYN (S9).
    NotSpliceable = "not_spliceable",
    /// A new connection left to the user path because the kernel path takes none now.
    NotAccepting = "not_accepting",
    /// A new connection left to the user path because the server does not listen on the address that it is for.
    NoListener = "no_listener",
    /// A SYN of a connection that the kernel has, and the stack has no flow for: the kernel answers it.
    TupleInUse = "tuple_in_use",
    /// A new connection left to the user path because the configuration does not name the address that it is for.
    AddressExcluded = "address_excluded",
    /// Dropped: more priority tags one before the other than anybody sends (T8).
    Tags = "tags",
    /// Dropped: beyond the next expected byte (S2).
    OutOfOrder = "out_of_order",
    /// Dropped: another CPU is reading this flow (S14).
    Contended = "contended",
    /// Repeats answered and acknowledged bytes together with new ones: the client was given that acknowledgement.
    StaleOverlap = "stale_overlap",
    /// Dropped: an old segment of the server that would land on injected bytes (S4).
    StaleServerSegment = "stale_server_segment",
    /// Dropped: an IP fragment for a port of ours.
    Fragment = "fragment",
    /// Dropped: the packet could not be written; TCP sends it again.
    WriteFailed = "write_failed",
    /// Dropped, or an ICMP error that passed: the program that goes on is not there. Somebody has removed the pins of an agent
    /// that was killed.
    StageMissing = "stage_missing",
    /// Dropped: the TCP checksum is wrong (T1).
    BadChecksum = "bad_checksum",
    /// Dropped: the IPv4 header's checksum is wrong (T1).
    BadIpChecksum = "bad_ip_checksum",
    /// Dropped: IPv4 options, or IPv6 extension headers (T1).
    IpOptions = "ip_options",
    /// Dropped: the headers tell more bytes than there are (T1).
    Malformed = "malformed",
    /// Dropped: a signature (TCP-MD5, TCP-AO) that the server's socket does not ask for, or options that do not end (T1).
    BadTcpOption = "bad_tcp_option",
    /// Dropped: no ACK flag (T1).
    NoAckFlag = "no_ack_flag",
    /// Dropped: a SYN with an acknowledgement, inside a connection (T1).
    SynInside = "syn_inside",
    /// Dropped: urgent data, whose byte the server's socket would take out of the stream (T1).
    Urgent = "urgent",
    /// Dropped: its timestamp is older than one that was accepted (T1, RFC 7323 PAWS).
    OldTimestamp = "old_timestamp",
    /// Dropped: the end of a handshake that echoes a timestamp which the server has not sent (T1).
    BadEcho = "bad_echo",
    /// Dropped: beyond the window that the server has announced (T1).
    BeyondWindow = "beyond_window",
    /// Dropped: acknowledges what the server has not sent (T1, RFC 5961).
    AckUnsent = "ack_unsent",
    /// Dropped: acknowledges less than the server's socket would accept (T1, RFC 5961).
    AckTooOld = "ack_too_old",
    /// The connection ends: a repetition is not the bytes that were read (T2).
    OtherBytes = "other_bytes",
    /// The connection ends: a repetition cannot be compared with the bytes that were read, since it is cut otherwise (T2).
    OtherCuts = "other_cuts",
    /// Dropped: bytes behind the client's FIN (T1).
    AfterFin = "after_fin",
    /// A connection opened through the accelerated port.
    FlowOpened = "flow_opened",
    /// A connection observed on the plain port.
    FlowObserved = "flow_observed",
    /// A flow left the table at its end.
    FlowClosed = "flow_closed",
    /// Payload of a connection that is not in the table: it is older than the hooks (C8).
    Foreign = "foreign",
    /// The server was given an acknowledgement of its own (S4, S5).
    ServerAcknowledged = "server_acknowledged",
    /// An acknowledgement to the client was held back until it has the reply (S15).
    AckHeld = "ack_held",
    /// The client was given the acknowledgement that was held back.
    ClientAcknowledged = "client_acknowledged",
    /// Requests read by the handler, answered or not.
    Requests = "requests",
    /// Requests answered in the stack.
    RequestsAnswered = "requests_answered",
    /// An event was lost since the ring was full.
    EventLost = "event_lost",
}

impl Reason {
    /// Number of reasons.
    pub const COUNT: usize = Self::ALL.len();
}

/// What a handler says of the requests in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All of them are answered by the bytes in the reply buffer.
    Reply,
    /// They go to the server.
    Pass(Reason),
    /// The connection ends without a word to the client; the server's side is reset.
    Drop(Reason),
    /// The connection ends on both sides, with the handler's [last words](crate::handler::Handler::last_words) if there are
    /// any, and with a reset otherwise.
    Close(Reason),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_distinct_and_in_order() {
        for (i, a) in Reason::ALL.iter().enumerate() {
            assert_eq!(*a as usize, i);
            assert!(Reason::ALL[i + 1..].iter().all(|b| a.label() != b.label()));
        }
    }
}
