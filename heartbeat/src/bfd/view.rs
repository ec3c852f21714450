//! A session as it is told to operators, and its changes. Times in microseconds.

use std::collections::BTreeMap;
use std::net::IpAddr;

use heartbeat_fastpath::bfd::{Diagnostic, State};
use serde::{Deserialize, Serialize};

/// A session's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// Held down by its operator.
    AdminDown,
    /// Down.
    Down,
    /// Hears the other side, which does not yet know that.
    Init,
    /// Up.
    Up,
}

impl SessionState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::AdminDown, Self::Down, Self::Init, Self::Up];

    /// As metrics and logs name it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::AdminDown => "admin_down",
            Self::Down => "down",
            Self::Init => "init",
            Self::Up => "up",
        }
    }
}

impl From<State> for SessionState {
    fn from(state: State) -> Self {
        match state {
            State::AdminDown => Self::AdminDown,
            State::Down => Self::Down,
            State::Init => Self::Init,
            State::Up => Self::Up,
        }
    }
}

/// What a diagnostic says (RFC 5880 section 4.1).
#[must_use]
pub fn reason(diagnostic: Diagnostic) -> &'static str {
    const REASONS: [(Diagnostic, &str); 9] = [
        (Diagnostic::NONE, "none"),
        (Diagnostic::TIME_EXPIRED, "nothing was heard in time"),
        (Diagnostic::ECHO_FAILED, "no echo came back"),
        (Diagnostic::NEIGHBOR_SIGNALED_DOWN, "the other side says so"),
        (Diagnostic::FORWARDING_RESET, "forwarding was reset"),
        (Diagnostic::PATH_DOWN, "the path is down"),
        (Diagnostic::CONCATENATED_PATH_DOWN, "what lies behind it is down"),
        (Diagnostic::ADMINISTRATIVELY_DOWN, "the operator holds it down"),
        (Diagnostic::REVERSE_CONCATENATED_PATH_DOWN, "what lies behind it, on the way back, is down"),
    ];
    REASONS.iter().find(|(known, _)| *known == diagnostic).map_or("unknown", |(_, reason)| reason)
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionView {
    /// The other system.
    pub peer: IpAddr,
    /// This host's address towards it, once there is a socket.
    pub local: Option<IpAddr>,
    /// The interface, if it is to be a certain one.
    pub interface: Option<String>,
    /// Over several hops.
    pub multihop: bool,
    /// The state.
    pub state: SessionState,
    /// Why it last changed.
    pub diagnostic: String,
    /// The other side's state, as far as it is known.
    pub remote_state: SessionState,
    /// Why that last changed.
    pub remote_diagnostic: String,
    /// This side's number of the session.
    pub discriminator: u32,
    /// The other side's; 0: unknown.
    pub remote_discriminator: u32,
    /// How often control packets are sent.
    pub transmit_interval_us: u64,
    /// How often they are expected.
    pub receive_interval_us: u64,
    /// For how long none may come; 0: none is expected.
    pub detection_us: u64,
    /// How often echo packets are sent, if they are.
    pub echo_interval_us: Option<u64>,
    /// How long they take, once one has come back.
    pub echo_round_trip_us: Option<u64>,
    /// For how long it has been up, if it is.
    pub up_for_us: Option<u64>,
    /// How often it came up.
    pub ups: u64,
    /// How often it went down.
    pub downs: u64,
    /// Control packets that were sent.
    pub packets_out: u64,
    /// Control packets that were taken.
    pub packets_in: u64,
    /// Echo packets that were sent, and that came back.
    pub echoes_out: u64,
    /// Echo packets that came back.
    pub echoes_in: u64,
    /// Control packets that were dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Why nothing can be sent, if so.
    pub trouble: Option<String>,
}

/// A change of a session's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionChange {
    /// The other system.
    pub peer: IpAddr,
    /// The state before.
    pub from: SessionState,
    /// The state now.
    pub to: SessionState,
    /// Why.
    pub diagnostic: String,
}

/// Why a packet was dropped before its session had it, besides [`heartbeat_fastpath::bfd::Refusal`].
pub(super) mod dropped {
    /// Too many hops for this kind of session (RFC 5881 section 5, RFC 5883 section 4).
    pub(in super::super) const HOP_LIMIT: &str = "bfd_hop_limit";
    /// It came by another interface, or to another address, than the session's.
    pub(in super::super) const ELSEWHERE: &str = "bfd_elsewhere";
    /// No session is held with its sender, or it names none.
    pub(in super::super) const UNKNOWN: &str = "bfd_unknown_session";
}
