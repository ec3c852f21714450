//! The checks without which a splice believes what the server's TCP does not ([`xps_core::splice::accept::check`]), by name: a
//! test switches one off and must find that out.

use xps_core::splice::accept::check;

/// A check, as its bit in [`crate::record::Settings::disabled_checks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Check {
    /// A segment without the ACK flag is not taken (RFC 9293 §3.10.7.4, fifth).
    AckFlag = check::ACK_FLAG,
    /// A SYN within a connection is not taken, nor what it carries (RFC 5961 §4).
    Syn = check::SYN,
    /// What acknowledges bytes that were never sent is not taken (RFC 5961 §5).
    AckAhead = check::ACK_UNSENT,
    /// What acknowledges less than was acknowledged a largest window ago is not taken (RFC 5961 §5).
    AckOld = check::ACK_TOO_OLD,
    /// A timestamp older than the last one is not taken (RFC 7323 §5).
    Paws = check::TIMESTAMP,
    /// What lies beyond the receive window is not taken (RFC 9293 §3.10.7.4, first).
    Window = check::WINDOW,
    /// A packet whose IPv4 header has a wrong checksum is not taken (RFC 791).
    IpChecksum = check::IP_CHECKSUM,
    /// A segment with a wrong checksum is not taken (RFC 9293 §3.1).
    TcpChecksum = check::TCP_CHECKSUM,
    /// A frame to another link address, to a group or to all is not taken.
    LinkAddress = check::LINK_ADDRESS,
    /// A packet with a source route, or with options that cannot be read, is not taken.
    IpOptions = check::IP_OPTIONS,
    /// A segment signed by TCP-MD5 or TCP-AO is not taken by a socket without a key (RFC 2385, RFC 5925).
    Signature = check::TCP_OPTIONS,
    /// The urgent byte is taken out of the stream.
    Urgent = check::URGENT,
    /// What lies behind the client's FIN is not taken.
    BehindFin = check::AFTER_FIN,
    /// What is repeated before it was acknowledged is the same bytes.
    Repetition = check::SAME_BYTES,
}

impl Check {
    /// All, in the order of their bits.
    pub const ALL: [Self; 14] = [
        Self::AckFlag,
        Self::Syn,
        Self::AckAhead,
        Self::AckOld,
        Self::Paws,
        Self::Window,
        Self::IpChecksum,
        Self::TcpChecksum,
        Self::LinkAddress,
        Self::IpOptions,
        Self::Signature,
        Self::Urgent,
        Self::BehindFin,
        Self::Repetition,
    ];

    /// Its bit.
    #[must_use]
    pub const fn bit(self) -> u32 {
        self as u32
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AckFlag => "ack_flag",
            Self::Syn => "syn",
            Self::AckAhead => "ack_ahead",
            Self::AckOld => "ack_old",
            Self::Paws => "paws",
            Self::Window => "window",
            Self::IpChecksum => "ip_checksum",
            Self::TcpChecksum => "tcp_checksum",
            Self::LinkAddress => "link_address",
            Self::IpOptions => "ip_options",
            Self::Signature => "signature",
            Self::Urgent => "urgent",
            Self::BehindFin => "behind_fin",
            Self::Repetition => "repetition",
        }
    }
}
